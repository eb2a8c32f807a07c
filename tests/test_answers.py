"""What the checks say to answers with mistakes in them: no right one is refused, no wrong one passes, no hint misleads.

The answers are in tests/answers/, a file for each notebook; some were written without a look at the checks.
"""
import contextlib
import importlib
import io
from collections import Counter
from pathlib import Path

import pytest
import torch
from answers.registry import ANSWERS

from exercises import check
from exercises.check import EXERCISES

for path in sorted((Path(__file__).parent / "answers").glob("notebook_*.py")):
    importlib.import_module(f"answers.{path.stem}")
NAMED = 2 / 3                                                  # at least so many of the wrong answers, in each notebook
each = pytest.mark.parametrize(("kind", "name", "why", "mistake", "answer"), ANSWERS,
                               ids=[f"{kind}-{name}-{why}" for kind, name, why, *_ in ANSWERS])
pytestmark = pytest.mark.usefixtures("one_thread")


@each
def test_an_answer_gets_what_it_deserves(kind, name, why, mistake, answer):
    with contextlib.redirect_stdout(io.StringIO()):            # some print
        result = getattr(check, name)(answer)
    if kind == "right" or mistake == "right":
        assert result.ok is True, result
    else:
        assert result.ok is False and result.mistake == mistake, result


def test_there_are_enough():
    wrong, right = (Counter(name for kind, name, *_ in ANSWERS if kind == which) for which in ("wrong", "right"))
    assert set(wrong) == set(right) == set(EXERCISES)
    assert min(wrong.values()) >= 8 and min(right.values()) >= 2


@pytest.mark.parametrize("notebook", sorted({exercise.notebook for exercise in EXERCISES.values()}))
def test_most_mistakes_are_named(notebook):
    named = [mistake is not None for kind, name, _, mistake, _ in ANSWERS
             if kind == "wrong" and EXERCISES[name].notebook == notebook]
    assert sum(named) >= NAMED * len(named)


def test_counter_examples_are_true():
    """The value that a counter-example expects is that of a right answer, too."""
    right = {}
    for kind, name, _, _, answer in ANSWERS:
        if kind == "right":
            right.setdefault(name, answer)
    seen = 0
    for kind, name, why, mistake, answer in ANSWERS:
        if kind == "wrong" and mistake is None and not EXERCISES[name].read:
            result = getattr(check, name)(answer)
            if result.example:
                case, index, expected, _ = result.example
                value = torch.as_tensor(right[name](*case))[index]
                assert float(value) == pytest.approx(float(expected), rel=1e-3, abs=1e-4), (name, why)
                seen += 1
    assert seen > 5
