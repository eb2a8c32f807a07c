"""Samplers: from pure noise to an image, step by step.

There are three kinds of function, and each can be replaced by one of your own.

    x0_model(xt, t) -> x0_hat                  The model: its estimate of the clean image.  t is (B,), int64.  as_x0 in
                                               guidance.py makes one of a network, whatever it was trained to predict.
    step(xt, x0, t, s, alpha_bar) -> xs        The sampler: from x_t and the estimate x0 to x_s, at the next, smaller
                                               time s.  t and s are Python integers, so alpha_bar[t] is one number.
    sample_path(x0_model, schedule, x, ...)    The loop, one for all samplers.

Images are (B, C, H, W).  alpha_bar is (T + 1,), float32 on the device of x, since Apple's GPUs have no float64.  This
rounds 1 - alpha_bar near t = 0, and changes a pixel by 2e-6 in 15 steps and 2e-4 in 1,000, a fortieth of a grey level.

A stochastic step has one more argument, z (B, C, H, W), fresh standard normal noise.  A multistep sampler has another,
previous: the (t, x0) of the step before, None in the first step.  The loop looks for these two names in the step's
signature, and passes those that are there.

Where eps_hat is needed, for inversion or a plot: schedule.predict_eps(xt, t, x0_hat), t > 0.
"""
import inspect
from itertools import pairwise

import torch


def ddpm_step(xt, x0, t, s, alpha_bar, z):
    """x_s ~ q(x_s | x_t, x_0), an ancestral step (Ho et al. 2020, eq. 6-7, for any s < t)."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s                                                    # alpha_t where s = t - 1
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)                       # 0 at s = 0: the last step adds no noise
    return mean + variance.sqrt() * z


def ddim_step(xt, x0, t, s, alpha_bar):
    """x_s of one deterministic DDIM step (Song et al. 2021, eq. 12 with sigma = 0)."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    eps_hat = (xt - a_t.sqrt() * x0) / (1 - a_t).sqrt()
    return a_s.sqrt() * x0 + (1 - a_s).sqrt() * eps_hat


def ddim_eta_step(xt, x0, t, s, alpha_bar, z, eta):
    """x_s of one DDIM step with noise (Song et al. 2021, eq. 12 and 16): eta = 0 is ddim_step, eta = 1 is ddpm_step."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt()
    eps_hat = (xt - a_t.sqrt() * x0) / (1 - a_t).sqrt()
    return a_s.sqrt() * x0 + (1 - a_s - sigma**2).clamp(min=0).sqrt() * eps_hat + sigma * z


def dpmpp_2m_step(xt, x0, t, s, alpha_bar, previous=None):
    """x_s of one step of DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): extrapolate x0, then one exact linear step."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    if previous is not None and s > 0:                                   # at s = 0 the log-SNR is infinite
        t_previous, x0_previous = previous
        lam = (alpha_bar / (1 - alpha_bar)).log() / 2                    # half the log-SNR at each time
        r = (lam[t] - lam[t_previous]) / (lam[s] - lam[t])               # r_i = h_{i-1} / h_i
        x0 = x0 + (x0 - x0_previous) / (2 * r)
    ratio = ((1 - a_s) / (1 - a_t)).sqrt()
    return ratio * xt + (a_s.sqrt() - ratio * a_t.sqrt()) * x0


@torch.no_grad()
def sample_path(x0_model, schedule, x, steps=50, step=ddim_step, start=None, times=None, clip=True):
    """Yield (s, x_s, x0_hat) on the way from x at t = start (default T) down to t = 0.

    steps: how often the model is evaluated, at most once per t;  step: one of the functions above
    times: in place of steps and start, any falling list of integers to visit; x is at the first of them
    clip: clip each x0_hat to the range of images, [-1, 1]
    ValueError: times that do not fall, or leave 0 ... T
    """
    times = schedule.timesteps(steps, start) if times is None else [int(t) for t in times]
    if len(times) < 2 or not all(schedule.T >= t > s >= 0 for t, s in pairwise(times)):
        raise ValueError(f"times must be two or more integers that fall, inside {schedule.T} ... 0; found {times}.")
    alpha_bar = schedule.alpha_bar_like(x)
    takes = inspect.signature(step).parameters
    previous = None
    for t, s in pairwise(times):
        x0 = x0_model(x, torch.full((len(x),), t, device=x.device)).to(x.dtype)
        if clip:
            x0 = x0.clamp(-1, 1)
        more = {"previous": previous} if "previous" in takes else {}
        if "z" in takes:
            more["z"] = torch.randn_like(x)
        x = step(x, x0, t, s, alpha_bar, **more)
        previous = (t, x0)
        yield s, x, x0


def sample(x0_model, schedule, x, **options):
    """The end of sample_path, with its options: images (B, C, H, W)."""
    for _, x_s, _ in sample_path(x0_model, schedule, x, **options):
        x = x_s                                                          # none of the path is kept
    return x


def partial_denoise(x0_model, schedule, x0, t, **options):
    """(noisy, denoised): x0 noised up to t, and what is sampled from that alone (SDEdit, Meng et al. 2022)."""
    noisy = schedule.q_sample(x0, t)
    return noisy, sample(x0_model, schedule, noisy, start=t, **options)
