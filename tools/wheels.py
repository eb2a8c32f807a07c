"""Packages for machines without a network: fetch wheels where there is one, install them where there is none.

    python wheels.py fetch this                        # for machines of this kind: same system, processor and Python
    python wheels.py fetch windows 3.12                # or linux, linux-arm, mac; --index ADDRESS: torch from there
    python wheels.py install                           # makes .venv here, from wheels/ alone

Needs Python and pip, nothing else.
"""
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINUX = ["manylinux_2_28_{0}", "manylinux_2_27_{0}", "manylinux_2_17_{0}", "manylinux2014_{0}"]
TAGS = {"windows": ["win_amd64"], "mac": ["macosx_14_0_arm64"],        # pip adds the older macOS by itself
        "linux": [tag.format("x86_64") for tag in LINUX], "linux-arm": [tag.format("aarch64") for tag in LINUX]}
SYSTEMS = {"windows": ("nt", "win32", "Windows", "AMD64"), "mac": ("posix", "darwin", "Darwin", "arm64"),
           "linux": ("posix", "linux", "Linux", "x86_64"), "linux-arm": ("posix", "linux", "Linux", "aarch64")}
# Some packages are needed on one system only.  pip asks the machine it runs on; tell it about the other one instead.
PIP = """import json, sys
import pip._vendor.packaging.markers as markers
there = markers.default_environment() | json.loads(sys.argv.pop(1))
markers.default_environment = lambda: there
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))"""


def fetching(system, python="", index="", folder="wheels", requirements="requirements.txt"):
    """The arguments of pip that fetch for a system.  ValueError: there is no such one, or its Python is not said."""
    if system != "this" and system not in TAGS:
        raise ValueError(f"There is no {system!r}; there are this, {', '.join(TAGS)}.")
    if system != "this" and not python:
        raise ValueError(f"Which Python do they have? For example: python wheels.py fetch {system} 3.12")
    tags = [] if system == "this" else [*(f"--platform={tag}" for tag in TAGS[system]), f"--python-version={python}",
                                        "--implementation=cp"]
    return ["download", "--only-binary=:all:", *tags, *([f"--index-url={index}"] if index else []), "-d", folder,
            "-r", requirements]


def installing(folder="wheels", requirements="requirements.txt"):
    """The arguments of pip that install without a network."""
    return ["install", "--no-index", "--find-links", folder, "-r", requirements]


def pip(system, python=""):
    """The command that runs pip, told that it works for a system."""
    if system == "this":
        return [sys.executable, "-m", "pip"]
    names = ("os_name", "sys_platform", "platform_system", "platform_machine")
    there = dict(zip(names, SYSTEMS[system])) | {"python_version": python, "python_full_version": f"{python}.0"}
    return [sys.executable, "-c", PIP, json.dumps(there)]


def main(*words):
    words, index = list(words), ""
    if "--index" in words[:-1]:
        index = words.pop(words.index("--index") + 1)
        words.remove("--index")
    if words[:1] == ["fetch"] and 2 <= len(words) <= 3:
        try:
            arguments, command = fetching(*words[1:], index=index), pip(*words[1:])
        except ValueError as error:
            sys.exit(str(error))
        if index:                                              # first torch's pair from there, then the rest as usual
            pair = [*arguments[:-2], "--no-deps", "torch", "torchvision"]
            subprocess.run([*command, *pair], cwd=HERE, check=True)
            arguments = [*(word for word in arguments if not word.startswith("--index-url")), "--find-links", "wheels"]
        return subprocess.run([*command, *arguments], cwd=HERE).returncode
    if words == ["install"]:
        python = HERE / ".venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=HERE, check=True)
        return subprocess.run([str(python), "-m", "pip", *installing()], cwd=HERE).returncode
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
