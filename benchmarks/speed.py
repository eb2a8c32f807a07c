"""use_of_the_machine, growth, gpu: how well the machine is used, how time and memory grow, what a GPU gives.

    python -m benchmarks.speed memory 64 192      # peak memory of training at 64 pixels, batches of 192, as JSON
    python -m benchmarks.speed rate 8             # images a second over 8 s, under `accelerate launch`, as JSON
"""
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from accelerate import PartialState
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import SHIPPED, at_least, at_most, draw, note, recipe, unjudged, verdict
from benchmarks.quality import ours
from helpers import env, scenes
from helpers.checkpoints import load_sampler
from helpers.train import diffusion_loss, fit
from helpers.unet import UNet
from tools.models import train

WARM = 3                                          # steps that prepare: memory, kernels
SIZES = (32, 64, 128)                             # of the images, for growth
PEERS = {(16, 24, 32, 48): 12, (64, 128, 256): 48}             # our widths, the default's and 03's on a GPU: Plain's w


# ---- use_of_the_machine

def quiet_fit(*args, **options):
    """helpers.train.fit without its progress bar: many short runs would fill the page."""
    with contextlib.redirect_stderr(io.StringIO()):
        return fit(*args, **options)


def step_seconds(model, images, loss, batch, lr, **length):
    """How long each step of helpers.train.fit takes, all that it does included, the first few left out: a list."""
    stamps = []

    def stamp(done, average, losses):
        stamps.append(time.perf_counter())

    quiet_fit(model, images, loss, batch_size=batch, lr=lr, watch=stamp, **length)
    if not PartialState().is_main_process:                     # only the first of several processes watches
        return []
    if len(stamps) < 2:
        raise ValueError(f"{len(stamps)} training steps in {length} are too few to time: choose a longer span.")
    if torch.cuda.is_available():                              # the GPU may still be busy with the last steps
        torch.cuda.synchronize()
        stamps[-1] = time.perf_counter()
    stamps = stamps[min(WARM, len(stamps) - 2):]
    return [b - a for a, b in zip(stamps, stamps[1:])]


def matmul_rate(seconds, sizes=(512, 768, 1024, 1536, 2048)):
    """The best rate over square sizes at which torch multiplies matrices: (FLOP a second, size)."""
    rates = {}
    for n in sizes:
        a = torch.randn(n, n)
        out = a @ a
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / len(sizes):
            torch.mm(a, a, out=out)
            count += 1
        rates[n] = 2 * n**3 * count / (time.perf_counter() - start)
    best = max(rates, key=rates.get)
    return rates[best], best


def step_flops(model, images, loss, batch, lr):
    """FLOPs by torch's counter, which knows products of matrices, convolutions and attention.

    (of one step of fit, of its forward and backward pass alone, {operation: FLOPs of a step})
    """
    with FlopCounterMode(display=False) as counter:
        quiet_fit(model, images, loss, steps=2, batch_size=batch, lr=lr)
    with FlopCounterMode(display=False) as passes:
        loss(model, images[:batch]).backward()
    model.zero_grad()
    parts = {str(op).removeprefix("aten."): flops // 2 for op, flops in counter.get_flop_counts()["Global"].items()}
    return counter.get_total_flops() // 2, passes.get_total_flops(), parts


def profile(model, images, loss, batch, lr, steps=6):
    """Where the time of training goes: {torch's operation: share of the time}, largest first."""
    quiet_fit(model, images, loss, steps=WARM, batch_size=batch, lr=lr)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        quiet_fit(model, images, loss, steps=steps, batch_size=batch, lr=lr)
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in seen.key_averages()}
    return {name: times[name] / sum(times.values()) for name in sorted(times, key=times.get, reverse=True)}


def use_of_the_machine(s, _=None):
    """The rate of a training step against that of matrix multiplication, in turn on the same cores."""
    about = dict(name="use_of_the_machine", title="Use of the machine",
                 claim="a training step runs at 60 % of the rate of matrix multiplication or more")
    if torch.accelerator.is_available():
        return about | dict(passed=None, why="fit trains on the GPU here: see gpu")
    o = train.options([])
    model, _, loss = recipe(o)
    images = scenes.craters(512, o.size).images
    flops, passes, parts = step_flops(model, images, loss, o.batch, o.lr)
    rounds = []
    for _ in range(s.rounds):
        matmul, n = matmul_rate(s.step_seconds / 4)
        steps = step_seconds(model, images, loss, o.batch, o.lr, minutes=s.step_seconds / 60)
        rate = flops / statistics.mean(steps)
        rounds.append(dict(matmul=matmul, matmul_size=n, step=rate, steps=len(steps), ratio=rate / matmul,
                           images_per_second=o.batch / statistics.mean(steps)))
        note(f"matrices {matmul / 1e9:.0f} GFLOP/s, training step {rate / 1e9:.0f} GFLOP/s")
    shares = profile(model, images, loss, o.batch, o.lr)
    middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    ratios = [r["ratio"] for r in rounds]
    convolutions = sum(value for op, value in parts.items() if "conv" in op) / flops * middle["step"]
    convolutions /= sum(share for name, share in shares.items() if "conv" in name)
    checks = [at_least("of the rate of matrix multiplication reaches a training step", middle["ratio"], 0.60,
                       interval=[min(ratios), max(ratios)])]
    rows = [{"operation": name, "share of a step's time": share} for name, share in list(shares.items())[:10]]
    return about | dict(
        passed=verdict(checks), checks=checks, rows=rows,
        says=[f"{middle['step'] / 1e9:.0f} of {middle['matmul'] / 1e9:.0f} GFLOP/s (float32, "
              f"{torch.get_num_threads()} threads, median of {len(rounds)} rounds; in brackets their range), "
              f"{middle['images_per_second']:.0f} images/s, {flops / 1e9:.2f} GFLOP a step of {o.batch}, "
              f"{passes / flops:.1%} of them in the forward and backward pass.",
              f"The convolutions alone reach {convolutions / middle['matmul']:.0%} of the matrix rate."],
        flops_per_step=flops, flops_of_passes=passes, flops_by_operation=parts, batch=o.batch, rounds=rounds,
        profile=shares, convolution_rate=convolutions)


# ---- growth

def peak_memory():
    """The most memory this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():                                        # getrusage would count what the parent held
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource                                            # not on Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_child(size, batch):
    """Run in a process of its own: {peak} of training with so many images a step, in bytes."""
    o = train.options([])
    model, _, loss = recipe(o)
    images = scenes.craters(32, size).images.repeat(-(-batch // 32), 1, 1, 1)[:batch]
    quiet_fit(model, images, loss, steps=2, batch_size=batch, lr=o.lr)
    return dict(peak=peak_memory())


def rate_child(seconds):
    """Run in each process under accelerate launch: {processes, images_per_second, threads, steps} of fit, or None."""
    o = train.options([])
    model, _, loss = recipe(o)
    steps = step_seconds(model, scenes.craters(512, o.size).images, loss, o.batch, o.lr, minutes=seconds / 60)
    state = PartialState()
    found = dict(processes=state.num_processes, threads=torch.get_num_threads(), steps=len(steps),
                 images_per_second=o.batch * state.num_processes / statistics.mean(steps)) if steps else None
    state.destroy_process_group()
    return found


def child(*arguments, processes=0):
    """What `python -m benchmarks.speed …` finds, by itself or under accelerate launch with so many processes."""
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", *(["--multi_gpu"] if processes > 1 else []),
              "--num_processes", str(processes), *"--num_machines 1 --mixed_precision no --dynamo_backend no "
              "--main_process_port 0".split()] if processes else []
    environment = os.environ | {"PYTHONPATH": str(env.ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"OMP_NUM_THREADS": "1"} if processes else {}
    command = [sys.executable, *launch, "-m", "benchmarks.speed", *map(str, arguments)]
    end = subprocess.run(command, cwd=env.ROOT, env=environment, capture_output=True, text=True)
    found = [line for line in end.stdout.splitlines() if line.startswith("{")]
    if end.returncode or not found:
        raise RuntimeError(f"`{' '.join(command)}` ended with code {end.returncode}:\n{end.stderr[-2000:]}")
    return json.loads(found[-1])


def time_per_image(s):
    """{size: seconds of training for each image, one value a round}."""
    o = train.options([])
    model, _, loss = recipe(o)
    images = {n: scenes.craters(64, n).images for n in SIZES}
    times = {n: [] for n in SIZES}
    for _ in range(s.rounds):
        for n in SIZES:
            steps = step_seconds(model, images[n], loss, o.batch, o.lr, steps=WARM + 1 + s.steps * SIZES[0] // n)
            times[n].append(statistics.mean(steps) / o.batch)
    return times


def memory_per_image(s):
    """({size: bytes for each image}, {size: the peaks of each of two batches}): what does not grow cancels out."""
    memory, peaks = {}, {}
    for n in SIZES:
        batches = [b * 4096 // n**2 for b in s.memory_batches]
        peaks[n] = [[child("memory", n, b)["peak"] for _ in range(s.launches)] for b in batches]
        low, high = map(statistics.median, peaks[n])
        memory[n] = (high - low) / (batches[1] - batches[0])
        note(f"{n}×{n}: peak {low / 2**20:.0f} and {high / 2**20:.0f} MiB with batches of {batches}")
    return memory, peaks


def growth_of(values):
    """How much faster than its pixels the value for an image of each size grows, from the smallest: {size: factor}."""
    first = min(values)
    return {n: values[n] / values[first] / (n / first) ** 2 for n in values}


def growth_checks(seconds, memory, ratios):
    """The three checks: seconds and memory per image by size; two processes' rates over those of one, maybe none."""
    checks = []
    for what, values in (("time", seconds), ("memory", memory)):
        factors = growth_of(values)
        worst = max(factors[b] / factors[a] for a in factors for b in factors if a < b)
        checks.append(at_most(f"growth of {what} per image, as a multiple of the growth of its pixels (worst pair of "
                              "sizes)", worst, 1.1))
    two = at_least("times as many images a second train two processes as one, each with one thread",
                   statistics.median(ratios) if ratios else None, 1.7)
    return [*checks, two | dict(interval=[min(ratios), max(ratios)]) if ratios else
            unjudged(two, "there is only one core")]


def growth(s, _=None):
    """Time and memory of a training step per image at 32, 64 and 128 pixels; two processes against one."""
    times = time_per_image(s)
    seconds = {n: statistics.median(values) for n, values in times.items()}
    memory, peaks = memory_per_image(s)
    launched = []
    for _ in range(s.launches if (os.cpu_count() or 1) > 1 else 0):
        one, two = (child("rate", s.step_seconds, processes=k)["images_per_second"] for k in (1, 2))
        launched.append(dict(one=one, two=two))
        note(f"one process {one:.0f} images/s, two {two:.0f}")
    checks = growth_checks(seconds, memory, [r["two"] / r["one"] for r in launched])
    rows = [{"size": f"{n}×{n}", "ms an image": 1e3 * seconds[n], "time / pixels": growth_of(seconds)[n],
             "MiB an image": memory[n] / 2**20, "memory / pixels": growth_of(memory)[n]} for n in SIZES]
    return dict(name="growth", title="Growth",
                claim="time and memory per image grow at most 1.1 times as fast as the pixels from 32 to 128; two "
                      "processes train 1.7 times as many images a second as one",
                passed=verdict(checks), checks=checks, rows=rows,
                says=["Memory is the growth of a process's peak (median of the launches) with the batch, divided by "
                      "the additional images. Beside the pixels: 1 at 32×32, at most 1.1 elsewhere."],
                seconds=times, peaks=peaks, launches=launched)


# ---- gpu

class Plain(torch.nn.Module):
    """diffusers' UNet2DModel, w, 2w, 2w and 4w channels wide, called as ours is: (x, t) -> tensor, t from 1."""

    def __init__(self, w):
        from diffusers import UNet2DModel
        super().__init__()
        self.net = UNet2DModel(
            sample_size=64, in_channels=1, out_channels=1, layers_per_block=2, norm_num_groups=4,
            block_out_channels=(w, 2 * w, 2 * w, 4 * w),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))

    def forward(self, x, t):
        return self.net(x, t - 1).sample


def size_of(model):
    """The number of parameters."""
    return sum(p.numel() for p in model.parameters())


def compare_networks(widths, w, seconds, batches=(64, 256, 1024)):
    """Images a second in fit of our UNet and of a diffusers network of as many parameters, each at its best batch.

    A row each: {network, parameters, batch, images_per_second}. AdamW for both: it is the networks that are compared.
    """
    o = train.options([])
    schedule = recipe(o)[1]
    images = scenes.craters(256, o.size).images.repeat(-(-max(batches) // 256), 1, 1, 1)
    mine = UNet(o.channels, o.channels, widths, o.patch)
    rows = []
    for name, model in (("ours", mine), ("diffusers", Plain(w))):
        tried = {}
        for batch in batches:
            try:
                steps = step_seconds(model, images, lambda net, x0: diffusion_loss(net, schedule, x0, o.target), batch,
                                     1e-4, minutes=seconds / 60, optimizer=torch.optim.AdamW)
                tried[batch] = batch / statistics.mean(steps)
                note(f"{name}, batch {batch}: {tried[batch]:.0f} images/s")
            except torch.OutOfMemoryError:
                note(f"{name}: a batch of {batch} does not fit")
        best = max(tried, key=tried.get)
        rows.append(dict(network=name, parameters=size_of(model), batch=best, images_per_second=tried[best]))
    return rows


def gpu(s, measure):
    """Our network against one of diffusers in fit, and the time until our default equals the shipped weights."""
    about = dict(name="gpu", title="GPU", claim="trains more images a second than a diffusers network of as many "
                 "parameters")
    if not torch.cuda.is_available():
        return about | dict(passed=None, why="no GPU")
    checks, rows = [], []
    for widths, w in PEERS.items():
        pair = compare_networks(widths, w, s.step_seconds)
        rows += [{"widths": "-".join(map(str, widths))} | row for row in pair]
        checks.append(at_least(f"times as many images a second as diffusers, {pair[0]['parameters']:,} and "
                               f"{pair[1]['parameters']:,} parameters",
                               pair[0]["images_per_second"] / pair[1]["images_per_second"], 1))
    shipped = measure(draw(*load_sampler(SHIPPED)[:2], s.duel_samples, 50))
    curve = [dict(seconds=seconds, **measure(draw(x0_model, schedule, s.duel_samples, 50)))
             for seconds, x0_model, schedule in ours(s.seconds, 4)[1]]
    reached = next((p["seconds"] for p in curve if p["kid"] <= shipped["kid"]), None)
    end = f"after {reached:.0f} s" if reached else f"not within {s.seconds:.0f} s"
    return about | dict(passed=verdict(checks), checks=checks, rows=rows, curve=curve, shipped=shipped,
                        seconds_to_shipped=reached,
                        says=[f"Our default trained here is as good as the shipped weights {end} (KID "
                              f"{curve[-1]['kid']:.3f} at the end, shipped {shipped['kid']:.3f})."])


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    if found := memory_child(*map(int, numbers)) if what == "memory" else rate_child(float(numbers[0])):
        print(json.dumps(found))
