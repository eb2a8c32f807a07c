"""The training of notebook 03 without a notebook, on one process or many, taken up again where it was stopped.

    python -m helpers.run --minutes 30 --out data/weights/craters64.safetensors
    accelerate launch --multi_gpu --num_processes 2 -m helpers.run --data folder   # two GPUs, or CPU processes
"""
import argparse
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from helpers import env, scenes
from helpers.data import ImageFiles, load_images
from helpers.schedule import BETAS, Schedule
from helpers.train import diffusion_loss, fit, save_weights
from helpers.unet import UNet


def whole(text):
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def options(arguments=None):
    """The command line as a namespace; argparse ends the program with code 2 where it is wrong."""
    parser = argparse.ArgumentParser("helpers.run", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", help="a folder, zip, stack or .npz of pictures; without it, or 'none': craters rendered here")
    add("--lazy", action="store_true", help="read pictures when their turn comes: for sets larger than memory")
    add("--examples", type=whole, default=8000, help="how many craters to render")
    add("--size", type=whole, default=64, help="side of the pictures in pixels")
    add("--channels", type=whole, default=1, choices=(1, 3), help="1 grey, 3 colour")
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--minutes", type=float, default=5, help="how long to train")
    long.add_argument("--steps", type=whole, help="how long to train, in steps instead of minutes")
    add("--batch", type=whole, default=16, help="pictures a step, for each process")
    add("--lr", type=float, default=4e-3, help="learning rate at its highest")
    add("--target", default="v", choices=("eps", "v", "x0"), help="what the network guesses")
    add("--schedule", default="cosine", choices=tuple(BETAS), help="how fast the noise grows")
    add("--T", type=whole, default=1024, help="number of noise levels")
    add("--widths", type=whole, nargs="+", default=[24, 48, 64], help="channels of each level of the network")
    add("--patch", type=whole, default=2, help="side of the squares folded into channels before the first level")
    add("--seed", type=int, default=0, help="another seed, another model")
    add("--out", type=Path, help="the weights file; by default where notebook 04 looks for your own weights")
    add("--snapshots", type=int, default=0, help="how many weights to keep on the way, each at twice the time before")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Train as the command line says and write the weights."""
    o = options(arguments)
    data = None if o.data in (None, "none", "craters") else o.data
    out = o.out or env.weights_path(data, o.size, o.channels)
    torch.manual_seed(o.seed)
    schedule, model = Schedule(BETAS[o.schedule](o.T)), UNet(o.channels, o.channels, o.widths, o.patch)
    if o.size % model.divisor:
        raise ValueError(f"--size {o.size} does not fit this network: choose a size divisible by {model.divisor}.")
    if data is None and o.channels != 1:
        raise ValueError("rendered craters are grey: leave out --channels, or name pictures of yours with --data.")
    read = ImageFiles if o.lazy else load_images
    pictures = read(data, o.size, o.channels) if data else scenes.craters(o.examples, o.size, o.seed).images

    about = dict(data=Path(data).name if data else "craters", examples=len(pictures), size=o.size, channels=o.channels,
                 schedule=o.schedule, T=o.T, target=o.target, batch=o.batch, lr=o.lr, seed=o.seed)
    checkpoint = out.with_suffix(".checkpoint")
    moments = [(2.0 ** (k - o.snapshots), out.with_stem(f"{out.stem}-{k + 1}")) for k in range(o.snapshots)]
    for _, path in moments if not checkpoint.exists() else ():
        path.unlink(missing_ok=True)                           # of an earlier training

    def snapshot(done, average, losses):
        for moment, path in moments:
            if done >= moment and not path.exists():
                save_weights(path, average, **about, steps=len(losses))

    average, losses = fit(model, pictures, lambda model, x0: diffusion_loss(model, schedule, x0, o.target), o.steps,
                          o.minutes if o.steps is None else None, o.batch, o.lr, seed=o.seed, checkpoint=checkpoint,
                          about=about, watch=snapshot, workers=2 * o.lazy)
    if PartialState().is_main_process:
        save_weights(out, average, **about, steps=len(losses))
        print(f"The weights are in {out}.")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except (ValueError, ArithmeticError, OSError) as error:
        print(f"helpers.run: {error}", file=sys.stderr)
        sys.exit(2)
