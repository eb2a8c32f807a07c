"""Run notebooks as Colab runs them: alone in an empty folder, the course fetched by the set-up cell, strictly compared.

    .venv-colab/bin/python -m tools.checks.colab [02_forward_noising ...]   # `make test-colab` makes it

What is fetched is this working tree, whole, uncommitted changes too, put into a repository for the occasion.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from tools.authoring import address

ROOT = Path(__file__).resolve().parents[2]


def git(folder, *words):
    """What `git words` prints in folder."""
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


def publish(target):
    """Make target a repository with one release: the files of this working tree that git does not ignore."""
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git(target, "init", "--quiet", "--initial-branch", address.course()["branch"])
    git(target, "add", "--all", "--force")
    git(target, "-c", "user.name=course", "-c", "user.email=course@localhost", "-c", "commit.gpgsign=false",
        "commit", "--quiet", "--message", "the working tree")
    git(target, "tag", address.course()["release"])


def bring(path, target, where):
    """Put the notebook at path into the folder target; its set-up cell fetches the course from the address where."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = address.setup_cell(where)
    nbformat.write(notebook, target / path.name)


def main(*names):
    """Exit status of the comparison of notebooks (all, if none is named)."""
    paths = [ROOT / "notebooks" / f"{name}.ipynb" for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    with tempfile.TemporaryDirectory(prefix="colab-") as folder:
        folder = Path(folder).resolve()
        publish(folder / "craters-from-noise")
        (folder / "machine").mkdir()
        (folder / "machine" / "pytest.ini").write_text("[pytest]\n", encoding="utf8")    # none of the course's settings
        contents = [folder / "machine" / path.stem for path in paths]
        for path, content in zip(paths, contents):
            content.mkdir()
            bring(path, content, (folder / "craters-from-noise").as_uri())
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PYTHON"))}
        environment |= {"COLAB_RELEASE_TAG": "release-colab-simulated"}
        status = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval",
                                 "--nbval-current-env", *map(str, contents)],
                                cwd=folder / "machine", env=environment).returncode
        for content in contents:
            if not (content / "craters-from-noise" / "helpers").is_dir():
                sys.exit(f"{content.name} did not fetch the course: it found another, or its set-up cell did not run.")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
