"""Pictures rendered here, offline, with their ground truth: `craters`, `cells`, `heads`.

    from helpers import scenes
    moon = scenes.craters(500)                    # moon.images (500, 1, 64, 64), moon.radii, moon.light, …

Each chunk of pictures has a generator of its own: the same seed gives the same pictures, the first k of n are those
that k alone would give, and the global random state is never touched. A setting that makes no sense raises ValueError.
"""
import contextlib
import math
import operator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

CHUNK = 32                                        # craters drawn at once: small enough for the processor's cache


@contextlib.contextmanager
def _one_thread():
    """The many small steps here run faster on one thread, and far faster where other programs are busy on the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Craters(NamedTuple):
    """Pictures of cratered ground and what is in them; an empty place in the lists of craters has radius 0."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    centres: torch.Tensor                         # (n, k, 2) column, row in pixels; the first pixel's middle is 0, 0
    radii: torch.Tensor                           # (n, k) pixels, from centre to rim; k is 8, 24 of varied ground
    light: torch.Tensor                           # (n,) where the light comes from: degrees, 90 = top, 180 = left


@_one_thread()
def craters(n, size=64, seed=0, varied=False):
    """Orbital photographs of cratered ground, lit from the upper left: Craters(images, centres, radii, light).

    n pictures of size × size pixels, each with 2 to 8 craters. Their radii, 3.5/64 to 20/64 of the picture's width,
    follow the power law N(>r) ~ r^-1.2. The light comes from 135 ± 25 degrees (135 = upper left), one a picture.
    varied: as mixed as photographs are: light from anywhere, high or low; up to 24 craters, one may fill the picture;
    dunes, central peaks, rays, stains, haze, and each picture with its own contrast.
    """
    n, size, seed = _check(n, size, seed)
    chunks = [_crater_chunk(np.random.default_rng([seed, i]), CHUNK, size, varied) for i in range(math.ceil(n / CHUNK))]
    return Craters(*(torch.cat(parts)[:n] for parts in zip(*chunks)))


def _crater_chunk(rng, n, size, varied):
    most = 24 if varied else 8
    if varied:                                                                   # a crowd of small ones, or one rim
        high = _uniform(rng, 6, 42, n, 1)
        low = 3 + 0.5 * (high - 6) * _uniform(rng, 0, 1, n, 1)
        fewest, above = 1, 3 + (66 / low).numpy()
    else:
        low, high, fewest, above = 3.5, 20, 2, most + 1
    centres, radii = _place_craters(rng, n, size, most, low / 64, high / 64, fewest, above)
    light = _uniform(rng, 0, 360, n) if varied else _uniform(rng, 110, 160, n)
    fresh = 1 - 0.8 * _uniform(rng, 0, 1, n, most, 1, 1) ** 2                    # 0 worn down, 1 just made
    rough = _uniform(rng, 0.2, 0.85, n, 1, 1)
    terrain, wobble = _noise(rng, n, size + 1, 2.1, 1.5, 30), _noise(rng, n, size + 1, 1.5, 3, 20)

    # heights in pixels on the pixels' corners, so that differences give slopes exactly at the pixels' middles
    height, albedo = 0.007 * size * rough * terrain, 0.08 * _noise(rng, n, size + 1, 1.7, 1, 8)
    y, x = torch.meshgrid(torch.arange(size + 1.0), torch.arange(size + 1.0), indexing="ij")
    if varied:
        stain, some = _uniform(rng, 0, 1.9, n, 1, 1) ** 2, (_uniform(rng, 0, 1, n, 1, 1) < 0.25)
        turn, waves = _uniform(rng, 0, math.pi, n, 1, 1), _uniform(rng, 5, 16, n, 1, 1)
        dunes = torch.sin((x * turn.cos() + y * turn.sin()) / size * 2 * math.pi * waves + 2 * wobble)
        height = height * _uniform(rng, 0.3, 2, n, 1, 1) + some * dunes * 0.06 * size / waves * rough
        albedo = albedo * stain
        petals, bend = _uniform(rng, 3, 14, 3, n, 1, 1).round(), _uniform(rng, 0, 6.3, 3, n, 1, 1)
        peaked = _uniform(rng, 0, 1, n, 1, 1) < 0.4
        bright = _uniform(rng, -1.5, 2.5, n, 1, 1)                               # ejecta may be darker than the ground
    for k in range(most):                                                        # large to small: small ones lie on top
        r, (cx, cy), f = radii[:, k, None, None], centres[:, k, :, None, None].unbind(1), fresh[:, k]
        rho = ((x - cx - 0.5).square() + (y - cy - 0.5).square()).sqrt() / r.clamp(min=1) + 0.03 * wobble
        shape, inside = _crater_profile(rho.clamp(min=0.2), f, r / size)
        there = (r > 0).float()
        ejecta = 0.17 * f ** 3 * (1 / rho.clamp(min=1)) ** 3                     # of a fresh crater: brighter
        if varied:
            shape = shape + 0.25 * f * peaked * (r > size / 8) * torch.exp(-(rho / 0.18) ** 2)   # a peak in the middle
            angle = torch.atan2(y - cy - 0.5, x - cx - 0.5)
            rays = torch.cos(petals * angle + bend).sum(0) / 3
            ejecta = bright * ejecta + 0.3 * bright * f ** 6 * rays * (1 / rho.clamp(min=1)) ** 1.5
        height = height * (1 - 0.8 * inside * f * there) + shape * r             # a new crater wipes the old ground
        albedo = albedo + there * ejecta
    elevation = _uniform(rng, 17, 55, n, 1, 1) if varied else torch.tensor(25.0)
    image = _shade(height, light, elevation) * (1 + _corners_to_middles(albedo)).clamp(min=0.1)
    if not varied:
        image = image + 0.04 * _grain(rng, n, size, size)
        return torch.tanh(0.85 * (image - 1.05))[:, None], centres, radii, light
    haze = _uniform(rng, 0, 1, n, 1, 1)
    image = image + haze * (F.avg_pool2d(F.pad(image[:, None], (1, 1, 1, 1), "replicate"), 3, 1)[:, 0] - image)
    image = image + _uniform(rng, 0.1, 1, n, 1, 1) ** 2 * 0.1 * _grain(rng, n, size, size)
    gain, middle = _uniform(rng, 0.5, 1.5, n, 1, 1), _uniform(rng, 0.65, 1.4, n, 1, 1)
    return torch.tanh(gain * (image - middle))[:, None], centres, radii, light


def _crater_profile(rho, fresh, r):
    """Height of a crater in units of its radius, at rho radii from its centre, and how far a point lies inside it."""
    depth, rim = 0.5 * fresh ** 0.8, 0.12 * fresh
    bowl, apron = rim + depth * (rho * rho - 1), rim / rho ** 3                  # they meet at rho = 1, the rim's crest
    sharp = 25 + 60 * fresh                                                      # erosion rounds the crest off
    shape = -torch.logaddexp(-sharp * bowl, -sharp * apron) / sharp
    floor = rim - depth * (1 - 1.2 * r).clamp(0.55, 1) * 0.8
    return torch.logaddexp(30 * shape, 30 * floor) / 30, (3.5 - 3 * rho).clamp(0, 1)


def _place_craters(rng, n, size, most, low, high, fewest, above):
    """Centres (n, most, 2), radii (n, most), largest first; each takes that of six places that crosses fewest rims."""
    power = 1.2
    u = _uniform(rng, 0, 1, n, most)
    radii = (low ** -power - u * (low ** -power - high ** -power)) ** (-1 / power) * size
    count = torch.from_numpy(rng.integers(fewest, above, (n, 1)))
    radii = (radii * (torch.arange(most) < count)).sort(1, descending=True).values
    tries = _uniform(rng, 0.04, 0.96, n, most, 6, 2) * size
    centres = tries[:, :, 0].clone()
    for k in range(1, most):
        gap = (tries[:, k, :, None] - centres[:, None, :k]).norm(dim=-1) - radii[:, None, :k]
        gap = (gap - radii[:, k, None, None]).amin(-1).clamp(max=0)              # free is free: the first such place
        centres[:, k] = tries[torch.arange(n), k, gap.argmax(1)]
    return torch.where(radii[..., None] > 0, centres, 0), radii


def _shade(height, light, elevation):
    """Brightness of the ground (n, size, size), 1 where it is flat: Lambert's cosine law."""
    a = torch.deg2rad(light)[:, None, None]
    down, right = height[:, 1:] - height[:, :-1], height[:, :, 1:] - height[:, :, :-1]
    down, right = (down[:, :, 1:] + down[:, :, :-1]) / 2, (right[:, 1:] + right[:, :-1]) / 2
    toward = down * a.sin() - right * a.cos()                                    # rows count downward
    lit = 1 + toward / torch.deg2rad(elevation).tan()
    return (lit / (1 + down ** 2 + right ** 2).sqrt()).clamp(min=0)


def _corners_to_middles(a):
    return (a[:, 1:, 1:] + a[:, :-1, 1:] + a[:, 1:, :-1] + a[:, :-1, :-1]) / 4


class Cells(NamedTuple):
    """Pictures of brain tissue with the mitochondria marked; pictures cut from one slice share its number."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    masks: torch.Tensor                           # (n, 1, size, size) float32, 1 inside a mitochondrion, else 0
    slices: torch.Tensor                          # (n,) int64: 0 for the first 16 pictures, 1 for the next 16, …


@_one_thread()
def cells(n, size=64, seed=0):
    """Electron micrographs of brain tissue and their mitochondria: Cells(images, masks, slices).

    n pictures of size × size pixels, 16 cut at random places from each slice, which is four times as wide. Pictures of
    one slice overlap and share its stain and grain: split into training and test by slice, never by picture.
    """
    n, size, seed = _check(n, size, seed)
    images, masks = [], []
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
    bend, fine = _noise(rng, 2, width, 2.2, 3, 14), _noise(rng, 2, width, 1, 12, 70)
    cloud = _noise(rng, 1, width, 1, 2, 60)[0]

    # mitochondria are rods; they and a crowd of points are the seeds of neurites: a pixel belongs to the nearest seed
    middle, turn = _scatter(rng, 44), _uniform(rng, 0, math.pi, 44, 1, 1)
    length, radius = 15 * _uniform(rng, 0.1, 1, 44, 1, 1) ** 2, _uniform(rng, 4.8, 7.5, 44, 1, 1)
    x, y = (at + 4.5 * bend)[:, None] - middle.T[:, :, None, None]
    along, across = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    rods = ((along.abs() - length).clamp(min=0).square() + across.square()).sqrt() - radius
    points = _distance(at + 4.5 * bend, _scatter(rng, 70)) - _uniform(rng, -6, 10, 70, 1, 1)
    reach = torch.cat([rods - _uniform(rng, 3, 7, 44, 1, 1), points])
    first, owner = reach.min(0)
    wall = (reach.scatter_(0, owner[None], math.inf).amin(0) - first) / 2        # how far it is to the membrane, about
    tone = _uniform(rng, -0.15, 0.15, 114) - 0.3 * (_uniform(rng, 0, 1, 114) < 0.15)
    image = 0.3 + tone[owner] + 0.1 * cloud

    # what else is dark: crowds of vesicles with pale middles; lysosomes, round and even; membranes, thick at synapses
    spots = _scatter(rng, 10)[:, None] + 5 * _grain(rng, 10, 12, 2)
    ring = _distance(at, spots.reshape(-1, 2)).amin(0)
    image = image - 0.5 * torch.exp(-((ring - 1.8) / 0.7) ** 2) * (wall > 2)
    lysosome = (_distance(at + bend, _scatter(rng, 14)) - _uniform(rng, 2, 4.5, 14, 1, 1)).amin(0)
    image = image - 0.6 * torch.sigmoid(-2 * lysosome) * (wall > 1.5)
    synapse = torch.exp(-(_distance(at, _scatter(rng, 16)).amin(0) / 5) ** 2)
    image = image - (0.7 + 0.2 * synapse) * torch.exp(-(wall / (0.8 + 1.2 * synapse)) ** 2)

    # inside a mitochondrion, which never leaves its neurite: a dark edge, and folds (cristae) across the rod
    inside, which = (-rods).max(0)
    inside = torch.minimum(inside, wall - 1.5).where(owner == which, -9)
    folds = torch.cos(along.gather(0, which[None])[0] * 2 + 1.2 * fine[0]) * torch.sigmoid(2 * (inside - 1.6))
    body = -0.2 + 0.27 * folds + 0.05 * fine[1] - 0.4 * torch.exp(-((inside - 0.5) / 0.6) ** 2)
    image = image + (body - image) * torch.sigmoid(4 * inside)

    # each slice has its own stain and grain
    image = image * rng.uniform(0.75, 1.1) + rng.uniform(-0.15, 0.15)
    image = image + rng.uniform(0.06, 0.11) * _grain(rng, width, width)
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


class Heads(NamedTuple):
    """Slices through heads of two groups; the slices of one subject share its number."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    groups: torch.Tensor                          # (n,) int64: 1 where the ventricles are enlarged, else 0
    subjects: torch.Tensor                        # (n,) int64: 0 for the first 6 slices, 1 for the next 6, …


@_one_thread()
def heads(n, size=64, seed=0):
    """Slices like T1 brain scans, of subjects with narrow or wide ventricles: Heads(images, groups, subjects).

    n pictures of size × size pixels, front at the top; 6 slices a subject, from the level of the deep nuclei upward.
    Subjects alternate between the groups. A subject's slices resemble each other: split by subject, never by picture.
    """
    n, size, seed = _check(n, size, seed)
    subjects = torch.arange(n) // 6
    drawn = [_head(np.random.default_rng([seed, i]), i % 2, size) for i in range(math.ceil(n / 6))]
    return Heads(torch.cat(drawn)[:n, None], subjects % 2, subjects)


def _head(rng, wide, size):
    """The six slices (6, size, size) of one subject. Lengths below are in halves of the picture's width."""
    def part(depth):                                                             # 1 inside, 0 outside, a pixel between
        return torch.sigmoid(depth * size * 1.2)

    def rod(x1, y1, x2, y2):                                                     # distance to a line segment
        along = (((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)).clamp(0, 1)
        return torch.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))

    z = torch.linspace(0, 1, 6)[:, None, None]                                 # level: 0 deep nuclei, 1 near the crown
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    bend = _noise(rng, 2, size, 2, 1, 5)
    tilt = rng.normal(0, 0.04)
    x, y = x + tilt * y + 0.012 * bend[0], y - tilt * x + 0.012 * bend[1]
    x, y = x + rng.normal(0, 0.015), y + rng.normal(0, 0.015)

    # shells from the skin inward: scalp, skull, water, brain
    a, b = rng.uniform(0.68, 0.74) * (1 - 0.22 * z ** 2), rng.uniform(0.86, 0.92) * (1 - 0.2 * z ** 2)
    skin = (1 - torch.hypot(x / (a * (1 - 0.1 * y)), y / b)) * 0.75
    brain = skin - 0.115
    # the cortex lines the surface, the cleft between the halves, and folds that run in, much alike left and right
    cleft = x.abs() + 0.8 * (0.42 - 0.5 * z - y.abs()).clamp(min=0)
    surface = torch.minimum(brain, cleft)
    one, two = (f + 0.8 * f.flip(-1) for f in _noise(rng, 2, size, 0.5, 5, 9))
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
    return (image * (1 + 0.05 * bend[0]) + 0.03 * _grain(rng, 6, size, size)).clamp(-1, 1)


def _noise(rng, n, size, slope, low, high):
    """Fractal noise (n, size, size), mean 0, deviation 1: amplitude ~ f^-slope from low to high waves a picture."""
    f = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt() * size
    gain = f.clamp(min=1) ** -slope * (1 - torch.exp(-(f / low) ** 4)) * torch.exp(-(f / high) ** 4)
    field = torch.fft.irfft2(torch.fft.rfft2(_grain(rng, n, size, size)) * gain, s=(size, size))
    return field / field.std((1, 2), keepdim=True)


def _grain(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def _uniform(rng, low, high, *shape):
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _check(n, size, seed):
    """The three as Python's integers."""
    try:
        n, size, seed = (operator.index(value) for value in (n, size, seed))
    except TypeError:
        raise ValueError(f"n, size and seed must be whole numbers, but they are {n!r}, {size!r}, {seed!r}.") from None
    if n < 1:
        raise ValueError(f"n is the number of pictures and must be at least 1, but it is {n}: ask for 1 or more.")
    if size < 16 or size % 4:
        raise ValueError(f"size is the picture's width in pixels, but it is {size}: choose a multiple of 4 from 16 up.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but it is {seed}: choose 0, 1, 2, …")
    return n, size, seed
