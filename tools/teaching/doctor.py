"""Check whether a machine is ready for the course, without installing, sending or writing anything.

    python doctor.py                               # in the kit; ends with 1 if not ready
    python -m tools.teaching.doctor                # the same, in the repository
    python -m tools.teaching.doctor reference      # measure this machine as the one that others are compared with

Python's own library is enough; with torch it also measures speed and says how long each notebook will take. The machine
that others are compared with stands in speed.json.
"""
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path

try:
    from importlib import metadata
except ImportError:                                            # Python 3.7 or older: examine says that it is too old
    metadata = None

HERE = Path(__file__).resolve().parent
ROOT = next((place for place in [HERE, *list(HERE.parents)[:2]] if (place / "helpers" / "schedule.py").exists()), None)
PYTHON = (3, 11)                                               # the oldest version
MEMORY = 4                                                     # gigabytes that the course wants
DISK = 3                                                       # gigabytes, too


def needed():
    """{package: the oldest version that will do}, from requirements.txt in a kit, else from pyproject.toml."""
    file = next(ROOT / name for name in ["requirements.txt", "pyproject.toml"] if (ROOT / name).exists())
    text = file.read_text(encoding="utf8")
    if file.suffix == ".toml":
        text = text.partition("\ndependencies = [")[2].partition("]")[0]
    return dict(re.findall(r"([\w-]+)>=([\d.]+)", text))


def older(found, floor):
    """Whether version found is below floor; local parts such as +cpu do not count."""
    def numbers(version):
        return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]

    return numbers(found) < numbers(floor)


def packages():
    """(what is missing or too old, in sentences; whether torch is there)."""
    found = {}
    complaints = []
    if metadata is None:
        return ["Python is too old to ask for packages."], False
    for name, floor in needed().items():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            complaints.append(f"{name} is not installed.")
            continue
        if older(found[name], floor):
            complaints.append(f"{name} is {found[name]}; the course needs {floor} or newer.")
    return complaints, "torch" in found


def memory():
    """Gigabytes of memory, or None where the system does not say."""
    try:
        if sys.platform == "win32":
            import ctypes
            kilobytes = ctypes.c_ulonglong()
            ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
            return kilobytes.value / 2**20
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return None


def cores():
    """How many cores this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor():
    """The processor's name, where the system tells it."""
    try:
        return re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf8"))[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def speed(seconds=3.0):
    """Training steps that one core makes in a second of its own time: 16 images of 64×64, the best of several.

    Its own time, so that other programs do not count; the course's network, on the processor.
    """
    import torch

    from helpers.unet import UNet
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = UNet(1, 1, (16, 24, 32, 48)).to(memory_format=torch.channels_last)
    x = torch.randn(16, 1, 64, 64).to(memory_format=torch.channels_last)
    t = torch.arange(1, 17)
    best = float("inf")
    end = time.process_time() + seconds
    while best == float("inf") or time.process_time() < end:
        start = time.process_time()
        model(x, t).square().mean().backward()
        best = min(best, time.process_time() - start)
    torch.set_num_threads(threads)
    return 1 / best


def notebooks():
    """{number: (title, minutes that the notebook states, minutes of these that are a training by the clock)}."""
    found = {}
    for path in sorted([*ROOT.glob("student/[0-9]*.ipynb")] or ROOT.glob("notebooks/[0-9]*.ipynb")):
        text = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf8"))["cells"]]
        said = re.search(r"Time: (?:about ([\d½]+) minutes?|under a minute)", text[0])
        clock = re.search(r"(?m)^minutes = ([\d.]+)(?!.*\bown\b)", "\n".join(text))       # not what only own data take
        total = float((said[1] or "1").replace("½", ".5")) if said else 0.0
        found[path.stem[:2]] = re.match(r"# (.+)", text[0])[1], total, min(float(clock[1]) if clock else 0.0, total)
    return found


def forecast(total, clock, ratio):
    """Minutes of a notebook on cores ratio times as fast as the reference's; training by the clock stays as long."""
    return clock + (total - clock) / ratio


def examine(say=print):
    """Say what this machine is and can; True: it is ready."""
    troubles = []

    def report(fine, fact, advice):
        say(fact if fine else f"{fact} {advice}")
        if not fine:
            troubles.append(advice)

    system = f"{platform.system()} {platform.machine()}"
    report(sys.version_info >= PYTHON, f"Python {platform.python_version()} on {system}.",
           f"The course needs Python {'.'.join(map(str, PYTHON))} or newer: install it beside the old one.")
    report(cores() >= 2, f"{cores()} processor cores.", "With a single core everything takes about twice as long.")
    size = memory()
    report(size is None or size >= MEMORY * 0.9, f"{size:.0f} GB of memory." if size else "It does not say its memory.",
           f"The notebooks need {MEMORY} GB: close other programs, a browser with many tabs above all.")
    free = shutil.disk_usage(ROOT).free / 2**30
    report(free >= DISK, f"{free:.0f} GB of the disk are free.", f"The packages want about {DISK} GB: make room.")
    weights = [*ROOT.glob("data/weights/*.safetensors")]
    report(weights, f"{len(weights)} files of weights.", "Copy the whole kit: the folder data/weights is missing.")
    complaints, torch_there = packages()
    report(not complaints, "All packages are there." if not complaints else " ".join(complaints),
           "Install them as the page “machines” says.")
    if complaints:                                             # Debian and Ubuntu have Python without it
        report(importlib.util.find_spec("ensurepip"), "Python can make virtual environments.",
               "Python cannot make virtual environments: sudo apt install python3-venv")
    if torch_there:
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError) as error:
            report(False, f"torch and torchvision do not fit together ({str(error).splitlines()[0]}).",
                   "Install both again, from the same place.")
        times(say, troubles)
    else:
        say("Without torch there is no telling how fast this machine is.")
    many = f"{len(troubles)} thing{'s' * (len(troubles) > 1)}"
    say("This machine is ready." if not troubles else f"Not ready yet: {many} to see to, said above.")
    return not troubles


def times(say, troubles):
    """Measure, and say how long each notebook will take."""
    reference = json.loads((HERE / "speed.json").read_text(encoding="utf8"))
    here = speed()
    ratio = here / reference["steps_per_second"] * min(cores(), 2) / 2           # the notebooks were timed on two cores
    say(f"A core trains {here:.1f} steps a second; one of the reference ({reference['machine']}) makes "
        f"{reference['steps_per_second']:.1f}. Expect, if nothing else runs, and less with more than two cores:")
    for title, total, clock in notebooks().values():
        say(f"    {title} ".ljust(46, ".") + f" {max(forecast(total, clock, ratio), 0.5):4.1f} minutes" +
            f" ({clock:g} of them a training by the clock)" * (clock > 0))
    if ratio < 0.4:
        say("Slow, but it works: start Run All before you talk, or let two share the faster machines.")


def main(*words):
    if words == ("reference",):
        file = HERE / "speed.json"
        about = {"machine": f"{processor()}, {cores()} cores, {platform.system()}",
                 "steps_per_second": round(speed(20), 2),
                 "what": "16 images of 64×64, forwards and backwards through UNet(1, 1, (16, 24, 32, 48))",
                 "torch": metadata.version("torch")}
        file.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
        return print(f"{file.name}: {about['steps_per_second']} steps a second.")
    if words:
        sys.exit(__doc__)
    if ROOT is None:
        sys.exit(f"The doctor looks for what the course needs, and {HERE} holds no folder helpers: run it in the kit.")
    return 0 if examine() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
