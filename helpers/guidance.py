"""Guidance, and other models made of models.  A model is a callable (xt (B, C, H, W), t (B,)) -> estimate of that size.

guided, each_channel and tiled are weighted means whose weights sum to 1, so they work alike whether the models
estimate x_0, eps or v: at a given x_t and t, each of these is a linear function of each other.
"""
import torch


def as_x0(model, schedule, target):
    """The x0_model (xt, t) -> x0_hat of a network that was trained to predict target: "eps", "v" or "x0".

    Nothing is lost at t = T, where a v- or x0-network gives its x0_hat although x_t holds almost nothing of the image.
    More arguments, a label (B,) for instance, are passed to the network.
    ValueError: another target.
    """
    if target not in ("eps", "v", "x0"):
        raise ValueError(f"a network predicts eps, v or x0, not {target!r}.")

    def x0_model(xt, t, *label):
        out = model(xt, t, *label)
        if target == "eps":
            return schedule.predict_x0(xt, t, out)
        if target == "v":
            a = schedule.at(t, xt)
            return a.sqrt() * xt - (1 - a).sqrt() * out                  # Salimans & Ho 2022, appendix D
        return out
    return x0_model


def guided(model, without, scale):
    """Classifier-free guidance: a model that extrapolates the effect of the label (Ho & Salimans 2022, eq. 6).

    model, without: the model with and without the label;  scale: the paper's 1 + w; 0 ignores the label, 1 follows it
    """
    def both(xt, t):
        unlabelled = without(xt, t)
        return unlabelled + scale * (model(xt, t) - unlabelled)
    return both


def each_channel(model):
    """A model for any number of channels, made of one for grey images (B, 1, H, W): it treats each channel as one."""
    def grey_by_grey(xt, t):
        return model(xt.flatten(0, 1)[:, None], t.repeat_interleave(xt.shape[1])).view_as(xt)
    return grey_by_grey


def tiled(model, size, stride):
    """A model for large images, made of one for small ones: its estimates for overlapping tiles, blended.

    size: side of a tile in pixels;  stride: from one tile to the next, at most size.  An estimate weighs most in the
    middle of its tile and least at its edge, so that no edge shows (Bar-Tal et al. 2023).
    ValueError: an image smaller than a tile, or gaps between tiles.
    """
    if not 1 <= stride <= size:
        raise ValueError(f"tiles of {size} pixels need a stride from 1 to {size}, or there are gaps; found {stride}.")

    def blended(xt, t):
        height, width = xt.shape[-2:]
        if min(height, width) < size:
            raise ValueError(f"an image of {height}×{width} holds no tile of {size} pixels: choose smaller tiles.")
        ramp = torch.minimum(torch.arange(size) + 1, size - torch.arange(size)).to(xt)
        tent = torch.outer(ramp, ramp)
        total = torch.zeros_like(xt)
        weight = torch.zeros_like(xt)
        for y in [*range(0, height - size, stride), height - size]:      # the last tile ends where the image ends
            for x in [*range(0, width - size, stride), width - size]:
                tile = ..., slice(y, y + size), slice(x, x + size)
                total[tile] += tent * model(xt[tile], t)
                weight[tile] += tent
        return total / weight
    return blended
