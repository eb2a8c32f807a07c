"""Cratered ground seen from above, rendered with its craters and its light: `craters`."""
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from helpers.scenes.fields import check, fractal_noise, one_thread, uniform, white_noise

CHUNK = 32                                        # craters drawn at once: small enough for the processor's cache


class Craters(NamedTuple):
    """Images of cratered ground and what is in them; an empty place in the lists of craters has radius 0."""
    images: torch.Tensor                          # (n, 1, size, size) float32 in [-1, 1]
    centres: torch.Tensor                         # (n, k, 2) column, row in pixels; the first pixel's middle is 0, 0
    radii: torch.Tensor                           # (n, k) pixels, from centre to rim; k is 8, 24 of varied ground
    light: torch.Tensor                           # (n,) where the light comes from: degrees, 90 = top, 180 = left


@one_thread()
def craters(n, size=64, seed=0, varied=False):
    """Orbital photographs of cratered ground, lit from the upper left: Craters(images, centres, radii, light).

    n images of size × size pixels, each with 2 to 8 craters. Their radii, 3.5/64 to 20/64 of the image's width,
    follow the power law N(>r) ~ r^-1.2. The light comes from 135 ± 25 degrees (135 = upper left), one an image.
    varied: as mixed as photographs are: light from anywhere, high or low; up to 24 craters, one may fill the image;
    dunes, central peaks, rays, stains, haze, and each image with its own contrast.
    """
    n, size, seed = check(n, size, seed)
    chunks = [_crater_chunk(np.random.default_rng([seed, i]), CHUNK, size, varied) for i in range(math.ceil(n / CHUNK))]
    return Craters(*(torch.cat(parts)[:n] for parts in zip(*chunks)))


def _crater_chunk(rng, n, size, varied):
    """Craters of n images.  The order of the draws is part of the format: weights and saved outputs depend on it."""
    most = 24 if varied else 8
    if varied:                                                                   # a crowd of small ones, or one rim
        high = uniform(rng, 6, 42, n, 1)
        low = 3 + 0.5 * (high - 6) * uniform(rng, 0, 1, n, 1)
        fewest = 1
        above = 3 + (66 / low).numpy()
    else:
        low = 3.5
        high = 20
        fewest = 2
        above = most + 1
    centres, radii = _place_craters(rng, n, size, most, low / 64, high / 64, fewest, above)
    light = uniform(rng, 0, 360, n) if varied else uniform(rng, 110, 160, n)
    fresh = 1 - 0.8 * uniform(rng, 0, 1, n, most, 1, 1) ** 2                     # 0 worn down, 1 just made
    rough = uniform(rng, 0.2, 0.85, n, 1, 1)
    terrain = fractal_noise(rng, n, size + 1, 2.1, 1.5, 30)
    wobble = fractal_noise(rng, n, size + 1, 1.5, 3, 20)

    # heights in pixels on the pixels' corners, so that differences give slopes exactly at the pixels' middles
    height = 0.007 * size * rough * terrain
    albedo = 0.08 * fractal_noise(rng, n, size + 1, 1.7, 1, 8)
    variety = None
    if varied:
        height, albedo, variety = _vary_ground(rng, height, albedo, wobble, rough)
    height, albedo = _add_craters(height, albedo, centres, radii, fresh, wobble, variety)
    elevation = uniform(rng, 17, 55, n, 1, 1) if varied else torch.tensor(25.0)
    image = _shade(height, light, elevation) * (1 + _corners_to_middles(albedo)).clamp(min=0.1)
    return _photograph(rng, image, varied)[:, None], centres, radii, light


def _corner_grid(size):
    """Row and column of each pixel corner, two (size + 1, size + 1)."""
    return torch.meshgrid(torch.arange(size + 1.0), torch.arange(size + 1.0), indexing="ij")


def _vary_ground(rng, height, albedo, wobble, rough):
    """Height and albedo with dunes and stains, and what differs from image to image in its craters."""
    n = len(height)
    size = height.shape[-1] - 1
    y, x = _corner_grid(size)
    stain = uniform(rng, 0, 1.9, n, 1, 1) ** 2
    has_dunes = uniform(rng, 0, 1, n, 1, 1) < 0.25
    turn = uniform(rng, 0, math.pi, n, 1, 1)
    waves = uniform(rng, 5, 16, n, 1, 1)
    dunes = torch.sin((x * turn.cos() + y * turn.sin()) / size * 2 * math.pi * waves + 2 * wobble)
    height = height * uniform(rng, 0.3, 2, n, 1, 1) + has_dunes * dunes * 0.06 * size / waves * rough
    variety = {
        "petals": uniform(rng, 3, 14, 3, n, 1, 1).round(),
        "bend": uniform(rng, 0, 6.3, 3, n, 1, 1),
        "peaked": uniform(rng, 0, 1, n, 1, 1) < 0.4,
        "bright": uniform(rng, -1.5, 2.5, n, 1, 1)}                              # ejecta may be darker than the ground
    return height, albedo * stain, variety


def _add_craters(height, albedo, centres, radii, fresh, wobble, variety):
    """Height and albedo (n, size + 1, size + 1) after all craters, large to small: the small ones lie on top."""
    size = height.shape[-1] - 1
    y, x = _corner_grid(size)
    for k in range(radii.shape[1]):
        r = radii[:, k, None, None]
        f = fresh[:, k]
        cx, cy = centres[:, k, :, None, None].unbind(1)
        rho = ((x - cx - 0.5).square() + (y - cy - 0.5).square()).sqrt() / r.clamp(min=1) + 0.03 * wobble
        shape, inside = _crater_profile(rho.clamp(min=0.2), f, r / size)
        there = (r > 0).float()
        ejecta = 0.17 * f ** 3 * (1 / rho.clamp(min=1)) ** 3                     # of a fresh crater: brighter
        if variety:
            peak = torch.exp(-(rho / 0.18) ** 2)                                 # in the middle of a large crater
            shape = shape + 0.25 * f * variety["peaked"] * (r > size / 8) * peak
            angle = torch.atan2(y - cy - 0.5, x - cx - 0.5)
            rays = torch.cos(variety["petals"] * angle + variety["bend"]).sum(0) / 3
            bright = variety["bright"]
            ejecta = bright * ejecta + 0.3 * bright * f ** 6 * rays * (1 / rho.clamp(min=1)) ** 1.5
        height = height * (1 - 0.8 * inside * f * there) + shape * r             # a new crater wipes the old ground
        albedo = albedo + there * ejecta
    return height, albedo


def _photograph(rng, image, varied):
    """Brightness (n, size, size) in [-1, 1] as a camera gives it: fine texture, and where varied haze and contrast."""
    n = len(image)
    size = image.shape[-1]
    if not varied:
        image = image + 0.04 * white_noise(rng, n, size, size)
        return torch.tanh(0.85 * (image - 1.05))
    haze = uniform(rng, 0, 1, n, 1, 1)
    blurred = F.avg_pool2d(F.pad(image[:, None], (1, 1, 1, 1), "replicate"), 3, 1)[:, 0]
    image = image + haze * (blurred - image)
    image = image + uniform(rng, 0.1, 1, n, 1, 1) ** 2 * 0.1 * white_noise(rng, n, size, size)
    gain = uniform(rng, 0.5, 1.5, n, 1, 1)
    middle = uniform(rng, 0.65, 1.4, n, 1, 1)
    return torch.tanh(gain * (image - middle))


def _crater_profile(rho, fresh, r):
    """Height of a crater in units of its radius, at rho radii from its centre, and how far a point lies inside it."""
    depth = 0.5 * fresh ** 0.8
    rim = 0.12 * fresh
    bowl = rim + depth * (rho * rho - 1)
    apron = rim / rho ** 3                                                       # they meet at rho = 1, the rim's crest
    sharp = 25 + 60 * fresh                                                      # erosion rounds the crest off
    shape = -torch.logaddexp(-sharp * bowl, -sharp * apron) / sharp
    floor = rim - depth * (1 - 1.2 * r).clamp(0.55, 1) * 0.8
    return torch.logaddexp(30 * shape, 30 * floor) / 30, (3.5 - 3 * rho).clamp(0, 1)


def _place_craters(rng, n, size, most, low, high, fewest, above):
    """Centres (n, most, 2), radii (n, most), largest first; each takes that of six places that crosses fewest rims."""
    power = 1.2
    u = uniform(rng, 0, 1, n, most)
    radii = (low ** -power - u * (low ** -power - high ** -power)) ** (-1 / power) * size
    count = torch.from_numpy(rng.integers(fewest, above, (n, 1)))
    radii = (radii * (torch.arange(most) < count)).sort(1, descending=True).values
    tries = uniform(rng, 0.04, 0.96, n, most, 6, 2) * size
    centres = tries[:, :, 0].clone()
    for k in range(1, most):
        gap = (tries[:, k, :, None] - centres[:, None, :k]).norm(dim=-1) - radii[:, None, :k]
        gap = (gap - radii[:, k, None, None]).amin(-1).clamp(max=0)              # free is free: the first such place
        centres[:, k] = tries[torch.arange(n), k, gap.argmax(1)]
    return torch.where(radii[..., None] > 0, centres, 0), radii


def _shade(height, light, elevation):
    """Brightness of the ground (n, size, size), 1 where it is flat: Lambert's cosine law."""
    a = torch.deg2rad(light)[:, None, None]
    down = height[:, 1:] - height[:, :-1]
    right = height[:, :, 1:] - height[:, :, :-1]
    down = (down[:, :, 1:] + down[:, :, :-1]) / 2
    right = (right[:, 1:] + right[:, :-1]) / 2
    toward = down * a.sin() - right * a.cos()                                    # rows count downward
    lit = 1 + toward / torch.deg2rad(elevation).tan()
    return (lit / (1 + down ** 2 + right ** 2).sqrt()).clamp(min=0)


def _corners_to_middles(a):
    """Values on the pixels' corners (n, size + 1, size + 1) -> twice their means at the pixels' middles."""
    return (a[:, 1:, 1:] + a[:, :-1, 1:] + a[:, 1:, :-1] + a[:, :-1, :-1]) / 4
