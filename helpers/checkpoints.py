"""Files of trained networks: weights with what made them in the header, and the state of a training that was stopped.

All are safetensors, written whole or not at all.  Nothing is unpickled.
"""
import errno
import glob
import json
import os
import platform
import uuid
import warnings
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from helpers.guidance import as_x0
from helpers.schedule import BETAS, Schedule
from helpers.unet import UNet

try:
    import fcntl
except ImportError:                                            # Windows
    import msvcrt
    fcntl = None

FORMAT = 1                     # of checkpoints: raise it when fit or its optimiser keeps other tensors in them
LONGEST = 90_000_000           # bytes of a header: the readers of safetensors refuse more than 100 MB
KINDS = {                      # what a file is, by an entry of its header
    "made_with": "a checkpoint, the state of a training: finish it, and name the weights that are then written",
    "architecture": "finished weights and no checkpoint: move it away, or give the training another name"}
AWAY = "wait for it, stop it, or train under another name (tools.models.train: --out)."
_held = set()                  # checkpoints that a training in this process writes
_warned = set()                # those of them of which a warning has said that they cannot be written


def as_json(about):
    """The dictionary about as JSON text: scalars of numpy and torch as numbers, arrays as lists, paths as text.

    ValueError where it holds anything else, or more than a header can.
    """
    def plain(value):
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"a value of type {type(value).__name__}, {_short(value)}")

    try:
        text = json.dumps(about, default=plain)
    except TypeError as error:
        raise ValueError(f"the header of a file cannot hold {error}: give text, numbers, or lists and dictionaries of "
                         "these.") from None
    size = len(json.dumps(text))                               # in the file it stands as a string, with \" for "
    if size > LONGEST:
        longest = max(about, key=lambda key: len(str(about[key])))
        raise ValueError(f"the header of a file cannot hold {size:,} bytes, only {LONGEST:,}: shorten {longest!r}.")
    return text


@contextmanager
def _sentence(path):
    """Turn what the file system refuses at path into an OSError of one sentence."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}): make room on the disk, or use a folder "
                      "that you can write to. The variable COURSE_CHECKPOINTS moves what the notebooks train, the "
                      "option --out what tools.models.train does.") from None


@contextmanager
def _part(path):
    """A file beside path to write to, with a name that no other process or thread uses; it never stays behind."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with _sentence(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
    finally:
        with suppress(OSError):
            part.unlink()


def check_writable(path):
    """None, or an OSError of one sentence where no file can be written as path; to be asked before a training."""
    path = Path(path)
    with _part(path) as part:
        part.write_bytes(bytes(2**20))                         # a full disk shows only when something is written
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")

def write_safetensors(path, tensors, about):
    """Write tensors, and the dictionary about as JSON in the header, to one file: whole, or not at all.

    OSError: a full disk or a folder that cannot be written.  ValueError: about does not fit a header (as_json).
    """
    path = Path(path)
    content = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, {"about": as_json(about)})
    with _part(path) as part:                                  # not save_file, whose files only their owner can read
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)                                     # a rename is all or nothing


def read_safetensors(path, *needed):
    """(tensors, about) of a file made by write_safetensors; ValueError where it is none, or about lacks the needed."""
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}: check its spelling; relative paths start at {Path.cwd()}.")
    try:
        content = Path(path).read_bytes()                      # at once: safe_open opens the file a second time for the
        tensors = load(content)                                # tensors, which may then be those of a newer file
        header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])
        about = dict(json.loads(header["__metadata__"]["about"]))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a file of this course, or not the right one "
                         f"({type(error).__name__}: {error}): train again, or fetch the file again.") from None
    lacking = [key for key in needed if key not in about]
    if lacking:
        found = next((kind for key, kind in KINDS.items() if key in about), f"nothing under {lacking[0]!r}")
        raise ValueError(f"{path} is not a file of this course, or not the right one: it holds {found}.")
    return tensors, about


def save_weights(path, model, replaces=None, **about):
    """Write model's weights in half precision; its architecture and about (data, target, ...) stand in the header.

    replaces: the checkpoint of that training, deleted as soon as the weights are on the disk, and not sooner.
    OSError, ValueError: as write_safetensors.
    """
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    try:
        write_safetensors(path, weights, {"architecture": getattr(model, "config", {}), **about})
    except OSError as error:
        if replaces is None or not Path(replaces).exists():
            raise
        raise OSError(f"{error} The last checkpoint, {replaces}, is kept: run the same again then.") from None
    if replaces is not None:
        Path(replaces).unlink(missing_ok=True)


def _check_fit(tensors, module, path):
    """ValueError in one sentence where the names or shapes of tensors are not those of module."""
    theirs, own = ({(name, tensor.shape) for name, tensor in group.items()} for group in (tensors, module.state_dict()))
    if theirs != own:
        name = min(theirs ^ own)[0]
        raise ValueError(f"{path} was made by another network than {type(module).__name__} with these settings, or by "
                         f"another version of the code ({len(theirs - own)} of its {len(theirs)} tensors do not fit, "
                         f"{len(own - theirs)} are missing; the first is {name}): name another file, or train again.")


def load_weights(path, network):
    """(model, about): a network (the class UNet) with the weights and the settings that save_weights wrote.

    ValueError: the file is damaged, a checkpoint, or of another network.  FileNotFoundError: there is none.
    """
    tensors, about = read_safetensors(path, "architecture")
    try:
        model = network(**about["architecture"])
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{path} was made by another network than {network.__name__}, or by another version of the "
                         f"code: {network.__name__} knows no architecture={_short(about['architecture'])}.") from None
    _check_fit(tensors, model, path)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.to(memory_format=torch.channels_last).eval(), about


def load_sampler(path, device="cpu"):
    """(x0_model, schedule, about) of a weights file: what samplers.sample needs, and the settings of the training.

    A network with labels is asked as x0_model(xt, t, labels (B,)); label -1 is none.
    ValueError: not a file of this course, or one that does not say how the network is to be asked.
    """
    model, about = load_weights(path, UNet)
    missing = [key for key in ("schedule", "T", "target") if key not in about]
    if missing:
        raise ValueError(f"{path} does not say its {', '.join(missing)}, which sampling needs: save the weights with "
                         f"save_weights(path, model, schedule=..., T=..., target=...).")
    if about["schedule"] not in BETAS:
        raise ValueError(f"{path} names the schedule {about['schedule']!r}; sampling knows {', '.join(BETAS)}.")
    schedule = Schedule(BETAS[about["schedule"]](about["T"]))
    return as_x0(model.requires_grad_(False).to(device), schedule, about["target"]), schedule, about


@contextmanager
def reserve(path, made_with):
    """Keep the checkpoint at path to this process for the length of a training, and see first that it can be saved.

    path: None where nothing is saved on the way.  made_with: as save_checkpoint gets it.
    The lock is the operating system's: what a killed training leaves behind stops nobody.
    OSError: the folder cannot be written.  ValueError: another training that is alive writes the same checkpoint, or
    made_with does not fit a header.
    """
    as_json(made_with)
    if path is None:
        yield
        return
    check_writable(path)
    path = Path(path).resolve()
    lock = path.with_name(f"{path.name}.lock")
    if path in _held:
        raise ValueError(f"{path} is in use by another training in this process: {AWAY}")
    with _sentence(path):
        file = lock.open("a+b", buffering=0)
    with file:
        if not _lock(file):
            file.seek(0)
            raise ValueError(f"{path} is in use by {file.read().decode(errors='replace') or 'another process'}: {AWAY}")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M}".encode())
        for part in path.parent.glob(f"{glob.escape(path.name)}.*part"):
            part.unlink(missing_ok=True)                       # of a training that was killed while it saved
        _warned.discard(path)
        _held.add(path)
        try:
            yield
        finally:
            _held.remove(path)
    with suppress(OSError):                                    # the next one may have opened it already
        lock.unlink()


def _lock(file):
    """Try to make an open file this process's own: whether it is now, True as well where a file system has no locks."""
    try:
        if fcntl:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(2**30)                                   # Windows lets nobody read the bytes that it locks
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def save_checkpoint(path, net, average, optimizer, step, elapsed, losses, made_with, **more):
    """Write all that fit needs to go on: weights, their average, the optimiser's memory, the losses, the clock.

    more: what else fit wants in the header (the length of the training, the state of a GradScaler)
    Where it cannot be written, the last checkpoint stays, and a warning says so once: the training is worth more.
    """
    state = optimizer.state_dict()["state"]
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    tensors |= {f"optimizer.{i}.{k}": v for i, memory in state.items() for k, v in memory.items()}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    about = dict(format=FORMAT, step=step, elapsed=elapsed, made_with=made_with, **more)
    try:
        write_safetensors(path, tensors, about)
    except OSError as error:
        key = Path(path).resolve()
        if key not in _warned:
            warnings.warn(f"the state after {step} steps is not saved: {error} The training goes on; if it is stopped "
                          "now, it begins again at the last checkpoint, if there is one.", stacklevel=2)
        _warned.add(key)


def load_checkpoint(path, net, average, optimizer, made_with):
    """Restore what save_checkpoint wrote; give (losses, header).

    ValueError, before anything is changed: other settings or another version of the code made it.
    """
    tensors, about = read_safetensors(path, "made_with", "step", "elapsed")
    before = about["made_with"]
    now = json.loads(as_json(made_with))
    if before != now:
        keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
        found = ", ".join(f"{key}={_short(before.get(key))}, not {_short(now.get(key))}" for key in keys)
        raise ValueError(f"{path} was made with {found}: delete the file to start again.")
    if about.get("format") != FORMAT:
        raise ValueError(f"{path} was made by another version of the code, which kept other things in it: delete the "
                         "file to start again.")
    groups = {"net": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = tensor
    _check_fit(groups["net"], net, path)
    _check_fit(groups["average"], average, path)
    net.load_state_dict(groups["net"])
    average.load_state_dict(groups["average"])
    memory = {}
    for name, tensor in groups["optimizer"].items():
        i, key = name.split(".")
        like = list(net.parameters())[int(i)]                  # the fused optimiser wants the parameter's memory layout
        same = tensor.shape == like.shape
        memory.setdefault(int(i), {})[key] = torch.empty_like(like).copy_(tensor) if same else tensor
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    return tensors["losses"].tolist(), about


def _short(value):
    """repr(value) in one line of about 200 characters, however many names a list has."""
    text = " ".join(repr(value).split())
    if len(text) <= 200:
        return text
    return text[:200] + (f" … ({len(value)} entries)" if isinstance(value, (list, dict)) else " …")
