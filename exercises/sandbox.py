"""Running a learner's function so that it can neither stop the notebook nor change anything outside itself."""
import linecache
import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager

import numpy as np
import torch

from helpers.randomness import random_states_kept

LIMIT = 3.0                                                    # seconds that one call of a learner's function may take


class TimeUp(BaseException):
    """The time limit is over.  Not an Exception, so that a learner's `except Exception` does not catch it."""


@contextmanager
def unchanged():
    """Random states and torch's settings are as before when it is left; inside, new tensors are float32, on the CPU."""
    dtype = torch.get_default_dtype()
    device = torch.get_default_device()
    threads = torch.get_num_threads()
    grad = torch.is_grad_enabled()
    exact = torch.get_deterministic_debug_mode()
    try:
        with random_states_kept(), warnings.catch_warnings(), np.errstate(), torch.device("cpu"):
            torch.set_default_dtype(torch.float32)
            warnings.simplefilter("ignore")                    # a deprecated call is no mistake of the learner's
            yield
    finally:
        if torch.get_default_device() != device:
            torch.set_default_device(device)                   # None does not restore it: torch 2.9 then has no answer
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
    here = sys._getframe()
    over = [False]
    end = time.monotonic() + LIMIT

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


def error_in_words(error, function):
    """An error as a sentence: its type, its message, and the learner's line that raised it, where it can be found."""
    try:
        message = str(error).split("\n")[0]
        line = ""
        trace = error.__traceback__
        file = getattr(getattr(function, "__code__", None), "co_filename", None)
        while trace:
            if trace.tb_frame.f_code.co_filename == file:
                line = linecache.getline(file, trace.tb_lineno).strip()
            trace = trace.tb_next
        words = type(error).__name__ + (f": {message[:200]}" if message else "")
        return words + (f"\n    {line}" if line else "")
    except Exception:                                          # an error whose own message raises
        return type(error).__name__
