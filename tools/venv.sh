#!/bin/sh
# Make FOLDER a finished virtual environment, unless it is one already:  sh tools/venv.sh FOLDER PYTHON MODE [FILE ...]
#
# MODE  keep: whatever Python FOLDER has will do, if it is new enough;  match: it must be PYTHON's;  anew: make it anew
# FILE  what FOLDER was made from: where one is newer than FOLDER, it is made anew
#
# FOLDER/.python is written last and says that the environment is finished. What is in FOLDER is deleted before it is
# made anew, and nothing is deleted before PYTHON has been found good. It is a shell script, since it must run and
# explain itself where no Python, or one of any age, is at hand.
set -eu
folder=$1 python=$2 mode=$3
shift 3

floor=$(sed -n 's/^requires-python *= *">=\([0-9.]*\).*/\1/p' pyproject.toml)
# One line: is it new enough (True or False), its version, where its standard library lies. Valid in Python 2, too.
about='import os, sys
new_enough = sys.version_info >= tuple(int(part) for part in "'"$floor"'".split("."))
print("%s %s %s" % (new_enough, sys.version.split()[0], os.path.realpath(os.__file__)))'
# Whether each package is complete, since installers write RECORD last, and pip is one of them; `uv pip` leaves pip out.
complete='import pathlib, subprocess, sys, sysconfig
folder = pathlib.Path(sysconfig.get_path("purelib"))
if list(folder.glob("*.dist-info")) and not (folder / "pip").exists():
    subprocess.run([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
unfinished = [package for package in folder.glob("*.dist-info") if not (package / "RECORD").exists()]
sys.exit(bool(unfinished) or not list(folder.glob("pip-*.dist-info")))'

stop() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Why FOLDER has to be made anew, in words; nothing if it will do.
reason() {
    [ -d "$folder" ] || { echo "there is none yet"; return; }
    [ "$mode" != anew ] || { echo "it is made anew each time"; return; }
    mine=$("$folder/bin/python" -c "$about" 2>/dev/null) || { echo "its Python does not run"; return; }
    case $mine in False*) echo "its Python is older than $floor"; return ;; esac
    "$folder/bin/python" -c "$complete" 2>/dev/null || { echo "the old one is not complete"; return; }
    if [ "$mode" = match ]; then
        wanted=$("$python" -c "$about" 2>/dev/null) || wanted="one that does not run"
        [ "$mine" = "$wanted" ] || { echo "the old one has another Python"; return; }
    fi
    for file; do
        [ ! "$file" -nt "$folder/.python" ] || { echo "$file has changed"; return; }
    done
}

why=$(reason "$@")
if [ -z "$why" ]; then
    [ -e "$folder/.python" ] || touch -r "$folder/pyvenv.cfg" "$folder/.python"   # made by hand, before make was used
    exit 0
fi

found=$("$python" -c "$about" 2>/dev/null) || stop "\"$python\" does not run as a Python. Install Python $floor or" \
    "newer, or name one that is installed, as in: make lab PYTHON=python$floor"
version=$(echo "$found" | cut -d ' ' -f 2)
case $found in False*) stop "\"$python\" is Python $version, and the course needs Python $floor or newer. Install one" \
    "beside it and name it, as in: make lab PYTHON=python$floor" ;; esac
"$python" -c "import ensurepip, venv" 2>/dev/null || stop "\"$python\" (Python $version) cannot make a virtual" \
    "environment, since its module venv or ensurepip is missing. On Debian and Ubuntu: sudo apt install python3-venv"
echo "Making $folder with Python $version: $why."
"$python" -m venv --clear "$folder" && touch "$folder/.python" ||
    stop "Making $folder failed; the reason stands above. Run the same command again: it starts afresh."
