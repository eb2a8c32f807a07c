"""What the bars share: how much is measured, the measure of samples, verdicts, and the machine they hold for."""
import hashlib
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import datetime, UTC
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from helpers import env, scenes
from helpers.features import FeatureNet, features, find_craters, find_light
from helpers.metrics import kid
from helpers.samplers import dpmpp_2m_step, sample
from helpers.schedule import BETAS, Schedule
from helpers.checkpoints import load_weights
from helpers.train import diffusion_loss
from helpers.unet import UNet

RESULTS = env.ROOT / "benchmarks" / "results"
SHIPPED = env.WEIGHTS / "craters64.safetensors"
REAL, FRESH, HELD_OUT, NOISE = 900_001, 900_002, 900_003, 900_004        # seeds that no training uses
PACKAGES = ("torch", "torchvision", "accelerate", "diffusers", "denoising-diffusion-pytorch", "numpy", "scikit-image")


@dataclass
class Settings:
    """How much is measured; every result holds the settings that it was measured with."""
    quick: bool = False
    real: int = 1024                              # rendered pictures that samples are compared with
    # bar 1
    seconds: float = 300                          # of training, for each network
    samples: int = 256
    evaluations: int = 10                         # of each network for a sample, by the same sampler
    duel_samples: int = 512                       # against the small peer, which samples faster: more, and better ones
    duel_evaluations: int = 15
    # bar 2
    chain: int = 0                                # evaluations of the DDPM chain; 0: as many as there are noise levels
    chain_samples: int = 512                      # 256 leave an interval as wide as the margin
    sweep: tuple = (5, 8, 10, 15, 25, 50)         # evaluations of each sampler
    # bars 3 to 5
    rounds: int = 7
    step_seconds: float = 8                       # of training in each round and launch
    steps: int = 40                               # of training in each round of bar 4, at 32 pixels; fewer at more
    launches: int = 3                             # of one process and of two, in turn; and for each peak of memory
    memory_batches: tuple = (64, 192)             # pictures of 64×64 in a step; of other sizes as many pixels
    # bar 6
    pictures: int = 128                           # held out
    tuning: int = 32                              # of the training set, to tune the filters


QUICK = dict(quick=True, seconds=60, evaluations=5, chain_samples=256, sweep=(), rounds=3, step_seconds=5, steps=20,
             launches=1, memory_batches=(48, 112), pictures=32, tuning=12)


def note(text):
    """Say what is going on, at once."""
    print(f"   {text}", flush=True)


# ---- verdicts

def at_most(what, value, bar, **more):
    """A check: passed where value is at most the bar, missed where it is more or not a number (None)."""
    return dict(what=what, value=value, sense="at most", bar=bar, passed=value is not None and value <= bar, **more)


def at_least(what, value, bar, **more):
    """A check: passed where value is at least the bar, missed where it is less or not a number (None)."""
    return dict(what=what, value=value, sense="at least", bar=bar, passed=value is not None and value >= bar, **more)


def unjudged(check, why):
    """The same figure without a verdict, and why."""
    return check | dict(passed=None, why=why)


def verdict(checks):
    """False where one check was missed, True where all others passed, None where nothing was judged."""
    judged = [c["passed"] for c in checks if c["passed"] is not None]
    return all(judged) if judged else None


# ---- the measure

def interval(resampled):
    """The 95 % interval of resampled values: [low, high]."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)   # a draw of few may hold but one picture: no value
    return resampled.double().nanquantile(ends).tolist()


def sha256(*parts):
    """Of files (paths) and tensors."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


class Measure:
    """How far images are from rendered ones: KID under FeatureNet's features, and numbers that a person understands.

    measure(images) -> {kid, interval, above, samples, real, craters, radius, light}; above the floor, that is, the
    KID of a fresh set of as many rendered pictures as the reference holds: no model can be better.
    """

    def __init__(self, real=1024):
        path = env.WEIGHTS / "features.safetensors"
        self.feature_net, _ = load_weights(path, FeatureNet)
        pictures = scenes.craters(real, seed=REAL).images
        self.fingerprint = sha256(path, pictures)              # equal: KIDs of different runs may be compared
        self.real = features(self.feature_net, pictures)
        self.floor = 0.0
        self.known = self(pictures) | {"kid": None, "interval": None, "above": None}
        self.fresh = self(scenes.craters(real, seed=FRESH).images)
        self.floor = self.fresh["kid"]

    def resampled(self, images):
        """(KID, its 1000 resampled values (1000,)); those of two sets share the draws of the reference."""
        return kid(features(self.feature_net, images), self.real)

    def __call__(self, images, seen=None):
        """seen: what resampled(images) gave, where it is known."""
        value, drawn = self.resampled(images) if seen is None else seen
        radii = torch.cat([r for _, r in find_craters(self.feature_net, images)])
        _, agreement = find_light(self.feature_net, images)
        return dict(kid=value, interval=interval(drawn), above=value - self.floor, samples=len(images),
                    real=len(self.real), craters=len(radii) / len(images),
                    radius=radii.median().item() if len(radii) else None, light=agreement.mean().item())

    def ratio(self, a, b):
        """Of two KIDs above the floor, each (value, resampled): (ratio, its 95 % interval, paired)."""
        return ((a[0] - self.floor) / (b[0] - self.floor),
                interval((a[1] - self.floor) / (b[1] - self.floor)))

    def about(self):
        """The floor, as it stands in every result."""
        return dict(floor=self.fresh, rendered=self.known, fingerprint=self.fingerprint)


# ---- networks

def recipe(o):
    """The network, schedule and loss of tools.models.train under its options o, as run.main makes them."""
    torch.manual_seed(o.seed)
    schedule, model = Schedule(BETAS[o.schedule](o.T)), UNet(o.channels, o.channels, o.widths, o.patch)
    return model, schedule, lambda model, x0: diffusion_loss(model, schedule, x0, o.target)


def noise(count, size=64):
    """The noise that every network and sampler begins with: (count, 1, size, size)."""
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(NOISE))


def draw(x0_model, schedule, count, evaluations, step=dpmpp_2m_step, size=64, times=None):
    """count grey images, each from its own noise: (count, 1, size, size) in [-1, 1]."""
    torch.manual_seed(NOISE)                                   # of samplers that draw on the way
    batches = noise(count, size).split(16)                       # what fits a cache is sampled fastest
    return torch.cat([sample(x0_model, schedule, x, steps=evaluations, step=step, times=times) for x in batches])


# ---- the machine, and results

def machine():
    """Processor, cores, memory, and the GPU where there is one."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        parts = [f"{key.removeprefix('cpu ')} {fields[key]}" for key in ("cpu family", "model") if key in fields]
        name = ", ".join([fields.get("model name", name), *parts])
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(processor=name, cores=os.cpu_count(), threads=torch.get_num_threads(), gpu=gpu,
                system=platform.system(), memory_gib=round(psutil.virtual_memory().total / 2**30, 1))


def versions():
    """Of Python and of the packages that are measured or measure."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def results_path(name, quick=False):
    """Where a bar's result lies; a quick one lies beside it, so that it never replaces what it is compared with."""
    return RESULTS / f"{name}{'.quick' if quick else ''}.json"


def write(result, settings, busy):
    """Write one bar's result with machine, versions and date; give the path."""
    path = results_path(result["name"], settings.quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = result | dict(machine=machine(), versions=versions(), settings=asdict(settings), quick=settings.quick,
                          cores_busy_before=busy, date=datetime.now(UTC).isoformat(timespec="seconds"))
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf8")
    part.replace(path)
    return path


def read(name, quick=False):
    """A stored result, or None."""
    path = results_path(name, quick)
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else None


def fill(name, text, page=Path(__file__).parent / "README.md"):
    """Put text between <!-- name --> and <!-- /name --> in a Markdown page, in the place of what stands there."""
    before, _, rest = page.read_text(encoding="utf8").partition(f"<!-- {name} -->\n")
    _, mark, after = rest.partition(f"<!-- /{name} -->\n")
    if not mark:
        raise ValueError(f"{page} has no place for {name}: put the lines <!-- {name} --> and <!-- /{name} --> into it.")
    page.write_text(f"{before}<!-- {name} -->\n{text}<!-- /{name} -->\n{after}", encoding="utf8")


def comparable(stored, packages=PACKAGES, clock=True):
    """Whether a stored result may stand beside today's: the same packages and, where the clock counts, machine kind."""
    if not stored or any(stored["versions"].get(p) != versions()[p] for p in packages):
        return False
    kind = lambda m: (m["processor"], m["cores"], m["threads"], m["gpu"])
    return not clock or kind(stored["machine"]) == kind(machine())


def timed(call):
    """(what call() gives, seconds)."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start
