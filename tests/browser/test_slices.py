"""What a page is cut down to for the browser: enough to run, and no more.  These need no browser."""
import ast
import builtins
import symtable
from pathlib import Path

import nbformat
import pytest
from slices import cut, small, statements, tagged, widget_cells

PAGES = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def page(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def code(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_what_a_widget_needs_is_followed_back():
    kept = code(cut(page("import a\nimport b\nx = a.f()\nunused = b.g()", "x.append(1)\nfor k in y: unused = k",
                         "def draw(v):\n    return late + x", "assert x\nlate = 3\nb.plot()",
                         "widgets.explore(draw, v=1)", "late = 4")))
    assert kept.splitlines() == ["import a", "x = a.f()", "x.append(1)", "def draw(v):", "    return late + x",
                                 "late = 3", "widgets.explore(draw, v=1)"]


def test_what_is_set_anew_is_not_followed_further():
    kept = code(cut(page("x = dear()", "if c:\n    x = 1\nelse:\n    x = 2", "widgets.stepper(f, x)")))
    assert "dear" not in kept and "x = 2" in kept
    assert "dear" in code(cut(page("x = dear()", "if c:\n    x = 1", "widgets.stepper(f, x)")))


def test_what_is_drawn_on_the_way_is_left_out():
    kept = code(cut(page("from helpers import plot\nx = 1\nplot.curves(x)", "widgets.explore(lambda v: plot.bars(x))")))
    assert kept.splitlines() == ["from helpers import plot", "x = 1", "widgets.explore(lambda v: plot.bars(x))"]


def test_settings_are_made_small_if_they_are_there():
    assert small("steps = 300   # many\nseed = 0", {"steps": 5}) == "steps = 5\nseed = 0"
    with pytest.raises(KeyError, match="no such setting"):
        small("seed = 0", {"steps": 5})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_that_is_cut_down_lacks_no_name(path):
    saved = nbformat.read(path, as_version=4)
    if not widget_cells(saved):
        pytest.skip("a page without widgets")
    less = cut(saved)
    nbformat.validate(less)
    assert len(widget_cells(less)) == len(widget_cells(saved)) and len(statements(less)) < len(statements(saved))
    cells = [cell for cell in less.cells if cell.cell_type == "code" and not tagged(cell, "exercise")]
    top = symtable.symtable("\n".join(cell.source for cell in cells), path.name, "exec")
    scopes, wanted = [top], set()
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        wanted |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    given = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    wanted |= {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    assert wanted - given - set(dir(builtins)) == set()
    assert all(ast.parse(cell.source) for cell in cells)
