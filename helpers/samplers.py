"""Noise out.  A step sees x_t and the guess x0_hat, and returns x_s at the next, smaller time s < t.

eps_model is any callable (x_t (B, C, H, W), t (B,)) -> eps_hat: a UNet, a guided closure, an exact formula.
"""
from itertools import pairwise

import torch


def ddpm_step(schedule, xt, x0, t, s, last=None):
    """Ancestral step: draw x_s ~ q(x_s | x_t, x_0) (Ho et al. 2020, eq. 6-7, for any s < t)."""
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s                                                    # alpha_t where s = t - 1
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)                       # 0 at s = 0: the last step adds no noise
    return mean + variance.sqrt() * torch.randn_like(xt)


def ddim_step(schedule, xt, x0, t, s, last=None, eta=0.0):
    """One DDIM step (Song et al. 2021, eq. 12 and 16).  eta = 0 is deterministic, eta = 1 is DDPM."""
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt()
    eps = schedule.predict_eps(xt, t, x0)
    mean = a_s.sqrt() * x0 + (1 - a_s - sigma**2).clamp(min=0).sqrt() * eps
    return mean + sigma * torch.randn_like(xt) if eta else mean


def dpmpp_2m_step(schedule, xt, x0, t, s, last=None):
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2: extrapolate x0_hat, then one exact linear step."""
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    if last is not None and s > 0:                                       # at s = 0 the half log-SNR is infinite
        t_last, x0_last = last
        lam_last, lam_t, lam_s = (schedule.snr()[k].log() / 2 for k in (t_last, t, s))
        r = ((lam_s - lam_t) / (lam_t - lam_last) / 2).item()
        x0 = x0 + r * (x0 - x0_last)
    ratio = ((1 - a_s) / (1 - a_t)).sqrt()
    return ratio * xt + (a_s.sqrt() - ratio * a_t.sqrt()) * x0


def as_eps(model, schedule, target):
    """The network as an eps_model, whatever it was trained to predict: "eps", "v" or "x0", else ValueError."""
    if target not in ("eps", "v", "x0"):
        raise ValueError(f"a network predicts eps, v or x0, not {target!r}.")
    if target == "eps":
        return model

    def eps_model(xt, t):
        a, out = schedule.at(t, xt), model(xt, t)
        if target == "v":
            return a.sqrt() * out + (1 - a).sqrt() * xt                  # Salimans & Ho 2022, app. D
        return schedule.predict_eps(xt, t, out)
    return eps_model


def guided(eps_model, without, scale):
    """Classifier-free guidance: an eps_model that overdoes what the label changes (Ho & Salimans 2022, eq. 6).

    eps_model, without: the guess with and without the label;  scale: their 1 + w; 0 ignores the label, 1 heeds it
    """
    def both(xt, t):
        eps = without(xt, t)
        return eps + scale * (eps_model(xt, t) - eps)
    return both


def each_channel(eps_model):
    """An eps_model that knows only grey (B, 1, H, W), for any number of channels: each is a grey picture of its own."""
    def grey_by_grey(xt, t):
        return eps_model(xt.flatten(0, 1)[:, None], t.repeat_interleave(xt.shape[1])).view_as(xt)
    return grey_by_grey


def tiled(eps_model, size, stride):
    """An eps_model for large pictures: asked about overlapping tiles, it blends the answers (Bar-Tal et al. 2023).

    size: side of a tile in pixels;  stride: from one tile to the next, at most size.  An answer weighs most in the
    middle of its tile and least at its edge, so that no edge shows.
    ValueError: a picture smaller than a tile, or gaps between tiles.
    """
    if not 1 <= stride <= size:
        raise ValueError(f"tiles of {size} pixels need a stride from 1 to {size}, or there are gaps; found {stride}.")

    def blended(xt, t):
        height, width = xt.shape[-2:]
        if min(height, width) < size:
            raise ValueError(f"a picture of {height}×{width} holds no tile of {size} pixels: choose smaller tiles.")
        ramp = torch.minimum(torch.arange(size) + 1, size - torch.arange(size)).to(xt)
        total, weight, tent = torch.zeros_like(xt), torch.zeros_like(xt), torch.outer(ramp, ramp)
        for y in [*range(0, height - size, stride), height - size]:      # the last tile ends where the picture ends
            for x in [*range(0, width - size, stride), width - size]:
                tile = ..., slice(y, y + size), slice(x, x + size)
                total[tile] += tent * eps_model(xt[tile], t)
                weight[tile] += tent
        return total / weight
    return blended


@torch.no_grad()
def sample_path(eps_model, schedule, x, steps=50, step=ddim_step, start=None, clip=True):
    """Yield (s, x_s, x0_hat) on the way from x at t = start (default T) down to t = 0.

    steps: how often the network is asked, at most once per t;  step: one of the functions above
    clip: hold each x0_hat inside the range of pictures, [-1, 1]
    """
    last = None
    for t, s in pairwise(schedule.timesteps(steps, start)):
        eps = eps_model(x, torch.full((len(x),), t, device=x.device)).to(x.dtype)
        x0 = schedule.predict_x0(x, t, eps)
        x0 = x0.clamp(-1, 1) if clip else x0
        x = step(schedule, x, x0, t, s, last)
        last = (t, x0)
        yield s, x, x0


def sample(eps_model, schedule, x, **options):
    """The end of sample_path: pictures (B, C, H, W) at t = 0."""
    *_, (_, x0, _) = sample_path(eps_model, schedule, x, **options)
    return x0


def partial_denoise(eps_model, schedule, x0, t, **options):
    """Noise x0 up to t, then denoise: (noisy, denoised), the second made from the first alone (SDEdit, Meng 2022)."""
    noisy = schedule.q_sample(x0, t)
    return noisy, sample(eps_model, schedule, noisy, start=t, **options)
