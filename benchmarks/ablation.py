"""What each choice of the recipe is worth: the same budget for every row.

    python -m benchmarks.ablation                                # one change a row, 2 minutes each, and the table
    python -m benchmarks.ablation --added                        # from AdamW and eps to the default, one choice a row
    python -m benchmarks.ablation --rows AdamW "batch 8" --seconds 300 --seeds 0 1       # some rows, longer, two seeds
    python -m benchmarks.ablation --table                        # the table in README.md from what is stored

Each row is helpers.train.fit with options, on one core, for as many steps as that core does in the time: first the time
of a step is taken by the process's own clock, so that neighbours do not count. Two rows run side by side. Results land
in benchmarks/results/ablation.json, row by row.
"""
import argparse
import contextlib
import io
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from benchmarks.common import Measure, draw, fill, machine, read, results_path, versions, write_result
from helpers import scenes
from helpers.guidance import as_x0
from helpers.optim import Muon
from helpers.schedule import BETAS, Schedule
from helpers.train import fit
from helpers.unet import UNet

BASE = dict(widths=(16, 24, 32, 48), patch=1, attend=True, target="v", schedule="cosine", T=1024, weighting=None,
            times="uniform", edm=False, immiscible=False, optimizer="Muon", lr=4e-3, batch=16, ema=0.999,
            shape="cosine", rise=0, bf16=False)
ROWS = {                                                       # name -> what it changes in the base
    "base": {},
    "widths (16, 32, 48)": dict(widths=(16, 32, 48)),
    "widths (24, 32, 48, 64)": dict(widths=(24, 32, 48, 64)),
    "patch 2, (24, 48, 64)": dict(patch=2, widths=(24, 48, 64)),
    "patch 2, (32, 64, 96)": dict(patch=2, widths=(32, 64, 96)),
    "patch 4, (64, 128)": dict(patch=4, widths=(64, 128)),
    "no attention": dict(attend=False),
    "predict eps": dict(target="eps"),
    "predict x0": dict(target="x0"),
    "linear schedule": dict(schedule="linear"),
    "min-SNR weighting, gamma 5": dict(weighting="min-snr"),
    "stratified t": dict(times="stratified"),
    "logit-normal t": dict(times="logit-normal"),
    "EDM preconditioning": dict(edm=True),
    "immiscible noise": dict(immiscible=True),
    "AdamW": dict(optimizer="AdamW"),
    "no EMA": dict(ema=0.0),
    "EMA 0.95": dict(ema=0.95),
    "batch 4": dict(batch=4),
    "batch 8": dict(batch=8),
    "batch 32": dict(batch=32),
    "lr 2e-3": dict(lr=2e-3),
    "lr 8e-3": dict(lr=8e-3),
    "constant lr": dict(shape="constant"),
    "linear fall of lr": dict(shape="linear"),
    "short rise of lr": dict(rise=20),
    "batch 8, short rise of lr": dict(batch=8, rise=20),
    "batch 4, short rise of lr": dict(batch=4, rise=20),
    "batch 8, short rise to 6e-3": dict(batch=8, rise=20, lr=6e-3),
    "batch 8, short rise to 8e-3": dict(batch=8, rise=20, lr=8e-3),
    "bf16 autocast": dict(bf16=True),
}
CHOSEN = "batch 8, short rise to 6e-3"            # the default of tools.models.train: the base with this change
ADDED = {                                                      # name -> what it adds to the row before it
    "AdamW and eps": dict(optimizer="AdamW", target="eps", ema=0.0, shape="constant", rise=20, lr=1e-3),
    "+ EMA": dict(ema=0.999),
    "+ learning-rate decay": dict(shape="cosine"),
    "+ v": dict(target="v"),
    "+ Muon": dict(optimizer="Muon", lr=6e-3),                 # each optimiser with a learning rate that suits it
    "+ batch size": dict(batch=8),
}
NO_LONGER = {"no clipping", "not channels_last"}   # stored rows of an earlier loop: fit has no options for these
choices = {}
for name, change in ADDED.items():
    choices = choices | change
    ROWS[name] = choices
SIGMA_DATA = 0.25                                 # the images' standard deviation, for EDM
WARM, TIMED = 3, 12                               # steps that are left out, and steps that are timed


def rate_rule(shape, rise):
    """A learning-rate rule for fit: a linear rise over 100 steps, or 1 / rise of the run if shorter, then the shape."""
    def rate(done, step, lr):
        fall = {"cosine": (1 + math.cos(math.pi * min(done, 1))) / 2, "constant": 1, "linear": 1 - done}[shape]
        return lr * min(1, max((step + 1) / 100, rise * done)) * fall
    return rate


def edm(net, xt, a):
    """x0_hat by the preconditioning of Karras et al. 2022, table 1, from the x_t of our schedule; a broadcasts."""
    sigma = ((1 - a) / a).sqrt()
    total = (sigma**2 + SIGMA_DATA**2).sqrt()
    out = net(xt / a.sqrt() / total, 250 * sigma.log().flatten() / 4)          # our time embedding wants hundreds
    return SIGMA_DATA**2 / total**2 * xt / a.sqrt() + sigma * SIGMA_DATA / total * out.float()


def edm_loss(net, x0):
    """The loss of a batch by Karras et al. 2022, table 1, with log sigma ~ N(-1.2, 1.2): a scalar."""
    sigma = (1.2 * torch.randn(len(x0), 1, 1, 1) - 1.2).exp()
    a = 1 / (1 + sigma**2)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0)
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    return (weight * (edm(net, xt, a) - x0) ** 2).mean()


def loss_of(net, schedule, x0, o):
    """The loss of a batch under the choices o: a scalar; with those of the base, helpers.train.diffusion_loss."""
    if o["edm"]:
        return edm_loss(net, x0)
    count, T = len(x0), schedule.T
    if o["times"] == "uniform":
        t = torch.randint(1, T + 1, (count,))
    elif o["times"] == "stratified":                           # one t from each of B equal parts of 1 ... T
        t = ((torch.arange(count) + torch.rand(count)) / count * T).long().clamp(max=T - 1) + 1
    else:                                                      # Esser et al. 2024, section 3.1
        t = (torch.randn(count).sigmoid() * T).long().clamp(max=T - 1) + 1
    eps = torch.randn_like(x0)
    if o["immiscible"]:                                        # each image takes noise that lies near (Li 2024)
        eps = eps[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)).numpy())[1]]
    wanted = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[o["target"]]
    with torch.autocast("cpu", torch.bfloat16, enabled=o["bf16"]):
        out = net(schedule.q_sample(x0, t, eps), t).float()
    if o["weighting"] is None:
        return F.mse_loss(out, wanted)
    snr = schedule.snr()[t].float()                            # min(SNR, 5) on x0, in terms of v (Hang et al. 2023)
    scale = {"v": snr + 1, "eps": snr, "x0": torch.ones_like(snr)}[o["target"]]
    return ((snr.clamp(max=5) / scale)[:, None, None, None] * (out - wanted) ** 2).mean()


def train(images, o, seed, steps, watch=None):
    """fit with the choices o: (x0_model, schedule, network, losses)."""
    torch.manual_seed(seed)
    schedule = Schedule(BETAS[o["schedule"]](o["T"]))
    net = UNet(1, 1, o["widths"], o["patch"], o["attend"])
    average, losses = fit(net, images, lambda net, x0: loss_of(net, schedule, x0, o), steps, batch_size=o["batch"],
                          lr=o["lr"], ema=o["ema"], seed=seed, watch=watch, rate=rate_rule(o["shape"], o["rise"]),
                          optimizer={"Muon": Muon, "AdamW": torch.optim.AdamW}[o["optimizer"]])
    x0_model = as_x0(average, schedule, o["target"])
    if o["edm"]:
        x0_model = lambda xt, t: edm(average, xt, schedule.at(t, xt).clamp(min=1e-4))
    return x0_model, schedule, average, losses


def step_seconds(images, o):
    """How much of this core's own time a step takes."""
    stamps = []
    train(images, o, 0, WARM + TIMED, watch=lambda *_: stamps.append(time.process_time()))
    return (stamps[-1] - stamps[WARM - 1]) / TIMED


def measured(name, seed, seconds):
    """Train one row and measure 256 of its samples, made in 15 evaluations: its entry in the results."""
    o = BASE | ROWS[name]
    images = scenes.craters(8000).images
    with contextlib.redirect_stderr(io.StringIO()):            # no progress bars
        steps = max(1, round(seconds / step_seconds(images, o)))
        x0_model, schedule, _, losses = train(images, o, seed, steps)
    return dict(row=name, seed=seed, seconds=seconds, processor=machine()["processor"], steps=len(losses),
                changed=ROWS[name], **Measure()(draw(x0_model, schedule, 256, 15)))


def run(jobs):
    """Each job (name, seed, seconds) in a process of its own with one thread, two at a time; stored as they come."""
    def alone(job):
        command = [sys.executable, "-m", "benchmarks.ablation", "--one", json.dumps(job)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the row {job} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(2) as pool:
        for entry in pool.map(alone, jobs):
            store(entry)
            print(f"{entry['row']}, seed {entry['seed']}: KID {entry['kid']:.3f}, {entry['steps']} steps", flush=True)


def stored():
    """The rows measured so far."""
    return (read("ablation") or {"rows": []})["rows"]


def store(entry):
    """Put an entry among the stored rows, in the place of one of the same row, seed, time and processor."""
    key = ("row", "seed", "seconds", "processor")
    rows = [e for e in stored() if any(e[k] != entry[k] for k in key)] + [entry]
    write_result(results_path("ablation"), dict(name="ablation", base=BASE, rows=rows, versions=versions(),
                                                date=time.strftime("%Y-%m-%d")))


def table(rows):
    """The rows as Markdown, best first; each budget and kind of processor, which decides the steps, for itself."""
    lines = []
    for seconds, processor in sorted({(e["seconds"], e["processor"]) for e in rows}):
        lines += [f"\n{seconds / 60:g} minutes on one core of {processor}:\n",
                  "| change | seed | steps | KID | 95 % interval | craters an image |", "|---|---|---|---|---|---|"]
        alike = [e for e in rows if (e["seconds"], e["processor"]) == (seconds, processor)]
        for e in sorted(alike, key=lambda e: e["kid"]):
            low, high = e["interval"]
            lines.append(f"| {e['row']} | {e['seed']} | {e['steps']:,} | {e['kid']:.3f} | {low:.3f} to {high:.3f} | "
                         f"{e['craters']:.1f} |")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """As the command line says."""
    parser = argparse.ArgumentParser("benchmarks.ablation")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=[n for n in ROWS if n not in ADDED])
    parser.add_argument("--added", action="store_true", help="in place of --rows: from AdamW and eps to the default")
    parser.add_argument("--seconds", type=float, default=120, help="of training, for each row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table", action="store_true", help="write the table, run nothing")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    o = parser.parse_args(arguments)
    if o.one:
        print(json.dumps(measured(*o.one)))
        return
    if not o.table:
        run([(name, seed, o.seconds) for name in (ADDED if o.added else o.rows) for seed in o.seeds])
    fill("ablation", table(stored()))


if __name__ == "__main__":
    main()
