"""Slices through heads of two groups, rendered with group and subject: `heads`."""
import math
from typing import NamedTuple

import numpy as np
import torch

from helpers.scenes.fields import check, fractal_noise, one_thread, white_noise


class Heads(NamedTuple):
    """Slices through heads of two groups; the slices of one subject share its number."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    groups: torch.Tensor                          # (n,) int64: 1 where the ventricles are enlarged, else 0
    subjects: torch.Tensor                        # (n,) int64: 0 for the first 6 slices, 1 for the next 6, …


@one_thread()
def heads(n, size=64, seed=0):
    """Slices like T1 brain scans, of subjects with narrow or wide ventricles: Heads(images, groups, subjects).

    n images of size × size pixels, front at the top; 6 slices a subject, from the level of the deep nuclei upward.
    Subjects alternate between the groups. A subject's slices resemble each other: split by subject, never by image.
    """
    n, size, seed = check(n, size, seed)
    subjects = torch.arange(n) // 6
    drawn = [_head(np.random.default_rng([seed, i]), i % 2, size) for i in range(math.ceil(n / 6))]
    return Heads(torch.cat(drawn)[:n, None], subjects % 2, subjects)


def _head(rng, wide, size):
    """The six slices (6, size, size) of one subject. Lengths below are in halves of the image's width."""
    def part(depth):                                                             # 1 inside, 0 outside, a pixel between
        return torch.sigmoid(depth * size * 1.2)

    def rod(x1, y1, x2, y2):                                                     # distance to a line segment
        along = (((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)).clamp(0, 1)
        return torch.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))

    z = torch.linspace(0, 1, 6)[:, None, None]                                 # level: 0 deep nuclei, 1 near the crown
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    bend = fractal_noise(rng, 2, size, 2, 1, 5)
    tilt = rng.normal(0, 0.04)
    x, y = x + tilt * y + 0.012 * bend[0], y - tilt * x + 0.012 * bend[1]
    x = x + rng.normal(0, 0.015)
    y = y + rng.normal(0, 0.015)

    # shells from the skin inward: scalp, skull, water, brain
    a = rng.uniform(0.68, 0.74) * (1 - 0.22 * z ** 2)
    b = rng.uniform(0.86, 0.92) * (1 - 0.2 * z ** 2)
    skin = (1 - torch.hypot(x / (a * (1 - 0.1 * y)), y / b)) * 0.75
    brain = skin - 0.115
    # the cortex lines the surface, the cleft between the halves, and folds that run in, much alike left and right
    cleft = x.abs() + 0.8 * (0.42 - 0.5 * z - y.abs()).clamp(min=0)
    surface = torch.minimum(brain, cleft)
    one, two = (f + 0.8 * f.flip(-1) for f in fractal_noise(rng, 2, size, 0.5, 5, 9))
    folds = (one * (1.5 * z).cos() + two * (1.5 * z).sin()).abs() * 0.09 + (surface - 0.2).clamp(min=0)
    cortex = torch.minimum(surface, folds + 0.01)
    image = -0.97 + 1.35 * part(skin) - 1.2 * part(skin - 0.05) + 0.45 * part(skin - 0.1)   # air, scalp, skull, water
    image = image + part(brain) * (0.5 * part(cortex - 0.018) + 0.55 * part(cortex - 0.085))  # grey, white matter
    x = x.abs()                                                                  # what follows has a mirrored twin
    nuclei = torch.minimum(torch.hypot((x - 0.17) * 1.3, y + 0.08), torch.hypot(x - 0.24, y - 0.1))
    image = image - 0.35 * part(0.1 * (1 - 1.5 * z) - nuclei)
    width = rng.normal(0.075, 0.008) if wide else rng.normal(0.035, 0.006)
    horns = torch.minimum(rod(0.05, 0.0, 0.12, 0.24), rod(0.05, 0.0, 0.17, -0.3))
    image = image + (-0.62 - image) * part(width * (1 - 1.1 * z ** 2) - horns)
    return (image * (1 + 0.05 * bend[0]) + 0.03 * white_noise(rng, 6, size, size)).clamp(-1, 1)
