"""The exercises of notebook 06: the kernel distance, coverage, nearest neighbours, a score of memorisation."""
import math

import torch

from exercises.exercise import exercise


def kid_inputs(draw):
    """What kid is tried with, besides the example."""
    return [(draw(6, 4, low=0, high=2), draw(5, 4, high=0.5)), (draw(4, 3), draw(7, 3)),
            (draw(5, 2), draw(5, 2)), (draw(8, 4), draw(6, 4))]


@exercise("Two clouds of points",
          example=(torch.tensor([[1.0, 1], [1, 0]]), torch.tensor([[-1.0, -1], [0, -1]])),
          inputs=kid_inputs)
def kid(a, b):
    r"""Compute the unbiased squared distance (MMD²) of two sets of features under the kernel
    $k(x, y) = (x^\top y / D + 1)^3$: the mean of k over all pairs of different images within `a`, plus the same within
    `b`, minus twice the mean over all pairs of an image of `a` and one of `b`.

    - `a`: features (N, D);  `b`: features (M, D)

    Return one number. It may fall below 0."""
    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3                 # (N, M): one number for each pair

    def within(x):
        k = kernel(x, x)
        n = len(x)
        return (k.sum() - k.trace()) / (n * (n - 1))           # never an image with itself

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()


def cubic(x, y):
    """The kernel of every pair, (N, M)."""
    return (x @ y.T / x.shape[1] + 1)**3


def different(k):
    """The mean of a kernel matrix without its diagonal."""
    return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))


def mmd(kernel=cubic, within=different, cross=2.0):
    """A wrong kid, by its parts."""
    def distance(a, b):
        a = a.double()
        b = b.double()
        return (within(kernel(a, a)) + within(kernel(b, b)) - cross * kernel(a, b).mean()).item()
    return distance


def without_cross_diagonal(a, b):
    """Wrong: pairs of equal place are left out across the sets, too."""
    k = cubic(a, b)
    n = min(len(a), len(b))
    within = different(cubic(a, a)) + different(cubic(b, b))
    return (within - 2 * (k.sum() - k[:n, :n].trace()) / (k.numel() - n)).item()


def sums(a, b):
    """Wrong: sums in the place of means."""
    within = sum(cubic(x, x).sum() - cubic(x, x).trace() for x in (a, b))
    return (within - 2 * cubic(a, b).sum()).item()


def by_first_count(a, b):
    """Wrong: the number of images of a is used for both sets."""
    n = len(a)
    within = sum(cubic(x, x).sum() - cubic(x, x).trace() for x in (a, b)) / (n * (n - 1))
    return (within - 2 * cubic(a, b).sum() / n**2).item()


def gaussian(x, y):
    """Another kernel, the Gaussian one."""
    return (-torch.cdist(x, y)**2 / 2).exp()


def signed_root(a, b):
    """Wrong: the root of the distance, with its sign."""
    value = mmd()(a, b)
    return math.copysign(abs(value)**0.5, value)


kid.mistakes = {
    "with itself": (mmd(within=torch.mean),
                    "You compare each image with itself, too. That makes a set look closer to itself than it is, and "
                    "the more so the smaller it is."),
    "with itself, divided by fewer": (mmd(within=lambda k: k.sum() / (len(k) * (len(k) - 1))),
                                      "You divide by the number of pairs of different images, but the pairs of an "
                                      "image with itself are still in your sum."),
    "divided by all pairs": (mmd(within=lambda k: (k.sum() - k.trace()) / len(k)**2),
                             "The pairs of an image with itself are left out of your sum, but you divide as if they "
                             "were in it. How many pairs are left?"),
    "no effect of 1": (mmd(kernel=lambda x, y: (x @ y.T / x.shape[1])**3),
                       "The 1 in the kernel is missing or has no effect: it is added before the third power is taken."),
    "not divided": (mmd(kernel=lambda x, y: (x @ y.T + 1)**3),
                    "In the kernel the product is not divided by the number of features."),
    "divided with the 1": (mmd(kernel=lambda x, y: ((x @ y.T + 1) / x.shape[1])**3),
                           "In the kernel the 1 is divided, too: a pair of brackets stands in the wrong place."),
    "divided by the root": (mmd(kernel=lambda x, y: (x @ y.T / x.shape[1]**0.5 + 1)**3),
                            "In the kernel you divide by the root of the number of features, as attention does. Divide "
                            "by the number itself."),
    "divided by N": (mmd(kernel=lambda x, y: (x @ y.T / len(x) + 1)**3),
                     "In the kernel you divide by the number of images. Divide by the number of features."),
    "squared kernel": (mmd(kernel=lambda x, y: (x @ y.T / x.shape[1] + 1)**2),
                       "Your kernel takes a square, the one of KID a third power."),
    "linear kernel": (mmd(kernel=lambda x, y: x @ y.T / x.shape[1] + 1),
                      "Your kernel is linear, so only the means of the sets are compared."),
    "Gaussian kernel": (mmd(kernel=gaussian), "Your kernel is the Gaussian one. KID uses a polynomial of third "
                                              "degree."),
    "cross once": (mmd(cross=1), "The mean across the sets is subtracted twice: two equal sets should give 0."),
    "added": (mmd(cross=-2), "You add the mean across the sets. Subtract it, or similarity would count as distance."),
    "cross diagonal": (without_cross_diagonal,
                       "You leave out pairs across the sets, too. No image of one set is in the other, so all pairs "
                       "count there."),
    "sign": (lambda a, b: -mmd()(a, b), "The sign is wrong: sets that differ should have a distance above 0."),
    "root": (signed_root, "You took a root. KID stays squared; an unbiased estimate may well fall below 0."),
    "root, never below 0": (lambda a, b: max(mmd()(a, b), 0.0)**0.5,
                            "You took a root, and cut off what lies below 0. KID stays squared, and an unbiased "
                            "estimate may fall below 0."),
    "never below 0": (lambda a, b: max(mmd()(a, b), 0.0),
                      "You cut off what lies below 0. Two sets from one source should give 0 on average, so sometimes "
                      "less."),
    "absolute value": (lambda a, b: abs(mmd()(a, b)),
                       "You take the absolute value. Two sets from one source should give 0 on average, so sometimes "
                       "less."),
    "sums": (sums, "You add up over the pairs. Take means, so that the size of the sets does not matter."),
    "one count": (by_first_count, "You use the number of images of the first set for both. Each set has its own."),
    "distance of the means": (lambda a, b: ((a.mean(0) - b.mean(0))**2).sum().item(),
                              "This is the squared distance of the two means. The kernel compares more than the "
                              "means."),
}


def distances(x, y):
    """The distance of every pair, (N, M)."""
    return (x[:, None] - y).norm(dim=2)


LINE = torch.arange(4.0)[:, None]
FAR = torch.tensor([[0.0], [0.1], [0.3], [3.0]])               # the last of these reaches far, the others do not


def recall_inputs(draw):
    """What recall is tried with, besides the example."""
    return [(draw(12, 2, low=-1.5, high=1.8), draw(13, 2), 3), (draw(15, 2), draw(15, 2, low=0), 2),
            (torch.tensor([[1.0], [3.5], [4.0], [5.5]]), LINE, 1),
            (torch.tensor([[0.8], [0.15], [-0.6]]), FAR, 1), (draw(20, 4), draw(22, 4), 1)]


@exercise("Real, and all of them?",
          example=(torch.tensor([[0.2], [0.9], [2.2], [5.0]]), torch.tensor([[0.0], [0.4], [1.0], [2.0]]), 1),
          inputs=recall_inputs)
def recall(real, made, k):
    r"""Compute the recall (coverage) of two sets of features: the fraction of real images that lie among the generated
    ones. A real image does if, for at least one generated image, it is no farther away than that one's own k-th nearest
    neighbour among the other generated images.

    - `real`: features (N, D);  `made`: features of generated images (M, D)
    - `k`: an integer

    Return one number between 0 and 1."""
    reach = torch.cdist(made, made).sort(1).values[:, k]       # (M,): entry 0 is the image itself
    covered = torch.cdist(real, made) <= reach                 # (N, M)
    return covered.any(1).float().mean().item()


def reach(made, k, order=1):
    """The distance of each generated image to its k-th neighbour, (M,)."""
    return torch.linalg.vector_norm(made[:, None] - made, order, dim=2).sort().values[:, k]


def covered(radius, combine=lambda inside: inside.any(1)):
    """A wrong recall: the distances (N, M) are compared with radius(real, made, k), and what is inside is combined."""
    def answer(real, made, k):
        return combine(distances(real, made) <= radius(real, made, k)).double().mean().item()
    return answer


def own(real, made, k):
    """The right radius: each generated image's own."""
    return distances(made, made).sort().values[:, k]


def of_the_nearest(real, made, k):
    """Wrong: only the nearest generated image is looked at."""
    d = distances(real, made)
    return (d.amin(1) <= own(real, made, k)[d.argmin(1)]).double().mean().item()


def city_blocks(real, made, k):
    """Wrong: distances are sums of absolute differences."""
    d = (real[:, None] - made).abs().sum(2)
    return (d <= reach(made, k)).any(1).double().mean().item()


def strictly(real, made, k):
    """Wrong: closer than, in place of no farther than."""
    return (distances(real, made) < own(real, made, k)).any(1).double().mean().item()


recall.mistakes = {
    "precision": (lambda real, made, k: recall.solution(made, real, k),
                  "This is the fraction of the generated images that lie among the real ones. Recall asks the other "
                  "way round: how much of the real data is covered?"),
    "itself": (covered(lambda real, made, k: own(real, made, k - 1)),
               "Your radius is too short: the first neighbour that you count is the image itself, at distance 0."),
    "one too far": (covered(lambda real, made, k: own(real, made, k + 1)),
                    "Your radius is too long: you take one neighbour more than the k-th."),
    "largest": (covered(lambda real, made, k: distances(made, made).sort(descending=True).values[:, k]),
                "You take the farthest neighbours. The k-th nearest sets the radius."),
    "farthest": (covered(lambda real, made, k: distances(made, made).amax(1)),
                 "You take the distance to the farthest generated image. The k-th nearest sets the radius."),
    "all": (covered(own, lambda inside: inside.all(1)),
            "You ask each real image to lie within the radius of every generated one. One is enough."),
    "pairs": (covered(own, lambda inside: inside.flatten()),
              "This is the fraction of all pairs. A real image counts in full if one generated image covers it, and "
              "else not at all."),
    "of the generated": (covered(own, lambda inside: inside.any(0)),
                         "You count the generated images that have a real one within their radius. Count the real "
                         "ones."),
    "one radius": (covered(lambda real, made, k: own(real, made, k).mean()),
                   "Your radius is the same for all. Each generated image has one of its own: short where they are "
                   "dense."),
    "largest radius": (covered(lambda real, made, k: own(real, made, k).amax()),
                       "You use the largest radius for all. Each generated image has one of its own."),
    "wrong axis": (covered(lambda real, made, k: own(real, made, k)[:len(real), None]),
                   "The radii lie along the real images. Each belongs to a generated one, along the other axis."),
    "real radius": (covered(lambda real, made, k: own(made, real, min(k, len(real) - 1))[:, None]),
                    "You use the radius of the real images. It is that of the generated ones which counts."),
    "distance to real": (covered(lambda real, made, k: distances(made, real).sort().values[:, k - 1]),
                         "Your radius reaches to the k-th real image. It reaches to the k-th generated one."),
    "nearest only": (of_the_nearest,
                     "You look at the nearest generated image alone. A farther one may have a larger radius that "
                     "covers the real image."),
    "strictly": (strictly, "Nearly. A real image that is just as far away as the k-th neighbour lies among them, too."),
    "city blocks": (city_blocks, "Your distances are sums of absolute differences. Take the roots of summed squares."),
    "missed": (lambda real, made, k: 1 - recall.solution(real, made, k), "This is the fraction that is missed."),
    "count": (lambda real, made, k: recall.solution(real, made, k) * len(real),
              "This is how many they are. The task asks for their fraction of all real images."),
    "percent": (lambda real, made, k: 100 * recall.solution(real, made, k),
                "These are per cent. The task asks for a number between 0 and 1."),
}


def nearest_inputs(draw):
    """What nearest is tried with, besides the example."""
    return [(draw(3, 2, 2, 3), draw(5, 2, 2, 3)), (draw(4, 3, 2, 2), draw(4, 3, 2, 2))]


@exercise("Copied: the nearest relative",
          example=(torch.tensor([[[[1.0, 0]]]]), torch.tensor([[[[0.7, 0.4]]], [[[-1, 0]]]])),
          inputs=nearest_inputs)
def nearest(queries, references):
    r"""Compute, for each query image, the distance to its nearest reference image: the root of the summed squared
    differences of all pixels and channels.

    - `queries`: images (B, C, H, W);  `references`: images (N, C, H, W)

    Return the distances, (B,)."""
    distance = torch.cdist(queries.flatten(1), references.flatten(1))      # (B, N)
    return distance.amin(1)                                    # (B,)


def apart(queries, references):
    """The difference of every pair, (B, N, C * H * W)."""
    return queries.flatten(1)[:, None] - references.flatten(1)


def of_pairs(formula):
    """A wrong nearest from a formula of the differences (B, N, C * H * W)."""
    return lambda queries, references: formula(apart(queries, references))


def by_place(queries, references):
    """Wrong: query i is compared with reference i."""
    n = min(len(queries), len(references))
    return (queries[:n] - references[:n]).flatten(1).norm(dim=1)


def of_brightness(queries, references):
    """Wrong: the difference of mean brightness."""
    return (queries.mean((1, 2, 3))[:, None] - references.mean((1, 2, 3))).abs().amin(1)


def cosine(queries, references):
    """Wrong: the cosine distance."""
    return (1 - torch.cosine_similarity(queries.flatten(1)[:, None], references.flatten(1), dim=-1)).amin(1)


nearest.mistakes = {
    "squared": (of_pairs(lambda d: d.norm(dim=2).amin(1)**2), "These are squared distances. One operation is missing."),
    "which": (of_pairs(lambda d: d.norm(dim=2).argmin(1)),
              "This says which reference is nearest. The task asks for how far away it is."),
    "mean": (of_pairs(lambda d: d.norm(dim=2).mean(1)),
             "You average over all references. A copy shows in the nearest one alone."),
    "mean image": (lambda queries, references: (queries - references.mean(0)).flatten(1).norm(dim=1),
                   "You measure the distance to the mean of all references. Compare with each of them."),
    "farthest": (of_pairs(lambda d: d.norm(dim=2).amax(1)), "This is the distance to the farthest reference."),
    "second": (of_pairs(lambda d: d.norm(dim=2).sort(1).values[:, 1]),
               "This is the second nearest reference. The queries are not among the references, so the nearest "
               "counts."),
    "other way": (of_pairs(lambda d: d.norm(dim=2).amin(0)),
                  "You look for the nearest query of each reference. Ask the other way round."),
    "by place": (by_place, "You compare each query with the reference of the same place. Compare it with all of them."),
    "first": (of_pairs(lambda d: d.norm(dim=2)[:, 0]), "You compare with the first reference alone."),
    "absolute": (of_pairs(lambda d: d.abs().sum(2).amin(1)),
                 "You add up absolute differences. The distance here is the root of summed squares."),
    "largest difference": (of_pairs(lambda d: d.abs().amax(2).amin(1)),
                           "You take the largest difference of a pixel. Add up the squares of all."),
    "per pixel": (of_pairs(lambda d: (d**2).mean(2).amin(1)**0.5),
                  "You average over the pixels, so this is the difference of a typical pixel. Add the squares up."),
    "mean squared": (of_pairs(lambda d: (d**2).mean(2).amin(1)),
                     "This is the mean squared difference. The distance is the root of the summed squares."),
    "pixel by pixel": (of_pairs(lambda d: d.abs().amin(1).norm(dim=1)),
                       "You take the nearest reference in each pixel, so the distance is that to a mixture of images. "
                       "Choose one image for all pixels."),
    "overall": (of_pairs(lambda d: d.norm(dim=2).amin()),
                         "This is the smallest of all distances. Each query has its own."),
    "one channel": (lambda queries, references: apart(queries[:, 0], references[:, 0]).norm(dim=2).amin(1),
                    "You compare the first channel alone. All channels count."),
    "cosine": (cosine, "This is the cosine distance, which ignores contrast. Take the root of summed squares."),
    "brightness": (of_brightness, "You compare mean brightness alone. Compare pixel by pixel."),
    "all pairs": (of_pairs(lambda d: d.norm(dim=2)), "These are the distances of all pairs. Keep the smallest of each "
                                                     "query."),
}


def closeness_inputs(draw):
    """What closeness is tried with, besides the example."""
    return [(draw(4, 9, low=0.2, high=2), 4), (draw(3, 6, low=0.2, high=2), 2),
            (draw(9, 7, low=0.2, high=2), 3)]


@exercise("How near is too near?", example=(torch.tensor([[1.0, 2, 9, 0.5]]), 2),
          inputs=closeness_inputs)
def closeness(distances, k):
    r"""Compute the nearest-neighbour distance ratio of each image: the distance to the nearest reference, divided by
    the mean distance to the next k. It is 0 for a copy.

    - `distances`: from each of B images to all N references, in any order, (B, N)
    - `k`: an integer, smaller than N

    Return one number for each image, (B,)."""
    d = distances.sort(1).values                               # (B, N), the nearest first
    return d[:, 0] / d[:, 1:k + 1].mean(1)                     # (B,)


def ordered(formula):
    """A wrong closeness from a formula of the sorted distances and k."""
    return lambda distances, k: formula(distances.sort(1).values, k)


def by_columns(distances, k):
    """Wrong: sorted along the images."""
    d = distances.sort(0).values
    return d[:, 0] / d[:, 1:k + 1].mean(1)


closeness.mistakes = {
    "nearest again": (ordered(lambda d, k: d[:, 0] / d[:, :k].mean(1)),
                      "The nearest is counted among its own neighbours. Compare it with the next ones."),
    "nearest too": (ordered(lambda d, k: d[:, 0] / d[:, :k + 1].mean(1)),
                    "The next k are there, but the nearest is in the mean, too. It would be compared with itself."),
    "all": (ordered(lambda d, k: d[:, 0] / d[:, 1:].mean(1)),
            "You compare with all the others. Far images say nothing about the density near this one: take k."),
    "all with the nearest": (ordered(lambda d, k: d[:, 0] / d.mean(1)),
                             "You compare with the mean distance to all references. Take the next k alone."),
    "k-th": (ordered(lambda d, k: d[:, 0] / d[:, k]),
             "You compare with a single neighbour, the farthest of the k. Take the mean of all k."),
    "second": (ordered(lambda d, k: d[:, 0] / d[:, 1]),
               "You compare with the second nearest alone. Take the mean of the next k."),
    "sum": (ordered(lambda d, k: d[:, 0] / d[:, 1:k + 1].sum(1)),
            "You divide by the sum of the next k distances. Take their mean."),
    "median": (ordered(lambda d, k: d[:, 0] / d[:, 1:k + 1].median(1).values),
               "You divide by the median of the next k distances. Take their mean."),
    "distance": (ordered(lambda d, k: d[:, 0]),
                 "This is the distance itself. What is near and what is far depends on how dense the images are "
                 "around."),
    "upside down": (ordered(lambda d, k: d[:, 1:k + 1].mean(1) / d[:, 0]),
                    "The fraction is upside down: a copy would be infinite. It should be 0."),
    "gap": (ordered(lambda d, k: d[:, 1:k + 1].mean(1) - d[:, 0]),
            "You subtract, so the result depends on contrast and size. Divide, to compare with the others."),
    "one minus": (ordered(lambda d, k: 1 - d[:, 0] / d[:, 1:k + 1].mean(1)),
                  "A copy would get 1 here. It should get 0: leave the ratio as it is."),
    "unsorted": (lambda distances, k: distances[:, 0] / distances[:, 1:k + 1].mean(1),
                 "You take the references in the order in which they come. Look for the nearest first."),
    "others unsorted": (lambda distances, k: distances.amin(1) / distances[:, 1:k + 1].mean(1),
                        "The nearest is right, but the next k are those that come next in the list. Sort the distances "
                        "first."),
    "largest first": (ordered(lambda d, k: d.flip(1)[:, 0] / d.flip(1)[:, 1:k + 1].mean(1)),
                      "You sort the largest distance first. The nearest has the smallest."),
    "sorted by columns": (by_columns,
                          "You sort along the images. Sort the distances of each image along the references."),
    "squared": (ordered(lambda d, k: d[:, 0]**2 / (d[:, 1:k + 1]**2).mean(1)),
                "You compare squared distances, in which far neighbours weigh too much."),
    "all images": (ordered(lambda d, k: d[:, 0] / d[:, 1:k + 1].mean()),
                   "You compare with the neighbours of all images. Each image has its own."),
    "one too few": (ordered(lambda d, k: d[:, 0] / d[:, 1:k].mean(1)),
                    "You take one neighbour too few: k of them come after the nearest."),
    "one too many": (ordered(lambda d, k: d[:, 0] / d[:, 1:k + 2].mean(1)),
                     "You take one neighbour too many: k of them come after the nearest."),
    "nearest left out": (ordered(lambda d, k: d[:, 1] / d[:, 2:k + 2].mean(1)),
                         "You leave the nearest out, as if each image were among its own references. It is the very "
                         "one that counts."),
}


def copied_inputs(draw):
    """What copied is tried with, besides the example."""
    return [(draw(11, low=0.1, high=1), draw(7, low=0.6, high=1)),
            (torch.tensor([0.7, 0.3, 0.9, 0.7, 0.75]), torch.tensor([0.8, 0.7, 0.95, 1.0, 0.7])),
            (torch.tensor([0.55, 0.61, 0.62, 0.9, 0.2, 0.0, 0.81]), torch.linspace(0.6, 1, 41))]


@exercise("A score that means something",
          example=(torch.tensor([0.1, 0.8, 0.65, 0.97, 0.72, 0.58]), torch.tensor([0.6, 0.9, 0.7])),
          inputs=copied_inputs)
def copied(made, held_out):
    r"""Compute a score of memorisation: the fraction of generated images whose nearest-neighbour distance ratio is
    strictly smaller than that of every held-out image.

    - `made`: the ratios of N generated images, (N,);  0 is a copy of a training image
    - `held_out`: the ratios of M held-out images, (M,), all at least 0.5

    Return one number between 0 and 1."""
    return (made < held_out.min()).float().mean().item()


def below(limit):
    """A wrong copied: the fraction of made below limit(held_out)."""
    return lambda made, held_out: (made < limit(held_out)).double().mean().item()


def place_by_place(made, held_out):
    """Wrong: image i is compared with held-out image i."""
    n = min(len(made), len(held_out))
    return (made[:n] < held_out[:n]).double().mean().item()


copied.mistakes = {
    "not strictly": (lambda made, held_out: (made <= held_out.min()).double().mean().item(),
                     "Nearly. An image that is just as near as a held-out one has not come nearer than chance."),
    "farthest": (below(lambda held: held.max()),
                 "You count whatever is nearer than some held-out image, and suspect almost everything. A copy is "
                 "nearer than all of them."),
    "mean": (below(lambda held: held.mean()),
             "You compare with the mean of the held-out images. About half of these, which are no copies, would count "
             "as such."),
    "median": (below(lambda held: held.median()),
               "You compare with the median of the held-out images. Half of these, which are no copies, would count as "
               "such."),
    "percentile": (below(lambda held: held.quantile(0.05)),
                   "You compare with a low percentile of the held-out images. Some of these lie below it, so count "
                   "what is nearer than all."),
    "half": (below(lambda held: 0.5),
             "Your limit is fixed. Let the held-out images say how near an image may be by chance."),
    "exact copies": (lambda made, held_out: (made == 0).double().mean().item(),
                     "You count exact copies alone. A network's copies are near, but not equal."),
    "inverted": (lambda made, held_out: 1 - copied.solution(made, held_out),
                 "This is the fraction of those that are no copies."),
    "farther": (lambda made, held_out: (made > held_out.min()).double().mean().item(),
                "You count what is farther away than the nearest held-out image. Copies are nearer."),
    "count": (lambda made, held_out: float((made < held_out.min()).sum()),
              "This is how many there are. The task asks for their fraction of all generated images."),
    "percent": (lambda made, held_out: 100 * copied.solution(made, held_out),
                "These are per cent. The task asks for a number between 0 and 1."),
    "each": (lambda made, held_out: made < held_out.min(),
             "This says of each image whether it is a copy. The task asks for the fraction of those that are."),
    "other way": (lambda made, held_out: (held_out < made.max()).double().mean().item(),
                  "You count held-out images. They only set the limit; count the generated ones."),
    "sets exchanged": (lambda made, held_out: (held_out < made.min()).double().mean().item(),
                       "The two sets have changed places: the held-out images set the limit, the generated ones are "
                       "counted."),
    "by the held-out": (lambda made, held_out: (made < held_out.min()).sum().item() / len(held_out),
                        "You divide by the number of held-out images. It is a fraction of the generated ones."),
    "pairs": (lambda made, held_out: (made[:, None] < held_out).double().mean().item(),
              "You average over all pairs. A generated image counts in full if it is nearer than all held-out ones, "
              "and else not at all."),
    "by place": (place_by_place,
                 "You compare each generated image with the held-out image of the same place. Compare it with all."),
}
