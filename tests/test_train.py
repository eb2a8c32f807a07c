"""The loop: what it draws, what it averages, how it stops, and that nothing is lost whatever stops it.

`KILLS=50 pytest tests/test_train.py -k kill` is the long form of the last part; `make test-kill` runs it.
"""
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import TensorDataset

from helpers import optim, train
from helpers.schedule import Schedule, linear_beta
from helpers.checkpoints import load_checkpoint, load_weights, read_safetensors, write_safetensors
from helpers.train import diffusion_loss, drop_labels, ema_update, fit, learning_rate
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread", "full_length")
ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("KILLS", 6))
SCHEDULE = Schedule(linear_beta(100))


@pytest.fixture
def full_length(monkeypatch):
    """What is tested here is not shortened by a variable that CI sets."""
    monkeypatch.delenv("COURSE_TRAINING", raising=False)


def loss_fn(model, x0):
    return diffusion_loss(model, SCHEDULE, x0)


def pictures(n=20):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def small(checkpoint=None, watch=None, steps=12, loss_fn=loss_fn, dataset=None, channels=(8,), **options):
    """A short training of a tiny network: (model, average, losses)."""
    torch.manual_seed(0)
    model = UNet(channels=channels, attend=False)
    options = dict(batch_size=4, save_every=0, steps=steps, checkpoint=checkpoint, watch=watch) | options
    return model, *fit(model, pictures() if dataset is None else dataset, loss_fn, **options)


def stop_at(fraction):
    def watch(done, average, losses):
        if done >= fraction:
            raise KeyboardInterrupt
    return watch


def interrupted(path, at=0.5, **options):
    """Leave a checkpoint at path, as a stop button does."""
    with pytest.raises(KeyboardInterrupt):
        small(path, stop_at(at), **options)
    return path


def assert_same(one, other):
    for a, b in zip(one[:2], other[:2]):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert one[2] == other[2]


# What a step draws

class Line(nn.Module):
    """The smallest network: one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def draws(seed=0, steps=150, n=10, T=10, **options):
    """Which picture met which t and which noise: three rows of steps * 8 numbers."""
    seen = []

    def record(model, batch):
        def network(xt, t):
            seen.append(torch.stack([batch.flatten(), t.float(), xt.flatten()]))
            return model.weight * xt
        return diffusion_loss(network, Schedule(torch.full((T,), 0.999)), batch, "eps")       # x_t is all noise
    fit(Line(), torch.arange(float(n)).reshape(n, 1, 1, 1), record, steps=steps, batch_size=8, seed=seed, **options)
    return torch.cat(seen, 1).cpu().numpy()


def test_every_picture_meets_every_t():
    picture, t, _ = draws(T=10, n=10, steps=300)
    table = np.histogram2d(picture, t, bins=[np.arange(11) - 0.5, np.arange(1, 12) - 0.5])[0]
    assert table.sum() == 2400 and table.min() > 0
    assert ((table - 24) ** 2 / 24).sum() < 99 + 4 * math.sqrt(2 * 99)         # chi squared of "they are independent"


def test_t_runs_from_1_to_T_and_noise_is_normal():
    _, t, noise = draws(T=7)
    assert set(t) == set(range(1, 8))
    assert abs(noise[t > 1].mean()) < 0.15 and noise[t > 1].std() == pytest.approx(1, abs=0.1)
    assert len(set(noise.tolist())) == len(noise)                              # no step repeats another's


def test_seed_is_what_the_draws_depend_on():
    one, same, other = draws(steps=30), draws(steps=30), draws(seed=1, steps=30)
    assert (one == same).all() and all((a != b).any() for a, b in zip(one, other))
    assert not set(one[2]) & set(other[2])


def test_processes_that_read_change_nothing():
    assert (draws(steps=5) == draws(steps=5, workers=1)).all()


@pytest.mark.parametrize("target", ["eps", "v", "x0"])
def test_diffusion_loss(target):
    x0, answers = pictures(6), {}

    class Oracle:
        def __call__(self, xt, t):
            a = SCHEDULE.alpha_bar[t].reshape(-1, 1, 1, 1).float()
            eps = (xt - a.sqrt() * x0) / (1 - a).sqrt()
            answers.update(t=t, right={"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[target])
            return answers["right"] + self.off
    oracle = Oracle()
    for off in (0.0, 0.5):
        oracle.off = off
        assert diffusion_loss(oracle, SCHEDULE, x0, target).item() == pytest.approx(off**2, abs=1e-4)
    assert answers["t"].shape == (6,)


def test_one_label_in_ten_is_dropped_and_no_other_changed():
    torch.manual_seed(0)
    y = torch.randint(10, (20_000,))
    dropped = drop_labels(y)
    assert (dropped == -1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(dropped[dropped >= 0], y[dropped >= 0]) and dropped.dtype == y.dtype and (y >= 0).all()
    assert torch.equal(drop_labels(y, 0), y) and (drop_labels(y, 1) == -1).all()


# The optimiser, its rate and the average

def test_the_rate_that_the_optimizer_gets(monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def noted(optimizer, *args, **options):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **options)
    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    fit(Line(), pictures(), lambda model, x: model.weight.mean(), steps=400, lr=0.01)
    assert rates == [learning_rate(i / 400, i, 0.01) for i in range(400)]
    assert max(rates) > 0.008 and rates[-1] < 1e-6


def constant(done, step, lr):
    """A learning rate that neither rises nor falls."""
    return lr


def test_another_optimizer_and_another_rate():
    """Those of torch, by hand, and no running average: the same weights."""
    images = pictures(4)
    _, average, losses = small(dataset=images, steps=5, optimizer=torch.optim.AdamW, rate=constant, ema=0)
    torch.manual_seed(0)
    net = UNet(channels=(8,), attend=False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    for step in range(5):
        draw = torch.Generator().manual_seed(zlib.crc32(f"pictures 0 {step} 0".encode()))
        batch = images[torch.randint(4, (4,), generator=draw)]
        torch.manual_seed(zlib.crc32(f"noise 0 {step} 0".encode()))
        loss = loss_fn(net, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert loss.item() == pytest.approx(losses[step], rel=1e-5)
    assert all(torch.allclose(a.cpu(), b, atol=1e-6) for a, b in zip(average.parameters(), net.parameters()))


def test_a_stopped_run_with_another_optimizer_and_rate_ends_the_same(tmp_path):
    options = dict(optimizer=torch.optim.AdamW, rate=constant)
    path = interrupted(tmp_path / "run.checkpoint", **options)
    assert_same(small(path, **options), small(**options))


@pytest.mark.parametrize("decay", [0.999, 0.5])
def test_average_is_the_one_made_by_hand(decay):
    trail = []

    def keep(model, batch):
        trail.append(model.weight.item())                              # before the step
        return ((model.weight - batch.mean()) ** 2).sum()
    model = Line()
    average, _ = fit(model, pictures(), keep, steps=40, ema=decay, lr=0.1, batch_size=4)
    trail = [*trail[1:], model.weight.item()]                          # after each step
    by_hand = trail[0]
    for n, weight in enumerate(trail[1:], 1):
        d = min(decay, (1 + n) / (10 + n))
        by_hand = d * by_hand + (1 - d) * weight
    assert average.weight.item() == pytest.approx(by_hand, abs=1e-5)
    assert abs(average.weight.item() - model.weight.item()) > 1e-4


def test_the_first_steps_are_soon_forgotten():
    averaged, current = [torch.zeros(1)], [torch.ones(1)]
    ema_update(0.999)(averaged, current, torch.tensor(1))
    assert averaged[0].item() == pytest.approx(1 - 2 / 11)
    averaged = [torch.zeros(1)]
    ema_update(0.999)(averaged, current, torch.tensor(10**6))
    assert averaged[0].item() == pytest.approx(0.001, rel=1e-3)


def test_it_learns():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 50)[:, None]
    line = nn.Linear(1, 1)
    average, losses = fit(line, TensorDataset(x, 3 * x - 1), lambda m, batch: ((m(batch[0]) - batch[1]) ** 2).mean(),
                          steps=600, lr=0.1, ema=0.9)
    assert losses[-1] < 1e-3 < losses[0] and len(losses) == 600
    assert [average.weight.item(), average.bias.item()] == pytest.approx([3, -1], abs=0.03)
    assert not average.training and average is not line


def test_watch_sees_every_step():
    seen = []
    _, average, losses = small(watch=lambda done, average, losses: seen.append((done, average, len(losses))), steps=5)
    assert [(done, n) for done, _, n in seen] == [(i / 5, i) for i in range(1, 6)]
    assert all(shown is average for _, shown, _ in seen) and len(losses) == 5


def clock(monkeypatch):
    """A clock by which every look takes a tenth of a second."""
    now = iter(range(10**6))
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(now) / 10))


def test_minutes_are_minutes_also_after_a_stop(monkeypatch, tmp_path):
    clock(monkeypatch)
    whole = small(tmp_path / "whole", steps=None, minutes=0.05)[2]
    assert 29 <= len(whole) <= 31                                      # 3 s, one look at the clock a step
    clock(monkeypatch)
    path = interrupted(tmp_path / "a", steps=None, minutes=0.05)
    spent = read_safetensors(path)[1]["elapsed"]
    assert 1 < spent < 2
    begun = read_safetensors(path)[1]["step"]
    clock(monkeypatch)
    resumed = small(path, steps=None, minutes=0.05)[2]
    assert resumed[:begun] == whole[:begun] and abs(len(resumed) - len(whole)) <= 1


# Settings that cannot be

@pytest.mark.parametrize("options", [
    dict(steps=None), dict(minutes=1), dict(steps=0), dict(steps=None, minutes=0), dict(steps=-1), dict(batch_size=0),
    dict(dataset=torch.zeros(0, 1, 8, 8))])
def test_impossible_lengths_get_a_sentence(options):
    with pytest.raises(ValueError, match="at least one example a step and either steps or minutes above 0; found"):
        small(**options)


def test_fewer_pictures_than_a_batch(capsys):
    sizes = []

    def measured(model, x0):
        sizes.append(len(x0))
        return loss_fn(model, x0)
    small(dataset=pictures(3), batch_size=32, steps=2, loss_fn=measured)
    assert sizes == [3, 3] and "Only 3 examples: training with batches of 3." in capsys.readouterr().out


# Stopping and going on

@pytest.mark.parametrize("at", [0.01, 0.5, 0.95])
def test_a_stopped_run_ends_like_an_undisturbed_one(at, tmp_path):
    seen = {"undisturbed": [], "stopped": []}

    def watching(name):
        return lambda model, x0: (seen[name].append(x0.clone()), loss_fn(model, x0))[1]
    undisturbed = small(loss_fn=watching("undisturbed"))
    path = interrupted(tmp_path / "deep" / "run.checkpoint", at, loss_fn=watching("stopped"))
    step = read_safetensors(path)[1]["step"]
    seen["stopped"] = seen["stopped"][:step]
    resumed = small(path, loss_fn=watching("stopped"))
    assert_same(resumed, undisturbed)
    assert all(torch.equal(a, b) for a, b in zip(seen["undisturbed"], seen["stopped"], strict=True))
    assert list(path.parent.iterdir()) == [path]                       # for save_weights(..., replaces=path) to delete


def test_a_finished_checkpoint_gives_its_state_at_once(tmp_path):
    path, calls, seen = tmp_path / "run.checkpoint", [], []
    first = small(path)
    written = path.stat().st_mtime_ns

    def counted(model, x0):
        calls.append(1)
        return loss_fn(model, x0)
    again = small(path, loss_fn=counted, watch=lambda done, average, losses: seen.append((done, len(losses))))
    assert_same(first, again)
    assert calls == [] and seen == [(1, 12)] and path.stat().st_mtime_ns == written


def test_a_finished_checkpoint_over_minutes(monkeypatch, tmp_path):
    clock(monkeypatch)
    path = tmp_path / "run.checkpoint"
    first = small(path, steps=None, minutes=0.0499)                    # its last step ends a little late
    assert read_safetensors(path)[1]["elapsed"] > 60 * 0.0499
    assert_same(first, small(path, steps=None, minutes=0.0499))


def test_less_than_is_trained_already_is_refused(tmp_path, monkeypatch):
    path = interrupted(tmp_path / "run.checkpoint", 0.9)
    sentence = "is the state of a training after 10 steps, .* minutes, which is past the 5 steps asked for: ask for "
    with pytest.raises(ValueError, match=sentence):
        small(path, steps=5)
    clock(monkeypatch)
    path = interrupted(tmp_path / "other.checkpoint", 0.9, steps=None, minutes=0.05)
    with pytest.raises(ValueError, match="past the 0.01 minutes asked for"):
        small(path, steps=None, minutes=0.01)


def rates_of(monkeypatch):
    """The learning rates of all steps from now on."""
    rates, step = [], torch.optim.AdamW.step

    def noted(optimizer, *args, **options):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **options)
    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    return rates


@pytest.mark.parametrize("at", [0.5, 1])
def test_another_length_goes_on_without_a_jump_of_the_rate(at, tmp_path, monkeypatch, capsys):
    rates, path = rates_of(monkeypatch), tmp_path / "run.checkpoint"
    options = dict(checkpoint=path, batch_size=2, save_every=0)
    loss = lambda model, x: model.weight.mean()
    stop = stop_at(at) if at < 1 else None
    try:
        fit(Line(), pictures(), loss, steps=400, watch=stop, **options)
    except KeyboardInterrupt:
        pass
    begun = read_safetensors(path)[1]["step"]
    del rates[begun:]
    _, losses = fit(Line(), pictures(), loss, steps=1000, **options)
    words = capsys.readouterr().out
    assert words.count("\n") == 1 and "was planned for 400 steps and is now, after" in words
    assert "continued to 1000 steps: within 100 steps at most the learning rate goes from" in words
    assert len(rates) == len(losses) == 1000
    near = rates[begun - 2:]
    assert max(abs(a - b) for a, b in zip(near, near[1:])) < 3e-5
    assert rates[begun + 100:] == [learning_rate(i / 1000, i, 1e-3) for i in range(begun + 100, 1000)]
    capsys.readouterr()
    fit(Line(), pictures(), loss, steps=1000, **options)
    assert capsys.readouterr().out == ""


def test_a_longer_run_that_is_stopped_again_ends_the_same(tmp_path):
    path, other = interrupted(tmp_path / "a"), interrupted(tmp_path / "b")
    longer = small(path, steps=20)
    interrupted(other, 0.8, steps=20)
    assert_same(small(other, steps=20), longer)


@pytest.mark.parametrize("fraction, steps, wanted", [("0.2", 600, 120), ("0.2", 300, 100), ("0.2", 30, 30),
                                                     ("1", 130, 130), ("", 130, 130)])
def test_course_training_shortens(fraction, steps, wanted, monkeypatch):
    monkeypatch.setenv("COURSE_TRAINING", fraction)
    rates, seen = rates_of(monkeypatch), []
    fit(Line(), pictures(), lambda model, x: model.weight.mean(), steps=steps,
        watch=lambda done, *_: seen.append(done))
    assert seen == [(i + 1) / wanted for i in range(wanted)]
    assert rates == [learning_rate(i / wanted, i, 1e-3) for i in range(wanted)]


def test_course_training_shortens_minutes_and_the_bar_keeps_its_length(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_TRAINING", "0.5")
    clock(monkeypatch)
    assert 14 <= len(small(steps=None, minutes=0.05)[2]) <= 16
    shown = capsys.readouterr().err
    assert "0/3 [00:00<?, ?s/s]" in shown and "3/3 [" in shown


@pytest.mark.parametrize("fraction", ["a fifth", "0", "-1", "2", "nan"])
def test_a_wrong_course_training_gets_a_sentence(fraction, monkeypatch):
    monkeypatch.setenv("COURSE_TRAINING", fraction)
    with pytest.raises(ValueError, match=f"COURSE_TRAINING is '{fraction}', but it must be the fraction"):
        small()


def test_the_bar_shows_images_a_second(capsys, monkeypatch):
    clock(monkeypatch)
    small()
    shown = capsys.readouterr().err
    assert "0%|          | 0/12 [00:00<?, ?step/s]" in shown and "images/s=40" in shown      # 4 in a tenth of a second


@pytest.mark.parametrize("scalar", [np.int64, torch.tensor])
def test_numbers_of_numpy_and_torch(scalar, tmp_path):
    real = np.float64 if scalar is np.int64 else torch.tensor
    path = interrupted(tmp_path / "run.checkpoint", seed=scalar(3), steps=scalar(12), batch_size=scalar(4),
                       about=dict(seed=scalar(3)), lr=real(0.5), ema=real(0.5), save_every=real(0.0), workers=scalar(0))
    assert_same(small(path, seed=3, lr=0.5, ema=0.5, about=dict(seed=3)), small(seed=3, lr=0.5, ema=0.5))


@pytest.mark.parametrize("wrong", [dict(seed="x"), dict(steps=2.5), dict(lr="fast"), dict(batch_size=None),
                                   dict(steps=None, minutes=float("nan")), dict(lr=float("nan"))])
def test_what_is_no_number_gets_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"(seed|steps|lr|batch_size|minutes) must be a (whole )?number; found"):
        small(**wrong)


@pytest.mark.parametrize("breaks", [False, True])
def test_random_states_are_left_as_they_were(breaks):
    def watch(*_):
        random.random(), np.random.rand(), torch.rand(1)
        if breaks:
            raise KeyboardInterrupt
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(3), np.random.rand(), random.random()
    model = UNet(channels=(8,), attend=False)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    try:
        fit(model, pictures(), loss_fn, steps=3, batch_size=4, watch=watch)
    except KeyboardInterrupt:
        assert breaks
    assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(), random.random()) == expected[1:]


def test_stopped_again_and_again(tmp_path):
    undisturbed, path = small(), tmp_path / "run.checkpoint"
    for i in range(2, 11, 2):
        interrupted(path, i / 12)
    assert_same(small(path), undisturbed)


def test_saving_changes_nothing(tmp_path):
    assert_same(small(tmp_path / "run.checkpoint"), small())


def test_checkpoint_holds_everything(tmp_path):
    path = interrupted(tmp_path / "run.checkpoint", about=dict(data="x", widths=(1, 2)))
    tensors, about = read_safetensors(path)
    assert {name.split(".")[0] for name in tensors} == {"net", "average", "optimizer", "losses"}
    assert len(tensors["losses"]) == about["step"] > 0
    made_with = about["made_with"] | {"batch_size": 4, "data": "x", "widths": [1, 2]}
    assert about["made_with"] == made_with
    net = UNet(channels=(8,), attend=False)
    average = torch.optim.swa_utils.AveragedModel(net)
    optimizer = optim.Muon(net.parameters())
    losses, header = load_checkpoint(path, net, average, optimizer, made_with)
    assert header == about and about["step"] == len(losses)
    assert all(torch.equal(v, tensors[f"net.{k}"]) for k, v in net.state_dict().items())
    assert all(torch.equal(v, tensors[f"average.{k}"]) for k, v in average.state_dict().items())
    for i, memory in optimizer.state_dict()["state"].items():
        assert all(torch.equal(v, tensors[f"optimizer.{i}.{k}"]) for k, v in memory.items())
        assert set(memory) in ({"step", "average"}, {"step", "exp_avg", "exp_avg_sq"})


@pytest.mark.parametrize("change, complaint", [
    (dict(lr=5e-4), "lr=0.001, not 0.0005"), (dict(batch_size=8), "batch_size=4, not 8"),
    (dict(seed=1), "seed=0, not 1"), (dict(ema=0.9), "ema=0.999, not 0.9"), (dict(channels=(16,)), "architecture={"),
    (dict(dataset=pictures(21)), "examples=20, not 21"),
    (dict(optimizer=torch.optim.AdamW), "optimizer=None, not 'AdamW'"),
    (dict(rate=constant), "rate=None, not 'constant'"), (dict(about=dict(target="v")), "target=None, not 'v'")])
def test_checkpoint_of_other_settings_is_refused(change, complaint, tmp_path):
    path = interrupted(tmp_path / "run.checkpoint")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="was made with .*: delete the file to start again") as error:
        small(path, **change)
    assert complaint in str(error.value) and path.read_bytes() == before


def broken(path):
    """Files that are no checkpoint, by what is wrong with them."""
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    odd = {"a stranger's": None, "no settings": {"about": "{}"}, "no JSON": {"about": "{"}, "a list": {"about": "[]"}}
    return {"empty": b"", "text": b"<!doctype html>", "zeros": bytes(999), "pickle": b"\x80\x04\x95" + b"a",
            "cut in the header": whole[:header // 2], "cut in the tensors": whole[:-100], "cut by a byte": whole[:-1],
            "zip of torch.save": b"PK\x03\x04" + bytes(500)
            } | {name: save({"a": torch.zeros(3)}, words) for name, words in odd.items()}


def test_broken_files_get_a_sentence(tmp_path):
    path = interrupted(tmp_path / "run.checkpoint")
    for name, content in broken(path).items():
        path.write_bytes(content)
        for use in (lambda: small(path), lambda: load_weights(path, UNet)):
            with pytest.raises(ValueError, match="not a file of this course, or not the right one") as error:
                use()
            assert "\n" not in str(error.value) and path.name in str(error.value), name
    with pytest.raises(ValueError, match="not a file of this course"):
        load_weights(tmp_path, UNet)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_weights(tmp_path / "nowhere", UNet)


# A loss that is not finite

def turns_bad(at, kind):
    """A loss that goes wrong at step `at`: by its value, or by a gradient of NaN that spoils the weights unseen."""
    calls = []

    def bad(model, x0):
        calls.append(1)
        loss = loss_fn(model, x0)
        if len(calls) == at:
            return loss * float(kind) if kind != "gradient" else loss + (loss - loss).sqrt()
        return loss
    return bad


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
def test_a_loss_of_nan_stops_with_a_sentence_and_the_last_good_state(kind, tmp_path):
    path = tmp_path / "run.checkpoint"
    with pytest.raises(ArithmeticError, match="choose a smaller lr than 0.001") as error:
        small(path, loss_fn=turns_bad(7, kind))
    step = 8 if kind == "gradient" else 7                              # the loss after the spoilt step shows it
    assert f"at step {step}: " in str(error.value)
    assert f"{path} holds the last good state" in str(error.value) and "\n" not in str(error.value)
    tensors, about = read_safetensors(path)
    assert about["step"] in (5, 6) and len(tensors["losses"]) == about["step"]
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert_same(small(path), small())                                  # from there it goes on as if nothing had been


def test_a_rate_that_is_too_large_leaves_a_state_whose_loss_is_finite(tmp_path):
    path = tmp_path / "run.checkpoint"
    with pytest.raises(ArithmeticError, match=r"the loss became (nan|inf) at step"):
        small(path, lr=1e30, steps=50)
    tensors, _ = read_safetensors(path)
    model = UNet(channels=(8,), attend=False)
    model.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    assert loss_fn(model, pictures()).isfinite()


def test_without_a_checkpoint_the_sentence_says_so(tmp_path):
    with pytest.raises(ArithmeticError, match="nothing was saved"):
        small(loss_fn=turns_bad(3, "nan"))
    with pytest.raises(ArithmeticError, match="nothing was saved"):
        small(tmp_path / "run.checkpoint", loss_fn=turns_bad(1, "nan"))
    with pytest.raises(ArithmeticError, match="nothing was saved"):
        small(tmp_path / "run.checkpoint", save_every=1000, loss_fn=turns_bad(3, "nan"))
    assert not (tmp_path / "run.checkpoint").exists()


def test_a_last_step_that_spoils_the_weights_is_seen(tmp_path):
    path = tmp_path / "run.checkpoint"
    with pytest.raises(ArithmeticError, match="the weights were not finite after the last step: .* the last good"):
        small(path, loss_fn=turns_bad(12, "gradient"))
    assert all(tensor.isfinite().all() for tensor in read_safetensors(path)[0].values())


def every(n, monkeypatch):
    """Let fit fetch losses as seldom as on a GPU: in one step of n."""
    agreed = train.agreed

    def then(run):
        looking = (run.step + 1) % n == 0
        monkeypatch.setattr(train.Training, "looking", property(lambda run: looking, lambda run, value: None))
        return agreed(run)
    monkeypatch.setattr(train.Training, "looking", property(lambda run: True, lambda run, value: None))
    monkeypatch.setattr(train, "agreed", then)


@pytest.mark.parametrize("at", [1, 7, 11, 12])
def test_a_loss_of_nan_is_found_where_losses_are_fetched_rarely(at, tmp_path, monkeypatch):
    every(5, monkeypatch)
    path = tmp_path / "run.checkpoint"
    with pytest.raises(ArithmeticError, match=f"the loss became nan at step {at}: "):
        small(path, loss_fn=turns_bad(at, "nan"))
    if at > 1:
        tensors, about = read_safetensors(path)
        assert about["step"] < at and all(tensor.isfinite().all() for tensor in tensors.values())
        monkeypatch.undo()
        assert_same(small(path), small())


class Reads(TorchDispatchMode):
    """Counts the numbers that are fetched from tensors, and what is copied from one device or type to another."""

    def __init__(self):
        super().__init__()
        self.fetched, self.copied = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "_local_scalar_dense" in str(function):
            self.fetched.append(args[0].dtype)
        self.copied += "_to_copy" in str(function)
        return function(*args, **kwargs or {})


def test_between_looks_no_step_waits_for_a_number(monkeypatch):
    every(50, monkeypatch)
    reads = Reads()

    def watch(done, average, losses):
        assert len(losses) > 0 and average is not None                 # to count is not to fetch
        if len(losses) == 2:
            reads.__enter__()
        if len(losses) == 10:
            reads.__exit__(None, None, None)
    small(watch=watch)
    assert set(reads.fetched) <= {torch.int64}                         # the count of averages, which is on the CPU


def test_alpha_bar_is_copied_once():
    x, t = torch.zeros(3, 1, 2, 2), torch.tensor([1, 2, 100])
    schedule, reads = Schedule(linear_beta(100)), Reads()
    first = schedule.at(t, x)
    with reads:
        assert torch.equal(schedule.at(t, x), first)
    assert reads.copied == 0 and torch.equal(first, schedule.alpha_bar.float()[t].reshape(3, 1, 1, 1))


# fp16, as a T4 trains.  On a CPU, with the scaler that torch has for it.

def half(monkeypatch, scale=4.0):
    """Let fit use Accelerate's wrapper for fp16 with torch's scaler for CPUs: a list that gets the Accelerator."""
    made = []

    class Half(train.Accelerator):
        mixed_precision = "fp16"

        def __init__(self, **options):
            super().__init__(cpu=True)
            self.scaler, self.native_amp = torch.amp.GradScaler("cpu", init_scale=scale), True
            made.append(self)

        def autocast(self):
            return nullcontext()
    monkeypatch.setattr(train, "Accelerator", Half)
    return made


def overflows(at):
    """A loss whose gradients are infinite in the steps at, though it is finite."""
    calls = []

    def loss(model, x0):
        calls.append(1)
        value = loss_fn(model, x0)
        if len(calls) in at:
            value.register_hook(lambda gradient: gradient * float("inf"))
        return value
    return loss


def test_fit_skips_a_step_that_overflowed(monkeypatch):
    made, averages = half(monkeypatch), []

    def watch(done, average, losses):
        averages.append([p.detach().clone() for p in average.parameters()])
    model, average, losses = small(loss_fn=overflows({1, 6}), watch=watch)
    assert len(losses) == 12 and np.isfinite(losses).all()
    assert all(p.isfinite().all() for p in [*model.parameters(), *average.parameters()])
    same = [all(torch.equal(a, b) for a, b in zip(one, other)) for one, other in zip(averages, averages[1:])]
    assert [i + 2 for i, equal in enumerate(same) if equal] == [6]             # the average, too, skips step 6 alone
    assert made[0].scaler.get_scale() == 1.0                                   # halved twice, once for each


def test_steps_that_never_stop_overflowing_end_with_a_sentence(monkeypatch):
    half(monkeypatch)
    with pytest.raises(ArithmeticError, match="the gradients of the last 50 steps were not finite, up to step 53"):
        small(loss_fn=overflows(range(4, 100)), steps=100)


def test_the_scaler_is_in_the_checkpoint(monkeypatch, tmp_path):
    half(monkeypatch)
    undisturbed = small(loss_fn=overflows({3}))
    path = interrupted(tmp_path / "a", loss_fn=overflows({3}))
    assert read_safetensors(path)[1]["scaler"]["scale"] == 2.0
    made = half(monkeypatch, scale=65536.0)
    assert_same(small(path), undisturbed)
    assert made[0].scaler.get_scale() == 2.0


TWO = """
import sys
import torch
from accelerate import PartialState
from helpers.train import fit


def loss(model, batch):
    calls.append(1)
    value = model(batch).mean()
    return value * float("inf") if len(calls) == 3 and PartialState().process_index == 1 else value


calls, model = [], torch.nn.Linear(1, 1)
try:
    fit(model, torch.ones(8, 1), loss, steps=6, batch_size=2)
except ArithmeticError as error:
    open(f"{sys.argv[1]}/{PartialState().process_index}", "w").write(f"{len(calls)} {error}")
"""


def test_a_loss_that_is_infinite_in_one_process_stops_both(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu",
              *"--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split(),
              "--main_process_port", "0", str(script), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, timeout=200)
    found = [(tmp_path / str(rank)).read_text() for rank in range(2)]
    assert found[0] == found[1] and "inf at step 3: " in found[0] and found[0][0] == "3"


# Killed.  The child below is forked from a server that has torch in memory already, so that a life costs a moment.

def life(checkpoint, result, line, tear, steps):
    """One run of fit, from a checkpoint if there is one.  tear: (n, share), die in save n with that share written."""
    torch.set_num_threads(1)
    train.tqdm.set_lock(threading.RLock())                             # tqdm's own would be left behind by the killed
    saves = []

    def torn(file):
        saves.append(1)
        if len(saves) == tear[0]:
            os.ftruncate(file, int(os.fstat(file).st_size * tear[1]))
            os.kill(os.getpid(), signal.SIGKILL)
    os.fsync = torn if tear else lambda file: None                     # else slow, and only a power cut would tell
    line.send("ready")
    model, average, losses = small(checkpoint, steps=steps)
    os.fsync = lambda file: None
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    write_safetensors(result, tensors | {"losses": torch.tensor(losses, dtype=torch.float64)}, {})
    checkpoint.unlink()                                                # as save_weights(..., replaces=checkpoint) does


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_killed_at_any_moment_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_train", "torch._dynamo"])    # what every life would import anew
    checkpoint, result, steps, chance = tmp_path / "run.checkpoint", tmp_path / "result", 40, random.Random(0)

    def live(after=None, tear=None):
        here, there = context.Pipe()
        child = context.Process(target=life, args=(checkpoint, result, there, tear, steps))
        child.start()
        assert here.recv() == "ready"
        begin = time.monotonic()
        child.join(after)
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        if checkpoint.exists():                                        # whatever happened, a file of this name is whole
            tensors, about = read_safetensors(checkpoint, "made_with")
            assert len(tensors["losses"]) == about["step"]
        return child.exitcode == 0, time.monotonic() - begin

    live()                                                             # the first life waits for imports
    undisturbed = load_file(result)
    result.unlink()
    _, length = live()
    assert not checkpoint.exists() and all(torch.equal(v, undisturbed[k]) for k, v in load_file(result).items())

    kills = torn = ends = resumed = 0
    while kills < KILLS or not ends:
        result.unlink(missing_ok=True)
        resumed += checkpoint.exists()
        tear = after = None
        if kills < KILLS and kills % 5 < 2:                            # two of five within a save, the others anywhere
            tear = chance.randint(2, steps // 3), chance.choice([chance.random(), 1.0])
        elif kills < KILLS:
            after = chance.uniform(0, length)
        done, _ = live(after, tear)
        kills, torn, ends = kills + (not done), torn + bool(tear and not done), ends + done
        if done:
            end = load_file(result)
            assert end.keys() == undisturbed.keys() and all(torch.equal(v, undisturbed[k]) for k, v in end.items())
    assert kills >= KILLS and torn >= KILLS * 2 // 5 and resumed
    print(f"killed {kills} times, {torn} of them within a save; {ends} runs ended like the undisturbed one")
