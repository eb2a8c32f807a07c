"""Write prompt and stub of every exercise into the notebooks, from its file in exercises/.

    python -m tools.authoring.exercises

The cell with the stub has the tag "exercise" and ends in check.NAME(my_NAME); the prompt is in the Markdown cell before
it, from “Your turn” on.  The saved output of the stub, “not done yet”, is written, too.  A test holds notebooks and
exercises equal.
"""
import re
from pathlib import Path

import nbformat

from exercises.check import EXERCISES

ROOT = Path(__file__).resolve().parents[2]
CALL = re.compile(r"check\.(\w+)\(my_\w+\)\s*\Z")
IMPORT = "from exercises import check\n\n"


def prompt(exercise):
    """The prompt as Markdown, with its worked example; each paragraph and each item of a list is one line."""
    paragraphs = []
    for paragraph in exercise.prompt.split("\n\n"):
        items = re.split(r"\n(?=- )", paragraph)
        paragraphs.append("\n".join(" ".join(item.split()) for item in items))
    return f"**Your turn: `{exercise.name}`.** " + "\n\n".join([*paragraphs, exercise.example_in_words()])


def stub(exercise, first):
    """The cell that a learner fills in; the first of a notebook imports the checks."""
    return IMPORT * first + f"{exercise.stub}\n\ncheck.{exercise.name}(my_{exercise.name})"


def unanswered(exercise):
    """What the check says to the untouched stub, as the data of an output."""
    scope = {}
    exec(exercise.stub, scope)
    result = exercise(scope[f"my_{exercise.name}"])
    return {"text/html": result._repr_html_(), "text/plain": repr(result)}


def update(notebook):
    """Write prompts, stubs and their outputs into a notebook, in place."""
    first = True
    for before, cell in zip(notebook.cells, notebook.cells[1:]):
        if "exercise" not in cell.metadata.get("tags", []):
            continue
        exercise = EXERCISES[CALL.search(cell.source)[1]]
        cell.source = stub(exercise, first and "check" not in imported(notebook, cell))
        for output in cell.outputs:
            output.data.update(unanswered(exercise))
        head, _, old = before.source.partition("**Your turn: ")
        note = re.search(r"\n\n\(Put your [^\n]*\Z", old)      # how to answer, in words of the notebook's own
        before.source = head + prompt(exercise) + (note[0] if note else "")
        first = False
    return notebook


def imported(notebook, until):
    """The names that the cells before a cell import from exercises."""
    names = set()
    for cell in notebook.cells:
        if cell is until:
            return names
        found = re.findall(r"(?m)^from exercises import (.+)$", cell.source) if cell.cell_type == "code" else []
        names |= {name.strip() for line in found for name in line.split(",")}
    return names


def main():
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        before = path.read_text(encoding="utf8")
        text = nbformat.writes(update(nbformat.reads(before, as_version=4))) + "\n"
        if text != before:
            path.write_text(text, encoding="utf8")
            print(f"{path.relative_to(ROOT)}: prompts and stubs are updated.")


if __name__ == "__main__":
    main()
