"""Models made of models: of each target its x0_hat, guidance, single channels, tiles."""
import pytest
import torch

from helpers import guidance
from helpers.guidance import as_x0, each_channel, guided, tiled
from helpers.samplers import sample, sample_path
from helpers.schedule import Schedule, cosine_beta, linear_beta

pytestmark = pytest.mark.usefixtures("one_thread")
T = 1000
C = 0.4


@pytest.mark.parametrize("beta", [linear_beta(T), cosine_beta(T)])
@pytest.mark.parametrize("target", ["eps", "v", "x0"])
def test_every_target_is_turned_into_x0(target, beta):
    schedule, t = Schedule(beta), torch.tensor([1, 30, 500, 970, 1000])
    torch.manual_seed(0)
    x0, eps = torch.rand(5, 1, 4, 4) * 2 - 1, torch.randn(5, 1, 4, 4)
    out = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[target]
    found = as_x0(lambda xt, t: out, schedule, target)(schedule.q_sample(x0, t, eps), t)
    rounding = 2e-7 / schedule.alpha_bar[t].sqrt().float() if target == "eps" else torch.full((5,), 1e-6)
    assert ((found - x0).abs().amax((1, 2, 3)) <= 2 * rounding.clamp(min=1e-6)).all()


@pytest.mark.parametrize("target", ["v", "x0"])
def test_nothing_is_lost_at_t_equal_to_T(target):
    """Through eps it was: x0_hat = (x_t - sqrt(1 - a) eps_hat) / sqrt(a) divides rounding by sqrt(a) = 5e-5."""
    schedule, T = Schedule(cosine_beta(1024)), 1024
    torch.manual_seed(0)
    x0, eps = torch.rand(4, 1, 32, 32) * 2 - 1, torch.randn(4, 1, 32, 32)
    xt, t = schedule.q_sample(x0, T, eps), torch.full((4,), T)
    out = {"v": schedule.velocity(x0, t, eps), "x0": x0}[target]
    x0_model = as_x0(lambda xt, t: out, schedule, target)
    assert (x0_model(xt, t) - x0).abs().max() < 1e-6
    through_eps = schedule.predict_x0(xt, T, schedule.predict_eps(xt, T, x0_model(xt, t)))
    assert (through_eps - x0).abs().max() > 1e-3
    _, _, first = next(sample_path(x0_model, schedule, xt, 15))
    assert (first - x0).abs().max() < 1e-6                     # nor does the loop lose it


def test_labels_reach_the_network():
    label = torch.tensor([3, 4])
    network = lambda xt, t, y=None: torch.zeros_like(xt) if y is None else y.view(-1, 1, 1, 1).expand_as(xt).float()
    x0_model = as_x0(network, Schedule(linear_beta(T)), "x0")
    x, t = torch.randn(2, 1, 4, 4), torch.tensor([5, 6])
    assert x0_model(x, t, label)[:, 0, 0, 0].tolist() == [3, 4] and not x0_model(x, t).any()


def test_an_unknown_target_gets_a_sentence():
    with pytest.raises(ValueError, match="a network predicts eps, v or x0, not 'V'"):
        as_x0(lambda xt, t: xt, Schedule(linear_beta(T)), "V")


def test_guidance_follows_the_equation_and_moves_samples_as_it_says():
    schedule = Schedule(cosine_beta(T))
    torch.manual_seed(0)
    x, one, none, t = *torch.randn(3, 2, 1, 4, 4), torch.tensor([3, 700])
    estimate = lambda scale: guided(lambda xt, t: one, lambda xt, t: none, scale)(x, t)
    for w in (-1.0, -0.5, 0.0, 2.0):                                   # Ho & Salimans 2022, eq. 6, in their letters
        torch.testing.assert_close(estimate(1 + w), (1 + w) * one - w * none)
    torch.testing.assert_close(estimate(0), none)
    torch.testing.assert_close(estimate(1), one)

    # Data N(m, C^2) with the label, N(0, C^2) without: guided by w, samples are those of N(w m, C^2), all exact
    def x0_of(m):
        def x0_model(xt, t):
            a = schedule.at(t, xt)
            return m + a.sqrt() * C**2 / (a * C**2 + 1 - a) * (xt - a.sqrt() * m)
        return x0_model
    x = torch.randn(500, 1, 1, 1, dtype=torch.float64)
    for scale in (0.0, 1.0, 3.0):
        drawn = sample(guided(x0_of(0.2), x0_of(0.0), scale), schedule, x, steps=200, clip=False)
        alone = sample(x0_of(0.2 * scale), schedule, x, steps=200, clip=False)
        torch.testing.assert_close(drawn, alone, rtol=0, atol=1e-4)


def test_it_is_all_the_same_whether_eps_or_x0_is_guided():
    schedule = Schedule(linear_beta(T))
    torch.manual_seed(0)
    x, one, none = torch.randn(3, 4, 1, 4, 4, dtype=torch.float64)
    t = torch.tensor([1, 30, 500, 1000])
    eps_hat = guided(lambda xt, t: one, lambda xt, t: none, 3)(x, t)
    as_one, as_none = (as_x0(lambda xt, t, out=out: out, schedule, "eps") for out in (one, none))
    torch.testing.assert_close(guided(as_one, as_none, 3)(x, t), schedule.predict_x0(x, t, eps_hat))


def test_each_channel_is_asked_alone_and_put_back_in_its_place():
    torch.manual_seed(0)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 7])
    grey = lambda xt, t: xt.cumsum(-1) * t[:, None, None, None] if xt.shape[1] == 1 else pytest.fail("not grey")
    expected = torch.cat([grey(x[:, c:c + 1], t) for c in range(3)], dim=1)
    assert torch.equal(each_channel(grey)(x, t), expected)


@pytest.mark.parametrize("height, width, size, stride",
                         [(50, 71, 16, 7), (32, 32, 32, 5), (33, 64, 16, 16), (20, 17, 1, 1)])
def test_tiles_cover_the_image_and_blend_to_the_same(height, width, size, stride):
    torch.manual_seed(0)
    x, t, asked = torch.randn(2, 3, height, width), torch.tensor([3, 7]), []

    def pixel_by_pixel(xt, t):
        asked.append(xt.shape)
        return xt * t[:, None, None, None]
    torch.testing.assert_close(tiled(pixel_by_pixel, size, stride)(x, t), pixel_by_pixel(x, t))
    assert set(asked[:-1]) == {(2, 3, size, size)}


@pytest.mark.parametrize("size, stride, complaint", [(16, 17, "gaps"), (16, 0, "gaps"), (40, 20, "smaller tiles")])
def test_tiles_that_do_not_fit_are_refused(size, stride, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiled(lambda xt, t: xt, size, stride)(torch.zeros(1, 1, 64, 32), torch.tensor([1]))


def test_all_that_is_public_is_tested_here():
    public = {name for name, f in vars(guidance).items() if getattr(f, "__module__", "") == "helpers.guidance"}
    assert public == {"as_x0", "guided", "each_channel", "tiled"}
