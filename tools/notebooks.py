"""Run the notebooks, each in a fresh kernel: `in-place` rewrites their saved outputs, `build` leaves copies and pages.

    python tools/notebooks.py in-place [notebooks/03_training.ipynb ...]
    python tools/notebooks.py build
"""
import copy
import os
import sys
import tempfile
import time
from html import escape
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def execute(path):
    """The notebook at path after one clean run, with nothing in it that another machine would not reproduce."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COURSE_CHECKPOINTS"] = folder              # your own weights are neither used nor overwritten
        NotebookClient(notebook, timeout=None, kernel_name="python3", store_widget_state=False, record_timing=False,
                       resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    nbformat.validate(notebook)
    return notebook


def page(notebook):
    """The notebook as an HTML page on which nothing is live: the still picture of each widget, and words for each."""
    still, words = copy.deepcopy(notebook), []
    for cell in still.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        cell_outputs = cell.get("outputs", [])                 # a progress bar is nothing without its widget
        cell_outputs[:] = [o for o in cell_outputs
                           if not (set(o.get("data", {})) == {"text/plain"} and "%|" in o.data["text/plain"])]
        words += [o.data["text/plain"] for o in cell_outputs if "image/png" in o.get("data", {})]
    html, _ = HTMLExporter().from_notebook_node(still)
    for alt in words:                                          # nbconvert has no place for them
        html = html.replace("No description has been provided for this image", escape(alt), 1)
    return html


def main(mode, *names):
    for path in [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb")):
        start = time.monotonic()
        notebook = execute(path)
        target = path if mode == "in-place" else ROOT / "build" / path.name
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
        if mode == "build":
            target.with_suffix(".html").write_text(page(notebook), encoding="utf8")
        print(f"{target.relative_to(ROOT)}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["in-place"], ["build"]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
