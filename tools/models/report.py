"""The report card of a model, on quality and memorisation: one HTML file and one PDF, each self-contained.

    found = examine(samples, trained, held_out, real, embed)
    page, pdf = write("build/report", "my craters", samples, trained, found)
"""
import base64
import io
import re
import textwrap
from html import escape
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from helpers import plot
from helpers.data import dihedral
from helpers.metrics import closeness, interval, kid, memorisation, precision_recall

BLIND = ("The search for copies sees rotated and mirrored images. It is blind to shifted and to enlarged ones, and to "
         "a single crater that was taken over.")

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Report card: {0}</title>
<style>body {{ font: 1rem sans-serif; max-width: 65rem; margin: 2rem auto }} img {{ max-width: 100% }}</style>
<h1>Report card: {0}</h1>"""


class Findings(NamedTuple):
    """What examine() finds; an interval is (value, low, high), of 95 %."""
    copied: tuple                                 # interval: the share of copies
    kid: tuple                                    # interval: distance from real images
    precision: float                              # share of the samples that lie among real images
    recall: float                                 # share of the real images that lie among samples
    limit: float                                  # a copy lies closer than this
    near: torch.Tensor                            # (B,) closeness of each sample to its training image
    index: torch.Tensor                           # (B,) which one that is
    views: torch.Tensor                           # (B, C, H, H) each sample, rotated and flipped to lie closest


def best_view(images, references):
    """(closeness (B,), indices (B,), views (B, C, H, H)): the closest of the eight rotations and flips."""
    views = dihedral(images).unflatten(0, (8, -1))
    near, index = map(torch.stack, zip(*[closeness(view, references) for view in views]))      # each (8, B)
    best = near.argmin(0), torch.arange(len(images))
    return near[best], index[best], views[best]


def examine(samples, trained, held_out, real, embed, seed=0):
    """Findings about samples (B, C, H, H) of a model that saw the images trained (N, C, H, H).

    held_out: (M,) the closeness to trained of images that the model cannot know;  real: (R, C, H, H), to be like
    embed: images -> features.  ValueError as those of memorisation, kid and precision_recall.
    """
    near, index, views = best_view(samples, trained)
    share, drawn, limit = memorisation(near, held_out, seed=seed)
    a = embed(samples)
    b = embed(real)
    n = min(len(a), len(b))
    return Findings(interval(share, drawn), interval(*kid(a, b, seed=seed)), *precision_recall(b[:n], a[:n]), limit,
                    near, index, views)


def verdicts(found):
    """What the findings mean, in sentences."""
    n = len(found.near)
    share, low, high = found.copied
    caught = int((found.near < found.limit).sum())
    if low > 0.02:
        copies = f"It copies: {share:.0%} of its images ({low:.0%} to {high:.0%}) are images it was trained on."
    elif caught:
        copies = f"{caught} of {n} images lie suspiciously close: look at them, and examine more."
    else:
        copies = f"No copies found among {n} images. (Up to {3 / n:.0%} of all it makes could still be some.)"
    value, low, high = found.kid
    verdict = "cannot tell its images from real ones" if low <= 0 else "can tell its images from real ones"
    return [copies, f"The feature network {verdict}: KID {value:.3f} ({low:.3f} to {high:.3f}). Copies would pass "
            "this test, too.",
            f"{found.precision:.0%} of its images lie among the real ones, {found.recall:.0%} of the real ones among "
            f"its own.", BLIND]


def figures(samples, trained, found, most=12):
    """Two plot.Pngs: a grid of samples, and the closest of them above their training images."""
    order = found.near.argsort()[:most]
    words = [f"{c:.2f}{' copy' if c < found.limit else ''}" for c in found.near[order].tolist()]
    return (plot.grid(samples[:48], f"A grid of {len(samples[:48])} samples.", columns=12, side=0.7),
            plot.panels([found.views[order], trained[found.index[order]]],
                        f"The {len(order)} samples that lie closest to a training image, and these.", titles=words,
                        labels=["sample", "training\nimage"], side=0.75))


def write(folder, name, samples, trained, found):
    """Write the report card as folder/name.html and folder/name.pdf; give both paths."""
    folder = Path(folder)
    said = verdicts(found)
    shown = figures(samples, trained, found)
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"\W+", "-", name).strip("-") or "model"
    page = folder / f"{stem}.html"
    pdf = folder / f"{stem}.pdf"
    data = [base64.b64encode(image.png).decode() for image in shown]
    images = [f'<p><img alt="{escape(image.alt)}" src="data:image/png;base64,{text}"><br>{escape(image.alt)}</p>'
                for image, text in zip(shown, data)]
    items = [f"<li>{escape(sentence)}</li>" for sentence in said]
    page.write_text("\n".join([HEAD.format(escape(name)), "<ul>", *items, "</ul>", *images, "</html>", ""]),
                    encoding="utf8")
    figure = Figure(figsize=(8.3, 11.7))
    lines = [f"Report card: {name}", *(f"-  {sentence}" for sentence in said)]
    figure.text(0.08, 0.95, "\n\n".join(textwrap.fill(line, 85) for line in lines).replace("$", r"\$"), va="top")
    for image, bottom in zip(shown, (0.42, 0.1)):
        axes = figure.add_axes((0.08, bottom, 0.84, 0.27))
        axes.imshow(Image.open(io.BytesIO(image.png)), cmap="gray")
        axes.set_axis_off()
        axes.set_title(image.alt, fontsize=9)
    with PdfPages(pdf, metadata={"Title": f"Report card: {name}", "CreationDate": None}) as pages:
        pages.savefig(figure, dpi=150)
    return page, pdf
