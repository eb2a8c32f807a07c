"""While tests run the notebooks, nobody's own weights are used or overwritten."""
import os
import tempfile
from pathlib import Path

import pytest

FOLDER = tempfile.TemporaryDirectory(prefix="course-checkpoints-")
os.environ["COURSE_CHECKPOINTS"] = FOLDER.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each page finds the shipped weights, not those that 03 has just made: on a slow machine they are weak."""
    os.environ["COURSE_CHECKPOINTS"] = str(Path(FOLDER.name) / item.path.stem)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":       # its code runs in a kernel; what warns here only carries messages
            item.add_marker(pytest.mark.filterwarnings("default"))
