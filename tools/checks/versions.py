"""Versions: the floors of pyproject.toml as pins, and what changed between two environments.

    python -m tools.checks.versions floors                    # name==floor, for pip install --constraint
    python -m tools.checks.versions of .venv-latest           # what an environment holds, and its Python
    python -m tools.checks.versions changed old.txt new.txt   # two of those: the packages that differ
"""
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def floors():
    """{package: the oldest version that pyproject.toml allows}, of the course and all its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    return dict(re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in lines if "[" not in line)


def frozen(path):
    """{package: version} of what pip freeze wrote to path; the course itself, an editable install, is left out."""
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return dict(re.split(r"==| @ ", line, maxsplit=1) for line in lines if re.match(r"[\w.-]+(==| @ )", line))


def held(environment):
    """What pip freeze says of a virtual environment, with its Python: a text, empty where there is none."""
    python = Path(environment) / "bin" / "python"
    if not python.exists():
        return ""
    told = [subprocess.run([python, *words], check=True, capture_output=True, text=True).stdout
            for words in (["-m", "pip", "freeze"], ["-c", "import platform; print(platform.python_version())"])]
    return f"{told[0]}python=={told[1]}"


def changed(old, new):
    """What differs between two {package: version}: a list of sentences, in the order of the names."""
    was, now = ({name.lower().replace("_", "-"): version for name, version in found.items()} for found in (old, new))
    return [f"{name}: {was.get(name, 'not there')} -> {now.get(name, 'gone')}" for name in sorted(was | now)
            if was.get(name) != now.get(name)]


if __name__ == "__main__":
    if sys.argv[1:] == ["floors"]:
        print("\n".join(f"{name}=={version}" for name, version in floors().items()))
    elif sys.argv[1:2] == ["of"] and len(sys.argv) == 3:
        print(held(sys.argv[2]), end="")
    elif sys.argv[1:2] == ["changed"] and len(sys.argv) == 4:
        old, new = sys.argv[2:]
        if set(now := frozen(new)) <= {"pip", "python", "setuptools"}:
            print("The installation broke before any package was in: the log of pip says which.")
        elif not Path(old).exists():
            print(f"There is no {old}: no earlier run is known to compare with.")
        else:
            print("\n".join(changed(frozen(old), now)) or "No package changed: look at what else did.")
    else:
        sys.exit(__doc__)
