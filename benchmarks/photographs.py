"""photographs: ninety-eight real ones, the hardest test.  COURSE_DATA names the folder that holds `craters_98`.

Eighty photographs are for training, eighteen are held out. Both are seen through random crops, from a third of the
photograph to all of it, scaled to 64 pixels. Two networks train for the same time on crops of the eighty: one from
scratch, one from the shipped weights of rendered ground. Samples stay in `build/`, the rest in a temporary folder.
"""
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import at_least, at_most, between, draw, note, verdict, write_file
from helpers import env, plot
from helpers.checkpoints import load_sampler, load_weights
from helpers.data import load_images, random_crops
from helpers.features import FeatureNet, features, find_craters
from helpers.metrics import kid, nearest
from helpers.splits import split
from tools.models import train

START = env.WEIGHTS / "ground64.safetensors"
GENTLY = 3e-3                                     # highest learning rate, so that the start is not forgotten at once
CROPS, REFERENCE = 50, 30                         # of each photograph: for training; of the held-out, to compare
MINUTES, SAMPLES, EVALUATIONS = 10, 256, 50


def cut(photographs, each, seed):
    """each crops of every photograph (N, 1, H, H): (N * each, 1, 64, 64), every other one upside down.

    Light comes from the left in most of them and does so upside down as well; left and right, or quarter turns, would
    change where it comes from.
    """
    found = random_crops(photographs, each, 64, seed)
    found[1::2] = found[1::2].flip(2)
    return found


def labels(folder, names):
    """The craters of each photograph by YOLO's labels: a list of (k, 4) column, row, width, height, from 0 to 1."""
    found = []
    for name in names:
        lines = (folder / Path(name).name).with_suffix(".txt").read_text().splitlines()
        boxes = [[float(word) for word in line.split()[1:5]] for line in lines if line.strip()]
        found.append(torch.tensor(boxes).reshape(-1, 4))
    return found


def detector(feature_net, photographs, truth, least=2.5):
    """How FeatureNet, which only ever saw rendered craters, does on photographs (N, 1, 64, 64): precision and recall.

    A find counts within 0.6 radii of a labelled crater's middle; craters of a radius under `least` are not asked for.
    """
    right, finds, met, asked = 0, 0, 0, 0
    for (centres, _), boxes in zip(find_craters(feature_net, photographs), truth):
        radius = boxes[:, 2:].mean(1) * 32
        near = torch.cdist(centres, boxes[:, :2] * 64 - 0.5) < 0.6 * radius.clamp(min=3)
        large = radius >= least
        finds += len(centres)
        right += near.any(1).sum().item()
        asked += large.sum().item()
        met += (near.any(0) & large).sum().item()
    return dict(precision=right / max(1, finds), recall=met / max(1, asked))


def fires(feature_net, images):
    """The share of the images in which at least one crater is found."""
    return sum(len(radii) > 0 for _, radii in find_craters(feature_net, images)) / len(images)


def trained(pool, start):
    """tools.models.train on the crops, from scratch or from the weights start: (x0_model, schedule, steps)."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "crops.npz", Path(folder) / "photographs.safetensors"
        np.savez(path, images=((pool + 1) * 127.5).round().byte().numpy()[:, 0])
        begin = ["--start", str(start), "--lr", str(GENTLY)] if start else []
        train.main(["--data", str(path), "--minutes", str(MINUTES), "--out", str(out), *begin])
        x0_model, schedule, about = load_sampler(out)
    return x0_model, schedule, about["steps"]


def photographs(settings, _=None):
    """From scratch against from rendered ground, both against crops of the held-out photographs."""
    about = dict(name="photographs", title="Photographs", claim="half the KID of from scratch; craters in at least "
                 "half as many; no nearer than held-out ones")
    if not os.environ.get("COURSE_DATA"):
        return about | dict(passed=None, why="COURSE_DATA is not set")
    root = Path(os.environ["COURSE_DATA"]).expanduser() / "craters_98"
    images, names = load_images(root / "images", 256, names=True)
    feature_net, _ = load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)
    known, held = split(images, heldout=18 / len(images))
    pool, reference = cut(images[known], CROPS, seed=1), cut(images[held], REFERENCE, seed=2)
    real = features(feature_net, reference)

    rows, drawn = [], []
    for name, start in {"from scratch": None, "from rendered ground": START}.items():
        note(f"{name}: {MINUTES} minutes of training")
        x0_model, schedule, steps = trained(pool, start)
        samples = draw(x0_model, schedule, SAMPLES, EVALUATIONS)
        value, resampled = kid(features(feature_net, samples), real)
        drawn.append(resampled)
        rows.append(dict(training=name, steps=steps, kid=value, interval=between(resampled), samples=SAMPLES,
                         fires=fires(feature_net, samples), nearest=nearest(samples, pool)[0].median().item()))
    floor, resampled = kid(features(feature_net, pool[::max(1, len(pool) // 512)]), real)
    rows += [dict(training="crops of the eighty", kid=floor, interval=between(resampled), samples=len(pool),
                  fires=fires(feature_net, pool)),
             dict(training="crops of the eighteen", samples=len(reference), fires=fires(feature_net, reference),
                  nearest=nearest(reference, pool)[0].median().item())]
    scratch, tuned, _, held_out = rows
    figure = plot.grid(samples[:64], "Sixty-four samples after training on eighty photographs.",
                       title="made from noise, after eighty photographs")
    (env.ROOT / "build").mkdir(exist_ok=True)
    write_file(env.ROOT / "build" / "photographs.png", figure.png)
    found = detector(feature_net, load_images(root / "images", 64), labels(root / "labels", names))
    checks = [
        at_most("KID against windows of the held-out photographs, of from scratch in the same time",
                tuned["kid"] / scratch["kid"], 0.5, interval=between(drawn[1] / drawn[0])),
        at_least("part of samples in which the detector finds a crater, of that of the photographs' windows",
                 tuned["fires"] / held_out["fires"], 0.5),
        at_least("median distance to the nearest training window, of that of held-out windows",
                 tuned["nearest"] / held_out["nearest"], 1.0)]
    return about | dict(rows=rows, checks=checks, passed=verdict(checks), detector=found,
                        says=[f"The detector on the photographs: precision {found['precision']:.2f}, recall "
                              f"{found['recall']:.2f} of craters of 2.5 pixels and more.",
                              f"{len(reference)} crops held out. The samples are in build/photographs.png."])
