"""A page cut down to what its widgets need, by following names back from each widget: so it cannot drift from it."""
import ast
import builtins
import copy
import symtable

import nbformat

MAKERS = ("widgets.explore", "widgets.stepper")


def tagged(cell, tag):
    return cell.cell_type == "code" and tag in cell.metadata.get("tags", [])


def makes_widget(node):
    """Whether a statement calls widgets.explore or widgets.stepper."""
    return any(isinstance(n, ast.Call) and ast.unparse(n.func) in MAKERS for n in ast.walk(node))


def front(node):
    """The name at the front of a.b[c].d(), or None."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def surely(node):
    """The names that a statement assigns whichever way it goes."""
    if isinstance(node, ast.Assign):
        return {n.id for target in node.targets for n in ast.walk(target)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(n.asname or n.name).split(".")[0] for n in node.names}
    if isinstance(node, ast.If):
        return set.intersection(*(set().union(*map(surely, way)) for way in (node.body, node.orelse)))
    return set()


class Statement:
    """A statement of a page's cell number .cell: names that it .needs, needs .late (when called), .gives and .settles.

    It settles a name if afterwards it no longer matters what the name was before.
    """

    def __init__(self, node, cell, last, modules):
        self.node, self.cell, self.last, self.code = node, cell, last, ast.unparse(node)
        table = symtable.symtable(self.code, "cell", "exec")
        own = table.get_symbols()
        inner, self.late = table.get_children(), set()
        while inner:
            scope = inner.pop()
            inner += scope.get_children()
            self.late |= {s.get_name() for s in scope.get_symbols() if s.is_global()}
        self.needs = {s.get_name() for s in own if s.is_referenced()} | self.late
        self.gives = {s.get_name() for s in own if s.is_assigned() or s.is_imported()}
        if isinstance(node, ast.For):          # its own variables
            self.needs -= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        self.settles = surely(node) - self.needs
        for n in ast.walk(node):               # x.append(…), x[0] = … and x.y = … change x
            if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and not last:
                name = front(n.value.func)
                self.gives |= {name} if n is node or name not in modules else set()
            elif isinstance(n, (ast.Attribute, ast.Subscript)) and isinstance(n.ctx, ast.Store):
                self.gives |= {front(n)}
            elif isinstance(n, ast.AugAssign):
                self.needs |= {front(n.target)}
        self.needs, self.gives, self.late = (found - {None} - set(dir(builtins)) for found in
                                             (self.needs, self.gives, self.late))


def statements(notebook):
    """All statements of a page's code cells but set-up and exercises, in their order."""
    trees = {i: ast.parse(cell.source).body for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"
             and not tagged(cell, "setup") and not tagged(cell, "exercise")}
    imports = [n for body in trees.values() for node in body for n in ast.walk(node) if isinstance(n, ast.alias)]
    modules = {(n.asname or n.name).split(".")[0] for n in imports}
    return [Statement(node, i, node is body[-1] and isinstance(node, ast.Expr), modules)
            for i, body in trees.items() for node in body]


def needed(found):
    """Those of the statements that the widgets among them rest on, in their order."""
    ends = {s.cell for s in found if makes_widget(s.node)}
    shown = {i for i, s in enumerate(found) if makes_widget(s.node) or (s.cell in ends and s.last)}
    kept, before = set(shown), None
    while kept != before:
        before = set(kept)
        for end in shown:
            late = set().union(*(found[i].late for i in kept if i <= end))
            wanted = late | found[end].needs
            for i in range(end - 1, -1, -1):
                if found[i].gives & wanted:
                    kept.add(i)
                    wanted = (wanted - found[i].settles) | found[i].needs
    return [found[i] for i in sorted(kept)]


def small(settings, values):
    """The source of a settings cell with other values: {name: value}.  KeyError: a name is no setting."""
    tree = ast.parse(settings)
    names = {node.targets[0].id: node for node in tree.body}
    for name, value in values.items():
        if name not in names:
            raise KeyError(f"{name} is set smaller for the browser, but the page has no such setting.")
        names[name].value = ast.Constant(value)
    return ast.unparse(tree)


def cut(notebook, values=None):
    """A copy of a page with its first words, set-up, settings, exercises and what its widgets need; no outputs."""
    kept, cells = needed(statements(notebook)), []
    for i, cell in enumerate(notebook.cells):
        cell = copy.deepcopy(cell)
        if tagged(cell, "parameters"):
            cell.source = small(cell.source, values or {})
        elif cell.cell_type == "code" and not (tagged(cell, "setup") or tagged(cell, "exercise")):
            cell.source = "\n".join(s.code for s in kept if s.cell == i)
        if i == 0 or (cell.cell_type == "code" and cell.source):
            cells.append(cell)
    return bare(nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata))


def bare(notebook):
    """A copy of a page without outputs."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def widget_cells(notebook):
    """The numbers of the code cells, counted from 0 among code cells, that make a widget."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [i for i, cell in enumerate(code) if any(makes_widget(node) for node in ast.parse(cell.source).body)]
