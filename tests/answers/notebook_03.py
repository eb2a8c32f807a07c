"""Answers to the exercises of notebook 03."""
import math

import numpy as np
import torch
import torch.nn.functional as F

from answers.registry import right, wrong


def V(a):
    return a[:, None, None, None]


@right("time_embedding", "outer product, powers")
def _(t, dim):
    f = 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    a = torch.outer(t.float(), f)
    return torch.hstack([torch.cos(a), torch.sin(a)])

@right("time_embedding", "numpy inside")
def _(t, dim):
    a = t.numpy()[:, None] * 10_000.0 ** (-2 * np.arange(dim // 2) / dim)
    return torch.tensor(np.concatenate([np.cos(a), np.sin(a)], 1), dtype=torch.float32)

@right("time_embedding", "logspace")
def _(t, dim):
    f = torch.logspace(0, -4, dim // 2 + 1)[:-1]
    return torch.cat([(t[:, None] * f).cos(), (t[:, None] * f).sin()], -1)

@wrong("time_embedding", "logspace with both ends", "original divisor")
def _(t, dim):
    f = torch.logspace(0, -4, dim // 2)
    return torch.cat([(t[:, None] * f).cos(), (t[:, None] * f).sin()], -1)

@wrong("time_embedding", "transformer's order: sin, cos in turn", "interleaved, sines first")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    out = torch.zeros(len(t), dim)
    out[:, 0::2], out[:, 1::2] = a.sin(), a.cos()
    return out

@wrong("time_embedding", "sines first", "sines first")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.sin(), a.cos()], -1)

@wrong("time_embedding", "exponent without 2: -k / dim", "dim")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "k over all dim columns, then halves", None)
def _(t, dim):
    a = t[:, None] * 10_000 ** (-torch.arange(dim) / dim)
    return torch.cat([a[:, : dim // 2].cos(), a[:, dim // 2:].sin()], -1)

@wrong("time_embedding", "positive exponent", "rising")
def _(t, dim):
    a = t[:, None] * 10_000 ** (2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "divided by frequencies", None)
def _(t, dim):
    a = t[:, None] / 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "log forgotten: exp(-2k/dim)", "base e")
def _(t, dim):
    a = t[:, None] * torch.exp(-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "log10 instead of log", "log10")
def _(t, dim):
    a = t[:, None] * torch.exp(-math.log10(10_000) * 2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "arange(len(t))", "batch")
def _(t, dim):
    a = torch.arange(len(t))[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "t normalised by 1000", "divided")
def _(t, dim):
    a = t[:, None] / 1000 * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("time_embedding", "only the cosines", "cosines only")
def _(t, dim):
    return (t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)).cos()

@wrong("time_embedding", "stacked along the batch", None)
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 0)


@right("noise_loss", "F.mse_loss")
def _(model, x0, t, eps, alpha_bar):
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)

@right("noise_loss", "sum over numel")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    d = eps - model(a**0.5 * x0 + (1 - a) ** 0.5 * eps, t)
    return d.pow(2).sum() / d.numel()

@wrong("noise_loss", "reduction none", "per pixel")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps, reduction="none")

@wrong("noise_loss", "norm", "norm")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).norm()

@wrong("noise_loss", "squared norm", "sum")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).norm() ** 2

@wrong("noise_loss", "own noise", "own noise")
def _(model, x0, t, eps, alpha_bar):
    a, eps = V(alpha_bar[t]), torch.randn_like(x0)
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)

@wrong("noise_loss", "own times", "own noise")
def _(model, x0, t, eps, alpha_bar):
    t = torch.randint(1, len(alpha_bar), (len(x0),))
    a = V(alpha_bar[t])
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)

@wrong("noise_loss", "no_grad", "detached")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    with torch.no_grad():
        out = model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)
    return F.mse_loss(out, eps)

@wrong("noise_loss", "item", "number")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps).item()

@wrong("noise_loss", "L1", "absolute")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).abs().mean()

@wrong("noise_loss", "target x0", "image as target")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), x0)

@wrong("noise_loss", "target xt", "noisy image as target")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return F.mse_loss(model(xt, t), xt)

@wrong("noise_loss", "x0 + eps", "added in full")
def _(model, x0, t, eps, alpha_bar):
    return F.mse_loss(model(x0 + eps, t), eps)

@wrong("noise_loss", "not reshaped: columns", "columns")
def _(model, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)

@wrong("noise_loss", "model is told alpha_bar instead of t", None)
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return F.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, alpha_bar[t]), eps)

@wrong("noise_loss", "weighted by SNR", "weighted")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (a / (1 - a) * (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps) ** 2).mean()

@wrong("noise_loss", "Huber", "Huber")
def _(model, x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return F.smooth_l1_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)


@right("ema_update", "difference form")
def _(average, weights, decay):
    return average + (1 - decay) * (weights - average)

@right("ema_update", "on a clone")
def _(average, weights, decay):
    return average.clone().mul_(decay).add_(weights * (1 - decay))

@wrong("ema_update", "in place", "form")
def _(average, weights, decay):
    return average.mul_(decay).add_(weights, alpha=1 - decay)

@wrong("ema_update", "lerp the other way", "swapped")
def _(average, weights, decay):
    return average.lerp(weights, decay)

@wrong("ema_update", "roles exchanged", "swapped")
def _(average, weights, decay):
    return decay * weights + (1 - decay) * average

@wrong("ema_update", "1 - decay forgotten", "too much")
def _(average, weights, decay):
    return decay * average + weights

@wrong("ema_update", "decay on both", "growing")
def _(average, weights, decay):
    return decay * average + decay * weights

@wrong("ema_update", "average in full", "average in full")
def _(average, weights, decay):
    return average + (1 - decay) * weights

@wrong("ema_update", "mean", "plain mean")
def _(average, weights, decay):
    return torch.stack([average, weights]).mean(0)

@wrong("ema_update", "decay minus 1", "subtracted")
def _(average, weights, decay):
    return decay * average + (decay - 1) * weights

@wrong("ema_update", "of squares, as Adam does", None)
def _(average, weights, decay):
    return decay * average + (1 - decay) * weights**2

@wrong("ema_update", "debiased", "bias correction")
def _(average, weights, decay):
    return (decay * average + (1 - decay) * weights) / (1 - decay)


@right("predict_x0", "rescaled first")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return xt / a.sqrt() - (1 / a - 1).sqrt() * eps

@right("predict_x0", "loop")
def _(xt, t, eps, alpha_bar):
    return torch.stack([(x - (1 - alpha_bar[k]) ** 0.5 * e) / alpha_bar[k] ** 0.5 for x, k, e in zip(xt, t, eps)])

@wrong("predict_x0", "brackets forgotten", "brackets")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return xt - (1 - a).sqrt() * eps / a.sqrt()

@wrong("predict_x0", "plus", "added")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (xt + (1 - a).sqrt() * eps) / a.sqrt()

@wrong("predict_x0", "not divided", "not divided")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return xt - (1 - a).sqrt() * eps

@wrong("predict_x0", "divided by a", "divisor without root")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (xt - (1 - a).sqrt() * eps) / a

@wrong("predict_x0", "clipped to images", "clipped")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return ((xt - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)

@wrong("predict_x0", "xt - eps", "difference")
def _(xt, t, eps, alpha_bar):
    return xt - eps

@wrong("predict_x0", "1 - sqrt(a)", "weights sum to 1")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (xt - (1 - a.sqrt()) * eps) / a.sqrt()

@wrong("predict_x0", "beta of the step (Ho's mean)", None)
def _(xt, t, eps, alpha_bar):
    a, alpha = V(alpha_bar[t]), V(alpha_bar[t] / alpha_bar[t - 1])
    return (xt - (1 - alpha) / (1 - a).sqrt() * eps) / alpha.sqrt()

@wrong("predict_x0", "t - 1", "early")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t - 1])
    return (xt - (1 - a).sqrt() * eps) / a.sqrt()

@wrong("predict_x0", "not reshaped", "columns")
def _(xt, t, eps, alpha_bar):
    a = alpha_bar[t]
    return (xt - (1 - a).sqrt() * eps) / a.sqrt()

@wrong("predict_x0", "t[0] for all", "one time")
def _(xt, t, eps, alpha_bar):
    a = alpha_bar[t[0]]
    return (xt - (1 - a).sqrt() * eps) / a.sqrt()

@wrong("predict_x0", "eps is solved for", "swapped")
def _(xt, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (xt - a.sqrt() * eps) / (1 - a).sqrt()
