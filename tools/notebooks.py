"""Run the notebooks, each in a fresh kernel: `in-place` rewrites their saved outputs, `build` leaves copies and pages.

    python tools/notebooks.py in-place [notebooks/03_training.ipynb ...]
    python tools/notebooks.py build [notebooks/03_training.ipynb ...]
    python tools/notebooks.py clean [notebooks/03_training.ipynb ...]

`clean` runs nothing: it takes out the metadata that editors leave and keeps the outputs; 1 if a file had to be changed.
"""
import copy
import os
import re
import sys
import tempfile
import time
from html import escape
from importlib import metadata
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py", "nbconvert_exporter": "python"}}
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}      # Colab's word for it, and JupyterLab's
PAGE = """{% extends "lab/index.html.j2" %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_js_mathjax %}
<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true},
                   options: {enableMenu: false}}               // its menu would fetch what it offers</script>
<script>{{ resources.mathjax }}</script>
{% endblock %}"""                                              # nothing in it is loaded from anywhere


def clean(notebook):
    """Take out of notebook, in place, what depends on who edited it and where; outputs stay.  True: there was some."""
    before = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        folded = FOLDED if {"setup", "solution"} & set(tags) else {}
        cell.metadata = nbformat.from_dict(folded | ({"tags": tags} if tags else {}))
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({kind: {"alt": of["alt"]} for kind, of in output.metadata.items()
                                                      if isinstance(of, dict) and "alt" in of})
    return notebook != before


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


def still(notebook):
    """A copy of notebook for where nothing is live or loaded: each widget's picture, words in place of the badge."""
    copied = copy.deepcopy(notebook)
    for cell in copied.cells:
        cell.source = re.sub(r"!\[Open in Colab\]\([^)]*\)", "Open in Colab", cell.source)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        outputs = cell.get("outputs", [])                      # a progress bar is nothing without its widget
        outputs[:] = [o for o in outputs
                      if not (set(o.get("data", {})) == {"text/plain"} and "%|" in o.data["text/plain"])]
    return copied


def words(cell):
    """What is said in place of each picture that a cell shows, to those who cannot see it: a list of sentences."""
    return [output.data["text/plain"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def mathjax():
    """The program that sets equations, MathJax 3, all of TeX to SVG, as JavaScript.  SystemExit: not installed."""
    try:
        (file,) = [file for file in metadata.files("sphinx-mathjax-offline") if file.name == "tex-svg-full.js"]
    except metadata.PackageNotFoundError:
        sys.exit("Equations on pages need MathJax, which is not installed. Install it by pip install -e '.[site]'.")
    return file.read_text(encoding="utf8")


def page(notebook, script):
    """The notebook as an HTML page of its own: no picture, font or program, not even MathJax, comes from elsewhere."""
    notebook = still(notebook)
    exporter = HTMLExporter(template_file="page.html.j2", extra_loaders=[DictLoader({"page.html.j2": PAGE})])
    html, _ = exporter.from_notebook_node(notebook, {"mathjax": script.replace("</script", "<\\/script")})
    for alt in [alt for cell in notebook.cells for alt in words(cell)]:        # nbconvert has no place for them
        html = html.replace("No description has been provided for this image", escape(alt), 1)
    return html


def main(mode, *names):
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if mode == "clean":
        notebooks = {path: nbformat.read(path, as_version=4) for path in paths}
        changed = [path for path, notebook in notebooks.items() if clean(notebook)]
        for path in changed:
            nbformat.write(notebooks[path], path)
            print(f"{path.relative_to(ROOT)} held metadata of an editor; it was taken out.")
        return len(changed) > 0
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
    if sys.argv[1:2] not in (["in-place"], ["build"], ["clean"]):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
