"""Exercise checks that say which mistake it is: check.NAME(your_function) -> Result, to be the last line of a cell.

The engine is in engine.py; the exercises are tables in noising.py (pages 01 to 03), sampling.py (04 to 06) and
steering.py (07 and 08).  A new one is a new entry in a table: a task, the truth, inputs, and mistakes with hints.
diagnose(model, pictures, schedule, target, …) asks a whole model about the usual faults; zoo.py has those of page 09.
"""
from helpers.check import noising, sampling, steering, zoo
from helpers.check.diagnose import diagnose                    # noqa: F401
from helpers.check.engine import EXERCISES

TABLES = noising, sampling, steering                           # importing them has filled EXERCISES
globals().update(EXERCISES | zoo.ZOO)


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    raise AttributeError(f"there is no exercise {name!r}; there are {', '.join([*EXERCISES, *zoo.ZOO])}.")
