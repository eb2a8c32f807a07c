"""What tests share: one thread, no warnings, widgets that answer quickly."""
import os
import statistics
import time
import warnings

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:                        # before torch: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch

pytest.register_assert_rewrite("image_files", "own_data")           # they assert, as the tests do


@pytest.fixture
def one_thread():
    """Small arithmetic: threads that wait for each other on busy cores take a hundred times longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quiet(tmp_path_factory, monkeypatch):
    """Each test has its own cache, and a warning it does not expect fails it."""
    from helpers import data, files
    monkeypatch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache") / "deep" / "er")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not files.opened.cache_info().currsize               # every file is closed again, or Windows locks it


@pytest.fixture
def answers_within_150_ms(one_thread):
    """A check of explorer, **{control: values}: each value gives another picture, no complaint, in 150 ms of one core.

    Neighbours on the same processor only ever slow an answer down: of up to ten rounds the best median counts.
    """
    def check(explorer, **controls):
        medians = []
        while len(medians) < 10 and min(medians, default=1) >= 0.15:
            took = []
            for control, values in controls.items():
                for value in values:
                    before, start = explorer.image.value, time.process_time()
                    explorer.controls[control].value = value
                    took.append(time.process_time() - start)
                    assert explorer.image.value != before and explorer.message.value == ""
            medians.append(statistics.median(took))
        assert min(medians) < 0.15, f"{', '.join(controls)}: {min(medians):.3f} s"
    return check
