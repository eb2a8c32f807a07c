"""How many threads a training is fastest with, found while it runs.

The threads of torch wait for each other many times in a step. On an idle machine two take half as long as one; where
another program keeps a core busy, all wait for the one that shares it, and a step takes five to forty times as long.
"""
import os
import statistics
import time
from collections import deque
from contextlib import contextmanager

import torch

TRIAL_STEPS = 2                                                # the first with another number of threads is slow anyway
STEPS_BETWEEN = 200                                            # trials then cost one step in a hundred
SECONDS_BETWEEN = 50                                           # times the seconds that the last trial lost
HOPELESS = 3                                                   # times as long as the best: one step is enough to see it


def most_threads():
    """The largest number of threads to use: torch's setting, or OMP_NUM_THREADS where that is less."""
    cap = os.environ.get("OMP_NUM_THREADS", "")
    return min(torch.get_num_threads(), int(cap)) if cap.isdecimal() and int(cap) else torch.get_num_threads()


def worth_trying(most):
    """Numbers of threads from 1 to most, each at most half as large again as the one before, and most - 1."""
    steps = [k * 2**i for i in range(12) for k in (2, 3)]      # 2, 3, 4, 6, 8, 12, ...
    return sorted({1, most, max(1, most - 1), *[n for n in steps if n < most]})


@contextmanager
def threads_kept():
    """Leave torch's number of threads as it was before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        use(before)


def use(number):
    """Let torch work with that many threads."""
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


class Threads:
    """Runs each step with the number of threads, out of numbers, that was fastest lately; of one number, with that.

        threads = Threads([1, 2, 4])
        while ...:
            with threads.step():
                ...                                            # one training step

    It begins with the smallest number and goes up as long as that helps. Later it tries a neighbouring number every
    STEPS_BETWEEN steps, and at once where steps have become slower than those with another number were: together at
    most 2 % of the steps of a long run.
    say: called with a sentence, once, where more threads turn out to be much slower than fewer
    """

    def __init__(self, numbers, say=print):
        self.numbers = sorted(numbers)
        self.say = say
        self.best = self.numbers[0]
        self.seconds = {}                                      # number of threads: seconds of a step, when last seen
        self.recent = deque(maxlen=3)                          # seconds of the last steps with the best number
        self.trial = None                                      # a number that is being tried,
        self.tried = []                                        # and the seconds of its steps
        self.climbing = True
        self.steps = 0                                         # so far
        self.lost = 0                                          # steps of trials that did not help
        self.last_tried = {}                                   # number of threads: the step after which it was tried
        self.next_step = 0                                     # when the next trial of a neighbour may begin:
        self.next_time = 0.0                                   # both this step and this time must have come

    @contextmanager
    def step(self):
        """Time what happens inside, done with the number of threads whose turn it is."""
        use(self.trial or self.best)
        start = time.perf_counter()
        yield
        if len(self.numbers) > 1:
            self.note(time.perf_counter() - start)

    def note(self, seconds):
        """Learn from the seconds that a step took, and decide what the next one runs with."""
        self.steps += 1
        if self.trial:
            self.tried.append(seconds)
            hopeless = seconds > HOPELESS * self.seconds[self.best]
            if hopeless or len(self.tried) == TRIAL_STEPS:
                self.end_trial()
        elif self.steps > 1:                                   # the first step of a run is always slow
            self.recent.append(seconds)
            self.seconds[self.best] = statistics.median_low(self.recent)
        if not self.trial and self.seconds:
            self.trial = self.next_trial()

    def end_trial(self):
        """Go on with the faster of two numbers: the one tried and the best so far."""
        tried = self.trial
        best = self.best
        now = self.tried[-1]
        before = self.seconds[best]
        self.seconds[tried] = now
        few, many = sorted((tried, best))
        slower = self.seconds[many] / self.seconds[few]
        if self.say and slower > 2:
            self.say(f"Another program keeps the processor busy: with {many} threads a step takes {slower:.0f} times "
                     f"as long as with {few}, so the training goes on with {few}.")
            self.say = None
        if now < before:
            self.best = tried
            self.recent = deque([now], maxlen=3)
        else:
            self.climbing = False
            self.lost += len(self.tried)
            self.next_time = time.perf_counter() + SECONDS_BETWEEN * (sum(self.tried) - len(self.tried) * before)
        self.last_tried[tried] = self.steps
        self.next_step = self.steps + STEPS_BETWEEN
        self.trial = None
        self.tried = []

    def next_trial(self):
        """The number of threads to try now, or None."""
        place = self.numbers.index(self.best)
        larger = self.numbers[place + 1:place + 2]
        if self.climbing and larger:
            return larger[0]
        self.climbing = False
        known = min(self.seconds, key=self.seconds.get)
        if self.seconds[known] < 0.8 * self.seconds[self.best] and self.lost <= 4 + self.steps / 100:
            return known                                       # steps have become slow: another program has begun
        if self.steps >= self.next_step and time.perf_counter() >= self.next_time:
            neighbours = self.numbers[max(0, place - 1):place] + larger
            return min(neighbours, key=lambda n: self.last_tried.get(n, 0))
        return None
