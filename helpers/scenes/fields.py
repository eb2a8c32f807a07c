"""What all scenes draw with: random fields, uniform numbers, one thread, and the check of their settings."""
import contextlib
import operator

import numpy as np
import torch


@contextlib.contextmanager
def one_thread():
    """The many small steps here run faster on one thread, and far faster where other programs are busy on the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fractal_noise(rng, n, size, slope, low, high):
    """Fractal noise (n, size, size), mean 0, deviation 1: amplitude ~ f^-slope from low to high waves an image."""
    f = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt() * size
    gain = f.clamp(min=1) ** -slope * (1 - torch.exp(-(f / low) ** 4)) * torch.exp(-(f / high) ** 4)
    field = torch.fft.irfft2(torch.fft.rfft2(white_noise(rng, n, size, size)) * gain, s=(size, size))
    return field / field.std((1, 2), keepdim=True)


def white_noise(rng, *shape):
    """Normal numbers, mean 0, standard deviation 1: float32 of this shape."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def uniform(rng, low, high, *shape):
    """Uniform numbers from low to high: float32 of this shape."""
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def check(n, size, seed):
    """The three settings as Python's integers; ValueError where they make no image."""
    try:
        n, size, seed = (operator.index(value) for value in (n, size, seed))
    except TypeError:
        raise ValueError(f"n, size and seed must be whole numbers, but they are {n!r}, {size!r}, {seed!r}.") from None
    if n < 1:
        raise ValueError(f"n is the number of images and must be at least 1, but it is {n}: ask for 1 or more.")
    if size < 16 or size % 4:
        raise ValueError(f"size is the image's width in pixels, but it is {size}: choose a multiple of 4 from 16 up.")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but it is {seed}: choose 0, 1, 2, …")
    return n, size, seed
