"""One training loop for every network of the course, and weights that carry what made them.

    ema, losses = fit(model, pictures, lambda model, x0: diffusion_loss(model, schedule, x0), minutes=5)
"""
import json
import math
import os
import time
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast, send_to_device
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm


def diffusion_loss(model, schedule, x0, target="eps"):
    """Mean squared error of the network's guess at a random t for each picture (Ho et al. 2020, eq. 14): a scalar.

    x0: (B, C, H, W) in [-1, 1];  target: what the network guesses, the noise "eps", "v" or the picture "x0"
    """
    t = torch.randint(1, schedule.T + 1, (len(x0),), device=x0.device)
    eps = torch.randn_like(x0)
    wanted = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[target]
    return F.mse_loss(model(schedule.q_sample(x0, t, eps), t).float(), wanted)


def learning_rate(done, step, lr, warmup=100):
    """The rate at a fraction done of the run: a short linear rise, then half a cosine down to zero."""
    return lr * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * min(done, 1))) / 2


def ema_update(decay):
    """An update for AveragedModel whose memory grows with the run, so that the first steps are soon forgotten."""
    def update(averaged, current, n):
        get_ema_multi_avg_fn(min(decay, (1 + n.item()) / (10 + n.item())))(averaged, current, n)
    return update


def fit(model, dataset, loss_fn, steps=None, minutes=None, batch_size=32, lr=1e-3, ema=0.999, seed=0,
        checkpoint=None, save_every=20, watch=None, workers=0):
    """Train model in place; give (its running average, the loss of each step).

    dataset: anything with len() and [i], for example a tensor (N, C, H, W); each batch is drawn with replacement
    loss_fn: (model, batch) -> scalar
    steps, minutes: how long, one of the two; the learning rate falls to zero over that span
    checkpoint: a file that is written every save_every seconds, taken up again if it is there, removed at the end
    watch: called after each step as watch(done, average), done being the fraction of the run that is behind
    Step n draws everything from (seed, n), so a run that was stopped ends exactly where it would have ended.
    ValueError for an empty dataset, a missing length or a foreign checkpoint; ArithmeticError where the loss is not finite.
    """
    if len(dataset) == 0 or (steps is None) == (minutes is None):
        raise ValueError(f"fit needs at least one example and either steps or minutes; "
                         f"found {len(dataset)} examples, steps={steps}, minutes={minutes}.")
    half = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if torch.cuda.is_available() else "no"
    accelerator = Accelerator(mixed_precision=half)
    if len(dataset) < batch_size:
        batch_size = len(dataset)
        accelerator.print(f"Only {len(dataset)} examples: training with batches of {batch_size}.")
    net = model.to(accelerator.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, fused=True)
    average = AveragedModel(net, multi_avg_fn=ema_update(ema), use_buffers=False)
    first, before, losses = 0, 0.0, []
    made_with = dict(batch_size=batch_size, lr=lr, ema=ema, seed=seed, examples=len(dataset), processes=accelerator.num_processes)
    if checkpoint and Path(checkpoint).exists():
        first, before, losses = load_checkpoint(checkpoint, net, average, optimizer, made_with)
    wrapped, optimizer = accelerator.prepare(net, optimizer)

    def random_state(step):                                    # a different one for each step and process
        return ((seed * 2**32 + step) * accelerator.num_processes + accelerator.process_index) % 2**63

    def indices():
        for step in count(first):
            generator = torch.Generator().manual_seed(random_state(step))
            yield torch.randint(len(dataset), (batch_size,), generator=generator).tolist()

    batches = iter(DataLoader(dataset, batch_sampler=indices(), num_workers=workers))
    start = saved = time.monotonic()
    done, total = first / steps if steps else before / (60 * minutes), steps or round(60 * minutes)
    with tqdm(total=total, initial=min(total, round(done * total)), unit="step" if steps else "s", leave=True,
              disable=not accelerator.is_main_process) as bar:
        step = first
        while done < 1:
            torch.manual_seed(random_state(step))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done, step, lr)
            with accelerator.autocast():
                loss = loss_fn(wrapped, send_to_device(next(batches), accelerator.device))
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), 1.0)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                kept = f"{checkpoint} holds the last good state" if checkpoint else "nothing was saved"
                raise ArithmeticError(f"the loss became {losses[-1]} at step {step + 1}, with the learning rate at "
                                      f"{group['lr']:.2g}: choose a smaller lr than {lr:g}; {kept}.")
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(net)
            step, elapsed = step + 1, before + time.monotonic() - start
            done = step / steps if steps else elapsed / (60 * minutes)
            if accelerator.num_processes > 1 and minutes:      # all processes stop at the same step: process 0's clock rules
                done = broadcast(torch.tensor(done, device=accelerator.device)).item()
            bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.4f}", refresh=False)
            bar.update(min(total, int(done * total)) - bar.n)
            if checkpoint and accelerator.is_main_process and time.monotonic() - saved >= save_every:
                save_checkpoint(checkpoint, net, average, optimizer, step, elapsed, losses, made_with)
                saved = time.monotonic()
            if watch and accelerator.is_main_process:
                watch(done, average.module)
    if checkpoint and accelerator.is_main_process:
        Path(checkpoint).unlink(missing_ok=True)
    return average.module.eval(), losses


def write_safetensors(path, tensors, about):
    """Write tensors, and the dictionary about as JSON in the header, to one file: whole, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, part,
              metadata={"about": json.dumps(about)})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)                                         # a rename is all or nothing


def read_safetensors(path):
    """(tensors, about) from a file made by write_safetensors; ValueError where it is not one."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a weights file of this course ({error}): train anew, or fetch the file again.") from None


def save_weights(path, model, **about):
    """Write model's weights in half precision, with its architecture and about (data, schedule, target, ...) in the header."""
    write_safetensors(path, {k: v.half() for k, v in model.state_dict().items()}, {"architecture": model.config, **about})


def load_weights(path, network):
    """(model, about): a network (the class UNet) with the weights and the settings that save_weights wrote."""
    tensors, about = read_safetensors(path)
    model = network(**about["architecture"])
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval(), about


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
    tensors, about = read_safetensors(path)
    if about["made_with"] != made_with:
        raise ValueError(f"{path} was made with {about['made_with']}, this run has {made_with}: delete the file to start anew.")
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    net.load_state_dict(part("net."))
    average.load_state_dict(part("average."))
    memory = {}
    for name, tensor in part("optimizer.").items():
        i, key = name.split(".")
        like = list(net.parameters())[int(i)]                  # the fused optimiser wants the parameter's memory layout
        memory.setdefault(int(i), {})[key] = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    return about["step"], about["elapsed"], tensors["losses"].tolist()
