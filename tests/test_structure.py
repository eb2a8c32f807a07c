"""The house keeps to its plan: who may import whom, what every module says of itself, one list of dependencies."""
import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}          # where conda-forge has another name


def name_of(path):
    """helpers/scenes/draw_cells.py -> "helpers.scenes.draw_cells"; a package is named without its __init__."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules(package):
    """{dotted name: source} of all modules of a package, sub-packages too."""
    return {name_of(path): path.read_text(encoding="utf8") for path in sorted((ROOT / package).rglob("*.py"))}


HELPERS = modules("helpers")
COURSE = HELPERS | modules("exercises") | modules("tools") | modules("benchmarks")

# A helper imports from the layers below its own, and from its own package if it is in one.  All else is a library.
LAYERS = [
    ["schedule", "unet", "samplers", "guidance", "metrics", "features", "optim", "randomness", "span", "threads",
     "scenes", "plot", "files", "env", "setup_course"],
    ["checkpoints", "data", "widgets"],
    ["train", "splits"],
    ["datasets"],
]
STRICTER = {"train": {"optim", "checkpoints", "randomness", "span", "threads"}, "data": {"files"}, "widgets": {"plot"},
            "checkpoints": {"schedule", "unet", "guidance"}}


def imported(source):
    """The modules and names that a source imports, at whatever depth it does so, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"helpers.{node.module or ''}".rstrip(".") if node.level else node.module
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def siblings(source):
    """The modules of helpers that a source imports."""
    return {name.split(".")[1] for name in imported(source) if name.startswith("helpers.")}


def may_import(name):
    """The siblings that the helper of this dotted name may import."""
    own = name.split(".")[1]
    (level,) = [i for i, layer in enumerate(LAYERS) if own in layer]
    below = {other for layer in LAYERS[:level] for other in layer}
    return STRICTER.get(own, below) | {own}


def test_imports_of_siblings_are_seen():
    lines = ["import helpers.a", "from helpers import b", "from helpers.c import d", "def f():", " from . import e",
             " from .g import h", "import numpy.x", "from torch import y", "from helpers.i.j import k"]
    assert siblings("\n".join(lines)) == set("abcegi")


@pytest.mark.parametrize("name", [name for name in HELPERS if name != "helpers"])
def test_helpers_import_only_from_layers_below(name):
    assert siblings(HELPERS[name]) - may_import(name) == set()


@pytest.mark.parametrize("name", HELPERS)
def test_helpers_import_neither_exercises_nor_tools(name):
    packages = {other.split(".")[0] for other in imported(HELPERS[name])}
    assert packages & {"exercises", "tools", "benchmarks", "tests"} == set()


@pytest.mark.parametrize("name", COURSE)
def test_lines_fit(name):
    lines = COURSE[name].splitlines()
    assert [f"line {i}: {len(line)}" for i, line in enumerate(lines, 1) if len(line) > 120] == []


EXERCISES = {".".join(path.relative_to(ROOT / "exercises").with_suffix("").parts): path
             for path in sorted((ROOT / "exercises").rglob("*.py"))}
ENGINE = {"exercise": {"comparison", "result", "sandbox"}, "diagnose": {"common", "result", "sandbox"},
          "zoo.model": {"nb04_reverse_sampling"}, "zoo.cases": {"diagnose", "zoo.broken", "zoo.model"},
          "zoo.__init__": {"zoo.cases", "zoo.model"}}
ALONE = ["__init__", "result", "sandbox", "comparison", "common", "zoo.broken"]


def exercise_siblings(source):
    """The modules of exercises that a module's source imports, at whatever depth it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "exercises":
            rest = node.module.removeprefix("exercises").lstrip(".")
            inside = {f"{rest}.{alias.name}".lstrip(".") for alias in node.names}
            found |= inside & set(EXERCISES) or {rest}
    return found


@pytest.mark.parametrize("name", EXERCISES)
def test_exercises_keep_their_layers(name):
    """The engine knows no exercise; an exercise knows engine and common; the bug zoo builds on earlier notebooks."""
    found = exercise_siblings(EXERCISES[name].read_text(encoding="utf8"))
    if name in ALONE:
        assert not found
    elif name in ENGINE:
        assert found <= ENGINE[name]
    elif name.startswith("nb09"):
        assert found <= {"exercise", "common", "nb03_training", "nb04_reverse_sampling", "zoo.broken"}
    elif name.startswith("nb"):
        assert found <= {"exercise", "common"}
    else:
        assert name == "check"


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
VALUES = (ast.Tuple, ast.List, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.IfExp, ast.BoolOp, ast.Compare)
LONGEST_FUNCTION = 45
LONGEST_FORMULA = 60
HELD = HELPERS | modules("exercises")
WITHOUT_DOCSTRINGS = "exercises.zoo.broken"                    # notebook 09 asks what its functions do


def long_functions(tree):
    """Functions of more than 45 lines; nested ones count within those around them."""
    return [f"line {node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines" for node in ast.walk(tree)
            if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= LONGEST_FUNCTION]


def without_docstring(tree):
    """Functions, classes and public methods without a docstring; that of a class speaks for its forward."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    nodes = [node for node in tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name[:2] != "__"]
    nodes += [node for one in classes for node in one.body
              if isinstance(node, FUNCTIONS) and node.name[0] != "_" and node.name != "forward"]
    return [f"line {node.lineno}: {node.name}" for node in nodes if not ast.get_docstring(node)]


def more_than_a_formula(tree):
    """Lambdas of several lines, of more than 60 characters behind the colon, with a condition or another lambda."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            parts = list(ast.walk(node.body))
            branches = any(isinstance(part, (ast.IfExp, ast.Lambda)) for part in parts)
            if branches or node.end_lineno != node.lineno or len(ast.unparse(node.body)) > LONGEST_FORMULA:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def leaves(target):
    """The single targets in a target, as text: (a, b), c.d -> {"a", "b", "c.d"}."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return {leaf for part in target.elts for leaf in leaves(part)}
    return {ast.unparse(target)}


def unrelated(targets, values):
    """Whether no value needs the old value of a target before it, so that a line each would do the same."""
    assigned = set()
    for target, value in zip(targets, values):
        if assigned & {ast.unparse(part) for part in ast.walk(value) if isinstance(part, ast.expr)}:
            return False
        assigned |= leaves(target)
    return True


def tuple_assignments(tree):
    """`a, b = x, y` of values that have nothing to do with each other; a swap is none, nor `x, y = x + y, x - y`."""
    return [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Tuple, ast.List))
            for target in node.targets
            if isinstance(target, (ast.Tuple, ast.List)) and unrelated(target.elts, node.value.elts)]


def crowded_lines(tree):
    """Lines with two statements, be it `a; b` or `if a: b`."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    starts = [node.lineno for node in nodes]
    return [f"line {line}" for line in sorted(set(starts)) if starts.count(line) > 1]


def values_for_effects(tree):
    """Values that nobody uses, written for their effects: `f(), g()`, `a and f()`, `[f(x) for x in y]`."""
    return [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, VALUES)]


RULES = {                         # rule: (faults, a line of text or more each; what is right)
    long_functions: (["def f():\n" + " x = 1\n" * 45, "def f():\n def g():\n" + "  x = 1\n" * 44],
                     "def f():\n" + " x = 1\n" * 44),
    without_docstring: (["def f():\n pass", "def _f():\n pass", "class A:\n pass",
                         "class A:\n 'A.'\n def g(self): pass"],
                        "def f():\n 'F.'\nclass A:\n 'A.'\n def forward(self): pass\n def _g(self): pass"),
    more_than_a_formula: (["lambda x: x if x > 0 else -x", "lambda x: (x +\n 1)", "lambda x: lambda y: y",
                           f"lambda x: x + {'1' * 57}"],
                          f"f = lambda x, y: x + y\ng(key=lambda x: -x)\nlambda x: x + {'1' * 56}"),
    tuple_assignments: (["a, b = 1, 2", "a, self.b = c, []", "a, b = a.x, b.x", "(a, b), c = f(), 1"],
                        "a, b = b, a\na, b = f()\nx, y = x + y, x - y\nx[0], x[1] = x[1], x[0]\nshape = 1, 2"),
    crowded_lines: (["a = 1; b = 2", "if a: b = 3", "def f(): return 1"], "a = 1\nif a:\n b = 3"),
    values_for_effects: (["f(), g()", "a and f()", "f() if a else g()", "[f(x) for x in y]", "a == b"],
                         "f()\n'text'"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_finds_what_it_forbids_and_nothing_else(rule):
    faults, right = RULES[rule]
    assert [len(rule(ast.parse(fault))) for fault in faults] == [1] * len(faults)
    assert rule(ast.parse(right)) == []


@pytest.mark.parametrize("name", HELD)
def test_functions_are_short_and_plain_and_say_what_they_are(name):
    tree = ast.parse(HELD[name])
    assert ast.get_docstring(tree), f"{name} opens without a sentence"
    found = {rule.__name__: rule(tree) for rule in RULES}
    if name == WITHOUT_DOCSTRINGS:
        found["without_docstring"] = []
    assert {rule: lines for rule, lines in found.items() if lines} == {}


def test_conda_gets_what_pip_gets():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lab"], *extras["test"]]
    split = [re.fullmatch(r"([\w-]+)(>=[\d.]+)", line).groups() for line in wanted]
    assert [CONDA.get(name, name) + floor for name, floor in split] == environment["dependencies"][1:]
    assert environment["dependencies"][0] == "python" + project["requires-python"]
    assert environment["channels"] == ["conda-forge"] and environment["name"] == project["name"]


TOOLS = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "tools").rglob("*.py"))}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_what_it_is_and_is_run_as_a_module(name):
    """`python -m tools.PURPOSE.NAME` finds helpers and the other tools; a file alone would not."""
    source = TOOLS[name].read_text(encoding="utf8")
    assert ast.get_docstring(ast.parse(source)), f"{name} opens without a sentence"
    assert not re.search(r"python tools/", source)
    if '__name__ == "__main__"' in source:
        assert f"python -m {name.removesuffix('.py').replace('/', '.')}" in source, f"{name} does not say how it is run"


def test_nobody_changes_where_python_looks_for_modules():
    """Text that a test hands to another Python is no statement, and may."""
    for path in [*TOOLS.values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        found = [node.lineno for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
                 if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"]
        assert found == [], f"{path.relative_to(ROOT)} uses sys.path in line {found[0]}"
