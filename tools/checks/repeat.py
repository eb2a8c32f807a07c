"""Is any check a matter of luck?  The unit tests twenty times, each notebook five times, the counts in a file.

    python -m tools.checks.repeat                   # goes on where it was stopped, if files and versions are the same
    python -m tools.checks.repeat --tests 3 --notebooks 1 --out other.json
    python -m tools.checks.repeat --jobs 2          # two runs at a time, each computing on one core

A run counts as failed if a test fails or the run itself breaks; which test it was is kept.  1 if any failed.
All of them take hours: they may be spread over days and machines, and the file says over which.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.common import machine, versions

ROOT = Path(__file__).resolve().parents[2]


def state(out):
    """A checksum of all committed files but out, the counts themselves, with a plus where others differ from them."""
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = str(out.resolve())
    same = lambda line: str(ROOT / line.split("\t")[-1]) != counts
    files = "\n".join(filter(same, git("ls-tree", "-r", "HEAD").splitlines()))
    changed = [line for line in git("status", "--porcelain").splitlines() if str(ROOT / line[3:]) != counts]
    return hashlib.sha256(files.encode()).hexdigest()[:16] + "+" * bool(changed)


def run(target, threads=None):
    """One run of pytest on target, in a process of its own: (how many tests ran, the names of those that failed).

    threads: how many it may compute with; None leaves that to torch
    """
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", target]
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failed = []
    for case in cases:
        why = [part for part in case if part.tag in ("failure", "error")]
        if why:
            failed.append(f"{case.get('classname')}.{case.get('name')}")
            print(f"{failed[-1]}: {why[0].get('message', '')[:500]}", flush=True)
    return len(cases), failed or ([f"the run itself: pytest ended with {code}"] if code else [])


def main(arguments=None):
    parser = argparse.ArgumentParser("repeat", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--tests", type=int, default=20, help="how often to run the unit tests")
    parser.add_argument("--notebooks", type=int, default=5, help="how often to run each notebook")
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time; several compute on a core each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "repeat.json")
    o = parser.parse_args(arguments)
    pages = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    wanted = {"tests": o.tests} | dict.fromkeys(pages, o.notebooks)
    about = dict(files=state(o.out), versions=versions())
    kept = json.loads(o.out.read_text(encoding="utf8")) if o.out.exists() else {}
    same = all(kept.get(key) == about[key] for key in about) and "+" not in about["files"]
    counts, machines = (kept["counts"], kept["machines"]) if same else ({}, [])
    machines += [machine()] if machine() not in machines else []
    for target in wanted:
        counts.setdefault(target, dict(runs=0, failed_runs=0, tests=0, failed={}))
    lock = threading.Lock()

    def once(target):
        tests, failed = run(target, 1 if o.jobs > 1 else None)
        with lock:
            count = counts[target]
            count["runs"], count["tests"] = count["runs"] + 1, tests
            count["failed_runs"] += bool(failed)
            for name in failed:
                count["failed"][name] = count["failed"].get(name, 0) + 1
            o.out.parent.mkdir(parents=True, exist_ok=True)
            whole = about | dict(machines=machines, date=date.today().isoformat(), counts=counts)
            part = o.out.with_name(f"{o.out.name}.{os.getpid()}.part")
            part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf8")
            part.replace(o.out)                                # whole, whenever it is stopped
            print(f"{target}: {count['runs']} of {wanted[target]} runs, {count['failed_runs']} failed "
                  f"{failed[:3] or ''}", flush=True)

    missing = [target for turn in range(max(wanted.values())) for target, times in wanted.items()
               if counts[target]["runs"] <= turn < times]      # in turns: what a cut leaves is a little of everything
    with ThreadPoolExecutor(o.jobs) as pool:
        list(pool.map(once, missing))
    return int(any(count["failed_runs"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
