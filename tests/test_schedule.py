"""The forward process: against diffusers' schedulers, against its own definition step by step, and at its edges."""
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from helpers.schedule import BETAS, Schedule, cosine_beta, linear_beta

THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


@pytest.mark.parametrize("T", [1, 100, 1000, 1024])
@pytest.mark.parametrize("name", BETAS)
def test_schedules_are_those_of_diffusers(name, T):
    theirs = DDPMScheduler(T, beta_schedule=THEIRS[name], beta_start=1e-4, beta_end=0.02)
    ours = Schedule(BETAS[name](T))
    torch.testing.assert_close(ours.beta[1:].float(), theirs.betas, rtol=2e-3, atol=1e-8)      # they compute in float32
    torch.testing.assert_close(ours.alpha_bar[1:].float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", BETAS)
def test_arrays_run_from_clean_to_noise(name):
    s = Schedule(BETAS[name](1000))
    assert s.T == 1000 and len(s.beta) == len(s.alpha) == len(s.alpha_bar) == 1001
    assert s.beta[0] == 0 and s.alpha[0] == 1 and s.alpha_bar[0] == 1 and s.snr()[0] == torch.inf
    assert (s.alpha_bar.diff() < 0).all() and (s.snr().diff() < 0).all() and s.alpha_bar[-1] < 1e-4
    assert s.alpha_bar.dtype == torch.float64


def test_the_ddpm_betas_need_a_thousand_steps():
    assert Schedule(linear_beta(100)).alpha_bar[-1] > 0.3              # a third of the image is still there
    assert Schedule(linear_beta(1000)).alpha_bar[-1] < 1e-4


def test_a_cosine_is_a_cosine():
    u = (torch.arange(901, dtype=torch.float64) / 1000 + 0.008) / 1.008
    expected = torch.cos(u * torch.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    torch.testing.assert_close(Schedule(cosine_beta(1000)).alpha_bar[:901], expected)


@pytest.mark.parametrize("name", BETAS)
def test_many_small_steps_are_one_jump(name):
    s = Schedule(BETAS[name](1000))
    scale, variance = 1.0, 0.0
    for t in range(1, 1001):                           # x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise
        beta = s.beta[t].item()
        scale, variance = scale * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        assert scale == pytest.approx(s.alpha_bar[t].sqrt().item(), rel=1e-9)
        assert variance == pytest.approx(1 - s.alpha_bar[t].item(), rel=1e-9)


def test_small_steps_drawn_have_the_moments_of_the_jump():
    s, rng, n = Schedule(linear_beta(40, 0.001, 0.1)), np.random.default_rng(0), 100_000
    x = np.full(n, 0.7)
    for beta in s.beta[1:].numpy():
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.standard_normal(n)
    torch.manual_seed(0)
    jump = s.q_sample(torch.full((n, 1, 1, 1), 0.7), 40)
    assert x.mean() == pytest.approx(jump.mean().item(), abs=0.02)     # four deviations of their difference
    assert x.std() == pytest.approx(jump.std().item(), rel=0.013)


@pytest.mark.parametrize("t", [1, 10, 500, 1000])
def test_moments_of_q(t):
    s, n = Schedule(linear_beta()), 200_000
    torch.manual_seed(t)
    x = s.q_sample(torch.full((n, 1, 1, 1), -0.6), t).double()
    a = np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:t])
    assert x.mean().item() == pytest.approx(-0.6 * a ** 0.5, abs=4 * ((1 - a) / n) ** 0.5)
    assert x.var().item() == pytest.approx(1 - a, rel=4 * (2 / n) ** 0.5)
    assert (((x - x.mean()) / x.std()) ** 4).mean().item() == pytest.approx(3, abs=0.05)        # and it is a Gaussian


@pytest.mark.parametrize("name", BETAS)
def test_noising_and_velocity_are_those_of_diffusers(name):
    theirs, ours = DDPMScheduler(1000, beta_schedule=THEIRS[name]), Schedule(BETAS[name]())
    torch.manual_seed(0)
    x0, eps, t = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4), torch.tensor([1, 2, 10, 100, 500, 900, 999, 1000])
    torch.testing.assert_close(ours.q_sample(x0, t, eps), theirs.add_noise(x0, eps, t - 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.velocity(x0, t, eps), theirs.get_velocity(x0, eps, t - 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BETAS)
def test_one_t_for_all_is_the_same_t_for_each(name):
    s, x0, eps = Schedule(BETAS[name]()), torch.rand(3, 1, 4, 4) * 2 - 1, torch.randn(3, 1, 4, 4)
    for t in (0, 1, 7, 500, 1000):
        one, each = s.q_sample(x0, t, eps), s.q_sample(x0, torch.full((3,), t), eps)
        torch.testing.assert_close(one, each, rtol=1e-3, atol=1e-5)
        assert one.dtype == each.dtype == torch.float32
    assert torch.equal(s.q_sample(x0, 0), x0)                          # t = 0 is the clean image, to the bit


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("name", BETAS)
def test_predictions_invert_the_noising(name, each):
    s = Schedule(BETAS[name]())
    torch.manual_seed(0)
    x0, eps = torch.rand(2, 1, 8, 8) * 2 - 1, torch.randn(2, 1, 8, 8)
    for t in (1, 3, 100, 500, 900, 1000):
        when = torch.full((2,), t) if each else t
        xt = s.q_sample(x0, when, eps)
        lost = 1e-6 / s.alpha_bar[t].sqrt().item()                     # float32 rounds x_t; near T that is all there is
        torch.testing.assert_close(s.predict_x0(xt, when, eps), x0, rtol=0, atol=max(1e-5, lost))
        torch.testing.assert_close(s.predict_eps(xt, when, x0), eps, rtol=0, atol=3e-4)
        v, a = s.velocity(x0, when, eps), s.alpha_bar[t]
        torch.testing.assert_close((a.sqrt() * xt - (1 - a).sqrt() * v).float(), x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, torch.tensor])
def test_whole_numbers_of_numpy_and_torch_are_as_exact_as_pythons(whole):
    """alpha_bar[t] stays float64 for one t; at t = 1 float32 would lose half the digits of 1 - alpha_bar."""
    schedule, x = Schedule(linear_beta()), torch.randn(2, 1, 4, 4)
    a = schedule.at(whole(1), x)
    assert a.dtype == torch.float64 and a == schedule.at(1, x)
    assert torch.equal(schedule.q_sample(x, whole(1), x), schedule.q_sample(x, 1, x))
    assert schedule.timesteps(whole(5), whole(100)) == schedule.timesteps(5, 100)
    assert torch.equal(linear_beta(whole(10)), linear_beta(10)) and torch.equal(cosine_beta(whole(10)), cosine_beta(10))


def test_each_image_gets_its_own_t():
    s, x0, eps = Schedule(linear_beta()), torch.ones(3, 2, 1, 1), torch.zeros(3, 2, 1, 1)
    out = s.q_sample(x0, torch.tensor([0, 500, 1000]), eps)
    torch.testing.assert_close(out[:, 0, 0, 0], s.alpha_bar[[0, 500, 1000]].sqrt().float())


def test_timesteps_go_down_to_zero_without_repeats():
    for T in (1, 2, 7, 37):
        s = Schedule(linear_beta(T))
        for start in range(1, T + 1):
            for steps in range(1, 2 * T + 2):
                t = s.timesteps(steps, start)
                assert t[0] == start and t[-1] == 0 and len(t) == min(steps, start) + 1
                assert all(a > b for a, b in zip(t, t[1:])) and all(type(k) is int for k in t)
    s = Schedule(linear_beta(1000))
    assert all(len(set(s.timesteps(n))) == n + 1 for n in range(1, 1001))
    assert s.timesteps(4, even=True) == [1000, 750, 500, 250, 0]
    assert s.timesteps(4) == [1000, 854, 500, 146, 0]          # 500 (1 - cos(pi k / 4))
    assert s.timesteps(1000) == s.timesteps(1000, even=True) == list(range(1000, -1, -1))


@pytest.mark.parametrize("steps, start", [(0, None), (-1, None), (5, 0), (5, 11), (5, -3)])
def test_impossible_timesteps_get_a_sentence(steps, start):
    with pytest.raises(ValueError, match=r"start must lie in 1 \.\.\. 10 and steps be 1 or more"):
        Schedule(linear_beta(10)).timesteps(steps, start)


@pytest.mark.parametrize("beta", [[], 0.1, [[0.1, 0.2]], [-0.1, 0.2], [0.1, 1.0], [0.1, float("nan")],
                                  linear_beta(1000, end=1.5)])
def test_impossible_betas_get_a_sentence(beta):
    with pytest.raises(ValueError, match="a row of numbers from 0 to below 1") as error:
        Schedule(beta)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", BETAS)
def test_a_schedule_is_rebuilt_from_its_alpha_bar(name):
    s = Schedule(BETAS[name](1024))
    again = Schedule.from_alpha_bar(s.alpha_bar)
    torch.testing.assert_close(again.beta, s.beta, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(again.alpha_bar, s.alpha_bar, rtol=1e-12, atol=0)
    assert again.beta[0] == 0 and again.T == 1024
    rough = Schedule.from_alpha_bar(s.alpha_bar.float().tolist())      # a list, and float32's rounding, are welcome
    torch.testing.assert_close(rough.alpha_bar, s.alpha_bar, rtol=1e-6, atol=0)


@pytest.mark.parametrize("alpha_bar, complaint", [
    ([], "the first"), ([1.0], "the first"), (0.5, "the first"), ([[1.0, 0.5]], "the first"),
    ([0.9, 0.5], r"of which the first, at t = 0, is 1; found shape \(2,\), \[0.9, 0.5\]"),
    ([1.0, 0.5, 0.6], "a row of numbers from 0 to below 1"), ([1.0, 0.5, 0.0], "a row of numbers from 0 to below 1"),
    ([1.0, float("nan")], "a row of numbers from 0 to below 1")])
def test_an_impossible_alpha_bar_gets_a_sentence(alpha_bar, complaint):
    with pytest.raises(ValueError, match=complaint):
        Schedule.from_alpha_bar(alpha_bar)


def test_alpha_bar_has_the_precision_of_x():
    s = Schedule(linear_beta())
    for of, wanted in ((torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)):
        x = torch.zeros(2, 1, 4, 4, dtype=of)
        assert s.alpha_bar_like(x).dtype == s.at(torch.tensor([1, 2]), x).dtype == wanted
        torch.testing.assert_close(s.alpha_bar_like(x), s.alpha_bar.to(wanted), rtol=0, atol=0)
