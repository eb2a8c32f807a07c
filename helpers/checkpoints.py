"""Files of trained networks: weights with what made them in the header, and the state of a training that was stopped.

All are safetensors, written whole or not at all.  Nothing is unpickled.
"""
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from helpers.guidance import as_x0
from helpers.schedule import BETAS, Schedule
from helpers.unet import UNet


def write_safetensors(path, tensors, about):
    """Write tensors, and the dictionary about as JSON in the header, to one file: whole, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part,
              metadata={"about": json.dumps(about)})
    with part.open("rb+") as file:                             # Windows syncs only what it may write
        os.fsync(file.fileno())
    part.replace(path)                                         # a rename is all or nothing


def read_safetensors(path, *needed):
    """(tensors, about) of a file made by write_safetensors; ValueError where it is none, or about lacks the needed."""
    try:
        with safe_open(path, "pt") as file:                    # cloned, or the tensors would keep the file open
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            about = json.loads(file.metadata()["about"])
        [about[key] for key in needed]
        return tensors, about
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a file of this course, or not the right one "
                         f"({type(error).__name__}: {error}): train anew, or fetch the file again.") from None


def save_weights(path, model, **about):
    """Write model's weights in half precision; its architecture and about (data, target, ...) stand in the header."""
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    write_safetensors(path, weights, {"architecture": model.config, **about})


def load_weights(path, network):
    """(model, about): a network (the class UNet) with the weights and the settings that save_weights wrote."""
    tensors, about = read_safetensors(path, "architecture")
    model = network(**about["architecture"])
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.to(memory_format=torch.channels_last).eval(), about


def save_checkpoint(path, net, average, optimizer, step, elapsed, losses, made_with):
    """Write all that fit needs to go on: weights, their average, the optimiser's memory, the losses, the clock."""
    state = optimizer.state_dict()["state"]
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    tensors |= {f"optimizer.{i}.{k}": v for i, memory in state.items() for k, v in memory.items()}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    write_safetensors(path, tensors, dict(step=step, elapsed=elapsed, made_with=made_with))


def load_checkpoint(path, net, average, optimizer, made_with):
    """Restore what save_checkpoint wrote; give (step, elapsed, losses).  ValueError where other settings made it."""
    tensors, about = read_safetensors(path, "made_with", "step", "elapsed")
    before, now = about["made_with"], json.loads(json.dumps(made_with))
    if before != now:
        keys = [key for key in {**now, **before} if before.get(key) != now.get(key)]
        found = ", ".join(f"{key}={before.get(key)!r}, not {now.get(key)!r}" for key in keys)
        raise ValueError(f"{path} was made with {found}: delete the file to start anew.")
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    net.load_state_dict(part("net."))
    average.load_state_dict(part("average."))
    memory = {}
    for name, tensor in part("optimizer.").items():
        i, key = name.split(".")
        like = list(net.parameters())[int(i)]                  # the fused optimiser wants the parameter's memory layout
        same = tensor.shape == like.shape
        memory.setdefault(int(i), {})[key] = torch.empty_like(like).copy_(tensor) if same else tensor
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    return about["step"], about["elapsed"], tensors["losses"].tolist()


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
