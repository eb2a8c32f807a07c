"""Brain tissue under the electron microscope, rendered with its mitochondria: `cells`."""
import math
from typing import NamedTuple

import numpy as np
import torch

from helpers.scenes.fields import check, fractal_noise, one_thread, uniform, white_noise


class Cells(NamedTuple):
    """Images of brain tissue with the mitochondria marked; images cut from one slice share its number."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    masks: torch.Tensor                           # (n, 1, size, size) float32, 1 inside a mitochondrion, else 0
    slices: torch.Tensor                          # (n,) int64: 0 for the first 16 images, 1 for the next 16, …


@one_thread()
def cells(n, size=64, seed=0):
    """Electron micrographs of brain tissue and their mitochondria: Cells(images, masks, slices).

    n images of size × size pixels, 16 cut at random places from each slice, which is four times as wide. Images of
    one slice overlap and share its stain and fine texture: split into training and test by slice, never by image.
    """
    n, size, seed = check(n, size, seed)
    images = []
    masks = []
    for i in range(math.ceil(n / 16)):
        rng = np.random.default_rng([seed, i])
        image, mask = _tissue(rng, 4 * size)
        corners = rng.integers(0, 3 * size + 1, (16, 2)).tolist()
        images += [image[r:r + size, c:c + size] for r, c in corners]
        masks += [mask[r:r + size, c:c + size] for r, c in corners]
    return Cells(torch.stack(images[:n])[:, None], torch.stack(masks[:n])[:, None], torch.arange(n) // 16)


def _tissue(rng, width):
    """One slice (width, width) and its mask. Lengths below are in 256ths of the slice's width."""
    axis = (torch.arange(width) + 0.5) * 256 / width
    at = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))                  # (2, width, width) column, row
    bend = fractal_noise(rng, 2, width, 2.2, 3, 14)
    fine = fractal_noise(rng, 2, width, 1, 12, 70)
    cloud = fractal_noise(rng, 1, width, 1, 2, 60)[0]

    # mitochondria are rods; they and a crowd of points are the seeds of neurites: a pixel belongs to the nearest seed
    middle = _scatter(rng, 44)
    turn = uniform(rng, 0, math.pi, 44, 1, 1)
    length = 15 * uniform(rng, 0.1, 1, 44, 1, 1) ** 2
    radius = uniform(rng, 4.8, 7.5, 44, 1, 1)
    x, y = (at + 4.5 * bend)[:, None] - middle.T[:, :, None, None]
    along = x * turn.cos() + y * turn.sin()
    across = y * turn.cos() - x * turn.sin()
    rods = ((along.abs() - length).clamp(min=0).square() + across.square()).sqrt() - radius
    points = _distance(at + 4.5 * bend, _scatter(rng, 70)) - uniform(rng, -6, 10, 70, 1, 1)
    reach = torch.cat([rods - uniform(rng, 3, 7, 44, 1, 1), points])
    first, owner = reach.min(0)
    wall = (reach.scatter_(0, owner[None], math.inf).amin(0) - first) / 2        # how far it is to the membrane, about
    tone = uniform(rng, -0.15, 0.15, 114) - 0.3 * (uniform(rng, 0, 1, 114) < 0.15)
    image = 0.3 + tone[owner] + 0.1 * cloud

    # what else is dark: crowds of vesicles with pale middles; lysosomes, round and even; membranes, thick at synapses
    spots = _scatter(rng, 10)[:, None] + 5 * white_noise(rng, 10, 12, 2)
    ring = _distance(at, spots.reshape(-1, 2)).amin(0)
    image = image - 0.5 * torch.exp(-((ring - 1.8) / 0.7) ** 2) * (wall > 2)
    lysosome = (_distance(at + bend, _scatter(rng, 14)) - uniform(rng, 2, 4.5, 14, 1, 1)).amin(0)
    image = image - 0.6 * torch.sigmoid(-2 * lysosome) * (wall > 1.5)
    synapse = torch.exp(-(_distance(at, _scatter(rng, 16)).amin(0) / 5) ** 2)
    image = image - (0.7 + 0.2 * synapse) * torch.exp(-(wall / (0.8 + 1.2 * synapse)) ** 2)

    # inside a mitochondrion, which never leaves its neurite: a dark edge, and folds (cristae) across the rod
    inside, which = (-rods).max(0)
    inside = torch.minimum(inside, wall - 1.5).where(owner == which, -9)
    folds = torch.cos(along.gather(0, which[None])[0] * 2 + 1.2 * fine[0]) * torch.sigmoid(2 * (inside - 1.6))
    body = -0.2 + 0.27 * folds + 0.05 * fine[1] - 0.4 * torch.exp(-((inside - 0.5) / 0.6) ** 2)
    image = image + (body - image) * torch.sigmoid(4 * inside)

    # each slice has its own stain and fine texture
    image = image * rng.uniform(0.75, 1.1) + rng.uniform(-0.15, 0.15)
    image = image + rng.uniform(0.06, 0.11) * white_noise(rng, width, width)
    return image.clamp(-1, 1), (inside > 0).float()


def _scatter(rng, count):
    """Places (count, 2) over the slice, each the one of ten tries that is farthest from those before it."""
    places = rng.uniform(-8, 264, (1, 2))
    for _ in range(count - 1):
        tries = rng.uniform(-8, 264, (10, 2))
        gap = np.linalg.norm(tries[:, None] - places, axis=-1).min(1)
        places = np.vstack([places, tries[gap.argmax()]])
    return torch.from_numpy(places.astype(np.float32))


def _distance(at, places):
    """Distance from each pixel to each place: (len(places), width, width)."""
    mode = "donot_use_mm_for_euclid_dist"                                        # by products of matrices: too coarse
    return torch.cdist(places, at.flatten(1).T.contiguous(), compute_mode=mode).view(-1, *at.shape[1:])
