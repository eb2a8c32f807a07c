"""The exercises of notebook 01: a split without leaks, scores of masks, a skip connection."""
import math

import torch
import torch.nn.functional as F

from exercises.exercise import exercise

SLICES = torch.tensor([3, 0, 4, 1, 1, 0, 2, 4, 3, 1, 2, 1, 1, 0])


def held_out_inputs(draw):
    """What held_out is tried with, besides the example."""
    return [(SLICES, 0.4), (SLICES + 2, 0.2), (SLICES, 0.1), (SLICES + 20, 0.35), (SLICES, 0.25),
            (3 * SLICES + 7, 0.7)]


@exercise("A split that does not leak", example=(torch.tensor([1, 0, 2, 1, 2, 0]), 0.1),
          inputs=held_out_inputs)
def held_out(groups, share):
    r"""Hold out whole slices: those with the largest ids, `max(1, round(share * n))` of the n different slices.

    - `groups`: the id of the slice that each image was cut from, a tensor (N,) of integers
    - `share`: which part of the slices to hold out, a number between 0 and 1

    Return a tensor (N,): True for each held-out image, False for each training image."""
    slices = groups.unique()                                   # (n,), in rising order
    count = max(round(share * len(slices)), 1)                 # a share of the slices, not of the images
    return torch.isin(groups, slices[-count:])                 # (N,)


def largest(count):
    """A wrong held_out that holds out the count(n, share) largest ids."""
    def answer(groups, share):
        ids = groups.unique()
        return torch.isin(groups, ids[len(ids) - min(count(len(ids), share), len(ids)):])
    return answer


def smallest(groups, share):
    """Wrong: the slices with the smallest ids."""
    ids = groups.unique()
    return torch.isin(groups, ids[:max(round(share * len(ids)), 1)])


def last_images(groups, share):
    """Wrong: the last images, whatever they were cut from."""
    return torch.arange(len(groups)) >= len(groups) - max(round(share * len(groups)), 1)


def first_images(groups, share):
    """Wrong: the first images, whatever they were cut from."""
    return torch.arange(len(groups)) < max(round(share * len(groups)), 1)


def share_of_images(groups, share):
    """Wrong: slices from the last one on until enough images are held out."""
    return groups > groups.sort().values[-1 - max(round(share * len(groups)), 1)]


def one_of_each(groups, share):
    """Wrong: the first image of each slice."""
    return torch.tensor([group not in groups[:i] for i, group in enumerate(groups)])


def by_appearance(groups, share):
    """Wrong: the slices that appear last in the list."""
    order = list(dict.fromkeys(groups.tolist()))
    return torch.isin(groups, torch.tensor(order[-max(round(share * len(order)), 1):]))


def from_minus_none(groups, share):
    """Wrong: a list from minus 0 on is the whole list."""
    return torch.isin(groups, groups.unique()[-round(share * len(groups.unique())):])


def ids_from_zero(groups, share):
    """Wrong: the largest id is taken for the number of slices."""
    return groups > groups.max() - max(round(share * (groups.max().item() + 1)), 1)


def their_ids(groups, share):
    """Wrong: the ids, instead of True or False for each image."""
    return groups.unique()[-max(round(share * len(groups.unique())), 1):]


held_out.mistakes = {
    "by image": (last_images,
                 "You hold out the last images, whatever slice they come from. Images of one slice now stand on both "
                 "sides, so the score rewards memory."),
    "first images": (first_images,
                     "You hold out the first images, whatever slice they come from. Images of one slice now stand on "
                     "both sides, so the score rewards memory."),
    "one of each": (one_of_each,
                    "You hold out one image of each slice, so the network has seen every slice. Keep each slice "
                    "whole."),
    "inverted": (lambda groups, share: ~held_out.solution(groups, share),
                 "True and False are exchanged: True stands at the training images."),
    "smallest": (smallest, "You hold out the slices with the smallest ids. The task asks for those with the largest."),
    "smallest inverted": (lambda groups, share: ~smallest(groups, share),
                          "You hold out all but the slices with the smallest ids. The task asks for those with the "
                          "largest, and only so many."),
    "none": (largest(lambda n, share: round(share * n)),
             "Nearly. With a small share your rounding leaves no slice at all to test on."),
    "all": (from_minus_none,
            "Nearly. With a small share your rounding gives 0, and a list from minus 0 on is the whole list."),
    "share of images": (share_of_images,
                        "You count how many images are held out. The share is one of slices, which hold different "
                        "numbers of images."),
    "rounded down": (largest(lambda n, share: max(int(share * n), 1)),
                     "Nearly. The number of slices is rounded down instead of to the nearest integer."),
    "rounded up": (largest(lambda n, share: math.ceil(share * n)),
                   "Nearly. The number of slices is rounded up instead of to the nearest integer."),
    "one": (largest(lambda n, share: 1), "You hold out a single slice, whatever the share is."),
    "one more": (largest(lambda n, share: max(round(share * n), 1) + 1), "You hold out one slice too many."),
    "by appearance": (by_appearance,
                      "You take the slices that come last in the list. The task asks for those with the largest ids."),
    "above a share of the ids": (lambda groups, share: groups > groups.max() * (1 - share),
                                 "You compare with a share of the largest id. The ids are names, which may begin "
                                 "anywhere: count the different ones."),
    "of the ids": (lambda groups, share: groups >= groups.max() * (1 - share),
                   "You take a share of the largest id. The ids are names, which may begin anywhere: count the "
                   "different ones."),
    "ids from 0": (ids_from_zero,
                   "You count the slices by the largest id. The ids are names, which may begin anywhere: count the "
                   "different ones."),
    "their ids": (their_ids,
                  "These are the ids of the held-out slices. The task asks for True or False for each image."),
    "their places": (lambda groups, share: held_out.solution(groups, share).nonzero()[:, 0],
                     "These are the places of the held-out images. The task asks for True or False for each image."),
}


PRED = torch.tensor([[[1., 1, 0, 0], [0, 1, 0, 0]], [[0, 1, 1, 0], [0, 0, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]],
                     [[1, 0, 0, 0], [1, 1, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
TRUE = torch.tensor([[[0., 1, 1, 1], [0, 1, 1, 0]], [[0, 1, 1, 0], [0, 0, 1, 0]], [[0, 1, 0, 0], [1, 0, 0, 1]],
                     [[0, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])         # one empty, the other, both


def areas(pred, target):
    """Of masks (B, H, W): overlap, area of pred, area of target, number of pixels, (B,) each."""
    p = pred.flatten(1).float()
    q = target.flatten(1).float()
    return (p * q).sum(1), p.sum(1), q.sum(1), p.shape[1]


def of_areas(formula, empty=1.0):
    """A score of two masks from their areas; empty: its value where 0 is divided by 0."""
    return lambda pred, target: formula(*areas(pred, target)).nan_to_num(nan=empty)


def together(score):
    """The same score of all images together, as one number."""
    return lambda pred, target: score(pred.reshape(1, 1, -1), target.reshape(1, 1, -1))[0]


@exercise("How good is a mask?", example=(torch.tensor([[[1., 1, 0, 0]]]), torch.tensor([[[0., 1, 1, 1]]])),
          inputs=lambda draw: [(PRED, TRUE), (draw.mask(3, 4, 5), draw.mask(3, 4, 5))])
def iou(pred, target):
    r"""Compute the intersection over union of two masks, $|A \cap B| / |A \cup B|$, for each image.

    - `pred`, `target`: masks (B, H, W), float tensors of zeros and ones

    Return one number for each image, (B,). Where both masks are empty, it is 1."""
    p = pred.flatten(1)
    q = target.flatten(1)                                      # (B, H * W)
    overlap = (p * q).sum(1)                                   # (B,)
    union = p.sum(1) + q.sum(1) - overlap                      # the overlap was counted twice
    return torch.where(union == 0, 1.0, overlap / union)


def one_if_either_is_empty(pred, target):
    """Wrong: 1 where one of the masks is empty."""
    overlap, p, q, _ = areas(pred, target)
    return torch.where((p == 0) | (q == 0), 1.0, overlap / (p + q - overlap))


iou.mistakes = {
    "Dice": (of_areas(lambda i, p, q, n: 2 * i / (p + q)),
             "This is the Dice score, which counts the overlap twice. The task asks for intersection over union."),
    "whole batch": (together(iou.solution),
                    "All images are thrown together into one number. Each image has its own: leave the first axis "
                    "alone."),
    "batch mean": (lambda pred, target: iou.solution(pred, target).mean(),
                   "You average over the batch. Each image has its own score."),
    "accuracy": (lambda pred, target: (pred == target).float().flatten(1).mean(1),
                 "This is the share of pixels that are right. Marking nothing at all would score well."),
    "precision": (of_areas(lambda i, p, q, n: i / p),
                  "You divide by the area of the prediction alone, so what it missed costs nothing."),
    "recall": (of_areas(lambda i, p, q, n: i / q),
               "You divide by the area of the target alone, so false alarms cost nothing."),
    "overlap counted twice": (of_areas(lambda i, p, q, n: i / (p + q)),
                              "You divide by the two areas added up, which count the overlap twice. A perfect mask "
                              "would get only one half."),
    "empty is 0": (of_areas(lambda i, p, q, n: i / (p + q - i), empty=0.0),
                   "Nearly. Where there is nothing to find and nothing was marked, the mask is perfect."),
    "empty is nan": (of_areas(lambda i, p, q, n: i / (p + q - i), empty=math.nan),
                     "Nearly. Where both masks are empty you divide 0 by 0; say what it should be."),
    "one if either is empty": (one_if_either_is_empty,
                               "Nearly. Only where both masks are empty is the score 1. Where one of them is, "
                               "something was missed, or was marked wrongly."),
    "one if nothing is to be found": (lambda pred, target: iou.solution(pred, target).where(target.sum((1, 2)) > 0, 1),
                                      "Nearly. Where there is nothing to find, but something was marked, the score is "
                                      "0."),
    "one if nothing is marked": (lambda pred, target: iou.solution(pred, target).where(pred.sum((1, 2)) > 0, 1),
                                 "Nearly. Where nothing was marked, but something is to be found, the score is 0."),
    "smoothed": (of_areas(lambda i, p, q, n: (i + 1) / (p + q - i + 1)),
                 "You add 1 above and below to avoid a division by 0. That changes every score: treat the empty case "
                 "on its own."),
    "loss": (of_areas(lambda i, p, q, n: 1 - i / (p + q - i), empty=0.0),
             "This is the loss, small where the masks agree. The task asks for the score, large where they agree."),
    "overlap": (of_areas(lambda i, p, q, n: i), "This is the area of the overlap alone. Divide by that of the union."),
    "of all pixels": (of_areas(lambda i, p, q, n: i / n),
                      "You divide by the number of pixels. Divide by the area of the union."),
    "by the larger": (of_areas(lambda i, p, q, n: i / torch.maximum(p, q)),
                      "You divide by the larger of the two areas. The union covers both."),
}


def dice_inputs(draw):
    """What dice is tried with, besides the example."""
    return [(draw(3, 4, 5, low=0.05, high=1), draw.mask(3, 4, 5)),
            (draw(2, 2, 3, low=0.05, high=1), torch.ones(2, 2, 3))]


@exercise("How good is a mask?",
          example=(torch.tensor([[[0.9, 0.6, 0.2, 0.1]]]), torch.tensor([[[1., 0, 1, 0]]])),
          inputs=dice_inputs)
def dice(pred, target):
    r"""Compute the soft Dice score, $2 \sum_i p_i q_i / (\sum_i p_i + \sum_i q_i)$, for each image.

    - `pred`: predicted probabilities between 0 and 1, (B, H, W)
    - `target`: masks (B, H, W), float tensors of zeros and ones; no mask is empty

    Return one number for each image, (B,)."""
    p = pred.flatten(1)
    q = target.flatten(1)                                      # (B, H * W)
    return 2 * (p * q).sum(1) / (p.sum(1) + q.sum(1))          # (B,)


def dice_of_squares(pred, target):
    """Wrong: the values are squared before they are added up."""
    return 2 * (pred * target).sum((1, 2)) / (pred**2 + target**2).sum((1, 2))


dice.mistakes = {
    "half": (of_areas(lambda i, p, q, n: i / (p + q)),
             "It is half of what it should be: the overlap belongs to both areas, and a perfect mask scores 1."),
    "IoU": (of_areas(lambda i, p, q, n: i / (p + q - i)),
            "This is intersection over union, which counts the overlap once. The task asks for Dice."),
    "hard": (lambda pred, target: dice.solution((pred > 0.5).float(), target),
             "You turn the predictions into zeros and ones. Leave them soft: a loss needs to see small changes."),
    "whole batch": (together(dice.solution), "All images are thrown together into one number. Each image has its own."),
    "batch mean": (lambda pred, target: dice.solution(pred, target).mean(),
                   "You average over the batch. Each image has its own score."),
    "squares": (dice_of_squares,
                "You square the values before you add them up. Some papers do, but the formula here does not."),
    "loss": (lambda pred, target: 1 - dice.solution(pred, target),
             "This is the loss, small where the masks agree. The task asks for the score, large where they agree."),
    "mean of pixels": (lambda pred, target: (2 * pred * target / (pred + target)).mean((1, 2)),
                       "You divide in each pixel and average then. First add up over the pixels, then divide once."),
    "twice IoU": (of_areas(lambda i, p, q, n: 2 * i / (p + q - i)),
                  "You divide by the union, so a perfect mask would score 2. For Dice, the two areas are added up."),
    "smoothed": (of_areas(lambda i, p, q, n: (2 * i + 1) / (p + q + 1)),
                 "You add 1 above and below, which changes every score. No mask here is empty, so nothing is to be "
                 "avoided."),
    "overlap": (of_areas(lambda i, p, q, n: 2 * i), "This is twice the overlap. Divide by the two areas added up."),
    "precision": (of_areas(lambda i, p, q, n: i / p),
                  "You divide by the area of the prediction alone, so what it missed costs nothing."),
    "recall": (of_areas(lambda i, p, q, n: i / q),
               "You divide by the area of the target alone, so false alarms cost nothing."),
    "absolute error": (lambda pred, target: 1 - (pred - target).abs().flatten(1).mean(1),
                       "You average the errors of all pixels. Large empty areas would make every mask look good."),
}


def skip_join_inputs(draw):
    """What skip_join is tried with, besides the example."""
    return [(draw(2, 3, 2, 3), draw(2, 3, 4, 6)), (draw(1, 2, 2, 2), draw(1, 3, 4, 4))]


@exercise("The network: down, up, across",
          example=(torch.tensor([[[[1., 2]]]]), torch.tensor([[[[5., 6, 7, 8], [5, 6, 7, 8]]]])),
          inputs=skip_join_inputs)
def skip_join(x, skip):
    r"""Join a skip connection on the way up: double the height and width of `x`, each pixel becoming four equal ones,
    and append the channels of `skip` to those of `x`.

    - `x`: feature maps (B, C, H, W)
    - `skip`: feature maps of the same level on the way down, (B, D, 2H, 2W)

    Return (B, C + D, 2H, 2W), the channels of `x` first."""
    enlarged = F.interpolate(x, scale_factor=2)                # (B, C, 2H, 2W): each pixel four times
    return torch.cat([enlarged, skip], dim=1)                  # (B, C + D, 2H, 2W)


def double(x, mode="nearest"):
    """x at twice the height and width."""
    return F.interpolate(x, scale_factor=2, mode=mode)


def spaced(x):
    """x at twice the height and width, with zeros between its pixels."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def corners_aligned(x, skip):
    """Wrong: blended between neighbours, so that the corners stay as they are."""
    return torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), skip], 1)


def alternating(x, skip):
    """Wrong: the channels of the two in turn."""
    return torch.stack([double(x), skip], 2).flatten(1, 2)


skip_join.mistakes = {
    "added": (lambda x, skip: double(x) + skip,
              "You add the two, as a residual block does. A skip connection here appends channels: afterwards there "
              "are more of them."),
    "averaged": (lambda x, skip: (double(x) + skip) / 2,
                 "You average the two. A skip connection here appends channels: afterwards there are more of them."),
    "reversed": (lambda x, skip: torch.cat([skip, double(x)], 1),
                 "The channels of skip come first here, but those of x should. The next layer knows its channels by "
                 "their order."),
    "batch": (lambda x, skip: torch.cat([double(x), skip], 0),
              "You join along the batch, so there are twice as many images. Join along the channels."),
    "height": (lambda x, skip: torch.cat([double(x), skip], 2),
               "You join along the height: one image now stands upon the other. Join along the channels."),
    "width": (lambda x, skip: torch.cat([double(x), skip], 3),
              "You join along the width: the images now stand side by side. Join along the channels."),
    "bilinear": (lambda x, skip: torch.cat([double(x, "bilinear"), skip], 1),
                 "You blend between neighbours while doubling. Here each pixel becomes four equal ones."),
    "corners aligned": (corners_aligned,
                        "You blend between neighbours while doubling, with aligned corners. Here each pixel becomes "
                        "four equal ones."),
    "bicubic": (lambda x, skip: torch.cat([double(x, "bicubic"), skip], 1),
                "You fit a curve through neighbours while doubling. Here each pixel becomes four equal ones."),
    "tiled": (lambda x, skip: torch.cat([x.repeat(1, 1, 2, 2), skip], 1),
              "You repeat the whole small image four times. It is each pixel that becomes four."),
    "spaced": (lambda x, skip: torch.cat([spaced(x), skip], 1),
               "You put zeros between the pixels of x. Here each pixel becomes four equal ones."),
    "halved": (lambda x, skip: torch.cat([x, F.avg_pool2d(skip, 2)], 1),
               "You shrink the skip, and lose the fine detail it was kept for. Enlarge x instead."),
    "subsampled": (lambda x, skip: torch.cat([x, skip[:, :, ::2, ::2]], 1),
                   "You take every second pixel of the skip, and lose the fine detail it was kept for. Enlarge x "
                   "instead."),
    "alternating": (alternating, "The channels of the two take turns here. All those of x come first."),
    "cropped": (lambda x, skip: torch.cat([double(x), skip[:, :x.shape[1]]], 1),
                "You keep only as many channels of the skip as x has. None of them should be lost."),
    "skip lost": (lambda x, skip: double(x), "You enlarge x, and the skip is lost. Append its channels."),
    "x lost": (lambda x, skip: skip, "You return the skip alone. Enlarge x and append the channels of the skip."),
}
