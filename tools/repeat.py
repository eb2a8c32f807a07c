"""Is any check a matter of luck?  The unit tests twenty times, each notebook five times, the counts in a file.

    python tools/repeat.py                      # goes on where it was stopped, if files and versions are the same
    python tools/repeat.py --tests 3 --notebooks 1 --out other.json

A run counts as failed if a test fails or the run itself breaks; which test it was is kept.  1 if any failed.
All of them take hours: they may be spread over days and machines, and the file says over which.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.common import machine, versions  # noqa: E402


def state(out):
    """A checksum of all committed files but out, the counts themselves, with a plus where others differ from them."""
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counts = str(out.resolve())
    same = lambda line: str(ROOT / line.split("\t")[-1]) != counts
    files = "\n".join(filter(same, git("ls-tree", "-r", "HEAD").splitlines()))
    changed = [line for line in git("status", "--porcelain").splitlines() if str(ROOT / line[3:]) != counts]
    return hashlib.sha256(files.encode()).hexdigest()[:16] + "+" * bool(changed)


def run(target):
    """One run of pytest on target, in a process of its own: (how many tests ran, the names of those that failed)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
                               target], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failed = [f"{case.get('classname')}.{case.get('name')}" for case in cases
              if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), failed or ([f"the run itself: pytest ended with {code}"] if code else [])


def main(arguments=None):
    parser = argparse.ArgumentParser("repeat", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--tests", type=int, default=20, help="how often to run the unit tests")
    parser.add_argument("--notebooks", type=int, default=5, help="how often to run each notebook")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "repeat.json")
    o = parser.parse_args(arguments)
    pages = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb"))
    wanted = {"tests": o.tests} | dict.fromkeys(pages, o.notebooks)
    about = dict(files=state(o.out), versions=versions())
    kept = json.loads(o.out.read_text(encoding="utf8")) if o.out.exists() else {}
    same = all(kept.get(key) == about[key] for key in about) and "+" not in about["files"]
    counts, machines = (kept["counts"], kept["machines"]) if same else ({}, [])
    machines += [machine()] if machine() not in machines else []
    for turn in range(max(wanted.values())):                   # in turns: what a cut leaves is a little of everything
        for target, times in wanted.items():
            count = counts.setdefault(target, dict(runs=0, failed_runs=0, tests=0, failed={}))
            if turn >= times or count["runs"] > turn:
                continue
            tests, failed = run(target)
            count["runs"], count["tests"] = count["runs"] + 1, tests
            count["failed_runs"] += bool(failed)
            for name in failed:
                count["failed"][name] = count["failed"].get(name, 0) + 1
            o.out.parent.mkdir(parents=True, exist_ok=True)
            whole = about | dict(machines=machines, date=date.today().isoformat(), counts=counts)
            o.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf8")
            print(f"{target}: {count['runs']} of {times} runs, {count['failed_runs']} failed {failed[:3] or ''}",
                  flush=True)
    return int(any(count["failed_runs"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
