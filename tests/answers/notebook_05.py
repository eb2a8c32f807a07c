"""Answers to the exercises of notebook 05."""
import math

import numpy as np
import torch

from answers.registry import edge, right, wrong


@right("spread", "by hand")
def _(restorations):
    d = restorations - restorations.mean(0, keepdim=True)
    return (d.square().sum(0) / (len(d) - 1)).sqrt()

@right("spread", "std(dim=0)")
def _(restorations):
    return torch.std(restorations, dim=0, unbiased=True)

@edge("spread", "numpy's std with ddof = 1, as an array", "form")
def _(restorations):
    return restorations.numpy().std(0, ddof=1)

@wrong("spread", "numpy's default: divided by n", "divided by n")
def _(restorations):
    return torch.from_numpy(restorations.numpy().std(0))

@wrong("spread", "var", "variance")
def _(restorations):
    return restorations.var(dim=0)

@wrong("spread", "keepdim", "one axis too many")
def _(restorations):
    return restorations.std(0, keepdim=True)

@wrong("spread", "dim 1", "of channels")
def _(restorations):
    return restorations.std(1)

@wrong("spread", "over pixels", "within images")
def _(restorations):
    return restorations.flatten(1).std(1)

@wrong("spread", "mean over the channels, as for a figure", "channels averaged")
def _(restorations):
    return restorations.std(0).mean(0)

@wrong("spread", "max - min", "range")
def _(restorations):
    return restorations.max(0).values - restorations.min(0).values

@wrong("spread", "mean absolute deviation", "mean deviation")
def _(restorations):
    return (restorations - restorations.mean(0)).abs().mean(0)

@wrong("spread", "standard error", "of the mean")
def _(restorations):
    return restorations.std(0) / math.sqrt(len(restorations))

@wrong("spread", "global mean subtracted", None)
def _(restorations):
    d = restorations - restorations.mean()
    return (d.square().sum(0) / (len(d) - 1)).sqrt()

@wrong("spread", "root mean square", "around 0")
def _(restorations):
    return restorations.square().mean(0).sqrt()


@right("psnr", "20 log10 of peak over RMSE")
def _(pred, target):
    return 20 * torch.log10(2 / (pred - target).pow(2).mean(dim=(1, 2, 3)).sqrt())

@right("psnr", "images brought to [0, 1], peak 1")
def _(pred, target):
    p, q = (pred + 1) / 2, (target + 1) / 2
    return -10 * ((p - q) ** 2).flatten(1).mean(1).log10()

@wrong("psnr", "peak 1", "peak 1")
def _(pred, target):
    return -10 * ((pred - target) ** 2).flatten(1).mean(1).log10()

@wrong("psnr", "255", "peak 255")
def _(pred, target):
    return 20 * math.log10(255) - 10 * ((pred - target) ** 2).flatten(1).mean(1).log10()

@wrong("psnr", "peak = target.max()", "peak of the batch")
def _(pred, target):
    return 10 * (target.max() ** 2 / ((pred - target) ** 2).flatten(1).mean(1)).log10()

@wrong("psnr", "peak = target.max() - target.min() of the batch", "range of the batch")
def _(pred, target):
    return 10 * ((target.max() - target.min()) ** 2 / ((pred - target) ** 2).flatten(1).mean(1)).log10()

@wrong("psnr", "log", "natural")
def _(pred, target):
    return 10 * torch.log(4 / ((pred - target) ** 2).flatten(1).mean(1))

@wrong("psnr", "20 with the squared error", "twenty")
def _(pred, target):
    return 20 * torch.log10(4 / ((pred - target) ** 2).flatten(1).mean(1))

@wrong("psnr", "peak not squared", "peak not squared")
def _(pred, target):
    return 10 * torch.log10(2 / ((pred - target) ** 2).flatten(1).mean(1))

@wrong("psnr", "mean of the batch", "all images")
def _(pred, target):
    return 10 * torch.log10(4 / ((pred - target) ** 2).mean())

@wrong("psnr", "mean of the PSNRs", "batch mean")
def _(pred, target):
    return (10 * torch.log10(4 / ((pred - target) ** 2).flatten(1).mean(1))).mean()

@wrong("psnr", "per channel", "each channel")
def _(pred, target):
    return 10 * torch.log10(4 / ((pred - target) ** 2).mean((2, 3)))

@wrong("psnr", "sum", "sum")
def _(pred, target):
    return 10 * torch.log10(4 / ((pred - target) ** 2).flatten(1).sum(1))

@wrong("psnr", "upside down", "sign")
def _(pred, target):
    return 10 * torch.log10(((pred - target) ** 2).flatten(1).mean(1) / 4)

@wrong("psnr", "absolute error", "absolute, 10")
def _(pred, target):
    return 10 * torch.log10(4 / (pred - target).abs().flatten(1).mean(1))

@wrong("psnr", "SNR: signal power over error", "SNR")
def _(pred, target):
    return 10 * torch.log10((target**2).flatten(1).mean(1) / ((pred - target) ** 2).flatten(1).mean(1))


@right("time_of", "loop")
def _(s, alpha_bar):
    best = min(range(len(alpha_bar)), key=lambda t: abs(math.sqrt(1 / float(alpha_bar[t]) - 1) - s))
    return best

@right("time_of", "through SNR")
def _(s, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    return int((snr.rsqrt() - s).abs().argmin())

@right("time_of", "numpy")
def _(s, alpha_bar):
    a = alpha_bar.numpy()
    return np.abs(np.sqrt((1 - a) / a) - s).argmin()

@right("time_of", "never 0")
def _(s, alpha_bar):
    return max(1, int((((1 - alpha_bar) / alpha_bar).sqrt() - s).abs().argmin()))

@wrong("time_of", "sqrt(1 - a)", "noise in x_t")
def _(s, alpha_bar):
    return ((1 - alpha_bar).sqrt() - s).abs().argmin().item()

@wrong("time_of", "(1 - a) / a, no root", "variance")
def _(s, alpha_bar):
    return ((1 - alpha_bar) / alpha_bar - s).abs().argmin().item()

@wrong("time_of", "1 - a", "variance in x_t")
def _(s, alpha_bar):
    return (1 - alpha_bar - s).abs().argmin().item()

@wrong("time_of", "sqrt(a / (1 - a))", "upside down")
def _(s, alpha_bar):
    return ((alpha_bar / (1 - alpha_bar)).sqrt() - s).abs().argmin().item()

@wrong("time_of", "first that is larger", "first above")
def _(s, alpha_bar):
    return int((((1 - alpha_bar) / alpha_bar).sqrt() >= s).nonzero()[0])

@wrong("time_of", "searchsorted - 1", "last below")
def _(s, alpha_bar):
    return int(torch.searchsorted(((1 - alpha_bar) / alpha_bar).sqrt().contiguous(), s)) - 1

@wrong("time_of", "abs forgotten", "no absolute value")
def _(s, alpha_bar):
    return (((1 - alpha_bar) / alpha_bar).sqrt() - s).argmin().item()

@wrong("time_of", "min instead of argmin", "gap")
def _(s, alpha_bar):
    return (((1 - alpha_bar) / alpha_bar).sqrt() - s).abs().min().item()

@wrong("time_of", "counted from alpha_bar[1:]", "early")
def _(s, alpha_bar):
    a = alpha_bar[1:]
    return (((1 - a) / a).sqrt() - s).abs().argmin().item()

@wrong("time_of", "t / T", "part of T")
def _(s, alpha_bar):
    return (((1 - alpha_bar) / alpha_bar).sqrt() - s).abs().argmin().item() / (len(alpha_bar) - 1)

@wrong("time_of", "s squared against a root", "s squared")
def _(s, alpha_bar):
    return (((1 - alpha_bar) / alpha_bar).sqrt() - s**2).abs().argmin().item()


@right("blend", "einsum")
def _(answers, weights):
    return torch.einsum("khw,khw->hw", answers, weights) / weights.sum(0)

@right("blend", "weights normalised first")
def _(answers, weights):
    w = weights / weights.sum(0, keepdim=True)
    return (w * answers).sum(dim=0)

@right("blend", "loop")
def _(answers, weights):
    total, norm = 0, 0
    for a, w in zip(answers, weights):
        total, norm = total + a * w, norm + w
    return total / norm

@wrong("blend", "mean of the products", "divided by K")
def _(answers, weights):
    return (answers * weights).mean(0)

@wrong("blend", "divided by all weights", "everywhere")
def _(answers, weights):
    return (answers * weights).sum(0) / weights.sum()

@wrong("blend", "not divided", "not divided")
def _(answers, weights):
    return (answers * weights).sum(0)

@wrong("blend", "plain mean", "plain mean")
def _(answers, weights):
    return answers.mean(0)

@wrong("blend", "softmax", "softmax")
def _(answers, weights):
    return (answers * torch.softmax(weights, 0)).sum(0)

@wrong("blend", "normalised per tile", "inside tiles")
def _(answers, weights):
    return (answers * weights / weights.sum((1, 2), keepdim=True)).sum(0)

@wrong("blend", "normalised per tile, then divided", "both")
def _(answers, weights):
    w = weights / weights.sum((1, 2), keepdim=True)
    return (answers * w).sum(0) / w.sum(0)

@wrong("blend", "best tile", "largest")
def _(answers, weights):
    return torch.take_along_dim(answers, weights.argmax(0, keepdim=True), 0)[0]

@wrong("blend", "sum over the wrong axis", "over rows")
def _(answers, weights):
    return (answers * weights).sum(1) / weights.sum(1)

@wrong("blend", "one number", "one number")
def _(answers, weights):
    return (answers * weights).sum() / weights.sum()

@wrong("blend", "running average: the last tile counts half", None)
def _(answers, weights):
    out = answers[0]
    for a in answers[1:]:
        out = (out + a) / 2
    return out

@wrong("blend", "keepdim", "one axis too many")
def _(answers, weights):
    return (answers * weights).sum(0, keepdim=True) / weights.sum(0, keepdim=True)
