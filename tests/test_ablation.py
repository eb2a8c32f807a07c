"""The ablation's loop is fit's, and each of its rows trains and samples."""
import pytest
import torch

from benchmarks import ablation
from benchmarks.ablation import BASE, CHOSEN, ROWS
from helpers import scenes
from tools.models.train import options
from helpers.schedule import Schedule, cosine_beta
from helpers.train import diffusion_loss, fit
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = dict(widths=(8, 16), batch=6, T=50)
PICTURES = scenes.craters(32, 16).images


@pytest.mark.skipif(torch.accelerator.is_available(), reason="fit trains on the GPU here, this loop never does")
def test_the_loop_is_that_of_fit_bit_for_bit():
    o = BASE | ROWS[CHOSEN] | SMALL
    ours, losses = ablation.train(PICTURES, o, seed=3, steps=6)
    torch.manual_seed(3)
    model, schedule = UNet(1, 1, o["widths"], o["patch"]), Schedule(cosine_beta(o["T"]))
    theirs, expected = fit(model, PICTURES, lambda m, x0: diffusion_loss(m, schedule, x0, o["target"]), steps=6,
                           batch_size=o["batch"], lr=o["lr"], ema=o["ema"], seed=3)
    assert losses == expected
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_the_recipe_of_run_is_the_one_chosen():
    o, chosen = options([]), BASE | ROWS[CHOSEN]
    assert (tuple(o.widths), o.patch, o.target, o.schedule, o.T, o.lr, o.batch) == tuple(
        chosen[key] for key in ("widths", "patch", "target", "schedule", "T", "lr", "batch"))


@pytest.mark.parametrize("name", [name for name in ROWS if name != "base"])
def test_every_row_changes_the_training(name):
    small = SMALL | {key: value for key, value in ROWS[name].items() if key != "widths"}
    if "widths" in ROWS[name]:
        small["widths"] = (8, 16, 16) if len(ROWS[name]["widths"]) != 2 else (16, 16)
    base, (net, losses) = BASE | SMALL, ablation.train(PICTURES, BASE | small, seed=0, steps=3)
    assert all(loss > 0 for loss in losses)
    other, _ = ablation.train(PICTURES, base, seed=0, steps=3)
    same = [a.shape == b.shape and torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters())]
    shows_later = ("not channels_last", "no clipping", "EMA 0.95")
    assert len(same) != len(list(other.parameters())) or not all(same) or name in shows_later
    schedule = Schedule(cosine_beta(50))
    x0_hat = ablation.x0_model(net, schedule, BASE | small)(PICTURES[:2], torch.tensor([1, 50]))
    assert x0_hat.shape == (2, 1, 16, 16) and x0_hat.isfinite().all()


def test_edm_weights_the_error_as_karras_does():
    """lambda(sigma) c_out(sigma)^2 = 1: a network that answers 0 has a loss of 1."""
    torch.manual_seed(0)
    x0 = ablation.SIGMA_DATA * torch.randn(4000, 1, 8, 8)
    loss = ablation.loss_of(lambda x, t: torch.zeros_like(x), Schedule(cosine_beta(50)), x0, BASE | dict(edm=True))
    assert loss.item() == pytest.approx(1, abs=0.02)


def test_immiscible_noise_lies_nearer(monkeypatch):
    gaps = {}
    for immiscible in (False, True):
        def q_sample(self, x0, t, eps, immiscible=immiscible):
            gaps[immiscible] = (x0 - eps).square().mean().item()
            return x0
        monkeypatch.setattr(ablation.Schedule, "q_sample", q_sample)
        torch.manual_seed(0)
        ablation.loss_of(lambda x, t: x, Schedule(cosine_beta(50)), PICTURES, BASE | dict(immiscible=immiscible))
    assert gaps[True] < gaps[False]
