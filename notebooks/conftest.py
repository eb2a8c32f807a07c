"""While tests run the notebooks, trainings are short, slow files come first, and nobody's own weights are used."""
import os
import tempfile
from pathlib import Path

import pytest

FOLDER = tempfile.TemporaryDirectory(prefix="course-checkpoints-")
os.environ["COURSE_CHECKPOINTS"] = FOLDER.name
TRAINING = os.environ.get("COURSE_TRAINING", "0.2")         # the part of each training that is run, helpers/train.py
SLOW_FIRST = ("03_training 01_unet_segmentation 08_what_it_is_good_for 05_denoise_your_image 04_reverse_sampling "
              "07_brain_slices_ddim 06_good_or_copied 09_bug_zoo test_train test_weights test_install").split()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """nbval starts a notebook's kernel in here: trainings are short in it, and it finds the shipped weights.

    Not those that 03 has just made: after so short a training they are weak.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CHECKPOINTS", str(Path(FOLDER.name) / item.path.stem))
        patch.setenv("COURSE_TRAINING", TRAINING)
        patch.setenv("OMP_NUM_THREADS", "1")                   # the same on idle and on busy machines, and for workers
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Slow files first, in the order of SLOW_FIRST, so that no worker is left alone with one at the end."""
    place = {stem: i for i, stem in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))         # stable: the rest stays as it was
    for item in items:
        if item.path.suffix == ".ipynb":       # its code runs in a kernel; what warns here only carries messages
            item.add_marker(pytest.mark.filterwarnings("default"))
