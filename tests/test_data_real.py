"""helpers.data on real pictures, from the folder in the environment variable COURSE_DATA."""
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from helpers import data
from helpers.data import DataWarning, ImageFiles, load_images, load_pairs
from helpers.splits import split, subjects_of
from helpers.datasets import adni, mitochondria, moon_mars_craters

ROOT = os.environ.get("COURSE_DATA")
pytestmark = pytest.mark.skipif(not ROOT, reason="COURSE_DATA is not set: it names the folder of real pictures")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path)


@pytest.fixture
def root():
    return Path(ROOT).resolve()


def good(x, n, channels, size):
    assert x.shape == (n, channels, size, size) and x.dtype == torch.float32
    assert torch.isfinite(x).all() and x.min() >= -1 and x.max() <= 1
    assert (x.flatten(1).std(1) > 0.005).all()                        # nothing came out white, black or empty
    return x


def overlap(x, y):
    """How much brighter or darker the foreground is than the background, in standard deviations of the picture."""
    inside, outside = (x * y).sum() / y.sum(), (x * (1 - y)).sum() / (1 - y).sum()
    return ((inside - outside) / x.std()).abs()


@pytest.mark.parametrize("part, n", [("training", 30), ("testing", 8)])
def test_nuclei_stack(root, part, n):
    x, y = load_pairs(root / f"nuclei_stack/{part}.tif", root / f"nuclei_stack/{part}_groundtruth.tif", 64)
    good(x, n, 1, 64)
    assert y.shape == x.shape and set(y.unique().tolist()) == {0, 1} and 0.02 < y.mean() < 0.5
    right = torch.stack([overlap(a, b) for a, b in zip(x, y)]).median()
    wrong = torch.stack([overlap(a, b) for a, b in zip(x, y.roll(1, 0))]).median()
    assert right > 1 and right > 2 * wrong                            # each mask lies on its own picture
    (images, masks), _ = mitochondria(root / "nuclei_stack")
    assert images.name == "training.tif" and masks.name == "training_groundtruth.tif"


def test_nuclei_cc0(root):
    x, y = load_pairs(root / "nuclei_cc0/images", root / "nuclei_cc0/masks", 64)
    good(x, 66, 1, 64)
    for how in (lambda y: y.flip(-1), lambda y: y.roll(4, -1), lambda y: y.roll(1, 0)):
        right, wrong = (torch.stack([overlap(a, b) for a, b in zip(x, m)]).mean() for m in (y, how(y)))
        assert right > 1.3 * wrong


def test_craters_98(root):
    folder = moon_mars_craters(root / "craters_98")
    x = good(load_images(folder, 64), 98, 1, 64)
    assert (x == load_images(root / "craters_98", 64)).all()          # the labels beside it are passed over
    reference = [np.asarray(Image.open(folder / name).convert("L").resize((64, 64), Image.Resampling.BOX), float)
                 for name in ImageFiles(folder, 64).names]
    assert np.abs(np.stack(reference) / 127.5 - 1 - x[:, 0].numpy()).mean() < 0.03
    train, held = split(x)
    assert len(train) + len(held) == 98


@pytest.mark.parametrize("channels", [1, 3])
def test_mars_rocks(root, channels):
    x = good(load_images(root / "mars_rocks_ccby", 64, channels), 31, channels, 64)
    if channels == 3:
        assert x[:, 0].mean() > x[:, 2].mean() + 0.1                  # Mars is red


def test_sprites_in_colour(root):
    x, names = load_images(root / "sprites_cc0", 32, channels=3, names=True)
    good(x, 695, 3, 32)
    clear = torch.stack([x[:, :, 0, 0], x[:, :, 0, -1]])              # most corners are transparent, hence white
    assert (clear == 1).all(-1).float().mean() > 0.8
    again, same = load_images(root / "sprites_cc0", 32, channels=3, names=True)
    assert (again == x).all() and same == names and names[0].endswith(".png")
    assert (torch.stack([*ImageFiles(root / "sprites_cc0", 32, 3)]) == x).all()


def test_fashion(root):
    x = good(load_images(root / "fashion900_mit" / "fashion900.npz", 28), 900, 1, 28)
    with np.load(root / "fashion900_mit" / "fashion900.npz") as stored:
        assert torch.allclose(x[:, 0], torch.from_numpy(stored["images"] / 127.5 - 1).float(), atol=1e-6)
    good(load_images(root / "fashion900_mit", 32), 900, 1, 32)


def test_brain_slices_in_adnis_form(root):
    parts = adni(root / "mni152_adni_layout", 64)
    (x, y, subjects), (xt, _, others) = parts["train"], parts["test"]
    assert len(x) + len(xt) == 90 and len(x) == len(y) == len(subjects) and set(y.tolist()) == {0, 1}
    good(torch.cat([x, xt]), 90, 1, 64)
    assert len(set(subjects)) + len(set(others)) == 9
    train, held = split(x, subjects)
    assert not {subjects[i] for i in train} & {subjects[i] for i in held}
    assert (adni(root / "mni152_adni_layout" / "AD_NC")["test"][0] == xt).all()


@pytest.mark.parametrize("value, dtype", [(-3.4028234663852886e38, np.float32), (-32768, np.int16), (65535, np.uint16)])
def test_elevation_of_the_moon_with_pixels_that_are_missing(root, tmp_path, value, dtype):
    """With the tag they change nothing in the terrain around them; without it, a warning names their value."""
    a = np.asarray(Image.open(root / "moon_gld100" / "gld100_8ppd_lat60.png"))[100:740, 200:840].astype(dtype)
    tifffile.imwrite(tmp_path / "whole.tif", a, photometric="minisblack")
    whole = load_images(tmp_path / "whole.tif", 64)
    a[:100] = value
    tifffile.imwrite(tmp_path / "part.tif", a, photometric="minisblack", extratags=[(42113, "s", 0, str(value), False)])
    part = load_images(tmp_path / "part.tif", 64)
    assert part[:, :, :9].max() < -0.99
    line = np.polyfit(whole[:, :, 12:].flatten().numpy(), part[:, :, 12:].flatten().numpy(), 1)
    assert 0.9 < line[0] < 1.5 and torch.allclose(part[:, :, 12:], line[0] * whole[:, :, 12:] + line[1], atol=0.02)
    tifffile.imwrite(tmp_path / "untagged.tif", a, photometric="minisblack")
    with pytest.warns(DataWarning, match="untagged.tif: the value [-+e.0-9]+ lies so far"):
        flat = load_images(tmp_path / "untagged.tif", 64)
    assert flat[:, :, 12:].std() < part[:, :, 12:].std() / 2


def test_subjects_of_ixi_and_adni(root):
    x, names = load_images(root / "brain_ixi", 64, names=True)
    good(x, 140, 1, 64)
    subjects = subjects_of(names)
    assert len(set(subjects)) == 20 and all(subjects.count(subject) == 7 for subject in subjects)
    train, held = split(x, subjects)
    assert not {subjects[i] for i in train} & {subjects[i] for i in held}


def test_exif_rotation(root):
    """Portrait_1 is stored upright; Portrait_6 shows the same scene stored on its side."""
    one, six = (load_images(root / "exif_mit" / f"Portrait_{k}.jpg", 64)[0, 0] for k in (1, 6))
    same = torch.corrcoef(torch.stack([one.flatten(), six.flatten()]))[0, 1]
    turned = [torch.corrcoef(torch.stack([one.flatten(), six.rot90(k).flatten()]))[0, 1] for k in (1, 2, 3)]
    assert same > 0.95 and max(turned) < 0.8
    good(load_images(root / "exif_mit", 64, 3), 3, 3, 64)
