"""The notebooks on real pictures, with nothing changed but their settings.  COURSE_DATA names their folder."""
import os
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("COURSE_DATA", "nowhere")).resolve()
pytestmark = pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA names no folder of real pictures")

STACK = DATA / "nuclei_stack"
TRAINING = STACK / "training.tif", STACK / "training_groundtruth.tif"
TESTING = STACK / "testing.tif", STACK / "testing_groundtruth.tif"
CASES = {                                                      # the most telling first: time may not last for all
    "03-craters": ("03_training", dict(data=DATA / "craters_98/images", crops=20, minutes=0.3)),
    "04-craters": ("04_reverse_sampling", dict(data=DATA / "craters_98/images")),
    "05-photograph": ("05_denoise_your_image", dict(data=DATA / "exif_mit/Portrait_6.jpg", channels=3, samples=64)),
    "07-mni": ("07_brain_slices_ddim", dict(data=DATA / "mni152_adni_layout", turns=0, minutes=0.5)),
    "02-colour": ("02_forward_noising", dict(data=DATA / "exif_mit", channels=3)),
    "01-stack": ("01_unet_segmentation", dict(data=TRAINING, heldout=TESTING)),
    "01-folders": ("01_unet_segmentation",
                   dict(data=(DATA / "nuclei_cc0/images", DATA / "nuclei_cc0/masks"), steps=30)),
    "02-photograph": ("02_forward_noising", dict(data=DATA / "exif_mit")),
    "03-rocks": ("03_training", dict(data=DATA / "mars_rocks_ccby", minutes=0.3)),
    "03-tiles": ("03_training", dict(data=DATA / "fashion900_mit", size=28, minutes=0.3)),
    "03-stack": ("03_training", dict(data=DATA / "nuclei_stack/training.tif", minutes=0.3)),
    "03-sprites": ("03_training", dict(data=DATA / "sprites_cc0", channels=3, size=32, minutes=0.3)),
    "04-sprites": ("04_reverse_sampling", dict(data=DATA / "sprites_cc0", channels=3, size=32)),
    "06-craters": ("06_good_or_copied", dict(data=DATA / "craters_98/images")),
    "06-sprites": ("06_good_or_copied", dict(data=DATA / "sprites_cc0", channels=3, size=32)),
    "05-craters": ("05_denoise_your_image", dict(data=DATA / "craters_98/images", samples=64)),
    "08-craters": ("08_what_it_is_good_for", dict(data=DATA / "craters_98/images")),
}


@pytest.fixture(scope="module", autouse=True)
def own_weights(tmp_path_factory):
    """What 03 learns here, 04 finds here, and nobody's own weights are overwritten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        yield


def plain(value):
    return tuple(map(plain, value)) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


@pytest.mark.parametrize("case", CASES)
def test_page_runs_on_real_pictures(case, tmp_path):
    if time.time() > float(os.environ.get("COURSE_UNTIL", "inf")):
        pytest.skip("COURSE_UNTIL has passed: no time is left for this page")
    name, settings = CASES[case]
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    override = "\n".join(f"{key} = {plain(value)!r}" for key, value in settings.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(override))
    if case == "01-stack":
        notebook.cells.append(nbformat.v4.new_code_cell('assert score.mean() >= 0.75, f"IoU {score.mean():.2f}"'))
    NotebookClient(notebook, timeout=None, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 5
    if os.environ.get("COURSE_KEEP"):                          # to look at what came out
        nbformat.write(notebook, Path(os.environ["COURSE_KEEP"]) / f"{case}.ipynb")
