"""Versions: what Colab holds, the floors, and which package changed."""
import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import versions  # noqa: E402

COLAB = {name.lower().replace("_", "-"): version for name, version in
         versions.frozen(ROOT / "tests" / "colab-constraints.txt").items()}
CELLS = [(path.name, cell.source) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
         for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
CODE = CELLS + [(f"helpers/{path.name}", path.read_text(encoding="utf8")) for path in (ROOT / "helpers").glob("*.py")]


def imported(source):
    """The packages that source imports, at whatever depth, without those of Python itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"helpers"}


def test_imports_are_seen():
    lines = ["import os, a.b as c", "def f():", " from d.e import g", " from . import h", " import helpers.x"]
    assert imported("\n".join(lines)) == {"a", "d"}


def test_everything_imported_is_on_colab():
    package = {name: where[0] for name, where in packages_distributions().items()}
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
    assert all(f'"{name}>={version}"' in lines for name, version in versions.floors().items())
    assert {"torch", "pytest"} <= set(versions.floors())


def test_what_changed_is_named(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("-e git+here\nnumpy==2.0.0\nscikit_image==0.25.0\nlost==1\nx @ file:///a/x-1.whl\n", encoding="utf8")
    new.write_text("# Editable\nnumpy==2.1.0\nscikit-image==0.25.0\nfound==2\nx @ file:///a/x-1.whl\n", encoding="utf8")
    told = subprocess.run([sys.executable, ROOT / "tools" / "versions.py", "changed", old, new], check=True,
                          capture_output=True, text=True).stdout
    assert told == "found: not there -> 2\nlost: 1 -> gone\nnumpy: 2.0.0 -> 2.1.0\n"
    told = subprocess.run([sys.executable, ROOT / "tools" / "versions.py", "changed", old, old], check=True,
                          capture_output=True, text=True).stdout
    assert told == "No package changed: look at what else did.\n"
    told = subprocess.run([sys.executable, ROOT / "tools" / "versions.py", "changed", "nowhere.txt", new], check=True,
                          capture_output=True, text=True).stdout
    assert told.startswith("There is no nowhere.txt")


@pytest.mark.parametrize("words", [[], ["changed", "one"], ["floor"]])
def test_other_words_get_the_usage(words):
    end = subprocess.run([sys.executable, ROOT / "tools" / "versions.py", *words], capture_output=True, text=True)
    assert end.returncode == 1 and "python tools/versions.py floors" in end.stderr
