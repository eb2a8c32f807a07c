"""Two versions of every notebook for a class, from the one source: build/student and build/instructor.

    python -m tools.teaching.classroom student                # no outputs, stubs as they are, solutions out of sight
    python -m tools.teaching.classroom instructor             # outputs, answers, known mistakes, misconceptions, times
    python -m tools.teaching.classroom rehearse [02 05 ...]   # Run-All of student notebooks, each in a fresh kernel
"""
import ast
import copy
import functools
import os
import re
import sys
import time
from html import escape
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_output

from exercises.check import EXERCISES
from tools.authoring.clean import FOLDED
from tools.authoring.run import execute

ROOT = Path(__file__).resolve().parents[2]
TEXTS = Path(__file__).resolve().parent / "texts"              # those of the instructor's kit
BADGE = re.compile(r"\[!\[Open in Colab\].*?\)\]\(.*?\)\n*")


def notebooks():
    """The saved notebooks, {number: path}, in their order."""
    return {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def title(notebook):
    return re.match(r"# (.+)", notebook.cells[0].source)[1]


def minutes(notebook):
    """The running time that a notebook states, in minutes.  "Under a minute" counts as one."""
    said = re.search(r"Time: (?:about ([\d½]+) minutes?|under a minute)", notebook.cells[0].source)
    if said is None:
        raise ValueError(f"“{title(notebook)}” does not say its time: its first cell needs “Time: about N minutes”.")
    return float((said[1] or "1").replace("½", ".5"))


def tagged(cell, tag):
    return tag in cell.metadata.get("tags", [])


def exercises(notebook):
    """The names of a notebook's exercises, in their order."""
    return [re.search(r"check\.(\w+)\(my_\w+\)\s*\Z", cell.source)[1] for cell in notebook.cells
            if tagged(cell, "exercise")]


def bulleted(page):
    """The misconceptions of a notebook, "01" …: the part of misconceptions.md under its number."""
    text = (TEXTS / "misconceptions.md").read_text(encoding="utf8")
    part = re.search(rf"(?ms)^## {page}\b[^\n]*\n(.*?)(?=^## |\Z)", text)
    return part[1].strip() if part else ""


@functools.cache
def helpers():
    """{function: the module of helpers that defines it}."""
    return {node.name: f"helpers.{path.stem}" for path in sorted((ROOT / "helpers").glob("*.py"))
            for node in ast.parse(path.read_text(encoding="utf8")).body if isinstance(node, ast.FunctionDef)}


def imported(source):
    """A solution with imports in place of functions that helpers has, too (a test holds them equal); else as it was."""
    lines = source.splitlines()
    where = helpers()
    known = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in where]
    for node in reversed(known):
        first = min([node, *node.decorator_list], key=lambda node: node.lineno).lineno
        lines[first - 1:node.end_lineno] = []
    modules = {where[node.name]: sorted(other.name for other in known if where[other.name] == where[node.name])
               for node in known}
    top = [f"from {module} import {', '.join(names)}" for module, names in modules.items()]
    lines = [*top, *[""] * bool(known), *lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def answered(source, name):
    """A stub cell with the solution in the stub's place, and above it the imports that the solution needs."""
    written = EXERCISES[name].source(f"my_{name}")
    top = EXERCISES[name].imports()
    (stub,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    lines = source.splitlines()
    return "\n".join([*top, *[""] * bool(top), *lines[:stub.lineno - 1], written, *lines[stub.end_lineno:]])


def relinked(notebook, folder):
    """Make the links of notebook lead from folder to where they led from notebooks/; no badge, since that is online."""
    up = os.path.relpath(ROOT, folder) if folder else ".."     # None: in a kit, whose folder is a root of its own
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = BADGE.sub("", re.sub(r"\]\(\.\./", f"]({Path(up).as_posix()}/", cell.source))
    return notebook


def student(notebook, folder=None):
    """A copy for the class."""
    copied = relinked(copy.deepcopy(notebook), folder)
    for cell in copied.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
        if tagged(cell, "solution"):
            cell.source = imported(cell.source)
            more = re.search(r"(?m)^(?!from |import |\s*$)", cell.source)         # than imports, which may be seen
            cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} | (FOLDED if more else {}))
    return copied


def teacher(text, name):
    """A cell for the instructor's eyes.  name: makes its id, so that two runs write the same."""
    return new_markdown_cell(text, id=re.sub(r"[^\w-]", "-", f"teacher-{name}"), metadata={"tags": ["teacher"]})


def mistakes(name):
    """What the check of an exercise recognises, as Markdown."""
    rows = [f"| {escape(wrong)} | {escape(hint)} |" for wrong, (_, hint) in EXERCISES[name].mistakes.items()]
    return "\n".join(["| the mistake | what the check says to it |", "|---|---|", *rows])


def instructor(notebook, page, folder=None):
    """A copy for whoever teaches."""
    copied = relinked(copy.deepcopy(notebook), folder)
    cells = []
    for cell in copied.cells:
        if tagged(cell, "solution"):
            cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]})                    # open
        cells.append(cell)
        if tagged(cell, "exercise"):
            (name,) = exercises(nbformat.from_dict({"cells": [cell]}))
            cell.source = answered(cell.source, name)
            result = EXERCISES[name](EXERCISES[name].solution)
            cell.outputs = [new_output("execute_result", execution_count=cell.execution_count, data={
                "text/plain": repr(result), "text/html": result._repr_html_()})]
            cells.append(teacher(f"<details><summary>For the teacher: the mistakes that this check recognises"
                                 f"</summary>\n\n{mistakes(name)}\n\n</details>", name))
    about = (f"## For the teacher\n\nRuns in about {minutes(notebook):g} minutes on two cores. "
             f"Exercises: {', '.join(f'`{name}`' for name in exercises(notebook)) or 'none'}.\n\n"
             f"**Misconceptions to expect, and what answers them**\n\n{bulleted(page)}")
    copied.cells = [cells[0], teacher(about, page), *cells[1:]]
    return copied


def write(kind, target, folder=None):
    """Write all notebooks of a kind into target and return their paths; folder: see relinked()."""
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for page, path in notebooks().items():
        notebook = nbformat.read(path, as_version=4)
        made = student(notebook, folder) if kind == "student" else instructor(notebook, page, folder)
        nbformat.validate(made)
        nbformat.write(made, target / path.name)
        written.append(target / path.name)
    return written


def rehearse(*numbers):
    """Run the student notebooks as they stand."""
    target = ROOT / "build" / "student"
    for path in write("student", target, target):
        if not numbers or path.stem[:2] in numbers:
            start = time.monotonic()
            execute(path)                            # an exception in a cell stops it, and says which
            print(f"{path.relative_to(ROOT)} runs through: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)


def main(kind, *numbers):
    if kind == "rehearse":
        return rehearse(*numbers)
    target = ROOT / "build" / kind
    written = write(kind, target, target)
    print(f"{len(written)} notebooks are in {target.relative_to(ROOT)}.")


if __name__ == "__main__":
    if sys.argv[1:2] not in (["student"], ["instructor"], ["rehearse"]):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
