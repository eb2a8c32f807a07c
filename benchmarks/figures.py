"""The benchmarks' figures, drawn from the stored results alone.

    python -m benchmarks.bench --show
"""
import io

from matplotlib.figure import Figure

from benchmarks import common
from helpers.plot import COLOURS, finish

STYLES = ["-o", "-s", "-^", "-D", "-v", "-P"]


def lines(axes, named):
    """{name: (x, y)} or {name: (x, y, intervals)}, each in a colour and with a mark of its own."""
    for (name, (x, y, *intervals)), colour, style in zip(named.items(), COLOURS, STYLES):
        axes.plot(x, y, style, color=colour, label=name, lw=1.4, ms=4)
        for low_high in intervals:
            axes.fill_between(x, *zip(*low_high), color=colour, alpha=0.15, lw=0)


def kid_axes(named, level, label, xlabel, title):
    """A figure of KID on two logarithmic axes, {name: (x key, points)}, with a dotted line at a level."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    lines(axes, {name: ([p[key] for p in points], [p["kid"] for p in points], [p["interval"] for p in points])
                 for name, (key, points) in named.items()})
    axes.axhline(level, color="grey", lw=0.8, ls=":", label=label)
    axes.set(xlabel=xlabel, ylabel="KID (lower is better)", title=title)
    axes.set(xscale="log", yscale="log")
    finish(axes, legend=True)
    return figure


def time_to_quality(result):
    """KID against seconds of training, for every network."""
    named = {result["networks"][key]["name"]: ("seconds", points) for key, points in result["points"].items()}
    return kid_axes(named, result["duel"]["ours"]["kid"], f"ours in {result['duel']['evaluations']} evaluations",
                    "seconds of training", "KID after training on the same cores, "
                    f"{result['points']['short'][-1]['samples']} samples each")


def sampling(result):
    """KID against evaluations of the network, for every sampler."""
    points = result["points"]
    named = {name: ("evaluations", [p for p in points if p["sampler"] == name])
             for name in dict.fromkeys(p["sampler"] for p in points)}
    return kid_axes(named, points[-1]["kid"] + result["margin"], "the chain, and the margin",
                    "evaluations of the network for a sample",
                    f"KID of the shipped weights by sampler, {points[-1]['samples']} samples each")


def denoising(result):
    """PSNR and SSIM against t, ours and the filters."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    levels = result["levels"]
    for axes, key, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR in dB", "SSIM")):
        lines(axes, {name if group == "filters" else f"ours, {name}":
                     ([level["t"] for level in levels], [level[group][name][key] for level in levels])
                     for group in ("ours", "filters") for name in levels[0][group]})
        axes.set(xlabel="t", ylabel=f"{label} (higher is better)")
        finish(axes, legend=key == "psnr")
    figure.suptitle("Denoising held-out images", fontsize=10)
    return figure


def main():
    """Draw what there are results for."""
    for draw in (time_to_quality, sampling, denoising):
        result = common.read(draw.__name__)
        if result:
            raw = io.BytesIO()
            draw(result).savefig(raw, format="png", dpi=110)
            common.write_file(common.RESULTS / f"{draw.__name__}.png", raw.getvalue())
