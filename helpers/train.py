"""One training loop for every network of the course.

    ema, losses = fit(model, pictures, lambda model, x0: diffusion_loss(model, schedule, x0), minutes=5)
"""
import math
import time
import zlib
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast, send_to_device
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from helpers.checkpoints import load_checkpoint, save_checkpoint
from helpers.optim import Muon


def diffusion_loss(model, schedule, x0, target="eps"):
    """Mean squared error of the network's guess at a random t for each picture (Ho et al. 2020, eq. 14): a scalar.

    x0: (B, C, H, W) in [-1, 1];  target: what the network guesses, the noise "eps", "v" or the picture "x0"
    """
    t = torch.randint(1, schedule.T + 1, (len(x0),), device=x0.device)
    eps = torch.randn_like(x0)
    wanted = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[target]
    return F.mse_loss(model(schedule.q_sample(x0, t, eps), t).float(), wanted)


def drop_labels(y, share=0.1):
    """Labels (B,) with a share of them, drawn here, replaced by -1, no label (Ho & Salimans 2022, algorithm 1).

    A network trained on them knows pictures with and without a label, the two that guidance.guided needs.
    """
    return y.where(torch.rand(len(y), device=y.device) >= share, -1)


def learning_rate(done, step, lr, warmup=100):
    """The rate at a fraction done of the run: half a cosine down to zero, after a linear rise.

    The rise takes warmup steps, or the first twentieth of a run for which that is too long.
    """
    rise = min(1, max((step + 1) / warmup, 20 * done))
    return lr * rise * (1 + math.cos(math.pi * min(done, 1))) / 2


def ema_update(decay):
    """An update for AveragedModel whose memory grows with the run, so that the first steps are soon forgotten."""
    def update(averaged, current, n):
        get_ema_multi_avg_fn(min(decay, (1 + n.item()) / (10 + n.item())))(averaged, current, n)
    return update


def fit(model, dataset, loss_fn, steps=None, minutes=None, batch_size=32, lr=1e-3, ema=0.999, seed=0,
        checkpoint=None, save_every=20, about=None, watch=None, workers=0):
    """Train model in place; give (its running average, the loss of each step).

    dataset: anything with len() and [i], for example a tensor (N, C, H, W); each batch is drawn with replacement
    loss_fn: (model, batch) -> scalar
    steps, minutes: how long, one of the two; the learning rate falls to zero over that span
    checkpoint: a file that is written every save_every seconds, taken up again if it is there, removed at the end
    about: what else makes this run what it is (data, target, ...), a dictionary; a checkpoint made otherwise is refused
    watch: called after each step as watch(done, average, losses), done being the fraction of the run that is behind
    workers: processes that read the pictures; 0 where the dataset draws random numbers of its own
    Step n draws everything from (seed, n), so a run that was stopped ends exactly where it would have ended.
    ValueError: an empty dataset, no length, a foreign checkpoint.  ArithmeticError: a loss that is not finite.
    """
    length = minutes if steps is None else steps if minutes is None else None
    if len(dataset) < 1 or batch_size < 1 or not length or length < 0:
        raise ValueError(f"fit needs at least one example a step and either steps or minutes above 0; found "
                         f"{len(dataset)} examples, {batch_size=}, {steps=}, {minutes=}.")
    precision = "no"
    if torch.cuda.is_available():                              # a T4 emulates bf16, slowly: there fp16 is the fast one
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    no_gpu = not torch.accelerator.is_available()              # must be said: else CPU processes do not see each other
    accelerator = Accelerator(cpu=no_gpu, mixed_precision=precision)
    if len(dataset) < batch_size:
        batch_size = len(dataset)
        accelerator.print(f"Only {len(dataset)} examples: training with batches of {batch_size}.")
    net = model.to(accelerator.device, memory_format=torch.channels_last).train()
    optimizer = Muon(net.parameters(), lr=lr, fused=True)
    average = AveragedModel(net, multi_avg_fn=ema_update(ema), use_buffers=False)
    first, before, losses = 0, 0.0, []
    made_with = dict(batch_size=batch_size, lr=lr, ema=ema, seed=seed, examples=len(dataset),
                     processes=accelerator.num_processes, architecture=getattr(model, "config", None)) | (about or {})
    if checkpoint and Path(checkpoint).exists():
        first, before, losses = load_checkpoint(checkpoint, net, average, optimizer, made_with)
    wrapped, optimizer = accelerator.prepare(net, optimizer)

    def random_state(what, step):                              # hashed, since a CPU heeds only 32 bits of a seed
        return zlib.crc32(f"{what} {seed} {step} {accelerator.process_index}".encode())

    def indices():
        for step in count(first):
            generator = torch.Generator().manual_seed(random_state("pictures", step))
            yield torch.randint(len(dataset), (batch_size,), generator=generator).tolist()

    batches = iter(DataLoader(dataset, batch_sampler=indices(), num_workers=workers))
    start = saved = time.monotonic()
    done, total = first / steps if steps else before / (60 * minutes), steps or round(60 * minutes)
    with tqdm(total=total, initial=min(total, round(done * total)), unit="step" if steps else "s", leave=True,
              disable=not accelerator.is_main_process) as bar:
        step, elapsed = first, before
        while done < 1:
            torch.manual_seed(random_state("noise", step))     # not the pictures' numbers: t would follow them
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
            if checkpoint and accelerator.is_main_process and time.monotonic() - saved >= save_every:
                save_checkpoint(checkpoint, net, average, optimizer, step, elapsed, losses[:-1], made_with)
                saved = time.monotonic()                       # not sooner: its loss is finite, so this state is good
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(net)
            step, elapsed = step + 1, before + time.monotonic() - start
            done = step / steps if steps else elapsed / (60 * minutes)
            if accelerator.num_processes > 1 and minutes:      # process 0's clock rules: all stop at the same step
                done = broadcast(torch.tensor(done, device=accelerator.device)).item()
            bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.4f}", refresh=False)
            bar.update(min(total, int(done * total)) - bar.n)
            if watch and accelerator.is_main_process:
                watch(done, average.module, losses)
    if checkpoint and accelerator.is_main_process:
        Path(checkpoint).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return average.module.eval(), losses
