"""The set-up cell, run as a notebook runs it, on machines that have and have not the course."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import address  # noqa: E402
from colab import git  # noqa: E402

CELL = address.setup_cell()
WHERE = "\nprint('ours:', helpers.__file__, sys.path.count(str(root)))"


@pytest.fixture
def published(tmp_path):
    """The address of a repository that holds a course."""
    source = tmp_path / "published"
    for name in ("helpers/__init__", "exercises/check"):
        (source / name).parent.mkdir(parents=True)
        (source / f"{name}.py").write_text("", encoding="utf8")
    git(source, "init", "--quiet", "--initial-branch", address.course()["branch"])
    git(source, "add", "--all")
    git(source, "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false",
        "commit", "--quiet", "--message", "course")
    return source.as_uri()


@pytest.fixture
def machine(tmp_path):
    """The folder of a machine that holds nothing."""
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def run(folder, code, where_from, **environment):
    """What a fresh Python, in folder, makes of code: a finished process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COURSE_"))}
    return subprocess.run([sys.executable, "-c", "import sys; sys.path[0] = ''\n" + code], cwd=folder, text=True,
                          capture_output=True, env=clean | {"COURSE_REPO": where_from} | environment)


def test_it_fetches_the_course_once_and_twice_is_harmless(machine, published):
    end = run(machine, CELL + WHERE + "\n" + CELL + WHERE, published)
    line = f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1"
    assert (end.stdout.splitlines(), end.stderr) == ([line, line], "")
    again = run(machine, CELL + WHERE, "file:///nowhere")      # the next session finds what this one fetched
    assert again.stdout.splitlines() == [line]


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/deeper"])
def test_in_a_checkout_nothing_is_fetched(tmp_path, published, folder):
    git(tmp_path, "clone", "--quiet", published, "mine")
    (tmp_path / "mine" / folder).mkdir(parents=True, exist_ok=True)
    end = run(tmp_path / "mine" / folder, CELL + WHERE, "file:///nowhere")
    assert end.stdout == f"ours: {tmp_path / 'mine' / 'helpers' / '__init__.py'} 1\n"


def test_files_of_the_same_name_do_not_hide_ours(machine, published):
    (machine / "helpers.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    (machine / "data").mkdir()
    (machine / "data" / "__init__.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    end = run(machine, CELL + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


def test_a_package_of_the_same_name_with_files_of_the_same_names_does_not_hide_ours(machine, published):
    (machine / "helpers").mkdir()
    for name in ("__init__", "schedule", "unet", "data"):
        (machine / "helpers" / f"{name}.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    end = run(machine, CELL + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


def test_a_path_that_has_the_course_last_gets_it_first(machine, published):
    git(machine, "clone", "--quiet", published, "craters-from-noise")
    (machine / "helpers").mkdir()
    (machine / "helpers" / "__init__.py").write_text("", encoding="utf8")
    end = run(machine, f"sys.path.append({str(machine / 'craters-from-noise')!r})\n" + CELL + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


@pytest.mark.parametrize("other", ["helpers.py", "helpers/__init__.py", "helpers/something.txt"])
def test_another_helpers_that_is_already_imported_is_named(machine, published, other):
    (machine / other).parent.mkdir(exist_ok=True)
    (machine / other).write_text("", encoding="utf8")
    end = run(machine, "import helpers\n" + CELL, published)
    place = machine / "helpers" if other.endswith("txt") else machine / other
    assert end.returncode == 1 and f"{place}, which is not this course: restart the kernel" in end.stderr


def test_what_cannot_be_fetched_is_said_in_a_sentence(machine, tmp_path):
    nowhere = (tmp_path / "nowhere").as_uri()
    end = run(machine, CELL, nowhere)
    assert f"RuntimeError: The course could not be fetched from {nowhere} (fatal: " in end.stderr
    assert "Check the address and the network" in end.stderr and "CalledProcessError" not in end.stderr
    end = run(machine, CELL, "https://a.b/c", PATH="")
    assert "No such file or directory: 'git')" in end.stderr
    assert not list(machine.iterdir())


def test_a_folder_in_the_way_is_named(machine, published):
    (machine / "craters-from-noise").mkdir()
    (machine / "craters-from-noise" / "mine.txt").write_text("", encoding="utf8")
    end = run(machine, CELL, published)
    assert "RuntimeError: The course could not be fetched" in end.stderr
    assert "craters-from-noise' already exists" in end.stderr
