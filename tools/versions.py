"""Versions: the floors of pyproject.toml as pins, and what changed between two environments.

    python tools/versions.py floors                    # name==floor, for pip install --constraint
    python tools/versions.py changed old.txt new.txt   # two outputs of pip freeze: the packages that differ
"""
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def floors(extra="test"):
    """{package: the oldest version that pyproject.toml allows} of the course and one extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"][extra]]
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in lines)


def frozen(path):
    """{package: version} of what pip freeze wrote to path; the course itself, an editable install, is left out."""
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return dict(re.split(r"==| @ ", line, maxsplit=1) for line in lines if re.match(r"[\w.-]+(==| @ )", line))


def changed(old, new):
    """What differs between two {package: version}: a list of sentences, in the order of the names."""
    was, now = ({name.lower().replace("_", "-"): version for name, version in found.items()} for found in (old, new))
    return [f"{name}: {was.get(name, 'not there')} -> {now.get(name, 'gone')}" for name in sorted(was | now)
            if was.get(name) != now.get(name)]


if __name__ == "__main__":
    if sys.argv[1:] == ["floors"]:
        print("\n".join(f"{name}=={version}" for name, version in floors().items()))
    elif sys.argv[1:2] == ["changed"] and len(sys.argv) == 4:
        old, new = sys.argv[2:]
        if Path(old).exists():
            print("\n".join(changed(frozen(old), frozen(new))) or "No package changed: look at what else did.")
        else:
            print(f"There is no {old}: no earlier run is known to compare with.")
    else:
        sys.exit(__doc__)
