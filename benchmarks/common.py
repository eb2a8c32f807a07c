"""What the benchmarks share: how much is measured, checks, the measure of samples, the machine, and stored results."""
import json
import os
import platform
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, UTC
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from helpers import env, scenes
from helpers.checkpoints import load_weights
from helpers.features import FeatureNet, features, find_craters, find_light
from helpers.metrics import interval, kid
from helpers.samplers import dpmpp_2m_step, sample
from helpers.schedule import BETAS, Schedule
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
    real: int = 1024                              # rendered images that samples are compared with
    seconds: float = 300                          # time_to_quality, gpu: of training, for each network
    samples: int = 256
    evaluations: int = 10                         # of each network for a sample, by the same sampler
    duel_samples: int = 512                       # against the small peer, which samples faster: more, and better ones
    duel_evaluations: int = 15
    chain: int = 0                                # sampling: evaluations of the DDPM chain; 0: as many as noise levels
    chain_samples: int = 512                      # 256 leave an interval as wide as the margin
    sweep: tuple = (5, 8, 10, 15, 25, 50)         # evaluations of each sampler
    rounds: int = 7                               # use_of_the_machine, growth
    step_seconds: float = 8                       # of training in each round and launch
    steps: int = 40                               # growth: of training in each round, at 32 pixels; fewer at more
    launches: int = 3                             # of one process and of two, in turn; and for each peak of memory
    memory_batches: tuple = (64, 192)             # images of 64×64 in a step; of other sizes as many pixels
    images: int = 128                             # denoising: held-out images
    tuning: int = 32                              # of the training set, to tune the filters


QUICK = dict(quick=True, seconds=30, samples=64, evaluations=5, duel_samples=64, duel_evaluations=5, chain=128,
             chain_samples=256, sweep=(), rounds=3, step_seconds=5, steps=20, launches=1, memory_batches=(48, 112),
             images=32, tuning=12)


def note(text):
    """Print at once what is being done."""
    print(f"   {text}", flush=True)


# ---- checks

def at_most(what, value, threshold, **more):
    """A check: passed where value is at most the threshold, missed where it is more or missing (None)."""
    passed = value is not None and value <= threshold
    return dict(what=what, value=value, sense="at most", threshold=threshold, passed=passed, **more)


def at_least(what, value, threshold, **more):
    """A check: passed where value is at least the threshold, missed where it is less or missing (None)."""
    passed = value is not None and value >= threshold
    return dict(what=what, value=value, sense="at least", threshold=threshold, passed=passed, **more)


def unjudged(check, why):
    """The same figure without a verdict, and why."""
    return check | dict(passed=None, why=why)


def verdict(checks):
    """False where one check was missed, True where all others passed, None where nothing was judged."""
    judged = [c["passed"] for c in checks if c["passed"] is not None]
    return all(judged) if judged else None


def between(resampled):
    """The 95 % interval of resampled values, as a result holds it: [low, high]."""
    return list(interval(None, resampled)[1:])


# ---- the measure

class Measure:
    """How far images are from rendered ones: KID under FeatureNet's features, and numbers that a person understands.

    measure(images) -> {kid, interval, above, samples, real, craters, radius, light}; above the floor, that is, the
    KID of a fresh set of as many rendered images as the reference holds: no model can be better.
    """

    def __init__(self, real=1024):
        self.feature_net, _ = load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)
        images = scenes.craters(real, seed=REAL).images
        self.real = features(self.feature_net, images)
        self.floor = 0.0
        self.known = self(images) | {"kid": None, "interval": None, "above": None}
        self.fresh = self(scenes.craters(real, seed=FRESH).images)
        self.floor = self.fresh["kid"]

    def resampled(self, images):
        """(KID, its 1000 resampled values (1000,)); those of two sets share the draws of the reference."""
        return kid(features(self.feature_net, images), self.real)

    def __call__(self, images, seen=None):
        """seen: what resampled(images) gave, where it is known."""
        value, drawn = seen or self.resampled(images)
        radii = torch.cat([r for _, r in find_craters(self.feature_net, images)])
        _, agreement = find_light(self.feature_net, images)
        return dict(kid=value, interval=between(drawn), above=value - self.floor, samples=len(images),
                    real=len(self.real), craters=len(radii) / len(images),
                    radius=radii.median().item() if len(radii) else None, light=agreement.mean().item())

    def ratio(self, a, b):
        """Of two KIDs above the floor, each (value, resampled): (ratio, its 95 % interval, paired)."""
        return (a[0] - self.floor) / (b[0] - self.floor), between((a[1] - self.floor) / (b[1] - self.floor))

    def about(self):
        """The floor, as it stands in every result."""
        return dict(floor=self.fresh, rendered=self.known)


# ---- networks

def recipe(o):
    """(network, schedule, loss) of tools.models.train under its options o."""
    torch.manual_seed(o.seed)
    schedule = Schedule(BETAS[o.schedule](o.T))
    model = UNet(o.channels, o.channels, o.widths, o.patch)
    return model, schedule, lambda model, x0: diffusion_loss(model, schedule, x0, o.target)


def noise(count, size=64):
    """The noise that every network and sampler begins with: (count, 1, size, size)."""
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(NOISE))


def draw(x0_model, schedule, count, evaluations, step=dpmpp_2m_step, size=64, times=None):
    """count grey images, each from its own noise: (count, 1, size, size) in [-1, 1]."""
    torch.manual_seed(NOISE)                                   # of samplers that draw on the way
    batches = noise(count, size).split(16)                     # what fits a cache is sampled fastest
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


def write_file(path, content):
    """Write bytes or text, whole or not at all; what another process writes meanwhile is not mixed in."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_result(path, result):
    """Write a result as JSON.  ValueError: a number that JSON does not have, as infinity."""
    text = json.dumps(result, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text + "\n")


def results_path(name, quick=False):
    """Where a result lies; a quick one lies beside it, so that it never replaces what it is compared with."""
    return RESULTS / f"{name}{'.quick' if quick else ''}.json"


def write(result, settings, busy):
    """Write a result with machine, versions and date; give the path."""
    path = results_path(result["name"], settings.quick)
    write_result(path, result | dict(
        machine=machine(), versions=versions(), settings=asdict(settings), quick=settings.quick,
        cores_busy_before=busy, date=datetime.now(UTC).isoformat(timespec="seconds")))
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
    write_file(page, f"{before}<!-- {name} -->\n{text}<!-- /{name} -->\n{after}")
