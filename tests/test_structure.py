"""The house keeps to its plan: who may know whom, what every helper says about itself, one list of dependencies."""
import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
HELPERS = {path.stem: path for path in sorted((ROOT / "helpers").glob("*.py"))}
CORE = "schedule unet samplers optim checkpoints train metrics scenes data plot".split()
MAY = {"data": {"files"}, "train": {"optim", "checkpoints"}}            # all else that these import is a library
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}          # where conda-forge has another name


def siblings(source):
    """The modules of helpers that a module's source imports, at whatever depth it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("helpers.")}
        elif isinstance(node, ast.ImportFrom):
            module = "helpers." + (node.module or "") if node.level else node.module
            if module.rstrip(".") == "helpers":
                found |= {alias.name for alias in node.names}
            elif module.startswith("helpers."):
                found.add(module.split(".")[1])
    return found


def test_imports_of_siblings_are_seen():
    lines = ["import helpers.a", "from helpers import b", "from helpers.c import d", "def f():", " from . import e",
             " from .g import h", "import numpy.x", "from torch import y"]
    assert siblings("\n".join(lines)) == set("abceg")


@pytest.mark.parametrize("name", [*CORE, "files"])
def test_the_core_knows_no_other_sibling(name):
    assert siblings(HELPERS[name].read_text(encoding="utf8")) <= MAY.get(name, set())


@pytest.mark.parametrize("name", HELPERS)
def test_nobody_knows_widgets_or_run(name):
    assert not siblings(HELPERS[name].read_text(encoding="utf8")) & {"widgets", "run"}


def test_widgets_know_only_plot():
    assert siblings(HELPERS["widgets"].read_text(encoding="utf8")) <= {"plot"}


@pytest.mark.parametrize("name", HELPERS)
def test_every_public_thing_says_what_it_is(name):
    tree = ast.parse(HELPERS[name].read_text(encoding="utf8"))
    assert ast.get_docstring(tree), f"helpers/{name}.py opens without a sentence"
    public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", HELPERS)
def test_lines_fit(name):
    lines = HELPERS[name].read_text(encoding="utf8").splitlines()
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
