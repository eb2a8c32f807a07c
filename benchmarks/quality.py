"""Bars 1 and 2: how soon samples are good, and how few evaluations of the network a sample takes."""
import io
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.common import (SHIPPED, at_least, at_most, comparable, draw, interval, noise, note, read, sha256,
                               timed, unjudged, verdict)
from helpers import plot, scenes
from tools.models import train
from helpers.samplers import ddim_step, ddpm_step, dpmpp_2m_step
from helpers.checkpoints import load_sampler, load_weights
from helpers.unet import UNet

CUSTOMARY = ("course", "lucidrains")
GRAIN, MARGIN = 0.05, 0.075                       # "equal": nearer in KID than what grain of 0.05, about 6 of 255, adds


# ---- bar 1: time to quality

@dataclass
class Contestant:
    """A trained network: what is said of it, and its x0_model at several moments of its training."""
    facts: dict                                   # name, setting, parameters, steps, seconds, images_per_second
    moments: list                                 # of (seconds, x0_model, schedule), the end last
    peer: peers.Peer = None


def ours(seconds, moments):
    """tools.models.train with its defaults, as a learner runs it, and what it kept at 1/2, 1/4, 1/8 … of the time."""
    silent = io.StringIO()                                     # no progress bar
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(silent), redirect_stderr(silent):
        path = Path(folder) / "ours.safetensors"
        train.main(["--minutes", str(seconds / 60), "--snapshots", str(moments), "--out", str(path)])
        kept = [(seconds / 2 ** (moments - k), path.with_stem(f"ours-{k + 1}")) for k in range(moments)]
        moments = [(moment, *load_sampler(file)[:2]) for moment, file in [*kept, (seconds, path)]]
        model, about = load_weights(path, UNet)
    net = about["architecture"]
    facts = dict(name="ours", parameters=sum(p.numel() for p in model.parameters()), steps=about["steps"],
                 seconds=seconds, images_per_second=about["steps"] * about["batch"] / seconds,
                 setting=f"tools.models.train: UNet {'-'.join(map(str, net['channels']))}, patch {net['patch']}; "
                         f"{about['schedule']} schedule, {about['T']} levels; predicts {about['target']}; learning "
                         f"rate {about['lr']:g}; batch {about['batch']}")
    return Contestant(facts, moments)


def theirs(make, pictures, seconds, moments=()):
    """A peer after so many seconds of training."""
    peer = make()
    parameters = sum(p.numel() for p in peer.optimizer.param_groups[0]["params"])
    steps, kept = peers.train(peer, pictures, seconds, moments)
    passed = kept[-1][0]
    facts = dict(name=peer.name, setting=peer.setting, parameters=parameters, steps=steps, seconds=passed,
                 images_per_second=steps * peer.batch / passed)
    peer.optimizer = peer.loss = peer.net = peer.best = peer.average = None        # its memory is wanted
    return Contestant(facts, [(moment, x0_model, peer.schedule) for moment, x0_model in kept], peer)


def all_trained(seconds, with_peers, moments):
    """{key: Contestant}, trained one after the other on the same pictures."""
    o = train.options([])
    note(f"ours: {seconds:g} s of training, and a run of its own of {seconds / 20:g} s")
    found = {"ours": ours(seconds, moments), "short": ours(seconds / 20, moments=0)}
    found["short"].facts["name"] = "ours, a twentieth of the time"
    pictures = scenes.craters(o.examples, o.size, o.seed).images if with_peers else None
    for key in (*CUSTOMARY, "shrunk") if with_peers else ():
        make = getattr(peers, key)
        note(f"{key}: {seconds:g} s of training")
        found[key] = theirs(make, pictures, seconds, (seconds / 4, seconds / 2) if key == "shrunk" else ())
    return found


def seconds_a_picture(x0_model, size=64, batch=16):
    """How long one evaluation takes, for each picture of a batch as large as those of draw."""
    x, t = noise(batch, size), torch.ones(batch, dtype=torch.long)
    with torch.no_grad():
        x0_model(x[:8], t[:8])                                # the first call prepares
        return timed(lambda: x0_model(x, t))[1] / batch


def duel(s, measure, found, evaluations, stored):
    """Ours against the shrunk peer, with more and better samples, and by the peer's own sampler if that is better.

    {samples, evaluations, ours, shrunk, ratio, interval}
    """
    more = dict(samples=s.duel_samples, evaluations=s.duel_evaluations)
    if s.quick and not stored:
        more = dict(samples=s.samples, evaluations=evaluations)
    if stored:
        more = {key: stored["duel"][key] for key in more}

    def measured(key, by_its_own=False):
        _, x0_model, schedule = found[key].moments[-1]
        images = (peers.draw_by_its_own(found[key].peer, x0_model, noise(more["samples"]), more["evaluations"])
                  if by_its_own else draw(x0_model, schedule, more["samples"], more["evaluations"]))
        seen = measure.resampled(images)
        return measure(images, seen), seen

    note(f"ours against the shrunk peer: {more['samples']} samples of {more['evaluations']} evaluations")
    mine, my_values = measured("ours")
    if stored:
        other, between = stored["duel"]["shrunk"], None
        ratio = mine["above"] / other["above"]
    else:
        tried = {"DPM-Solver++": measured("shrunk"), "diffusers' DDIM": measured("shrunk", by_its_own=True)}
        sampler, (other, their_values) = min(tried.items(), key=lambda item: item[1][0]["kid"])
        other = other | dict(sampler=sampler, by={name: value["kid"] for name, (value, _) in tried.items()})
        ratio, between = measure.ratio(my_values, their_values)
    return more | dict(ours=mine, shrunk=other, ratio=ratio, interval=between)


def quality_checks(networks, points, small, between=None, too_short=False):
    """(the three checks of bar 1, the key of the best customary peer, when ours was as good: seconds or None)."""
    best = min(CUSTOMARY, key=lambda key: networks[key]["above"])
    name, end = networks[best]["name"], networks[best]["kid"]
    reached = min((p["seconds"] for key in ("ours", "short") for p in points[key] if p["kid"] <= end), default=None)
    soon = at_most(f"our time to the KID that {name} ends with, as a share of its time",
                   None if reached is None else reached / networks[best]["seconds"], 1 / 20)
    if too_short:
        soon = unjudged(soon, "a quick run without stored peers is too short for it")
    return [at_most(f"our KID above the floor, as a share of that of the best customary peer, {name}",
                    networks["ours"]["above"] / networks[best]["above"], 1 / 10, interval=between),
            soon,
            at_most("our KID above the floor, as a share of that of the shrunk peer", small["ratio"], 1 / 2,
                    interval=small["interval"])], best, reached


def stored_peers(measure):
    """Bar 1's stored result where its peers may stand in for those of today, else None."""
    stored = read("time_to_quality")
    return stored if comparable(stored) and stored["measure"]["fingerprint"] == measure.fingerprint else None


def time_to_quality(s, measure):
    """Bar 1: our default against diffusers and denoising-diffusion-pytorch, the same minutes on the same cores."""
    stored = stored_peers(measure) if s.quick else None
    seconds = min(s.seconds, 30) if s.quick and not stored else s.seconds
    found = all_trained(seconds, with_peers=not stored, moments=2 if s.quick else 5)

    evaluations = stored["evaluations"] if stored else s.evaluations
    networks, points, seen, sheet = {}, {}, {}, {}
    for key, c in found.items():
        note(f"{c.facts['name']}: {len(c.moments)} × {s.samples} samples of {evaluations} evaluations, about "
             f"{s.samples * evaluations * seconds_a_picture(c.moments[-1][1]):.0f} s each")
        points[key] = []
        for moment, x0_model, schedule in c.moments:
            sheet[c.facts["name"]] = images = draw(x0_model, schedule, s.samples, evaluations)
            seen[key] = measure.resampled(images)
            points[key].append(dict(seconds=moment, **measure(images, seen[key])))
        networks[key] = points[key][-1] | c.facts
    small = duel(s, measure, found, evaluations, stored)
    if stored:
        networks |= {key: value for key, value in stored["networks"].items() if key not in networks}
        points |= {key: value for key, value in stored["points"].items() if key not in points}

    checks, best, reached = quality_checks(networks, points, small, too_short=s.quick and not stored)
    if best in seen:
        checks[0]["interval"] = measure.ratio(seen["ours"], seen[best])[1]
    known = measure.known
    says = [f"All sampled by DPM-Solver++(2M) in {evaluations} evaluations from the same noise. Craters a picture, "
            "their radius and how far the light agrees are what the FeatureNet finds: in rendered pictures "
            f"{known['craters']:.1f}, {known['radius']:.1f} and {known['light']:.2f}.",
            f"Against the shrunk peer, {small['samples']} samples of {small['evaluations']} evaluations each: KID "
            f"above the floor {small['ours']['above']:.3g} (ours) and {small['shrunk']['above']:.3g} (by "
            f"{small['shrunk']['sampler']}).",
            f"Ours is as good as {networks[best]['name']} in the end after {reached:.1f} s of training." if reached else
            f"Ours is never as good as {networks[best]['name']} in the end."]
    if stored:
        says.append(f"The peers' figures are those stored on {stored['date'][:10]}, after "
                    f"{stored['settings']['seconds']:g} s of training on this kind of machine with these versions; "
                    f"ours are of today, after {seconds:g} s.")
    rows = [{"network": n["name"], "parameters": n["parameters"], "steps": n["steps"],
             "images/s": n["images_per_second"], "trained, s": n["seconds"], **measured_columns(n)}
            for n in networks.values()]
    return dict(name="time_to_quality", number=1, title="Time to quality",
                bar="KID above the floor at most 1/10 of the best customary peer's, whose KID is reached in 1/20 of "
                    "its time, and at most 1/2 of the shrunk peer's", passed=verdict(checks), checks=checks, rows=rows,
                says=says, networks=networks, points=points, duel=small, evaluations=evaluations,
                peers_of=stored and stored["date"], measure=measure.about(),
                sheet=None if s.quick else plot.panels([x[:10] for x in sheet.values()], "Samples of each network",
                                                       labels=[name.replace(", ", ",\n") for name in sheet], side=0.9))


def measured_columns(figures):
    """The columns that every table of samples has."""
    return {"KID": figures["kid"], "95 %": figures["interval"], "above floor": figures["above"],
            "samples": figures["samples"], "craters": figures["craters"], "radius": figures["radius"],
            "light": figures["light"]}


# ---- bar 2: sampling

class Counted:
    """An x0_model that counts how often it is asked about a picture."""

    def __init__(self, x0_model):
        self.x0_model, self.asked = x0_model, 0

    def __call__(self, xt, t):
        self.asked += len(xt)
        return self.x0_model(xt, t)


def sampling_plan(s, T):
    """What is sampled, [(sampler, step function, steps)]: DPM-Solver++ in 15 and DDIM in 50 too, the chain last."""
    few = [("DPM-Solver++", dpmpp_2m_step, n) for n in sorted({*s.sweep, 15})]
    ddim = [("DDIM", ddim_step, n) for n in sorted({*s.sweep, 50})]
    ddpm = [("DDPM", ddpm_step, n) for n in sorted({*s.sweep, s.chain or T}) if n <= T]
    return [*few, *ddim, *ddpm]


def stored_chain(measure):
    """The full chain of the stored bar 2, if weights, measure and torch are the same: its point, or None."""
    stored = read("sampling")
    if comparable(stored, ("torch", "torchvision"), clock=False) and stored["weights"] == sha256(SHIPPED) \
            and stored["measure"]["fingerprint"] == measure.fingerprint:
        return stored["points"][-1]
    return None


def sampling_checks(points, T, margin=MARGIN):
    """(the three checks of bar 2, the points of equal quality): points as sampling makes them, the chain last.

    A point is equal to the chain where the upper end of the 95 % interval of the difference in KID is below the margin.
    """
    chain, resampled = points[-1], torch.tensor(points[-1]["resampled"], dtype=torch.float64)
    for point in points:
        point["difference"] = interval(torch.tensor(point["resampled"], dtype=torch.float64) - resampled)
        point["equal"] = point["difference"][1] < margin
    of = lambda sampler, most: [p for p in points if p["sampler"] == sampler and p["evaluations"] <= most]
    equal = [p["evaluations"] for p in of("DPM-Solver++", 15) if p["equal"]]
    ratio = at_least("times fewer evaluations by DPM-Solver++ than by the DDPM chain, at equal KID",
                     chain["evaluations"] / min(equal) if equal else None, 65)
    if chain["evaluations"] < T:
        ratio = unjudged(ratio, f"a quick run without a stored chain went {chain['evaluations']} of its {T} steps")
    upper = lambda sampler, n: next(p["difference"][1] for p in of(sampler, n) if p["evaluations"] == n)
    return [at_most("KID of DPM-Solver++ in 15 evaluations above that of the chain, upper end of the 95 % interval",
                    upper("DPM-Solver++", 15), margin),
            ratio,
            at_most("KID of DDIM in 50 evaluations above that of the chain, upper end of the 95 % interval",
                    upper("DDIM", 50), margin)]


def sampling(s, measure):
    """Bar 2: KID against evaluations for each sampler, with the shipped weights, against the full DDPM chain."""
    x0_model, schedule, about = load_sampler(SHIPPED)
    stored = stored_chain(measure) if s.quick else None
    plan, points = sampling_plan(s, schedule.T), []
    if stored:
        plan.pop()
    elif s.quick and not s.chain:
        plan[-1] = ("DDPM", ddpm_step, min(128, schedule.T))
    note(f"{sum(n for *_, n in plan) * s.chain_samples:,} evaluations, about "
         f"{sum(n for *_, n in plan) * s.chain_samples * seconds_a_picture(x0_model):.0f} s")
    for sampler, step, n in plan:
        counted = Counted(x0_model)
        images, seconds = timed(lambda: draw(counted, schedule, s.chain_samples, n, step))        # noqa: B023
        seen = measure.resampled(images)
        points.append(dict(sampler=sampler, evaluations=counted.asked // s.chain_samples, seconds=seconds,
                           **measure(images, seen), resampled=[round(v, 6) for v in seen[1].tolist()]))
        note(f"{sampler} in {points[-1]['evaluations']} evaluations: KID {seen[0]:.4f}, {seconds:.0f} s")
    points += [stored] if stored else []
    checks = sampling_checks(points, schedule.T)
    even = measure(draw(x0_model, schedule, s.chain_samples, 15, times=schedule.timesteps(15, even=True)))
    fresh = scenes.craters(s.real, seed=900_005).images
    grain = measure(fresh + GRAIN * noise(s.real))
    says = [f"Equal: the upper end of the 95 % interval of the paired difference is below {MARGIN}. Grain of {GRAIN} "
            f"on rendered pictures has a KID of {grain['above']:.3f} above the floor.",
            f"DPM-Solver++ in 15 evaluations at evenly spaced times: KID above the floor {even['above']:.3f}."]
    if stored:
        says.append("The chain is the stored one, of the same weights.")
    rows = [{"sampler": p["sampler"], "evaluations": p["evaluations"], **measured_columns(p),
             "difference": p["difference"], "equal": "yes" if p["equal"] else "no", "s": p["seconds"]} for p in points]
    return dict(name="sampling", number=2, title="Sampling",
                bar="DPM-Solver++ in at most 15 evaluations, 65 times fewer, and DDIM in 50 equal the full DDPM chain "
                    "in KID",
                passed=verdict(checks), checks=checks, rows=rows, says=says, points=points, margin=MARGIN,
                grain=grain, even=even, weights=sha256(SHIPPED), levels=schedule.T, steps=about.get("steps"),
                chain_stored=bool(stored), measure=measure.about())
