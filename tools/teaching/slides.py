"""Slides from the saved notebooks: questions, equations and figures on the screen, all the text in the speaker's notes.

reveal.js (MIT; from the package sphinx-revealjs) and MathJax lie beside them, so that nothing comes from outside.
"""
import re
import sys
from html import escape
from importlib import metadata
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from traitlets.config import Config

from tools.authoring.html import mathjax, still, words
from tools.teaching.classroom import EXERCISES

ROOM = 800                                                     # letters on a slide; a figure takes all but 360
PARTS = ["LICENSE", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js"]
STYLE = """body { background: #fff; color: #1a1a1a }
.reveal { font: 32px/1.35 system-ui, "DejaVu Sans", sans-serif } .reveal .slides { text-align: left }
.reveal h1, .reveal h2, .reveal h3 { margin: 0 0 0.4em; font-weight: 500 }
.reveal h1 { font-size: 1.9em } .reveal h2 { font-size: 1.5em } .reveal h3 { font-size: 1.2em }
.reveal .where { color: #767676; font-size: 0.8em; margin: 0 0 0.3em }
.reveal img { width: 100%; max-height: 390px; object-fit: contain; margin: 0.2em 0 }
.reveal pre { font-size: 17px !important; line-height: 1.4 !important }
.reveal table { font-size: 0.8em } .jp-Cell { padding: 0 !important } .reveal .jp-OutputArea-output { overflow: hidden }
.jp-RenderedHTMLCommon { font-size: 1em !important; line-height: 1.35 !important }
"""
TEMPLATE = """{% extends "reveal/index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}
<script>MathJax = {tex: {inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true},
                   options: {enableMenu: false}}
</script><script src="reveal/mathjax.js" defer></script>
{% endblock %}
{% block footer_js %}
<script src="reveal/dist/reveal.js"></script><script src="reveal/plugin/notes/notes.js"></script>
<script>Reveal.initialize({hash: true, slideNumber: "c/t", width: 1280, height: 720, center: false, margin: 0.06,
                           transition: "none", plugins: [RevealNotes]})</script>
{% endblock %}"""


def reveal():
    """What the slides' program consists of, {path: its bytes}.  SystemExit: not installed."""
    try:
        files = {str(file).partition("_static/revealjs/")[2]: file for file in metadata.files("sphinx-revealjs")}
    except metadata.PackageNotFoundError:
        sys.exit("Slides need reveal.js, which is not installed. Install it by pip install -e '.[kit]'.")
    found = {part: Path(files[part].locate()).read_bytes() for part in PARTS}
    return found | {"dist/theme/course.css": STYLE.encode(), "mathjax.js": mathjax().encode()}


def sentences(paragraph):
    return re.split(r"(?<=[.?!])\s+(?=[A-Z*“(])", " ".join(paragraph.split()))


def gist(text):
    """What of a piece of Markdown goes on the screen: headings, equations, lists, tables, questions, bold words."""
    kept = []
    equation = False
    for block in re.split(r"\n{2,}", text.strip()):
        whole = re.search(r"\A(#|\$\$|\d+\. |\||    )|^[-*] |Your turn", block, re.M) or "$$" in block or equation
        equation = equation ^ (block.count("$$") % 2 == 1)
        if block.startswith("<details"):
            continue
        said = block if whole else " ".join(s for s in sentences(block) if s.endswith("?") or "**" in s)
        kept += [said] if said else []
    plain = [block for block in re.split(r"\n{2,}", text.strip()) if not block.startswith(("#", "<", "(", "[", "*"))]
    if text.startswith("# "):                                  # the promise that a page begins with
        kept[1:] = plain[:1] + [block for block in kept[1:] if block not in " ".join(plain[:1])]
    elif all(block.startswith("#") for block in kept):
        kept += [sentences(block)[0] for block in plain[:1]]
    return "\n\n".join(kept)


def slides(notebook):
    """The cells of the slides, as a notebook whose cells say where slides begin."""
    made = []
    section = ""
    room = 0                                                   # how many letters the slide can still take

    def add(cell, how, cost=0):
        nonlocal room
        if how in ("subslide", "fragment") and (how == "subslide" or cost > room):
            add(new_markdown_cell(f'<p class="where">{section}</p>'), "under")
            how = "-"
        if how in ("slide", "under"):
            room = ROOM
        cell.metadata["slideshow"] = {"slide_type": {"under": "subslide"}.get(how, how)}
        cell.id = f"slide-{len(made)}"
        made.append(cell)
        room -= cost

    for cell in still(notebook).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            for part in re.split(r"(?m)^(?=#{1,3} )", re.sub(r"(?m)^(\[Open in Colab.*|\*Time:.*)$", "", cell.source)):
                if not part.strip():
                    continue
                heading = re.match(r"#+ (.+)", part)
                section = escape(heading[1]) if heading else section
                how = "slide" if heading else "subslide" if "Your turn" in part[:14] else "fragment"
                add(new_markdown_cell(gist(part)), how, len(gist(part)))
                add(new_markdown_cell(part), "notes")
        elif "exercise" in tags:
            add(new_code_cell(cell.source), "-", ROOM)
            exercise = EXERCISES[re.search(r"check\.(\w+)\(my_\w+\)\s*\Z", cell.source)[1]]
            add(new_code_cell(exercise.source(f"my_{exercise.name}")), "subslide", ROOM)
        shown = [output for output in cell.get("outputs", []) if "exercise" not in tags and (
            "image/png" in output.get("data", {}) or output.output_type == "stream")]
        if shown:
            add(new_code_cell(cell.source, outputs=shown, metadata={"tags": ["hide"]}), "fragment", ROOM - 360)
    return new_notebook(cells=made)


def deck(path):
    """The slides of the notebook at path, as HTML; it wants what reveal() gives in the folder reveal beside it."""
    notebook = slides(nbformat.read(path, as_version=4))
    config = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"hide"}},
                     "SlidesExporter": {"reveal_url_prefix": "reveal", "reveal_theme": "course",
                                        "exclude_input_prompt": True,
                                        "exclude_output_prompt": True}})
    exporter = SlidesExporter(template_file="deck.html.j2", extra_loaders=[DictLoader({"deck.html.j2": TEMPLATE})],
                              config=config)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    for alt in [alt for cell in notebook.cells for alt in words(cell)]:
        html = html.replace("No description has been provided for this image", escape(alt), 1)
    return html
