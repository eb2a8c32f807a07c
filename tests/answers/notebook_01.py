"""Answers to the exercises of notebook 01."""
import math

import numpy as np
import torch
import torch.nn.functional as F

from answers.registry import right, wrong


@right("held_out", "the smallest id that is held out")
def _(groups, share):
    ids = sorted(set(groups.tolist()))
    return groups >= ids[-max(1, round(share * len(ids)))]

@right("held_out", "by a loop")
def _(groups, share):
    ids = torch.unique(groups).tolist()
    chosen = ids[len(ids) - max(1, round(len(ids) * share)):]
    return torch.tensor([g in chosen for g in groups.tolist()])

@wrong("held_out", "the last N * share images", "by image")
def _(groups, share):
    n = max(1, round(share * len(groups)))
    out = torch.zeros(len(groups), dtype=torch.bool)
    out[-n:] = True
    return out

@wrong("held_out", "int() cuts off", "rounded down")
def _(groups, share):
    ids = groups.unique()
    return torch.isin(groups, ids[-max(int(share * len(ids)), 1):])

@wrong("held_out", "ceil", "rounded up")
def _(groups, share):
    ids = groups.unique()
    return torch.isin(groups, ids[-math.ceil(share * len(ids)):])

@wrong("held_out", "[-0:] takes all where nothing is held out", "all")
def _(groups, share):
    ids = groups.unique()
    return torch.isin(groups, ids[-round(share * len(ids)):])

@wrong("held_out", "random slices", "own noise")
def _(groups, share):
    ids = groups.unique()
    return torch.isin(groups, ids[torch.randperm(len(ids))[:max(1, round(share * len(ids)))]])

@wrong("held_out", "random images", "own noise")
def _(groups, share):
    return torch.rand(len(groups)) < share

@wrong("held_out", "training images marked", "inverted")
def _(groups, share):
    ids = groups.unique()
    return ~torch.isin(groups, ids[-max(1, round(share * len(ids))):])

@wrong("held_out", "smallest ids", "smallest")
def _(groups, share):
    ids = groups.unique()
    return groups <= ids[max(1, round(share * len(ids))) - 1]

@wrong("held_out", "quantile of the images", None)
def _(groups, share):
    return groups > groups.float().quantile(1 - share)

@wrong("held_out", "as integers 0 and 1", "form")
def _(groups, share):
    ids = groups.unique()
    return torch.isin(groups, ids[-max(1, round(share * len(ids))):]).long()

@wrong("held_out", "unique_consecutive: order of appearance", "by appearance")
def _(groups, share):
    ids = list(dict.fromkeys(groups.tolist()))
    return torch.isin(groups, torch.tensor(ids[-max(1, round(share * len(ids))):]))

@wrong("held_out", "only the largest id", "one")
def _(groups, share):
    return groups == groups.max()

@wrong("held_out", "groups.max() * (1 - share)", "above a share of the ids")
def _(groups, share):
    return groups > groups.max() * (1 - share)


@right("iou", "logical and / or")
def _(pred, target):
    p, q = pred.bool(), target.bool()
    i, u = (p & q).sum((1, 2)), (p | q).sum((1, 2))
    return torch.where(u == 0, 1.0, i / u)

@right("iou", "minimum and maximum, loop")
def _(pred, target):
    out = []
    for p, q in zip(pred, target):
        u = torch.maximum(p, q).sum()
        out.append(torch.minimum(p, q).sum() / u if u > 0 else torch.tensor(1.0))
    return torch.stack(out)

@right("iou", "numpy inside")
def _(pred, target):
    p, q = pred.numpy() > 0, target.numpy() > 0
    i, u = (p & q).sum((1, 2)), (p | q).sum((1, 2))
    return torch.tensor(np.where(u == 0, 1, i / np.maximum(u, 1)), dtype=torch.float32)

@wrong("iou", "eps in the denominator: empty gives 0", "empty is 0")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return i / (pred.sum((1, 2)) + target.sum((1, 2)) - i + 1e-8)

@wrong("iou", "no special case: nan", "empty is nan")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return i / (pred.sum((1, 2)) + target.sum((1, 2)) - i)

@wrong("iou", "eps above and below in full: smooth = 1", "smoothed")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return (i + 1) / (pred.sum((1, 2)) + target.sum((1, 2)) - i + 1)

@wrong("iou", "Dice", "Dice")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return torch.nan_to_num(2 * i / (pred.sum((1, 2)) + target.sum((1, 2))), nan=1.0)

@wrong("iou", "summed over the batch, too", "whole batch")
def _(pred, target):
    i = (pred * target).sum()
    return i / ((pred + target) > 0).sum()

@wrong("iou", "mean of the batch", "batch mean")
def _(pred, target):
    i, u = (pred * target).sum((1, 2)), ((pred + target) > 0).sum((1, 2))
    return torch.where(u == 0, 1.0, i / u).mean()

@wrong("iou", "1 where the target is empty", "one if nothing is to be found")
def _(pred, target):
    i, u = (pred * target).sum((1, 2)), ((pred + target) > 0).sum((1, 2))
    return torch.where(target.sum((1, 2)) == 0, 1.0, i / u.clamp(min=1))

@wrong("iou", "pixel accuracy", "accuracy")
def _(pred, target):
    return (pred == target).float().mean((1, 2))

@wrong("iou", "union without subtracting the overlap", "overlap counted twice")
def _(pred, target):
    i, u = (pred * target).sum((1, 2)), pred.sum((1, 2)) + target.sum((1, 2))
    return torch.where(u == 0, 1.0, i / u)

@wrong("iou", "summed over rows only", None)
def _(pred, target):
    i, u = (pred * target).sum(1), ((pred + target) > 0).sum(1)
    return torch.where(u == 0, 1.0, i / u)

@wrong("iou", "empty background counted, too: mean of both classes", None)
def _(pred, target):
    def one(p, q):
        i, u = (p * q).sum((1, 2)), ((p + q) > 0).sum((1, 2))
        return torch.where(u == 0, 1.0, i / u.clamp(min=1))
    return (one(pred, target) + one(1 - pred, 1 - target)) / 2


@right("dice", "einsum")
def _(pred, target):
    return 2 * torch.einsum("bij,bij->b", pred, target) / (pred.sum((1, 2)) + target.sum((1, 2)))

@right("dice", "a tiny eps")
def _(pred, target):
    i = (pred * target).flatten(1).sum(1)
    return (2 * i + 1e-7) / (pred.flatten(1).sum(1) + target.flatten(1).sum(1) + 1e-7)

@wrong("dice", "smooth = 1", "smoothed")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return (2 * i + 1) / (pred.sum((1, 2)) + target.sum((1, 2)) + 1)

@wrong("dice", "rounded predictions", "hard")
def _(pred, target):
    p = pred.round()
    return 2 * (p * target).sum((1, 2)) / (p.sum((1, 2)) + target.sum((1, 2)))

@wrong("dice", "2 forgotten", "half")
def _(pred, target):
    return (pred * target).sum((1, 2)) / (pred.sum((1, 2)) + target.sum((1, 2)))

@wrong("dice", "soft IoU", "IoU")
def _(pred, target):
    i = (pred * target).sum((1, 2))
    return i / (pred.sum((1, 2)) + target.sum((1, 2)) - i)

@wrong("dice", "1 - Dice", "loss")
def _(pred, target):
    return 1 - 2 * (pred * target).sum((1, 2)) / (pred.sum((1, 2)) + target.sum((1, 2)))

@wrong("dice", "one number for the batch", "whole batch")
def _(pred, target):
    return 2 * (pred * target).sum() / (pred.sum() + target.sum())

@wrong("dice", "squares below (V-Net)", "squares")
def _(pred, target):
    return 2 * (pred * target).sum((1, 2)) / (pred.square().sum((1, 2)) + target.square().sum((1, 2)))

@wrong("dice", "means over the batch of Dice", "batch mean")
def _(pred, target):
    return (2 * (pred * target).sum((1, 2)) / (pred.sum((1, 2)) + target.sum((1, 2)))).mean()

@wrong("dice", "minus in the denominator", "twice IoU")
def _(pred, target):
    return 2 * (pred * target).sum((1, 2)) / (pred + target - pred * target).sum((1, 2))

@wrong("dice", "over columns only", None)
def _(pred, target):
    return 2 * (pred * target).sum(-1) / (pred.sum(-1) + target.sum(-1))


@right("skip_join", "nn.Upsample")
def _(x, skip):
    return torch.cat((torch.nn.Upsample(scale_factor=2)(x), skip), 1)

@right("skip_join", "repeat_interleave")
def _(x, skip):
    return torch.cat([x.repeat_interleave(2, -1).repeat_interleave(2, -2), skip], dim=1)

@wrong("skip_join", "dim 0", "batch")
def _(x, skip):
    return torch.cat([F.interpolate(x, scale_factor=2), skip])

@wrong("skip_join", "dim -1", "width")
def _(x, skip):
    return torch.cat([F.interpolate(x, scale_factor=2), skip], dim=-1)

@wrong("skip_join", "skip first", "reversed")
def _(x, skip):
    return torch.cat([skip, F.interpolate(x, scale_factor=2)], dim=1)

@wrong("skip_join", "added", "added")
def _(x, skip):
    return F.interpolate(x, scale_factor=2) + skip

@wrong("skip_join", "bilinear", "bilinear")
def _(x, skip):
    return torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), skip], dim=1)

@wrong("skip_join", "bilinear, corners aligned", "corners aligned")
def _(x, skip):
    return torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), skip], dim=1)

@wrong("skip_join", "repeat", "tiled")
def _(x, skip):
    return torch.cat([x.repeat(1, 1, 2, 2), skip], dim=1)

@wrong("skip_join", "reshaped instead of enlarged", None)
def _(x, skip):
    return torch.cat([x.repeat(1, 4, 1, 1).reshape(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]), skip], dim=1)

@wrong("skip_join", "skip shrunk", None)
def _(x, skip):
    return torch.cat([x, F.max_pool2d(skip, 2)], dim=1)

@wrong("skip_join", "skip forgotten", "skip lost")
def _(x, skip):
    return F.interpolate(x, scale_factor=2)

@wrong("skip_join", "not enlarged", None)
def _(x, skip):
    return torch.cat([x, skip], dim=1)
