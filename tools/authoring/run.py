"""Run the notebooks, each in a fresh kernel: `in-place` rewrites their saved outputs, `build` leaves copies and pages.

    python -m tools.authoring.run in-place [notebooks/03_training.ipynb ...]
    python -m tools.authoring.run build [notebooks/03_training.ipynb ...]
"""
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tools.authoring.clean import clean
from tools.authoring.html import mathjax, page

ROOT = Path(__file__).resolve().parents[2]


def execute(path):
    """The notebook at path after one clean run, with nothing in it that another machine would not reproduce."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COURSE_CHECKPOINTS"] = folder              # your own weights are neither used nor overwritten
        NotebookClient(notebook, timeout=None, kernel_name="python3", store_widget_state=False, record_timing=False,
                       resources={"metadata": {"path": str(path.parent)}}).execute()
    clean(notebook)
    nbformat.validate(notebook)
    return notebook


def main(mode, *names):
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    script = mathjax() if mode == "build" else None            # before hours are spent
    for path in paths:
        start = time.monotonic()
        notebook = execute(path)
        target = path if mode == "in-place" else ROOT / "build" / path.name
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
        if mode == "build":
            target.with_suffix(".html").write_text(page(notebook, script), encoding="utf8")
        print(f"{target.relative_to(ROOT)}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["in-place"], ["build"]):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
