"""Is it right?  Measures of agreement between pictures, or masks, and what they should be."""
import torch


def iou(pred, target):
    """Intersection over union of two binary masks (B, ...): (B,), 1 where both are empty."""
    pred, target = pred.flatten(1).bool(), target.flatten(1).bool()
    union = (pred | target).sum(1)
    return torch.where(union == 0, 1.0, (pred & target).sum(1) / union.clamp(min=1))


def dice(pred, target, smooth=1e-6):
    """2 |A & B| / (|A| + |B|) of masks (B, ...): (B,); takes soft predictions in [0, 1], so a loss can use it."""
    pred, target = pred.flatten(1).float(), target.flatten(1).float()
    return (2 * (pred * target).sum(1) + smooth) / (pred.sum(1) + target.sum(1) + smooth)


def psnr(pred, target, peak=2.0):
    """Peak signal-to-noise ratio in dB of pictures (B, ...): (B,); peak is the range of values, 2 for [-1, 1]."""
    return 10 * torch.log10(peak**2 / ((pred - target) ** 2).flatten(1).mean(1))


def nearest(queries, references):
    """(distances, indices), each (B,): the reference (N, ...) nearest to each query (B, ...), a look for copies."""
    index = torch.cdist(queries.flatten(1), references.flatten(1)).argmin(1)
    return (queries - references[index]).flatten(1).norm(dim=1), index       # cdist rounds: a copy would lie at 0.03
