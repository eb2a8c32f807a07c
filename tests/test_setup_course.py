"""The set-up cell, run as a notebook runs it, on machines that have and have not the course."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.authoring import address
from tools.checks.colab import git

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "file:///nowhere/craters-from-noise"
WHERE = "\nimport helpers, sys; print('ours:', helpers.__file__, sys.path.count(helpers.__file__[:-20]))"


@pytest.fixture
def published(tmp_path):
    """The address of a repository that holds a course: its release, and after it a commit that breaks it."""
    source = tmp_path / "published" / "craters-from-noise"
    (source / "helpers").mkdir(parents=True)
    (source / "helpers" / "__init__.py").write_text("", encoding="utf8")
    shutil.copy(ROOT / "helpers" / "setup_course.py", source / "helpers")
    git(source, "init", "--quiet", "--initial-branch", address.course()["branch"])
    commit = ("-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false", "commit", "--quiet")
    git(source, "add", "--all")
    git(source, *commit, "--message", "course")
    git(source, "tag", address.course()["release"])
    git(source, "mv", "helpers", "renamed")
    git(source, *commit, "--message", "names have moved")
    return source.as_uri()


@pytest.fixture
def machine(tmp_path):
    """The folder of a machine that holds nothing."""
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def run(folder, code, where_from=NOWHERE, **environment):
    """What a fresh Python, in folder, makes of code, in which CELL is the set-up cell: a finished process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COURSE_"))}
    code = "import sys; sys.path[0] = ''\n" + code.replace("CELL", address.setup_cell(where_from))
    return subprocess.run([sys.executable, "-c", code], cwd=folder, text=True, capture_output=True,
                          env=clean | environment)


def test_it_fetches_the_course_once_and_twice_is_harmless(machine, published):
    end = run(machine, "CELL" + WHERE + "\nCELL" + WHERE, published)
    line = f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1"
    assert (end.stdout.splitlines(), end.stderr) == ([line, line], "")
    again = run(machine, "CELL" + WHERE)      # the next session finds what this one fetched
    assert again.stdout.splitlines() == [line]


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/deeper"])
def test_in_a_checkout_nothing_is_fetched(tmp_path, published, folder):
    git(tmp_path, "clone", "--quiet", "--branch", address.course()["release"], published, "mine")
    (tmp_path / "mine" / folder).mkdir(parents=True, exist_ok=True)
    end = run(tmp_path / "mine" / folder, "CELL" + WHERE)
    assert end.stdout == f"ours: {tmp_path / 'mine' / 'helpers' / '__init__.py'} 1\n"


def test_files_of_the_same_name_do_not_hide_ours(machine, published):
    (machine / "helpers.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    (machine / "data").mkdir()
    (machine / "data" / "__init__.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    end = run(machine, "CELL" + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


def test_a_package_of_the_same_name_with_files_of_the_same_names_does_not_hide_ours(machine, published):
    (machine / "helpers").mkdir()
    for name in ("__init__", "schedule", "unet", "data"):
        (machine / "helpers" / f"{name}.py").write_text("raise RuntimeError('the wrong one')", encoding="utf8")
    end = run(machine, "CELL" + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


def test_a_path_that_has_the_course_last_gets_it_first(machine, published):
    git(machine, "clone", "--quiet", "--branch", address.course()["release"], published)
    (machine / "helpers").mkdir()
    (machine / "helpers" / "__init__.py").write_text("", encoding="utf8")
    end = run(machine, f"sys.path.append({str(machine / 'craters-from-noise')!r})\nCELL" + WHERE, published)
    assert end.stdout == f"ours: {machine / 'craters-from-noise' / 'helpers' / '__init__.py'} 1\n"


@pytest.mark.parametrize("other", ["helpers.py", "helpers/__init__.py", "helpers/something.txt"])
def test_another_helpers_that_is_already_imported_is_named(machine, published, other):
    (machine / other).parent.mkdir(exist_ok=True)
    (machine / other).write_text("", encoding="utf8")
    end = run(machine, "import helpers\nCELL", published)
    place = machine / "helpers" if other.endswith("txt") else machine / other
    assert end.returncode == 1 and f"{place}, which is not this course: restart the kernel" in end.stderr


def test_what_cannot_be_fetched_is_said_in_a_sentence(machine, tmp_path):
    nowhere = (tmp_path / "nowhere").as_uri()
    end = run(machine, "CELL", nowhere)
    assert "AssertionError: The course could not be fetched (fatal: " in end.stderr
    assert f"{tmp_path / 'nowhere'}" in end.stderr and "Is there a network?" in end.stderr
    end = run(machine, "CELL", "https://a.b/c", PATH="")
    assert "The course could not be fetched (" in end.stderr and "git: " in end.stderr
    assert not list(machine.iterdir())


def test_a_folder_in_the_way_is_named(machine, published):
    (machine / "craters-from-noise").mkdir()
    (machine / "craters-from-noise" / "mine.txt").write_text("", encoding="utf8")
    end = run(machine, "CELL", published)
    assert "The course could not be fetched" in end.stderr
    assert "craters-from-noise' already exists" in end.stderr


def test_as_long_as_the_address_is_a_placeholder_nothing_is_fetched(machine):
    """Whoever registers the name OWNER would otherwise run code of his on learners' machines."""
    tool = machine.parent / "bin" / "git"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {machine}/fetched\n", encoding="utf8")
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    end = run(machine, "CELL", "https://github.com/OWNER/craters-from-noise", PATH=path)
    assert "The course has no public address yet, so nothing is fetched: open this notebook" in end.stderr
    assert end.returncode == 1 and not list(machine.iterdir())
    run(machine, "CELL", "https://github.com/ada/craters-from-noise", PATH=path)
    assert (machine / "fetched").exists()                      # with an address, git is asked


@pytest.mark.parametrize("where", ["https://github.com/OWNER/noise", "https://github.com/ada/noise"])
def test_the_cell_is_short_and_fetches_a_release(where):
    lines = address.setup_cell(where).splitlines()
    assert len(lines) <= 8 and max(map(len, lines)) <= 88
    fetches = [line for line in lines if "git clone" in line]
    assert len(fetches) == ("ada" in where)
    assert all(f"-b {address.course()['release']} {where}" in line for line in fetches)


COLAB = """import pathlib, runpy, sys, types
drive = types.ModuleType("google.colab.drive")
drive.mount = lambda place: print("mounted")
sys.modules |= {"google": types.ModuleType("google"), "google.colab": types.ModuleType("google.colab")}
sys.modules["google.colab"].drive = drive
setup = runpy.run_path(ROOT + "/helpers/setup_course.py")
"""


def test_on_colab_weights_and_checkpoints_can_be_kept_in_drive(tmp_path):
    code = f"ROOT = {str(ROOT)!r}\n{COLAB}setup['use_drive']({str(tmp_path)!r})\n"
    again = f"setup['use_drive']({str(tmp_path)!r})"
    end = run(tmp_path, f"{code}from helpers import env; print(env.CHECKPOINTS)\n{again}")
    folder = tmp_path / "MyDrive" / "craters-from-noise"
    assert end.stdout.splitlines()[0] == "mounted" and end.stdout.splitlines()[2] == str(folder / "checkpoints"), end
    assert (folder / "images").is_dir() and end.stderr == ""   # a second time is harmless
    late = code.replace("setup['use", "import helpers.env\nsetup['use")
    assert "restart it, and run this cell first" in run(tmp_path, late).stderr


def test_elsewhere_than_on_colab_there_is_no_drive(machine, published):
    end = run(machine, "CELL", published)
    assert end.stderr == ""
    cell = address.setup_cell(published).replace("keep_in_drive = False", "keep_in_drive = True")
    end = run(machine, cell)
    assert "RuntimeError: keep_in_drive is for Google Colab" in end.stderr
