"""The ablation trains by fit: its chosen row is the default recipe, and each row trains and samples."""
import json
import math
from types import SimpleNamespace

import pytest
import torch

from benchmarks import ablation, common
from benchmarks.ablation import ADDED, BASE, CHOSEN, ROWS
from helpers import scenes
from helpers.schedule import Schedule, cosine_beta
from helpers.span import learning_rate
from helpers.train import diffusion_loss, fit
from helpers.unet import UNet
from tools.models.train import options

pytestmark = pytest.mark.usefixtures("one_thread")
on_processor = pytest.mark.skipif(torch.accelerator.is_available(), reason="the ablation's losses are drawn on the CPU")
SMALL = dict(widths=(8, 16), batch=6, T=50)
IMAGES = scenes.craters(32, 16).images


@on_processor
def test_the_chosen_row_is_fit_as_it_is_bit_for_bit():
    o = BASE | ROWS[CHOSEN] | SMALL
    _, _, ours, losses = ablation.train(IMAGES, o, seed=3, steps=6)
    torch.manual_seed(3)
    model, schedule = UNet(1, 1, o["widths"], o["patch"]), Schedule(cosine_beta(o["T"]))
    theirs, expected = fit(model, IMAGES, lambda m, x0: diffusion_loss(m, schedule, x0, o["target"]), steps=6,
                           batch_size=o["batch"], lr=o["lr"], ema=o["ema"], seed=3)
    assert losses == expected
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_the_default_of_the_training_command_is_the_one_chosen():
    o, chosen = options([]), BASE | ROWS[CHOSEN]
    assert (tuple(o.widths), o.patch, o.target, o.schedule, o.T, o.lr, o.batch) == tuple(
        chosen[key] for key in ("widths", "patch", "target", "schedule", "T", "lr", "batch"))


def test_choices_are_added_one_by_one_until_it_is_the_default():
    assert list(ADDED) == ["AdamW and eps", "+ EMA", "+ learning-rate decay", "+ v", "+ Muon", "+ batch size"]
    rows = [BASE | ROWS[name] for name in ADDED]
    plain = dict(optimizer="AdamW", target="eps", ema=0.0, shape="constant", batch=16)
    assert {key: rows[0][key] for key in plain} == plain
    changed = [{key for key in row if row[key] != before[key]} for before, row in zip(rows, rows[1:])]
    assert changed == [{"ema"}, {"shape"}, {"target"}, {"optimizer", "lr"}, {"batch"}]
    assert rows[-1] == BASE | ROWS[CHOSEN]


def test_learning_rates_have_their_shapes():
    for done, step in ((0, 0), (0.01, 7), (0.3, 500), (1, 2000)):
        assert ablation.rate_rule("cosine", 20)(done, step, 0.006) == learning_rate(done, step, 0.006)
    constant, linear = ablation.rate_rule("constant", 0), ablation.rate_rule("linear", 0)
    assert [constant(0.5, step, 2.0) for step in (0, 49, 99, 500)] == [0.02, 1.0, 2.0, 2.0]
    assert linear(0.25, 500, 2.0) == 1.5 and linear(1, 500, 2.0) == 0


@on_processor
@pytest.mark.parametrize("name", [name for name in ROWS if name != "base"])
def test_every_row_changes_the_training(name):
    small = SMALL | {key: value for key, value in ROWS[name].items() if key != "widths"}
    if "widths" in ROWS[name]:
        small["widths"] = (8, 16, 16) if len(ROWS[name]["widths"]) != 2 else (16, 16)
    x0_model, _, net, losses = ablation.train(IMAGES, BASE | small, seed=0, steps=3)
    _, _, other, _ = ablation.train(IMAGES, BASE | SMALL, seed=0, steps=3)
    assert all(loss > 0 for loss in losses)
    same = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters())]
    assert len(same) != len(list(other.parameters())) or not all(same) or name == "EMA 0.95"     # which shows later
    x0_hat = x0_model(IMAGES[:2], torch.tensor([1, 50]))
    assert x0_hat.shape == (2, 1, 16, 16) and x0_hat.isfinite().all()


def test_edm_weights_the_error_as_karras_does():
    """lambda(sigma) c_out(sigma)^2 = 1: a network that answers 0 has a loss of 1."""
    torch.manual_seed(0)
    x0 = ablation.SIGMA_DATA * torch.randn(4000, 1, 8, 8)
    assert ablation.edm_loss(lambda x, t: torch.zeros_like(x), x0).item() == pytest.approx(1, abs=0.02)


def test_immiscible_noise_lies_nearer(monkeypatch):
    gaps = {}
    for immiscible in (False, True):
        def q_sample(self, x0, t, eps, immiscible=immiscible):
            gaps[immiscible] = (x0 - eps).square().mean().item()
            return x0
        monkeypatch.setattr(ablation.Schedule, "q_sample", q_sample)
        torch.manual_seed(0)
        ablation.loss_of(lambda x, t: x, Schedule(cosine_beta(50)), IMAGES, BASE | dict(immiscible=immiscible))
    assert gaps[True] < gaps[False]


@on_processor
def test_a_row_is_measured_and_stored(tmp_path, monkeypatch):
    """The number of steps is what this core does in the time; a row measured again takes the place of the old one."""
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(ablation, "BASE", BASE | SMALL)
    monkeypatch.setattr(ablation.scenes, "craters", lambda n: SimpleNamespace(images=IMAGES))
    monkeypatch.setattr(ablation, "step_seconds", lambda images, o: 0.5)
    monkeypatch.setattr(ablation, "draw", lambda x0_model, schedule, count, evaluations: IMAGES)
    monkeypatch.setattr(ablation, "Measure", lambda: lambda images: dict(kid=1.0, interval=[0.9, 1.1], craters=5.0))
    for seed in (0, 1, 0):
        entry = ablation.measured("+ v", seed, 1.6)
        assert entry["steps"] == 3 and entry["changed"]["target"] == "v"
        ablation.store(entry)
    assert [(e["row"], e["seed"]) for e in ablation.stored()] == [("+ v", 1), ("+ v", 0)]
    assert "| + v | 0 | 3 | 1.000 | 0.900 to 1.100 | 5.0 |" in ablation.table(ablation.stored())
    json.loads((tmp_path / "ablation.json").read_text(), parse_constant=lambda word: pytest.fail(word))


@on_processor
def test_the_time_of_a_step_is_that_of_the_core(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(ablation.time, "process_time", lambda: 0.25 * next(ticks))
    assert ablation.step_seconds(IMAGES, BASE | SMALL) == 0.25 and math.isclose(next(ticks), 15)
