"""Files of weights and checkpoints: whole or not at all, one training each, and a sentence for what cannot be."""
import ast
import errno
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from helpers import checkpoints
from helpers.checkpoints import (load_checkpoint, load_weights, read_safetensors, save_weights,
                                 write_safetensors)
from helpers.features import FeatureNet
from helpers.optim import Muon
from helpers.train import fit
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parent.parent
POSIX = pytest.mark.skipif(os.name != "posix", reason="of POSIX systems")


def sentence(error):
    """Whether an error is words for a reader: one line, not a page."""
    return "\n" not in str(error.value) and len(str(error.value)) < 700


def child(code, *arguments, **options):
    """Another Python that runs code with the helpers at hand."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def tiny():
    torch.manual_seed(0)
    return UNet(channels=(8,), attend=False)


def loss_fn(model, x0):
    return model(x0, torch.ones(len(x0))).square().mean() + model.stem.weight.square().sum()


def train(checkpoint=None, loss=loss_fn, steps=6, **options):
    """A training of a few steps that saves at each of them: (average, losses)."""
    return fit(tiny(), torch.zeros(4, 1, 8, 8), loss, steps=steps, batch_size=2, save_every=0, checkpoint=checkpoint,
               **options)


def never(model, x0):
    raise AssertionError("the training has begun")


def stop(done, average, losses):
    if done >= 0.5:
        raise KeyboardInterrupt


def stopped(path, **options):
    """A training that was stopped half-way: its checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        train(path, watch=stop, **options)
    return path


# The header

NUMBERS = dict(seed=np.int64(3), lr=np.float32(0.5), size=torch.tensor(64), share=torch.tensor(0.25), yes=np.True_,
               widths=np.array([8, 16]), scale=torch.tensor([1.0, 2.0], dtype=torch.float16), data=Path("photos"),
               nested={"held_out": (Path("a.png"), np.str_("b.png"))}, none=None)
PLAIN = dict(seed=3, lr=0.5, size=64, share=0.25, yes=True, widths=[8, 16], scale=[1.0, 2.0], data="photos",
             nested={"held_out": ["a.png", "b.png"]}, none=None)


def test_numbers_of_numpy_and_torch_and_paths_reach_the_header(tmp_path):
    save_weights(tmp_path / "x.safetensors", tiny(), **NUMBERS)
    about = load_weights(tmp_path / "x.safetensors", UNet)[1]
    del about["architecture"]
    assert about == PLAIN and json.dumps(about) == json.dumps(PLAIN)           # 3 and 3.0 and True are not the same


def test_a_training_with_numbers_of_numpy_is_saved_and_taken_up_again(tmp_path):
    whole = train(seed=np.int64(3), about=NUMBERS)[1]
    path = stopped(tmp_path / "run.checkpoint", seed=np.int64(3), about=NUMBERS)
    assert read_safetensors(path)[1]["made_with"]["size"] == 64
    assert train(path, seed=3, about=PLAIN)[1] == whole


@pytest.mark.parametrize("wrong, words", [
    ({1, 2}, r"a value of type set, \{1, 2\}"), (b"x", "bytes"), (torch.float16, "torch.float16"), (1j, "complex"),
    (np.array([1j]), "complex"), ({(1, 2): 3}, "keys must be"), (UNet, "type"),
    (UNet(channels=(8,)), "UNet")], ids=lambda value: str(value).split("\n")[0])
@pytest.mark.parametrize("checkpoint", [None, "run.checkpoint"])
def test_what_no_header_can_hold_is_said_before_the_training(wrong, words, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=f"the header of a file cannot hold .*{words}.*: give text, numbers") as error:
        train(checkpoint and tmp_path / checkpoint, never, about={"held_out": [wrong]})
    assert sentence(error) and list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=words):
        save_weights(tmp_path / "x.safetensors", tiny(), held_out=[wrong])
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_thousand_names(tmp_path):
    names = [f"Marsé/IMG_2024 \"{i:06d}\".jpeg" for i in range(100_000)] + ["not UTF-8 \udcff.png"]
    save_weights(tmp_path / "x.safetensors", tiny(), held_out=names, crops=40)
    begin = time.process_time()
    about = load_weights(tmp_path / "x.safetensors", UNet)[1]
    assert about["held_out"] == names and about["crops"] == 40
    assert time.process_time() - begin < 3                             # 0.1 s on the machine this was written on
    path = stopped(tmp_path / "run.checkpoint", about={"held_out": names})
    with pytest.raises(ValueError, match=r"held_out=\['Marsé/IMG.* … \(100001 entries\), not \['Marsé") as error:
        train(path, about={"held_out": names[1:]})
    assert sentence(error)


def test_a_header_that_no_reader_would_take_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "LONGEST", 10_000)
    about = dict(data="x", held_out=["a.png"] * 2000)
    with pytest.raises(ValueError, match="cannot hold [0-9,]+ bytes, only 10,000: shorten 'held_out'") as error:
        train(None, never, about=about)
    assert sentence(error)
    with pytest.raises(ValueError, match="shorten 'held_out'"):
        save_weights(tmp_path / "x", tiny(), **about)
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_that_of_the_readers(tmp_path):
    fits = "a" * (checkpoints.LONGEST - 100)
    write_safetensors(tmp_path / "x", {"a": torch.ones(1)}, {"a": fits})
    assert read_safetensors(tmp_path / "x")[1]["a"] == fits
    with pytest.raises(ValueError, match="shorten 'a'"):
        write_safetensors(tmp_path / "x", {"a": torch.ones(1)}, {"a": "a" * (checkpoints.LONGEST + 1)})


# Two who write at once

WRITE = """
import sys, torch
from helpers.checkpoints import write_safetensors
print("ready", flush=True)
for i in range(150):
    write_safetensors(sys.argv[1], {"a": torch.full((100,), float(i))}, {"i": i})
"""


def test_two_processes_and_two_threads_that_write_one_file(tmp_path):
    path, failures = tmp_path / "run.checkpoint", []

    def write():
        try:
            for i in range(150):
                write_safetensors(path, {"a": torch.full((100,), float(i))}, {"i": i})
        except Exception as error:
            failures.append(error)
    others = [child(WRITE, path) for _ in range(2)]
    assert all(other.stdout.readline() == "ready\n" for other in others)
    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            tensors, about = read_safetensors(path)                    # whole at every moment
            assert (tensors["a"] == about["i"]).all()
    for other in others:
        assert other.wait() == 0, other.stderr.read()
    assert failures == [] and list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, time
from helpers.checkpoints import reserve
with reserve(sys.argv[1], {}):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains with tmp_path/run.checkpoint, as it were."""
    other = child(HOLD, tmp_path / "run.checkpoint")
    assert other.stdout.readline() == "held\n", other.stderr.read()
    yield other
    other.kill()
    other.wait()


def test_a_checkpoint_of_a_live_training_is_refused_before_the_training(holder, tmp_path):
    path = tmp_path / "run.checkpoint"
    for spelling in (path, str(path), tmp_path / "x" / ".." / path.name):
        with pytest.raises(ValueError, match=rf"run\.checkpoint is in use by process {holder.pid} on .*, since \d{{4}}-"
                                             ".*: wait for it, stop it, or train under another name") as error:
            train(spelling, never)
        assert sentence(error)
    train(tmp_path / "other.checkpoint")                               # another name goes
    holder.kill()
    holder.wait()
    train(path)                                                        # the killed one stops nobody
    assert not path.with_name("run.checkpoint.lock").exists()


def test_a_killed_training_leaves_nothing_for_good(tmp_path):
    path = tmp_path / "run.checkpoint"
    for name in ("run.checkpoint.part", "run.checkpoint.0123abcd.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "run.checkpoint.lock").write_text("process 1 on a machine that was switched off")
    (tmp_path / "other.checkpoint.0123abcd.part").write_bytes(b"of another training")
    train(path)
    assert {file.name for file in tmp_path.iterdir()} - {"run.checkpoint"} == {"other.checkpoint.0123abcd.part"}


def test_a_second_training_in_the_same_process(tmp_path):
    path, seen = tmp_path / "run.checkpoint", []

    def twice(done, average, losses):
        if not seen:
            with pytest.raises(ValueError, match="in use by another training in this process") as error:
                train(path, never)
            seen.append(sentence(error))
            other = child(HOLD, path)                                  # and that did not let go of the lock
            assert other.wait() != 0 and f"in use by process {os.getpid()} on" in other.stderr.read()
    train(path, watch=twice)
    assert seen == [True]
    stopped(path)                                                      # a stop button lets go of it
    with checkpoints.reserve(path, {}):
        pass


@POSIX
def test_where_the_file_system_has_no_locks_a_training_runs_without(tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(checkpoints.fcntl, "lockf", no_locks)
    assert train(tmp_path / "run.checkpoint")[1] == train()[1]


@POSIX
def test_a_class_can_read_what_its_teacher_trained(tmp_path):
    before = os.umask(0o022)
    try:
        save_weights(tmp_path / "x.safetensors", tiny())
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o644


# A folder or a disk that takes nothing

def below_a_file(folder, monkeypatch):
    (folder / "plain").write_text("a file")
    return folder / "plain" / "run.checkpoint"


def read_only(folder, monkeypatch):
    usual = open

    def refuse(path, mode, *rest, **options):
        if str(path).startswith(str(folder)) and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return usual(path, mode, *rest, **options)
    monkeypatch.setattr("io.open", refuse)
    return folder / "run.checkpoint"


def no_new_folder(folder, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", "data")
    monkeypatch.setattr(os, "mkdir", refuse)
    return folder / "checkpoints" / "run.checkpoint"


def a_folder(folder, monkeypatch):
    (folder / "run.checkpoint").mkdir()
    return folder / "run.checkpoint"


@pytest.mark.parametrize("broken, reason", [
    (below_a_file, "Not a directory|File exists|cannot find the path"), (read_only, "Read-only file system"),
    (no_new_folder, "Permission denied"), (a_folder, "it is a folder")])
def test_a_folder_that_takes_nothing_is_noticed_before_the_training(broken, reason, tmp_path, monkeypatch):
    path = broken(tmp_path, monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    words = rf"run\.checkpoint cannot be written \(({reason})\).*COURSE_CHECKPOINTS.*--out"
    with pytest.raises(OSError, match=words) as error:
        checkpoints.check_writable(path)
    assert sentence(error)
    if broken is not a_folder:                                         # which fit would read, if it could
        with pytest.raises(OSError, match=words):
            train(path, never)
    with pytest.raises(OSError, match=words if broken is not a_folder else "cannot be written"):
        save_weights(path, tiny())
    assert sorted(tmp_path.rglob("*")) == before


def no_room(file):
    """In place of fsync, a disk without room: what is written reaches its file in part."""
    os.ftruncate(file, os.fstat(file).st_size // 2)
    raise OSError(errno.ENOSPC, "No space left on device")


def stop_button(file):
    raise KeyboardInterrupt


def test_a_save_that_fails_leaves_the_last_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": torch.ones(1000)}, {"n": 1})
    for failure, kind in [(no_room, OSError), (stop_button, KeyboardInterrupt)]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failure)
            with pytest.raises(kind) as error:
                write_safetensors(path, {"a": torch.zeros(1000)}, {"n": 2})
        assert read_safetensors(path)[1] == {"n": 1} and list(tmp_path.iterdir()) == [path]
        if kind is OSError:
            assert "No space left on device" in str(error.value) and sentence(error)
    write_safetensors(path, {"a": torch.zeros(1000)}, {"n": 3})
    assert read_safetensors(path)[1] == {"n": 3} and list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys, torch
from helpers.checkpoints import read_safetensors, write_safetensors
write_safetensors(sys.argv[1], {"a": torch.ones(10)}, {"n": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_safetensors(sys.argv[1], {"a": torch.ones(1_000_000)}, {"n": 2})
except OSError as error:
    print(error)
assert read_safetensors(sys.argv[1])[1] == {"n": 1}
"""


@POSIX
def test_a_limit_of_the_operating_system_gets_the_same_sentence(tmp_path):
    end = child(LIMITED, tmp_path / "x")
    out, complaints = end.communicate()
    assert end.returncode == 0, complaints
    assert "x cannot be written (File too large): make room" in out and os.listdir(tmp_path) == ["x"]


def test_the_checkpoint_goes_when_the_weights_are_there_and_not_sooner(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_room)
    checkpoint, weights = tmp_path / "run.checkpoint", tmp_path / "x.safetensors"
    checkpoint.write_bytes(b"the training")
    with pytest.raises(OSError, match=r"x\.safetensors cannot be written \(No space left on device\).*The last "
                                      r"checkpoint, .*run\.checkpoint, is kept: run the same again then") as error:
        save_weights(weights, tiny(), replaces=checkpoint, data="x")
    assert sentence(error) and list(tmp_path.iterdir()) == [checkpoint]
    with pytest.raises(ValueError, match="cannot hold"):
        save_weights(weights, tiny(), replaces=checkpoint, data={1})
    assert list(tmp_path.iterdir()) == [checkpoint]
    monkeypatch.undo()
    save_weights(weights, tiny(), replaces=checkpoint, data="x")
    assert list(tmp_path.iterdir()) == [weights] and "replaces" not in load_weights(weights, UNet)[1]
    save_weights(weights, tiny(), replaces=checkpoint)                 # there is none: it never ran long enough


def test_a_disk_that_fills_up_stops_no_training_and_costs_no_checkpoint(tmp_path, monkeypatch):
    path, kept = tmp_path / "run.checkpoint", []
    sync = os.fsync

    def fills_up(done, average, losses):
        if len(losses) == 3:                                           # from here on
            kept.append(path.read_bytes())
            monkeypatch.setattr(os, "fsync", no_room)
        if len(losses) == 5:
            assert path.read_bytes() == kept[-1]
            assert sorted(os.listdir(tmp_path)) == [path.name, f"{path.name}.lock"]
            monkeypatch.setattr(os, "fsync", sync)
    for _ in range(2):                                                 # and the next training says it again
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert train(path, watch=fills_up)[1] == train()[1]
        said = [str(warning.message) for warning in seen if "is not saved" in str(warning.message)]
        assert len(said) == 1 and "the state after 3 steps is not saved: " in said[0] and "\n" not in said[0]
        assert "run.checkpoint cannot be written (No space left on device)" in said[0]
        assert "The training goes on" in said[0]
        path.unlink(missing_ok=True)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="only Linux lists what a process has mapped")
def test_what_was_read_does_not_hold_the_file(tmp_path):               # else Windows could not write the next one
    path = tmp_path / "a"
    write_safetensors(path, {"a": torch.arange(100_000.0)}, {})
    tensors, _ = read_safetensors(path)
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert torch.equal(tensors["a"], torch.arange(100_000.0))


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    happened, path = [], tmp_path / "a"
    monkeypatch.setattr(os, "fsync", lambda file: happened.append((os.fstat(file).st_ino, path.exists())))
    write_safetensors(path, {"a": torch.ones(3)}, {})
    assert happened == [(path.stat().st_ino, False)]                   # the same file, before it was renamed


# The wrong file

def test_weights_of_another_network_get_a_sentence(tmp_path):
    feature_net = ROOT / "data" / "weights" / "features.safetensors"
    with pytest.raises(ValueError, match=r"features\.safetensors was made by another network than UNet .* or by "
                                         r"another version of the code \(\d+ of its \d+ tensors do not fit") as error:
        load_weights(feature_net, UNet)
    assert sentence(error)
    save_weights(tmp_path / "x", tiny(), data="x")
    with pytest.raises(ValueError, match="another network than FeatureNet.*knows no architecture=") as error:
        load_weights(tmp_path / "x", FeatureNet)
    assert sentence(error)
    tensors, about = read_safetensors(tmp_path / "x")
    for change in (dict(channels=[16]), dict(channels="8"), dict(channels=[9]), dict(newer=True), dict(in_channels=2)):
        write_safetensors(tmp_path / "y", tensors, {"architecture": about["architecture"] | change})
        with pytest.raises(ValueError, match="y was made by another network than UNet") as error:
            load_weights(tmp_path / "y", UNet)
        assert sentence(error), change
    for architecture in (None, 3, "x", ["x"]):
        write_safetensors(tmp_path / "y", tensors, {"architecture": architecture})
        with pytest.raises(ValueError, match="y was made by another network than UNet") as error:
            load_weights(tmp_path / "y", UNet)
        assert sentence(error), architecture


def test_a_checkpoint_is_not_weights_nor_weights_a_checkpoint(tmp_path):
    path = stopped(tmp_path / "run.checkpoint")
    with pytest.raises(ValueError, match=r"run\.checkpoint is .*not the right one: it holds a checkpoint, .*: finish "
                                         "it, and name the weights") as error:
        load_weights(path, UNet)
    assert sentence(error)
    save_weights(path, tiny())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.checkpoint is .*not the right one: it holds finished weights") as error:
        train(path, never)
    assert sentence(error) and path.read_bytes() == before


def test_a_missing_file_gets_a_sentence_with_its_whole_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file x.safetensors: check its spelling") as error:
        load_weights("x.safetensors", UNet)
    assert sentence(error) and str(tmp_path) in str(error.value)


def older(tensors, about):
    """The state as code without a format number wrote it, when AdamW trained all weights."""
    return tensors, {key: value for key, value in about.items() if key != "format"}


def layer_renamed(tensors, about):
    return {name.replace("stem", "first"): tensor for name, tensor in tensors.items()}, about


def average_lacks_one(tensors, about):
    return {name: tensor for name, tensor in tensors.items() if name != "average.module.stem.bias"}, about


def other_shape(tensors, about):
    return tensors | {"net.stem.weight": torch.zeros(8, 1, 5, 5)}, about


@pytest.mark.parametrize("change", [older, layer_renamed, average_lacks_one, other_shape])
def test_a_checkpoint_of_another_version_of_the_code_is_refused_before_anything_is_changed(change, tmp_path):
    path = stopped(tmp_path / "run.checkpoint")
    tensors, about = read_safetensors(path)
    write_safetensors(path, *change(tensors, about))
    before, net = path.read_bytes(), tiny()
    with pytest.raises(ValueError, match=r"run\.checkpoint was made by .*another version of the code") as error:
        load_checkpoint(path, net, AveragedModel(net), Muon(net.parameters()), about["made_with"])
    assert sentence(error)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), tiny().parameters(), strict=True))
    with pytest.raises(ValueError, match="another version of the code"):
        train(path, never)
    assert path.read_bytes() == before


def test_a_network_of_ones_own_without_config_is_saved_too(tmp_path):
    save_weights(tmp_path / "x", torch.nn.Linear(2, 3), data="mine")
    model, about = load_weights(tmp_path / "x", lambda: torch.nn.Linear(2, 3))
    assert about == dict(architecture={}, data="mine") and model.weight.shape == (3, 2)


def test_nothing_is_ever_unpickled():
    for path in sorted([*(ROOT / "helpers").rglob("*.py"), *(ROOT / "exercises").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            line = f"{path.name}:{getattr(node, 'lineno', 0)}"
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & set("pickle dill joblib shelve marshal".split()), line
            if isinstance(node, ast.Attribute) and node.attr in ("load", "save"):
                assert not isinstance(node.value, ast.Name) or node.value.id != "torch", line
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, line


def test_weights_come_back_with_what_made_them(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.safetensors"
    torch.manual_seed(0)
    model = UNet(3, 2, (8, 16), 2, True, False, 4).to(memory_format=torch.channels_last)
    nn.init.normal_(model.head[-1].weight)
    made_by = dict(data="craters", size=64, schedule="cosine", T=1000, target="v", steps=10, seed=0)
    save_weights(path, model, **made_by)
    twin, about = load_weights(path, UNet)
    assert about == dict(architecture=model.config, **made_by)
    assert twin.config == model.config and not twin.training
    for (name, a), (_, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert b.dtype == torch.float32 and torch.equal(a.half().float(), b), name
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([3])
    torch.testing.assert_close(twin(x, t), model(x, t), rtol=0.02, atol=0.02)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(path).values())
    assert list(path.parent.iterdir()) == [path]
