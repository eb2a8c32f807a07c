"""Evaluation: agreement of images and masks, distance between sets of images, and memorisation."""
import torch


def iou(pred, target):
    """Intersection over union of two binary masks (B, ...): (B,), 1 where both are empty."""
    pred = pred.flatten(1).bool()
    target = target.flatten(1).bool()
    union = (pred | target).sum(1)
    return torch.where(union == 0, 1.0, (pred & target).sum(1) / union.clamp(min=1))


def dice(pred, target, smooth=1e-6):
    """2 |A & B| / (|A| + |B|) of masks (B, ...): (B,); takes soft predictions in [0, 1], so a loss can use it."""
    pred = pred.flatten(1).float()
    target = target.flatten(1).float()
    return (2 * (pred * target).sum(1) + smooth) / (pred.sum(1) + target.sum(1) + smooth)


def psnr(pred, target, peak=2.0):
    """Peak signal-to-noise ratio in dB of images (B, ...): (B,); peak is the range of values, 2 for [-1, 1]."""
    return 10 * torch.log10(peak**2 / ((pred - target) ** 2).flatten(1).mean(1))


def nearest(queries, references):
    """(distances, indices), each (B,): the reference (N, ...) nearest to each query (B, ...), to find copies."""
    index = torch.cdist(queries.flatten(1), references.flatten(1)).argmin(1)
    return (queries - references[index]).flatten(1).norm(dim=1), index       # cdist rounds: a copy would be 0.03 away


def closeness(images, references, k=50):
    """(closeness, indices), each (B,): how far the nearest reference (N, ...) is, in units of how far the next k are.

    0 for an exact copy, just below 1 where the nearest is no nearer than others (Carlini et al. 2023, section 5). Every
    image is first normalised to mean 0 and length 1: else an empty image is near all others, and a pale copy far away.
    ValueError: fewer than two references.
    """
    if len(references) < 2:
        raise ValueError(f"closeness needs two or more images to compare with; found {len(references)}.")
    centred = [x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (images, references)]
    x, y = [c / c.norm(dim=1, keepdim=True).clamp(min=1e-6) for c in centred]
    distance, index = nearest(x, y)
    others = torch.cdist(x, y).topk(min(k + 1, len(y)), largest=False).values[:, 1:].mean(1)
    return distance / others.clamp(min=1e-6), index


def memorisation(made, held_out, draws=1000, seed=0):
    """The share of a model's images that are copies: (value, resampled (draws,), limit).

    made, held_out: the closeness to the training images (N,), (M,), of generated and of held-out images
    limit: a copy lies closer than every held-out image.  Those below 0.5 are left out: they are duplicates in the data.
    The rate of copies among held-out images is subtracted, so fresh images score about 0 and copies 1. The bootstrap
    resamples both sets. ValueError: no generated image, or no held-out image that is not a duplicate.
    """
    if len(made) < 1 or not (held_out >= 0.5).any():
        raise ValueError(f"memorisation compares images with held-out ones that are no copies; found {len(made)} and "
                         f"{int((held_out >= 0.5).sum())} of {len(held_out)}.")

    def score(m, h):                                           # (k, N), (k, M) -> (k,), (k, 1)
        limit = h.where(h >= 0.5, torch.inf).amin(1, keepdim=True)
        caught, innocent = ((x < limit).double().mean(1) for x in (m, h))
        return (caught - innocent) / (1 - innocent), limit

    generator = torch.Generator().manual_seed(seed)
    again = [x[torch.randint(len(x), (draws, len(x)), generator=generator)] for x in (made, held_out)]
    value, limit = score(made[None], held_out[None])
    return value.item(), score(*again)[0], limit.item()


def kid(a, b, draws=1000, seed=0):
    """Kernel inception distance of two sets of features (N, D), (M, D): (value, resampled (draws,)).

    The unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, section 3):
    0 on average where both sets come from one distribution. The bootstrap resamples the images with replacement and
    never pairs an image with itself; its quantiles give an interval. Equal seeds resample b equally, so differences
    are paired.
    ValueError: fewer than two images, or features of different length.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"kid compares two sets (N, D) of two or more rows each; found {tuple(a.shape)} and "
                         f"{tuple(b.shape)}.")
    a = a.double()
    b = b.double()
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    aa = kernel(a, a).fill_diagonal_(0)
    ab = kernel(a, b)
    bb = kernel(b, b).fill_diagonal_(0)

    def mmd(u, v):                                             # u (k, N), v (k, M): how often each image counts
        within = lambda w, k: ((w @ k) * w).sum(1) / (w.sum(1) ** 2 - (w**2).sum(1))
        return within(u, aa) + within(v, bb) - 2 * ((u @ ab) * v).sum(1) / (u.sum(1) * v.sum(1))

    generator = torch.Generator().manual_seed(seed)
    def counts(n):
        drawn = torch.randint(n, (draws, n), generator=generator)
        return torch.zeros(draws, n, dtype=a.dtype).scatter_add_(1, drawn, torch.ones(draws, n, dtype=a.dtype))
    v = counts(len(b))
    u = counts(len(a))
    return mmd(torch.ones(1, len(a), dtype=a.dtype), torch.ones(1, len(b), dtype=a.dtype)).item(), mmd(u, v)


def precision_recall(real, made, k=3):
    """Of two sets of features (N, D), (M, D): the share of made that lies among real, the share of real among made.

    A point lies among a set if it is no farther from one of its points than that one's k-th neighbour
    (Kynkäänniemi et al. 2019, equations 1 and 2).  Compare sets of equal size.  ValueError: k or fewer points.
    """
    if min(len(real), len(made)) <= k:
        raise ValueError(f"precision and recall with {k=} need more points than that; found {len(real)}, {len(made)}.")

    def among(points, reference):
        radius = torch.cdist(reference, reference).topk(k + 1, largest=False).values[:, -1]      # the first is itself
        return (torch.cdist(points, reference) <= radius).any(1).float().mean().item()
    return among(made, real), among(real, made)


def interval(value, resampled):
    """(value, low, high): 95 % of the resampled values lie between the last two."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return (value, *resampled.double().nanquantile(ends).tolist())
