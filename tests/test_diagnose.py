"""diagnose: which rows light for a model, whatever model it is, and the band in which its loss should lie."""
import copy
import functools
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exercises import zoo
from exercises.diagnose import Row, ceiling, diagnose, floor, see_range
from exercises.zoo import SCHEDULE
from helpers import env, scenes
from helpers.checkpoints import load_weights
from helpers.schedule import BETAS, Schedule, cosine_beta
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
exhibit = functools.cache(zoo.exhibit)


class Blind(nn.Module):
    """A strange network, by a function of (x, t)."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.scale = answer, nn.Parameter(torch.ones(1))

    def forward(self, x, t):
        return self.scale * self.answer(x, t)


@pytest.fixture(scope="module")
def moons():
    return scenes.craters(32, 32, 9).images


def shipped(name):
    network, about = load_weights(env.WEIGHTS / f"{name}.safetensors", UNet)
    return network, Schedule(BETAS[about["schedule"]](about["T"])), about["target"]


def test_a_shipped_network_is_fine_and_untouched(moons):
    network, schedule, target = shipped("few8000")
    network.train()
    network.middle.eval()                                      # mixed modes have to come back as they were
    modes, weights = [m.training for m in network.modules()], copy.deepcopy(network.state_dict())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    found = diagnose(network, moons, schedule, target)
    assert found.wrong == [] and sum(row.ok is True for row in found.rows) == 5, found
    assert all(low < loss < high for low, loss, high in zip(*(found.curve[k] for k in ("low", "loss", "high"))))
    assert torch.equal(torch.get_rng_state(), state) and [m.training for m in network.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), network.state_dict().values()))
    assert all(p.grad is None for p in network.parameters())


def test_the_wrong_target_or_schedule_is_seen(moons):
    network, schedule, _ = shipped("few8000")
    assert "loss at each t" in diagnose(network, moons, schedule, "eps").wrong


GOOD = lambda: exhibit(0).network


TINY = zoo.prepare(zoo.digits())[:200]


@pytest.mark.parametrize(("answer", "rows"), [
    (lambda x, t: GOOD()(x, t).detach() + 0 * x, []),                                   # its own scale still learns
    (lambda x, t: GOOD()(x, t).mean(0, keepdim=True).expand_as(x), ["loss at each t", "independent of the batch"]),
    (lambda x, t: 0 * x, ["depends on t", "loss at each t"]),
    (lambda x, t: x, ["depends on t", "loss at each t"]),
    (lambda x, t: x / 0, ["loss at each t"]),
], ids=["detached but good", "mixes the batch", "silent", "says what it sees", "not finite"])
def test_strange_networks_are_seen(answer, rows):
    assert set(rows) <= set(diagnose(Blind(answer), TINY, SCHEDULE, "x0").wrong)


def test_weights_that_cannot_learn_are_seen():
    frozen = copy.deepcopy(GOOD()).requires_grad_(False)
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(GOOD())
        def forward(self, x, t):
            return self.inner(x, t).detach()
    for network in (frozen, Cut()):
        assert diagnose(network, TINY, SCHEDULE, "x0").wrong == ["overfits one batch"]


@pytest.mark.parametrize("model", [lambda x, t: 1 / 0, lambda x: x, lambda x, t: x[:, :, :4], lambda x, t: None, None,
                                   Blind(lambda x, t: x.reshape(3, 5))], ids=range(6))
def test_no_model_makes_it_raise(model):
    found = diagnose(model, TINY[:9], SCHEDULE, "x0", average=model, loss=lambda model, x: 1 / 0, samples=TINY[:1],
                     held_out=TINY[:0])
    assert "could not be asked" in repr(found) and len(found.wrong) > 4 and found._repr_html_()


@pytest.mark.parametrize(("given", "words"), [
    (("pictures", SCHEDULE), "must be a tensor"), ((TINY[0], SCHEDULE), "shape (1, 8, 8)"),
    ((TINY[:0], SCHEDULE), "must be a tensor"), ((TINY, None), "schedule is needed"),
    ((TINY, SCHEDULE, "noise"), "'noise'"),
    ((TINY, "cosine"), "Error")])
def test_wrong_arguments_are_told(given, words):
    found = diagnose(GOOD(), *given)
    assert found.wrong == ["what was handed over"] and words in repr(found)


def test_alpha_bar_will_do_for_a_schedule_and_a_closure_for_a_network():
    good = GOOD()                                              # trained before it is asked
    found = diagnose(lambda x, t: good(x, t), TINY, SCHEDULE.alpha_bar, "x0")
    assert found.wrong == [] and found["overfits one batch"].ok is None


def test_a_diagnosis_is_iterated_by_rows_and_asked_by_name():
    found = diagnose(GOOD(), "images", SCHEDULE)
    assert list(found) == found.rows and len(found.rows) == 1
    assert "what was handed over" in found and "samples" not in found
    with pytest.raises(KeyError, match="'samples'; there are what was handed over"):
        found["samples"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x / 2 + 0.5, "from 0 up to about 1"), (lambda x: 127.5 * x + 127.5, "beyond 1"),
    (lambda x: x / 10, "only a part"), (lambda x: x / 0 * 0, "not finite"), (lambda x: 0.99 * x, "inside")])
def test_ranges_have_words(change, words):
    row = see_range(change(TINY))
    assert words in row.found and row.ok is (words == "inside")


def test_the_table_says_the_same_in_words_colours_and_text():
    found = diagnose(Blind(lambda x, t: 0 * x), TINY, SCHEDULE, "x0")
    html, text = found._repr_html_(), repr(found)
    for row in found.rows:
        verdict = {True: "fine", False: "look here", None: "not asked"}[row.ok]
        assert f"{row.name}: {verdict}" in text and f">{verdict}</strong>" in html
        assert row.look in text if row.ok is False else True
    assert 'role="status"' in html and 'scope="row"' in html and 'aria-hidden="true"' in html and "#D55E00" in html
    assert "<strong style" not in html                          # pale colours are for signs, words are black
    assert not re.search(r"\d\.\d", text), "measured numbers differ from machine to machine"
    found.rows.append(Row("<b>", False, "<i>"))
    assert "<b>" not in found._repr_html_() and "&lt;i&gt;" in found._repr_html_()
    assert found.figure().png[:4] == b"\x89PNG"


def test_the_ceiling_is_wieners():
    """For pictures whose spectrum is known, white ones, the best filter has a loss in closed form."""
    torch.manual_seed(0)
    white, a = 0.7 * torch.randn(4000, 1, 8, 8), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    power = 0.49
    assert torch.allclose(ceiling(white, a, "x0"), power * (1 - a) / (a * power + 1 - a), rtol=0.02)
    assert torch.allclose(ceiling(white, a, "eps"), power * a / (a * power + 1 - a), rtol=0.02)
    smooth = F.avg_pool2d(F.pad(white, (1, 1, 1, 1), "circular"), 3, 1)
    assert (ceiling(smooth, a, "x0") < smooth.var() * (1 - a) / (a * smooth.var() + 1 - a)).all()


def by_heart(pictures, schedule):
    """Who knows the pictures and sees only x_t: the exact mean of all that x_t may have come from."""
    flat = pictures.flatten(1).double()

    def guess(xt, t):
        a = schedule.alpha_bar[t][:, None]
        far = torch.cdist(xt.flatten(1).double()[:, None], (a.sqrt()[..., None] * flat[None])).squeeze(1).square()
        return ((-far / (2 * (1 - a))).softmax(1) @ flat).view_as(xt).float()
    return guess


def test_no_guess_beats_the_floor_and_memory_reaches_it():
    few, schedule = TINY[:40], Schedule(cosine_beta(100))
    many = few.repeat(20, 1, 1, 1)                             # twenty draws of noise for each
    t = torch.full((len(many),), 60)
    a, generator = schedule.alpha_bar[[60]], torch.Generator().manual_seed(0)
    low = floor(many, a, "x0", generator).item()
    eps = torch.randn(many.shape, generator=generator)
    best = F.mse_loss(by_heart(few, schedule)(schedule.q_sample(many, t, eps), t), many).item()
    assert best == pytest.approx(low, rel=0.2) and low < ceiling(few, a, "x0").item()
    assert F.mse_loss(GOOD()(schedule.q_sample(many, t, eps), 2 * t), many) > low / 1.25


@pytest.mark.parametrize("target", ["x0", "v", "eps"])
def test_the_band_holds_for_every_target(target):
    """Who knows all pictures lies in the band of each target, and a network that says nothing above it."""
    def asked(xt, t):
        x0 = by_heart(TINY, SCHEDULE)(xt, t)
        eps = SCHEDULE.predict_eps(xt, t, x0)
        return {"x0": x0, "eps": eps, "v": SCHEDULE.velocity(x0, t, eps)}[target]
    assert diagnose(asked, TINY, SCHEDULE, target)["loss at each t"].ok
    silent = diagnose(lambda xt, t: torch.zeros_like(xt), TINY, SCHEDULE, target)["loss at each t"]
    assert silent.ok is False and silent.found.startswith("above the band")
