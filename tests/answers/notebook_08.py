"""Answers to the exercises of notebook 08."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from answers.registry import right, wrong

# ----------------------------------------------------------------------------------------------------------- step_cost

@right("step_cost", "formula")
def _(x0, estimate, t, s, alpha_bar):
    snr = lambda k: alpha_bar[k] / (1 - alpha_bar[k])
    return 0.5 * (snr(s) - snr(t)) * ((x0 - estimate) ** 2).flatten(1).sum(1)

@right("step_cost", "floats and loop")
def _(x0, estimate, t, s, alpha_bar):
    a, b = float(alpha_bar[t]), float(alpha_bar[s])
    g = b / (1 - b) - a / (1 - a)
    return torch.stack([g / 2 * (x - y).square().sum() for x, y in zip(x0, estimate)])

@right("step_cost", "einsum double")
def _(x0, estimate, t, s, alpha_bar):
    d = (x0 - estimate).double()
    snr = alpha_bar / (1 - alpha_bar)
    return torch.einsum("bchw,bchw->b", d, d) * (snr[s] - snr[t]) / 2

@right("step_cost", "1/(1-b) - 1/(1-a) (equal difference)")
def _(x0, estimate, t, s, alpha_bar):
    g = 1 / (1 - alpha_bar[s]) - 1 / (1 - alpha_bar[t])
    return g / 2 * (x0 - estimate).flatten(1).norm(dim=1) ** 2

@right("step_cost", "numpy")
def _(x0, estimate, t, s, alpha_bar):
    A = alpha_bar.numpy()
    snr = lambda k: A[k] / (1 - A[k])
    e = ((x0.numpy() - estimate.numpy()) ** 2).sum((1, 2, 3))
    return torch.from_numpy(e * (snr(s) - snr(t)) / 2)

def _err(x0, g):
    return (x0 - g).square().flatten(1).sum(1)

def _snr(ab, k):
    return ab[k] / (1 - ab[k])

@wrong("step_cost", "half forgotten", "not halved")
def _(x0, estimate, t, s, alpha_bar):
    return (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * _err(x0, estimate)

@wrong("step_cost", "sign: SNR(t) - SNR(s)", "negative")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, t) - _snr(alpha_bar, s)) * _err(x0, estimate)

@wrong("step_cost", "mean squared error", "mean")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * (x0 - estimate).square().flatten(1).mean(1)

@wrong("step_cost", "bits instead of nats", "bits")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * _err(x0, estimate) / math.log(2)

@wrong("step_cost", "norm not squared", "root")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * _err(x0, estimate).sqrt()

@wrong("step_cost", "one number for the batch", "batch")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * (x0 - estimate).square().sum()

@wrong("step_cost", "alpha_bar difference", "alpha_bar")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (alpha_bar[s] - alpha_bar[t]) * _err(x0, estimate)

@wrong("step_cost", "log SNR difference", "logarithms")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s).log() - _snr(alpha_bar, t).log()) * _err(x0, estimate)

@wrong("step_cost", "ratio of SNR", "ratio")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) / _snr(alpha_bar, t) - 1) * _err(x0, estimate)

@wrong("step_cost", "amplitude SNR (root)", "roots")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s).sqrt() - _snr(alpha_bar, t).sqrt()) * _err(x0, estimate)

@wrong("step_cost", "s ignored: t - 1", "only one step")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, t - 1) - _snr(alpha_bar, t)) * _err(x0, estimate)

@wrong("step_cost", "only SNR(s)", "at s")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * _snr(alpha_bar, s) * _err(x0, estimate)

@wrong("step_cost", "square of summed difference", "square of the sum")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * (x0 - estimate).flatten(1).sum(1) ** 2

@wrong("step_cost", "absolute error", "absolute")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * (x0 - estimate).abs().flatten(1).sum(1)

@wrong("step_cost", "batch mean", "batch mean")
def _(x0, estimate, t, s, alpha_bar):
    return (0.5 * (_snr(alpha_bar, s) - _snr(alpha_bar, t)) * _err(x0, estimate)).mean()

@wrong("step_cost", "inverse SNR", "inverse")
def _(x0, estimate, t, s, alpha_bar):
    return 0.5 * (1 / _snr(alpha_bar, t) - 1 / _snr(alpha_bar, s)) * _err(x0, estimate)

# -------------------------------------------------------------------------------------------------------- bits_per_dim

@right("bits_per_dim", "formula")
def _(nll, shape):
    return nll / math.prod(shape) / math.log(2) + math.log2(127.5)

@right("bits_per_dim", "nats first")
def _(nll, shape):
    n = shape[0] * shape[1] * shape[2]
    return (nll + n * math.log(255 / 2)) / (n * math.log(2))

@right("bits_per_dim", "numpy, loop")
def _(nll, shape):
    n = int(np.prod(shape))
    return torch.tensor([v / n * np.log2(np.e) + np.log2(127.5) for v in nll.tolist()])

@right("bits_per_dim", "torch, log2(e), double")
def _(nll, shape):
    n = torch.tensor(shape).prod().double()
    return nll.double() / n * torch.log2(torch.tensor(math.e).double()) - torch.log2(torch.tensor(2 / 255).double())

@wrong("bits_per_dim", "stretch forgotten", "not stretched")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2))

@wrong("bits_per_dim", "log 2 forgotten", "nats")
def _(nll, shape):
    return nll / math.prod(shape) + math.log(127.5)

@wrong("bits_per_dim", "log 2 forgotten, log2(127.5) right", "half in bits")
def _(nll, shape):
    return nll / math.prod(shape) + math.log2(127.5)

@wrong("bits_per_dim", "stretch 256 -> + 7 (log2 128)", "by 128")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) + 7

@wrong("bits_per_dim", "stretch 255 -> log2(255)", "by 255")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) + math.log2(255)

@wrong("bits_per_dim", "stretch 8 bits", "by 256")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) + 8

@wrong("bits_per_dim", "sign of the stretch", "stretched backwards")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) - math.log2(127.5)

@wrong("bits_per_dim", "pixels: H * W only", "pixels")
def _(nll, shape):
    return nll / (shape[1] * shape[2] * math.log(2)) + math.log2(127.5)

@wrong("bits_per_dim", "multiplied by log 2", "multiplied")
def _(nll, shape):
    return nll * math.log(2) / math.prod(shape) + math.log2(127.5)

@wrong("bits_per_dim", "not per dimension", "whole image")
def _(nll, shape):
    return nll / math.log(2) + math.prod(shape) * math.log2(127.5)

@wrong("bits_per_dim", "stretch not per dimension: added once before dividing", "stretched once")
def _(nll, shape):
    return (nll / math.log(2) + math.log2(127.5)) / math.prod(shape)

@wrong("bits_per_dim", "minus nll", "sign")
def _(nll, shape):
    return -nll / (math.prod(shape) * math.log(2)) + math.log2(127.5)

@wrong("bits_per_dim", "natural log of 127.5 added to bits", "stretching in nats")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) + math.log(127.5)

@wrong("bits_per_dim", "mean over the batch", "batch")
def _(nll, shape):
    return (nll / (math.prod(shape) * math.log(2)) + math.log2(127.5)).mean()

@wrong("bits_per_dim", "log2(nll)", "logarithm of nll")
def _(nll, shape):
    return torch.log2(nll.abs()) / math.prod(shape) + math.log2(127.5)

@wrong("bits_per_dim", "sum(shape)", "sum of the shape")
def _(nll, shape):
    return nll / (sum(shape) * math.log(2)) + math.log2(127.5)

@wrong("bits_per_dim", "times 127.5", "multiplied by 127.5")
def _(nll, shape):
    return nll / (math.prod(shape) * math.log(2)) * 127.5

def _noised(x0, t, eps, ab):
    a = ab[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

# --------------------------------------------------------------------------------------------------------- paste_known

@right("paste_known", "where")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), _noised(x0, t, eps, alpha_bar), xt)

@right("paste_known", "arithmetic")
def _(xt, x0, mask, t, eps, alpha_bar):
    return mask * _noised(x0, t, eps, alpha_bar) + (1 - mask.float()) * xt

@right("paste_known", "clone and index")
def _(xt, x0, mask, t, eps, alpha_bar):
    out = xt.clone()
    m = mask == 1
    out[m] = _noised(x0, t, eps, alpha_bar).to(out.dtype)[m]
    return out

@right("paste_known", "numpy")
def _(xt, x0, mask, t, eps, alpha_bar):
    a = float(alpha_bar[t])
    return torch.from_numpy(np.where(mask.numpy() > 0, a**0.5 * x0.numpy() + (1 - a) ** 0.5 * eps.numpy(), xt.numpy()))

@wrong("paste_known", "mask swapped", "mask inverted")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), xt, _noised(x0, t, eps, alpha_bar))

@wrong("paste_known", "clean pixels pasted", "clean")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), x0, xt)

@wrong("paste_known", "everything noised", "everywhere")
def _(xt, x0, mask, t, eps, alpha_bar):
    return _noised(x0, t, eps, alpha_bar)

@wrong("paste_known", "own noise", "own noise")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), _noised(x0, t, torch.randn_like(x0), alpha_bar), xt)

@wrong("paste_known", "no roots", "no roots")
def _(xt, x0, mask, t, eps, alpha_bar):
    a = alpha_bar[t]
    return torch.where(mask.bool(), a * x0 + (1 - a) * eps, xt)

@wrong("paste_known", "adds, xt not masked", "added")
def _(xt, x0, mask, t, eps, alpha_bar):
    return xt + mask * _noised(x0, t, eps, alpha_bar)

@wrong("paste_known", "in place on xt", "form")
def _(xt, x0, mask, t, eps, alpha_bar):
    m = mask.bool()
    xt[m] = _noised(x0, t, eps, alpha_bar).to(xt.dtype)[m]
    return xt

@wrong("paste_known", "alpha_bar[t-1]", "early")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), _noised(x0, t - 1, eps, alpha_bar), xt)

@wrong("paste_known", "x0 + noise", "image in full")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask.bool(), x0 + (1 - alpha_bar[t]).sqrt() * eps, xt)

@wrong("paste_known", "noises xt too", "all noised")
def _(xt, x0, mask, t, eps, alpha_bar):
    return _noised(torch.where(mask.bool(), x0, xt), t, eps, alpha_bar)

@wrong("paste_known", "masks x0 only, eps everywhere", "masked first")
def _(xt, x0, mask, t, eps, alpha_bar):
    a = alpha_bar[t]
    return a.sqrt() * x0 * mask + (1 - a).sqrt() * eps + xt * (1 - mask.float())

@wrong("paste_known", "1 - sqrt(a)", "weights sum to 1")
def _(xt, x0, mask, t, eps, alpha_bar):
    a = alpha_bar[t]
    return torch.where(mask.bool(), a.sqrt() * x0 + (1 - a.sqrt()) * eps, xt)

@wrong("paste_known", "hole set to 0", "rest 0")
def _(xt, x0, mask, t, eps, alpha_bar):
    return mask * _noised(x0, t, eps, alpha_bar)

@wrong("paste_known", "averaged at the known pixels", "averaged")
def _(xt, x0, mask, t, eps, alpha_bar):
    n = _noised(x0, t, eps, alpha_bar)
    return torch.where(mask.bool(), (n + xt) / 2, xt)

@wrong("paste_known", "mask of the first image for all", "first mask")
def _(xt, x0, mask, t, eps, alpha_bar):
    return torch.where(mask[:1].bool(), _noised(x0, t, eps, alpha_bar), xt)

# -------------------------------------------------------------------------------------------------------- back_project

@right("back_project", "avg_pool, interpolate")
def _(x, low):
    return x + F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2)

@right("back_project", "repeat_interleave")
def _(x, low):
    B, C, H, W = low.shape
    d = low - x.view(B, C, H, 2, W, 2).mean((3, 5))
    return x + d.repeat_interleave(2, 2).repeat_interleave(2, 3)

@right("back_project", "loop")
def _(x, low):
    out = x.clone()
    for i in range(low.shape[2]):
        for j in range(low.shape[3]):
            block = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            out[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = (
                block + (low[:, :, i, j] - block.mean((2, 3)))[..., None, None]
            )
    return out

@right("back_project", "subtract own means, add low")
def _(x, low):
    up = lambda q: F.interpolate(q, scale_factor=2, mode="nearest")
    return x - up(F.avg_pool2d(x, 2)) + up(low)

@right("back_project", "numpy kron")
def _(x, low):
    X, L = x.numpy(), low.numpy()
    m = (X[..., ::2, ::2] + X[..., 1::2, ::2] + X[..., ::2, 1::2] + X[..., 1::2, 1::2]) / 4
    return torch.from_numpy(X + np.kron(L - m, np.ones((1, 1, 2, 2), X.dtype)))

@right("back_project", "conv_transpose, adaptive pool, einsum")
def _(x, low):
    d = low - F.adaptive_avg_pool2d(x, low.shape[-2:])
    B, C, H, W = d.shape
    return x + torch.einsum("bchw,ij->bchiwj", d, torch.ones(2, 2, dtype=d.dtype)).reshape(B, C, 2 * H, 2 * W)

@wrong("back_project", "upsampled low only (x ignored)", "replaced")
def _(x, low):
    return F.interpolate(low, scale_factor=2)

@wrong("back_project", "sign wrong", "sign")
def _(x, low):
    return x - F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2)

@wrong("back_project", "quarter to each pixel", "quarter")
def _(x, low):
    return x + F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2) / 4

@wrong("back_project", "times four", "four times")
def _(x, low):
    return x + 4 * F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2)

@wrong("back_project", "bilinear", "bilinear")
def _(x, low):
    return x + F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")

@wrong("back_project", "scales by ratio (multiplies)", "ratio")
def _(x, low):
    return x * F.interpolate(low / F.avg_pool2d(x, 2), scale_factor=2)

@wrong("back_project", "picks one pixel (strided) instead of mean", "every second")
def _(x, low):
    return x + F.interpolate(low - x[..., ::2, ::2], scale_factor=2)

@wrong("back_project", "gives everything to one pixel", "one pixel")
def _(x, low):
    out = x.clone()
    out[..., ::2, ::2] += 4 * (low - F.avg_pool2d(x, 2))
    return out

@wrong("back_project", "overwrites one pixel with low", "overwritten")
def _(x, low):
    out = x.clone()
    out[..., ::2, ::2] = low
    return out

@wrong("back_project", "adds low without subtracting means", "low added")
def _(x, low):
    return x + F.interpolate(low, scale_factor=2)

@wrong("back_project", "max pool", "largest")
def _(x, low):
    return x + F.interpolate(low - F.max_pool2d(x, 2), scale_factor=2)

@wrong("back_project", "clipped to [-1, 1]", "clipped")
def _(x, low):
    return (x + F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2)).clamp(-1, 1)

@wrong("back_project", "difference taken after enlarging: up(low) - x, all replaced", "replaced")
def _(x, low):
    return x + (F.interpolate(low, scale_factor=2) - x)

@wrong("back_project", "in place", "form")
def _(x, low):
    return x.add_(F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2))

@wrong("back_project", "only the global mean", "global mean")
def _(x, low):
    return x + (low.mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True))

@wrong("back_project", "half step", "half-way")
def _(x, low):
    return x + 0.5 * F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2)

@wrong("back_project", "tiles instead of enlarging (repeat)", "tiled")
def _(x, low):
    return x + (low - F.avg_pool2d(x, 2)).repeat(1, 1, 2, 2)
