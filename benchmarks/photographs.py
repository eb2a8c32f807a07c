"""Bar 7: ninety-eight real photographs, the hardest test.  COURSE_DATA names the folder that holds `craters_98`.

Eighty photographs are for training, eighteen are held out. Both are seen through windows: squares cut at random places,
from a third of the photograph to all of it, and scaled to 64 pixels. Two networks train for the same time on windows of
the eighty: one from scratch, one from the shipped weights of rendered ground. What is made from these photographs stays
in a temporary folder and in `build/`.
"""
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import at_least, at_most, draw, interval, note, verdict
from helpers import env, plot
from helpers import run as training
from helpers.data import load_images, random_crops
from helpers.splits import split
from helpers.features import FeatureNet, features, find_craters
from helpers.metrics import kid, nearest
from helpers.checkpoints import load_sampler, load_weights, write_safetensors

START = env.WEIGHTS / "ground64.safetensors"
GENTLY = 3e-3                                     # highest learning rate, so that the start is not forgotten at once
WINDOWS, REFERENCE = 50, 30                       # of each photograph: for training; of the held-out, to compare


def cut(photographs, each, seed):
    """each windows of every photograph (N, 1, H, H): (N * each, 1, 64, 64), every other one upside down.

    Light comes from the left in most of them and does so upside down as well; left and right, or quarter turns, would
    change where it comes from.
    """
    found = random_crops(photographs, each, 64, seed)
    found[1::2] = found[1::2].flip(2)
    return found


def labels(folder, names):
    """The craters of each photograph by YOLO's labels: a list of (k, 4) column, row, width, height, from 0 to 1."""
    def boxes(path):
        return [[float(word) for word in line.split()[1:5]] for line in path.read_text().splitlines() if line.strip()]
    return [torch.tensor(boxes((folder / Path(name).name).with_suffix(".txt"))).reshape(-1, 4) for name in names]


def detector(feature_net, photographs, truth, least=2.5):
    """How FeatureNet, which only ever saw rendered craters, does on photographs (N, 1, 64, 64): precision and recall.

    A find counts within 0.6 radii of a labelled crater's middle; craters of a radius under `least` are not asked for.
    """
    right = finds = met = asked = 0
    for (centres, _), boxes in zip(find_craters(feature_net, photographs), truth):
        middle, radius = boxes[:, :2] * 64 - 0.5, boxes[:, 2:].mean(1) * 32
        near = torch.cdist(centres, middle) < 0.6 * radius.clamp(min=3)
        large = radius >= least
        finds, right = finds + len(centres), right + near.any(1).sum().item()
        asked, met = asked + large.sum().item(), met + (near.any(0) & large).sum().item()
    return dict(precision=right / max(1, finds), recall=met / max(1, asked))


def fires(feature_net, pictures):
    """The part of the pictures in which at least one crater is found."""
    return sum(len(radii) > 0 for _, radii in find_craters(feature_net, pictures)) / len(pictures)


def trained(pool, minutes, start, folder):
    """tools.models.train on the windows, from scratch or from the weights start: (x0_model, schedule, steps)."""
    path, out = Path(folder) / "windows.npz", Path(folder) / "photographs.safetensors"
    np.savez(path, images=((pool + 1) * 127.5).round().byte().numpy()[:, 0])
    begin = ["--start", str(start), "--lr", str(GENTLY)] if start else []
    training.main(["--data", str(path), "--minutes", str(minutes), "--out", str(out), *begin])
    x0_model, schedule, about = load_sampler(out)
    return x0_model, schedule, about["steps"]


def run(settings, minutes=10, samples=256, evaluations=50):
    """Train both, sample both, compare: a result without name and title."""
    root = Path(os.environ["COURSE_DATA"]) / "craters_98"
    photographs, names = load_images(root / "images", 256, names=True)
    feature_net, _ = load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)
    train, held = split(photographs, heldout=18 / len(photographs))
    pool, reference = cut(photographs[train], WINDOWS, seed=1), cut(photographs[held], REFERENCE, seed=2)
    real = features(feature_net, reference)
    small = load_images(root / "images", 64)

    rows, drawn, made = [], {}, {}
    for name, start in {"from scratch": None, "from rendered ground": START}.items():
        note(f"{name}: {minutes:g} minutes of training")
        with tempfile.TemporaryDirectory() as folder:
            x0_model, schedule, steps = trained(pool, minutes, start, folder)
        made[name] = x = draw(x0_model, schedule, samples, evaluations)
        value, drawn[name] = kid(features(feature_net, x), real)
        rows.append(dict(training=name, steps=steps, kid=value, interval=interval(drawn[name]), samples=samples,
                         fires=fires(feature_net, x), nearest=nearest(x, pool)[0].median().item()))
    floor, spread = kid(features(feature_net, pool[::len(pool) // 512]), real)
    for name, x in {"windows of the eighty": pool, "windows of the eighteen": reference}.items():
        distance = nearest(reference, pool)[0].median().item() if x is reference else None
        rows.append(dict(training=name, kid=floor if x is pool else None, samples=len(x), fires=fires(feature_net, x),
                         interval=interval(spread) if x is pool else None, nearest=distance))
    scratch, tuned = rows[0], rows[1]
    write_safetensors(env.ROOT / "build" / "photographs.safetensors", {"samples": made["from rendered ground"]}, {})
    sheet = plot.grid(made["from rendered ground"][:64], "Sixty-four samples after training on eighty photographs.",
                      title="made from noise, after eighty photographs")
    (env.ROOT / "build" / "photographs.png").write_bytes(sheet.png)
    found = detector(feature_net, small, labels(root / "labels", names))
    checks = [
        at_most("KID against windows of the held-out photographs, of from scratch in the same time",
                tuned["kid"] / scratch["kid"], 0.5,
                interval=interval(drawn["from rendered ground"] / drawn["from scratch"])),
        at_least("part of samples in which the detector finds a crater, of that of the photographs' windows",
                 tuned["fires"] / rows[3]["fires"], 0.5),
        at_least("median distance to the nearest training window, of that of held-out windows",
                 tuned["nearest"] / rows[3]["nearest"], 1.0)]
    return dict(bar="half the KID of from scratch; craters in at least half as many; no nearer than held-out ones",
                rows=rows, checks=checks, passed=verdict(checks), detector=found,
                says=[f"The detector on the photographs: precision {found['precision']:.2f}, recall "
                      f"{found['recall']:.2f} of craters of 2.5 pixels and more.",
                      f"{len(reference)} windows held out. The sheet of samples is build/photographs.png."])
