"""Bars 3 to 5: how well the machine is used, how time and memory grow, what a GPU gives.

    python -m benchmarks.speed memory --size 64 --batch 64       # the peak memory of a training step, as JSON
    python -m benchmarks.speed rate --seconds 8 --out file       # images a second, under `accelerate launch`, as JSON
"""
import argparse
import bisect
import contextlib
import copy
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from accelerate import PartialState
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import SHIPPED, at_least, at_most, draw, note, recipe, unjudged, verdict
from helpers import env, scenes
from tools.models import train
from helpers.checkpoints import load_sampler
from helpers.guidance import as_x0
from helpers.train import diffusion_loss, ema_update, fit
from helpers.unet import UNet

WARM = 3                                          # steps that prepare: memory, kernels
GROUPS = {                                        # ours -> words in torch's names of what is done; the first that fits
    "convolution": ("conv",),
    "attention": ("scaled_dot_product", "flash_attention"),
    "linear layers": ("addmm", "mm", "bmm", "linear"),
    "normalisation": ("group_norm", "groupnorm"),
    "activation": ("silu",),
    "optimiser": ("adamw",),
    "running average": ("lerp",),
    "noise and batch": ("normal_", "random", "randint", "stack", "dataloader"),
    "gradient clipping": ("norm", "foreach_mul"),
    "joining and resizing": ("cat", "upsample", "shuffle"),
    "copies and sums": ("copy", "clone", "contiguous", "add", "mul", "sum", "sub", "mse"),
}


# ---- bar 3: use of the machine

def quiet_fit(*args, **options):
    """helpers.train.fit without its progress bar: many short runs would fill the page."""
    with contextlib.redirect_stderr(io.StringIO()):
        return fit(*args, **options)


def step_seconds(model, pictures, loss, batch, lr, **length):
    """How long each step of helpers.train.fit takes, all that it does included, the first few left out."""
    stamps = []
    stamp = lambda *_: stamps.append(time.perf_counter())
    quiet_fit(model, pictures, loss, batch_size=batch, lr=lr, watch=stamp, **length)
    if not PartialState().is_main_process:                     # only the first of several processes watches
        return []
    if len(stamps) < 2:
        raise ValueError(f"{len(stamps)} training steps in {length} are too few to time: choose a longer span.")
    stamps = stamps[min(WARM, len(stamps) - 2):]
    return [b - a for a, b in zip(stamps, stamps[1:])]


def matmul_rate(seconds, sizes=(512, 768, 1024, 1536, 2048), dtype=torch.float32, device="cpu"):
    """The best rate over square sizes at which torch multiplies matrices: (FLOP a second, size)."""
    rates = {}
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        out, wait = torch.empty_like(a), torch.cuda.synchronize if a.is_cuda else lambda: None
        torch.mm(a, b, out=out), wait()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / len(sizes):
            for _ in range(8 if a.is_cuda else 1):             # a GPU is told ahead of time
                torch.mm(a, b, out=out)
                count += 1
            wait()
        rates[n] = 2 * n**3 * count / (time.perf_counter() - start)
    best = max(rates, key=rates.get)
    return rates[best], best


def step_flops(model, pictures, loss, batch, lr):
    """FLOPs by torch's counter, which knows products of matrices, convolutions and attention.

    (of one step of fit, of its forward and backward pass alone, {operation: FLOPs of a step})
    """
    with FlopCounterMode(display=False) as counter:
        quiet_fit(model, pictures, loss, steps=2, batch_size=batch, lr=lr)
    with FlopCounterMode(display=False) as passes:
        loss(model, pictures[:batch]).backward()
    model.zero_grad()
    parts = {str(op).removeprefix("aten."): flops // 2 for op, flops in counter.get_flop_counts()["Global"].items()}
    return counter.get_total_flops() // 2, passes.get_total_flops(), parts


def group(name):
    """To which of GROUPS an operation of torch belongs, by its name; "the rest" to none."""
    words = name.lower().removeprefix("aten::")
    whole = lambda part: words.strip("_") == part or words.startswith(f"{part}backward")
    for title, parts in GROUPS.items():
        if any(whole(part) if title == "linear layers" else part in words for part in parts):
            return title
    return "the rest"


def profile(model, pictures, loss, batch, lr, steps=6):
    """Where the time of training goes: {group of operations: share of the time}, largest first."""
    quiet_fit(model, pictures, loss, steps=WARM, batch_size=batch, lr=lr)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        quiet_fit(model, pictures, loss, steps=steps, batch_size=batch, lr=lr)
    total = Counter()
    for event in seen.events():
        above = event
        while above and not above.name.startswith("Optimizer."):
            above = above.cpu_parent                           # what the optimiser multiplies is its own time
        total["optimiser" if above else group(event.name)] += event.self_cpu_time_total
    whole = sum(total.values())
    return {name: value / whole for name, value in total.most_common()}


def use_of_the_machine(s, _=None):
    """Bar 3: the rate of a training step against that of matrix multiplication, in turn on the same cores."""
    about = dict(name="use_of_the_machine", number=3, title="Use of the machine",
                 bar="a training step runs at 60 % of the rate of matrix multiplication or more")
    if torch.accelerator.is_available():
        return about | dict(passed=None, why="fit trains on the GPU here: bar 5", checks=[], rows=[], says=[])
    o = train.options([])
    model, _, loss = recipe(o)
    pictures = scenes.craters(512, o.size).images
    flops, passes, parts = step_flops(model, pictures, loss, o.batch, o.lr)
    rounds = []
    for _ in range(s.rounds):
        best, n = matmul_rate(s.step_seconds / 4)
        steps = step_seconds(model, pictures, loss, o.batch, o.lr, minutes=s.step_seconds / 60)
        rounds.append(dict(matmul=best, matmul_size=n, step=flops / statistics.mean(steps), steps=len(steps),
                           images_per_second=o.batch / statistics.mean(steps)))
        rounds[-1]["ratio"] = rounds[-1]["step"] / best
        note(f"matrices {best / 1e9:.0f} GFLOP/s, training step {rounds[-1]['step'] / 1e9:.0f} GFLOP/s")
    shares = profile(model, pictures, loss, o.batch, o.lr)
    middle = lambda key: statistics.median(r[key] for r in rounds)
    convolutions = sum(f for op, f in parts.items() if "conv" in op)
    within = convolutions / flops * middle("step") / shares["convolution"]
    checks = [at_least("of the rate of matrix multiplication reaches a training step", middle("ratio"), 0.60,
                       interval=[min(r["ratio"] for r in rounds), max(r["ratio"] for r in rounds)])]
    rows = [{"part of a step": name, "share of its time": share} for name, share in shares.items() if share >= 0.005]
    return about | dict(
        passed=verdict(checks), checks=checks, rows=rows,
        says=[f"{middle('step') / 1e9:.0f} of {middle('matmul') / 1e9:.0f} GFLOP/s (float32, "
              f"{torch.get_num_threads()} threads, median of {len(rounds)} rounds; in brackets their range), "
              f"{middle('images_per_second'):.0f} images/s, {flops / 1e9:.2f} GFLOP a step of {o.batch}, "
              f"{passes / flops:.1%} of them in the forward and backward pass.",
              f"The convolutions alone reach {within / middle('matmul'):.0%} of the matrix rate; the aim is "
              "75 % for the whole step."],
        flops_per_step=flops, flops_of_passes=passes, flops_by_operation=parts, batch=o.batch, rounds=rounds,
        profile=shares, convolution_rate=within)


# ---- bar 4: growth

def peak_memory():
    """The most memory this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():                                        # getrusage would count what the parent held
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def saved_bytes(model, loss, x0):
    """How many bytes a forward pass keeps for the backward pass, parameters not counted."""
    known, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)          # held, or its address would be given away
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(model, x0)
    return sum(size for size, _ in kept.values())


def memory_child(size, batch):
    """Run in a process of its own: {peak, saved} of a training step of so many pictures, in bytes."""
    o = train.options([])
    model, _, loss = recipe(o)
    pictures = scenes.craters(32, size).images.repeat(-(-batch // 32), 1, 1, 1)[:batch]
    saved = saved_bytes(model.to(memory_format=torch.channels_last), loss, pictures[:8]) / 8
    quiet_fit(model, pictures, loss, steps=2, batch_size=batch, lr=o.lr)
    return dict(peak=peak_memory(), saved_per_image=saved)


def child(*arguments, threads=None, processes=0):
    """What `python -m benchmarks.speed …` writes, by itself or under accelerate launch with so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        launch = ["-m", "accelerate.commands.accelerate_cli", "launch", *(["--multi_gpu"] if processes > 1 else []),
                  "--num_processes", str(processes), *"--num_machines 1 --mixed_precision no --dynamo_backend no "
                  "--main_process_port 0".split()] if processes else []
        environment = os.environ | {"PYTHONPATH": str(env.ROOT), "CUDA_VISIBLE_DEVICES": ""}
        environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        end = subprocess.run([sys.executable, *launch, "-m", "benchmarks.speed", *arguments, "--out", str(out)],
                             cwd=env.ROOT, env=environment, capture_output=True, text=True)
        if end.returncode or not out.exists():
            raise RuntimeError(f"`benchmarks.speed {' '.join(arguments)}` ended with code {end.returncode}:\n"
                               f"{end.stderr[-2000:]}")
        return json.loads(out.read_text())


def rate_child(seconds):
    """Run in each process under accelerate launch: {processes, images_per_second, threads} of helpers.train.fit."""
    o = train.options([])
    model, _, loss = recipe(o)
    steps = step_seconds(model, scenes.craters(512, o.size).images, loss, o.batch, o.lr, minutes=seconds / 60)
    state = PartialState()
    found = dict(processes=state.num_processes, threads=torch.get_num_threads(), steps=len(steps),
                 images_per_second=o.batch * state.num_processes / statistics.mean(steps)) if steps else None
    main = state.is_main_process
    state.destroy_process_group()
    return found if main else None


def growth_checks(sizes, seconds, memory, processes):
    """The checks of bar 4: seconds and memory per image by size; the ratio of two processes to one, or None."""
    def worst(values):                                         # over all pairs: how much faster than the pixels
        return max(values[b] / values[a] / (b / a) ** 2 for a in sizes for b in sizes if a < b)

    checks = [at_most("growth of time per image, as a multiple of the growth of its pixels (worst pair of sizes)",
                      worst(seconds), 1.1),
              at_most("growth of memory per image, as a multiple of the growth of its pixels (worst pair of sizes)",
                      worst(memory), 1.1)]
    two = at_least("times as many images a second train two processes as one, each with one thread", processes, 1.7)
    return [*checks, two if processes else unjudged(two, "there is only one core")]


def growth(s, _=None):
    """Bar 4: time and memory of a training step per image at 32, 64 and 128 pixels; two processes against one."""
    o, sizes = train.options([]), (32, 64, 128)
    model, _, loss = recipe(o)
    pictures, times = {n: scenes.craters(64, n).images for n in sizes}, {n: [] for n in sizes}
    for _ in range(s.rounds):
        for n in sizes:
            steps = step_seconds(model, pictures[n], loss, o.batch, o.lr, steps=WARM + 1 + s.steps * sizes[0] // n)
            times[n].append(statistics.mean(steps) / o.batch)
    seconds = {n: statistics.median(times[n]) for n in sizes}

    batches, peaks, memory = {n: tuple(b * 4096 // n**2 for b in s.memory_batches) for n in sizes}, {}, {}
    for n in sizes:                                            # of two batches, so that what does not grow cancels out
        peaks[n] = [[child("memory", "--size", str(n), "--batch", str(b)) for _ in range(s.launches)]
                    for b in batches[n]]
        low, high = (statistics.median(run["peak"] for run in runs) for runs in peaks[n])
        memory[n] = (high - low) / (batches[n][1] - batches[n][0])
        note(f"{n}×{n}: {1e3 * seconds[n]:.2f} ms an image, peak {low / 2**20:.0f} and {high / 2**20:.0f} MiB with "
             f"batches of {batches[n][0]} and {batches[n][1]}")

    launched = []
    for _ in range(s.launches if (os.cpu_count() or 1) > 1 else 0):
        one, two = (child("rate", "--seconds", str(s.step_seconds), threads=1, processes=k) for k in (1, 2))
        launched.append(dict(one=one["images_per_second"], two=two["images_per_second"], processes=two["processes"]))
        note(f"one process {one['images_per_second']:.0f} images/s, two {two['images_per_second']:.0f}")
    ratios = [r["two"] / r["one"] for r in launched]
    checks = growth_checks(sizes, seconds, memory, statistics.median(ratios) if ratios else None)
    if ratios:
        checks[-1]["interval"] = [min(ratios), max(ratios)]
    growth_of = lambda values, n: values[n] / values[sizes[0]] / (n / sizes[0]) ** 2
    rows = [{"size": f"{n}×{n}", "ms an image": 1e3 * seconds[n], "time / pixels": growth_of(seconds, n),
             "MiB an image": memory[n] / 2**20, "memory / pixels": growth_of(memory, n),
             "kept for backward, MiB": peaks[n][0][0]["saved_per_image"] / 2**20} for n in sizes]
    return dict(name="growth", number=4, title="Growth",
                bar="time and memory per image grow at most 1.1 times as fast as the pixels from 32 to 128; two "
                    "processes train 1.7 times as many images a second as one",
                passed=verdict(checks), checks=checks, rows=rows,
                says=["Memory is the growth of a process's peak (median of the launches) with the batch, divided by "
                      "the pictures more; `kept for backward` is what autograd saves. Beside the pixels: 1 at 32×32, "
                      "at most 1.1 elsewhere."],
                seconds=times, batches=batches, peaks=peaks, launches=launched)


# ---- bar 5: a GPU

def training_step(model, loss, x0, device, precision, compiled=False):
    """A function that does one whole training step on pictures x0: mixed precision, clipping, AdamW, running average.

    The optimiser is AdamW for ours and the peer's network alike: it is the networks that are compared.
    """
    net = model.to(device, memory_format=torch.channels_last).train()
    average = AveragedModel(net, multi_avg_fn=ema_update(0.999), use_buffers=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    called = torch.compile(net) if compiled else net
    scaler = torch.amp.GradScaler(device, enabled=precision == torch.float16)

    def step():
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            value = loss(called, x0)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        average.update_parameters(net)
    return step


def images_a_second(step, batch, seconds, device):
    """How many images step() trains a second, its first calls left out."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(WARM):
        step()
    wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step(), wait()
        count += 1
    return batch * count / (time.perf_counter() - start)


class Plain(torch.nn.Module):
    """diffusers' UNet2DModel, called as ours is: (x, t) -> tensor; its t counts from 0."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t):
        return self.net(x, t - 1).sample


def peer_network(w):
    """A UNet2DModel of the customary shape, w, 2w, 2w and 4w channels wide."""
    from diffusers import UNet2DModel
    return UNet2DModel(sample_size=64, in_channels=1, out_channels=1, layers_per_block=2, norm_num_groups=4,
                       block_out_channels=(w, 2 * w, 2 * w, 4 * w),
                       down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
                       up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))


def peer_width(parameters):
    """The w whose network has the nearest number of parameters."""
    def count(w):
        with torch.device("meta"):
            return sum(p.numel() for p in peer_network(w).parameters())

    widths = range(4, 257, 4)
    above = min(bisect.bisect_left(widths, parameters, key=count), len(widths) - 1)
    return min(widths[max(0, above - 1):above + 1], key=lambda w: abs(count(w) - parameters))


def compare_networks(device, precision, matmul, seconds, widths, batches=(64, 256, 1024)):
    """Images a second of ours and of a diffusers network of as many parameters, each at its best batch: a row each.

    The best batch is tried compiled, too.
    """
    o, rows = train.options([]), []
    torch.manual_seed(0)
    schedule = recipe(o)[1]
    loss = lambda model, x0: diffusion_loss(model, schedule, x0, o.target)
    mine = lambda: UNet(o.channels, o.channels, widths, o.patch)
    parameters = sum(p.numel() for p in mine().parameters())
    w = peer_width(parameters)
    theirs, their_widths = lambda: Plain(peer_network(w)), (w, 2 * w, 2 * w, 4 * w)

    def rate(name, make, batch, compiled):
        x0 = scenes.craters(min(batch, 256), o.size).images.repeat(-(-batch // 256), 1, 1, 1)[:batch].to(device)
        torch.compiler.reset()                                 # else each network counts as one more form of the last
        step = training_step(make(), loss, x0, device, precision, compiled)
        found = images_a_second(step, batch, seconds, device)
        note(f"{name}, batch {batch}{', compiled' if compiled else ''}: {found:.0f} images/s")
        return dict(batch=batch, compiled=compiled, images_per_second=found)

    by_rate = lambda row: row["images_per_second"]
    for name, make, shape in (("ours", mine, widths), ("diffusers", theirs, their_widths)):
        tried = []
        for batch in batches:
            try:
                tried.append(rate(name, make, batch, compiled=False))
            except torch.OutOfMemoryError:
                note(f"{name}: a batch of {batch} does not fit")
        tried.append(rate(name, make, max(tried, key=by_rate)["batch"], compiled=True))
        best = max(tried, key=by_rate)
        with FlopCounterMode(display=False) as counter:
            training_step(make(), loss, scenes.craters(8, o.size).images.to(device), device, precision)()
        net = make()
        rows.append(dict(network=name, widths=list(shape),
                         parameters=sum(p.numel() for p in net.parameters()), **best,
                         flops_per_image=counter.get_total_flops() / 8, tried=tried,
                         of_matmul=counter.get_total_flops() / 8 * best["images_per_second"] / matmul))
    return rows


def time_to_shipped(minutes, measure, samples, evaluations=50):
    """Our default, trained by fit on the fastest device: (seconds until it samples as well as the shipped weights or
    None, [(seconds, KID)], the KID of the shipped weights)."""
    o = train.options([])
    model, schedule, loss = recipe(o)
    pictures, kept, moments = scenes.craters(o.examples, o.size, o.seed).images, [], [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    def watch(done, average, losses):
        if moments and done >= moments[0]:
            kept.append((60 * minutes * moments.pop(0), copy.deepcopy(average).cpu().eval()))

    quiet_fit(model, pictures, loss, minutes=minutes, batch_size=o.batch, lr=o.lr, seed=o.seed, watch=watch)
    x0_model, its_schedule, _ = load_sampler(SHIPPED)
    shipped = measure(draw(x0_model, its_schedule, samples, evaluations))
    curve = [dict(seconds=moment, **measure(draw(as_x0(net, schedule, o.target), schedule, samples, evaluations)))
             for moment, net in kept]
    return next((p["seconds"] for p in curve if p["kid"] <= shipped["kid"]), None), curve, shipped


def gpu(s, measure):
    """Bar 5: bf16 (fp16 on older cards), channels_last, compiled where it pays; against diffusers and matrices."""
    about = dict(name="gpu", number=5, title="GPU",
                 bar="trains more images a second than a diffusers network of as many parameters")
    if not torch.cuda.is_available():
        return about | dict(passed=None, why="no GPU", checks=[], rows=[], says=[])
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    precision, word = (torch.bfloat16, "bf16") if bf16 else (torch.float16, "fp16")
    matmul, n = matmul_rate(5, (2048, 4096, 8192), precision, "cuda")
    note(f"matrices: {matmul / 1e12:.0f} TFLOP/s in {word}")
    tables = [compare_networks("cuda", precision, matmul, s.step_seconds / 4, widths)
              for widths in (tuple(train.options([]).widths), (64, 128, 256))]       # the default, and 03's on a GPU
    seconds, curve, shipped = time_to_shipped(s.seconds / 60, measure, s.duel_samples)
    checks = [at_least(f"times as many images a second as diffusers, widths {'-'.join(map(str, mine['widths']))} "
                       f"({mine['parameters']:,} and {other['parameters']:,} parameters)",
                       mine["images_per_second"] / other["images_per_second"], 1) for mine, other in tables]
    rows = [{"network": r["network"], "widths": "-".join(map(str, r["widths"])), "parameters": r["parameters"],
             "batch": r["batch"], "compiled": "yes" if r["compiled"] else "no", "images/s": r["images_per_second"],
             f"of the {word} matrix rate": r["of_matmul"]} for table in tables for r in table]
    end = f"after {seconds:.0f} s" if seconds else f"not within {s.seconds:.0f} s"
    return about | dict(passed=verdict(checks), checks=checks, rows=rows, networks=tables, precision=word,
                        matmul=matmul, matmul_size=n, curve=curve, shipped=shipped, seconds_to_shipped=seconds,
                        says=[f"Matrices: {matmul / 1e12:.0f} TFLOP/s in {word}, {n}×{n}.",
                              f"Our default trained here is as good as the shipped weights {end} (KID "
                              f"{curve[-1]['kid']:.3f} at the end, shipped {shipped['kid']:.3f})."])


def main(arguments=None):
    """What a child process runs: see the top."""
    parser = argparse.ArgumentParser("benchmarks.speed")
    parser.add_argument("what", choices=("memory", "rate"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--out", type=Path)
    o = parser.parse_args(arguments)
    found = memory_child(o.size, o.batch) if o.what == "memory" else rate_child(o.seconds)
    if found:
        o.out.write_text(json.dumps(found)) if o.out else print(json.dumps(found))


if __name__ == "__main__":
    main()
