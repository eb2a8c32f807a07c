"""The exercises of pages 01 to 03: masks and scores, noise in, training."""
import math

import torch
import torch.nn.functional as F

from helpers import metrics, unet
from helpers.check.engine import exercise
from helpers.schedule import Schedule

ALPHA_BAR = torch.tensor([1.0, 0.95, 0.84, 0.66, 0.43, 0.22, 0.07])    # T = 6: small enough to be shown whole


def known(alpha_bar):
    """The Schedule that has this alpha_bar (T + 1,)."""
    return Schedule.from_alpha_bar(alpha_bar)


def mixed(x, eps, a):
    """sqrt(a) x + sqrt(1 - a) eps, with a (B,), (B, 1, 1, 1) or a number."""
    a = a.reshape(-1, 1, 1, 1) if torch.is_tensor(a) and a.ndim == 1 else a
    return a**0.5 * x + (1 - a)**0.5 * eps


# ---------------------------------------------------------------------------------------------------------------- 01

def held_out(groups, share, count=lambda n, share: max(round(share * n), 1), pick=lambda kinds, k: kinds[-k:]):
    """True for the pictures of the last groups."""
    kinds = groups.unique()
    return torch.isin(groups, pick(kinds, count(len(kinds), share)))


def last_pictures(groups, share):
    """True for the last pictures, whatever they were cut from."""
    return torch.arange(len(groups)) >= len(groups) - max(round(share * len(groups)), 1)


def by_pictures(groups, share):
    """Groups from the last one on until enough pictures are held out."""
    return groups > groups.sort().values[-1 - max(round(share * len(groups)), 1)]


SLICES = torch.tensor([3, 0, 4, 1, 1, 0, 2, 4, 3, 1, 2, 1, 1, 0])
exercise(
    "held_out", "01", "A split that does not leak",
    "groups (N,) says which slice each picture was cut from. Give True for each held-out picture, False for the "
    "others, (N,): those of the slices with the largest numbers; of the slices a share, rounded, but at least one.",
    truth=lambda groups, share: held_out(groups, share),
    inputs=lambda draw: [(torch.tensor([1, 0, 2, 1, 2, 0]), 0.1), (SLICES, 0.4), (SLICES + 2, 0.2), (SLICES, 0.1),
                         (SLICES + 20, 0.35)],
    mistakes={
        "by picture": (last_pictures,
                       "You put the last pictures aside, whatever slice they come from. Pictures of one slice now "
                       "stand on both sides: the copycat would be delighted."),
        "one of each": (lambda groups, share: torch.tensor([g not in groups[:i] for i, g in enumerate(groups)]),
                        "You hold out one picture of each slice, so that the network has seen every slice. Keep each "
                        "slice whole."),
        "inverted": (lambda groups, share: ~held_out(groups, share),
                     "Inside out: True stands where the training pictures are."),
        "smallest": (lambda groups, share: held_out(groups, share, pick=lambda kinds, k: kinds[:k]),
                     "You hold out the slices with the smallest numbers, the task asks for those with the largest."),
        "none": (lambda groups, share: held_out(
                     groups, share, lambda n, share: round(share * n), lambda kinds, k: kinds[len(kinds) - k:]),
                 "Nearly. With a small share your rounding leaves no slice at all to judge on."),
        "share of pictures": (by_pictures,
                              "You count how many pictures are held out. The share is one of slices, which hold "
                              "different numbers of pictures."),
        "rounded down": (lambda groups, share: held_out(groups, share, lambda n, share: max(int(share * n - 0.01), 1)),
                         "Nearly. The number of slices is cut off rather than rounded."),
    })


def areas(pred, target):
    """Of masks (B, H, W): overlap, area of pred, area of target, number of pixels, (B,) each."""
    p, q = pred.flatten(1).float(), target.flatten(1).float()
    return (p * q).sum(1), p.sum(1), q.sum(1), p.shape[1]


def of_areas(formula, empty=1.0):
    """A score of two masks from their areas; empty: its value where nothing is divided by nothing."""
    return lambda pred, target: formula(*areas(pred, target)).nan_to_num(nan=empty)


exercise(
    "iou", "01", "How good is a mask?",
    "Intersection over union of masks pred, target (B, H, W) of zeros and ones: one number for each picture, (B,), and "
    "1 where both masks are empty.",
    truth=lambda pred, target: metrics.iou(pred, target),
    inputs=lambda draw: [(torch.tensor([[[1., 1, 0, 0]]]), torch.tensor([[[0., 1, 1, 1]]])),
                         (torch.cat([draw.mask(3, 4, 5), torch.zeros(1, 4, 5)]),
                          torch.cat([draw.mask(3, 4, 5), torch.zeros(1, 4, 5)]))],
    mistakes={
        "Dice": (of_areas(lambda i, p, q, n: 2 * i / (p + q)),
                 "This is the other, kinder score: it counts the overlap twice. Which of the two was asked for?"),
        "whole batch": (lambda pred, target: metrics.iou(pred.reshape(1, -1), target.reshape(1, -1))[0],
                        "All pictures are thrown together into one number. Each picture is to have its own, so leave "
                        "the first axis alone."),
        "pixels right": (lambda pred, target: (pred == target).float().flatten(1).mean(1),
                         "This is the share of pixels that are right. Marking nothing at all would score well."),
        "precision": (of_areas(lambda i, p, q, n: i / p),
                      "You divide by the area of the prediction alone, so what it missed costs nothing."),
        "recall": (of_areas(lambda i, p, q, n: i / q),
                   "You divide by the area of the target alone, so false alarms cost nothing."),
        "overlap counted twice": (of_areas(lambda i, p, q, n: i / (p + q)),
                                  "You divide by both areas added up, and so count the pixels they share twice. A "
                                  "perfect mask would get only one half."),
        "empty is 0": (of_areas(lambda i, p, q, n: i / (p + q - i), empty=0.0),
                       "Nearly. Where there is nothing to find and nothing was marked, the mask is perfect."),
        "empty is nan": (of_areas(lambda i, p, q, n: i / (p + q - i), empty=math.nan),
                         "Nearly. Where both masks are empty you divide nothing by nothing; say what it should be."),
    })

exercise(
    "dice", "01", "How good is a mask?",
    "Dice of soft predictions pred in [0, 1] and masks target, both (B, H, W), with something marked: one number for "
    "each picture, (B,).",
    truth=lambda pred, target: metrics.dice(pred, target),
    inputs=lambda draw: [(torch.tensor([[[0.9, 0.6, 0.2, 0.1]]]), torch.tensor([[[1., 0, 1, 0]]])),
                         (draw(3, 4, 5, low=0.05), draw.mask(3, 4, 5))],
    mistakes={
        "half": (of_areas(lambda i, p, q, n: i / (p + q)),
                 "It is half of what it should be: the overlap belongs to both areas, and a perfect mask scores 1."),
        "IoU": (of_areas(lambda i, p, q, n: i / (p + q - i)),
                "This is intersection over union, the stricter of the two scores."),
        "hard": (lambda pred, target: metrics.dice(pred > 0.5, target),
                 "You cut the predictions to zeros and ones. Leave them soft: a loss needs to feel small changes."),
        "whole batch": (lambda pred, target: metrics.dice(pred.reshape(1, -1), target.reshape(1, -1))[0],
                        "All pictures are thrown together into one number. Each picture is to have its own."),
        "squares": (lambda pred, target: 2 * (pred * target).sum((1, 2)) / (pred**2 + target**2).sum((1, 2)),
                    "You square the predictions before you add them up. Some papers do, but this page compares areas."),
        "loss": (lambda pred, target: 1 - metrics.dice(pred, target),
                 "This is the loss, small where the masks agree. Asked for is the score, large where they agree."),
        "mean of pixels": (lambda pred, target: (2 * pred * target / (pred + target)).mean((1, 2)),
                           "You divide in each pixel and average then. First add up the areas, then divide once."),
        "twice IoU": (of_areas(lambda i, p, q, n: 2 * i / (p + q - i)),
                      "You divide by the area that the two cover together, and a perfect mask would score 2. Here the "
                      "two areas are added up."),
    })

double = lambda x, mode="nearest": F.interpolate(x, scale_factor=2, mode=mode)
exercise(
    "skip_join", "01", "The network: down, up, across",
    "On the way up: double the height and width of x (B, C, H, W), each pixel becoming four equal ones, and join it "
    "with skip (B, D, 2H, 2W), first x, then skip, so that no channel is lost: (B, C + D, 2H, 2W).",
    truth=lambda x, skip: torch.cat([F.interpolate(x, scale_factor=2), skip], dim=1),
    inputs=lambda draw: [(draw(1, 1, 1, 2), draw(1, 1, 2, 4)), (draw(2, 3, 2, 2), draw(2, 3, 4, 4))],
    mistakes={
        "added": (lambda x, skip: double(x) + skip,
                  "You add the two, as a residual block does. A skip stands beside: afterwards there are more "
                  "channels."),
        "reversed": (lambda x, skip: torch.cat([skip, double(x)], 1),
                     "The skip comes first here, but x should. The next layer knows its channels by their order."),
        "batch": (lambda x, skip: torch.cat([double(x), skip], 0),
                  "You join along the batch, so there are twice as many pictures. Join along the channels."),
        "height": (lambda x, skip: torch.cat([double(x), skip], 2),
                   "You join along the height: one picture now stands upon the other. Join along the channels."),
        "width": (lambda x, skip: torch.cat([double(x), skip], 3),
                  "You join along the width: the pictures now stand side by side. Join along the channels."),
        "smooth": (lambda x, skip: torch.cat([double(x, "bilinear"), skip], 1),
                   "You blend between neighbours while doubling. Here each pixel becomes four equal ones."),
        "tiled": (lambda x, skip: torch.cat([x.repeat(1, 1, 2, 2), skip], 1),
                  "You lay the whole small picture down four times. It is each pixel that should become four."),
        "halved": (lambda x, skip: torch.cat([x, F.avg_pool2d(skip, 2)], 1),
                   "You shrink the skip, and lose the fine detail it was kept for. Enlarge x instead."),
    })

# ---------------------------------------------------------------------------------------------------------------- 02

exercise(
    "alpha_bar", "02", "What is left after t steps? A product, not a sum",
    "From beta (T + 1,), with beta[0] = 0, make alpha_bar (T + 1,): how much of the picture's variance is left after "
    "each step.",
    truth=lambda beta: Schedule(beta[1:]).alpha_bar,
    inputs=lambda draw: [(torch.tensor([0.0, 0.1, 0.2, 0.3]),), (F.pad(draw(9, low=0.02, high=0.3), (1, 0)),)],
    mistakes={
        "sum": (lambda beta: 1 - beta.cumsum(0),
                "You subtract the sum of the betas. Remember the price that is lowered twice by 10 %: each step takes "
                "its part of what is still there."),
        "beta": (lambda beta: beta.cumprod(0),
                 "Nothing is left, from the start on: you multiply the betas, which are the noise of each step, or "
                 "your product starts from 0. What survives a step is the rest, and before the first step all is "
                 "there."),
        "alpha": (lambda beta: 1 - beta,
                  "This is alpha, what each single step leaves. How much is left after all the steps so far?"),
        "exponential": (lambda beta: (-beta.cumsum(0)).exp(),
                        "This is the rule of thumb, good for small betas only. The exact answer needs no exponential."),
        "root": (lambda beta: (1 - beta).cumprod(0)**0.5,
                 "You took a root. It belongs to the brightness that is left; alpha_bar itself counts variance."),
        "noise": (lambda beta: 1 - (1 - beta).cumprod(0),
                  "This is the share of the noise. The share of the picture is what remains to 1."),
        "late": (lambda beta: F.pad((1 - beta[:-1]).cumprod(0), (1, 0), value=1.0),
                 "Your list is one step late: entry t should already hold the loss of step t."),
        "last": (lambda beta: (1 - beta).prod(),
                 "This is only the end of the story, one number. Keep what is left after each of the steps."),
        "without t = 0": (lambda beta: (1 - beta[1:]).cumprod(0),
                          "Your list begins after the first step. Entry 0 is the clean picture, of which all is left."),
    })

exercise(
    "noise_step", "02", "A first idea: add a little noise, many times",
    "One small step: weaken x, and add the noise z, of variance 1, so that beta is the variance of what is added and a "
    "variance of 1 stays 1.",
    truth=lambda x, beta, z: (1 - beta)**0.5 * x + beta**0.5 * z,
    inputs=lambda draw: [(draw(2), 0.19, draw(2)), (draw(2, 1, 3, 4), 0.32, draw(2, 1, 3, 4))],
    mistakes={
        "not weakened": (lambda x, beta, z: x + beta**0.5 * z,
                         "You add noise but do not weaken the picture, so the spread grows without end."),
        "no roots": (lambda x, beta, z: (1 - beta) * x + beta * z,
                     "Your weights are variances, but x and z are to be multiplied by standard deviations. A factor "
                     "counts squared."),
        "noise without root": (lambda x, beta, z: (1 - beta)**0.5 * x + beta * z,
                               "The picture's weight is right. That of the noise is still the variance."),
        "picture without root": (lambda x, beta, z: (1 - beta) * x + beta**0.5 * z,
                                 "The noise's weight is right. The picture is weakened too much: its factor counts "
                                 "squared."),
        "swapped": (lambda x, beta, z: beta**0.5 * x + (1 - beta)**0.5 * z,
                    "The two weights are swapped: almost all of the picture should survive one small step."),
        "weights sum to 1": (lambda x, beta, z: (1 - beta**0.5) * x + beta**0.5 * z,
                             "Your two weights add up to 1. It is their squares that must, since variances add."),
        "deviation": (lambda x, beta, z: (1 - beta**2)**0.5 * x + beta * z,
                      "You take beta for the standard deviation of the noise. It is the variance."),
    })


def q_sample(x0, t, eps, alpha_bar):
    """The helper's, with the schedule given by alpha_bar."""
    return known(alpha_bar).q_sample(x0, t, eps)


def pictures_and_t(draw):
    """Inputs (x0 or xt, t, eps, alpha_bar); as many pictures as columns, so that a mixed-up axis raises no error."""
    return [(draw(1, 1, 1, 2), torch.tensor([3]), draw(1, 1, 1, 2), ALPHA_BAR),
            (draw(4, 2, 3, 4), torch.tensor([1, 5, 3, 2]), draw(4, 2, 3, 4), ALPHA_BAR)]


def per_picture(formula, shift=0):
    """A function of (x, t, eps, alpha_bar) from a formula of (x, eps, a), a being (B, 1, 1, 1)."""
    return lambda x, t, eps, alpha_bar: formula(x, eps, alpha_bar[t + shift].reshape(-1, 1, 1, 1))


exercise(
    "q_sample", "02", "In one jump",
    "Jump from the pictures x0 (B, C, H, W) to x_t with the noise eps; t (B,) holds a time for each picture, alpha_bar "
    "is (T + 1,).",
    truth=q_sample, inputs=pictures_and_t,
    mistakes={
        "no roots": (per_picture(lambda x, e, a: a * x + (1 - a) * e),
                     "Your weights are variances; the page mixes with standard deviations. The squares of the two "
                     "weights sum to 1."),
        "noise without root": (per_picture(lambda x, e, a: a**0.5 * x + (1 - a) * e),
                               "The picture's weight is right. The weight of the noise is still a variance."),
        "weights sum to 1": (per_picture(lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e),
                             "The picture's weight is right. But the weights need not sum to 1, their squares must."),
        "swapped": (per_picture(lambda x, e, a: mixed(e, x, a)),
                    "The weights are swapped: at small t there should be much picture and little noise."),
        "early": (per_picture(lambda x, e, a: mixed(x, e, a), -1),
                  "You are one step early: entry t of alpha_bar belongs to t itself, since t counts from the clean "
                  "picture at 0."),
        "late": (per_picture(lambda x, e, a: mixed(x, e, a), 1),
                 "You are one step late: entry t of alpha_bar belongs to t itself."),
        "subtracted": (per_picture(lambda x, e, a: mixed(x, -e, a)),
                       "You take the noise away instead of adding it. In a picture one would not see it, but a network "
                       "would learn the wrong sign."),
        "columns": (lambda x0, t, eps, alpha_bar: mixed(x0, eps, alpha_bar[t][None]),
                    "Each column of pixels got a time of its own, and each picture should. Give the weights as many "
                    "axes as the pictures have, with the batch first."),
        "noise in full": (per_picture(lambda x, e, a: a**0.5 * x + e),
                          "You add the noise in full at every t. Its weight must grow as that of the picture falls."),
    })

argmin = lambda formula, shift=0: lambda alpha_bar: formula(alpha_bar.double()).argmin().item() + shift
exercise(
    "equal_parts", "02", "Signal and noise",
    "The t, a whole number, at which the signal-to-noise ratio is closest to 1; alpha_bar is (T + 1,).",
    truth=lambda alpha_bar: known(alpha_bar).snr().log().abs().argmin().item(),
    inputs=lambda draw: [(ALPHA_BAR,), (1 / (1 + torch.arange(20) / 9)**2,), (torch.linspace(1, 0.01, 24)**0.7,)],
    mistakes={
        "weight": (argmin(lambda a: (a**0.5 - 0.5).abs()),
                   "There the picture's weight is one half. But the ratio is one of squares: equal parts mean equal "
                   "variances."),
        "late": (argmin(lambda a: (a - 0.5).abs(), 1),
                 "One too late. Lists begin at t of 0, the clean picture, so an index is a t already."),
        "early": (argmin(lambda a: (a - 0.5).abs(), -1),
                  "One too early. If you left t of 0 out because its ratio is infinite, add it again in the end."),
        "end": (lambda alpha_bar: len(alpha_bar) - 1,
                "This is the end, where the ratio is smallest. Asked for is where it is closest to 1."),
        "clean": (lambda alpha_bar: 0,
                  "This is the clean picture, where the ratio is infinite. Asked for is where it is closest to 1."),
        "half-way": (lambda alpha_bar: (len(alpha_bar) - 1) // 2,
                     "You take half of the time. Time is only a name: where the parts are equal depends on the "
                     "schedule."),
        "alpha_bar": (lambda alpha_bar: alpha_bar[(alpha_bar - 0.5).abs().argmin()].item(),
                      "This is the value of alpha_bar there. Asked for is the place in the list, which is the t."),
    })

ratio = lambda a: a[1:] / a[:-1]
exercise(
    "beta_of", "02", "A better schedule: cosine",
    "The way back: from alpha_bar (T + 1,), the betas (T + 1,), beginning with beta[0] = 0.",
    truth=lambda alpha_bar: known(alpha_bar).beta,
    inputs=lambda draw: [(ALPHA_BAR[:4],), (torch.linspace(1, 0.05, 12)**1.3,)],
    mistakes={
        "difference": (lambda alpha_bar: F.pad(-alpha_bar.diff(), (1, 0)),
                       "You subtract neighbours. A step takes its part of what is still there, so compare them by "
                       "dividing."),
        "alpha": (lambda alpha_bar: F.pad(ratio(alpha_bar), (1, 0), value=1.0),
                  "This is alpha, what each step leaves of the variance. Beta is what the step replaces by noise."),
        "upside down": (lambda alpha_bar: F.pad(1 - 1 / ratio(alpha_bar), (1, 0)),
                        "Your ratio is upside down, which makes the betas negative. The later value is the smaller "
                        "one."),
        "noise": (lambda alpha_bar: 1 - alpha_bar,
                  "This is all the noise there is at t. Beta is what the single step t adds to it."),
        "early": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar), (0, 1)),
                  "Your list is one step early: the ratio of the entries t and t minus one belongs to t."),
        "without t = 0": (lambda alpha_bar: 1 - ratio(alpha_bar),
                          "The numbers are there, but one is missing in front: at t of 0 no step is made."),
        "roots": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar)**0.5, (1, 0)),
                  "You took a root. It belongs to the weights; beta and alpha_bar count variances."),
    })

# ---------------------------------------------------------------------------------------------------------------- 03


def embedding(t, dim, divisor=0, sign=-1, order=None, batch=False):
    """The sinusoids, with whatever can go wrong."""
    k = torch.arange(dim // 2) / (divisor or dim // 2)
    angle = (torch.arange(len(t)) if batch else t)[:, None].float() * torch.exp(sign * math.log(10_000) * k)
    parts = [angle.cos(), angle.sin()]
    return order(parts) if order else torch.cat(parts, -1)


exercise(
    "time_embedding", "03", "The network must know the time",
    "Turn the times t (B,) into rows (B, dim), dim being even: first all cosines, then all sines of t times dim / 2 "
    "frequencies. These fall from 1 towards 1 / 10000 by equal factors, and the last stops one factor short of it.",
    truth=lambda t, dim: unet.time_embedding(t, dim),
    inputs=lambda draw: [(torch.tensor([3]), 4), (torch.tensor([40, 7, 993, 2]), 4), (torch.tensor([5, 1, 8]), 12)],
    mistakes={
        "batch": (lambda t, dim: embedding(t, dim, batch=True),
                  "Your waves run over the place in the batch and not over t. A picture's fingerprint must not depend "
                  "on its company."),
        "sines first": (lambda t, dim: embedding(t, dim, order=lambda p: torch.cat(p[::-1], -1)),
                        "The sines come first here. For a fresh network that would be as good, but the weights of this "
                        "course expect the cosines first."),
        "interleaved": (lambda t, dim: embedding(t, dim, order=lambda p: torch.stack(p, -1).flatten(1)),
                        "Cosines and sines take turns here. Put all cosines before all sines."),
        "original divisor": (lambda t, dim: embedding(t, dim, divisor=max(dim // 2 - 1, 1)),
                             "Your last frequency is one ten-thousandth itself. There are as many factors as "
                             "frequencies, so it should stop one factor short of that."),
        "dim": (lambda t, dim: embedding(t, dim, divisor=dim),
                "Your frequencies fall too slowly: there are only half as many of them as there are columns."),
        "rising": (lambda t, dim: embedding(t, dim, sign=1),
                   "Your frequencies rise instead of falling, and the waves become too fast to tell anything."),
        "linear": (lambda t, dim: torch.cat([f(t[:, None] * torch.linspace(1, 1e-4, dim // 2))
                                             for f in (torch.cos, torch.sin)], -1),
                   "Your frequencies lie on a straight line. From one to the next they should fall by equal factors."),
        "whole turns": (lambda t, dim: embedding(2 * math.pi * t, dim),
                        "Your waves turn whole circles: there is a factor of two pi too many. The angle is t times the "
                        "frequency."),
        "interleaved, sines first": (lambda t, dim: embedding(
                                         t, dim, order=lambda p: torch.stack(p[::-1], -1).flatten(1)),
                                     "Sines and cosines take turns, as in the paper. Here all cosines come first, then "
                                     "all sines."),
        "falling twice": (lambda t, dim: embedding(t, dim, sign=-2),
                          "Your frequencies fall too fast, as if each factor were taken twice. The last one should "
                          "stay above one ten-thousandth."),
    })

net = lambda x, t: 0.6 * x + 0.07 * torch.as_tensor(t).reshape(-1, 1, 1, 1) * x.roll(1, -1)**2       # reacts to x and t
against = lambda score: lambda model, x0, t, eps, alpha_bar: score(
    model(q_sample(x0, t, eps, alpha_bar), t), eps)
exercise(
    "noise_loss", "03", "The loss",
    "Jump from x0 (B, C, H, W) to x_t with the times t (B,) and the noise eps, let the network model(x_t, t) guess the "
    "noise, and give the mean squared error of its guess, one number in a tensor.",
    truth=against(F.mse_loss),
    inputs=lambda draw: [(net, *case) for case in pictures_and_t(draw)],
    mistakes={
        "sum": (against(lambda guess, eps: F.mse_loss(guess, eps, reduction="sum")),
                "You add the squares up, so a larger batch has a larger loss. Take their mean."),
        "absolute": (against(F.l1_loss),
                     "You average the sizes of the errors. Square them: the best guess is then the mean, and the whole "
                     "theory rests on that."),
        "root": (against(lambda guess, eps: F.mse_loss(guess, eps)**0.5),
                 "You took the root of the error. Leave the squares as they are."),
        "clean input": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(model(x0, t), eps),
                        "The network gets the clean picture, in which there is no noise to be guessed."),
        "picture as target": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(
                                  model(q_sample(x0, t, eps, alpha_bar), t), x0),
                              "You compare the guess with the picture. On this page the network guesses the noise."),
        "noise as input": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(model(eps, t), eps),
                           "The network gets the noise alone and has only to copy it. Hide a picture behind it."),
        "no time": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(
                        model(q_sample(x0, t, eps, alpha_bar), 0 * t), eps),
                    "The network is told that t is 0. It needs the time of each picture."),
        "per picture": (against(lambda guess, eps: ((guess - eps)**2).mean((1, 2, 3))),
                        "You have one number for each picture. Training goes downhill on a single number."),
        "no roots": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(
                         model(per_picture(lambda x, e, a: a * x + (1 - a) * e)(x0, t, eps, alpha_bar), t), eps),
                     "The loss is right, but the noisy picture is not: it is mixed with variances instead of standard "
                     "deviations."),
    })

exercise(
    "ema_update", "03", "The same loop, ready for use",
    "One step of the running average of the weights: keep the share decay of average, take the rest from weights, and "
    "return a new tensor; both stay as they are.",
    truth=lambda average, weights, decay: average.lerp(weights, 1 - decay),
    inputs=lambda draw: [(draw(2), draw(2), 0.9), (draw(3, 4), draw(3, 4), 0.75)],
    mistakes={
        "swapped": (lambda average, weights, decay: average.lerp(weights, decay),
                    "The shares are swapped: the average should be slow, so most of it stays."),
        "plain mean": (lambda average, weights, decay: (average + weights) / 2,
                       "You take half of each, whatever decay says."),
        "too much": (lambda average, weights, decay: decay * average + weights,
                     "The new weights are added in full, so the average grows and grows. The two shares sum to 1."),
        "weights only": (lambda average, weights, decay: weights,
                         "This forgets all that came before. The average has a memory: that is why it is calm."),
        "average only": (lambda average, weights, decay: average,
                         "This learns nothing: a little of the new weights must go in."),
        "fading": (lambda average, weights, decay: (1 - decay) * (average + weights),
                   "Both get the small share, and the average fades to nothing. The two shares sum to 1."),
        "backwards": (lambda average, weights, decay: average - (1 - decay) * (weights - average),
                      "It moves away from the new weights. A sign is wrong."),
    })

exercise(
    "predict_x0", "03", "Where is it hard?",
    "Solve the jump for the picture: from xt (B, C, H, W), t (B,) and the noise eps back to x0; alpha_bar is (T + 1,).",
    truth=lambda xt, t, eps, alpha_bar: known(alpha_bar).predict_x0(xt, t, eps), inputs=pictures_and_t,
    mistakes={
        "no roots": (per_picture(lambda x, e, a: (x - (1 - a) * e) / a),
                     "You use variances as weights. In the jump both weights are standard deviations."),
        "multiplied": (per_picture(lambda x, e, a: (x - (1 - a)**0.5 * e) * a**0.5),
                       "The noise is gone, but then you weaken the picture once more. The jump has weakened it; undo "
                       "that."),
        "not divided": (per_picture(lambda x, e, a: x - (1 - a)**0.5 * e),
                        "The noise is gone, but the picture is still as weak as the jump has left it."),
        "added": (per_picture(lambda x, e, a: (x + (1 - a)**0.5 * e) / a**0.5),
                  "You add the noise once more. It has to go."),
        "brackets": (per_picture(lambda x, e, a: x - (1 - a)**0.5 * e / a**0.5),
                     "Only the noise is rescaled: a pair of brackets is missing. The whole difference is the weakened "
                     "picture."),
        "swapped": (per_picture(lambda x, e, a: (x - a**0.5 * e) / (1 - a)**0.5),
                    "The weights are swapped: this would solve for the noise if you were given the picture."),
        "noise in full": (per_picture(lambda x, e, a: (x - e) / a**0.5),
                          "You take the noise away in full, but at small t there is little of it in the picture."),
        "early": (per_picture(lambda x, e, a: (x - (1 - a)**0.5 * e) / a**0.5, -1),
                  "You are one step early in the list: its entry t belongs to t itself."),
        "columns": (lambda xt, t, eps, alpha_bar: (xt - (1 - alpha_bar[t])**0.5 * eps) / alpha_bar[t]**0.5,
                    "Each column of pixels got a time of its own, and each picture should. Give the weights as many "
                    "axes as the pictures have."),
        "brackets in front": (per_picture(lambda x, e, a: x / a**0.5 - (1 - a)**0.5 * e),
                              "Only x_t is rescaled, and then the noise is taken off as it was before: a pair of "
                              "brackets is missing."),
        "noise without root": (per_picture(lambda x, e, a: (x - (1 - a) * e) / a**0.5),
                               "The picture is rescaled well, but the weight of the noise is still a variance."),
        "divisor without root": (per_picture(lambda x, e, a: (x - (1 - a)**0.5 * e) / a),
                                 "The noise is gone, but then you divide by a variance."),
    })
