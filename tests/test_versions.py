"""Versions: what Colab holds, the floors, and which package changed."""
import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest
import yaml
from packaging.version import Version

from tools.checks import versions

ROOT = Path(__file__).resolve().parent.parent
COLAB = {name.lower().replace("_", "-"): version for name, version in
         versions.frozen(ROOT / "tests" / "colab-constraints.txt").items()}
CELLS = [(path.name, cell.source) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
         for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
CODE = CELLS + [(str(path.relative_to(ROOT)), path.read_text(encoding="utf8"))
                for package in ("helpers", "exercises") for path in (ROOT / package).rglob("*.py")]


def imported(source):
    """The packages that source imports, at whatever depth, without those of Python itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"helpers", "exercises", "tools"}


def test_imports_are_seen():
    lines = ["import os, a.b as c", "def f():", " from d.e import g", " from . import h", " import helpers.x"]
    assert imported("\n".join(lines)) == {"a", "d"}


def test_everything_imported_is_on_colab():
    package = {name: where[0] for name, where in packages_distributions().items()}
    package["google"] = "ipython"                              # google.colab: Colab's own, in no list of packages
    missing = {f"{where} imports {name}" for where, source in CODE for name in imported(source)
               if package.get(name, name).lower().replace("_", "-") not in COLAB}
    assert missing == set()
    assert {"torch", "PIL", "sklearn", "kagglehub"} <= {name for _, source in CODE for name in imported(source)}


def test_nothing_is_installed():
    assert [where for where, source in CELLS if re.search(r"(?m)^\s*[!%]|\bpip\b|\bget_ipython\b", source)] == []


def test_colab_is_not_below_the_floors():
    project = versions.floors()
    held = {name: COLAB[name] for name in project if name in COLAB}
    assert {"torch", "numpy", "ipywidgets", "accelerate", "safetensors", "pillow", "tifffile"} <= set(held)
    assert {name for name in held if Version(held[name]) < Version(project[name])} == set()


def test_floors_are_read_from_the_project():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert all(f'"{name}>={version}' in lines for name, version in versions.floors().items())
    assert {"torch", "pytest", "jupyter", "jupyter-book", "ruff", "psutil"} <= set(versions.floors())


def test_what_changed_is_named(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("-e git+here\nnumpy==2.0.0\nscikit_image==0.25.0\nlost==1\nx @ file:///a/x-1.whl\n", encoding="utf8")
    new.write_text("# Editable\nnumpy==2.1.0\nscikit-image==0.25.0\nfound==2\nx @ file:///a/x-1.whl\n", encoding="utf8")
    told = subprocess.run([sys.executable, "-m", "tools.checks.versions", "changed", old, new], check=True,
                          capture_output=True, text=True).stdout
    assert told == "found: not there -> 2\nlost: 1 -> gone\nnumpy: 2.0.0 -> 2.1.0\n"
    told = subprocess.run([sys.executable, "-m", "tools.checks.versions", "changed", old, old], check=True,
                          capture_output=True, text=True).stdout
    assert told == "No package changed: look at what else did.\n"
    told = subprocess.run([sys.executable, "-m", "tools.checks.versions", "changed", "nowhere.txt", new], check=True,
                          capture_output=True, text=True).stdout
    assert told.startswith("There is no nowhere.txt")
    new.write_text("", encoding="utf8")                        # pip broke off
    told = subprocess.run([sys.executable, "-m", "tools.checks.versions", "changed", old, new], check=True,
                          capture_output=True, text=True).stdout
    assert told == "The installation broke before any package was in: the log of pip says which.\n"


def test_what_an_environment_holds_is_told_with_its_python(tmp_path):
    (tmp_path / "held.txt").write_text(versions.held(sys.prefix), encoding="utf8")
    held = versions.frozen(tmp_path / "held.txt")
    assert held["python"] == platform.python_version() and {"torch", "numpy"} <= set(held)
    assert versions.held(tmp_path / "nothing") == ""


GH = """#!/bin/sh
case "$2" in */zip) cat "$STORE" ;; *name=green-latest*) echo 7 ;; esac
"""


@pytest.mark.parametrize("environment, told", [
    ("latest", "numpy: 2.0.0 -> 2.1.0"), ("floor", "There is no build/green/floor.txt")])
def test_the_weekly_run_names_what_changed(tmp_path, environment, told):
    """Its own commands, in a shell, with a stand-in for the program that fetches what the last green run kept."""
    zipfile = tmp_path / "store.zip"
    steps = {step.get("name"): step for step in yaml.safe_load(
        (ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf8"))["jobs"]["versions"]["steps"]}
    (tmp_path / "tools" / "checks").mkdir(parents=True)
    for name in ["__init__.py", "checks/__init__.py", "checks/versions.py"]:
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools" / name)
    with ZipFile(zipfile, "w") as store:
        store.writestr(f"{environment}.txt", "numpy==2.0.0\npython==3.13.1\n")
    (tmp_path / "gh").write_text(GH, encoding="utf8")
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "unzip").write_text(f'#!/bin/sh\n"{sys.executable}" -m zipfile -e "$2" "$4"\n', encoding="utf8")
    (tmp_path / "unzip").chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    paths = {"NOW": f"build/versions/{environment}.txt", "GREEN": f"build/green/{environment}.txt"}
    around = os.environ | paths | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STORE": str(zipfile),
                                   "ARTIFACTS": "repos/a/b/actions/artifacts", "GITHUB_STEP_SUMMARY": "summary.md"}

    def step(name):
        command = steps[name]["run"].replace("${{ matrix.environment }}", environment)
        return subprocess.run(["bash", "-e", "-c", command], cwd=tmp_path, env=around, check=True, text=True,
                              capture_output=True).stdout
    step("versions of the last green run")
    (tmp_path / "build" / "versions").mkdir()
    (tmp_path / paths["NOW"]).write_text("numpy==2.1.0\npython==3.13.1\n", encoding="utf8")
    said = step("which package changed")
    assert said.startswith(f"::error title={environment}, since its last green run::{told}")
    assert told in (tmp_path / "summary.md").read_text(encoding="utf8") and "python" not in said
    step("keep them as the last green ones")
    assert (tmp_path / paths["GREEN"]).read_text(encoding="utf8") == "numpy==2.1.0\npython==3.13.1\n"


@pytest.mark.parametrize("words", [[], ["changed", "one"], ["floor"]])
def test_other_words_get_the_usage(words):
    end = subprocess.run([sys.executable, "-m", "tools.checks.versions", *words], capture_output=True, text=True)
    assert end.returncode == 1 and "python -m tools.checks.versions floors" in end.stderr
