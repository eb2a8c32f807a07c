"""What each choice of the recipe is worth: the same budget for every row, one change a row.

    python -m benchmarks.ablation                              # all rows, 2 minutes each, and the table
    python -m benchmarks.ablation --finalists                  # the few that came out best: 5 minutes, two seeds
    python -m benchmarks.ablation --rows "AdamW" "batch 8"     # some rows again; --seconds 30: in another time
    python -m benchmarks.ablation --table                      # the table in benchmarks/README.md from what is stored

Each row trains on one core, paying with that core's own time: neighbours do not count. Two rows run side by side.
The loop below is that of `helpers.train.fit` with its choices opened up; a test holds the two together, bit for bit.
Results land in benchmarks/results/ablation.json, row by row.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch.optim.swa_utils import AveragedModel

from benchmarks.common import RESULTS, Measure, draw, fill, machine, versions
from helpers import scenes
from helpers.guidance import as_x0
from helpers.schedule import BETAS, Schedule
from helpers.optim import Muon
from helpers.train import ema_update
from helpers.unet import UNet

STORED = RESULTS / "ablation.json"
BASE = dict(widths=(16, 24, 32, 48), patch=1, attend=True, target="v", schedule="cosine", T=1024, weighting=None,
            times="uniform", edm=False, immiscible=False, optimizer="Muon", lr=4e-3, batch=16, ema=0.999,
            shape="cosine", rise=0, channels_last=True, clip=1.0, bf16=False)
ROWS = {                                                       # name -> what it changes
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
    "not channels_last": dict(channels_last=False),
    "no clipping": dict(clip=math.inf),
    "bf16 autocast": dict(bf16=True),
}
CHOSEN = "batch 8, short rise to 6e-3"                # the default of tools.models.train: the base with this change
FINALISTS = ("base", "batch 8", "batch 4", "batch 4, short rise of lr", "batch 8, short rise of lr", CHOSEN,
             "batch 8, short rise to 8e-3")
SIGMA_DATA = 0.25                                              # the pictures' standard deviation, for EDM


def edm(net, xt, a):
    """x0_hat by the preconditioning of Karras et al. 2022, table 1, from the x_t of our schedule; a broadcasts."""
    sigma = ((1 - a) / a).sqrt()
    total = (sigma**2 + SIGMA_DATA**2).sqrt()
    out = net(xt / a.sqrt() / total, 250 * sigma.log().flatten() / 4)          # our time embedding wants hundreds
    return SIGMA_DATA**2 / total**2 * xt / a.sqrt() + sigma * SIGMA_DATA / total * out.float()


def loss_of(net, schedule, x0, o):
    """The loss of one batch under the choices o: a scalar."""
    T = schedule.T
    if o["edm"]:                                               # log sigma ~ N(-1.2, 1.2), Karras et al. 2022, table 1
        sigma = (1.2 * torch.randn(len(x0), 1, 1, 1) - 1.2).exp()
        a = 1 / (1 + sigma**2)
        xt = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0)
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        return (weight * (edm(net, xt, a) - x0) ** 2).mean()
    if o["times"] == "uniform":
        t = torch.randint(1, T + 1, (len(x0),), device=x0.device)
    elif o["times"] == "stratified":                           # one t from each of B equal parts of 1 ... T
        t = ((torch.arange(len(x0)) + torch.rand(len(x0))) / len(x0) * T).long().clamp(max=T - 1) + 1
    else:                                                      # Esser et al. 2024, section 3.1
        t = (torch.randn(len(x0)).sigmoid() * T).long().clamp(max=T - 1) + 1
    eps = torch.randn_like(x0)
    if o["immiscible"]:                                        # each picture takes noise that lies near (Li 2024)
        eps = eps[linear_sum_assignment(torch.cdist(x0.flatten(1), eps.flatten(1)).numpy())[1]]
    wanted = {"eps": eps, "x0": x0, "v": schedule.velocity(x0, t, eps)}[o["target"]]
    with torch.autocast("cpu", torch.bfloat16, enabled=o["bf16"]):
        out = net(schedule.q_sample(x0, t, eps), t).float()
    if o["weighting"] is None:
        return F.mse_loss(out, wanted)
    snr = schedule.snr()[t].float()                            # min(SNR, 5) on x0, in terms of v (Hang et al. 2023)
    scale = {"v": snr + 1, "eps": snr, "x0": torch.ones_like(snr)}[o["target"]]
    return ((snr.clamp(max=5) / scale)[:, None, None, None] * (out - wanted) ** 2).mean()


def train(pictures, o, seed, seconds=None, steps=None):
    """fit's loop with the choices o, for seconds of this core's time or for steps: (running average, losses)."""
    torch.manual_seed(seed)
    schedule = Schedule(BETAS[o["schedule"]](o["T"]))
    net = UNet(1, 1, o["widths"], o["patch"], o["attend"])
    net = net.to(memory_format=torch.channels_last if o["channels_last"] else torch.contiguous_format).train()
    kind = {"Muon": Muon, "AdamW": torch.optim.AdamW}[o["optimizer"]]
    optimizer = kind(net.parameters(), lr=o["lr"], fused=True)
    average = AveragedModel(net, multi_avg_fn=ema_update(o["ema"]), use_buffers=False)
    losses, done, start = [], 0.0, time.process_time()
    while done < 1:
        step = len(losses)
        draw = torch.Generator().manual_seed(zlib.crc32(f"pictures {seed} {step} 0".encode()))
        torch.manual_seed(zlib.crc32(f"noise {seed} {step} 0".encode()))
        fall = {"cosine": (1 + math.cos(math.pi * min(done, 1))) / 2, "constant": 1, "linear": 1 - done}[o["shape"]]
        for group in optimizer.param_groups:                   # rise 20: done after a twentieth of the run
            group["lr"] = o["lr"] * min(1, max((step + 1) / 100, o["rise"] * done)) * fall
        x0 = pictures[torch.randint(len(pictures), (o["batch"],), generator=draw)]
        loss = loss_of(net, schedule, x0, o)
        loss.backward()
        if o["clip"] < math.inf:
            torch.nn.utils.clip_grad_norm_(net.parameters(), o["clip"])
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(net)
        done = len(losses) / steps if steps else (time.process_time() - start) / seconds
    return average.module.eval(), losses


def x0_model(net, schedule, o):
    """The trained network as the samplers want it."""
    if not o["edm"]:
        return as_x0(net, schedule, o["target"])
    return lambda xt, t: edm(net, xt, schedule.at(t, xt).clamp(min=1e-4))


def measured(name, seed, seconds):
    """Train one row and measure 256 of its samples, made in 15 evaluations: its entry in the results."""
    o = BASE | ROWS[name]
    net, losses = train(scenes.craters(8000).images, o, seed, seconds)
    schedule = Schedule(BETAS[o["schedule"]](o["T"]))
    found = Measure()(draw(x0_model(net, schedule, o), schedule, 256, 15))
    return dict(row=name, seed=seed, seconds=seconds, processor=machine()["processor"], steps=len(losses),
                changed=ROWS[name], **found)


def run(jobs):
    """Each job (name, seed, seconds) in a process of its own with one thread, two at a time; stored as they come."""
    def alone(job):
        command = [sys.executable, "-m", "benchmarks.ablation", "--one", *map(str, job)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the row {job} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(2) as pool:
        for entry in pool.map(alone, jobs):
            key = lambda e: (e["row"], e["seed"], e["seconds"], e["processor"])
            rows = [e for e in stored() if key(e) != key(entry)] + [entry]
            STORED.parent.mkdir(exist_ok=True)
            whole = dict(name="ablation", base=BASE, rows=rows, versions=versions(), date=time.strftime("%Y-%m-%d"))
            STORED.write_text(json.dumps(whole, indent=1) + "\n")
            print(f"{entry['row']}, seed {entry['seed']}: KID {entry['kid']:.3f}, {entry['steps']} steps", flush=True)


def stored():
    """The rows measured so far."""
    return json.loads(STORED.read_text())["rows"] if STORED.exists() else []


def table(rows):
    """The rows as Markdown, best first; each budget and kind of processor, which decides the steps, for itself."""
    lines, budget = [], lambda e: (e["seconds"], e["processor"])
    for seconds, processor in sorted({budget(e) for e in rows}):
        lines += [f"\n{seconds / 60:g} minutes on one core of {processor}:\n",
                  "| change | seed | steps | KID | 95 % interval | craters a picture |", "|---|---|---|---|---|---|"]
        for e in sorted((e for e in rows if budget(e) == (seconds, processor)), key=lambda e: e["kid"]):
            low, high = e["interval"]
            lines.append(f"| {e['row']} | {e['seed']} | {e['steps']:,} | {e['kid']:.3f} | {low:.3f} to {high:.3f} | "
                         f"{e['craters']:.1f} |")
    return "\n".join(lines) + "\n"


def main():
    """As the command line says."""
    parser = argparse.ArgumentParser("benchmarks.ablation")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS))
    parser.add_argument("--seconds", type=float, default=120, help="of training, for each row")
    parser.add_argument("--finalists", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("ROW", "SEED", "SECONDS"))
    o = parser.parse_args()
    if o.one:
        print(json.dumps(measured(o.one[0], int(o.one[1]), float(o.one[2]))))
        return
    if not o.table:
        run([(name, seed, 300.0) for name in FINALISTS if name in o.rows for seed in (0, 1)]
            if o.finalists else [(name, 0, o.seconds) for name in o.rows])
    fill("ablation", table(stored()))


if __name__ == "__main__":
    main()
