"""Figures: what is drawn, in which colours, and what is said of it."""
import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from helpers import plot
from helpers.metrics import interval

GREY, COLOUR = torch.full((1, 8, 8), -0.5), torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 8, 8)


def array(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def has(picture, *rgb):
    """Whether a fair part of the figure has this colour."""
    return (abs(array(picture) - rgb).max(-1) <= 1).mean() > 0.1


def test_panels_show_the_pictures_in_their_places():
    figure = plot.panels([[GREY, COLOUR], [COLOUR]], "two rows", titles=["a", "b"], labels=["first", "second"])
    assert has(figure, 64, 64, 64) and has(figure, 255, 0, 0)
    image = array(figure)
    red, grey = (image == [255, 0, 0]).all(-1), abs(image - 64).max(-1) <= 1               # matplotlib rounds both ways
    rows, columns = red.shape[0] // 2, int(np.nonzero(grey.sum(0) > 20)[0].max()) + 1        # no letter is as tall
    assert red[:rows, columns:].any() and not red[:rows, :columns].any() and red[rows:, :columns].any()


@pytest.mark.parametrize("n", [1, 5, 9])
def test_grid_shows_every_picture(n):
    figure = plot.grid(GREY[None].expand(n, -1, -1, -1), "a sheet", columns=4, title="title")
    grey = (abs(array(figure) - 64).max(-1) <= 1).sum()
    assert grey == pytest.approx(n * (0.9 * 80) ** 2 * (8 / 10) ** 2, rel=0.2 if n > 1 else 0.6)


def test_values_outside_the_range_are_held_at_black_and_white():
    assert plot.pixels(torch.tensor([[[-7.0, 9.0]]])).tolist() == [[0, 1]]


@pytest.mark.parametrize("draw", [
    lambda: plot.curves(range(3), {"a": [1, 2, 3]}, "one line"),
    lambda: plot.curves(range(3), [{"a": [1, 2, 3], "b": [3, 2, 1]}, {"c": [1, 1, 1]}], "two plots", log=True),
    lambda: plot.bars({"a": 0.5, "b": 0.25}, "two bars"),
], ids=["curve", "two plots", "bars"])
def test_plots_draw_with_the_stated_colours(draw):
    figure = draw()
    blue = [int(plot.COLOURS[0][i:i + 2], 16) for i in (1, 3, 5)]
    assert (abs(array(figure) - blue).max(-1) < 3).sum() > 20


EYES = {                                                       # on linear RGB: Machado et al. 2009, severity 1.0
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]}


def linear(colour):
    c = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def apart(colours, eyes):
    """The smallest difference (CIEDE2000) between two of the colours, as these eyes see them."""
    seen = [(np.array(EYES[eyes]) @ linear(c)).clip(0, 1) for c in colours]
    lab = [rgb2lab(np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055)[None])[0] for c in seen]
    return min(deltaE_ciede2000(a, b) for i, a in enumerate(lab) for b in lab[:i])


@pytest.mark.parametrize("eyes", EYES)
def test_all_eyes_tell_the_colours_apart(eyes):
    assert apart(plot.COLOURS, eyes) > 10                      # 1 is just noticeable side by side
    assert apart(["#009E73", "#D55E00", "#7F7F7F"], "deuteranopia") < 10            # it can fail


@pytest.mark.parametrize("colour", plot.COLOURS)
def test_colours_stand_out_from_white(colour):
    contrast = lambda c: 1.05 / (linear(c) @ [0.2126, 0.7152, 0.0722] + 0.05)       # WCAG 2.1; 3 is asked of graphics
    assert contrast(colour) >= 3 > contrast("#56B4E9")


def test_a_picture_carries_its_words():
    figure = plot.panels([[GREY]], "a grey square")
    data, metadata = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == figure.png and data["text/plain"] == "a grey square"
    assert metadata["image/png"]["alt"] == "a grey square"


def test_intervals_hold_their_dots_and_show_all_names():
    one = plot.intervals({"a": (0.5, 0.2, 0.7)}, "one")
    two = plot.intervals([{"a": (0.5, 0.2, 0.7)}, {"b": (1, 1, 1), "c": (0, -1, 2)}], "two", ylabel=["x", "y"])
    assert one.alt == "one" and len(two.png) > 1000 and one.png != two.png
    value, low, high = interval(0.5, torch.linspace(0, 1, 1001))
    assert (value, low, high) == pytest.approx((0.5, 0.025, 0.975))
