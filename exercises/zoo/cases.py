"""The exhibits of notebook 09: each a model trained or sampled with one of the bugs, and what diagnose finds of it."""
import functools
from dataclasses import dataclass

import torch
from torch import nn

from exercises.diagnose import Diagnosis, diagnose
from exercises.zoo.broken import (
    broken_embedding, broken_end, broken_follow, broken_loss, broken_prepare, broken_split, broken_step, broken_times,
)
from exercises.zoo.model import SCHEDULE, digits, draw, prepare, sound_loss, train


@dataclass
class Exhibit:
    """One model and what was seen of it: network, average, losses of each step, samples, what diagnose .found.

    images: its training images;  held_out: the images that its author held out, or None
    """
    network: nn.Module
    average: nn.Module
    losses: list
    images: torch.Tensor
    samples: torch.Tensor
    found: Diagnosis
    held_out: torch.Tensor | None = None


def examined(trained, images, loss=sound_loss, held_out=None, **how):
    """The Exhibit of what train gave."""
    network, average, losses = trained
    samples = draw(average, **how)
    found = diagnose(network, images, SCHEDULE, "x0", average=average, samples=samples, held_out=held_out,
                     loss=lambda model, x0: loss(model, SCHEDULE, x0))
    return Exhibit(network, average, losses, images, samples, found, held_out)


@functools.cache
def healthy():
    """What train gives for the digits, with nothing broken: (network, average, losses); trained once."""
    return train(prepare(digits()))


def exhibit(number):
    """Exhibit 1 to 8, trained or sampled with its bug; 0 is the model in good health.  ValueError: another number."""
    good = prepare(digits())
    if number == 0:
        return examined(healthy(), good)
    if number == 1:
        bad = broken_prepare(digits())
        return examined(train(bad), bad)
    if number == 2:
        return examined(train(good, follow=broken_follow), good)
    if number == 3:
        return examined(healthy(), good, step=broken_end, steps=25)
    if number == 4:
        return examined(train(good, loss=broken_loss), good, loss=broken_loss)
    if number == 5:
        return examined(healthy(), good, step=broken_step)
    if number == 6:
        return examined(train(good, embedding=broken_embedding), good)
    if number == 7:
        return examined(train(good, loss=broken_times), good, loss=broken_times)
    if number == 8:
        torch.manual_seed(0)
        training, held_out = broken_split(good[:100], 20)
        return examined(train(training), training, held_out=held_out)
    raise ValueError(f"there are the exhibits 1 to 8, and 0 in good health; found {number!r}.")
