"""The benchmarks' figures, drawn from the stored results alone.

    python -m benchmarks.bench --show
"""
import io

from matplotlib.figure import Figure

from benchmarks import common
from helpers.plot import COLOURS, finish

STYLES = ["-o", "-s", "-^", "-D", "-v", "-P"]


def save(figure, path):
    """Write a figure as PNG."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=110)
    path.write_bytes(raw.getvalue())
    common.note(f"drawn: {path.name}")


def lines(axes, named):
    """{name: (x, y)} or {name: (x, y, (below, above))}, each in a colour and with a mark of its own."""
    for (name, (x, y, *around)), colour, style in zip(named.items(), COLOURS, STYLES):
        axes.plot(x, y, style, color=colour, label=name, lw=1.4, ms=4)
        if around:
            low, high = zip(*around[0])
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def time_to_quality(result):
    """KID against seconds of training, for every network of bar 1."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes, named = figure.subplots(), {}
    for key, points in result["points"].items():
        if key == "short":
            continue
        named[result["networks"][key]["name"]] = ([p["seconds"] for p in points], [p["kid"] for p in points],
                                                  [p["interval"] for p in points])
    lines(axes, named)
    short = result["points"]["short"][-1]
    axes.plot(short["seconds"], short["kid"], "*", color=COLOURS[0], ms=9, label=result["networks"]["short"]["name"])
    axes.set(xlabel="seconds of training", ylabel="KID (lower is better)", xscale="log", yscale="log",
             title=f"KID after training on the same cores, {short['samples']} samples each")
    axes.axhline(result["duel"]["ours"]["kid"], color="grey", lw=0.8, ls=":",
                 label=f"ours in {result['duel']['evaluations']} evaluations")
    finish(axes, legend=True)
    return figure


def sampling(result):
    """KID against evaluations of the network, for every sampler of bar 2."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes, named = figure.subplots(), {}
    for name in dict.fromkeys(p["sampler"] for p in result["points"]):
        points = [p for p in result["points"] if p["sampler"] == name]
        named[name] = ([p["evaluations"] for p in points], [p["kid"] for p in points], [p["interval"] for p in points])
    lines(axes, named)
    chain = result["points"][-1]
    axes.axhline(chain["kid"] + result["margin"], color="grey", lw=0.8, ls=":", label="the chain, and the margin")
    axes.set(xlabel="evaluations of the network for a sample", ylabel="KID (lower is better)")
    axes.set(xscale="log", yscale="log",
             title=f"KID of the shipped weights by sampler, {chain['samples']} samples each")
    finish(axes, legend=True)
    return figure


def denoising(result):
    """PSNR and SSIM against t, ours and the filters of bar 6."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    t = [level["t"] for level in result["levels"]]
    for axes, key, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR in dB", "SSIM")):
        named = {f"ours, {name}": (t, [level["ours"][name][key] for level in result["levels"]])
                 for name in result["levels"][0]["ours"]}
        named |= {name: (t, [level["filters"][name][key] for level in result["levels"]])
                  for name in result["levels"][0]["filters"]}
        lines(axes, named)
        axes.set(xlabel="t", ylabel=f"{label} (higher is better)")
        finish(axes, legend=key == "psnr")
    figure.suptitle("Denoising held-out pictures", fontsize=10)
    return figure


def main():
    """Draw what there are results for."""
    for draw in (time_to_quality, sampling, denoising):
        result = common.read(draw.__name__)
        if result:
            save(draw(result), common.RESULTS / f"{draw.__name__}.png")

