"""Measure the shipped weights: a card for each in data/weights/cards.json, and data/weights/README.md made of them.

    python -m tools.models.cards          # what is new or changed; everything, if the feature network is
    python -m tools.models.cards --all    # every file, as after a change of the scenes or the samplers
"""
import argparse
import datetime
import hashlib
import json
import math
import os
import sys
from functools import cache, partial
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression

from helpers import env, scenes
from tools.models import train
from helpers.features import FeatureNet, features, find_craters, find_light
from helpers.metrics import kid
from helpers.guidance import as_x0
from helpers.samplers import dpmpp_2m_step, sample
from helpers.schedule import BETAS, Schedule
from helpers.checkpoints import load_weights
from helpers.unet import UNet

SAMPLER = "DPM-Solver++(2M)"
STEPS = 30
SAMPLES = 512
REFERENCES = 1024
FEW_STEPS = 8                      # what a test can afford
FEW = 64                           # samples, and as many fresh images
SEED = 10_000                      # of the noise; added to a training's seed: of images that it cannot have seen


@cache
def fresh(data, n, size, seed, each=1):
    """n images (n, C, size, size) of one of train.SOURCES, and their labels (n,) or None.

    each: how many cells come from one slice; heads are all of different subjects, as many of one group as of the other
    Digits are not made: these are n of the real ones, or all there are, in an order that the seed decides.
    """
    make = train.SOURCES[data][2]
    if data == "cells":
        return torch.cat([make(each, size, seed + i)[0] for i in range(math.ceil(n / each))])[:n], None
    if data == "heads":            # two subjects of six slices, one of each group; of both the same slice
        pairs = [[part[i % 6::6] for part in make(12, size, seed + i)] for i in range(math.ceil(n / 2))]
        return tuple(torch.cat(parts)[:n] for parts in zip(*pairs))
    images, *labels = make(n, size, seed)
    if data == "digits":
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]
        return images[order], labels[0][order]
    return images, None


def compared(data, size, seed):
    """The reference set, (REFERENCES images, labels), and another of SAMPLES images for the floor."""
    if data == "digits":           # only so many exist: no image may stand in both sets
        x, y = fresh(data, 10_000, size, seed)
        return (x[SAMPLES:], y[SAMPLES:]), (x[:SAMPLES], y[:SAMPLES])
    return fresh(data, REFERENCES, size, seed + SEED), fresh(data, SAMPLES, size, seed + 2 * SEED)


def samples(model, about, n, steps):
    """n images (n, C, size, size) from a trained network, and their labels (n,), each as often, or None.

    The same noise for every network, so that the difference of two is paired.
    """
    schedule = Schedule(BETAS[about["schedule"]](about["T"]))
    classes = model.config["num_classes"]
    shape = n, about["channels"], about["size"], about["size"]
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(shape, generator=generator)
    labels = torch.arange(n) % classes if classes else None
    model = model.to(memory_format=torch.channels_last)
    made = []
    for i in range(0, n, 32):
        net = partial(model, y=labels[i:i + 32]) if classes else model
        x0_model = as_x0(net, schedule, about["target"])
        made.append(sample(x0_model, schedule, noise[i:i + 32], steps=steps, step=dpmpp_2m_step))
    return torch.cat(made), labels


def distance(feature_net, a, b):
    """KID of the first channels of two sets of images, with its 95 % interval: a dictionary."""
    value, drawn = kid(features(feature_net, a[:, :1]), features(feature_net, b[:, :1]))
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
    return dict(value=round(value, 4), low=round(low, 4), high=round(high, 4))


def few(feature_net, model, about):
    """Distance of few samples, made in few steps, from few fresh images: quick, and much the same on any machine."""
    found, _ = samples(model, about, FEW, FEW_STEPS)
    wanted, _ = fresh(about["data"], FEW, about["size"], about["seed"] + SEED, each=16)
    return distance(feature_net, found, wanted)


def counted(feature_net, data, images):
    """What a person would count in images of craters and cells: a dictionary, empty for what nobody counts."""
    if data == "cells":
        return {"share of mitochondria": round((images[:, 1] > 0).float().mean().item(), 3)}
    if data not in ("craters", "ground"):
        return {}
    radii = torch.cat([r for _, r in find_craters(feature_net, images)])
    return {"craters a picture": round(len(radii) / len(images), 2),
            "median radius, pixels": round(radii.median().item(), 2) if len(radii) else None,
            "agreement on the light": round(find_light(feature_net, images)[1].median().item(), 3)}


def labels_read(feature_net, learn, *sets):
    """For each set (images, labels): the share whose label a logistic regression on features, fit on learn, gives."""
    x, y = learn
    classifier = LogisticRegression(max_iter=1000).fit(features(feature_net, x).numpy(), y.numpy())
    return [round(classifier.score(features(feature_net, x).numpy(), y.numpy()), 3) for x, y in sets]


def measure(path, feature_net):
    """The card of one network that makes images, but for the file's own facts: a dictionary."""
    model, about = load_weights(path, UNet)
    needed = {"data", "examples", "size", "channels", "schedule", "T", "target", "batch", "seed", "steps"}
    lacking = sorted(needed - about.keys())
    if lacking:
        raise ValueError(f"{path} does not say its {', '.join(lacking)}: ship what tools.models.train wrote.")
    data = about["data"]
    if data not in train.SOURCES:
        raise ValueError(f"{path} was trained on {data!r}, of which nothing new can be rendered: ship what was trained "
                         f"on {', '.join(train.SOURCES)}, or teach tools/models/cards.py where fresh images come from.")
    reference, floor = compared(data, about["size"], about["seed"])
    made = samples(model, about, SAMPLES, STEPS)
    seen = {"samples": counted(feature_net, data, made[0]), "fresh": counted(feature_net, data, floor[0])}
    if made[1] is not None:
        for name, share in zip(seen, labels_read(feature_net, reference, made, floor)):
            seen[name]["labels read as meant"] = share
    return dict(parameters=sum(p.numel() for p in model.parameters()), about=about, **settings(),
                counts=[len(made[0]), len(reference[0])], kid=distance(feature_net, made[0], reference[0]),
                floor=distance(feature_net, floor[0], reference[0]), looks=seen, few=few(feature_net, model, about))


def settings():
    """How images are made and compared; a card made otherwise is out of date."""
    return dict(sampler=SAMPLER, steps=STEPS, few_steps=[FEW, FEW_STEPS])


def reading(feature_net, moon):
    """How accurate a FeatureNet is on images of craters (scenes.Craters), whose ground truth is known: a dictionary."""
    found = find_craters(feature_net, moon.images)
    there = [r > 0 for r in moon.radii]
    counts = torch.tensor([[len(r) for _, r in found], [k.sum() for k in there]], dtype=torch.float64)
    errors = []
    for (centres, radii), k, where, true in zip(found, there, moon.centres, moon.radii):
        gap, i = torch.cdist(centres, where[k]).min(1)
        near = gap < true[k][i] / 2                            # a find elsewhere is not a reading of this crater
        errors.append((radii / true[k][i] - 1).abs()[near])
    light, agreement = find_light(feature_net, moon.images)
    return {"pictures": len(moon.images), "craters a picture": round(counts[1].mean().item(), 2),
            "craters found": round(counts[0].mean().item(), 2),
            "correlation of counts": round(counts.corrcoef()[0, 1].item(), 3),
            "median error of the radius": round(torch.cat(errors).median().item(), 3),
            "median error of the light, degrees":
                round(((light - moon.light + 180) % 360 - 180).abs().median().item(), 1),
            "median agreement on the light": round(agreement.median().item(), 3)}


def measure_features(feature_net, about):
    """The card of the feature network, but for the file's own facts: a dictionary."""
    size = about["size"]
    seed = about["seed"] + SEED
    return dict(parameters=sum(p.numel() for p in feature_net.parameters()), about=about,
                reads={"craters": reading(feature_net, scenes.craters(SAMPLES, size, seed)),
                       "ground": reading(feature_net, scenes.craters(SAMPLES, size, seed, varied=True))})


def sha256(path):
    """The checksum of a file, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command(about):
    """The call of tools.models.train that made a file, from its header, without the options for output: a text."""
    usual = vars(train.options([]))
    words = []
    found = about | {"widths": about["architecture"]["channels"], "patch": about["architecture"]["patch"]}
    if "start" in about:                                       # the header knows its name, not where it lay
        found["start"] = f"data/weights/{about['start']}"
    for key in [key for key in usual if key in found and key != "channels"]:
        value = found[key]
        if key == "data" or value != usual[key]:
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{key}", *map(str, values)]
    return " ".join(["python -m tools.models.train", *words])


NOTE = """
**How to read it.** The KID says how far apart two sets of images are, as the feature network sees them: 0 on average
where nothing tells them apart, and the larger the worse. The floor is what two sets of fresh images give: no model can
be expected below its interval. Compare rows of one data set and size, not cells with craters; and none with a KID from
elsewhere, which has other features. No KID notices copies, and the networks of few images are here to copy. The
counts are of samples and of the images they are held against, rendered from a seed that the training did not use.
All samples: {sampler}, {steps} evaluations, no guidance. A name that ends in -1, -2, … is a snapshot on the way to the
file without it.

Cells: the image is measured, not the mask beside it. Heads and digits: each label was asked for as often. Digits are
held against real ones, which the network was trained on, for there are no others; their floor is of one part of them
against the rest. The feature network has only ever seen craters: of cells, heads and digits it notices texture and
edges, which tells good from bad, but not all that a person would see.
"""
IN_WORDS = """
Craters and light are what the feature network reads, in samples and fresh images alike; agreement is 1 where all parts
of an image seem lit from one side. Labels are predicted by a logistic regression on the features, fitted to fresh
images.
"""
READS = """
**{name}** ({kb:,.0f} KB, {date}) makes no images: it reads craters and light, and its features make the KID.
Trained by `tools/models/features.py` for {steps:,} steps. What it reads in fresh images, where the truth is known
(the error of the radius is a share of the radius, of the craters that it found):
"""


def table(head, rows):
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def kid_of(k):
    """A KID and its interval as a text."""
    return f"{k['value']:.3f} [{k['low']:.3f}, {k['high']:.3f}]"


def page(cards):
    """data/weights/README.md as a text, made of the cards and nothing else."""
    short = lambda name: name.removesuffix(".safetensors")
    networks = {short(name): card for name, card in cards.items() if "kid" in card}
    text = ["# Shipped weights\n", "Made by `make cards` from [cards.json](cards.json), where the checksums and all "
            "settings are; changes made here are lost.\n"]
    rows = []
    for name, card in networks.items():
        about = card["about"]
        network = card["about"]["architecture"]
        rows.append([name, f"{card['bytes'] / 1000:,.0f}",
                     f"{card['parameters']:,} parameters, widths {network['channels']}, patch {network['patch']}",
                     f"{about['examples']:,} {about['data']}, {about['size']}×{about['size']}",
                     f"{about['steps']:,} × {about['batch']}", about["seed"], card["date"], kid_of(card["kid"]),
                     kid_of(card["floor"]), "{}, {}".format(*card["counts"])])
    if rows:
        head = "file,KB,network,trained on,steps × batch,seed,date,KID [95 %],floor [95 %],counts"
        text += [table(head.split(","), rows), NOTE.format(sampler=SAMPLER, steps=STEPS)]
    rows = [[name, key, value, card["looks"]["fresh"][key]]
            for name, card in networks.items() for key, value in card["looks"]["samples"].items()]
    if rows:
        text += [table(["file", "in words", "samples", "fresh images"], rows), IN_WORDS]
    for name, card in cards.items():
        if "reads" in card:
            kinds = card["reads"]
            text += [READS.format(name=name, kb=card["bytes"] / 1000, date=card["date"], steps=card["about"]["steps"]),
                     table(["", *kinds], [[key, *(kind[key] for kind in kinds.values())] for key in kinds["craters"]])]
    whole = {name: card for name, card in networks.items() if name.rpartition("-")[0] not in networks}
    if whole:
        text += ["\nThe recipes, as the headers hold them, without `--out`, `--snapshots` and what is a default:\n",
                 "```", *(f"{name}: {command(card['about'])}" for name, card in whole.items()), "```"]
    return "\n".join([*text, "\nLicence: CC BY 4.0. The files are safetensors in half precision: reading one executes "
                      "nothing.\n"])


def write(path, text):
    """Write a text whole, or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf8")
    part.replace(path)


def main(arguments=None):
    """Measure what has no valid card, write cards and page."""
    parser = argparse.ArgumentParser("tools.models.cards", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--all", action="store_true", help="measure also what has a valid card")
    parser.add_argument("--folder", type=Path, default=env.WEIGHTS, help="where the weights are")
    o = parser.parse_args(arguments)
    listed = o.folder / "cards.json"
    network = o.folder / "features.safetensors"
    old = json.loads(listed.read_text(encoding="utf8")) if listed.exists() else {}
    feature_net, about_features = load_weights(network, FeatureNet)
    paths = sorted(o.folder.glob("*.safetensors"), key=lambda path: path.stem)
    cards = {path.name: old[path.name] for path in paths if path.name in old}
    for path in paths:
        before = cards.get(path.name, {})
        facts = dict(sha256=sha256(path), bytes=path.stat().st_size)
        same = before.get("sha256") == facts["sha256"]
        facts["date"] = before["date"] if same else datetime.date.today().isoformat()
        made_with = {} if path == network else dict(features=sha256(network), **settings())
        if same and not o.all and all(before.get(key) == value for key, value in made_with.items()):
            print(f"{path.name}: the card is still right")
            continue
        card = measure_features(feature_net, about_features) if path == network else measure(path, feature_net)
        cards[path.name] = facts | card | made_with
        print(f"{path.name}: measured; {card.get('kid', card.get('reads'))}")
        write(listed, json.dumps(dict(sorted(cards.items(), key=lambda item: Path(item[0]).stem)), indent=1) + "\n")
    cards = dict(sorted(cards.items(), key=lambda item: Path(item[0]).stem))
    write(listed, json.dumps(cards, indent=1) + "\n")
    write(o.folder / "README.md", page(cards))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"tools.models.cards: {error}", file=sys.stderr)
        sys.exit(2)
