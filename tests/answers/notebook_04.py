"""Answers to the exercises of notebook 04."""

import math

import numpy as np
import torch

from answers.registry import edge, right, wrong

def _mean(xt, x0, at, as_):
    al = at / as_
    return (as_.sqrt() * (1 - al) * x0 + al.sqrt() * (1 - as_) * xt) / (1 - at)

# ----------------------------------------------------------------------------------------------------------- ddpm_step

@right("ddpm_step", "formula")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@right("ddpm_step", "python floats")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = float(alpha_bar[t]), float(alpha_bar[s])
    al = at / as_
    b = 1 - al
    c0, ct = math.sqrt(as_) * b / (1 - at), math.sqrt(al) * (1 - as_) / (1 - at)
    return c0 * x0 + ct * xt + math.sqrt(b * (1 - as_) / (1 - at)) * z

@right("ddpm_step", "if s == 0 return x0")
def _(xt, x0, t, s, alpha_bar, z):
    if s == 0:
        return x0
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)) ** 0.5 * z

@right("ddpm_step", "through eps form of the mean")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t].double(), alpha_bar[s].double()
    al = at / as_
    eps = (xt - at.sqrt() * x0) / (1 - at).sqrt()
    mean = (xt - (1 - al) / (1 - at).sqrt() * eps) / al.sqrt()
    return mean + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@right("ddpm_step", "as DDIM with eta 1")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    sig2 = (1 - as_) / (1 - at) * (1 - at / as_)
    eps = (xt - at.sqrt() * x0) / (1 - at).sqrt()
    return as_.sqrt() * x0 + (1 - as_ - sig2).clamp(min=0).sqrt() * eps + sig2.sqrt() * z

@right("ddpm_step", "precision-weighted Bayes")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t].double(), alpha_bar[s].double()
    al = at / as_
    if s == 0:
        return x0
    prec = al / (1 - al) + 1 / (1 - as_)
    mean = (al.sqrt() / (1 - al) * xt + as_.sqrt() / (1 - as_) * x0) / prec
    return mean + prec ** (-0.5) * z

@edge("ddpm_step", "larger variance beta_t (std sqrt(1 - alpha))", "noise at the end")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + (1 - at / as_).sqrt() * z

@edge("ddpm_step", "larger variance beta_t, none at s = 0", "larger variance")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + (1 - at / as_).sqrt() * z * (s > 0)

@wrong("ddpm_step", "alpha for alpha_bar everywhere (alpha_bar mixed up)", "alpha for alpha_bar")
def _(xt, x0, t, s, alpha_bar, z):
    a = alpha_bar / torch.cat([torch.ones(1, dtype=alpha_bar.dtype), alpha_bar[:-1]])
    at, as_ = a[t], a[s]
    al = at / as_
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - al)).abs().sqrt() * z

@wrong("ddpm_step", "alpha_bar_t for alpha", "alpha_bar for alpha")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at
    m = (as_.sqrt() * (1 - al) * x0 + al.sqrt() * (1 - as_) * xt) / (1 - at)
    return m + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@wrong("ddpm_step", "alpha of the single step t although s < t - 1", "alpha of one step")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / alpha_bar[t - 1]
    m = (as_.sqrt() * (1 - al) * x0 + al.sqrt() * (1 - as_) * xt) / (1 - at)
    return m + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@wrong("ddpm_step", "s ignored: t - 1 everywhere", "only one step")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[t - 1]
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).sqrt() * z

@wrong("ddpm_step", "variance where the standard deviation belongs", "variance")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + (1 - as_) / (1 - at) * (1 - at / as_) * z

@wrong("ddpm_step", "no noise", "no noise")
def _(xt, x0, t, s, alpha_bar, z):
    return _mean(xt, x0, alpha_bar[t], alpha_bar[s])

@wrong("ddpm_step", "own noise", "own noise")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).sqrt() * torch.randn_like(xt)

@wrong("ddpm_step", "weights of x0 and xt swapped", "weights swapped")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(x0, xt, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).sqrt() * z

@wrong("ddpm_step", "alpha_bar t and s swapped", None)
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[s], alpha_bar[t]
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).abs().sqrt() * z

@wrong("ddpm_step", "roots forgotten in the mean", "no roots")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return (as_ * (1 - al) * x0 + al * (1 - as_) * xt) / (1 - at) + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@wrong("ddpm_step", "sqrt(alpha_bar_t) for sqrt(alpha_bar_s)", "root of t")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return (at.sqrt() * (1 - al) * x0 + al.sqrt() * (1 - as_) * xt) / (1 - at) + (
        (1 - as_) / (1 - at) * (1 - al)
    ).sqrt() * z

@wrong("ddpm_step", "not divided by 1 - alpha_bar_t", "not divided")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return as_.sqrt() * (1 - al) * x0 + al.sqrt() * (1 - as_) * xt + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@wrong("ddpm_step", "jumps: q_sample(x0, s, z)", "noised again")
def _(xt, x0, t, s, alpha_bar, z):
    as_ = alpha_bar[s]
    return as_.sqrt() * x0 + (1 - as_).sqrt() * z

@wrong("ddpm_step", "DDIM instead", "DDIM")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    eps = (xt - at.sqrt() * x0) / (1 - at).sqrt()
    return as_.sqrt() * x0 + (1 - as_).sqrt() * eps

@wrong("ddpm_step", "x0 treated as eps", "estimate as noise")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return (xt - (1 - al) / (1 - at).sqrt() * x0) / al.sqrt() + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z

@wrong("ddpm_step", "variance fraction inverted", None)
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    if s == 0:
        return x0
    return _mean(xt, x0, at, as_) + ((1 - at) / (1 - as_) * (1 - at / as_)).sqrt() * z

@wrong("ddpm_step", "missing brackets: only second term divided", "brackets")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    al = at / as_
    return (
        as_.sqrt() * (1 - al) * x0
        + al.sqrt() * (1 - as_) * xt / (1 - at)
        + ((1 - as_) / (1 - at) * (1 - al)).sqrt() * z
    )

@wrong("ddpm_step", "x0 clipped", "clipped estimate")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0.clamp(-1, 1), at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).sqrt() * z

@wrong("ddpm_step", "noise at last step kept (max(var, 1e-2))", "noise not below")
def _(xt, x0, t, s, alpha_bar, z):
    at, as_ = alpha_bar[t], alpha_bar[s]
    return _mean(xt, x0, at, as_) + ((1 - as_) / (1 - at) * (1 - at / as_)).clamp(min=0.01).sqrt() * z

# ----------------------------------------------------------------------------------------------------------- last_step

@right("last_step", "formula, tensor")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - a / b)).sqrt()

@right("last_step", "python float, ifs")
def _(t, s, alpha_bar):
    if s == 0:
        return 0.0
    a, b = alpha_bar[t].item(), alpha_bar[s].item()
    return math.sqrt((1 - b) / (1 - a) * (1 - a / b))

@right("last_step", "numpy float")
def _(t, s, alpha_bar):
    a = alpha_bar.numpy()
    return np.sqrt((1 - a[s]) * (1 - a[t] / a[s]) / (1 - a[t]))

@right("last_step", "product of two roots")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return torch.sqrt(1 - b) / torch.sqrt(1 - a) * torch.sqrt(1 - a / b)

@wrong("last_step", "variance, root forgotten", "variance")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return (1 - b) / (1 - a) * (1 - a / b)

@edge("last_step", "sqrt(beta): larger variance", "forward step")
def _(t, s, alpha_bar):
    return (1 - alpha_bar[t] / alpha_bar[s]).sqrt()

@wrong("last_step", "always 0", "the last alone")
def _(t, s, alpha_bar):
    return 0.0

@wrong("last_step", "only the last step: 0 if s == 0 else sqrt(beta)", "forward step, but for the end")
def _(t, s, alpha_bar):
    return 0.0 if s == 0 else (1 - alpha_bar[t] / alpha_bar[s]).sqrt().item()

@wrong("last_step", "sqrt(1 - alpha_bar_s)", "all the noise")
def _(t, s, alpha_bar):
    return (1 - alpha_bar[s]).sqrt()

@wrong("last_step", "fraction inverted", "upside down")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - a) / (1 - b) * (1 - a / b)).sqrt()

@wrong("last_step", "alpha of the single step", "alpha of one step")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - a / alpha_bar[t - 1])).sqrt()

@wrong("last_step", "s ignored", "only one step")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[t - 1]
    return ((1 - b) / (1 - a) * (1 - a / b)).sqrt()

@wrong("last_step", "alpha inverted, abs", "alpha upside down")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - b / a)).abs().sqrt()

@wrong("last_step", "log of variance", "logarithm")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - a / b)).clamp(min=1e-20).log()

@wrong("last_step", "1 - alpha_bar_t for 1 - alpha", "all the noise")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - a)).sqrt()

@wrong("last_step", "clipped from below to 1e-3", "not below")
def _(t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    return ((1 - b) / (1 - a) * (1 - a / b)).clamp(min=0.001).sqrt()

# ----------------------------------------------------------------------------------------------------------- ddim_step

@right("ddim_step", "eps and back")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@right("ddim_step", "ratio form")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    r = ((1 - b) / (1 - a)).sqrt()
    return r * xt + (b.sqrt() - r * a.sqrt()) * x0

@right("ddim_step", "python floats")
def _(xt, x0, t, s, alpha_bar):
    a, b = float(alpha_bar[t]), float(alpha_bar[s])
    return b**0.5 * x0 + (1 - b) ** 0.5 * (xt - a**0.5 * x0) / (1 - a) ** 0.5

@right("ddim_step", "numpy")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar.numpy()[[t, s]]
    X, Y = xt.numpy(), x0.numpy()
    return torch.from_numpy(np.sqrt(b) * Y + np.sqrt(1 - b) * (X - np.sqrt(a) * Y) / np.sqrt(1 - a))

@right("ddim_step", "Euler in x / sqrt(ab), s = 0 included")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t].double(), alpha_bar[s].double()
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    sig = lambda q: ((1 - q) / q).sqrt()
    return b.sqrt() * (xt / a.sqrt() + (sig(b) - sig(a)) * eps)

@wrong("ddim_step", "keeps the old eps after clipping x0", "clipped, old noise")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    x0 = x0.clamp(-1, 1)
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("ddim_step", "clips x0 first", "clipped estimate")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    x0 = x0.clamp(-1, 1)
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("ddim_step", "clips the result", "clipped")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return (b.sqrt() * x0 + (1 - b).sqrt() * eps).clamp(-1, 1)

@wrong("ddim_step", "fresh noise", "own noise")
def _(xt, x0, t, s, alpha_bar):
    b = alpha_bar[s]
    return b.sqrt() * x0 + (1 - b).sqrt() * torch.randn_like(xt)

@wrong("ddim_step", "xt as the noise", "x_t as noise")
def _(xt, x0, t, s, alpha_bar):
    b = alpha_bar[s]
    return b.sqrt() * x0 + (1 - b).sqrt() * xt

@wrong("ddim_step", "eps without dividing", "not divided")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = xt - a.sqrt() * x0
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("ddim_step", "eps = xt - x0", "difference as noise")
def _(xt, x0, t, s, alpha_bar):
    b = alpha_bar[s]
    return b.sqrt() * x0 + (1 - b).sqrt() * (xt - x0)

@wrong("ddim_step", "no roots", "no roots at all")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a * x0) / (1 - a)
    return b * x0 + (1 - b) * eps

@wrong("ddim_step", "alpha_bar[t] in the second part", "noise of t")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("ddim_step", "s ignored: t - 1", "only one step")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[t - 1]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("ddim_step", "t and s swapped", "times exchanged")
def _(xt, x0, t, s, alpha_bar):
    b, a = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).clamp(min=1e-06).sqrt()
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("ddim_step", "DDPM mean without noise", "DDPM's mean")
def _(xt, x0, t, s, alpha_bar):
    return _mean(xt, x0, alpha_bar[t], alpha_bar[s])

@wrong("ddim_step", "DDIM with sigma of eta=1 subtracted, no noise", "DDPM's mean")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    sig2 = (1 - b) / (1 - a) * (1 - a / b)
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b - sig2).clamp(min=0).sqrt() * eps

@wrong("ddim_step", "sigma without the root (eta = 1), fresh noise", "own noise")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    sig = (1 - b) / (1 - a) * (1 - a / b)
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b - sig**2).clamp(min=0).sqrt() * eps + sig * torch.randn_like(xt)

@wrong("ddim_step", "returns x0", "estimate")
def _(xt, x0, t, s, alpha_bar):
    return x0

@wrong("ddim_step", "1 - sqrt(b)", "weights sum to 1")
def _(xt, x0, t, s, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[s]
    eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b.sqrt()) * eps

# ----------------------------------------------------------------------------------------------------------- timesteps

@right("timesteps", "range")
def _(T, steps):
    return list(range(T, -1, -T // steps))

@right("timesteps", "comprehension")
def _(T, steps):
    return [T - k * T // steps for k in range(steps + 1)]

@right("timesteps", "linspace long tensor tolist")
def _(T, steps):
    return torch.linspace(T, 0, steps + 1).round().long().tolist()

@right("timesteps", "range object")
def _(T, steps):
    return range(T, -1, -(T // steps))

@right("timesteps", "while loop")
def _(T, steps):
    out, t = [T], T
    while t > 0:
        t -= T // steps
        out.append(t)
    return out

@edge("timesteps", "right as long tensor", "right")
def _(T, steps):
    return torch.arange(T, -1, -(T // steps))

@edge("timesteps", "right as numpy int array", "right")
def _(T, steps):
    return np.linspace(T, 0, steps + 1).astype(int)

@edge("timesteps", "right as list of floats", "form")
def _(T, steps):
    return [T * (1 - k / steps) for k in range(steps + 1)]

@edge("timesteps", "right as float linspace tensor", "form")
def _(T, steps):
    return torch.linspace(T, 0, steps + 1)

@edge("timesteps", "tuple", "right")
def _(T, steps):
    return tuple(range(T, -1, -(T // steps)))

@edge("timesteps", "generator", "form")
def _(T, steps):
    return (T * k // steps for k in range(steps, -1, -1))

@wrong("timesteps", "rising", "forwards")
def _(T, steps):
    return list(range(0, T + 1, T // steps))

@wrong("timesteps", "without 0", "no end")
def _(T, steps):
    return list(range(T, 0, -(T // steps)))

@wrong("timesteps", "without T (rising, reversed)", "no start")
def _(T, steps):
    return list(reversed(range(0, T, T // steps)))

@wrong("timesteps", "steps numbers, not steps + 1 (linspace)", "too few")
def _(T, steps):
    return torch.linspace(T, 0, steps).round().long().tolist()

@wrong("timesteps", "from T - 1 down to 0 (linspace steps)", "from T - 1")
def _(T, steps):
    return torch.linspace(T - 1, 0, steps).round().long().tolist()

@wrong("timesteps", "stride = steps", "stride")
def _(T, steps):
    return list(range(T, -1, -steps))

@wrong("timesteps", "all times", "every t")
def _(T, steps):
    return list(range(T, -1, -1))

@wrong("timesteps", "pairs (t, s)", "pairs")
def _(T, steps):
    x = list(range(T, -1, -(T // steps)))
    return list(zip(x, x[1:]))

@wrong("timesteps", "ends with 1", "to 1")
def _(T, steps):
    return torch.linspace(T, 1, steps + 1).round().long().tolist()

@wrong("timesteps", "cosine spaced", None)
def _(T, steps):
    return [round(T * (1 + math.cos(math.pi * k / steps)) / 2) for k in range(steps + 1)]

# ----------------------------------------------------------------------------------------------------- partial_denoise

@right("partial_denoise", "formula")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)

@right("partial_denoise", "float")
def _(denoise, x0, t, eps, alpha_bar):
    a = float(alpha_bar[t])
    noisy = math.sqrt(a) * x0 + math.sqrt(1 - a) * eps
    return denoise(noisy, t)

@right("partial_denoise", "numpy")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t].numpy()
    return denoise(torch.from_numpy(np.sqrt(a) * x0.numpy() + np.sqrt(1 - a) * eps.numpy()), t)

@wrong("partial_denoise", "returns the noisy image", "noisy")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("partial_denoise", "denoises the clean image", "original")
def _(denoise, x0, t, eps, alpha_bar):
    return denoise(x0, t)

@wrong("partial_denoise", "denoises pure noise", "pure noise")
def _(denoise, x0, t, eps, alpha_bar):
    return denoise(eps, t)

@wrong("partial_denoise", "denoises from T", "from T")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, len(alpha_bar) - 1)

@wrong("partial_denoise", "noises up to T", "noised to T")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[-1]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)

@wrong("partial_denoise", "x0 + eps", "added in full")
def _(denoise, x0, t, eps, alpha_bar):
    return denoise(x0 + eps, t)

@wrong("partial_denoise", "x0 + sqrt(1-a) eps", "noise added")
def _(denoise, x0, t, eps, alpha_bar):
    return denoise(x0 + (1 - alpha_bar[t]).sqrt() * eps, t)

@wrong("partial_denoise", "no roots", "no roots")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a * x0 + (1 - a) * eps, t)

@wrong("partial_denoise", "own noise", "own noise")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0), t)

@wrong("partial_denoise", "denoise at t - 1", "a step late")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, t - 1)

@wrong("partial_denoise", "returns a pair (noisy, clean) as the helper does", "form")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    n = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return (n, denoise(n, t))

@wrong("partial_denoise", "denoise called in a loop t..1", "many times")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    for k in range(t, 0, -1):
        x = denoise(x, k)
    return x

@wrong("partial_denoise", "denoise(t, noisy) order swapped", None)
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(t, a.sqrt() * x0 + (1 - a).sqrt() * eps)

@wrong("partial_denoise", "result is averaged with the noisy image", "averaged")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    n = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return (n + denoise(n, t)) / 2

@edge("partial_denoise", "right, keyword denoise(noisy=, t=)", "right")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(noisy=a.sqrt() * x0 + (1 - a).sqrt() * eps, t=t)

@edge("partial_denoise", "t given as a batch tensor to denoise", "right")
def _(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return denoise(a.sqrt() * x0 + (1 - a).sqrt() * eps, torch.full((len(x0),), t))
