"""The training of notebook 03 without a notebook, on one process or many, taken up again where it was stopped.

    python -m tools.models.train --minutes 30 --data heads --out heads.safetensors
    accelerate launch --multi_gpu --num_processes 2 -m tools.models.train --data folder   # two GPUs, or CPU processes
"""
import argparse
import os
import sys
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch.utils.data import TensorDataset

from helpers import datasets, env, scenes
from helpers.data import ImageFiles, dihedral, load_images
from helpers.schedule import BETAS, Schedule
from helpers.checkpoints import check_writable, load_weights, save_weights
from helpers.train import diffusion_loss, drop_labels, fit
from helpers.unet import UNet


def cells_and_masks(n, size, seed):
    """Rendered cells, and where their mitochondria are, as two channels: ((n, 2, size, size) in [-1, 1],)."""
    x, masks, _ = scenes.cells(n, size, seed)
    return torch.cat([x, 2 * masks - 1], dim=1),


def craters_only(n, size, seed, varied=False):
    """Rendered craters without what is known of them: ((n, 1, size, size) in [-1, 1],)."""
    return scenes.craters(n, size, seed, varied).images,


SOURCES = {                       # name: channels, classes, what makes n of them: (images,) or (images, labels)
    "craters": (1, 0, craters_only),
    "ground": (1, 0, partial(craters_only, varied=True)),
    "cells": (2, 0, cells_and_masks),
    "heads": (1, 2, lambda n, size, seed: scenes.heads(n, size, seed)[:2]),
    "digits": (1, 10, lambda n, size, seed: datasets.digits(size)),                    # as many as there are, 1797
}


def positive(text):
    """text as a whole number above 0; argparse reports what is none."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def path(text):
    """A path; shells leave the ~ of --out=~/x.safetensors as it is."""
    return Path(os.path.expanduser(text))


def options(arguments=None):
    """The command line as a namespace; argparse ends the program with code 2 where it is wrong."""
    parser = argparse.ArgumentParser("tools.models.train", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", default="craters", help="a folder, zip, stack or .npz of images, or what needs no file: "
        f"{', '.join(SOURCES)} (varied ground; cells with their masks; heads and digits by label); none: craters")
    add("--lazy", action="store_true", help="read each image when it is needed: for sets larger than memory")
    add("--examples", type=positive, default=8000, help="how many images to render")
    add("--size", type=positive, default=64, help="side of the images in pixels")
    add("--channels", type=positive, default=1, choices=(1, 3), help="1 grey, 3 colour, of your own images")
    add("--turns", action="store_true", help="each image in its eight rotations and flips: light from all sides")
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--minutes", type=float, default=5, help="how long to train")
    long.add_argument("--steps", type=positive, help="how long to train, in steps instead of minutes")
    add("--batch", type=positive, default=8, help="images a step, for each process")
    add("--lr", type=float, default=6e-3, help="learning rate at its highest")
    add("--target", default="v", choices=("eps", "v", "x0"), help="what the network predicts")
    add("--schedule", default="cosine", choices=tuple(BETAS), help="how fast the noise grows")
    add("--T", type=positive, default=1024, help="number of noise levels")
    add("--widths", type=positive, nargs="+", default=[16, 24, 32, 48], help="channels of each level of the network")
    add("--patch", type=positive, default=1, help="side of the squares folded into channels before the first level")
    add("--seed", type=int, default=0, help="another seed, another model")
    add("--start", type=path, help="weights to begin from, of the same network, target and schedule")
    add("--out", type=path, help="the weights file; by default where notebook 04 looks for your own weights")
    add("--snapshots", type=int, default=0, help="how many weights to keep on the way, each at twice the time before")
    return parser.parse_args(arguments)


def begin_with(model, path, about):
    """Give model the weights in a file; ValueError where another network, target or schedule made them."""
    other, header = load_weights(path, UNet)
    wanted = model.config | {key: about[key] for key in ("target", "schedule", "T")}
    found = header | other.config                              # the network's own channels
    differ = [f"{key}={found.get(key)!r}, not {wanted[key]!r}" for key in wanted if found.get(key) != wanted[key]]
    if differ:
        raise ValueError(f"{path} cannot be the start here, it has {', '.join(differ)}: train with what it has.")
    model.load_state_dict(other.state_dict())


def training_set(o, data):
    """(images, facts): a tensor or another dataset to train on, and what the header says about it, a dictionary."""
    if data in SOURCES:
        images, *labels = SOURCES[data][2](o.examples, o.size, o.seed)
        images = TensorDataset(images, *labels) if labels else images
        facts = {}
    else:
        images = (ImageFiles if o.lazy else load_images)(data, o.size, o.channels)
        facts = {"held_out": []}                               # names of images that are not trained on: none
    facts["examples"] = len(images)
    if o.turns:
        if not isinstance(images, torch.Tensor):
            raise ValueError("--turns is for images without labels that fit in memory: leave it out.")
        images = dihedral(images)
        facts["turns"] = True
    return images, facts


def places(o, data, channels):
    """(weights, checkpoint): the two files that a training writes.  ValueError, OSError: they cannot be written."""
    weights = o.out
    if weights is None:                                        # that of notebook 03; or other rendered data by name
        weights = env.weights_path(None if data in SOURCES else data, o.size, channels)
        if data in SOURCES:
            weights = weights.with_name(weights.name.replace("craters", data, 1))
    checkpoint = weights.with_suffix(".checkpoint")
    if weights == checkpoint:
        raise ValueError(f"--out {weights} is the name of a checkpoint: let that of the weights end in .safetensors.")
    check_writable(weights)
    return weights, checkpoint


def save_snapshot(path, model, about):
    """Write weights on the way, or say on stderr why not: the training is worth more, so it goes on."""
    try:
        save_weights(path, model, **about)
    except OSError as error:
        print(f"tools.models.train: {error}", file=sys.stderr)


def main(arguments=None):
    """Train as the command line says and write the weights."""
    o = options(arguments)
    data = "craters" if o.data == "none" else o.data
    channels, classes, _ = SOURCES.get(data, (o.channels, 0, None))
    out, checkpoint = places(o, data, channels)
    torch.manual_seed(o.seed)
    schedule = Schedule(BETAS[o.schedule](o.T))
    model = UNet(channels, channels, o.widths, o.patch, num_classes=classes)
    if o.size % model.divisor:
        raise ValueError(f"--size {o.size} does not fit this network: choose a size divisible by {model.divisor}.")
    if data in SOURCES and o.channels != 1:
        raise ValueError(f"{data} come as they are: leave out --channels, or name images of yours with --data.")
    name = data if data in SOURCES else env.data_name(data)
    about = dict(data=name, size=o.size, channels=channels, schedule=o.schedule, T=o.T, target=o.target, batch=o.batch,
                 lr=o.lr, seed=o.seed)
    if o.start:
        begin_with(model, o.start, about)
        about["start"] = o.start.name
    images, facts = training_set(o, data)
    about |= facts

    def loss(model, batch):
        if not classes:
            return diffusion_loss(model, schedule, batch, o.target)
        x0, y = batch
        return diffusion_loss(partial(model, y=drop_labels(y)), schedule, x0, o.target)

    pending = [(2.0 ** (k - o.snapshots), out.with_stem(f"{out.stem}-{k + 1}")) for k in range(o.snapshots)]

    def snapshot(done, average, losses):
        if len(losses) == 1:                                   # a new training: these are of an earlier one
            for _, file in pending:
                file.unlink(missing_ok=True)
        while pending and done >= pending[0][0]:
            _, file = pending.pop(0)
            if not file.exists():                              # a training that was stopped may have written it
                save_snapshot(file, average, about | {"steps": len(losses)})

    average, losses = fit(model, images, loss, o.steps, o.minutes if o.steps is None else None, o.batch, o.lr,
                          seed=o.seed, checkpoint=checkpoint, about=about, watch=snapshot, workers=2 * o.lazy)
    if PartialState().is_main_process:
        save_weights(out, average, replaces=checkpoint, **about, steps=len(losses))
        print(f"The weights are in {out}.")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except (ValueError, ArithmeticError, OSError) as error:
        print(f"tools.models.train: {error}", file=sys.stderr)
        sys.exit(2)
