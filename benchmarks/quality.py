"""time_to_quality and sampling: how soon samples are good, and how few network evaluations a sample takes."""
import io
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.common import SHIPPED, at_least, at_most, between, draw, noise, note, unjudged, verdict
from helpers import plot, scenes
from helpers.checkpoints import load_sampler, load_weights
from helpers.samplers import ddim_step, ddpm_step, dpmpp_2m_step
from helpers.unet import UNet
from tools.models import train

CUSTOMARY = ("course", "lucidrains")
FINE_NOISE, MARGIN = 0.05, 0.075                  # "equal": nearer in KID than what noise of 0.05, 6 of 255, adds


# ---- time_to_quality

def ours(seconds, snapshots):
    """(facts, snapshots) of tools.models.train with its defaults; snapshots, too, at 1/2, 1/4, 1/8 … of the time.

    facts: {name, setting, parameters, steps, seconds, images_per_second};  snapshots: (seconds, x0_model, schedule)
    """
    silent = io.StringIO()                                     # no progress bar
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(silent), redirect_stderr(silent):
        path = Path(folder) / "ours.safetensors"
        train.main(["--minutes", str(seconds / 60), "--snapshots", str(snapshots), "--out", str(path)])
        files = [(seconds / 2 ** (snapshots - k), path.with_stem(f"ours-{k + 1}")) for k in range(snapshots)]
        kept = [(moment, *load_sampler(file)[:2]) for moment, file in [*files, (seconds, path)]]
        model, about = load_weights(path, UNet)
    facts = dict(name="ours", parameters=sum(p.numel() for p in model.parameters()), steps=about["steps"],
                 seconds=seconds, images_per_second=about["steps"] * about["batch"] / seconds,
                 setting=f"tools.models.train: UNet {model.config}; {about['schedule']} schedule, {about['T']} levels; "
                         f"predicts {about['target']}; learning rate {about['lr']:g}; batch {about['batch']}")
    return facts, kept


def theirs(peer, images, seconds, moments=()):
    """The same of a peer after so many seconds of training."""
    steps, kept = peers.train(peer, images, seconds, moments)
    facts = dict(name=peer.name, setting=peer.setting, parameters=sum(p.numel() for p in peer.net.parameters()),
                 steps=steps, seconds=kept[-1][0], images_per_second=steps * peer.batch / kept[-1][0])
    return facts, [(moment, x0_model, peer.schedule) for moment, x0_model in kept]


def all_trained(seconds, snapshots):
    """{key: (facts, snapshots)}, trained one after the other on the same images, and the shrunk peer's scheduler."""
    o = train.options([])
    note(f"ours: {seconds:g} s of training, and a run of its own of {seconds / 20:g} s")
    found = {"ours": ours(seconds, snapshots), "short": ours(seconds / 20, 0)}
    found["short"][0]["name"] = "ours, a twentieth of the time"
    images = scenes.craters(o.examples, o.size, o.seed).images
    for key in (*CUSTOMARY, "shrunk"):
        note(f"{key}: {seconds:g} s of training")
        peer = getattr(peers, key)()
        found[key] = theirs(peer, images, seconds, (seconds / 4, seconds / 2) if key == "shrunk" else ())
    return found, peer.scheduler


def duel(s, measure, mine, other, scheduler):
    """Ours against the shrunk peer, with more and better samples, and by the peer's own sampler if that is better.

    mine, other: snapshots, the last of which samples -> {samples, evaluations, ours, shrunk, ratio, interval}
    """
    count, evaluations = s.duel_samples, s.duel_evaluations
    note(f"ours against the shrunk peer: {count} samples of {evaluations} evaluations")
    images = draw(*mine[-1][1:], count, evaluations)
    seen = measure.resampled(images)
    _, x0_model, schedule = other[-1]
    tried = {"DPM-Solver++": draw(x0_model, schedule, count, evaluations),
             "diffusers' DDIM": peers.draw_by_its_own(scheduler, x0_model, schedule, noise(count), evaluations)}
    values = {name: measure.resampled(x) for name, x in tried.items()}
    sampler = min(values, key=lambda name: values[name][0])
    best = measure(tried[sampler], values[sampler]) | dict(sampler=sampler, by={n: v[0] for n, v in values.items()})
    ratio, interval = measure.ratio(seen, values[sampler])
    return dict(samples=count, evaluations=evaluations, ours=measure(images, seen), shrunk=best, ratio=ratio,
                interval=interval)


def quality_checks(networks, points, small, quick=False):
    """(the three checks, the key of the best customary peer, when ours was as good: seconds or None)."""
    best = min(CUSTOMARY, key=lambda key: networks[key]["above"])
    name, end = networks[best]["name"], networks[best]["kid"]
    reached = min((p["seconds"] for key in ("ours", "short") for p in points[key] if p["kid"] <= end), default=None)
    soon = at_most(f"our time to the KID that {name} ends with, as a share of its time",
                   None if reached is None else reached / networks[best]["seconds"], 1 / 20)
    if quick:
        soon = unjudged(soon, "a quick run is too short for it")
    return [at_most(f"our KID above the floor, as a share of that of the best customary peer, {name}",
                    networks["ours"]["above"] / networks[best]["above"], 1 / 10),
            soon,
            at_most("our KID above the floor, as a share of that of the shrunk peer", small["ratio"], 1 / 2,
                    interval=small["interval"])], best, reached


def time_to_quality(s, measure):
    """Our default against diffusers and denoising-diffusion-pytorch, the same minutes on the same cores."""
    found, scheduler = all_trained(s.seconds, snapshots=2 if s.quick else 5)
    networks, points, seen, rows, last = {}, {}, {}, [], {}
    for key, (facts, snapshots) in found.items():
        note(f"{facts['name']}: {len(snapshots)} × {s.samples} samples of {s.evaluations} evaluations")
        points[key] = []
        for moment, x0_model, schedule in snapshots:
            last[facts["name"]] = images = draw(x0_model, schedule, s.samples, s.evaluations)
            seen[key] = measure.resampled(images)
            points[key].append(dict(seconds=moment, **measure(images, seen[key])))
        networks[key] = points[key][-1] | facts
        rows.append({"network": facts["name"], "parameters": facts["parameters"], "steps": facts["steps"],
                     "images/s": facts["images_per_second"], "trained, s": facts["seconds"],
                     **columns(networks[key])})
    small = duel(s, measure, found["ours"][1], found["shrunk"][1], scheduler)
    checks, best, reached = quality_checks(networks, points, small, s.quick)
    checks[0]["interval"] = measure.ratio(seen["ours"], seen[best])[1]
    known = measure.known
    says = [f"All sampled by DPM-Solver++(2M) in {s.evaluations} evaluations from the same noise. Craters an image, "
            "their radius and how far the light agrees are what the FeatureNet finds: in rendered images "
            f"{known['craters']:.1f}, {known['radius']:.1f} and {known['light']:.2f}.",
            f"Against the shrunk peer, {small['samples']} samples of {small['evaluations']} evaluations each: KID "
            f"above the floor {small['ours']['above']:.3g} (ours) and {small['shrunk']['above']:.3g} (by "
            f"{small['shrunk']['sampler']}).",
            f"Ours is as good as {networks[best]['name']} in the end after {reached:.1f} s of training." if reached else
            f"Ours is never as good as {networks[best]['name']} in the end."]
    figure = plot.panels([x[:10] for x in last.values()], "Samples of each network",
                         labels=[name.replace(", ", ",\n") for name in last], side=0.9)
    return dict(name="time_to_quality", title="Time to quality",
                claim="KID above the floor at most 1/10 of the best customary peer's, whose KID is reached in 1/20 of "
                      "its time, and at most 1/2 of the shrunk peer's", passed=verdict(checks), checks=checks,
                rows=rows, says=says, networks=networks, points=points, duel=small, evaluations=s.evaluations,
                measure=measure.about(), samples_figure=figure)


def columns(figures):
    """The columns that every table of samples has."""
    return {"KID": figures["kid"], "95 %": figures["interval"], "above floor": figures["above"],
            "samples": figures["samples"], "craters": figures["craters"], "radius": figures["radius"],
            "light": figures["light"]}


# ---- sampling

def sampling_plan(s, T):
    """What is sampled, [(sampler, step function, steps)]: DPM-Solver++ in 15 and DDIM in 50 too, the chain last."""
    chain = s.chain or T
    return [*(("DPM-Solver++", dpmpp_2m_step, n) for n in sorted({*s.sweep, 15})),
            *(("DDIM", ddim_step, n) for n in sorted({*s.sweep, 50})),
            *(("DDPM", ddpm_step, n) for n in sorted({*s.sweep, chain}) if n <= chain)]


def sampling_checks(points, T, margin=MARGIN):
    """The three checks; points as sampling makes them, the chain last, are told whether they equal the chain.

    Equal: the upper end of the 95 % interval of the paired difference in KID is below the margin.
    """
    chain = torch.tensor(points[-1]["resampled"], dtype=torch.float64)
    for point in points:
        point["difference"] = between(torch.tensor(point["resampled"], dtype=torch.float64) - chain)
        point["equal"] = point["difference"][1] < margin
    upper = {(p["sampler"], p["evaluations"]): p["difference"][1] for p in points}
    equal = [p["evaluations"] for p in points if p["sampler"] == "DPM-Solver++" and p["equal"]]
    longest = points[-1]["evaluations"]
    few = min(equal, default=16)
    ratio = at_least("times fewer evaluations by DPM-Solver++ than by the DDPM chain, at equal KID",
                     longest / few if few <= 15 else None, 65)
    if longest < T:
        ratio = unjudged(ratio, f"this run's chain went {longest} of its {T} steps")
    return [at_most("KID of DPM-Solver++ in 15 evaluations above that of the chain, upper end of the 95 % interval",
                    upper["DPM-Solver++", 15], margin),
            ratio,
            at_most("KID of DDIM in 50 evaluations above that of the chain, upper end of the 95 % interval",
                    upper["DDIM", 50], margin)]


def sampling(s, measure):
    """KID against evaluations for each sampler, with the shipped weights, against the full DDPM chain."""
    x0_model, schedule, about = load_sampler(SHIPPED)
    plan, points = sampling_plan(s, schedule.T), []
    note(f"{sum(n for *_, n in plan) * s.chain_samples:,} evaluations")
    for sampler, step, n in plan:
        start = time.perf_counter()
        images = draw(x0_model, schedule, s.chain_samples, n, step)
        seconds = time.perf_counter() - start
        seen = measure.resampled(images)
        points.append(dict(sampler=sampler, evaluations=n, seconds=seconds, **measure(images, seen),
                           resampled=[round(v, 6) for v in seen[1].tolist()]))
        note(f"{sampler} in {n} evaluations: KID {seen[0]:.4f}, {seconds:.0f} s")
    checks = sampling_checks(points, schedule.T)
    even = measure(draw(x0_model, schedule, s.chain_samples, 15, times=schedule.timesteps(15, even=True)))
    grain = measure(scenes.craters(s.real, seed=900_005).images + FINE_NOISE * noise(s.real))
    says = [f"Equal: the upper end of the 95 % interval of the paired difference is below {MARGIN}. Noise of "
            f"{FINE_NOISE} on rendered images has a KID of {grain['above']:.3f} above the floor.",
            f"DPM-Solver++ in 15 evaluations at evenly spaced times: KID above the floor {even['above']:.3f}."]
    rows = [{"sampler": p["sampler"], "evaluations": p["evaluations"], **columns(p), "difference": p["difference"],
             "equal": "yes" if p["equal"] else "no", "s": p["seconds"]} for p in points]
    return dict(name="sampling", title="Sampling",
                claim="DPM-Solver++ in at most 15 evaluations, 65 times fewer, and DDIM in 50 equal the full DDPM "
                      "chain in KID",
                passed=verdict(checks), checks=checks, rows=rows, says=says, points=points, margin=MARGIN,
                grain=grain, even=even, levels=schedule.T, steps=about.get("steps"),
                measure=measure.about())
