"""Small image files for tests, made on the spot, and what is asked of images that were read."""
import numpy as np
import tifffile
import torch
from PIL import Image

from helpers.data import load_pairs

LEFT_BRIGHT = np.repeat(np.uint8([[200, 200, 40, 40]]), 4, 0).repeat(4, 0).repeat(4, 1)       # 16 x 16


def save(path, a=LEFT_BRIGHT, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    (a if isinstance(a, Image.Image) else Image.fromarray(a)).save(path, **kw)
    return path


def tiff(path, a, **kw):
    tifffile.imwrite(path, a, **{"photometric": "minisblack", **kw})
    return path


def flat(value, side=16):
    return np.full((side, side), value, np.uint8)


def good(x, n, channels=1, size=16):
    assert x.shape == (n, channels, size, size) and x.dtype == torch.float32 and x.is_contiguous()
    assert torch.isfinite(x).all() and x.min() >= -1 and x.max() <= 1
    return x


def near(x, value, atol=0.02):
    assert torch.allclose(x, torch.as_tensor(value, dtype=torch.float32), atol=atol), (x.min(), x.max(), value)


def disc(side=16, value=255, dtype=np.uint8):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return ((y ** 2 + x ** 2 < side ** 2 / 9) * value).astype(dtype)


def pair(tmp_path, mask, suffix="png", **kw):
    shape = mask.size[::-1] if isinstance(mask, Image.Image) else mask.shape[:2]
    save(tmp_path / "i" / f"1.{suffix}", np.zeros(shape, np.uint8))
    save(tmp_path / "m" / f"1.{suffix}", mask, **kw)
    x, y = load_pairs(tmp_path / "i", tmp_path / "m", 16)
    assert set(y.unique().tolist()) <= {0, 1} and y.dtype == torch.float32
    assert x.shape == y.shape
    return y
