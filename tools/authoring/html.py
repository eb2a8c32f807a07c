"""Saved notebooks as HTML pages of their own: nothing in a page is loaded from anywhere."""
import copy
import re
import sys
from html import escape
from importlib import metadata

from jinja2 import DictLoader
from nbconvert import HTMLExporter

PAGE = """{% extends "lab/index.html.j2" %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_js_mathjax %}
<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true},
                   options: {enableMenu: false}}               // its menu would fetch what it offers</script>
<script>{{ resources.mathjax }}</script>
{% endblock %}"""                                              # nothing in it is loaded from anywhere


def still(notebook):
    """A copy of notebook for where nothing is live or loaded: each widget's image, words in place of the badge."""
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
    """What is said in place of each image that a cell shows, to those who cannot see it: a list of sentences."""
    return [output.data["text/plain"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def mathjax():
    """The program that sets equations, MathJax 3, all of TeX to SVG, as JavaScript.  SystemExit: not installed."""
    try:
        (file,) = [file for file in metadata.files("sphinx-mathjax-offline") if file.name == "tex-svg-full.js"]
    except metadata.PackageNotFoundError:
        sys.exit("Equations on pages need MathJax, which is not installed. Install it by pip install -e '.[site]'.")
    return file.read_text(encoding="utf8")


def page(notebook, script):
    """The notebook as an HTML page of its own: no image, font or program, not even MathJax, comes from elsewhere."""
    notebook = still(notebook)
    exporter = HTMLExporter(template_file="page.html.j2", extra_loaders=[DictLoader({"page.html.j2": PAGE})])
    html, _ = exporter.from_notebook_node(notebook, {"mathjax": script.replace("</script", "<\\/script")})
    for alt in [alt for cell in notebook.cells for alt in words(cell)]:        # nbconvert has no place for them
        html = html.replace("No description has been provided for this image", escape(alt), 1)
    return html
