"""The house keeps to its plan: who may know whom, what every helper says about itself, one list of dependencies."""
import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
HELPERS = {path.stem: path for path in sorted((ROOT / "helpers").glob("*.py"))}
CORE = "schedule unet samplers optim checkpoints randomness span threads train metrics scenes data plot".split()
MAY = {"data": {"files"}, "train": {"optim", "checkpoints", "randomness", "span", "threads"}}      # else a library
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


def test_conda_gets_what_pip_gets():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["lab"], *extras["test"]]
    split = [re.fullmatch(r"([\w-]+)(>=[\d.]+)", line).groups() for line in wanted]
    assert [CONDA.get(name, name) + floor for name, floor in split] == environment["dependencies"][1:]
    assert environment["dependencies"][0] == "python" + project["requires-python"]
    assert environment["channels"] == ["conda-forge"] and environment["name"] == project["name"]
