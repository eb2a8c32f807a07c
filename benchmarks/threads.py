"""On a busy machine: does a training over minutes find the fastest number of threads?

    python -m benchmarks.threads                               # two to three minutes; exit code 1: the bar is missed

A child process keeps one core busy. Trainings take turns in rounds, so that other load meets all alike: fit over
minutes, left to itself, and fit over steps with each fixed number of threads. The figure is the median rate of the
first over the best median of the others, in images a second; the bar is 0.8.
"""
import argparse
import contextlib
import io
import multiprocessing
import statistics
import sys
import time

import torch

from helpers import scenes
from helpers.schedule import Schedule, cosine_beta
from helpers.threads import most_threads, threads_kept, worth_trying
from helpers.train import diffusion_loss, fit
from helpers.unet import UNet

BAR = 0.8
BATCH = 8


def keep_busy():
    """Use one core without end."""
    while True:
        pass


def images_per_second(images, seconds, threads=None):
    """The rate of fit over so many seconds, with a fixed number of threads or, without one, as it chooses them."""
    torch.manual_seed(0)
    model, schedule = UNet(1, 1, (16, 24, 32, 48)), Schedule(cosine_beta(1024))
    start, steps = time.monotonic(), 0

    def watch(done, average, losses):
        nonlocal steps
        steps = len(losses)
        if threads and time.monotonic() - start >= seconds:
            raise KeyboardInterrupt

    length = dict(minutes=seconds / 60) if threads is None else dict(steps=10**6)
    with threads_kept(), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(KeyboardInterrupt):
        torch.set_num_threads(threads or most_threads())
        fit(model, images, lambda model, x0: diffusion_loss(model, schedule, x0, "v"), batch_size=BATCH, lr=6e-3,
            watch=watch, **length)
    return BATCH * steps / (time.monotonic() - start)


def measure(rounds, seconds, numbers):
    """{name: its rates}, one for each round: "fit over minutes", and each fixed number of threads."""
    images = scenes.craters(256, 64, 0).images
    rates = {"fit over minutes": [], **{number: [] for number in numbers}}
    for _ in range(rounds):
        rates["fit over minutes"].append(images_per_second(images, 3 * seconds))
        for number in numbers:
            rates[number].append(images_per_second(images, seconds, number))
    return rates


def main():
    """Measure, print, and return 1 where the bar is missed."""
    parser = argparse.ArgumentParser("benchmarks.threads", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each training with a fixed number of threads; "
                        "the one that is left to itself takes three times as long")
    parser.add_argument("--idle", action="store_true", help="keep no core busy")
    o = parser.parse_args()
    most = most_threads()
    numbers = worth_trying(most)
    if most == 1 or torch.accelerator.is_available():
        print("There is nothing to choose: one thread, or a GPU. Unset OMP_NUM_THREADS on a machine without a GPU.")
        return 0
    child = multiprocessing.get_context("spawn").Process(target=keep_busy, daemon=True)
    if not o.idle:
        child.start()
    try:
        rates = measure(o.rounds, o.seconds, numbers)
    finally:
        if not o.idle:
            child.kill()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        title = name if isinstance(name, str) else f"{name} thread{'s' * (name > 1)}"
        print(f"{title:>17}: {medians[name]:6.1f} images a second, rounds {', '.join(f'{v:.1f}' for v in values)}")
    best = max(numbers, key=medians.get)
    ratio = medians["fit over minutes"] / medians[best]
    print(f"fit over minutes reaches {ratio:.2f} of the best fixed number of threads, {best}; the bar is {BAR}.")
    return int(ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
