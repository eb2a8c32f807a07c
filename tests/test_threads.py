"""How many threads a training runs with: as many as are fastest over minutes, always as many over steps."""
import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers import threads
from helpers.threads import Threads, most_threads, threads_kept, worth_trying
from helpers.train import fit


class Line(nn.Module):
    """The smallest network: one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


class Machine:
    """A machine whose steps take seconds(number of threads, time) on a clock of its own."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.number, self.seconds, self.said, self.used = 0.0, 1, seconds, [], []
        monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(threads, "use", lambda number: setattr(self, "number", number))

    def run(self, numbers, minutes):
        """The numbers of threads that the steps of a training ran with."""
        found = Threads(numbers, say=self.said.append)
        while self.now < 60 * minutes:
            with found.step():
                self.used.append(self.number)
                self.now += self.seconds(self.number, self.now)
        return self.used


def idle(number, now):
    return 0.25 / number


def busy(number, now):
    """One of two cores is taken, as it was measured: two threads take ten times as long as one."""
    return 0.25 if number == 1 else 2.5


def test_an_idle_machine_gets_all_its_threads(monkeypatch):
    machine = Machine(monkeypatch, idle)
    used = machine.run([1, 2], minutes=5)
    assert used.count(1) <= 0.02 * len(used) and used[-1] == 2 and machine.said == []


def test_a_busy_machine_gets_one_thread_and_a_sentence(monkeypatch):
    machine = Machine(monkeypatch, busy)
    used = machine.run([1, 2], minutes=5)
    assert used.count(2) <= 0.02 * len(used) and used[-1] == 1
    assert len(used) > 0.95 * 5 * 60 / 0.25                            # in time, too, the trials cost little
    assert machine.said == ["Another program keeps the processor busy: with 2 threads a step takes 10 times as long as "
                            "with 1, so the training goes on with 1."]


def test_it_notices_when_another_program_begins_and_ends(monkeypatch):
    machine = Machine(monkeypatch, lambda number, now: (busy if 60 < now < 120 else idle)(number, now))
    used = machine.run([1, 2], minutes=10)
    assert len(machine.said) == 1 and used[-1] == 2
    slow = [n for n in used[480:] if n == 2][:5]                       # about when it began
    assert slow and used.count(1) > 150


def test_one_slow_step_changes_nothing(monkeypatch):
    machine = Machine(monkeypatch, lambda number, now: 3 if 30 < now < 30.2 else idle(number, now))
    used = machine.run([1, 2], minutes=2)
    assert used.count(1) <= 0.02 * len(used) + 4


def test_of_eight_cores_two_are_taken(monkeypatch):
    machine = Machine(monkeypatch, lambda number, now: 1 / number if number <= 6 else 2.0)
    used = machine.run(worth_trying(8), minutes=10)
    assert used[-1] == 6 and used.count(6) > 0.95 * len(used)


def test_of_one_number_nothing_is_tried(monkeypatch):
    assert set(Machine(monkeypatch, busy).run([2], minutes=1)) == {2}


def test_numbers_worth_trying():
    assert worth_trying(1) == [1] and worth_trying(2) == [1, 2] and worth_trying(4) == [1, 2, 3, 4]
    assert worth_trying(8) == [1, 2, 3, 4, 6, 7, 8] and worth_trying(16) == [1, 2, 3, 4, 6, 8, 12, 15, 16]


@pytest.mark.parametrize("cap, most", [("", 3), ("2", 2), ("8", 3), ("0", 3), ("4,2", 3)])
def test_omp_num_threads_is_the_cap(cap, most, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", cap)
    with threads_kept():
        torch.set_num_threads(3)
        assert most_threads() == most


@pytest.mark.skipif(torch.accelerator.is_available(), reason="threads are tried on CPUs only")
@pytest.mark.parametrize("length", [dict(steps=6), dict(minutes=0.01)])
@pytest.mark.parametrize("breaks", [False, True])
def test_fit_leaves_the_callers_threads(length, breaks, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = []

    def loss(model, batch):
        seen.append(torch.get_num_threads())
        torch.set_num_threads(1)                                       # what it calls may do so
        return (model.weight * batch).mean()

    def watch(*_):
        if breaks and len(seen) == 5:
            raise KeyboardInterrupt
    with threads_kept():
        torch.set_num_threads(3)
        try:
            fit(Line(), torch.ones(8, 1), loss, batch_size=2, watch=watch, **length)
        except KeyboardInterrupt:
            assert breaks
        assert torch.get_num_threads() == 3
    assert set(seen) == {3} if "steps" in length else set(seen) >= {1, 2}


def test_a_stopped_run_over_steps_goes_on_with_the_threads_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    seen = []

    def loss(model, batch):
        seen.append(torch.get_num_threads())
        return (model.weight * batch).mean()

    def watch(done, *_):
        if len(seen) == 3:
            raise KeyboardInterrupt
    options = dict(steps=6, batch_size=2, checkpoint=tmp_path / "a", save_every=0)
    with threads_kept():
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            fit(Line(), torch.ones(8, 1), loss, watch=watch, **options)
        torch.set_num_threads(1)
        fit(Line(), torch.ones(8, 1), loss, **options)
        assert torch.get_num_threads() == 1
    assert set(seen) == {2} and len(seen) > 6
