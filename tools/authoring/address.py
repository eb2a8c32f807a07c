"""Stamp the course's address, from [tool.course] in pyproject.toml, into badges, set-up cells, README,
CITATION.cff and the workflow that publishes the site.

    python -m tools.authoring.address [owner/name]         # with an argument: change it in pyproject.toml first
"""
import re
import sys
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def course():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]


def setup_cell(address=None):
    """The set-up cell that all notebooks share; it fetches the course's release from an address, by default its own.

    As long as the owner is the placeholder OWNER, whoever takes that name on GitHub could have learners run his code.
    So the cell then fetches nothing.
    """
    address = address or f"https://github.com/{course()['repository']}"
    kind = "setup_cell_without_address" if "/OWNER/" in address else "setup_cell"
    text = (ROOT / "tools" / "authoring" / f"{kind}.txt").read_text(encoding="utf8").strip()
    values = {"address": address, "name": address.rpartition("/")[2], "release": course()["release"]}
    return re.sub(r"\{(address|name|release)\}", lambda match: values[match[1]], text)


def badge(name):
    """The Colab badge of notebook name, as Markdown."""
    place = "{repository}/blob/{branch}/notebooks/".format(**course())
    return BADGE.format(link=f"https://colab.research.google.com/github/{place}{name}")


def stamp():
    """Put address, badges and set-up cells where they belong."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if "setup" in cell.metadata.get("tags", []):
                cell.source = setup_cell()
            cell.source = re.sub(r"\[!\[Open in Colab\].*?\)\]\(.*?\)", badge(path.name), cell.source)
        nbformat.write(notebook, path)
    for path in (ROOT / "README.md", ROOT / "CITATION.cff"):
        text = path.read_text(encoding="utf8")
        text = re.sub(r"\[!\[Open in Colab\][^)]*\)\]\([^)]*/notebooks/([\w.]+)\)", lambda match: badge(match[1]), text)
        text = re.sub(r"mybinder\.org/v2/gh/[\w.-]+/[\w.-]+/[\w.-]+",
                      "mybinder.org/v2/gh/{repository}/{branch}".format(**course()), text)
        text = re.sub(r"github\.com/[\w.-]+/[\w.-]+?(?=\.git\b|[\s\"/)]|$)(?!/[^\s]*/blob)",
                      f"github.com/{course()['repository']}", text)
        text = re.sub(r"(git clone \S+/([\w.-]+)) && cd [\w.-]+", r"\1 && cd \2", text)
        path.write_text(text, encoding="utf8")
    site = ROOT / ".github" / "workflows" / "site.yml"
    site.write_text(re.sub(r"branches: \[.*\]", f"branches: [{course()['branch']}]", site.read_text(encoding="utf8")),
                    encoding="utf8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", sys.argv[1]):
            sys.exit(f"An address looks like owner/name; found {sys.argv[1]!r}.")
        pyproject = ROOT / "pyproject.toml"
        text = re.sub(r'(?m)^repository = ".*"', f'repository = "{sys.argv[1]}"', pyproject.read_text(encoding="utf8"))
        pyproject.write_text(text, encoding="utf8")
    stamp()
