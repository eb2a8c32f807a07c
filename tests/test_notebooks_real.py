"""The notebooks on real pictures, with nothing changed but their settings.  COURSE_DATA names the folder of pictures."""
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("COURSE_DATA", "nowhere")).resolve()
pytestmark = pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA does not name a folder of real pictures")

STACK = [f"nuclei_stack/{name}.tif" for name in ("training", "training_groundtruth", "testing", "testing_groundtruth")]
PHOTOGRAPH = "exif_mit"
CASES = {
    "01-stack": ("01_unet_segmentation", dict(data=(DATA / STACK[0], DATA / STACK[1]), heldout=(DATA / STACK[2], DATA / STACK[3]))),
    "01-folders": ("01_unet_segmentation", dict(data=(DATA / "nuclei_cc0/images", DATA / "nuclei_cc0/masks"), minutes=0.2)),
    "02-photograph": ("02_forward_noising", dict(data=DATA / PHOTOGRAPH)),
    "02-colour": ("02_forward_noising", dict(data=DATA / PHOTOGRAPH, channels=3)),
    "03-craters": ("03_training", dict(data=DATA / "craters_98/images", minutes=0.3)),
    "03-rocks": ("03_training", dict(data=DATA / "mars_rocks_ccby", minutes=0.3)),
    "03-sprites": ("03_training", dict(data=DATA / "sprites_cc0", channels=3, size=32, minutes=0.3)),
    "04-craters": ("04_reverse_sampling", dict(data=DATA / "craters_98/images")),
    "04-sprites": ("04_reverse_sampling", dict(data=DATA / "sprites_cc0", channels=3, size=32)),
}


def plain(value):
    return tuple(map(plain, value)) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


@pytest.mark.parametrize("case", CASES)
def test_page_runs_on_real_pictures(case, tmp_path):
    name, settings = CASES[case]
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    override = "\n".join(f"{key} = {plain(value)!r}" for key, value in settings.items())
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(override))
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 5
    if os.environ.get("COURSE_KEEP"):                          # to look at what came out
        nbformat.write(notebook, Path(os.environ["COURSE_KEEP"]) / f"{case}.ipynb")
