"""The notebooks on real images, with nothing changed but their settings.  COURSE_DATA names their folder."""
import os
import time
from pathlib import Path

import nbformat
import pytest
from cells import page
from nbclient import NotebookClient

DATA = Path(os.environ.get("COURSE_DATA", "nowhere")).resolve()
pytestmark = pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA names no folder of real images")

STACK = DATA / "nuclei_stack"
TRAINING = STACK / "training.tif", STACK / "training_groundtruth.tif"
TESTING = STACK / "testing.tif", STACK / "testing_groundtruth.tif"
GROUPS = ["craters", "sprites"]                                # these pages need what 03 learned: one worker runs them
CASES = {                                                      # long groups first, then the most telling pages
    "03-craters": dict(data=DATA / "craters_98/images", crops=20, minutes=0.3),
    "04-craters": dict(data=DATA / "craters_98/images"),
    "05-craters": dict(data=DATA / "craters_98/images", samples=64),
    "06-craters": dict(data=DATA / "craters_98/images"),
    "08-craters": dict(data=DATA / "craters_98/images"),
    "03-sprites": dict(data=DATA / "sprites_cc0", channels=3, size=32, minutes=0.3),
    "04-sprites": dict(data=DATA / "sprites_cc0", channels=3, size=32),
    "06-sprites": dict(data=DATA / "sprites_cc0", channels=3, size=32),
    "05-photograph": dict(data=DATA / "exif_mit/Portrait_6.jpg", channels=3, samples=64),
    "07-mni": dict(data=DATA / "mni152_adni_layout", turns=0, minutes=0.5),
    "02-colour": dict(data=DATA / "exif_mit", channels=3),
    "01-stack": dict(data=TRAINING, heldout=TESTING),
    "01-folders": dict(data=(DATA / "nuclei_cc0/images", DATA / "nuclei_cc0/masks"), steps=30),
    "02-photograph": dict(data=DATA / "exif_mit"),
    "03-rocks": dict(data=DATA / "mars_rocks_ccby", minutes=0.3),
    "03-tiles": dict(data=DATA / "fashion900_mit", size=28, minutes=0.3),
    "03-stack": dict(data=DATA / "nuclei_stack/training.tif", minutes=0.3),
}


def grouped(case):
    """The case as a parameter of a test, with the group of pages that it needs or that need it."""
    group = case.partition("-")[2]
    return pytest.param(case, marks=pytest.mark.xdist_group(group)) if group in GROUPS else case


@pytest.fixture(scope="module", autouse=True)
def own_weights(tmp_path_factory):
    """What 03 learns in a worker, later pages find there, and nobody's own weights are overwritten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        yield


def plain(value):
    return tuple(map(plain, value)) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


@pytest.mark.parametrize("case", [grouped(case) for case in CASES])
def test_page_runs_on_real_pictures(case, tmp_path):
    if time.time() > float(os.environ.get("COURSE_UNTIL", "inf")):
        pytest.skip("COURSE_UNTIL has passed: no time is left for this page")
    notebook = nbformat.read(page(case[:2]), as_version=4)
    at = [cell.id for cell in notebook.cells].index("settings")
    override = "\n".join(f"{key} = {plain(value)!r}" for key, value in CASES[case].items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(override))
    if case == "01-stack":
        notebook.cells.append(nbformat.v4.new_code_cell('assert score.mean() >= 0.75, f"IoU {score.mean():.2f}"'))
    NotebookClient(notebook, timeout=None, kernel_name="python3",
                   resources={"metadata": {"path": str(page(case[:2]).parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 5
    if os.environ.get("COURSE_KEEP"):                          # to look at what came out
        nbformat.write(notebook, Path(os.environ["COURSE_KEEP"]) / f"{case}.ipynb")
