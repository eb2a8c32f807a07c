"""The way back: each step against diffusers, against Gaussians multiplied by hand, and on data whose score is known."""
import functools

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from helpers import env, samplers
from helpers.checkpoints import load_sampler, load_weights, save_weights
from helpers.guidance import as_x0
from helpers.samplers import (ddim_eta_step, ddim_step, ddpm_step, dpmpp_2m_step, partial_denoise, sample,
                              sample_path)
from helpers.schedule import Schedule, cosine_beta, linear_beta
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = [ddpm_step, ddim_step, dpmpp_2m_step]
ALL = [*STEPS, functools.partial(ddim_eta_step, eta=1)]
T = 1000


def crooked(xt, t):
    """A made-up network, the same at our t and at diffusers' t - 1, and wrong enough for clipping to matter."""
    return torch.tanh(xt * (0.5 + t.reshape(-1, 1, 1, 1) / T)) + 0.1 * xt


def path(step, steps, clip):
    """The x_s of our sampler at evenly spaced times, as diffusers has them; crooked predicts the noise."""
    torch.manual_seed(0)
    x, schedule = torch.randn(2, 1, 4, 4), Schedule(linear_beta(T))
    times = schedule.timesteps(steps, even=True)
    walk = sample_path(as_x0(crooked, schedule, "eps"), schedule, x, step=step, times=times, clip=clip)
    return [x for _, x, _ in walk]


def their_path(scheduler, steps, **options):
    """The same walk by diffusers: its timesteps t - 1 are our t, which asks for "trailing" spacing."""
    torch.manual_seed(0)
    x, out = torch.randn(2, 1, 4, 4), []
    scheduler.set_timesteps(steps)
    assert (scheduler.timesteps + 1).tolist() == Schedule(linear_beta(T)).timesteps(steps, even=True)[:-1]
    for t in scheduler.timesteps:
        eps_hat = crooked(x, torch.full((2,), t + 1))
        noise = {"variance_noise": torch.randn_like(x)} if options.get("eta") else {}
        x = scheduler.step(eps_hat, t, x, **options, **noise).prev_sample
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
    step = functools.partial(ddim_eta_step, eta=eta) if eta else ddim_step
    assert_same_path(path(step, steps, clip), theirs)


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
def test_posterior_is_the_product_of_two_gaussians(t, s):
    beta = np.linspace(1e-4, 0.02, T)
    a_s, a_ts = np.prod(1 - beta[:s]), np.prod(1 - beta[s:t])          # clean to s, s to t
    x0, xt = torch.rand(1, 1, 4, 4, dtype=torch.float64) * 2 - 1, torch.randn(1, 1, 4, 4, dtype=torch.float64)
    if s == 0:
        mean, variance = x0, 0.0
    else:                  # q(x_s | x_0) = N(sqrt(a_s) x_0, 1 - a_s);  q(x_t | x_s) = N(sqrt(a_ts) x_s, 1 - a_ts)
        precision = 1 / (1 - a_s) + a_ts / (1 - a_ts)
        mean, variance = (a_s ** 0.5 * x0 / (1 - a_s) + a_ts ** 0.5 * xt / (1 - a_ts)) / precision, 1 / precision
    alpha_bar = Schedule(linear_beta(T)).alpha_bar
    ours = ddpm_step(xt, x0, t, s, alpha_bar, torch.zeros_like(xt))
    torch.testing.assert_close(ours, mean, rtol=1e-9, atol=1e-12)
    deviation = ddpm_step(xt, x0, t, s, alpha_bar, torch.ones_like(xt)) - ours
    torch.testing.assert_close(deviation, torch.full_like(deviation, variance ** 0.5), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("beta", [linear_beta(T), cosine_beta(T)])
@pytest.mark.parametrize("eta, other", [(0, ddim_step), (1, ddpm_step)])
def test_ddim_with_noise_joins_ddim_and_ddpm(eta, other, beta):
    schedule, x = Schedule(beta), torch.randn(2, 1, 4, 4)
    for steps in (T, 50, 7):
        ends = []
        for step in (other, functools.partial(ddim_eta_step, eta=eta)):
            torch.manual_seed(1)
            ends.append([x for _, x, _ in sample_path(crooked, schedule, x, steps, step)])
        for a, b in zip(*ends):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-4)


# Data drawn from N(0, C²): the best x0_hat, and the exact solution of the probability flow, are known in closed form.
C = 0.4


def gaussian(schedule):
    def x0_model(xt, t):
        a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * C**2 / (a * C**2 + 1 - a) * xt
    return x0_model


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


@pytest.mark.parametrize("step", ALL)
@pytest.mark.parametrize("t", [1, 20, 1000])
def test_last_step_lands_on_clean_data_without_noise(step, t):
    schedule, x0 = Schedule(linear_beta(T)), torch.rand(2, 1, 4, 4) * 2 - 1
    for before in range(t + 1, min(t + 50, T), 7):             # two steps, so that DPM-Solver++ has a previous one
        *_, (_, found, _) = sample_path(lambda xt, now: x0 + (now[0] > t), schedule, torch.randn_like(x0), step=step,
                                        times=[before, t, 0], clip=False)
        torch.testing.assert_close(found, x0, rtol=0, atol=2e-5)
    found = sample(lambda xt, now: x0, schedule, torch.randn_like(x0), step=step, times=[t, 0])
    torch.testing.assert_close(found, x0, rtol=0, atol=2e-5)


@pytest.mark.parametrize("step", ALL)
@pytest.mark.parametrize("steps", [1, 2, 10, 200])
def test_a_model_that_knows_the_image_ends_there(step, steps):
    schedule, x0 = Schedule(linear_beta(200, 1e-3, 0.05)), torch.rand(2, 1, 8, 8) * 2 - 1
    oracle = as_x0(lambda xt, t: schedule.predict_eps(xt, t, x0), schedule, "eps")
    found = sample(oracle, schedule, torch.randn_like(x0), steps=steps, step=step)
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("step", STEPS)
def test_the_path(step):
    schedule, asked = Schedule(linear_beta(T)), []

    def x0_model(xt, t):
        assert t.shape == (3,) and t.dtype == torch.long and (t == t[0]).all()
        asked.append(t[0].item())
        return crooked(xt, t)
    walk = list(sample_path(x0_model, schedule, torch.randn(3, 1, 4, 4).requires_grad_(), 25, step))
    assert asked == schedule.timesteps(25)[:-1] and [s for s, _, _ in walk] == schedule.timesteps(25)[1:]
    torch.testing.assert_close(walk[-1][1], walk[-1][2])               # x_0 is x0_hat
    assert not any(x.requires_grad for _, x, _ in walk) and torch.is_grad_enabled()
    assert len(list(sample_path(x0_model, schedule, torch.randn(3, 1, 4, 4), 50, step, start=10))) == 10


def test_clip_keeps_the_estimate_inside_the_range_of_images():
    schedule, x = Schedule(linear_beta(T)), 5 * torch.randn(2, 1, 4, 4)
    inside = [x0.abs().max() for _, _, x0 in sample_path(crooked, schedule, x, 10)]
    outside = [x0.abs().max() for _, _, x0 in sample_path(crooked, schedule, x, 10, clip=False)]
    assert max(inside) == 1 and max(outside) > 1


def test_a_half_precision_network_keeps_the_walk_in_float32():
    schedule = Schedule(cosine_beta(T))
    v_model = as_x0(lambda xt, t: torch.zeros_like(xt, dtype=torch.bfloat16), schedule, "v")    # "x_t is all signal"
    for _, x, x0 in sample_path(v_model, schedule, torch.randn(1, 1, 8, 8), 20):
        assert x.dtype == x0.dtype == torch.float32 and x.isfinite().all()


@pytest.mark.parametrize("step", ALL)
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


def test_noisy_is_the_image_with_the_noise_of_t():
    schedule, x0 = Schedule(linear_beta(T)), torch.rand(2, 1, 4, 4) * 2 - 1
    torch.manual_seed(0)
    noisy, _ = partial_denoise(crooked, schedule, x0, 300, steps=3)
    torch.manual_seed(0)
    assert torch.equal(noisy, schedule.q_sample(x0, 300))
    with pytest.raises(ValueError, match="start must lie in 1"):
        partial_denoise(crooked, schedule, x0, 0)


# ---- the interface between loop, model and step


def test_the_loop_hands_a_step_what_its_signature_names():
    schedule, x, seen = Schedule(linear_beta(T)), torch.randn(2, 1, 4, 4), []

    def plain(xt, x0, t, s, alpha_bar):
        assert type(t) is int and type(s) is int
        assert torch.equal(alpha_bar, schedule.alpha_bar.to(xt.dtype)) and alpha_bar.device == xt.device
        return xt

    def multistep(xt, x0, t, s, alpha_bar, previous, z):
        assert z.shape == xt.shape and z.dtype == xt.dtype
        seen.append((t, x0, previous))
        return xt

    torch.manual_seed(0)
    before = torch.get_rng_state()
    for dtype in (torch.float32, torch.float64):
        sample(crooked, schedule, x.to(dtype), steps=5, step=plain)
    assert torch.equal(torch.get_rng_state(), before)          # nothing is drawn for a step that needs no noise
    sample(crooked, schedule, x, steps=5, step=multistep)
    assert not torch.equal(torch.get_rng_state(), before)
    assert seen[0][2] is None
    assert all(now[2][0] == last[0] and now[2][1] is last[1] for last, now in zip(seen, seen[1:]))


@pytest.mark.parametrize("step", ALL)
def test_a_learners_indexing_works_on_any_device(step):
    """On the device "meta", which stands for a GPU here: tensors with shapes alone, that mix with no other device."""
    def learners(xt, x0, t, s, alpha_bar):
        return alpha_bar[t].view(-1, 1, 1, 1).sqrt() * xt + alpha_bar[s].view(-1, 1, 1, 1) * x0
    schedule, x = Schedule(linear_beta(T)), torch.randn(2, 1, 4, 4, device="meta")
    for function in (step, learners):
        assert sample(lambda xt, t: xt / 2, schedule, x, steps=3, step=function).dtype == torch.float32


@pytest.mark.parametrize("step", STEPS)
def test_any_falling_list_of_times_is_walked(step):
    schedule, x = Schedule(linear_beta(T)), torch.randn(2, 1, 4, 4)
    torch.manual_seed(1)
    usual = sample(crooked, schedule, x, steps=9, step=step)
    for times in (schedule.timesteps(9), torch.tensor(schedule.timesteps(9)), np.array(schedule.timesteps(9))):
        torch.manual_seed(1)
        assert torch.equal(sample(crooked, schedule, x, step=step, times=times), usual)
    walk = [(s, x) for s, x, _ in sample_path(crooked, schedule, x, step=step, times=[900, 350, 349, 20])]
    assert [s for s, _ in walk] == [350, 349, 20] and walk[-1][1].isfinite().all()


@pytest.mark.parametrize("times", [[], [5], [5, 5, 0], [0, 5], [T + 1, 0], [5, -1]])
def test_times_that_do_not_fall_get_a_sentence(times):
    with pytest.raises(ValueError, match=r"times must be two or more integers that fall, inside 1000 \.\.\. 0; found"):
        sample(crooked, Schedule(linear_beta(T)), torch.randn(2, 1, 4, 4), times=times)


@pytest.mark.parametrize("step", ALL)
def test_alpha_bar_in_float32_is_accurate_enough(step, monkeypatch):
    schedule, draw = Schedule(cosine_beta(1024)), torch.Generator()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=draw.manual_seed(0))
    drawn = lambda x: torch.randn(x.shape, dtype=torch.float64, generator=draw).to(x.dtype)
    monkeypatch.setattr(torch, "randn_like", drawn)            # the same noise in both
    model = lambda xt, t: gaussian(schedule)(xt.double(), t)
    for steps, close in ((15, 1e-5), (1024, 5e-4)):
        ends = []
        for dtype in (torch.float32, torch.float64):
            draw.manual_seed(1)
            ends.append(sample(model, schedule, x.to(dtype), steps=steps, step=step).double())
        torch.testing.assert_close(*ends, rtol=0, atol=close)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")      # between diffusers and NumPy
def test_r_is_the_papers():
    """r = h_{i-1} / h_i, and D = (1 + 1 / 2r) x0 - 1 / 2r x0_previous (Lu et al. 2022, algorithm 2, lines 6 to 8)."""
    schedule = Schedule(cosine_beta(T))
    xt, x0, x0_previous = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64)
    a, sigma, lam = schedule.alpha_bar.sqrt(), (1 - schedule.alpha_bar).sqrt(), schedule.snr().log() / 2
    for t_previous, t, s in ((900, 600, 500), (501, 500, 3), (20, 10, 9)):
        h_previous, h = lam[t] - lam[t_previous], lam[s] - lam[t]
        r = h_previous / h
        D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_previous
        wanted = sigma[s] / sigma[t] * xt - a[s] * ((-h).exp() - 1) * D
        found = dpmpp_2m_step(xt, x0, t, s, schedule.alpha_bar, (t_previous, x0_previous))
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name, target", [("craters64", "v"), ("digits32", "v")])
def test_a_sampler_is_loaded_with_all_it_needs(name, target):
    path = env.WEIGHTS / f"{name}.safetensors"
    model, about = load_weights(path, UNet)
    x0_model, schedule, found = load_sampler(path)
    assert found == about and schedule.T == about["T"] and about["target"] == target
    torch.manual_seed(0)
    x, t = torch.randn(2, about["channels"], about["size"], about["size"]), torch.tensor([500, about["T"]])
    label = [torch.tensor([3, -1])] if about["architecture"]["num_classes"] else []
    with torch.no_grad():
        wanted = as_x0(model, Schedule(cosine_beta(about["T"])), target)(x, t, *label)
    assert torch.equal(x0_model(x, t, *label), wanted)
    assert not x0_model(x, t, *label).requires_grad


def test_weights_that_do_not_say_how_to_sample_get_a_sentence(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_weights(path, UNet(1, 1, (8,), 4), T=50)
    with pytest.raises(ValueError, match=r"mine\.safetensors does not say its schedule, target"):
        load_sampler(path)
    save_weights(path, UNet(1, 1, (8,), 4), T=50, schedule="cosines", target="v")
    with pytest.raises(ValueError, match=r"mine\.safetensors names the schedule 'cosines'.*linear, cosine"):
        load_sampler(path)


def test_all_that_is_public_is_tested_here():
    public = {name for name, f in vars(samplers).items() if getattr(f, "__module__", "") == "helpers.samplers"}
    assert public == {"ddpm_step", "ddim_step", "ddim_eta_step", "dpmpp_2m_step", "sample_path", "sample",
                      "partial_denoise"}
