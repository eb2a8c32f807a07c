"""Notebook 08: its bound, known pixels, enlargements, orders and errors, tested with the page's own cells."""
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells import only, pick, run, without
from PIL import Image
from skimage.restoration import inpaint_biharmonic

from helpers import env, scenes
from helpers.data import DataError, load_images
from helpers.features import FeatureNet
from helpers.checkpoints import load_sampler, load_weights
from helpers.samplers import ddpm_step, dpmpp_2m_step, sample
from helpers.schedule import Schedule, cosine_beta

pytestmark = pytest.mark.usefixtures("one_thread")


def gaussian(mean, variance, by=None):
    """The exact x0_model of images whose pixels are independent and Gaussian: E[x_0 | x_t]."""
    def x0_model(xt, t):
        a = (by or schedule).alpha_bar[t].view(-1, *[1] * (xt.ndim - 1)).to(xt.dtype)
        return mean + a.sqrt() * variance * (xt - a.sqrt() * mean) / (a * variance + 1 - a)
    return x0_model


schedule = Schedule(cosine_beta(1024))
MEAN, STD = 0.1, 0.2


def basics(x0_model, size=8):
    start = lambda n: torch.randn(n, 1, size, size)
    return dict(torch=torch, F=F, math=math, schedule=schedule, x0_model=x0_model, T=schedule.T, size=size,
                channels=1, device=torch.device("cpu"), pairwise=pairwise, ddpm_step=ddpm_step,
                dpmpp_2m_step=dpmpp_2m_step, sample=sample, start=start, load_images=load_images, seed=8)


# ---- the bound


@pytest.fixture(scope="module")
def bound():
    """The page's bound for Gaussian pictures, by their exact model: the page's names."""
    torch.manual_seed(0)
    exam = (MEAN + STD * torch.randn(8, 1, 8, 8)).clamp(-1, 1)
    names = basics(gaussian(MEAN, STD**2)) | dict(exam=exam, others=exam[:2])
    cells = pick("08", "solution-step_cost", "ask", "coded", "every-step", "solution-bits_per_dim", "estimate")
    return run(cells, names, change=without("plot", "parts"))


def exact_bits(x):
    """What 256 grey levels of such pictures cost if one knows the Gaussian: (B,) bits per value."""
    edges = torch.distributions.Normal(MEAN, STD).cdf(torch.stack([x - 1 / 255, x + 1 / 255]).double())
    return -(edges[1] - edges[0]).log2().flatten(1).mean(1)


def test_the_bound_of_an_exact_model_is_that_of_its_closed_form(bound):
    """Of a Gaussian with variance v an exact guess leaves v / (1 + v SNR(t)), at each step."""
    snr, now, then = schedule.snr(), bound["now"], bound["then"]
    wanted = bound["bits"](64 * (snr[then] - snr[now]) / 2 * STD**2 / (1 + STD**2 * snr[now]))
    torch.testing.assert_close(bound["steps"].mean(0).double()[-60:], wanted[-60:], rtol=0.25, atol=2e-3)
    assert abs(bound["steps"].sum(1).mean() / wanted.sum() - 1) < 0.03
    assert bound["bound"].mean() > exact_bits(bound["coded"]).mean(), "a bound lies above"


def test_with_many_small_steps_it_is_the_exact_surprise(bound):
    snr = torch.linspace(math.log(schedule.snr()[1]), -12, 1500, dtype=torch.float64).exp()
    alpha_bar = F.pad(snr / (1 + snr), (1, 0), value=1)
    fine = Schedule.from_alpha_bar(alpha_bar)                 # the same last look, but steps of one small ratio
    names = basics(gaussian(MEAN, STD**2, fine)) | dict(schedule=fine, T=fine.T, exam=bound["coded"])
    names = run(pick("08", "solution-step_cost", "ask", "coded"), names)
    times = torch.arange(fine.T, 0, -1)
    torch.manual_seed(1)
    costs = [names["asked"](x.expand(len(times) - 1, 1, 8, 8), times[:-1], times[1:])[0].sum() for x in bound["coded"]]
    found = bound["bits"](torch.stack(costs)) + bound["bits"](names["last_look"](bound["coded"]))
    assert abs((found - exact_bits(bound["coded"])).mean().item()) < 0.03


def test_a_model_that_is_wrong_pays_for_it(bound):
    noiseless = lambda xt, t: schedule.predict_x0(xt, t, 0 * xt)
    for wrong in (gaussian(MEAN + 0.3, STD**2), gaussian(MEAN, 0.1 * STD**2), noiseless):
        names = bound | dict(x0_model=wrong)
        names = run(pick("08", "ask", "every-step"), names, change=without("plot", "parts"))
        assert names["bound"].mean() > bound["bound"].mean() + 0.1


def test_the_density_in_bits_is_that_of_the_grey_levels(bound):
    x = bound["coded"]
    nll = -torch.distributions.Normal(MEAN, STD).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(bound["bits_per_dim"](nll, x.shape[1:]).double(), exact_bits(x), atol=2e-3, rtol=0)


def test_random_times_give_the_sum_and_their_intervals_hold_it(bound):
    coded, now, then = bound["coded"], bound["now"], bound["then"]
    torch.manual_seed(2)
    sums = torch.stack([bound["bits"](bound["asked"](
        coded.repeat_interleave(len(now), 0), now.repeat(8), then.repeat(8))[0]).sum() / 8 for _ in range(20)])
    truth, doubt = sums.mean().item(), sums.std().item() / 20**0.5
    importance, uniform = bound["root"] / bound["root"].sum(), torch.ones(len(now)) / len(now)
    spread = []
    for p in importance, uniform:
        mean, low, high = torch.tensor([bound["estimate"](p) for _ in range(60)]).T
        assert abs(mean.mean().item() - truth) < 4 * (mean.var().item() / 60 + doubt**2) ** 0.5
        assert ((low < truth + doubt) & (truth - doubt < high)).float().mean() > 0.85
        spread.append(mean.std().item())
    assert spread[0] < spread[1] / 2, "importance should make the interval narrower"


# ---- missing pixels


FILLING = pick("08", "solution-paste_known", "repaint")

@pytest.mark.parametrize("repeats", [1, 3])
def test_known_pixels_are_bit_exact_and_the_hole_is_filled(repeats):
    names = run(FILLING, basics(gaussian(MEAN, STD**2)))
    torch.manual_seed(0)
    x0 = torch.rand(4, 1, 8, 8) * 2 - 1
    x0[0, 0, 0, :4] = torch.tensor([1.0, -1.0, 1e-40, -0.0])
    for known in (torch.rand(1, 1, 8, 8) > 0.5).float(), torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8):
        filled, where = names["repaint"](x0, known, 6, repeats), known.bool().expand_as(x0)
        assert torch.equal(filled[where].view(torch.int32), x0[where].view(torch.int32))
        hole = filled[~where]
        assert len(hole) == 0 or (hole - x0[~where]).abs().min() > 0
    many = names["repaint"](torch.ones(32, 1, 8, 8), torch.zeros(1, 1, 8, 8), 30, repeats)
    assert abs(many.mean().item() - MEAN) < 0.02 and abs(many.std().item() - STD) < 0.04


def test_repeating_a_step_lets_the_hole_hear_of_its_border():
    """Two pixels that are always equal: one is known, the other must follow."""
    def twins(xt, t):                                          # x_0 = (u, u), u ~ N(0, 1/4): E[u | x_t] from the sum
        a = schedule.alpha_bar[t].view(-1, 1, 1, 1).to(xt.dtype)
        u = a.sqrt() * xt.sum(-1, keepdim=True) / (2 * a + (1 - a) / 0.25)
        return u.expand_as(xt)
    names = run(FILLING, basics(twins))
    names["start"] = lambda n: torch.randn(n, 1, 1, 2)
    torch.manual_seed(0)
    x0 = (torch.randn(2000, 1, 1, 1) / 2).clamp(-1, 1).expand(-1, 1, 1, 2)
    wrong = [(names["repaint"](x0, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), 10, r) - x0)[..., 1].square().mean()
             for r in (1, 3)]
    assert wrong[1] < wrong[0] / 1.5


def test_the_smooth_fill_is_scikit_images_and_keeps_what_is_known():
    names = run(pick("08", "smooth"), basics(None) | dict(np=np), change=only("smooth"))
    x0, known = scenes.craters(2, 32, 5).images, torch.ones(1, 1, 32, 32)
    known[..., 10:20, 8:16] = 0
    filled = names["smooth"](x0, known)
    assert torch.equal(filled * known, x0 * known)
    theirs = inpaint_biharmonic(x0[1, 0].double().numpy(), known[0, 0].numpy() == 0)
    torch.testing.assert_close(filled[1, 0].double(), torch.from_numpy(theirs).clamp(-1, 1), atol=1e-5, rtol=0)


def test_a_painted_mask_is_read_and_a_wrong_one_gets_a_sentence(tmp_path):
    read = run(pick("08", "read-mask"), basics(None, 32), change=only("read_mask"))["read_mask"]
    painted = Image.new("RGB", (128, 128))
    painted.paste("white", (32, 64, 96, 128))
    painted.save(tmp_path / "hole.png")
    known = read(tmp_path / "hole.png", 32)
    wanted = torch.ones(1, 1, 32, 32)
    wanted[..., 16:, 8:24] = 0
    assert torch.equal(known, wanted)
    for colour, word in (("black", "nothing"), ("white", "everything")):
        Image.new("L", (40, 40), colour).save(tmp_path / f"{colour}.png")
        with pytest.raises(ValueError, match=rf"{colour}\.png marks {word} as missing: paint the hole white"):
            read(tmp_path / f"{colour}.png", 32)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")       # what is transparent counts as white
    with pytest.raises(ValueError, match="marks everything .* no transparency"):
        read(tmp_path / "clear.png", 32)
    with pytest.raises(DataError, match=r"nowhere\.png"):
        read(tmp_path / "nowhere.png", 32)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        read(tmp_path / "text.png", 32)


# ---- small pictures


@pytest.mark.parametrize("factor", [2, 4])
def test_back_projection_agrees_with_the_small_picture_and_changes_nothing_else(factor):
    back_project = run(pick("08", "solution-back_project"), basics(None))["back_project"]
    torch.manual_seed(0)
    x, low = torch.randn(3, 2, 16, 24), torch.randn(3, 2, 16 // factor, 24 // factor)
    y = back_project(x, low)
    torch.testing.assert_close(F.avg_pool2d(y, factor), low)
    blocks = lambda z: F.unfold(z.flatten(0, 1)[:, None], factor, stride=factor)         # (6, factor², blocks)
    torch.testing.assert_close(*[blocks(z) - blocks(z).mean(1, keepdim=True) for z in (x, y)])
    torch.testing.assert_close(back_project(y, low), y)
    assert (x - y).norm() <= (x - back_project(torch.randn_like(x), low)).norm()


def test_an_enlargement_shrinks_back_and_its_detail_is_that_of_the_model():
    names = run(pick("08", "solution-back_project", "enlarge"), basics(gaussian(MEAN, STD**2), 16))
    torch.manual_seed(0)
    low = MEAN + STD / 4 * torch.randn(64, 1, 4, 4)
    large = names["enlarge"](low, 40)
    torch.testing.assert_close(F.avg_pool2d(large, 4), low, atol=1e-5, rtol=0)
    detail = large - F.interpolate(low, scale_factor=4)
    assert abs(detail.std().item() - STD * (15 / 16) ** 0.5) < 0.03


# ---- orders


def test_a_push_moves_samples_where_they_are_wanted_and_stops_there():
    names = run(pick("08", "push"), basics(gaussian(MEAN, STD**2)) | dict(env=env, load_sampler=load_sampler))
    torch.manual_seed(0)
    noise, wanted = torch.randn(64, 1, 8, 8), torch.tensor([0.0, 0.1, 0.2]).repeat(22)[:64]
    wrong = lambda x: 100 * (x.mean((1, 2, 3)) - wanted).abs()
    means = lambda model: sample(model, schedule, noise, steps=20, step=dpmpp_2m_step).mean((1, 2, 3))
    free, pushed = means(names["x0_model"]), means(names["pushed"](names["x0_model"], schedule, wrong, 1))
    assert (pushed - wanted).abs().mean() < (free - wanted).abs().mean() / 3
    still = means(names["pushed"](names["x0_model"], schedule, lambda x: 0 * x.sum((1, 2, 3)), 1))
    torch.testing.assert_close(still, free)                    # nothing wrong, nothing done


@pytest.mark.parametrize("much, length", [(0.25, 0.25), (1, 1), (7, 1)])
def test_a_push_is_as_long_as_the_order_is_wrong_and_at_most_a_full_step(much, length):
    names = run(pick("08", "push"), basics(gaussian(MEAN, STD**2)) | dict(env=env, load_sampler=load_sampler))
    xt, t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((3,), 600)
    wrong = lambda x: much + (x - x.detach()).sum((1, 2, 3))   # wrong by so much, with a slope
    found = names["pushed"](names["x0_model"], schedule, wrong, 5)(xt, t)
    change = schedule.predict_eps(xt, t, found) - schedule.predict_eps(xt, t, names["x0_model"](xt, t))
    wanted = 5 * length * (1 - schedule.alpha_bar[600]).sqrt().float()
    torch.testing.assert_close(change.flatten(1).norm(dim=1), wanted.expand(3))


def test_both_kinds_of_orders_are_0_where_they_are_carried_out():
    feature_net, _ = load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)
    known = dict(feature_net=feature_net.requires_grad_(False))
    names = run(pick("08", "orders"), basics(None) | known, change=only("number", "light"))
    ground = scenes.craters(64, 64, 4242)
    many = (ground.radii > 0).sum(1)
    off = {n: names["number"](n)(ground.images) for n in (2, 8)}
    assert off[2][many == 2].mean() < 0.6 < 4 < off[2][many == 8].mean()
    assert off[8][many >= 7].mean() < 1.2 < 4 < off[8][many == 2].mean()
    right = torch.stack([names["light"](a.item())(x[None])[0] for a, x in zip(ground.light, ground.images)])
    assert right.mean() < 0.4                                  # four degrees
    away = torch.stack([names["light"](a.item() + 90)(x[None])[0] for a, x in zip(ground.light, ground.images)])
    assert abs(away.mean().item() - 9) < 0.4


def test_the_formula_finds_the_axis_of_light():
    axis = run(pick("08", "axis-of-light"), basics(None), change=only("axis_of_light"))["axis_of_light"]
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for degrees in (20, 75, 135, 160):
        a = math.radians(degrees)
        wave = torch.sin((x * math.cos(a) - y * math.sin(a)) / 4)[None, None]            # rows count downward
        assert abs(axis(wave).item() - degrees) < 1
    ground = scenes.craters(64, 64, 77)
    assert (axis(ground.images) - ground.light).std() < 5


# ---- the widget


def test_the_painted_hole_answers_within_150_ms(answers_within_150_ms):
    names = run(pick("08", "settings", "weights", "images", "solution-paste_known", "repaint", "hole-slider"))
    answers_within_150_ms(names["figure"], column=(3, 40, 20), row=(0, 50, 30), width=(4, 32, 17), picture=(0, 63, 9))
