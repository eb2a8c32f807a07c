"""While tests run the notebooks, nobody's own weights are used or overwritten."""
import os
import tempfile

import pytest

FOLDER = tempfile.TemporaryDirectory(prefix="course-checkpoints-")
os.environ["COURSE_CHECKPOINTS"] = FOLDER.name


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":       # its code runs in a kernel; what warns here only carries messages
            item.add_marker(pytest.mark.filterwarnings("default"))
