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
COURSE = HELPERS | modules("tools") | modules("benchmarks")

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
def test_helpers_import_no_tool(name):
    assert {other.split(".")[0] for other in imported(HELPERS[name])} & {"tools", "benchmarks", "tests"} == set()


@pytest.mark.parametrize("name", [name for name in HELPERS if not name.endswith(".zoo")])   # learners read its source
def test_every_public_thing_says_what_it_is(name):
    tree = ast.parse(HELPERS[name])
    assert ast.get_docstring(tree), f"{name} opens without a sentence"
    public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


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


@pytest.mark.parametrize("path", sorted((ROOT / "helpers").rglob("*.py")), ids=lambda path: path.stem)
def test_helpers_know_neither_exercises_nor_tools(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {module.split(".")[0] for module in modules} & {"exercises", "tools", "benchmarks", "tests"}


def length(node):
    """How many lines a function has."""
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("name", EXERCISES)
def test_exercises_say_what_they_are_and_fit(name):
    text = EXERCISES[name].read_text(encoding="utf8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"exercises/{name}.py opens without a sentence"
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if name != "zoo.broken":                                   # the notebook shows these without a word
        public = [node for node in tree.body if node in nodes and node.name[0] != "_"]
        assert [node.name for node in public if not ast.get_docstring(node)] == []
    assert [node.name for node in nodes if isinstance(node, ast.FunctionDef) and length(node) > 45] == []
    assert [i for i, line in enumerate(text.splitlines(), 1) if len(line) > 120] == []


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


def test_helpers_know_no_tools():
    for path in (ROOT / "helpers").rglob("*.py"):
        modules = [getattr(node, "module", None) or node.names[0].name for node in ast.walk(ast.parse(
            path.read_text(encoding="utf8"))) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert not [module for module in modules if module.split(".")[0] in ("tools", "benchmarks", "tests")], path
