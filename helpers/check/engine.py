"""The engine of the exercise checks: run what a learner wrote, and say which mistake it is.

An answer is judged by its numbers alone: they are compared with those of the truth and of every known mistake.
"""
import copy
import inspect
import linecache
import signal
import sys
import threading
import time
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import numpy as np
import torch

from helpers.randomness import random_states_kept

LIMIT = 3.0                                                    # seconds that one call of a learner's function may take
RTOL, ATOL = 1e-4, 1e-5                                        # room for float32 and another order of summation
WORDS = {True: "right", False: "not right yet", None: "not done yet"}
LOOKS = {True: ("✓", "#009E73"), False: ("✗", "#D55E00"), None: ("…", "#0072B2")}      # for eyes only: words say it all
EXERCISES = {}                                                 # {name: Exercise}, in the order of the pages


class TimeUp(BaseException):
    """The time limit is over.  No Exception, so that a learner's `except Exception` lets it through."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a check found: .ok (True, False, or None: not done yet), .hint in words, and which .mistake, if known.

    example: (arguments, index, expected, found), the counter-example of a mistake that is not known, else None
    """
    name: str
    ok: bool | None
    hint: str
    mistake: str | None = None
    example: tuple | None = None

    def __repr__(self):
        return f"{self.name}: {WORDS[self.ok]}. {self.hint}"

    def _repr_html_(self):
        sign, colour = LOOKS[self.ok]
        return (f'<div role="status" style="border-left: 0.4em solid {colour}; padding: 0.3em 0.8em; '
                f'overflow-wrap: anywhere"><span aria-hidden="true" style="color: {colour}">{sign}</span> '
                f'<strong>{escape(self.name)}: {WORDS[self.ok]}.</strong> {escape(self.hint)}</div>')


@contextmanager
def unchanged():
    """Random states and torch's settings are as before when it is left; inside, new tensors are float32, on the CPU."""
    dtype, device, threads = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    grad, exact = torch.is_grad_enabled(), torch.get_deterministic_debug_mode()
    try:
        with random_states_kept(), warnings.catch_warnings(), np.errstate(), torch.device("cpu"):
            torch.set_default_dtype(torch.float32)
            warnings.simplefilter("ignore")                    # else an old habit would fail where they are errors
            yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(device)              # not None: torch 2.9 has no answer then
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(exact)              # (the other function for this loads a compiler)


def limited(function, args):
    """function(*args), or TimeUp after LIMIT seconds.

    A timer's signal interrupts; it comes again and again, since a bare `except:` may swallow it.  In other threads than
    the main one, and on Windows, every line asks for the time instead.  No thread is started, so none is left behind.
    """
    alarm = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    here, over, end = sys._getframe(), [False], time.monotonic() + LIMIT

    def ring(number, frame):
        if not over[0] and frame is not here:                  # only while the learner's code, or call() below, runs
            raise TimeUp

    def look(frame, event, arg):
        if not over[0] and time.monotonic() > end:
            raise TimeUp
        return look

    def call():
        return function(*args)

    if alarm:
        before = signal.signal(signal.SIGALRM, ring)
        timer = signal.setitimer(signal.ITIMER_REAL, LIMIT, 0.02)
    else:
        before = sys.gettrace()
        sys.settrace(look)
    try:
        return call()
    finally:
        over[0] = True
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, before)
        else:
            sys.settrace(before)


def same(a, b):
    """Whether an argument b is still what its copy a was."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return callable(a) or a == b


def kind(x):
    """What sort of numbers a tensor holds, in words."""
    if x.dtype == torch.bool or x.is_complex():
        return "True and False" if x.dtype == torch.bool else "complex numbers"
    return "numbers with decimals" if x.is_floating_point() else "whole numbers"


def numbers(value, truth):
    """(tensor or None, remarks): what a learner's function returned, and what is odd about it beside the numbers.

    truth: what should have been returned; where it is a plain number or a list, plain numbers and lists are no oddity
    """
    remarks = []
    if torch.is_tensor(value):
        if value.requires_grad:
            remarks.append("it requires grad, though nothing that went in does")
        x = value.detach().cpu()
        x = (x.to_dense() if x.layout != torch.strided else x).clone()
    elif isinstance(value, (bool, int, float, np.number, np.bool_)):
        value = value.item() if isinstance(value, np.generic) else value
        x = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
        if torch.is_tensor(truth) or isinstance(truth, list):
            remarks.append(f"it is a plain number ({type(value).__name__}) instead of a torch tensor")
    elif isinstance(value, (np.ndarray, list, tuple, range)):
        what = "numpy array" if isinstance(value, np.ndarray) else type(value).__name__
        if not (isinstance(truth, list) and what != "numpy array"):
            remarks.append(f"it is a {what} instead of a torch tensor")
        try:
            x = torch.as_tensor(np.array(value))
        except (TypeError, ValueError, RuntimeError):
            return None, [f"it is a {what} that holds more than numbers"]
    else:
        return None, [f"it is of type {type(value).__name__}, where numbers are wanted"]
    if x.dtype in (torch.float16, torch.bfloat16):
        remarks.append("it is in half precision, which is too coarse here")
    if kind(x) != kind(torch.as_tensor(truth)):
        remarks.append(f"it holds {kind(x)} where {kind(torch.as_tensor(truth))} are wanted")
    return x, remarks


def close(x, y):
    """Whether two tensors agree in shape and, but for rounding, in all numbers."""
    if x.shape != y.shape or x.is_complex() or y.is_complex():
        return False
    return torch.allclose(x.double(), y.double(), RTOL, ATOL, equal_nan=True)


def number(x, digits=4):
    """A number as a learner would write it."""
    return f"{x:.{digits}g}" if isinstance(x, float) else str(x)


def shown(value):
    """An argument in a few words."""
    if torch.is_tensor(value) and value.numel() > 8:
        return f"a tensor of shape {tuple(value.shape)}"
    if torch.is_tensor(value):
        return shown(value.tolist())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "a small test function" if callable(value) else number(value)


def size(value):
    """How many numbers there are in an argument, in a list of arguments, or in a result."""
    if torch.is_tensor(value):
        return value.numel()
    return sum(map(size, value)) if isinstance(value, (list, tuple)) else 1


def told(error, function):
    """An error as a sentence: its type, its words, and the learner's line that raised it, where that can be found."""
    try:
        words, line, trace = str(error).split("\n")[0], "", error.__traceback__
        file = getattr(getattr(function, "__code__", None), "co_filename", None)
        while trace:
            if trace.tb_frame.f_code.co_filename == file:
                line = linecache.getline(file, trace.tb_lineno).strip()
            trace = trace.tb_next
        return type(error).__name__ + f": {words[:200]}" * bool(words) + f", at the line “{line}”" * bool(line)
    except Exception:                                          # an error whose own words raise
        return type(error).__name__


class Exercise:
    """One exercise: check.NAME(function) -> Result.

    page, after: where it stands, the number of the page and its heading;  task: what to write, in a sentence or two
    truth: the right function, the helper's own where there is one; its argument names are those of the stub
    inputs: (draw) -> list of tuples of arguments, generic ones, the first the smallest; see Draw
    mistakes: {name: (wrong function, hint)}
    """

    def __init__(self, name, page, after, task, truth, inputs, mistakes):
        self.name, self.page, self.after, self.task = name, page, after, task
        self.truth, self.inputs, self.mistakes = truth, inputs, mistakes
        self.arguments = list(inspect.signature(truth).parameters)
        self.__doc__ = f"{task}\n\nPage {page}, “{after}”: check.{name}(your_function) -> Result"
        self.known = None

    def __repr__(self):
        return f"check.{self.name}: {self.task}"

    @property
    def stub(self):
        """The cell that a learner fills in; my_, since no notebook may redefine what a helper defines."""
        return f"def my_{self.name}({', '.join(self.arguments)}):\n    ..."

    def prepared(self):
        """(cases, the truth's answers, {mistake: its answers}), made once."""
        if self.known is None:
            cases = self.inputs(Draw(zlib.crc32(self.name.encode())))
            ask = lambda f: [f(*copy.deepcopy(case)) for case in cases]
            self.known = cases, ask(self.truth), {name: ask(wrong) for name, (wrong, _) in self.mistakes.items()}
        return self.known

    def __call__(self, function=None):
        try:
            with unchanged():
                found = self.judge(function)
        except (Exception, TimeUp) as error:                   # a net: what a learner wrote must not stop the page
            found = False, f"What your function returns cannot be read ({type(error).__name__})."
        return Result(self.name, *found)

    def where(self):
        return f"See page {self.page}, “{self.after}”."

    def run(self, function, case):
        """(answer, None, whether the arguments changed), or (None, what went wrong, …) in a sentence."""
        mine = copy.deepcopy(case)
        example = ", ".join(f"{name} = {shown(value)}" for name, value in zip(self.arguments, case))
        try:
            answer = limited(function, mine)
        except TimeUp:
            return None, (False, f"Your function was stopped after {LIMIT:g} seconds, and it should need almost none: "
                                 f"does a loop never end? It was called with {example}."), False
        except BaseException as error:                         # exit() and the like are no Exception
            if isinstance(error, NotImplementedError) and not error.args:
                return None, None, False                       # a stub's; torch gives its own a reason
            return None, (False, f"Your function stopped with {told(error, function)}. "
                                 f"It was called with {example}. {self.where()}"), False
        return (None if answer is ... else answer), None, not same(list(case), list(mine))

    def judge(self, function):
        """The ok, hint, mistake and example of a Result."""
        cases, truths, wrongs = self.prepared()
        wanted = [torch.as_tensor(truth) for truth in truths]
        if function is None or function is ...:
            return None, f"Write the function, then hand it over by its name: check.{self.name}(my_{self.name})."
        if not callable(function):
            return False, (f"This is a {type(function).__name__}, but the check wants the function itself, without a "
                           f"call: check.{self.name}(my_{self.name}).")
        try:
            inspect.signature(function).bind(*cases[0])
        except TypeError:
            return False, (f"Your function cannot take the arguments that the check gives it, {len(cases[0])} in this "
                           f"order: {', '.join(self.arguments)}.")
        except ValueError:
            pass                                               # some built-in functions do not say what they take
        answers, remarks = [], {}                              # a dictionary keeps the order and holds each once
        for case in cases:
            answer, trouble, touched = self.run(function, case)
            if trouble:
                return trouble
            if touched:
                remarks["it changed its arguments in place, which whoever calls it may still need"] = 1
            answers.append(answer)
        if all(answer is None for answer in answers):
            return None, ("Your function returns nothing so far. If you have written it already, its last line needs a "
                          "return.")
        if any(answer is None for answer in answers):
            return False, "For some arguments your function returns nothing: one of its branches lacks a return."
        found = []
        for answer, truth in zip(answers, truths):
            x, odd = numbers(answer, truth)
            found.append(x)
            remarks |= dict.fromkeys(odd)
        but = "; ".join(remarks)
        if any(x is None for x in found):
            return False, f"Look at what your function returns: {but}."
        agrees = lambda other: all(close(x, torch.as_tensor(y)) for x, y in zip(found, other))
        if agrees(truths):
            if remarks:
                return False, f"The numbers are right, but look at what your function does: {but}."
            wide = any(x.dtype == torch.float64 != y.dtype and torch.is_tensor(truth)
                       for x, y, truth in zip(found, wanted, truths))
            return True, (f"It agrees with the course's own on {len(cases)} sets of inputs." + wide *
                          " Yours is float64; networks want float32, which takes half the memory.")
        also = f" Besides, {but}." if remarks else ""
        for name, others in wrongs.items():
            if agrees(others):
                return False, f"{self.mistakes[name][1]} {self.where()}{also}", name
        return self.counter_example(function, found, wanted, also)

    def counter_example(self, function, found, wanted, also):
        """Of a mistake that is not known: the smallest inputs that show it, what is wanted and what was found."""
        cases = self.prepared()[0]
        wrong = [i for i, (x, y) in enumerate(zip(found, wanted)) if not close(x, y)]
        i = min(wrong, key=lambda i: size(cases[i]))
        x, y = found[i], wanted[i]
        given = "For " + ", ".join(f"{name} = {shown(value)}" for name, value in zip(self.arguments, cases[i]))
        again = self.run(function, cases[i])[0]
        again = None if again is None else numbers(again, wanted[i])[0]
        if again is not None and again.shape == x.shape and not torch.equal(again.nan_to_num(), x.nan_to_num()):
            return False, f"Asked the same twice, your function gives two answers: does it draw random numbers?{also}"
        if x.shape != y.shape:
            return False, (f"{given} the result should have the shape {tuple(y.shape)}; yours has {tuple(x.shape)}. "
                           f"{self.where()}{also}")
        if x.is_complex():
            return False, f"{given} the result holds complex numbers. {self.where()}{also}"
        apart = ~torch.isclose(x.double(), y.double(), RTOL, ATOL, equal_nan=True)
        index = tuple(apart.nonzero()[0].tolist())
        expected, got = y[index].item(), x[index].item()
        digits = next((d for d in (4, 7) if number(expected, d) != number(got, d)), 17)
        place = f"entry {list(index)} of the result" if index else "the result"
        odd = " Was something divided by 0, or a root taken of a negative number?" * (got != got or abs(got) == np.inf)
        return False, (f"{given}, {place} should be {number(expected, digits)}; yours is {number(got, digits)}.{odd} "
                       f"{self.where()}{also}"), None, (cases[i], index, expected, got)


class Draw:
    """Seeded inputs, rounded to two decimals so that a counter-example shows them whole."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, low=-1, high=1):
        """Numbers between low and high, none of them 0."""
        x = torch.rand(*shape, generator=self.generator) * (high - low) + low
        return (x * 100).round().div(100).where((x * 100).round() != 0, 0.01)

    def mask(self, *shape):
        """Zeros and ones."""
        return (torch.rand(*shape, generator=self.generator) < 0.5).float()


def exercise(name, page, after, task, *, truth, inputs, mistakes):
    """Put an exercise into the table; see Exercise."""
    EXERCISES[name] = Exercise(name, page, after, task, truth, inputs, mistakes)
