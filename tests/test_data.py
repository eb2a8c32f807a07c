"""Torture for helpers.data: one test per trait, each on small files made on the spot."""
import logging
import os
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from image_files import LEFT_BRIGHT, disc, flat, good, near, pair, save, tiff
from PIL import Image

from helpers import data, datasets, files
from helpers.data import DataError, DataWarning, ImageFiles, dihedral, load_images, load_pairs, random_crops
from helpers.splits import split
from helpers.files import FORMATS, opened
from helpers.files import _alone as alone

pytestmark = pytest.mark.usefixtures("quiet")


def disc_like(value, side=64):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (y ** 2 + x ** 2 < side ** 2 / 9) * value


def png(path, a, depth):
    """A PNG by hand: Pillow writes no 16-bit colour."""
    h, w, c = a.shape

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = struct.pack(">IIBBBBB", w, h, depth, {1: 0, 2: 4, 3: 2, 4: 6}[c], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in a)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def refused(path, *words, size=16):
    with pytest.raises(DataError) as caught:
        load_images(path, size)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def skips(path, n, *words):
    with pytest.warns(DataWarning) as caught:
        x = good(load_images(path, 16), n)
    assert len(caught) == 1
    for word in words:
        assert word in str(caught[0].message)
    return x


# ---- values

def test_eight_bit_by_255(tmp_path):
    x = good(load_images(save(tmp_path / "a.png"), 16), 1)
    near(x[0, 0, :, :6], 200 / 127.5 - 1)
    near(x[0, 0, :, 10:], 40 / 127.5 - 1)


def test_colour_keeps_its_channels_and_grey_is_repeated(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    x = good(load_images(save(tmp_path / "a.png", red), 16, channels=3), 1, 3)
    near(x[0, :, 8, 8], [1, -1, -1])
    near(load_images(tmp_path / "a.png", 16), 0.299 * 2 - 1)
    x = load_images(save(tmp_path / "b.png"), 16, channels=3)
    assert (x[:, 0] == x[:, 1]).all() and (x[:, 0] == x[:, 2]).all()


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", "<u4", "<i4", "<f4", "<f8", "<f2", "i1"])
@pytest.mark.parametrize("top", [1, 0.06])
def test_other_depths_are_stretched_by_their_range(tmp_path, dtype, top):
    """top = 0.06 is 12 bits in 16: neither white nor black comes out."""
    d = np.dtype(dtype)
    high = int(np.iinfo(d).max * top) if d.kind in "ui" else 1000 * top
    low = -high if d.kind != "u" else 0
    ramp = np.linspace(low, high, 16).astype(d.newbyteorder("="))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.tile(ramp, (16, 1)), byteorder=">" if dtype[0] == ">" else "<", photometric="minisblack")
    x = good(load_images(path, 16), 1)
    want = (ramp - ramp[0].astype(float)) / (ramp[-1].astype(float) - ramp[0]) * 2 - 1
    near(x[0, 0], np.tile(want, (16, 1)), 0.01)


@pytest.mark.parametrize("dtype", ["u2", "f4", "i4"])
def test_sixteen_bit_outside_tiff(tmp_path, dtype):
    a = np.tile(np.linspace(0, 4000, 16).astype(dtype), (16, 1))
    path = tmp_path / ("a.png" if dtype == "u2" else "a.tif")
    Image.fromarray(a).save(path)
    near(load_images(path, 16)[0, 0, 0], torch.linspace(-1, 1, 16), 0.01)


def test_sixteen_bit_pgm(tmp_path):
    ramp = np.tile(np.linspace(0, 4095, 16), (16, 1)).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 4095\n" + ramp.tobytes())
    near(load_images(tmp_path / "a.pgm", 16)[0, 0, 3], torch.linspace(-1, 1, 16), 0.01)


@pytest.mark.parametrize("c", [1, 2, 3, 4])
def test_sixteen_bit_png(tmp_path, c):
    """Grey is stretched by its range; of colours Pillow gives the upper 8 bits."""
    a = np.repeat(np.tile(np.linspace(0, 4095, 16), (16, 1))[..., None], c, 2)
    if c in (2, 4):
        a[..., -1] = 65535
    x = good(load_images(png(tmp_path / "a.png", a, 16), 16, channels=3), 1, 3)
    near(x[0, :, 5], torch.linspace(-1, 1, 16).expand(3, 16), 0.01 if c == 1 else 0.15)      # Pillow: 4 of 12 bits


def test_pages_of_a_stack_keep_their_relation(tmp_path):
    a = np.stack([np.full((16, 16), v, np.uint16) for v in (100, 200, 300)])
    near(load_images(tiff(tmp_path / "a.tif", a), 16).mean((1, 2, 3)), [-1, 0, 1])


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_of_many_bits_is_no_nan(tmp_path, value):
    good(load_images(tiff(tmp_path / "a.tif", np.full((16, 16), value, np.uint16)), 16), 1)


def test_nan_and_infinity_do_not_come_through(tmp_path):
    a = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1))
    a[4, 4], a[8, 8], a[12, 12] = np.nan, np.inf, -np.inf
    x = good(load_images(tiff(tmp_path / "a.tif", a), 16), 1)
    near(x[0, 0, 0], torch.linspace(-1, 1, 16), 0.01)
    assert x[0, 0, 4, 4] < -0.9 and x[0, 0, 8, 8] > 0.9 and x[0, 0, 12, 12] < -0.9


def test_only_nan_is_refused_or_left_out(tmp_path):
    empty = np.full((16, 16), np.nan, np.float32)
    refused(tiff(tmp_path / "a.tif", empty), "a.tif", "no finite number")
    save(tmp_path / "b.png")
    skips(tmp_path, 1, "a.tif", "no finite number")
    stack = np.stack([empty, np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 1))])
    skips(tiff(tmp_path / "c.tif", stack), 1, "c.tif, page 1", "no finite number")
    opaque = np.dstack([empty] * 3 + [np.ones_like(empty)])
    refused(tiff(tmp_path / "d.tif", opaque, photometric="rgb", extrasamples=[2]), "d.tif", "no finite number")


def test_complex_numbers_are_refused(tmp_path):
    refused(tiff(tmp_path / "a.tif", np.ones((16, 16), np.complex64)), "a.tif", "complex64")


# ---- missing pixels

TERRAIN = np.add.outer(np.linspace(0, 300, 16), np.linspace(0, 700, 16)).round()                 # from 0 to 1000
LOST = np.zeros((16, 16), bool)
LOST[:4, 8:] = True


def elevation(path, a, nodata, **kw):
    """A TIFF as GDAL writes it: the value that marks missing pixels stands as text in tag 42113."""
    return tiff(path, a, extratags=[(42113, "s", 0, nodata, False)], metadata=None, **kw)


@pytest.mark.parametrize("dtype, value, text", [
    ("f4", -3.4028234663852886e38, "-3.4028234663852886e+38"), ("f4", -3.4028234663852886e38, "-3.40282346638529e+38"),
    ("f4", -3.4028234663852886e38, "-3.4e+38"), ("f4", -3.4028234663852886e38, "-1.7976931348623157e+308"),
    ("f4", -9999, "-9999"), ("f4", -9999.9, "-9999.9"), ("f4", np.nan, "nan"), ("f4", -np.inf, "-inf"),
    ("f4", 1e20, "1e+20"), ("f8", -1.7976931348623157e308, "-1.7976931348623157e+308"), ("i2", -32768, "-32768"),
    ("i2", -9999, " -9999.0 "), ("u2", 65535, "65535"), ("u2", 0, "0"), ("i4", -2147483648, "-2147483648")])
@pytest.mark.parametrize("kw", [{}, {"compression": "zlib"}, {"photometric": "miniswhite"}])
def test_nodata_pixels_become_the_darkest_and_do_not_set_the_range(tmp_path, dtype, value, text, kw):
    a = (TERRAIN + 100).astype(dtype)
    want = a.copy().astype(float)
    want[LOST], a[LOST] = np.nan, value
    plain = load_images(tiff(tmp_path / "nan.tif", want, **kw), 16)
    near(plain[0, 0][~LOST], torch.from_numpy((TERRAIN[~LOST] / 500 - 1) * (-1 if "photometric" in kw else 1)), 0.3)
    path = elevation(tmp_path / "a.tif", a, text, **kw)
    near(load_images(path, 16), plain, 1e-5)
    near(ImageFiles(path, 16)[0][None], plain, 1e-5)
    opened.cache_clear()
    near(load_images(zipped(tmp_path / "a.zip", ["f/a.tif"], path.read_bytes()), 16), plain, 1e-5)


def test_nodata_in_a_compression_that_only_pillow_reads(tmp_path):
    a = (TERRAIN + 100).astype(np.uint16)
    a[LOST] = 65535
    Image.fromarray(a).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={42113: "65535"})
    x = good(load_images(tmp_path / "a.tif", 16), 1)
    assert x[0, 0, 15, 15] > 0.95 and x[0, 0, 0, 15] < -0.95


@pytest.mark.parametrize("text", ["0", "-9999", "none", "", "65535.5", "70000"])
def test_a_nodata_value_that_no_pixel_has_changes_nothing(tmp_path, text):
    a = (TERRAIN + 100).astype(np.uint16)
    want = load_images(tiff(tmp_path / "b.tif", a), 16)
    assert (load_images(elevation(tmp_path / "a.tif", a, text), 16) == want).all()


@pytest.mark.parametrize("tagged", ["every page", "the first page"])
def test_nodata_in_stacks_and_bands(tmp_path, tagged):
    """The range is that of the whole file, nodata aside; a page with nothing else is left out."""
    a = np.stack([TERRAIN, TERRAIN + 1000, np.full((16, 16), -9999)]).astype(np.int16)
    a[:2, LOST] = -9999
    with tifffile.TiffWriter(tmp_path / "a.tif") as t:
        for i, page in enumerate(a):
            tags = [(42113, "s", 0, "-9999", False)] if i == 0 or tagged == "every page" else []
            t.write(page, photometric="minisblack", metadata=None, extratags=tags)
    x = skips(tmp_path / "a.tif", 2, "a.tif, page 3", "no finite number")
    near(x[0, 0, 15, 15], 0, 0.01)
    near(x[1, 0, 15, 15], 1, 0.01)
    assert (x[:, 0, 0, 12] < -0.95).all()
    a = np.dstack([TERRAIN, TERRAIN, TERRAIN]).astype(np.float32)
    a[LOST] = -3.4e38
    x = load_images(elevation(tmp_path / "b.tif", a, "-3.4e+38", photometric="rgb"), 16, 3)
    near(x[0, :, 15, 15], 1)
    near(x[0, :, 0, 12], -1)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_nodata_of_eight_bits_is_black(tmp_path, mode):
    """In a colour all bands must have the value: one at 255 is a bright red."""
    a = np.full((16, 16), 100, np.uint8)
    a[LOST] = 255
    image = Image.fromarray(a)
    if mode == "P":
        image.putpalette([90, 90, 90] * 255 + [255, 255, 255])
    image = image if mode in "LP" else image.convert(mode)
    if mode.startswith("RGB"):
        image.putpixel((0, 15), (255, 0, 0))
    image.save(tmp_path / "a.tif", tiffinfo={42113: "255"})
    x = load_images(tmp_path / "a.tif", 16, 3)
    near(x[0, :, 1, 13], -1)
    assert (x[0, 0, 8] > -0.4).all()
    if mode.startswith("RGB"):
        near(x[0, :, 15, 0], [1, -1, -1], 0.1)
    a = 255 - a                                                       # white is zero: the file holds 0 for 255
    x = load_images(elevation(tmp_path / "b.tif", a, "0", photometric="miniswhite"), 16)
    near(x[0, 0, 1, 13], -1)


@pytest.mark.parametrize("dtype, missing", [("u1", 255), ("i2", -9999), ("f4", -3.4e38), ("u2", 65535), ("f4", np.nan),
                                            ("i2", -32768), ("f4", -9999)])
@pytest.mark.parametrize("inside", [1, 2])
@pytest.mark.parametrize("tag", [True, False])
def test_nodata_in_masks_is_background(tmp_path, dtype, missing, inside, tag):
    if not tag and missing > 0 or missing == 255 and inside == 2:
        pytest.skip("without a tag 255 and 65535 are foreground")
    m = disc(16, inside, np.dtype(dtype))
    m[disc() > 0] = np.where(np.indices((16, 16)).sum(0) % 2, 1, inside)[disc() > 0] if dtype != "f4" else inside
    m[0] = missing
    path = tmp_path / "m.tif"
    elevation(path, m, f"{missing}") if tag else tiff(path, m)
    y = load_pairs(tiff(tmp_path / "i.tif", np.zeros((16, 16), np.uint8)), path, 16)[1]
    assert (y[0, 0].numpy() == (disc() > 0)).all()


def doubted(path, *words):
    with pytest.warns(DataWarning) as caught:
        x = load_images(path, 16)
    assert len(caught) == 1 and caught[0].filename == __file__
    for word in words:
        assert word in str(caught[0].message)
    with pytest.warns(DataWarning, match="become nearly one grey"):
        lazy = ImageFiles(path, 16)
        assert (torch.stack([*lazy]) == x).all()
    opened.cache_clear()
    return x


@pytest.mark.parametrize("dtype, value", [("f4", -3.4e38), ("f8", -1.79e308), ("f4", 1e38), ("f4", -9999),
                                          ("i2", -32768), ("i2", -9999), ("i4", -99999), ("u2", 65535), ("f4", 1e20)])
@pytest.mark.parametrize("suffix", ["tif", "npy", "npz", "png"])
def test_values_that_look_missing_are_named(tmp_path, dtype, value, suffix):
    if suffix == "png" and dtype != "u2":
        pytest.skip("a PNG holds 16 bits without a sign")
    a = (TERRAIN + 1000).astype(dtype)
    a[LOST] = value
    path = tmp_path / f"dem.{suffix}"
    if suffix == "tif":
        tiff(path, a)
    elif suffix == "png":
        save(path, a)
    elif suffix == "npy":
        np.save(path, a[None])
    else:
        np.savez(path, images=a[None])
    doubted(path, f"dem.{suffix}: the value {a[0, 15]:g} lies so far", "save those as NaN", "nodata tag")


def test_a_missing_value_in_one_page_of_many_is_named_once(tmp_path):
    a = np.stack([TERRAIN, TERRAIN, np.full((16, 16), -9999), TERRAIN]).astype(np.int16)
    doubted(tiff(tmp_path / "a.tif", a), "a.tif: the value -9999")
    for i in range(200):                                              # so many that the result is kept
        save(tmp_path / "many" / f"{i}.png", LEFT_BRIGHT)
    b = (TERRAIN / 100 + 30000).astype(np.uint16)
    b[LOST] = 0
    save(tmp_path / "many" / "deep.png", b)
    for _ in range(2):                                                # told by the cache as well
        with pytest.warns(DataWarning, match="deep.png: the value 0 lies"):
            load_images(tmp_path / "many", 16)


def sky(n, width, height=60_000, side=256, background=100, noise=5):
    """Bright spots on a dark, noisy ground: stars, or cells that glow."""
    rng = np.random.default_rng(0)
    a = rng.normal(background, noise, (side, side))
    y, x = np.mgrid[:side, :side]
    for v, u, h in zip(rng.uniform(0, side, n), rng.uniform(0, side, n), rng.uniform(0.1, 2, n)):
        a += height * h * np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * width ** 2))
    return a.clip(0, 65535)


QUIET = {"stars": sky(30, 1.5), "one star": sky(1, 2), "saturated stars": sky(20, 4, 300_000),
         "cells": sky(12, 8, 3000),
         "points": np.where(np.random.default_rng(0).random((256, 256)) < 0.002, 65535, sky(0, 1)),
         "photons": np.random.default_rng(0).poisson(0.01, (256, 256)), "two values": disc_like(255) * 257,
         "labels": np.where(disc_like(1), 1000 + np.arange(64) % 2, 0),
         "bright cells": disc_like(900) + disc_like(1) * np.arange(64) * 1.5,
         "terrain": np.kron(TERRAIN, np.ones((4, 4))),
         "a black frame": np.pad(np.kron(TERRAIN, np.ones((4, 4))) + 500, 9),
         "12 bits": np.random.default_rng(0).integers(0, 4096, (64, 64)),
         "a scanner's frame": np.pad(2 * TERRAIN - 1000, 3, constant_values=-2000)}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("dtype", ["u2", "f4", "i4"])
def test_sparse_images_raise_no_false_alarm(tmp_path, name, dtype):
    if dtype == "u2" and QUIET[name].min() < 0:
        pytest.skip("negative values")
    good(load_images(tiff(tmp_path / "a.tif", QUIET[name].astype(dtype)), 16), 1)


# ---- kinds of pixels

@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes(tmp_path, mode):
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "PA": "tif"}.get(mode, "png")
    image = Image.fromarray(np.where(LEFT_BRIGHT > 100, 255, 0).astype(np.uint8)).convert("RGB")
    image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    x = good(load_images(save(tmp_path / f"a.{suffix}", image), 16), 1)
    near(x[0, 0, :, :6], 1, 0.05)
    near(x[0, 0, :, 10:], -1, 0.05)


def test_bilevel_and_white_is_zero_tiff(tmp_path):
    a = LEFT_BRIGHT > 100
    for name, kw in [("a", {}), ("b", {"photometric": "miniswhite"})]:
        x = load_images(tiff(tmp_path / f"{name}.tif", a if name == "a" else ~a, **kw), 16)
        assert x[0, 0, 8, 2] > 0.9 and x[0, 0, 8, 13] < -0.9
    for dtype in (np.uint8, np.uint16):
        x = load_images(tiff(tmp_path / "c.tif", (255 - LEFT_BRIGHT).astype(dtype), photometric="miniswhite"), 16)
        assert x[0, 0, 8, 2] > x[0, 0, 8, 13] + 1


def test_palette_tiff_is_shown_in_its_colours(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 7] = 65535, 0, 0
    tifffile.imwrite(tmp_path / "a.tif", flat(7), photometric="palette", colormap=colours)
    near(load_images(tmp_path / "a.tif", 16, 3)[0, :, 0, 0], [1, -1, -1])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "tRNS"])
def test_transparency_lies_on_white(tmp_path, mode):
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:, :8, 3] = 255                                              # left opaque black; right clear, black below
    image = Image.fromarray(rgba)
    path = tmp_path / "a.png"
    if mode == "P":
        index = Image.fromarray((rgba[..., 3] > 0).astype(np.uint8))
        index.putpalette([9, 9, 9, 0, 0, 0])
        save(path, index, transparency=0)
    elif mode == "tRNS":
        save(path, Image.fromarray(np.where(rgba[..., 3] > 0, 0, 77).astype(np.uint8)), transparency=77)
    else:
        save(path, image.convert(mode))
    x = load_images(path, 16)
    near(x[0, 0, :12, :6], -1, 0.05)
    near(x[0, 0, :12, 10:], 1, 0.05)


def test_half_transparent_is_half_white(tmp_path):
    near(load_images(save(tmp_path / "a.png", Image.new("RGBA", (16, 16), (0, 0, 0, 128))), 16), 0, 0.02)


def test_colour_planes_one_after_the_other(tmp_path):
    a = np.zeros((3, 16, 16), np.uint8)
    a[0] = 255
    x = load_images(tiff(tmp_path / "a.tif", a, photometric="rgb", planarconfig="separate"), 16, 3)
    near(x[0, :, 8, 8], [1, -1, -1])
    deep = tiff(tmp_path / "b.tif", a.astype(np.uint16), photometric="rgb", planarconfig="separate")
    refused(deep, "b.tif", "(3, 16, 16)", "uint16")


@pytest.mark.parametrize("c", [2, 4])
def test_a_further_channel_of_many_bits_is_left_out_and_five_are_refused(tmp_path, c):
    a = np.zeros((16, 16, c), np.uint16)
    a[:, :8, :-1] = 999
    x = load_images(tiff(tmp_path / "a.tif", a, photometric="rgb" if c == 4 else "minisblack", planarconfig="contig",
                         extrasamples=[0]), 16)
    assert x[0, 0, 0, 0] > 0.9 and x[0, 0, 0, 15] < -0.9
    five = np.zeros((16, 16, 5), np.uint16)
    path = tiff(tmp_path / "b.tif", five, planarconfig="contig", extrasamples=[2, 0, 0, 0])
    refused(path, "b.tif", "(16, 16, 5)")


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_deflate", "packbits"])
def test_compressed_tiff_without_extra_packages(tmp_path, compression):
    x = good(load_images(save(tmp_path / "a.tif", compression=compression), 16), 1)
    near(x[0, 0, :, :6], 200 / 127.5 - 1, 0.1)


def test_sixteen_bit_lzw_tiff(tmp_path):
    a = np.tile(np.linspace(0, 4000, 16).astype(np.uint16), (16, 1))
    Image.fromarray(a).save(tmp_path / "a.tif", compression="tiff_lzw")
    near(load_images(tmp_path / "a.tif", 16)[0, 0, 0], torch.linspace(-1, 1, 16), 0.01)


@pytest.mark.parametrize("suffix", ["bmp", "gif", "webp", "ppm", "jp2", "jfif", "avif"])
def test_other_formats(tmp_path, suffix):
    try:
        image = Image.fromarray(LEFT_BRIGHT).convert("RGB")
        save(tmp_path / f"a.{suffix}", image, format="JPEG" if suffix == "jfif" else None)
    except (KeyError, ValueError, OSError) as error:
        pytest.skip(f"this Pillow writes no {suffix}: {error}")
    x = load_images(tmp_path, 16)
    near(x[0, 0, :, :5], 200 / 127.5 - 1, 0.1)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(flat(v)) for v in (255, 0)]
    save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    near(load_images(tmp_path / "a.gif", 16), 1)


# ---- geometry

@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_applied(tmp_path, turn, suffix):
    """The file holds the upright picture turned such that the tag undoes it: what comes out is always the same."""
    upright = np.kron(np.uint8([[250, 170], [90, 10]]), np.ones((16, 16), np.uint8))
    undo = {1: lambda a: a, 2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud, 5: lambda a: a.T,
            6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].T, 8: lambda a: np.rot90(a, -1)}[turn]
    stored = np.ascontiguousarray(undo(upright))
    exif = Image.Exif()
    exif[274] = turn
    path = tmp_path / f"a.{suffix}"
    save(path, stored, exif=exif)
    x = load_images(path, 2)[0, 0]
    near(x, [[0.96, 0.33], [-0.29, -0.92]], 0.25)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 500), (500, 1), (16, 48), (48, 16), (17, 16), (1000, 37)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_extreme_shapes(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    good(load_images(tiff(tmp_path / "a.tif", (rng.random(shape) * 255).astype(dtype)), 16), 1)


def test_the_centre_square_is_taken(tmp_path):
    wide = np.hstack([flat(0), flat(255), flat(0)])
    near(load_images(save(tmp_path / "a.png", wide), 16), 1)
    near(load_images(save(tmp_path / "b.png", wide.T), 16), 1)


def test_shrinking_averages(tmp_path):
    checks = np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255
    near(load_images(save(tmp_path / "a.png", checks), 16), 0, 0.1)


def test_reduced_jpeg_decoding_changes_next_to_nothing(tmp_path):
    y, x = np.mgrid[:640, :600]
    a = (127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 55)).astype(np.uint8)
    a = np.dstack([a, a[::-1], a[:, ::-1]])
    Image.fromarray(a).save(tmp_path / "a.jpg", quality=95)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    for channels in (1, 3):
        fast, slow = (load_images(tmp_path / name, 32, channels) for name in ("a.jpg", "b.png"))
        assert (fast - slow).abs().mean() < 0.02


def test_mixed_sizes_in_one_folder(tmp_path):
    for i, side in enumerate([5, 16, 31]):
        save(tmp_path / f"{i}.png", flat(200, side))
    near(good(load_images(tmp_path, 16), 3), 200 / 127.5 - 1)


@pytest.mark.parametrize("size, channels", [(0, 1), (-3, 1), (2.5, 1), ("64", 1), (16, 2), (16, "RGB")])
def test_settings_that_make_no_sense(tmp_path, size, channels):
    for what in (load_images, ImageFiles):
        with pytest.raises(DataError, match="size must be"):
            what(save(tmp_path / "a.png"), size, channels)
    with pytest.raises(DataError, match="size must be"):
        load_pairs(tmp_path / "a.png", tmp_path / "a.png", 0)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, torch.tensor, np.array])
def test_whole_numbers_of_numpy_and_torch(tmp_path, whole):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    assert (load_images(path, whole(16), whole(3)) == load_images(path, 16, 3)).all()
    assert (ImageFiles(path, whole(16))[0] == ImageFiles(path, 16)[0]).all()
    x = load_images(path, 64)
    assert (random_crops(x, whole(2), whole(16), whole(3)) == random_crops(x, 2, 16, 3)).all()
    many = torch.randn(9, 1, 4, 4)
    assert split(many, seed=whole(3))[1].tolist() == split(many, seed=3)[1].tolist()
    save(tmp_path / "m.png", disc(64))
    assert (load_pairs(path, tmp_path / "m.png", whole(16))[0] == load_pairs(path, tmp_path / "m.png", 16)[0]).all()
    assert (datasets.digits(whole(16))[0] == datasets.digits(16)[0]).all()


# ---- folders

def test_natural_order_to_the_bottom_of_a_folder(tmp_path):
    names = ["1.png", "2.png", "10.png", "b/3/x.png", "B/20.png"]
    for i, name in enumerate(names):
        save(tmp_path / name, flat(40 * i))
    files = ImageFiles(tmp_path, 16)
    assert [Path(name).name for name in files.names] == ["1.png", "2.png", "10.png", "x.png", "20.png"]
    near(torch.stack([*files]).mean((1, 2, 3)), [40 * i / 127.5 - 1 for i in range(5)])
    assert (load_images(str(tmp_path), 16) == torch.stack([*files])).all()


def test_upper_case_suffixes_and_wrong_ones(tmp_path):
    save(tmp_path / "A.PNG")
    save(tmp_path / "really_a_png.jpg", format="PNG")
    save(tmp_path / "really_a_tiff.png", format="TIFF")
    save(tmp_path / "B.TIFF")
    good(load_images(tmp_path, 16), 4)


def test_debris_is_passed_over_in_silence(tmp_path):
    save(tmp_path / "a.png")
    for name in [".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.png", "._a.png", ".ipynb_checkpoints/a.png",
                 "labels/a.txt", "classes.txt", "data.yaml", "README.md", "LICENSE", "notes.csv", ".hidden.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0 0.5 0.5 0.1 0.1")
    good(load_images(tmp_path, 16), 1)


def test_a_folder_below_a_hidden_one(tmp_path):
    save(tmp_path / ".cache" / "a.png")
    good(load_images(tmp_path / ".cache", 16), 1)


def test_a_class_folder_with_nothing_in_it(tmp_path):
    save(tmp_path / "AD" / "a.png")
    (tmp_path / "NC").mkdir()
    good(load_images(tmp_path, 16), 1)


@pytest.mark.parametrize("name", ["Krater Ä ö 月.png", "a b  c.png", "a[1](2){3}.png", "100%.png", "-rf.png",
                                  "a'b\"c.png", "x" * 200 + ".png", "9" * 190 + ".png", "a#b?c.png", "😀.x.png"])
def test_names(tmp_path, name):
    good(load_images(save(tmp_path / "ö [x] y" / name), 16), 1)
    good(load_images(tmp_path, 16), 1)


def test_symbolic_links(tmp_path):
    save(tmp_path / "a" / "a.png")
    save(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "link.png").symlink_to("a.png")
    skips(tmp_path / "a", 2, "self cannot be opened: it is a link to self")
    (tmp_path / "b").symlink_to("elsewhere")
    good(load_images(tmp_path / "b", 16), 1)


def linked_classes(root):
    """AD holds files; NC is a link to a folder elsewhere, in which another link leads on."""
    for name in ("set/AD/1.png", "elsewhere/10.png", "elsewhere/2.png", "further/3.png"):
        save(root / name)
    (root / "set/NC").symlink_to(root / "elsewhere")
    (root / "elsewhere/more").symlink_to("../further")
    return root / "set"


def test_linked_folders_are_read(tmp_path):
    found = linked_classes(tmp_path)
    x, names = load_images(found, 16, names=True)
    assert names == ["AD/1.png", "NC/2.png", "NC/10.png", "NC/more/3.png"] and len(x) == 4
    assert ImageFiles(found, 16).names == names
    save(tmp_path / "masks" / "AD" / "1.png", disc())
    (tmp_path / "masks" / "NC").symlink_to(found / "NC")
    assert len(load_pairs(found, tmp_path / "masks", 16)[0]) == 4


def test_a_folder_linked_twice_is_read_under_both_names(tmp_path):
    save(tmp_path / "a" / "1.png")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.png").symlink_to("a/1.png")
    assert load_images(tmp_path, 16, names=True)[1] == ["a/1.png", "b/1.png", "c.png"]


@pytest.mark.parametrize("target", [".", "..", "/", "../../x", "../b", "../b/back"])
def test_links_that_lead_back_end(tmp_path, target):
    """To the folder itself, its parent, the root, another name of it; and through a second folder."""
    save(tmp_path / "x" / "a" / "1.png")
    save(tmp_path / "x" / "b" / "2.png")
    (tmp_path / "x" / "b" / "back").symlink_to("../a")
    (tmp_path / "x" / "a" / "on").symlink_to(target)
    names = load_images(tmp_path / "x", 16, names=True)[1]
    assert {"a/1.png", "b/2.png", "b/back/1.png"} <= set(names) and len(names) <= 5


def test_broken_links_to_folders_are_told(tmp_path):
    save(tmp_path / "set" / "AD" / "1.png")
    (tmp_path / "set" / "NC").symlink_to(tmp_path / "gone")
    (tmp_path / "set" / ".hidden").symlink_to("gone")
    (tmp_path / "set" / "notes.txt").symlink_to("gone.txt")           # cannot have held images
    with pytest.warns(DataWarning) as caught:
        assert len(load_images(tmp_path / "set", 16)) == 1
    assert str(caught[0].message).count("\n- ") == 1
    assert f"NC cannot be opened: it is a link to {tmp_path / 'gone'}, which is not there" in str(caught[0].message)
    with pytest.warns(DataWarning, match="NC cannot be opened"):
        ImageFiles(tmp_path / "set", 16)
    (tmp_path / "set" / "AD" / "1.png").unlink()
    refused(tmp_path / "set", "NC cannot be opened: it is a link")


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    save(tmp_path / "AD" / "1.png")
    save(tmp_path / "NC" / "2.png")
    listdir = os.listdir

    def guarded(path):
        if Path(path).name == "NC":
            raise PermissionError(13, "Permission denied")
        return listdir(path)
    monkeypatch.setattr(os, "listdir", guarded)
    skips(tmp_path, 1, "NC cannot be opened")


def test_a_link_in_a_zip_is_told(tmp_path):
    """zip -y stores the address in place of the folder."""
    z = zipped(tmp_path / "a.zip", ["AD/1.png"])
    with zipfile.ZipFile(z, "a") as archive:
        for name in ("NC", "AD/2.png"):
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "../elsewhere")
    skips(z, 1, "2 left out", "a.zip/NC is a link", "a.zip/AD/2.png is a link", "Zip the files themselves")


def test_a_broken_link_and_a_pipe(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")                                  # to open it would wait for ever
    skips(tmp_path, 1, "gone.png cannot be opened")
    refused(tmp_path / "pipe.png", "pipe.png", "no file or folder")


def test_one_image_only(tmp_path):
    good(load_images(save(tmp_path / "a.png"), 16), 1)
    good(load_images(tmp_path, 16), 1)


def test_no_such_path(tmp_path):
    refused(tmp_path / "nothing here", "no file or folder", "nothing here", "spelling")
    refused("https://example.org/a.png", "web address", "Download")
    refused("x" * 5000, "no file or folder")
    refused("a\0b", "no file or folder")


@pytest.mark.parametrize("path", [None, 3, np.zeros((3, 3)), torch.zeros(3)])
def test_not_a_path(path):
    refused(path, type(path).__name__, "path or an upload")


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "a.png")
    good(load_images("~/a.png", 16), 1)


def test_a_folder_without_pictures_says_what_it_found(tmp_path):
    refused(tmp_path, str(tmp_path), "found: nothing")
    for name in ("a.txt", "b.txt", "c.zip", "LICENSE"):
        (tmp_path / name).write_text("x")
    refused(tmp_path, "2 .txt", "1 .zip", "1 without suffix", "PNG, JPEG or TIFF")


# ---- bad files

STRANGE = {
    b"": "empty (0 bytes)",
    b"<!DOCTYPE html><html>": "web page",
    b"\n <HTML><head>": "web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1": "git-LFS pointer",
    b"\0\0\0\x18ftypheic\0\0\0\0": "HEIC",
    b"\0" * 128 + b"DICM": "DICOM",
    b"%PDF-1.4": "PDF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n": "PostScript",
    b"Rar!\x1a\x07": "archive",
    b"<?xml version='1.0'?><svg/>": "SVG",
    b"GIF89a": "damaged",
    b"hello, I am no picture": "Save it as PNG, JPEG or TIFF",
    b"II*\0\xff\xff\xff\x7f": "no image",
    b"II*\0": "damaged",
    b"\x89PNG\r\n\x1a\n": "damaged",
    b"\xff\xd8\xff\xe0\0\x10JFIF": "damaged",
    b"\x93NUMPY\1\0": "arrays cannot be read",
    b"PK\3\4": "arrays cannot be read",
}


@pytest.mark.parametrize("body", STRANGE)
def test_fakes_are_named(tmp_path, body):
    path = tmp_path / "fake.png"
    path.write_bytes(body)
    refused(tmp_path, "fake.png", STRANGE[body])
    if not body.startswith(b"PK"):
        refused(path, "fake.png", STRANGE[body])
    save(tmp_path / "b.png")
    skips(tmp_path, 1, "1 left out", "fake.png", STRANGE[body])


def test_nothing_is_executed(tmp_path):
    """EPS would go through Ghostscript, an object array through pickle."""
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)
    np.savez(tmp_path / "a.npz", images=np.array([Evil()], dtype=object))
    refused(tmp_path / "a.npz", "a.npz", "allow_pickle=False")
    assert not (tmp_path / "ran").exists() and "EPS" not in FORMATS


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "deflate.tif", "u16.tif", "webp", "npz", "npy"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_truncated_files_never_crash(tmp_path, suffix, part):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 255, (3, 64, 64), np.uint8)
    path = tmp_path / f"cut.{suffix}"
    if suffix == "npz":
        np.savez(path, images=a)
    elif suffix == "npy":
        np.save(path, a)
    elif suffix.endswith("tif"):
        a = a.astype(np.uint16) if suffix == "u16.tif" else a
        tiff(path, a, compression="zlib" if "deflate" in suffix else None, metadata=None)
    else:
        save(path, a[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * part)])
    save(tmp_path / "whole.png")
    with pytest.warns(DataWarning, match="cut"):
        good(load_images(tmp_path, 16), len(load_images_quietly(tmp_path)))


def load_images_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_images(path, 16)


def test_bytes_flipped_at_random_never_crash(tmp_path):
    """Whatever a decoder makes of it: a picture, or a DataError."""
    rng = np.random.default_rng(2)
    bodies = []
    for suffix in ("png", "jpg", "tif", "gif", "webp", "bmp"):
        save(tmp_path / f"a.{suffix}")
        bodies.append((tmp_path / f"a.{suffix}").read_bytes())
    bodies.append(tiff(tmp_path / "b.tif", np.arange(512, dtype=np.uint16).reshape(2, 16, 16)).read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for body in bodies:
            for _ in range(25):
                broken = bytearray(body)
                for i in rng.integers(0, len(broken), 4):
                    broken[i] = rng.integers(256)
                try:
                    x = load_images(bytes(broken), 16)
                    good(x, len(x))
                except DataError:
                    pass


def test_decompression_bombs(tmp_path):
    a = np.zeros((1, 1, 1), np.uint8)
    png(tmp_path / "bomb.png", a, 8)
    body = bytearray((tmp_path / "bomb.png").read_bytes())
    body[16:24] = struct.pack(">II", 60000, 60000)
    body[29:33] = struct.pack(">I", zlib.crc32(body[12:29]))
    (tmp_path / "bomb.png").write_bytes(body)
    refused(tmp_path, "bomb.png", "178,956,970 pixels")
    tiff(tmp_path / "bomb.tif", np.zeros((2, 2), np.uint16))
    body = (tmp_path / "bomb.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "bomb.tif") as t:
        places = [t.pages[0].tags[code].valueoffset for code in (256, 257)]
    for place in places:
        body = body[:place] + struct.pack("<H", 60000) + body[place + 2:]
    (tmp_path / "bomb.tif").write_bytes(body)
    refused(tmp_path / "bomb.tif", "bomb.tif", "178,956,970 pixels")


def test_all_unreadable_and_many_skipped(tmp_path):
    for i in range(15):
        (tmp_path / f"{i}.png").write_bytes(b"no")
    refused(tmp_path, "none of the 15 files", "0.png")
    save(tmp_path / "x.png")
    skips(tmp_path, 1, "15 left out", "9.png", "and 5 more")


def test_the_warning_comes_with_every_load(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    save(tmp_path / "b.png")
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            warnings.simplefilter("default")
            warnings.simplefilter("always", DataWarning, append=False)
            load_images(tmp_path, 16)
        assert [w.category for w in caught] == [DataWarning] and caught[0].filename == __file__


# ---- zips

def zipped(path, names, body=None):
    save(path.parent / "one.png")
    body = body or (path.parent / "one.png").read_bytes()
    with zipfile.ZipFile(path, "w") as z:
        for name in names:
            z.writestr(name, body)
    (path.parent / "one.png").unlink()
    return path


def test_a_zip_with_debris(tmp_path):
    z = zipped(tmp_path / "a.zip", ["f/10.png", "f/2.PNG", "__MACOSX/f/._2.png", "f/.DS_Store", "f/2.txt", "f/ö ä.png"])
    assert ImageFiles(z, 16).names == ["a.zip/f/2.PNG", "a.zip/f/10.png", "a.zip/f/ö ä.png"]
    opened.cache_clear()
    good(load_images(z, 16), 3)


def test_a_zip_that_climbs_out_writes_nothing(tmp_path):
    (tmp_path / "in" / "side").mkdir(parents=True)
    z = zipped(tmp_path / "in" / "side" / "a.zip", ["../../evil.png", "/etc/../../evil2.png", "..\\..\\evil3.png"])
    before = sorted(tmp_path.rglob("*"))
    good(load_images(z, 16), 3)
    assert sorted(tmp_path.rglob("*")) == before


def test_zips_that_cannot_be_used(tmp_path):
    z = zipped(tmp_path / "a.zip", [f"{i}.png" for i in range(5)])
    (tmp_path / "cut.zip").write_bytes(z.read_bytes()[:-40])
    refused(tmp_path / "cut.zip", "cut.zip", "cut off", "Download it again")
    refused(zipped(tmp_path / "b.zip", ["a.txt", "inner.zip"]), "b.zip", "holds no images")
    refused(zipped(tmp_path / "c.zip", []), "c.zip", "holds no images")


def test_a_zip_with_a_damaged_member(tmp_path):
    z = zipped(tmp_path / "a.zip", ["a.png", "b.png"])
    body = bytearray(z.read_bytes())
    body[body.find(b"IDAT") + 5] ^= 255
    z.write_bytes(body)
    skips(z, 1, "a.zip/a.png", "CRC")


def test_a_zip_with_a_password(tmp_path):
    z = zipped(tmp_path / "a.zip", ["a.png"])
    body = bytearray(z.read_bytes())
    body[6] |= 1                                                      # the flag of encryption, in both headers
    body[body.find(b"PK\1\2") + 8] |= 1
    z.write_bytes(body)
    refused(z, "a.zip/a.png", "encrypted")


def test_a_zip_bomb(tmp_path, monkeypatch):
    class Info:
        file_size = 2 ** 40
    monkeypatch.setattr(zipfile.ZipFile, "getinfo", lambda self, name: Info)
    refused(zipped(tmp_path / "a.zip", ["a.png"]), "a.png", "1024 GB")


def test_a_stack_and_an_npz_in_a_zip(tmp_path):
    tiff(tmp_path / "s.tif", np.zeros((3, 16, 16), np.uint8))
    good(load_images(zipped(tmp_path / "a.zip", ["s.tif", "t.tif"], (tmp_path / "s.tif").read_bytes()), 16), 6)
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 16, 16), np.uint8))
    good(load_images(zipped(tmp_path / "c.zip", ["b.npz"], (tmp_path / "b.npz").read_bytes()), 16), 4)


# ---- stacks and arrays

def test_every_page_is_an_image(tmp_path):
    a = np.stack([flat(v) for v in (0, 100, 200)])
    near(load_images(tiff(tmp_path / "a.tif", a), 16).mean((1, 2, 3)), [v / 127.5 - 1 for v in (0, 100, 200)])
    assert ImageFiles(tmp_path / "a.tif", 16).names == ["a.tif, page 1", "a.tif, page 2", "a.tif, page 3"]


def test_pages_of_mixed_shapes_and_depths(tmp_path):
    deep = np.arange(256, dtype=np.uint16).reshape(16, 16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as t:
        for page in (flat(9), np.zeros((30, 20), np.uint8), deep, np.zeros((16, 16, 3), np.uint8)):
            t.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    good(load_images(tmp_path / "a.tif", 16), 4)


def test_thumbnails_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as t:
        t.write(flat(9), metadata=None)
        t.write(flat(9, 4), subfiletype=1, metadata=None)
    good(load_images(tmp_path / "a.tif", 16), 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kw", [{}, {"imagej": True}, {"bigtiff": True}])
def test_stacks_as_imagej_and_others_write_them(tmp_path, kw, dtype):
    a = np.stack([np.full((16, 16), v, dtype) for v in (0, 51, 255)])
    kw = kw if "imagej" not in kw else {**kw, "photometric": "minisblack"}
    x = good(load_images(tiff(tmp_path / "a.tif", a, **kw), 16), 3)
    near(x.mean((1, 2, 3)), [-1, -0.6, 1])


@pytest.mark.parametrize("kw", [{}, {"imagej": True}])
def test_a_stack_with_one_header_for_all_pages_says_so(tmp_path, kw):
    """ImageJ writes stacks over 4 GB so."""
    path = tiff(tmp_path / "a.tif", np.stack([flat(v) for v in (0, 51, 255)]), truncate=True, **kw)
    near(skips(path, 1, "a.tif is cut off after page 1", "save it as many files"), -1)


def test_big_endian_stack(tmp_path):
    a = np.stack([np.full((16, 16), v, np.uint16) for v in (0, 51, 255)])
    near(load_images(tiff(tmp_path / "a.tif", a, byteorder=">", compression="zlib"), 16).mean((1, 2, 3)), [-1, -0.6, 1])


def test_a_stack_that_lost_its_end_says_so(tmp_path):
    a = np.random.default_rng(0).integers(0, 255, (6, 32, 32), np.uint8)
    for compression in (None, "zlib"):
        path = tiff(tmp_path / "a.tif", a, compression=compression)
        path.write_bytes(path.read_bytes()[:4000])
        with pytest.warns(DataWarning, match="a.tif is cut off"):
            load_images(path, 16)


def test_a_stack_is_read_page_by_page(tmp_path, monkeypatch):
    """Of 200 pages of 256 KB, a few are in memory at a time."""
    import tracemalloc
    with tifffile.TiffWriter(tmp_path / "a.tif") as t:
        for i in range(200):
            t.write(np.full((256, 512), i, np.uint16), metadata=None, contiguous=False)
    tracemalloc.start()
    files = ImageFiles(tmp_path / "a.tif", 16)
    near(files[199], 1)
    near(files[0], -1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    opened.cache_clear()
    assert peak < 200 * 256 * 1024 / 4, peak


@pytest.mark.parametrize("shape, channels", [((3, 16, 16), 1), ((3, 16, 16, 1), 1), ((3, 16, 16, 3), 3),
                                             ((3, 16, 16, 4), 3), ((3, 1, 16, 16), 1), ((3, 3, 16, 16), 3),
                                             ((3, 4, 16, 16), 3), ((3, 16, 16, 2), 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, bool, np.uint16])
def test_arrays_of_every_form(tmp_path, shape, channels, dtype):
    a = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    np.savez(tmp_path / "a.npz", images=a, labels=np.arange(3))
    np.save(tmp_path / "b.npy", a)
    x = good(load_images(tmp_path / "a.npz", 16, channels), 3, channels)
    assert (x == load_images(tmp_path / "b.npy", 16, channels)).all()
    if shape == (3, 16, 16) and dtype is not np.uint8:
        near(x[:, 0], a * 2.0 - 1, 0.01)


def test_arrays_that_cannot_be_used(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 4, 4)))
    refused(tmp_path / "a.npz", "a.npz", "'images'", "x_train", "np.savez")
    np.savez(tmp_path / "b.npz", images=np.zeros((3, 16)))
    refused(tmp_path / "b.npz", "b.npz", "(3, 16)", "(N, H, W)")
    np.savez(tmp_path / "c.npz", images=np.array([["a"]]).reshape(1, 1, 1))
    refused(tmp_path / "c.npz", "c.npz", "type <U1")
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 8, 8, 7)))
    refused(tmp_path / "d.npz", "d.npz", "(8, 8, 7)")
    np.savez(tmp_path / "e.npz", images=np.zeros((0, 8, 8)))
    refused(tmp_path / "e.npz", "e.npz", "no image")


# ---- uploads

def test_uploads(tmp_path):
    body = save(tmp_path / "a.png").read_bytes()
    want = load_images(tmp_path / "a.png", 16)
    seven = {"a.png": {"metadata": {"name": "a.png", "size": len(body)}, "content": body}}
    eight = ({"name": "a.png", "type": "image/png", "size": len(body), "content": memoryview(body)},)
    for upload in (body, bytearray(body), memoryview(body), seven, eight, eight[0], [tmp_path / "a.png"]):
        assert (load_images(upload, 16) == want).all()
    assert len(load_images({**seven, "b.png": seven["a.png"]}, 16)) == len(load_images(eight * 2, 16)) == 2
    z = zipped(tmp_path / "a.zip", ["1.png", "2.png"])
    good(load_images(z.read_bytes(), 16), 2)
    good(load_images(tiff(tmp_path / "s.tif", np.zeros((4, 16, 16), np.uint8)).read_bytes(), 16), 4)
    with pytest.raises(DataError, match="a.png is empty"):
        load_images({"a.png": {"content": b""}}, 16)


@pytest.mark.parametrize("empty", [(), {}, []])
def test_nothing_was_uploaded(empty):
    refused(empty, "nothing was uploaded")


# ---- pairs


@pytest.mark.parametrize("value, dtype", [(255, np.uint8), (1, np.uint8), (7, np.uint8), (65535, np.uint16),
                                          (1, np.uint16), (300, np.uint16), (1, np.int32), (1, np.float32),
                                          (0.5, np.float32), (255, np.float32)])
def test_mask_values(tmp_path, value, dtype):
    x = tiff(tmp_path / "a.tif", np.zeros((2, 16, 16), np.uint8))
    y = load_pairs(x, tiff(tmp_path / "b.tif", np.stack([disc(16, value, dtype)] * 2)), 16)[1]
    assert (y[1, 0].numpy() == (disc() > 0)).all()


def test_masks_of_minus_one_and_one_and_with_nan(tmp_path):
    x = tiff(tmp_path / "a.tif", np.zeros((16, 16), np.uint8))
    m = np.where(disc() > 0, 1, -1).astype(np.float32)
    m[0, 0] = np.nan
    y = load_pairs(x, tiff(tmp_path / "b.tif", m), 16)[1]
    assert (y[0, 0].numpy() == (disc() > 0)).all()


def test_grey_edges_are_cut_at_half(tmp_path):
    soft = np.asarray(Image.fromarray(disc(64)).resize((48, 48), Image.Resampling.BICUBIC))
    assert len(np.unique(soft)) > 5
    y = pair(tmp_path, soft)
    near(y.mean(), (disc(64) > 0).mean(), 0.03)


def test_jpeg_masks(tmp_path):
    y = pair(tmp_path, disc(64), "jpg", quality=40)
    near(y.mean(), (disc(64) > 0).mean(), 0.03)


def test_numbered_objects_are_all_foreground(tmp_path):
    m = np.zeros((16, 16), np.uint8)
    m[2:5, 2:5], m[8:12, 8:12] = 1, 30
    assert pair(tmp_path, m).sum() == 9 + 16


@pytest.mark.parametrize("colour", [(255, 0, 0), (128, 0, 0), (0, 64, 0), (1, 1, 1), (255, 255, 255)])
def test_colour_coded_masks(tmp_path, colour):
    rgb = (disc()[..., None] > 0) * np.uint8(colour)
    assert (pair(tmp_path, rgb)[0, 0].numpy() == (disc() > 0)).all()


def test_a_dark_colour_beside_a_bright_one_is_foreground_too(tmp_path):
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[2:4, 2:4], rgb[8:10, 8:12] = (255, 0, 0), (0, 64, 0)
    assert pair(tmp_path, rgb).sum() == 4 + 8


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "clear"])
def test_mask_modes(tmp_path, mode):
    image = Image.fromarray(disc())
    if mode == "clear":
        image = Image.merge("RGBA", [Image.new("L", (16, 16), 255)] * 3 + [image])      # the mask is the opacity
    elif mode == "P":
        image = Image.fromarray((disc() > 0).astype(np.uint8))
        image.putpalette([0, 0, 0, 128, 0, 0])
    else:
        image = image.convert(mode)
    assert (pair(tmp_path, image)[0, 0].numpy() == (disc() > 0)).all()


def test_one_rule_for_the_whole_set(tmp_path):
    """A blank mask beside others stays blank, even with the noise of a JPEG in it."""
    for name, m in [("1", disc()), ("2", flat(3)), ("3", flat(255))]:
        save(tmp_path / "i" / f"{name}.png")
        save(tmp_path / "m" / f"{name}.png", m)
    y = load_pairs(tmp_path / "i", tmp_path / "m", 16)[1]
    assert y[1].sum() == 0 and y[2].sum() == 256 and 0 < y[0].sum() < 256


@pytest.mark.parametrize("value, word", [(0, "nothing"), (255, "everything")])
def test_masks_that_mark_nothing(tmp_path, value, word):
    with pytest.warns(DataWarning, match=f"mark {word}"):
        pair(tmp_path, flat(value))


@pytest.mark.parametrize("shape", [(64, 64), (50, 90), (97, 41)])
def test_pictures_and_masks_stay_aligned(tmp_path, shape):
    """The picture is its own mask: after loading they still agree."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    a = np.where((x // 12 + y // 9) % 3 == 0, 255, 0).astype(np.uint8)
    save(tmp_path / "i" / "1.png", a)
    save(tmp_path / "m" / "1.png", a)
    x, y = load_pairs(tmp_path / "i", tmp_path / "m", 32)
    assert ((x > 0) == (y > 0)).float().mean() > 0.93
    for shift in (1, -1):
        assert ((x > 0) == (y.roll(shift, -1) > 0)).float().mean() < ((x > 0) == (y > 0)).float().mean()


def test_a_rotated_photograph_and_its_rotated_mask(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "i" / "1.jpg", LEFT_BRIGHT, exif=exif)
    save(tmp_path / "m" / "1.png", np.rot90(LEFT_BRIGHT, -1) > 100)
    x, y = load_pairs(tmp_path / "i", tmp_path / "m", 16)
    assert ((x > 0) == (y > 0)).all()


NAMES = [(["1.png", "2.png", "10.png"], ["1_mask.png", "2_mask.png", "10_mask.png"]),
         (["a_1.jpg", "a_2.jpg", "a_10.jpg"], ["a_1.png", "a_2.png", "a_10.png"]),
         (["img001.png", "img002.png", "img010.png"], ["mask_1.png", "mask_2.png", "mask_10.png"]),
         (["mask0000.png", "mask0001.png", "mask0010.png"], ["0.png", "1.png", "10.png"]),        # Lucchi++ is named so
         (["frame 1.png", "frame 2.png", "frame 10.png"], ["Label-0001.png", "Label-0002.png", "Label-0010.png"]),
         (["x/a.png", "x/b.png", "y/a.png"], ["x/a_mask.png", "x/b_mask.png", "y/a_mask.png"]),
         (["images/p1.png", "images/p2.png", "images/p10.png"], ["masks/p1.gif", "masks/p2.gif", "masks/p10.gif"]),
         (["benign (1).png", "benign (2).png", "malign (1).png"],
          ["benign (1)_mask.png", "benign (2)_mask.png", "malign (1)_mask.png"]),
         (["IMG_1.PNG", "IMG_2.PNG", "IMG_10.PNG"], ["img_1_GT.png", "img_2_gt.png", "img_10_Gt.png"])]


@pytest.mark.parametrize("images, masks", NAMES)
def test_pairing_by_name_or_number(tmp_path, images, masks):
    for k, (image, mask) in enumerate(zip(images, masks)):
        save(tmp_path / "i" / image, Image.fromarray(flat(100 * k)).convert("RGB"))
        m = np.zeros((16, 16), np.uint8)
        m[k * 4:k * 4 + 4] = 255
        save(tmp_path / "m" / mask, m)
    x, y = load_pairs(tmp_path / "i", tmp_path / "m", 16)
    assert len(x) == 3
    for picture, mask in zip(x, y):
        k = round((picture.mean().item() + 1) * 127.5 / 100)
        assert mask[0, k * 4].all() and mask.sum() == 64


def test_pairs_in_one_folder(tmp_path):
    for k in (1, 2, 10):
        save(tmp_path / f"{k}.png", flat(k * 20))
        save(tmp_path / f"{k}_mask.png", np.roll(disc(), k, 0))
    x, y = load_pairs(tmp_path, tmp_path, 16)
    near(x.mean((1, 2, 3)), [k * 20 / 127.5 - 1 for k in (1, 2, 10)])
    assert (y[2, 0].numpy() == (np.roll(disc(), 10, 0) > 0)).all()
    save(tmp_path / "only" / "1.png")
    with pytest.raises(DataError, match="named like a mask"):
        load_pairs(tmp_path / "only", tmp_path / "only", 16)


def test_pairs_in_zips_and_two_files(tmp_path):
    save(tmp_path / "picture of me.png")
    save(tmp_path / "what I drew.png", disc())
    x, y = load_pairs(tmp_path / "picture of me.png", tmp_path / "what I drew.png", 16)
    assert x.shape == y.shape == (1, 1, 16, 16)
    a = zipped(tmp_path / "photos.zip", ["d/1.png", "d/2.png"])
    b = zipped(tmp_path / "truth.zip", ["1.png", "2.png"], (tmp_path / "what I drew.png").read_bytes())
    assert load_pairs(a, b, 16)[1].shape == (2, 1, 16, 16)
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 16, 16), np.uint8))
    np.savez(tmp_path / "b.npz", images=np.stack([disc(16, True, bool)] * 2))
    assert load_pairs(tmp_path / "a.npz", tmp_path / "b.npz", 16)[1].sum() == 2 * (disc() > 0).sum()


def test_two_stacks_page_by_page(tmp_path):
    a = np.stack([flat(v) for v in range(0, 240, 20)])
    b = np.stack([np.roll(disc(), k, 0) for k in range(12)])
    x, y = load_pairs(tiff(tmp_path / "a.tif", a), tiff(tmp_path / "b.tif", b), 16)
    near(x.mean((1, 2, 3)), [v / 127.5 - 1 for v in range(0, 240, 20)])
    assert (y[:, 0].numpy() == (b > 0)).all()
    tiff(tmp_path / "c.tif", b[:11])
    with pytest.raises(DataError, match="a.tif has 12 pages, but c.tif has 11"):
        load_pairs(tmp_path / "a.tif", tmp_path / "c.tif", 16)


def test_different_shapes_are_refused_by_name(tmp_path):
    save(tmp_path / "i" / "cell 7.png", flat(0, 20))
    save(tmp_path / "m" / "cell 7.png", flat(0, 16))
    with pytest.raises(DataError, match="cell 7.png is 20 x 20 pixels, but its mask cell 7.png is 16 x 16"):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)
    tiff(tmp_path / "a.tif", np.zeros((16, 20), np.uint16))
    tiff(tmp_path / "b.tif", np.zeros((20, 16), np.uint16))
    with pytest.raises(DataError, match="a.tif, page 1 is 20 x 16 pixels, but its mask b.tif, page 1 is 16 x 20"):
        load_pairs(tmp_path / "a.tif", tmp_path / "b.tif", 16)


def test_lonely_pictures_and_masks_are_left_out_and_told(tmp_path):
    for k in range(4):
        save(tmp_path / "i" / f"{k}.png")
        save(tmp_path / "m" / f"{k + 1}.png", disc())
    with pytest.warns(DataWarning) as caught:
        assert len(load_pairs(tmp_path / "i", tmp_path / "m", 16)[0]) == 3
    for words in ("0.png has no mask", "4.png is a mask without an image"):
        assert words in str(caught[0].message)


DUPLICATES = [
    (["cella.jpg"], [], "cella.jpg and cella.png are images that go by the same name"),
    ([], ["cella.tif"], "cella.png and cella.tif, page 1 are masks that go by the same name"),
    (["cellb.bmp", "cella.jpg"], [], "cella.jpg and cella.png are images .* 1 more"),
]


@pytest.mark.parametrize("images, masks, words", DUPLICATES)
@pytest.mark.parametrize("place", ["folders", "zips"])
def test_a_duplicate_among_right_pairs_is_named(tmp_path, images, masks, words, place):
    for k in "abcdefghijklmnopqrst":
        images, masks = [*images, f"cell{k}.png"], [*masks, f"cell{k}.png"]
    for folder, names in (("i", images), ("m", masks)):
        for name in names:
            save(tmp_path / folder / name, disc())
        if place == "zips":
            with zipfile.ZipFile(tmp_path / f"{folder}.zip", "w") as z:
                for name in names:
                    z.write(tmp_path / folder / name, name)
    suffix = ".zip" if place == "zips" else ""
    with pytest.raises(DataError) as caught:
        load_pairs(tmp_path / f"i{suffix}", tmp_path / f"m{suffix}", 16)
    assert re.search(words.replace("cella.", "(i.zip/|m.zip/)?cella."), str(caught.value)), caught.value
    assert "Remove or rename all but one" in str(caught.value)


@pytest.mark.parametrize("images, masks, words", [
    (["IMG1.png", "img1.png"], ["img1_mask.png"], "IMG1.png and img1.png are images"),
    (["img1.png"], ["img1_mask.png", "img1_gt.png"], "img1_gt.png and img1_mask.png are masks"),
    (["img1.png"], ["IMG1_mask.png", "img1_mask.png"], "IMG1_mask.png and img1_mask.png are masks"),
    (["x/img1.png", "y/img1.png", *(f"x/img{k}.png" for k in range(20, 40))],
     ["img1_mask.png", *(f"img{k}_mask.png" for k in range(20, 40))], "x/img1.png and y/img1.png are images")])
def test_duplicates_by_case_word_and_folder(tmp_path, images, masks, words):
    for k in range(2, 9):
        images, masks = [*images, f"img{k}.png"], [*masks, f"img{k}_mask.png"]
    for folder, names in (("i", images), ("m", masks)):
        for name in names:
            save(tmp_path / folder / name, disc())
    with pytest.raises(DataError, match=words):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)


@pytest.mark.parametrize("mask", ["cella.png", "cella_mask.png"])
def test_a_duplicate_of_the_only_image_is_named(tmp_path, mask):
    save(tmp_path / "i" / "cella.jpg")
    save(tmp_path / "i" / "cella.png")
    save(tmp_path / "m" / mask, disc())
    with pytest.raises(DataError, match="cella.jpg and cella.png are images that go by the same name"):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)


@pytest.mark.parametrize("place", ["folders", "zips"])
def test_one_of_two_with_the_same_name_fits_better(tmp_path, place):
    """x/1.png has no mask of its own; 1.png has."""
    save(tmp_path / "m" / "1.png", disc())
    for name in ("1.png", "x/1.png"):
        save(tmp_path / "i" / name)
    if place == "zips":
        for folder in "im":
            with zipfile.ZipFile(tmp_path / f"{folder}.zip", "w") as z:
                for path in sorted((tmp_path / folder).rglob("*.png")):
                    z.write(path, path.relative_to(tmp_path / folder))
    suffix = ".zip" if place == "zips" else ""
    with pytest.warns(DataWarning, match="x/1.png has no mask"):
        assert len(load_pairs(tmp_path / f"i{suffix}", tmp_path / f"m{suffix}", 16)[0]) == 1


def test_pairs_that_do_not_match_at_all(tmp_path):
    for k in "abc":
        save(tmp_path / "i" / f"{k}.png")
        save(tmp_path / "m" / f"x{k}x.png", disc())
    with pytest.raises(DataError, match="most of the 3 images have no mask among the 3.*Name each mask"):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)


def test_a_damaged_half_takes_its_pair_along(tmp_path):
    for k in range(4):
        save(tmp_path / "i" / f"{k}.png", np.random.default_rng(k).integers(0, 255, (64, 64), np.uint8))
        save(tmp_path / "m" / f"{k}.png", disc(64))
    path = tmp_path / "i" / "2.png"
    path.write_bytes(path.read_bytes()[:1000])
    (tmp_path / "m" / "1.png").write_bytes(b"<!doctype html>")
    with pytest.warns(DataWarning) as caught:
        assert len(load_pairs(tmp_path / "i", tmp_path / "m", 16)[0]) == 2
    assert len(caught) == 1
    for words in ("2.png is damaged", "1.png is not a readable image", "1.png has no mask"):
        assert words in str(caught[0].message)


def test_pairs_of_nothing(tmp_path):
    (tmp_path / "i").mkdir()
    save(tmp_path / "m" / "1.png")
    with pytest.raises(DataError, match="holds no images"):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)
    (tmp_path / "i" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="1.png is empty"):
        load_pairs(tmp_path / "i", tmp_path / "m", 16)


# ---- lazily

def test_lazy_reading_is_the_same_reading(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.jpg", np.random.default_rng(i).integers(0, 255, (90, 70, 3), np.uint8))
    tiff(tmp_path / "s.tif", np.arange(768, dtype=np.uint16).reshape(3, 16, 16))
    for channels in (1, 3):
        lazy = ImageFiles(tmp_path, 16, channels)
        assert (torch.stack([*lazy]) == load_images(tmp_path, 16, channels)).all()
        assert (lazy[-1] == lazy[len(lazy) - 1]).all()
    opened.cache_clear()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_lazy_reading_by_several_workers(tmp_path, method):
    if sys.platform == "win32" and method == "fork":
        pytest.skip("no fork here")
    tiff(tmp_path / "s.tif", np.arange(40 * 256, dtype=np.uint16).reshape(40, 16, 16))
    z = zipped(tmp_path / "a.zip", ["s.tif"], (tmp_path / "s.tif").read_bytes())
    for path in (tmp_path / "s.tif", z):
        lazy = ImageFiles(path, 16)
        want = torch.stack([*lazy])                                   # opened here first: forks must not share it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                           # of one core, that two workers are too many
            loader = torch.utils.data.DataLoader(lazy, 4, num_workers=2 if method == "fork" else 1,
                                                 multiprocessing_context=get_context(method))
            assert (torch.cat([*loader]) == want).all()
        opened.cache_clear()
        if method == "spawn":
            break


def test_lazy_reading_of_damaged_files(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", np.random.default_rng(i).integers(0, 255, (64, 64), np.uint8))
    (tmp_path / "fake.png").write_bytes(b"<!doctype html>")
    with pytest.warns(DataWarning, match="web page"):
        lazy = ImageFiles(tmp_path, 16)
    assert len(lazy) == 3
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[:1000])                    # damaged after the start: seen when it is read
    with pytest.warns(DataWarning, match="1.png is damaged.*next image takes its place"):
        assert (lazy[1] == lazy[2]).all()
    lazy[1]                                                           # told once
    for i in (0, 2):
        (tmp_path / f"{i}.png").unlink()
    with warnings.catch_warnings(), pytest.raises(DataError, match="none of the 3 images"):
        warnings.simplefilter("ignore")
        lazy[0]
    with pytest.raises(IndexError):
        lazy[3]


def test_fewer_pictures_than_a_batch(tmp_path):
    for i in range(98):
        save(tmp_path / f"{i}.png")
    loader = torch.utils.data.DataLoader(ImageFiles(tmp_path, 16), batch_size=128)
    assert [len(batch) for batch in loader] == [98]


def in_threads(f, items, n=8):
    """f(item) of all items, in n threads that begin at once."""
    barrier = threading.Barrier(n)

    def work(k):
        barrier.wait()
        return [(item, f(item)) for item in items[k:] + items[:k]]
    with ThreadPoolExecutor(n) as pool:
        return [pair for pairs in pool.map(work, range(n)) for pair in pairs]


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "compressed", "zip of stacks", "zip of images"])
def test_threads_read_from_one_open_file(tmp_path, kind):
    """Two threads that ask for two pages of one file get the pages they asked for."""
    a = np.stack([np.full((64, 64), 5 * k, np.uint8) for k in range(50)])
    if kind == "16 bits":
        a = a.astype(np.uint16)
    path = tiff(tmp_path / "s.tif", a, compression="zlib" if kind == "compressed" else None)
    if kind == "zip of stacks":
        path = zipped(tmp_path / "a.zip", ["s.tif", "t.tif"], path.read_bytes())
    elif kind == "zip of images":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as z:
            for k in range(50):
                z.write(save(tmp_path / f"{k}.png", a[k]), f"{k}.png")
    lazy = ImageFiles(path, 16)
    want = [lazy[i] for i in range(len(lazy))]
    opened.cache_clear()
    for i, x in in_threads(lazy.__getitem__, [*range(len(lazy))]):
        assert (x == want[i]).all(), i
    opened.cache_clear()


def test_threads_that_load_at_the_same_time(tmp_path):
    for k in range(4):
        tiff(tmp_path / f"{k}.tif", np.stack([np.full((32, 32), 60 * k + j, np.uint16) for j in range(20)]))
    paths = [tmp_path / f"{k}.tif" for k in range(4)]
    want = {path: load_images(path, 16) for path in paths}
    for path, x in in_threads(lambda path: load_images(path, 16), paths, 4):
        assert (x == want[path]).all()


def test_a_worker_forked_while_a_thread_reads_does_not_wait(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    lazy = ImageFiles(tiff(tmp_path / "s.tif", np.zeros((2, 16, 16), np.uint16)), 16)
    held, done = threading.Event(), threading.Event()

    def reads():
        with alone():
            held.set()
            done.wait(20)
    thread = threading.Thread(target=reads)
    thread.start()
    held.wait()
    worker = get_context("fork").Process(target=lazy.__getitem__, args=(0,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                               # of Python 3.12: that there are threads
        worker.start()
    worker.join(15)
    done.set()
    thread.join()
    ended = worker.exitcode
    worker.kill()
    assert ended == 0


# ---- nothing global

def test_an_import_leaves_the_filters_of_warnings_alone():
    code = ("import warnings, numpy, torch.utils.data, tqdm.auto, PIL.Image\nbefore = list(warnings.filters)\n"
            "import helpers.data, helpers.datasets\nassert list(warnings.filters) == before, warnings.filters")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(data.__file__).parents[1])


def test_a_large_image_is_welcome_and_filters_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    path = save(tmp_path / "a.png")                                   # 256 pixels
    tiff(tmp_path / "b.tif", np.zeros((2, 16, 16), np.uint8))
    before, level = list(warnings.filters), logging.getLogger("tifffile").level
    good(load_images(tmp_path, 16), 3)                                # a warning would be an error here
    assert list(warnings.filters) == before and logging.getLogger("tifffile").level == level
    refused(save(tmp_path / "c.png", flat(0, 21)), "c.png would unpack to over 400 pixels")
    with pytest.raises(Image.DecompressionBombWarning):               # whoever else opens it is warned as ever
        Image.open(path)


def test_a_warning_comes_with_every_load_under_the_usual_filters(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    save(tmp_path / "b.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("default")                              # once at each line
        for _ in range(3):
            load_images(tmp_path, 16)
        warnings.simplefilter("ignore", DataWarning)
        load_images(tmp_path, 16)
    assert [(w.category, w.filename) for w in caught] == [(DataWarning, __file__)] * 3


def test_a_large_file_is_not_read_into_memory_for_its_name(tmp_path):
    import tracemalloc
    with open(tmp_path / "large.zip", "wb") as stream:
        stream.truncate(300 * 2 ** 20)
    tracemalloc.start()
    name = data._cache_key([files.ImageFile("large.zip/1.png", tmp_path / "large.zip", "1.png")], 16, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 ** 22 and len(name) == 40, peak


# ---- windows and turns

def test_windows_are_squares_of_their_picture_and_say_which():
    ramp = torch.linspace(-1, 1, 60)
    x = torch.stack([ramp.expand(60, 60), ramp[:, None].expand(60, 60)])[:, None]            # rises right, rises down
    found = random_crops(x, 5, 20, seed=3)
    assert found.shape == (10, 1, 20, 20) and found.min() >= -1 and found.max() <= 1
    right, down = (found[..., -1] - found[..., 0]).mean((1, 2)), (found[:, :, -1] - found[:, :, 0]).mean((1, 2))
    assert (right[:5] > 0.5).all() and (down[5:] > 0.5).all() and (down[:5].abs() < 1e-4).all()
    assert (right[:5] < 1.95).any() and len(set(right[:5].tolist())) == 5                    # of several sizes
    assert torch.equal(found, random_crops(x, 5, 20, seed=3)) and not torch.equal(found, random_crops(x, 5, 20, seed=4))


def test_windows_that_would_be_blurred_are_refused():
    with pytest.raises(DataError, match="images of 60 or more, but these have 59. Load them larger, with size=80"):
        random_crops(torch.zeros(1, 1, 59, 59), 2, 20)


def test_turned_gives_all_eight_once():
    x = torch.arange(2 * 9.0).reshape(2, 1, 3, 3)
    eight = dihedral(x)
    assert eight.shape == (16, 1, 3, 3) and torch.equal(eight[:2], x)
    assert len({tuple(picture.flatten().tolist()) for picture in eight}) == 16
    again = {tuple(picture.flatten().tolist()) for picture in dihedral(eight)}       # turning on leads to no ninth
    assert again == {tuple(picture.flatten().tolist()) for picture in eight}


# ---- speed and cache

@pytest.fixture
def many(tmp_path):
    (tmp_path / "many").mkdir()
    _, x = np.mgrid[:640, :640]
    for i in range(220):
        if i < 8:
            a = 128 + 50 * np.sin(x / (9 + i)) + np.random.default_rng(i).normal(0, 15, x.shape)
            a = a.clip(0, 255).astype(np.uint8)
            Image.fromarray(np.dstack([a, a, a])).save(tmp_path / "many" / f"{i}.jpg", quality=85)
        else:
            (tmp_path / "many" / f"{i}.jpg").write_bytes((tmp_path / "many" / f"{i % 8}.jpg").read_bytes())
    return tmp_path / "many"


def cached():
    return sorted(data.CACHE.glob("*")) if data.CACHE.exists() else []


def test_many_photographs_fast_and_the_second_time_from_the_cache(many, capsys):
    (many / "bad.png").write_bytes(b"")
    start = time.perf_counter()
    with pytest.warns(DataWarning, match="bad.png is empty"):
        first = good(load_images(many, 64), 220, 1, 64)
    took = time.perf_counter() - start
    assert "/220" in capsys.readouterr().err                       # the progress bar
    start = time.perf_counter()
    with pytest.warns(DataWarning, match="bad.png is empty"):         # told by the cache as well
        second = load_images(many, 64)
    again = time.perf_counter() - start
    assert (first == second).all() and len(cached()) == 1
    assert took < 60 and again < took / 4, (took, again)       # wide: the machine may be slow and busy


def test_few_pictures_leave_nothing_behind(tmp_path):
    save(tmp_path / "a.png")
    load_images(tmp_path, 16)
    assert not cached()


def small_set(folder, n=200):
    body = save(folder / "0.png").read_bytes()
    for i in range(1, n):
        (folder / f"{i}.png").write_bytes(body)
    return folder


def test_the_cache_goes_by_content_and_settings(tmp_path):
    folder = small_set(tmp_path / "a")
    load_images(folder, 16)
    assert len(cached()) == 1
    load_images(folder, 8), load_images(folder, 16, 3)
    assert len(cached()) == 3
    stat = (folder / "7.png").stat()
    save(folder / "7.png", 255 - LEFT_BRIGHT)
    os.utime(folder / "7.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))      # the same name and time, other content
    x = load_images(folder, 16)
    assert len(cached()) == 4 and not (x[0] == x[7]).all()
    z = zipped(tmp_path / "a.zip", [f"{i}.png" for i in range(200)])
    load_images(z, 16), load_images(z.read_bytes(), 16)
    assert len(cached()) == 6


@pytest.mark.parametrize("harm", ["half", "empty", "garbage", "other", "flipped"])
def test_a_damaged_cache_is_rebuilt_in_silence(tmp_path, harm):
    folder = small_set(tmp_path / "a")
    want = load_images(folder, 16)
    cache, = cached()
    body = cache.read_bytes()
    if harm == "other":
        np.savez(cache, y=np.zeros(3))
    else:
        cache.write_bytes({"half": body[:len(body) // 2], "empty": b"", "garbage": b"x" * 99,
                           "flipped": body[:5000] + bytes([body[5000] ^ 255]) + body[5001:]}[harm])
    assert (load_images(folder, 16) == want).all()
    assert (load_images(folder, 16) == want).all() and cached() == [cache] and cache.read_bytes() == body


def test_a_crash_while_writing_leaves_no_half_cache(tmp_path, monkeypatch):
    folder = small_set(tmp_path / "a")

    def crash(path, **arrays):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt
    monkeypatch.setattr(np, "savez", crash)
    with pytest.raises(KeyboardInterrupt):
        load_images(folder, 16)
    assert not cached()


def test_no_place_for_a_cache(tmp_path, monkeypatch):
    folder = small_set(tmp_path / "a")
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(data, "CACHE", tmp_path / "file" / "cache")
    good(load_images(folder, 16), 200)


def test_an_unreadable_file_among_many(tmp_path):
    folder = small_set(tmp_path / "a")
    (folder / "gone.png").symlink_to("nowhere")
    skips(folder, 200, "gone.png cannot be opened")
    skips(folder, 200, "gone.png cannot be opened")


def test_nothing_is_written_beside_the_pictures(many):
    before = sorted(many.parent.rglob("*"))
    load_images(many, 16)
    assert sorted(many.parent.rglob("*")) == before


def test_many_and_all_unreadable(tmp_path):
    for i in range(201):
        (tmp_path / f"{i}.png").write_bytes(b"")
    refused(tmp_path, "none of the 201 files")
    assert not cached()
