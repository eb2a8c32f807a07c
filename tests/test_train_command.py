"""Training from the command line: what comes out, what goes wrong, on one process and on two."""
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from helpers import datasets, env, scenes
from tools.models import train
from helpers.data import dihedral
from helpers.schedule import Schedule, linear_beta
from helpers.checkpoints import load_weights, read_safetensors, reserve, save_weights
from helpers.train import diffusion_loss, drop_labels, fit
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parent.parent
TINY = "--examples 40 --size 16 --widths 8 --patch 2 --steps 8 --batch 4 --T 20 --schedule linear --target eps".split()


def stored(average):
    """What a file gives back of the parameters of average, wherever it was trained."""
    return [p.half().float().cpu() for p in average.parameters()]


def test_weights_and_what_made_them(tmp_path):
    out = tmp_path / "x.safetensors"
    train.main([*TINY, "--seed", "3", "--lr", "0.01", "--out", str(out)])
    model, about = load_weights(out, UNet)
    assert about.pop("architecture") == UNet(1, 1, [8], 2).config
    assert about == dict(data="craters", examples=40, size=16, channels=1, schedule="linear", T=20, target="eps",
                         batch=4, lr=0.01, seed=3, steps=8)
    torch.manual_seed(3)                                               # the same by hand
    schedule, by_hand = Schedule(linear_beta(20)), UNet(1, 1, [8], 2)
    average, _ = fit(by_hand, scenes.craters(40, 16, 3).images, lambda m, x: diffusion_loss(m, schedule, x, "eps"),
                     steps=8, batch_size=4, lr=0.01, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(stored(average), model.parameters(), strict=True))
    assert list(tmp_path.iterdir()) == [out]


def made(name, n, size, seed):
    """What --data name should train on, put together anew: pictures, labels or None."""
    if name == "ground":
        return scenes.craters(n, size, seed, varied=True).images, None
    if name == "cells":
        found = scenes.cells(n, size, seed)
        return torch.cat([found.images, found.masks * 2 - 1], 1), None
    if name == "heads":
        found = scenes.heads(n, size, seed)
        return found.images, found.groups
    return datasets.digits(size)


def test_turns(tmp_path):
    out = tmp_path / "x.safetensors"
    train.main([*TINY, "--seed", "3", "--turns", "--out", str(out)])
    model, about = load_weights(out, UNet)
    assert about["turns"] is True and about["examples"] == 40
    torch.manual_seed(3)
    schedule, by_hand = Schedule(linear_beta(20)), UNet(1, 1, [8], 2)
    average, _ = fit(by_hand, dihedral(scenes.craters(40, 16, 3).images),
                     lambda m, x: diffusion_loss(m, schedule, x, "eps"), steps=8, batch_size=4, lr=6e-3, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(stored(average), model.parameters(), strict=True))
    with pytest.raises(ValueError, match="--turns is for images without labels"):
        train.main([*TINY, "--data", "heads", "--turns", "--out", str(out)])


@pytest.mark.parametrize("name, channels, classes, examples", [
    ("ground", 1, 0, 40), ("cells", 2, 0, 40), ("heads", 1, 2, 40), ("digits", 1, 10, 1797)])
def test_what_needs_no_file(name, channels, classes, examples, tmp_path):
    out = tmp_path / "x.safetensors"
    train.main([*TINY, "--data", name, "--seed", "3", "--out", str(out)])
    model, about = load_weights(out, UNet)
    assert (about["data"], about["examples"], about["channels"]) == (name, examples, channels)
    assert (model.config["in_channels"], model.config["num_classes"]) == (channels, classes)

    def loss(model, batch):
        if not classes:
            return diffusion_loss(model, schedule, batch, "eps")
        y = drop_labels(batch[1])
        return diffusion_loss(lambda xt, t: model(xt, t, y), schedule, batch[0], "eps")
    x, y = made(name, 40, 16, 3)
    assert x.shape == (examples, channels, 16, 16) and x.min() >= -1 and x.max() <= 1
    torch.manual_seed(3)
    schedule, by_hand = Schedule(linear_beta(20)), UNet(channels, channels, [8], 2, num_classes=classes)
    average, _ = fit(by_hand, list(zip(x, y)) if classes else x, loss, steps=8, batch_size=4, lr=6e-3, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(stored(average), model.parameters(), strict=True))


def test_begin_with_other_weights(tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train.main([*TINY, "--out", str(first)])
    train.main([*TINY, "--data", "ground", "--start", str(first), "--steps", "1", "--lr", "1e-30",
                "--out", str(second)])
    (begun, about), (held, _) = load_weights(second, UNet), load_weights(first, UNet)
    assert about["start"] == "first.safetensors" and about["data"] == "ground"
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), held.parameters(), strict=True))

    save_weights(tmp_path / "no course weights.safetensors", held)
    for wrong, sentence in [("--widths 16", r"channels=\[8\], not \[16\]"), ("--data heads", "num_classes=0, not 2"),
                            ("--target v", "target='eps', not 'v'"), ("--T 30", "T=20, not 30"),
                            (f"--start {env.WEIGHTS}/features.safetensors", "was made by another network than UNet"),
                            ("--start x/none.safetensors", "there is no file x/none.safetensors"),
                            (f"--start {tmp_path}/no\tcourse\tweights.safetensors", "target=None, not 'eps'")]:
        with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
            more = [word.replace("\t", " ") for word in wrong.split(" ")]
            train.main([*TINY, "--start", str(first), *more, "--out", str(tmp_path / "x.safetensors")])
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("lazy", [[], ["--lazy"]], ids=["at once", "lazy"])
def test_pictures_of_ones_own_in_colour(tmp_path, lazy):
    for i in range(3):
        Image.effect_noise((20, 20), 50 + i).convert("RGB").save(tmp_path / f"{i}.png")
    train.main([*TINY, *lazy, "--data", str(tmp_path), "--channels", "3", "--out", str(tmp_path / "x.safetensors")])
    model, about = load_weights(tmp_path / "x.safetensors", UNet)
    assert about["data"] == tmp_path.name and about["examples"] == 3 and about["channels"] == 3
    assert about["held_out"] == []                                     # it is trained on all of them, and says so
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_snapshots_on_the_way_and_going_on(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "fit", functools.partial(fit, save_every=0))
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    train.main([*TINY, "--snapshots", "3", "--out", str(whole)])
    steps = [read_safetensors(tmp_path / f"whole-{k}.safetensors")[1]["steps"] for k in (1, 2, 3)]
    assert steps == [1, 2, 4] and read_safetensors(whole)[1]["steps"] == 8

    (tmp_path / "stopped-1.safetensors").write_bytes(b"of an earlier training")
    save = train.save_weights

    def interrupt(path, *args, **about):
        save(path, *args, **about)
        if about["steps"] == 4:
            raise KeyboardInterrupt
    monkeypatch.setattr(train, "save_weights", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.main([*TINY, "--snapshots", "3", "--out", str(stopped)])
    monkeypatch.setattr(train, "save_weights", save)
    with pytest.raises(ValueError, match="target='eps', not 'v'.*delete the file to start again"):
        train.main([*TINY, "--target", "v", "--out", str(stopped)])
    train.main([*TINY, "--snapshots", "3", "--out", str(stopped)])
    for end in (".safetensors", "-1.safetensors", "-2.safetensors", "-3.safetensors"):
        assert (tmp_path / f"whole{end}").read_bytes() == (tmp_path / f"stopped{end}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 8


def test_the_start_is_called_by_its_name_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))                   # Windows
    for i in range(3):
        Image.effect_noise((20, 20), 50 + i).save(tmp_path / f"{i}.png")
    train.main([*TINY, "--data=~", "--out=~/x.safetensors"])             # a shell leaves these as they are
    train.main([*TINY, "--data=~/", "--start=~/x.safetensors", "--out=~/y.safetensors"])
    about = read_safetensors(tmp_path / "y.safetensors")[1]
    assert (about["data"], about["start"]) == (tmp_path.name, "x.safetensors")


def never(*args, **options):
    raise AssertionError("the data are read, or the training has begun")


@pytest.mark.parametrize("out, sentence", [
    ("plain/x.safetensors", r"plain/x\.safetensors cannot be written \(.*COURSE_CHECKPOINTS.*--out"),
    ("folder", r"folder cannot be written \(it is a folder\)"),
    ("x.checkpoint", r"x\.checkpoint is the name of a checkpoint: let that of the weights end in \.safetensors")])
def test_what_cannot_be_written_is_noticed_first(out, sentence, tmp_path, monkeypatch):
    (tmp_path / "plain").write_text("a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.checkpoint").write_bytes(b"of a training that was stopped")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(train, "fit", never)
    monkeypatch.setattr(train.scenes, "craters", never)
    with pytest.raises((ValueError, OSError), match=sentence) as error:
        train.main([*TINY, "--out", str(tmp_path / out)])
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before


def test_when_the_weights_cannot_be_written_the_training_is_not_lost(tmp_path, monkeypatch):
    out, saved = tmp_path / "x.safetensors", save_weights

    def full(path, model, replaces=None, **about):
        seen.append((path, replaces))
        raise OSError("No space left on device")
    seen, checkpoint = [], tmp_path / "x.checkpoint"
    monkeypatch.setattr(train, "save_weights", full)
    with pytest.raises(OSError, match="No space left"):
        train.main([*TINY, "--out", str(out)])
    assert seen == [(out, checkpoint)]                                 # save_weights deletes it, once out is written
    monkeypatch.setattr(train, "save_weights", saved)
    train.main([*TINY, "--out", str(out)])                               # the same again
    assert list(tmp_path.iterdir()) == [out]


def test_a_snapshot_that_cannot_be_written_stops_no_training(tmp_path, monkeypatch, capsys):
    def full(path, *args, **options):
        if path.stem == "x-1":
            raise OSError("x-1.safetensors cannot be written")
        save_weights(path, *args, **options)
    monkeypatch.setattr(train, "save_weights", full)
    train.main([*TINY, "--snapshots", "2", "--out", str(tmp_path / "x.safetensors")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-2.safetensors", "x.safetensors"]
    assert capsys.readouterr().err.count("tools.models.train: x-1.safetensors cannot be written\n") == 1


def test_a_second_training_of_the_same_files_is_refused_and_the_first_goes_on(tmp_path):
    out, lock, snapshot = tmp_path / "x.safetensors", tmp_path / "x.checkpoint.lock", tmp_path / "x-1.safetensors"
    snapshot.write_bytes(b"of the first")
    command = [sys.executable, "-m", "tools.models.train", *TINY, "--out", str(out), "--snapshots", "1", "--steps"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*command, "1000000"], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    try:
        begin = time.monotonic()
        while not (lock.exists() and lock.stat().st_size) and first.poll() is None and time.monotonic() < begin + 90:
            time.sleep(0.1)
        assert lock.exists()
        while snapshot.exists() and time.monotonic() < begin + 90:     # that of an earlier training goes at step 1
            time.sleep(0.1)
        snapshot.write_bytes(b"of the first")
        second = subprocess.run([*command, "8"], cwd=ROOT, env=environment, capture_output=True, text=True)
        said = second.stderr.splitlines()[-1]
        assert second.returncode == 2 and said.startswith("tools.models.train: ") and "Traceback" not in second.stderr
        assert f"x.checkpoint is in use by process {first.pid} on " in said
        assert first.poll() is None and snapshot.read_bytes() == b"of the first" and not out.exists()
    finally:
        first.kill()
        first.communicate()
    out.with_suffix(".checkpoint").unlink(missing_ok=True)               # there if the first ran for its twenty seconds
    train.main([*TINY, "--out", str(out)])                               # what was killed stops nobody
    assert out.exists() and not lock.exists()


def test_other_rendered_data_have_one_name_wherever_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(train.env, "CHECKPOINTS", tmp_path / "weights")
    monkeypatch.setattr(train, "fit", lambda model, *args, **options: (model, []))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        train.main([*TINY, "--data", "ground"])
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["ground-16x16x1.safetensors"]


def test_without_out_notebook_04_finds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(train.env, "CHECKPOINTS", tmp_path)
    train.main(TINY)
    assert train.env.find_weights(None, 16, 1) == (tmp_path / "craters-16x16x1.safetensors", "your own")
    assert train.env.find_weights(None, 16, 1)[0].exists()


@pytest.mark.parametrize("wrong", [
    "--steps 0", "--steps x", "--steps 3 --minutes 1", "--T -3", "--batch 0", "--widths 8 x", "--channels 2",
    "--target V", "--schedule steep", "--examples 0", "--frobnicate"])
def test_what_cannot_be_read_ends_with_code_2(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(wrong.split())
    assert end.value.code == 2 and "tools.models.train: error: " in capsys.readouterr().err


@pytest.mark.parametrize("wrong, sentence", [
    ("--size 20", "--size 20 does not fit this network: choose a size divisible by 8"),
    ("--widths 9", "multiples of 8"), ("--channels 3", "craters come as they are: leave out --channels"),
    ("--data /no/such/folder", "/no/such/folder"), ("--lr -1 --examples 8", "learning rate"),
    ("--minutes 0 --examples 8", "minutes above 0"), ("--seed -1", "seed must not be negative")])
def test_what_cannot_be_done_gets_a_sentence(wrong, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        train.main([*wrong.split(), "--out", str(tmp_path / "x.safetensors")])
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_the_sentence_is_all_one_sees():
    command = [sys.executable, "-m", "tools.models.train", "--size", "20"]
    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr == "tools.models.train: --size 20 does not fit this network: choose a size divisible by 8.\n"


def two_processes(folder, out):
    """tools.models.train in two processes: the ended subprocess."""
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu",
              *"--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split(),
              "--main_process_port", "0", str(ROOT / "tests" / "two_processes.py"), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*launch, *TINY, "--out", str(out)], cwd=ROOT, env=environment, capture_output=True,
                          text=True, timeout=300)


def test_where_one_of_two_processes_cannot_write_neither_waits_for_the_other(tmp_path):
    with reserve(tmp_path / "x.checkpoint", {}):
        end = two_processes(tmp_path, tmp_path / "x.safetensors")
    assert end.returncode != 0 and f"x.checkpoint is in use by process {os.getpid()} on " in end.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_processes_train_one_model_on_different_pictures(tmp_path):
    out = tmp_path / "x.safetensors"
    end = two_processes(tmp_path, out)
    assert end.returncode == 0, end.stderr
    assert end.stdout.count("The weights are in") == 1                 # process 0 alone writes
    one, two = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    assert one["processes"] == two["processes"] == 2
    assert one["model"] == two["model"] and one["average"] == two["average"]
    assert len(one["asked"]) == len(two["asked"]) == 8 * 4 and one["asked"] != two["asked"]
    assert all(a != b for a, b in zip(one["losses"], two["losses"]))
    model, about = load_weights(out, UNet)
    assert about["steps"] == 8 and load_file(out)

    torch.manual_seed(0)                                               # both together went another way than one alone
    alone, _ = fit(UNet(1, 1, [8], 2), scenes.craters(40, 16, 0).images, steps=8, batch_size=4, lr=2e-3, seed=0,
                   loss_fn=lambda m, x: diffusion_loss(m, Schedule(linear_beta(20)), x))
    assert not all(torch.equal(a, b) for a, b in zip(stored(alone), model.parameters(), strict=True))
