"""Cells of the notebooks, found by their ids and run in a namespace, with other settings or without a part."""
import ast
import functools

import nbformat

from helpers import env


def page(number):
    """The path of the notebook with this number, "05"."""
    (path,) = (env.ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return path


@functools.cache
def code(number):
    """{id: source} of the notebook's code cells in their order, without the set-up cell."""
    cells = nbformat.read(page(number), as_version=4).cells
    return {cell.id: cell.source for cell in cells if cell.cell_type == "code" and cell.id != "setup"}


def pick(number, *ids):
    """{id: source} of these code cells, in the notebook's order.  KeyError: one that it has not."""
    found = code(number)
    missing = [place for place in ids if place not in found]
    if missing:
        raise KeyError(f"{page(number).name} has no code cell with the id {', '.join(missing)}: name one so there.")
    return {place: source for place, source in found.items() if place in ids}


def span(number, first="settings", last=None):
    """{id: source} of the code cells from first to last (None: to the notebook's end), both included."""
    ids = list(code(number))
    pick(number, first, last or first)
    end = len(ids) if last is None else ids.index(last) + 1
    return pick(number, *ids[ids.index(first):end])


def run(cells, names=None, change=None, **settings):
    """The names after cells {id: source} ran, beginning from a copy of names.

    change: syntax tree of a cell -> tree to be run instead.  settings replace those of the cell "settings".
    KeyError: a setting that the notebook has not.
    """
    names = dict(names or {})
    if settings and "settings" not in cells:
        raise KeyError("Settings are given, but the cell with the id settings is not among those to be run.")
    for place, source in cells.items():
        tree = ast.parse(source)
        if change is not None:
            tree = ast.fix_missing_locations(change(tree))
        exec(compile(tree, f"cell {place}", "exec"), names)
        if place == "settings":
            unknown = sorted(settings.keys() - names.keys())
            if unknown:
                raise KeyError(f"The notebook has no setting {', '.join(unknown)}.")
            names.update(settings)
    return names


# ---- changes of a cell before it runs


class WithoutAsserts(ast.NodeTransformer):
    """Takes what is asserted out of a tree: it holds of the shipped networks, not of a stand-in."""

    def visit_Assert(self, node):
        return ast.Pass()


def without_asserts(tree):
    """The tree without its assertions."""
    return WithoutAsserts().visit(tree)


def names_in(node):
    """All names that stand in a part of a syntax tree: a set."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def without(*names):
    """A change: the cell without the statements in which one of these names stands."""
    def change(tree):
        tree.body = [node for node in tree.body if not names_in(node) & set(names)]
        return tree
    return change


def only(*names):
    """A change: of the cell only the imports, and the functions with these names."""
    def change(tree):
        kept = (ast.Import, ast.ImportFrom)
        tree.body = [node for node in tree.body if isinstance(node, kept) or getattr(node, "name", None) in names]
        return tree
    return change
