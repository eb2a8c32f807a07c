"""The way back: each step against diffusers, against Gaussians multiplied by hand, and on data whose score is known."""
import functools

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from helpers import samplers
from helpers.samplers import (as_eps, ddim_step, ddpm_step, dpmpp_2m_step, guided, partial_denoise, sample,
                              sample_path)
from helpers.schedule import Schedule, cosine_beta, linear_beta

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = [ddpm_step, ddim_step, dpmpp_2m_step]
T = 1000


def crooked(xt, t):
    """A made-up network, the same at our t and at diffusers' t - 1, and wrong enough for clipping to matter."""
    return torch.tanh(xt * (0.5 + t.reshape(-1, 1, 1, 1) / T)) + 0.1 * xt


class Even(Schedule):
    """Evenly spaced steps, as diffusers has them."""
    timesteps = functools.partialmethod(Schedule.timesteps, even=True)


def path(step, steps, clip, **options):
    torch.manual_seed(0)
    x, schedule = torch.randn(2, 1, 4, 4), Even(linear_beta(T))
    return [x for _, x, _ in sample_path(crooked, schedule, x, steps, functools.partial(step, **options), clip=clip)]


def their_path(scheduler, steps, **options):
    """The same walk by diffusers: its timesteps t - 1 are our t, which asks for "trailing" spacing."""
    torch.manual_seed(0)
    x, out = torch.randn(2, 1, 4, 4), []
    scheduler.set_timesteps(steps)
    assert (scheduler.timesteps + 1).tolist() == Even(linear_beta(T)).timesteps(steps)[:-1]
    for t in scheduler.timesteps:
        guess = crooked(x, torch.full((2,), t + 1))
        noise = {"variance_noise": torch.randn_like(x)} if options.get("eta") else {}
        x = scheduler.step(guess, t, x, **options, **noise).prev_sample
        out.append(x)
    return out


def assert_same_path(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_is_that_of_diffusers(steps, eta, clip):
    scheduler = DDIMScheduler(T, 1e-4, 0.02, clip_sample=clip, set_alpha_to_one=True, timestep_spacing="trailing")
    theirs = their_path(scheduler, steps, eta=eta, use_clipped_model_output=True)   # our eps, too, follows clipping
    assert_same_path(path(ddim_step, steps, clip, eta=eta), theirs)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [20, 1000])
def test_ddpm_is_that_of_diffusers(steps, clip):
    scheduler = DDPMScheduler(T, 1e-4, 0.02, clip_sample=clip, timestep_spacing="trailing")
    assert_same_path(path(ddpm_step, steps, clip), their_path(scheduler, steps))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")      # between diffusers and NumPy
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 50])
def test_dpmpp_is_that_of_diffusers(steps):
    scheduler = DPMSolverMultistepScheduler(T, 1e-4, 0.02, algorithm_type="dpmsolver++", solver_order=2,
                                            final_sigmas_type="zero", timestep_spacing="trailing")
    assert_same_path(path(dpmpp_2m_step, steps, clip=False), their_path(scheduler, steps))


@pytest.mark.parametrize("t, s", [(1, 0), (2, 1), (500, 499), (1000, 999), (1000, 700), (300, 20), (20, 0)])
def test_posterior_is_the_product_of_two_gaussians(t, s, monkeypatch):
    beta = np.linspace(1e-4, 0.02, T)
    a_s, a_ts = np.prod(1 - beta[:s]), np.prod(1 - beta[s:t])          # clean to s, s to t
    x0, xt = torch.rand(1, 1, 4, 4, dtype=torch.float64) * 2 - 1, torch.randn(1, 1, 4, 4, dtype=torch.float64)
    if s == 0:
        mean, variance = x0, 0.0
    else:                  # q(x_s | x_0) = N(sqrt(a_s) x_0, 1 - a_s);  q(x_t | x_s) = N(sqrt(a_ts) x_s, 1 - a_ts)
        precision = 1 / (1 - a_s) + a_ts / (1 - a_ts)
        mean, variance = (a_s ** 0.5 * x0 / (1 - a_s) + a_ts ** 0.5 * xt / (1 - a_ts)) / precision, 1 / precision
    schedule = Schedule(linear_beta(T))
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    ours = ddpm_step(schedule, xt, x0, t, s)
    torch.testing.assert_close(ours, mean, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    spread = ddpm_step(schedule, xt, x0, t, s) - ours
    torch.testing.assert_close(spread, torch.full_like(spread, variance ** 0.5), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("beta", [linear_beta(T), cosine_beta(T)])
def test_ddim_with_eta_1_is_ddpm(beta):
    schedule, x = Schedule(beta), torch.randn(2, 1, 4, 4)
    for steps in (T, 50, 7):
        ends = []
        for step in (ddpm_step, lambda *a: ddim_step(*a, eta=1)):
            torch.manual_seed(1)
            ends.append([x for _, x, _ in sample_path(crooked, schedule, x, steps, step)])
        for a, b in zip(*ends):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


# Data drawn from N(0, C²): the best eps_hat, and the exact solution of the probability flow, are known in closed form.
C = 0.4


def gaussian(schedule):
    def eps_model(xt, t):
        a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
        return (1 - a).sqrt() / (a * C**2 + 1 - a) * xt
    return eps_model


def exact(schedule, t):
    """Standard deviation of x_t; the flow scales every x by the ratio of two of these."""
    return (schedule.alpha_bar[t] * C**2 + 1 - schedule.alpha_bar[t]).sqrt()


@pytest.mark.parametrize("step, order", [(ddim_step, 1), (dpmpp_2m_step, 2)])
def test_order_of_convergence(step, order):
    big = 4096                                                         # fine enough for halving to go on for a while
    schedule = Schedule(linear_beta(big, 0.1 / big, 20 / big))
    x, errors = torch.ones(1, 1, 1, 1, dtype=torch.float64), []
    for steps in (32, 64, 128, 256):
        at = {s: y for s, y, _ in sample_path(gaussian(schedule), schedule, x, steps, step, clip=False)}
        end = big // 2                                                 # before the last step, which is of first order
        errors.append((at[end] - exact(schedule, end) / exact(schedule, big)).abs().item())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(order, abs=0.15) and (orders > order - 0.4).all(), (errors, orders)


def test_second_order_is_worth_it():
    schedule, x = Schedule(cosine_beta(T)), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    best = exact(schedule, 0) / exact(schedule, T)
    error = {(step, n): (sample(gaussian(schedule), schedule, x, steps=n, step=step, clip=False) - best).abs().item()
             for step in STEPS[1:] for n in (20, 50)}
    assert error[dpmpp_2m_step, 20] < error[ddim_step, 50] < error[ddim_step, 20]


@pytest.mark.parametrize("step", [ddim_step, dpmpp_2m_step])
@pytest.mark.parametrize("beta", [linear_beta(T), cosine_beta(T)])
def test_a_gaussian_comes_out_exactly(step, beta):
    schedule, x = Schedule(beta), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    end = sample(gaussian(schedule), schedule, x, steps=T, step=step, clip=False)
    assert end.item() == pytest.approx((exact(schedule, 0) / exact(schedule, T)).item(), rel=0.01)


@pytest.mark.parametrize("steps, close", [(1000, 0.02), (100, 0.2), (10, 1.0)])
def test_variance_of_ddpm(steps, close):
    schedule, n = Schedule(linear_beta(T)), 20_000
    torch.manual_seed(0)
    x = torch.randn(n, 1, 1, 1, dtype=torch.float64)
    drawn = sample(gaussian(schedule), schedule, x, steps=steps, step=ddpm_step, clip=False).var().item()
    a, variance = schedule.alpha_bar.numpy(), 1.0
    walk = schedule.timesteps(steps)
    for t, s in zip(walk, walk[1:]):                                   # every step is linear in x_t plus fresh noise
        gain = a[t] ** 0.5 * C**2 / (a[t] * C**2 + 1 - a[t])           # x0_hat = gain * x_t
        keep, noise = 0.0, 0.0
        if s > 0:
            precision = 1 / (1 - a[s]) + (a[t] / a[s]) / (1 - a[t] / a[s])
            keep, noise = (a[t] / a[s]) ** 0.5 / (1 - a[t] / a[s]) / precision, 1 / precision
            gain *= a[s] ** 0.5 / (1 - a[s]) / precision
        variance = (gain + keep) ** 2 * variance + noise
    assert drawn == pytest.approx(variance, rel=4 * (2 / n) ** 0.5)
    assert variance == pytest.approx(C**2, rel=close)                  # and with many steps it is that of the data


@pytest.mark.parametrize("step", [*STEPS, lambda *a: ddim_step(*a, eta=1)])
@pytest.mark.parametrize("t", [1, 20, 1000])
def test_last_step_lands_on_clean_data_without_noise(step, t):
    schedule, x0 = Schedule(linear_beta(T)), torch.rand(2, 1, 4, 4) * 2 - 1
    last = (min(t + 50, T + 1), torch.randn_like(x0))
    for seed in range(3):
        torch.manual_seed(seed)
        torch.testing.assert_close(step(schedule, torch.randn_like(x0), x0, t, 0, last), x0, rtol=0, atol=2e-5)


@pytest.mark.parametrize("step", [*STEPS, lambda *a: ddim_step(*a, eta=1)])
@pytest.mark.parametrize("steps", [1, 2, 10, 200])
def test_who_knows_the_picture_finds_it(step, steps):
    schedule, x0 = Schedule(linear_beta(200, 1e-3, 0.05)), torch.rand(2, 1, 8, 8) * 2 - 1
    oracle = lambda xt, t: schedule.predict_eps(xt, t, x0)
    found = sample(oracle, schedule, torch.randn_like(x0), steps=steps, step=step)
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("step", STEPS)
def test_the_walk(step):
    schedule, asked = Schedule(linear_beta(T)), []

    def eps_model(xt, t):
        assert t.shape == (3,) and t.dtype == torch.long and (t == t[0]).all()
        asked.append(t[0].item())
        return crooked(xt, t)
    walk = list(sample_path(eps_model, schedule, torch.randn(3, 1, 4, 4).requires_grad_(), 25, step))
    assert asked == schedule.timesteps(25)[:-1] and [s for s, _, _ in walk] == schedule.timesteps(25)[1:]
    torch.testing.assert_close(walk[-1][1], walk[-1][2])               # x_0 is x0_hat
    assert not any(x.requires_grad for _, x, _ in walk) and torch.is_grad_enabled()
    assert len(list(sample_path(eps_model, schedule, torch.randn(3, 1, 4, 4), 50, step, start=10))) == 10


def test_clip_holds_the_guess_inside_the_range_of_pictures():
    schedule, x = Schedule(linear_beta(T)), 5 * torch.randn(2, 1, 4, 4)
    inside = [x0.abs().max() for _, _, x0 in sample_path(crooked, schedule, x, 10)]
    outside = [x0.abs().max() for _, _, x0 in sample_path(crooked, schedule, x, 10, clip=False)]
    assert max(inside) == 1 and max(outside) > 1


def test_a_half_precision_network_keeps_the_walk_in_float32():
    schedule = Schedule(cosine_beta(T))
    v_model = as_eps(lambda xt, t: torch.zeros_like(xt, dtype=torch.bfloat16), schedule, "v")   # "x_t is all signal"
    for _, x, x0 in sample_path(v_model, schedule, torch.randn(1, 1, 8, 8), 20):
        assert x.dtype == x0.dtype == torch.float32 and x.isfinite().all()


@pytest.mark.parametrize("step", [*STEPS, lambda *a: ddim_step(*a, eta=1)])
def test_noisy_determines_denoised(step, monkeypatch):
    schedule, noisy = Schedule(linear_beta(T)), torch.randn(2, 1, 4, 4)
    monkeypatch.setattr(schedule, "q_sample", lambda x0, t: noisy)     # noisy is held, x0 is not
    ends = []
    for x0 in (torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)):
        torch.manual_seed(0)
        shown, denoised = partial_denoise(crooked, schedule, x0, 300, step=step, steps=20)
        assert shown is noisy
        ends.append(denoised)
    assert torch.equal(ends[0], ends[1])
    torch.manual_seed(0)
    assert torch.equal(ends[0], sample(crooked, schedule, noisy, steps=20, step=step, start=300))


def test_noisy_is_the_picture_with_the_noise_of_t():
    schedule, x0 = Schedule(linear_beta(T)), torch.rand(2, 1, 4, 4) * 2 - 1
    torch.manual_seed(0)
    noisy, _ = partial_denoise(crooked, schedule, x0, 300, steps=3)
    torch.manual_seed(0)
    assert torch.equal(noisy, schedule.q_sample(x0, 300))
    with pytest.raises(ValueError, match="start must lie in 1"):
        partial_denoise(crooked, schedule, x0, 0)


@pytest.mark.parametrize("beta", [linear_beta(T), cosine_beta(T)])
@pytest.mark.parametrize("target", ["eps", "v", "x0"])
def test_every_target_is_turned_into_eps(target, beta):
    schedule, t = Schedule(beta), torch.tensor([1, 30, 500, 970, 1000])
    torch.manual_seed(0)
    x0, eps = torch.rand(5, 1, 4, 4) * 2 - 1, torch.randn(5, 1, 4, 4)
    said = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[target]
    found = as_eps(lambda xt, t: said, schedule, target)(schedule.q_sample(x0, t, eps), t)
    torch.testing.assert_close(found, eps, rtol=0, atol=1e-4)


def test_an_unknown_target_gets_a_sentence():
    with pytest.raises(ValueError, match="a network predicts eps, v or x0, not 'V'"):
        as_eps(crooked, Schedule(linear_beta(T)), "V")


def test_guidance_follows_the_equation_and_moves_samples_as_it_says():
    schedule = Schedule(cosine_beta(T))
    torch.manual_seed(0)
    x, one, none, t = *torch.randn(3, 2, 1, 4, 4), torch.tensor([3, 700])
    guess = lambda scale: guided(lambda xt, t: one, lambda xt, t: none, scale)(x, t)
    for w in (-1.0, -0.5, 0.0, 2.0):                                   # Ho & Salimans 2022, eq. 6, in their letters
        torch.testing.assert_close(guess(1 + w), (1 + w) * one - w * none)
    torch.testing.assert_close(guess(0), none)
    torch.testing.assert_close(guess(1), one)

    # Data N(m, C^2) with the label, N(0, C^2) without: guided by w, samples are those of N(w m, C^2), all exact
    def eps_of(m):
        def eps_model(xt, t):
            a = schedule.at(t, xt)
            x0 = m + a.sqrt() * C**2 / (a * C**2 + 1 - a) * (xt - a.sqrt() * m)
            return schedule.predict_eps(xt, t, x0)
        return eps_model
    x = torch.randn(500, 1, 1, 1, dtype=torch.float64)
    for scale in (0.0, 1.0, 3.0):
        drawn = sample(guided(eps_of(0.2), eps_of(0.0), scale), schedule, x, steps=200, clip=False)
        alone = sample(eps_of(0.2 * scale), schedule, x, steps=200, clip=False)
        torch.testing.assert_close(drawn, alone, rtol=0, atol=1e-4)


def test_all_that_is_public_is_tested_here():
    elsewhere = {"tiled", "each_channel"}                      # in test_denoise.py
    public = {name for name, f in vars(samplers).items() if getattr(f, "__module__", "") == "helpers.samplers"}
    here = {"ddpm_step", "ddim_step", "dpmpp_2m_step", "as_eps", "guided", "sample_path", "sample", "partial_denoise"}
    assert public == here | elsewhere
