"""Installation by make: which Python is refused and how, when a virtual environment is made anew, and what is kept.

Each test runs make on a copy of the Makefile, offline, in a folder whose name has a space. What is installed there is a
package without dependencies, which also takes the place of JupyterLab and pytest.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REAL = sys._base_executable                                    # a Python that is no virtual environment itself
# A Python that makes environments by copying one, which takes a tenth of the time.
COPIES = f'''#!/bin/sh
for last; do :; done
case "$*" in
    *"-m venv"*) rm -rf "$last" && cp -R "{{plain}}" "$last" ;;
    *) exec "{REAL}" "$@" ;;
esac
'''
BUILD = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n\n'
BACKEND = '''
import zipfile
FILES = {"jupyterlab/__init__.py": "def main(): print('JupyterLab runs')",
         "jupyterlab/__main__.py": "from jupyterlab import main; main()",
         "pytest.py": "import os; print('COURSE_DATA is', os.environ.get('COURSE_DATA'))",
         "course-0.dist-info/entry_points.txt": "[console_scripts]\\njupyter = jupyterlab:main\\n",
         "course-0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
         "course-0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: course\\nVersion: 0\\n" + "".join(
             f"Provides-Extra: {extra}\\n" for extra in ("lab", "test", "dev", "bench", "browser", "kit")),
         "course-0.dist-info/RECORD": ""}

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(folder + "/course-0-py3-none-any.whl", "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(name, text)
    return "course-0-py3-none-any.whl"
'''
# Debian's python3 without the package python3-venv: it begins an environment and breaks off.
NO_ENSUREPIP = f'''#!/bin/sh
case "$*" in
    *"-m venv"*) "{REAL}" -m venv --without-pip .venv; exit 1 ;;
    *ensurepip*) exit 1 ;;
    *) exec "{REAL}" "$@" ;;
esac
'''
# A Python that gives itself out as another version.
VERSION = f'''#!/bin/sh
if [ "$1" = -c ]; then
    code="import sys; sys.version_info = {{numbers}}; sys.version = '{{version}} (main)'; exec(sys.argv.pop(1))"
    exec "{REAL}" -c "$code" "$2"
fi
exec "{{copies}}" "$@"
'''


def executable(path, text):
    path.write_text(text, encoding="utf8")
    path.chmod(0o755)
    return path


def make(course, *words):
    """The end of `make words` in course: .returncode and .stdout, which holds the errors too.  python3 is REAL."""
    inherited = {name: value for name, value in os.environ.items()
                 if not re.match("PYTHON|COURSE_|PIP_|MAKE|MFLAGS|VIRTUAL_ENV", name)}
    environment = inherited | {"PATH": f"{course.parent / 'bin'}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    return subprocess.run(["make", *words], cwd=course, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def lay_out(folder, plain):
    """A copy of the course in folder, as far as make needs it, and beside it bin/ with the Pythons: its path.

    plain: an environment without packages, to be copied
    """
    course = folder / "my course"
    for name in ["Makefile", "tools/venv.sh", "tools/checks/versions.py"]:
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, course / name)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    (course / "pyproject.toml").write_text(re.sub(r"(?s)\[build-system\].*?\n\n", lambda _: BUILD, project),
                                           encoding="utf8")
    (course / "backend.py").write_text(BACKEND, encoding="utf8")
    (course / "tests").mkdir()
    (course / "tests" / "colab-constraints.txt").write_text("", encoding="utf8")
    (folder / "bin").mkdir()
    copies = executable(folder / "bin" / "python3", COPIES.format(plain=plain))
    executable(folder / "bin" / "bare", NO_ENSUREPIP)
    for name, numbers in {"old": (3, 10, 13), "new": (3, 99, 0)}.items():
        version = ".".join(map(str, numbers))
        executable(folder / "bin" / name, VERSION.format(numbers=numbers, version=version, copies=copies))
    return course


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An environment without packages, made by `make` with a real Python."""
    course = lay_out(tmp_path_factory.mktemp("plain"), None)
    end = make(course, ".venv/.python", f"PYTHON={REAL}")
    assert end.returncode == 0, end.stdout
    (course / ".venv" / ".python").unlink()
    return course / ".venv"


@pytest.fixture
def fresh(tmp_path, plain):
    """A course that nothing is installed in."""
    return lay_out(tmp_path, plain)


@pytest.fixture(scope="module")
def template(tmp_path_factory, plain):
    course = lay_out(tmp_path_factory.mktemp("template"), plain)
    end = make(course, ".venv/.lab")
    assert end.returncode == 0, end.stdout
    return course


@pytest.fixture
def installed(template, tmp_path):
    """A course that is installed, and has a file of its own in .venv, which is gone once that is made anew."""
    shutil.copytree(template.parent, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "my course" / ".venv" / "mine").touch()
    return tmp_path / "copy" / "my course"


def packages(course, folder=".venv"):
    (found,) = (course / folder).glob("lib/python*/site-packages")
    return found


def kept(course):
    return (course / ".venv" / "mine").exists()


def test_a_first_make_installs_and_a_second_has_nothing_to_do(installed):
    assert (installed / ".venv" / ".lab").exists() and (installed / ".venv" / ".python").exists()
    end = make(installed, ".venv/.lab")
    assert end.returncode == 0 and "pip" not in end.stdout and "Making" not in end.stdout and kept(installed)


# ------------------------------------------------------------------------------------------ the Python is checked first

@pytest.mark.parametrize("target", [".venv/.lab", ".venv-floor/.ready", ".venv-colab/.ready", "test-latest"])
def test_a_python_that_is_too_old_is_refused_in_a_sentence(fresh, target):
    old = fresh.parent / "bin" / "old"
    end = make(fresh, target, f"PYTHON={old}", f"FLOOR_PYTHON={old}", f"COLAB_PYTHON={old}")
    assert end.returncode != 0
    assert f'"{old}" is Python 3.10.13, and the course needs Python 3.11 or newer. Install one' in end.stdout
    assert "make lab PYTHON=python3.11" in end.stdout and list(fresh.glob(".venv*")) == []


def test_a_python_without_ensurepip_is_refused_and_leaves_nothing(fresh):
    """Seen before: .venv without pip, which every later make took for a whole one."""
    bare = fresh.parent / "bin" / "bare"
    end = make(fresh, ".venv/.lab", f"PYTHON={bare}")
    assert end.returncode != 0 and "sudo apt install python3-venv" in end.stdout and not (fresh / ".venv").exists()
    end = make(fresh, ".venv/.lab")                            # after that was done
    assert end.returncode == 0 and (fresh / ".venv" / ".lab").exists(), end.stdout


@pytest.mark.parametrize("name", ["python3.nowhere", "/no such folder/python", "false"])
def test_what_is_no_python_is_named(fresh, name):
    end = make(fresh, ".venv/.lab", f"PYTHON={name}")
    assert end.returncode != 0 and f'"{name}" does not run as a Python. Install Python 3.11 or newer' in end.stdout
    assert not (fresh / ".venv").exists()


@pytest.mark.parametrize("name", ["old", "bare", "nowhere"])
def test_a_python_that_is_refused_costs_no_environment(installed, name):
    end = make(installed, ".venv/.lab", f"PYTHON={installed.parent / 'bin' / name}")
    assert kept(installed) and (end.returncode == 0) == (name == "bare")       # the same Python, and not needed


# --------------------------------------------------------------------------------------- what does not fit is made anew

def test_another_python_gets_another_environment(installed):
    end = make(installed, ".venv/.lab", f"PYTHON={installed.parent / 'bin' / 'new'}")
    assert end.returncode == 0 and "the old one has another Python" in end.stdout and not kept(installed)
    assert (packages(installed) / "pytest.py").exists()        # installed anew, too


def test_without_a_name_whatever_python_is_there_will_do(installed):
    """PYTHON=python3.12 once must not mean PYTHON=python3.12 for ever after."""
    shutil.copy(installed.parent / "bin" / "new", installed.parent / "bin" / "python3")
    assert make(installed, ".venv/.lab").returncode == 0 and kept(installed)
    shutil.copy(installed.parent / "bin" / "old", installed.parent / "bin" / "python3")
    assert make(installed, ".venv/.lab").returncode == 0 and kept(installed)


def no_python(course):
    """As after an upgrade that took the old Python away."""
    for path in (course / ".venv" / "bin").glob("python*"):
        path.unlink()
        path.symlink_to("/nowhere/python3")


def other_version(course):
    """As after an upgrade under the same name: Python looks for packages in another folder."""
    folder = packages(course).parent
    folder.rename(folder.with_name("python3.0"))


def half_of_pip(course):
    """As after a first make that was interrupted."""
    (record,) = packages(course).glob("pip-*.dist-info/RECORD")
    record.unlink()
    (course / ".venv" / ".lab").unlink()
    (course / ".venv" / ".python").unlink()


def half_a_package(course):
    """As after a disk was full in the middle of an installation."""
    (packages(course) / "course-0.dist-info" / "RECORD").unlink()
    (course / ".venv" / ".lab").unlink()


@pytest.mark.parametrize("harm, why", [(no_python, "its Python does not run"), (half_of_pip, "not complete"),
                                       (half_a_package, "not complete")])
def test_what_is_broken_is_made_anew(installed, harm, why):
    harm(installed)
    end = make(installed, "lab")
    assert end.returncode == 0 and why in end.stdout and "JupyterLab runs" in end.stdout, end.stdout
    assert not kept(installed) and (installed / ".venv" / ".lab").exists()


def test_after_an_upgrade_of_python_everything_is_installed_anew(installed):
    other_version(installed)
    (installed / ".venv" / ".python").unlink()
    end = make(installed, "lab")
    assert end.returncode == 0 and "JupyterLab runs" in end.stdout, end.stdout


def test_an_environment_made_by_hand_is_kept(installed):
    """As the README says for those without make, or with uv, which leaves pip out."""
    (installed / ".venv" / ".python").unlink()
    for path in packages(installed).glob("pip*"):
        shutil.rmtree(path)
    end = make(installed, ".venv/.lab", ".venv/.test")
    assert end.returncode == 0 and kept(installed) and (packages(installed) / "pip").exists(), end.stdout


def test_the_floor_goes_by_the_same_rules(fresh):
    assert make(fresh, ".venv-floor/.ready", "FLOOR_PYTHON=python3").returncode == 0
    (fresh / ".venv-floor" / "mine").touch()
    end = make(fresh, ".venv-floor/.ready", "FLOOR_PYTHON=python3")
    assert end.returncode == 0 and (fresh / ".venv-floor" / "mine").exists() and "pip" not in end.stdout
    new = fresh.parent / "bin" / "new"
    end = make(fresh, ".venv-floor/.ready", f"FLOOR_PYTHON={new}")
    assert end.returncode == 0 and not (fresh / ".venv-floor" / "mine").exists(), end.stdout
    assert (packages(fresh, ".venv-floor") / "pytest.py").exists()


# ----------------------------------------------------------------------------------------- what breaks off is not ready

def test_an_installation_that_breaks_is_not_taken_for_a_whole_one(fresh):
    (fresh / "backend.py").write_text("raise OSError('No space left on device')", encoding="utf8")
    for _ in range(2):
        end = make(fresh, ".venv/.lab")
        assert end.returncode != 0 and "No space left on device" in end.stdout
        assert "Give the same command again: it goes on." in end.stdout and not (fresh / ".venv" / ".lab").exists()
    (fresh / "backend.py").write_text(BACKEND, encoding="utf8")
    end = make(fresh, "lab")
    assert end.returncode == 0 and "JupyterLab runs" in end.stdout and "Making" not in end.stdout


def test_colab_without_a_network_is_not_ready(fresh):
    end = make(fresh, ".venv-colab/.ready", "COLAB_PYTHON=python3")
    assert end.returncode != 0 and "Give the same command again" in end.stdout
    assert (fresh / ".venv-colab" / ".python").exists() and not (fresh / ".venv-colab" / ".ready").exists()


# ----------------------------------------------------------------------------------------------------- names of folders

def test_a_renamed_folder_still_opens_jupyterlab(fresh):
    assert make(fresh, ".venv/.lab").returncode == 0
    moved = fresh.rename(fresh.with_name("the course, renamed"))
    end = make(moved, "lab")
    assert end.returncode == 0 and "JupyterLab runs" in end.stdout and "Making" not in end.stdout, end.stdout


def test_no_command_runs_a_script_that_holds_the_folder():
    """ruff and python are programs, and hold no path."""
    for path in ["Makefile", "README.md", "CONTRIBUTING.md", "data/README.md", "benchmarks/README.md", ".ci/run",
                 ".devcontainer/devcontainer.json", ".pre-commit-config.yaml", "tools/teaching/texts/machines.md"]:
        text = (ROOT / path).read_text(encoding="utf8")
        assert set(re.findall(r"(?:\.venv[\w-]*[/\\](?:bin|Scripts)[/\\]|\$\(BIN\)/)([\w-]+)", text)) <= {
            "python", "ruff"}, path
    for path in (ROOT / "tools").rglob("*.py"):
        assert not re.search(r"sys\.executable\)\.(with_name|parent)", path.read_text(encoding="utf8")), path


@pytest.mark.parametrize("name", ["my photos", "it's \"mine\" (2)", "plain"])
def test_real_images_may_lie_in_a_folder_with_spaces(installed, name):
    (installed / name).mkdir()
    end = make(installed, "test-data", f"COURSE_DATA={name}")
    assert end.returncode == 0 and f"COURSE_DATA is {installed / name}\n" in end.stdout, end.stdout
    end = make(installed, "test-data", f"COURSE_DATA={installed / name}")
    assert end.returncode == 0 and f"COURSE_DATA is {installed / name}\n" in end.stdout, end.stdout


def test_a_folder_of_real_images_that_is_not_there_is_named(installed):
    end = make(installed, "test-data", "COURSE_DATA=no such photos")
    assert end.returncode != 0 and 'COURSE_DATA="no such photos" is no folder.' in end.stdout


def test_the_doctor_needs_no_environment(installed):
    no_python(installed)
    end = make(installed, "-n", "doctor")
    assert end.returncode == 0 and re.search(r'(?m)^"python3" ', end.stdout), end.stdout
