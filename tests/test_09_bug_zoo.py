"""Notebook 09: it shows the bugs as they are, and has an exercise and a solution for each."""
import ast

import nbformat
import pytest
from cells import page
from test_zoo import FIXES

from helpers import env

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_page_shows_the_bugs_as_they_are():
    notebook = nbformat.read(page("09"), as_version=4)
    code = {node.name: ast.dump(node) for cell in notebook.cells if cell.cell_type == "code"
            for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)}
    source = ast.parse((env.ROOT / "exercises" / "zoo" / "broken.py").read_text(encoding="utf8"))
    bugs = {node.name: ast.dump(node) for node in source.body if isinstance(node, ast.FunctionDef)}
    assert len(bugs) == 8 and {name: code.get(name) for name in bugs} == bugs
    headings = [line.lstrip("# ") for cell in notebook.cells if cell.cell_type == "markdown"
                for line in cell.source.splitlines() if line.startswith("#")]
    assert sorted(exercise.section for exercise in FIXES.values()) == [h for h in headings if h.startswith("Exhibit")]
    exercises = [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    assert len(exercises) == 8 and all("not done yet" in str(cell.outputs) for cell in exercises)
    assert sum("solution" in cell.metadata.get("tags", []) for cell in notebook.cells) == 8
