"""Figures: images in rows and grids, curves and bars.  Each call gives a Png, which a notebook displays.

Images are tensors (C, H, W) in [-1, 1], grey or colour; a mask m in {0, 1} is shown as 2 * m - 1.
"""
import base64
import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torchvision.utils import make_grid

# four of Okabe & Ito 2008, a brown and a navy: distinguishable to colour-blind eyes and dark enough on white, by test
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#692D0F", "#000096", "#000000"]
DPI = 80


class Png:
    """A figure as a PNG file: .png, its bytes, and .alt, the sentence that describes it to those who cannot see it.

    colours: how many the file keeps, at most 256; None keeps all.  Plots need few, and their files shrink to a third.
    """

    def __init__(self, figure, alt, colours=None):
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        small = io.BytesIO()
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        grey = len({band.tobytes() for band in image.split()}) == 1        # then one will do: noise makes large files
        image = image.convert("L") if grey else image
        image = image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=0) if colours and not grey else image
        image.save(small, "png")
        self.png = small.getvalue()
        self.alt = alt

    def _repr_mimebundle_(self, **_):
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def pixels(image):
    """(C, H, W) in [-1, 1] -> (H, W) or (H, W, 3) in [0, 1], the form matplotlib and Pillow take."""
    image = ((image.detach().cpu().float() + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy()
    return image[..., 0] if image.shape[-1] == 1 else image


def panels(rows, alt, titles=(), labels=(), side=1.5):
    """Rows of images, with a title over each column and a label left of each row; side: an image's width, inches."""
    rows = [list(row) for row in rows]
    columns = max(map(len, rows))
    gap = 0.06
    top = 0.1 + 0.17 * max((t.count("\n") + 1 for t in titles), default=0)
    left = 0.1 + 0.085 * max((len(line) for label in labels for line in label.split("\n")), default=0)
    width = left + columns * (side + gap)
    height = top + len(rows) * (side + gap)
    figure = Figure(figsize=(width, height), dpi=DPI)          # no axes: those of many images take long to draw
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            x = left + j * (side + gap)
            y = height - top - (i + 1) * (side + gap) + gap
            image = pixels(image)
            wide = round(side * DPI)                           # its longer side in pixels of the figure
            longer = max(image.shape[:2])
            down, across = (np.arange(wide * n // longer) * longer // wide for n in image.shape[:2])     # the nearest
            figure.figimage(image[down][:, across], x * DPI + (wide - len(across)) // 2,
                            y * DPI + (wide - len(down)) // 2, cmap="gray", vmin=0, vmax=1)
            if i == 0 and j < len(titles):
                figure.text((x + side / 2) / width, (y + side + 0.05) / height, titles[j], fontsize=9, ha="center")
            if j == 0 and i < len(labels):
                figure.text((x - 0.06) / width, (y + side / 2) / height, labels[i], fontsize=9, ha="right", va="center")
    return Png(figure, alt)


def grid(images, alt, columns=8, title="", side=0.9):
    """A grid of images (N, C, H, W), side inches each."""
    tiled = make_grid(images.detach().cpu(), nrow=columns, padding=2, pad_value=1)
    lines = -(-len(images) // columns)
    figure = Figure(figsize=(side * min(columns, len(images)), side * lines + (0.3 if title else 0)))
    axes = figure.add_axes((0, 0, 1, side * lines / figure.get_figheight()))
    axes.imshow(pixels(tiled), interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=10, pad=5)
    return Png(figure, alt)


def curves(x, lines, alt, xlabel="", ylabel="", title="", log=False, size=(6, 2.8), marks=None):
    """Named curves over one axis: lines is {name: y}, or a list of such dictionaries for plots side by side.

    marks: points with a word beside each, {word: (x, y)}, or a list of such dictionaries
    """
    groups = lines if isinstance(lines, list) else [lines]
    labels, titles = ([v] * len(groups) if isinstance(v, str) else v for v in (ylabel, title))
    marks = marks if isinstance(marks, list) else [marks or {}] * len(groups)
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, group, label, head, points in zip(all_axes, groups, labels, titles, marks):
        for (name, y), colour in zip(group.items(), COLOURS):
            axes.plot(np.asarray(x), np.asarray(y), label=name, color=colour, lw=1.6)
        for i, (word, point) in enumerate(points.items()):         # above, below, above, …: neighbours stay apart
            axes.plot(*point, "o", color="black", ms=4)
            axes.annotate(word, point, xytext=(5, -4 if i % 2 else 4), textcoords="offset points", fontsize=8,
                          va="top" if i % 2 else "bottom")
        axes.set(xlabel=xlabel, ylabel=label, title=head, yscale="log" if log else "linear")
        finish(axes, legend=len(group) > 1)
    return Png(figure, alt, colours=256)


def bars(values, alt, ylabel="", title="", size=(4, 2.6)):
    """One bar for each name in {name: value}, its value written above."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.bar(list(values), list(values.values()), color=COLOURS[:len(values)]), fmt="%.2f")
    axes.set(ylabel=ylabel, title=title)
    axes.margins(y=0.15)
    finish(axes)
    return Png(figure, alt, colours=256)


def intervals(values, alt, ylabel="", title="", size=(6, 2.8)):
    """A dot and its interval for each name: {name: (value, low, high)}, or a list of such dictionaries side by side."""
    groups = values if isinstance(values, list) else [values]
    labels, titles = ([v] * len(groups) if isinstance(v, str) else v for v in (ylabel, title))
    figure = Figure(figsize=size, layout="constrained")
    for axes, group, label, head in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, labels, titles):
        value, low, high = np.array(list(group.values()), float).T
        axes.axhline(0, color="grey", lw=0.8, ls=":")
        axes.vlines(range(len(group)), low, high, color=COLOURS[0], lw=2)
        axes.plot(range(len(group)), value, "o", color=COLOURS[0], ms=7)
        axes.set_xticks(range(len(group)), list(group), fontsize=8)
        axes.set(ylabel=label, title=head)
        axes.margins(x=0.1, y=0.1)
        finish(axes)
    return Png(figure, alt, colours=256)


def finish(axes, legend=False):
    """Give axes the style that all plots share."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(10)
    if legend:
        axes.legend(frameon=False, fontsize=8)
