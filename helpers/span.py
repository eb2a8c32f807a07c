"""How long a training is, when it stops, and its learning rate on the way."""
import math
import os
from dataclasses import dataclass

RISE = 100                                                     # steps in which the learning rate rises


def plain_number(name, value, kind):
    """value, which may be one of numpy's or torch's, as kind (int or float); ValueError where it is no such number."""
    try:
        plain = kind(value)
        if plain == value:
            return plain
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ValueError(f"{name} must be a {'whole number' if kind is int else 'number'}; found {value!r}.")


def learning_rate(done, step, lr, warmup=RISE):
    """The rate at a fraction done of the run: half a cosine down to zero, after a linear rise.

    The rise takes warmup steps, or the first twentieth of a run for which that is too long.
    """
    rise = min(1, max((step + 1) / warmup, 20 * done))
    return lr * rise * (1 + math.cos(math.pi * min(done, 1))) / 2


@dataclass
class Span:
    """The stopping rule: how long a training is, in steps or else in seconds, and its learning rate on the way.

    joint: (step, done, rate) where a training that was stopped took on another length, else None
    """
    steps: int | None
    seconds: float | None
    joint: tuple | None = None

    @classmethod
    def of(cls, steps, minutes, examples, batch_size):
        """The Span of steps or minutes; ValueError unless there is one of the two, and an example for each step."""
        steps = None if steps is None else plain_number("steps", steps, int)
        minutes = None if minutes is None else plain_number("minutes", minutes, float)
        given = [length for length in (steps, minutes) if length is not None]
        if examples < 1 or batch_size < 1 or len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError(f"fit needs at least one example a step and either steps or minutes above 0; found "
                             f"{examples} examples, {batch_size=}, {steps=}, {minutes=}.")
        return cls(steps, None if minutes is None else 60 * minutes)

    def __str__(self):
        return f"{self.steps} steps" if self.steps else f"{self.seconds / 60:g} minutes"

    def shortened(self):
        """The Span that is left of this one by the variable COURSE_TRAINING; ValueError where that is no fraction."""
        text = os.environ.get("COURSE_TRAINING") or "1"
        try:
            fraction = float(text)
        except ValueError:
            fraction = math.nan
        if not 0 < fraction <= 1:
            raise ValueError(f"COURSE_TRAINING is {text!r}, but it must be the fraction of each training that is "
                             "carried out, above 0 and at most 1: set it to 0.2, for example, or unset it.")
        if self.steps:
            return Span(max(round(self.steps * fraction), min(self.steps, 100)), None)
        return Span(None, self.seconds * fraction)

    def done(self, step, elapsed):
        """The fraction that is behind after so many steps and seconds; the training stops at 1."""
        return step / self.steps if self.steps else elapsed / self.seconds

    def rate(self, done, step, lr, rule=learning_rate):
        """The learning rate of a step by rule, reached from a joint in a second rise (Ibrahim et al. 2024)."""
        rate = rule(done, step, lr)
        if self.joint is None:
            return rate
        begun, before, old = self.joint
        rise = min(1, max((step - begun + 1) / RISE, 20 * (done - before) / (1 - before)))
        return rise * rate + (1 - rise) * old
