"""One training loop for every network of the course: fit, and below it what it consists of, training_step first.

    average, losses = fit(model, images, lambda model, x0: diffusion_loss(model, schedule, x0), minutes=5)
"""
import os
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast, send_to_device
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from helpers.checkpoints import load_checkpoint, reserve, save_checkpoint
from helpers.optim import Muon, RunningAverage
from helpers.randomness import random_states_kept
from helpers.span import RISE, Span, learning_rate, plain_number
from helpers.threads import Threads, most_threads, threads_kept, worth_trying

FETCH_EVERY = 16           # steps after which losses are fetched from a GPU: each time we wait until it is done
MOST_SKIPPED = 50          # steps in a row: fp16 leaves out some, but never so many

def diffusion_loss(model, schedule, x0, target="eps"):
    """Mean squared error of the network's prediction at a random t for each image (Ho et al. 2020, eq. 14): a scalar.

    x0: (B, C, H, W) in [-1, 1];  target: what the network predicts: the noise "eps", "v" or the image "x0"
    """
    t = torch.randint(1, schedule.T + 1, (len(x0),), device=x0.device)
    eps = torch.randn_like(x0)
    wanted = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[target]
    return F.mse_loss(model(schedule.q_sample(x0, t, eps), t).float(), wanted)


def drop_labels(y, share=0.1):
    """Labels (B,) with a share of them, drawn here, replaced by -1, no label (Ho & Salimans 2022, algorithm 1).

    A network trained on them knows images with and without a label, the two that guidance.guided needs.
    """
    return y.where(torch.rand(len(y), device=y.device) >= share, -1)


def ema_update(decay):
    """An update for AveragedModel whose memory grows with the run, so that the first steps are soon forgotten."""
    def update(averaged, current, n):
        n = int(n)
        keep = min(decay, (1 + n) / (10 + n))
        move = get_ema_multi_avg_fn(keep)
        move(averaged, current, n)
    return update


def fit(model, dataset, loss_fn, steps=None, minutes=None, batch_size=32, lr=1e-3, ema=0.999, seed=0,
        checkpoint=None, save_every=20, about=None, watch=None, workers=0, optimizer=Muon, rate=learning_rate):
    """Train model in place; return (its running average, the loss of each step).

    dataset: anything with len() and [i], for example a tensor (N, C, H, W); each batch is drawn with replacement
    loss_fn: (model, batch) -> scalar
    steps, minutes: how long, one of the two; the learning rate falls to zero over that span. COURSE_TRAINING=0.2 in the
        environment shortens every training to a fifth, but none of 100 steps or fewer
    checkpoint: a file that is written every save_every seconds and at the end, and taken up again if it is there;
        whoever calls deletes it once the result is safe: save_weights(path, average, replaces=checkpoint)
    about: what else makes this run what it is (data, target, ...), a dictionary; a checkpoint made otherwise is refused
    watch: called after each step as watch(done, average, losses), done being the fraction of the run that is behind
    workers: processes that read the images; 0 where the dataset draws random numbers of its own
    optimizer: another class, torch.optim.AdamW for instance;  rate: another function like span.learning_rate
    Step n draws everything from (seed, n), so a run that was stopped ends exactly where it would have ended. On a CPU,
    steps are computed with as many threads as torch has been set to, and minutes with as many as are fastest.
    ValueError: an empty dataset, no length, numbers that are none, a checkpoint made with other settings, in use, or
    trained for longer already.  OSError: no checkpoint can be written.  ArithmeticError: a loss that is not finite.
    """
    settings = Settings(batch_size, lr, ema, seed, checkpoint, save_every, about or {}, workers, optimizer, rate)
    span = Span.of(steps, minutes, len(dataset), settings.batch_size)
    with random_states_kept(), threads_kept():
        run = set_up(model, dataset, loss_fn, settings, span.shortened())
        with reserve(checkpoint if run.accelerator.is_main_process else None, run.made_with):
            resume(run)
            finished = run.done >= 1                           # a checkpoint of a training that was carried out
            train(run, dataset, watch, total=span.steps or round(span.seconds))
            if not finished:
                finish(run)
    return run.average.module.eval(), run.losses.fetched()


@dataclass
class Settings:
    """What fit was given, in Python's own numbers; ValueError where one is no number."""
    batch_size: int
    lr: float
    ema: float
    seed: int
    checkpoint: str | Path | None
    save_every: float
    about: dict
    workers: int
    optimizer: type = Muon
    rate: callable = learning_rate

    def __post_init__(self):
        for name in ("batch_size", "seed", "workers"):
            setattr(self, name, plain_number(name, getattr(self, name), int))
        for name in ("lr", "ema", "save_every"):
            setattr(self, name, plain_number(name, getattr(self, name), float))


class Losses(Sequence):
    """The loss of each step, as numbers; those of the last steps stay on the GPU until somebody reads them."""

    def __init__(self, known=()):
        self.known = list(known)
        self.waiting = []

    def append(self, loss):
        """Add a tensor of one number."""
        self.waiting.append(loss)

    def fetched(self):
        """All of them: a list."""
        if self.waiting:
            self.known += torch.stack(self.waiting).tolist()
            self.waiting = []
        return self.known

    def __len__(self):
        return len(self.known) + len(self.waiting)

    def __getitem__(self, index):
        return self.fetched()[index]


@dataclass
class Training:
    """A training under way: what set_up made for it, and how far it is."""
    accelerator: Accelerator
    settings: Settings
    made_with: dict
    span: Span
    threads: Threads
    loss_fn: callable
    net: torch.nn.Module
    wrapped: torch.nn.Module                                   # net, as loss_fn gets it: several processes share it
    optimizer: torch.optim.Optimizer
    average: RunningAverage
    step: int = 0
    elapsed: float = 0.0                                       # seconds, those before a stop included
    done: float = 0.0                                          # the fraction that is behind
    saved: float = 0.0                                         # when the checkpoint was written, by elapsed
    skipped: int = 0                                           # the last so many steps, by overflows of fp16
    looking: bool = True                                       # whether this is a step in which a GPU is waited for
    losses: Losses = field(default_factory=Losses)
    checked: int = 0                                           # so many losses are finite in all processes,
    unchecked: list = field(default_factory=list)              # and these are the next ones

    def seed(self, what, step):
        """A seed for what this process draws in a step: hashed, since a CPU heeds only 32 bits of a seed."""
        return zlib.crc32(f"{what} {self.settings.seed} {step} {self.accelerator.process_index}".encode())


def training_step(run, batch):
    """One step: the loss of a batch and its gradient; the weights move along it, and their average after them."""
    torch.manual_seed(run.seed("noise", run.step))               # not the images' numbers: t would follow them
    for group in run.optimizer.param_groups:
        group["lr"] = run.span.rate(run.done, run.step, run.settings.lr, run.settings.rate)
    with run.accelerator.autocast():
        loss = run.loss_fn(run.wrapped, batch)
    run.accelerator.backward(loss)
    run.accelerator.clip_grad_norm_(run.net.parameters(), 1.0)
    loss = loss.detach().reshape(())
    run.unchecked.append(loss)
    if run.looking:
        check_losses(run)
        if run.settings.checkpoint and run.elapsed - run.saved >= run.settings.save_every:
            save(run)                                          # not sooner: its loss is finite, so this state is good
    run.losses.append(loss)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.skipped = run.skipped + 1 if run.optimizer.step_was_skipped else 0
    if run.skipped == MOST_SKIPPED:
        raise ArithmeticError(f"the gradients of the last {MOST_SKIPPED} steps were not finite, up to step "
                              f"{run.step + 1}: {advice(run)}")
    if not run.skipped:
        run.average.update_parameters(run.net)
    run.step += 1


def train(run, dataset, watch, total):
    """Train until the span is over, with a progress bar of so many units; watch is fit's."""
    images = batches(run, dataset)
    main = run.accelerator.is_main_process
    stamps = deque(maxlen=50)
    before = run.elapsed
    start = time.monotonic()
    with tqdm(total=total, initial=min(total, round(run.done * total)), unit="step" if run.span.steps else "s",
              leave=True, disable=not main) as bar:
        while run.done < 1:
            run.looking = run.accelerator.device.type == "cpu" or run.step % FETCH_EVERY == 0
            batch = send_to_device(next(images), run.accelerator.device, non_blocking=True)
            with run.threads.step():
                training_step(run, batch)
            run.elapsed = before + time.monotonic() - start
            run.done = agreed(run)
            stamps.append(run.elapsed)
            if run.looking:
                bar.set_postfix(progress(run, stamps), refresh=False)
            bar.update(min(total, int(run.done * total)) - bar.n)
            if watch and main:
                watch(run.done, run.average.module, run.losses)
    if watch and main and not stamps:                          # it was finished before: its end remains to be seen
        watch(run.done, run.average.module, run.losses)


def progress(run, stamps):
    """What the bar says: the mean loss of 50 steps, and how many images a second there have lately been."""
    recent = run.losses.fetched()[-50:]
    seconds = stamps[-1] - stamps[0]
    images = (len(stamps) - 1) * run.settings.batch_size * run.accelerator.num_processes
    rate = {"images/s": f"{images / seconds:.3g}"} if seconds else {}
    return {"loss": f"{sum(recent) / len(recent):.4f}"} | rate


def set_up(model, dataset, loss_fn, settings, span):
    """The Training, with all that it needs on the fastest device."""
    precision = "no"
    if torch.cuda.is_available():                              # a T4 emulates bf16, slowly: there fp16 is the fast one
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    no_gpu = not torch.accelerator.is_available()              # must be said: else CPU processes do not see each other
    accelerator = Accelerator(cpu=no_gpu, mixed_precision=precision)
    if len(dataset) < settings.batch_size:
        settings.batch_size = len(dataset)
        accelerator.print(f"Only {len(dataset)} examples: training with batches of {len(dataset)}.")
    net = model.to(accelerator.device, memory_format=torch.channels_last).train()
    optimizer = settings.optimizer(net.parameters(), lr=settings.lr, fused=True)
    average = RunningAverage(net, multi_avg_fn=ema_update(settings.ema), use_buffers=False)
    wrapped, optimizer = accelerator.prepare(net, optimizer)
    made_with = dict(batch_size=settings.batch_size, lr=settings.lr, ema=settings.ema, seed=settings.seed,
                     examples=len(dataset), processes=accelerator.num_processes,
                     architecture=getattr(model, "config", None)) | settings.about
    if settings.optimizer is not Muon:                         # named only where they are not the usual ones
        made_with["optimizer"] = settings.optimizer.__name__
    if settings.rate is not learning_rate:
        made_with["rate"] = settings.rate.__name__
    numbers = [torch.get_num_threads()]                        # one and two threads differ in the last bits of a result
    if span.seconds and no_gpu and accelerator.num_processes == 1:
        numbers = worth_trying(most_threads())
    return Training(accelerator, settings, made_with, span, Threads(numbers, say=tqdm.write), loss_fn, net, wrapped,
                    optimizer, average)


def batches(run, dataset):
    """The batches of this process from run.step on, without end."""
    def indices():
        for step in count(run.step):
            generator = torch.Generator().manual_seed(run.seed("pictures", step))      # the word decides what is drawn
            yield torch.randint(len(dataset), (run.settings.batch_size,), generator=generator).tolist()
    return iter(DataLoader(dataset, batch_sampler=indices(), num_workers=run.settings.workers,
                           pin_memory=run.accelerator.device.type == "cuda"))


def agreed(run):
    """The fraction that is behind, the same in all processes, so that they stop at the same step."""
    done = run.span.done(run.step, run.elapsed)
    if run.span.steps or run.accelerator.num_processes == 1:
        return done
    if not run.looking:
        return run.done
    return broadcast(torch.tensor(done, device=run.accelerator.device)).item()         # process 0's clock rules


def check_losses(run):
    """Raise ArithmeticError, in all processes at once, where in one of them a loss has become infinite or NaN."""
    ours = torch.stack(run.unchecked).float()
    everyones = run.accelerator.gather(ours).reshape(-1, len(ours))
    if not everyones.isfinite().all():
        k = (~everyones.isfinite()).any(0).nonzero()[0].item()       # the first such step
        losses = everyones[:, k]
        value = losses[~losses.isfinite()][0].item()
        raise ArithmeticError(f"the loss became {value} at step {run.checked + k + 1}: {advice(run)}")
    run.checked += len(ours)
    run.unchecked = []


def advice(run):
    """What to do about numbers that are not finite, and what is left."""
    path = run.settings.checkpoint
    kept = f"{path} holds the last good state" if path and Path(path).exists() else "nothing was saved"
    return f"choose a smaller lr than {run.settings.lr:g}; {kept}."


def save(run):
    """Write the checkpoint."""
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        save_checkpoint(run.settings.checkpoint, run.net, run.average, run.optimizer, run.step, run.elapsed,
                        run.losses.fetched(), run.made_with, span=asdict(run.span), threads=run.threads.numbers,
                        scaler=scaler.state_dict() if scaler else None)
    run.saved = run.elapsed


def resume(run):
    """Take up the checkpoint, if there is one.  ValueError: other settings made it, or it is past the span's end."""
    path = run.settings.checkpoint
    if not path or not Path(path).exists():
        return
    losses, header = load_checkpoint(path, run.net, run.average, run.optimizer, run.made_with)
    run.losses = Losses(losses)
    run.step = run.checked = header["step"]
    run.elapsed = run.saved = header["elapsed"]
    if run.accelerator.scaler and header.get("scaler"):
        run.accelerator.scaler.load_state_dict(header["scaler"])
    if run.span.steps and len(header["threads"]) == 1:
        run.threads = Threads([min(header["threads"][0], os.cpu_count())])
    planned = Span(**header["span"])
    if (planned.steps, planned.seconds) == (run.span.steps, run.span.seconds):
        run.span = planned
    else:
        run.span = joined(run, planned)
    run.done = run.span.done(run.step, run.elapsed)


def joined(run, planned):
    """run.span for a training that was planned for another span and goes on; ValueError where it is over already."""
    done = run.span.done(run.step, run.elapsed)
    trained = f"{run.step} steps, {run.elapsed / 60:.1f} minutes"
    if done > 1:
        raise ValueError(f"{run.settings.checkpoint} is the state of a training after {trained}, which is past the "
                         f"{run.span} asked for: ask for more, or delete the file to start again.")
    lr = run.settings.lr
    rule = run.settings.rate
    rate = planned.rate(planned.done(run.step, run.elapsed), run.step, lr, rule)
    wanted = rule(done, run.step, lr)
    run.accelerator.print(f"{run.settings.checkpoint} was planned for {planned} and is now, after {trained}, continued "
                          f"to {run.span}: within {RISE} steps at most the learning rate goes from {rate:.2g} to "
                          f"{wanted:.2g}, as in a training of that length, and then falls to zero.")
    return Span(run.span.steps, run.span.seconds, (run.step, done, rate))


def finish(run):
    """See that the result is finite, and leave it in the checkpoint.  ArithmeticError: it is not."""
    if run.unchecked:
        check_losses(run)
    if not all(p.isfinite().all() for p in run.net.parameters()):
        raise ArithmeticError(f"the weights were not finite after the last step: {advice(run)}")
    if run.settings.checkpoint:
        save(run)
    run.accelerator.wait_for_everyone()
