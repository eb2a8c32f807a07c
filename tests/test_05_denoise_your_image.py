"""Notebook 05: what is called denoised comes from what is called noisy alone; tiles leave no seam; a quick slider."""
import ast

import numpy as np
import pytest
import torch
from cells import WithoutAsserts, run, span
from PIL import Image
from torch import nn

from helpers import checkpoints, env, plot, samplers, scenes
from helpers.features import FeatureNet
from helpers.checkpoints import load_sampler
from helpers.guidance import tiled
from helpers.samplers import dpmpp_2m_step, sample
from helpers.schedule import Schedule
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
ORIGINALS = {"x0", "chosen", "truth", "large", "crater", "strangers"}    # the page's names for what was there before


class Swap(WithoutAsserts):
    """Without what is asserted (of a trained network); each original is swapped as soon as it has a name."""

    def visit_Assign(self, node):
        names = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        return [node, *(ast.parse(f"{name} = swapped({name})").body[0] for name in sorted(names & ORIGINALS))]


def small_network(path, network):
    """In place of load_weights: a small, untrained network, whose answers are none the less not 0."""
    torch.manual_seed(0)
    if network is FeatureNet:
        return FeatureNet(), {}
    model = UNet(1, 1, (8,), patch=4)
    nn.init.normal_(model.head[-1].weight, std=0.1)
    return model.eval(), dict(size=32, channels=1, schedule="cosine", T=64, target="v")


def play(cells, monkeypatch, replay=None):
    """Run cells: (the panels of each figure by their words, all that q_sample gave, all that a sampler started from).

    replay: what q_sample gave in an earlier run.  It is given again, but all originals are other pictures now.
    """
    figures, given, starts = [], [], []
    q_sample, sample_path, panels = Schedule.q_sample, samplers.sample_path, plot.panels

    def noised(schedule, x0, t, eps=None):
        xt = q_sample(schedule, x0, t, eps)                    # drawn in any case: random numbers stay in step
        given.append(xt if replay is None else replay[len(given)].clone())
        return given[-1]

    def walked(x0_model, schedule, x, *args, **options):
        starts.extend(x.clone())
        return sample_path(x0_model, schedule, x, *args, **options)

    def drawn(rows, alt, titles=(), labels=(), **options):
        rows, word = [list(row) for row in rows], lambda words, i: words[i] if i < len(words) else ""
        figures.append([(f"{word(labels, i)} {word(titles, j)}", image.clone())
                        for i, row in enumerate(rows) for j, image in enumerate(row)])
        return panels([[rows[0][0]]], alt)                     # a small figure is enough

    namespace = {"swapped": lambda x: x if replay is None else 0.9 * x.flip(-1, -2)}
    with monkeypatch.context() as patch:
        patch.setattr(Schedule, "q_sample", noised)
        patch.setattr(samplers, "sample_path", walked)
        patch.setattr(plot, "panels", drawn)
        patch.setattr(checkpoints, "load_weights", small_network)
        namespace = run(cells, namespace, change=Swap().visit, samples=8)
        namespace["figure"].controls["t"].value = 9            # the slider is moved, too
    return figures, given, starts


def same_up_to_scale(a, b):
    return a.shape == b.shape and torch.cosine_similarity(a.flatten(), b.flatten(), 0) > 1 - 1e-5


def dishonest(cells, monkeypatch):
    """What is wrong with the figures of the page, a list of sentences; and how many panels are called denoised."""
    figures, given, starts = play(cells, monkeypatch)
    again, *_ = play(cells, monkeypatch, given)                # the same noisy pictures, made of other originals
    found, count = [], 0
    for n, (figure, other) in enumerate(zip(figures, again, strict=True)):
        if not any("noisy" in words for words, _ in figure):
            continue
        for (words, image), (_, now) in zip(figure, other, strict=True):
            if "error" in words:                               # says how far the original is: may know it
                continue
            if "original" in words:
                if torch.equal(image, now):
                    found.append(f"figure {n}: '{words}' is no original that the page names")
                continue
            if not torch.equal(image, now):
                found.append(f"figure {n}: '{words}' knows the original")
            if "noisy" in words and not any(same_up_to_scale(image, start) for start in starts):
                found.append(f"figure {n}: '{words}' is not what a sampler was given")
            count += "denoised" in words
    return found, count


def test_what_is_called_denoised_comes_from_what_is_called_noisy_alone(monkeypatch):
    found, count = dishonest(span("05"), monkeypatch)
    assert found == [] and count >= 40


@pytest.mark.parametrize("honest, planted, complaint", [
    ("parts = noisy.split(32)", "parts = (noisy + 0.01 * x0).split(32)", "knows the original"),
    ("each_channel(x0_model)", "each_channel(lambda xt, t, f=x0_model: f(xt + 0.01 * x0, t))", "knows the original"),
    ("denoised = restore(noisy, t, looks)", "denoised = 0.99 * restore(noisy, t, looks) + 0.01 * picture",
     "knows the original"),
    ("denoised = restore(noisy, t, looks)", "denoised = restore(schedule.q_sample(picture, t // 2), t // 2, looks)",
     "not what a sampler was given"),
    ("[[*noisy, *denoised, *picture]]", "[[*noisy, *denoised, *denoised]]", "no original"),
], ids=["into the sampler", "into the network", "into the slider's result", "less noise than shown", "wrong original"])
def test_a_planted_original_is_found(honest, planted, complaint, monkeypatch):
    cells = span("05", last="slider")
    assert sum(text.count(honest) for text in cells.values()) == 1
    found, _ = dishonest({place: text.replace(honest, planted) for place, text in cells.items()}, monkeypatch)
    assert any(complaint in sentence for sentence in found)


def test_the_slider_answers_within_150_ms(answers_within_150_ms):
    namespace = run(span("05", last="slider"), samples=8)
    answers_within_150_ms(namespace["figure"], t=range(40, 1000, 64))


def test_the_slider_takes_an_upload_of_either_ipywidgets(tmp_path):
    namespace = run(span("05", last="slider"), samples=8)
    Image.linear_gradient("L").save(tmp_path / "mine.png")
    content = (tmp_path / "mine.png").read_bytes()
    for upload in ({"name": "mine.png", "content": memoryview(content)},), {"mine.png": {"content": content}}:
        namespace["latest"][:] = None, None
        namespace["live"](300, 1, upload)
        mine = namespace["latest"][1]
        assert mine.shape == (1, 1, 64, 64) and mine[0, 0, -1].mean() - mine[0, 0, 0].mean() > 1.5


@pytest.fixture(scope="module")
def restored():
    """Two landscapes of 192×192 pixels, restored with touching and with overlapping tiles of 64: {stride: pictures}."""
    x0_model, schedule, about = load_sampler(env.WEIGHTS / "craters64.safetensors")
    torch.manual_seed(0)
    noisy, t = schedule.q_sample(scenes.craters(2, 192, 4321).images, about["T"] * 2 // 5), about["T"] * 2 // 5
    return {stride: sample(tiled(x0_model, 64, stride), schedule, noisy, start=t, steps=8, step=dpmpp_2m_step)
            for stride in (64, 32)}


def border_jumps(pictures, borders):
    """Mean brightness jumps across the borders and elsewhere, in columns and in rows: lists of (borders, elsewhere)."""
    out = []
    for x in (*pictures, *pictures.transpose(-1, -2)):
        jumps = x.diff(dim=-1).abs().mean((0, 1)).numpy()
        at = np.array(sorted(borders)) - 1
        out.append((jumps[at], np.delete(jumps, at)))
    return out


def test_overlapping_tiles_leave_no_seam(restored):
    for at, rest in border_jumps(restored[32], {32, 64, 96, 128, 160}):
        assert at.max() <= rest.max() and abs(at.mean() - rest.mean()) < rest.std()


def test_touching_tiles_would_leave_one(restored):
    for at, rest in border_jumps(restored[64], {64, 128}):
        assert at.max() > rest.max() and at.mean() > rest.mean() + 2 * rest.std()
