"""Ready-made data sets: each is found in the forms in which it is passed on, or a sentence says where to get it."""
import struct
import sys

import numpy as np
import pytest
from image_files import disc, flat, good, near, pair, save, tiff
from PIL import Image

from helpers import datasets
from helpers.data import DataError, load_images, load_pairs

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize("form", ["stacks", "folders"])
def test_mitochondria(tmp_path, form):
    place = tmp_path / "Lucchi++"
    place.mkdir()
    if form == "stacks":
        for name in ("training", "testing"):
            tiff(place / f"{name}.tif", np.zeros((2, 16, 16), np.uint8))
            tiff(place / f"{name}_groundtruth.tif", np.stack([disc()] * 2))
    else:
        for part in ("Train", "Test"):
            for k in (1, 2, 10):                                      # in Lucchi++ the pictures are called masks
                save(place / f"{part}_In" / f"mask{k:04}.png", flat(k))
                save(place / f"{part}_Out" / f"{k}.png", Image.fromarray(np.roll(disc(), k, 0)).convert("RGBA"))
    for pair_of_paths in datasets.mitochondria(tmp_path):
        x, y = load_pairs(*pair_of_paths, 16)
        assert len(x) == (2 if form == "stacks" else 3)
    if form == "folders":
        near(x.mean((1, 2, 3)), [k / 127.5 - 1 for k in (1, 2, 10)], 1e-4)
        assert (y[2, 0].numpy() == (np.roll(disc(), 10, 0) > 0)).all()


def test_kasthuri_marks_what_is_outside_by_the_grey_value_2(tmp_path):
    m = disc()
    m[0] = 2
    assert (pair(tmp_path, Image.fromarray(m).convert("RGB"))[0, 0].numpy() == (disc() > 0)).all()


def test_sets_that_a_person_must_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "HERE", tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    for call, words in [(datasets.mitochondria, "epfl.ch"), (datasets.moon_mars_craters, "kaggle.com"),
                        (lambda: datasets.moon_mars_craters(tmp_path), "train/images"),
                        (lambda: datasets.adni(tmp_path / "nothing"), "apply at https://adni")]:
        with pytest.raises(DataError, match=words):
            call()


def test_ready_made_sets_are_found_through_links(tmp_path):
    save(tmp_path / "elsewhere" / "train" / "images" / "1.jpg")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "set").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "elsewhere" / "up").symlink_to("..")
    assert datasets.moon_mars_craters(tmp_path / "here") == tmp_path / "here" / "set" / "train" / "images"


@pytest.mark.parametrize("below", ["craters/train/images", "images"])
def test_moon_mars_craters(tmp_path, monkeypatch, below):
    save(tmp_path / below / "1.jpg")
    (tmp_path / below / "../labels").mkdir()
    (tmp_path / below / "../labels/1.txt").write_text("0 0.5 0.5 0.1 0.1")
    hub = type(sys)("kagglehub")
    hub.dataset_download = lambda handle: str(tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", hub)
    good(load_images(datasets.moon_mars_craters(), 16), 1)
    assert datasets.moon_mars_craters(tmp_path) == datasets.moon_mars_craters() == tmp_path / below


def test_adni(tmp_path):
    subjects = {"train/AD": ["1", "2"], "train/NC": ["3"], "test/AD": ["4"], "test/NC": ["5", "6"]}
    for folder, people in subjects.items():
        for person in people:
            for k in (78, 79):
                save(tmp_path / "AD_NC" / folder / f"{person}_{k}.jpeg", flat(20 * int(person)))
    parts = datasets.adni(tmp_path, 16)
    x, y, who = parts["train"]
    assert y.tolist() == [1, 1, 1, 1, 0, 0] and who == list("112233") and len(parts["test"][0]) == 6
    near(x.mean((1, 2, 3)), [20 * int(p) / 127.5 - 1 for p in who], 0.03)
    save(tmp_path / "AD_NC/test/NC/2_80.jpeg")
    with pytest.raises(DataError, match="1 subjects are both in train and in test"):
        datasets.adni(tmp_path)
    for file in (tmp_path / "AD_NC/test/NC").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="NC holds no images"):
        datasets.adni(tmp_path)


def test_adni_reads_the_names_of_other_studies(tmp_path):
    """One scan of each subject and another scan of it, in one part or, which is refused, in two."""
    for k, folder in enumerate(["train/AD", "train/NC", "test/AD", "test/NC"]):
        for scan in (1, 2):
            save(tmp_path / folder / f"OAS1_{k:04}_MR1_mpr-{scan}_100.jpg")
    assert datasets.adni(tmp_path, 16)["train"][2] == ["OAS1_0000"] * 2 + ["OAS1_0001"] * 2
    save(tmp_path / "test" / "AD" / "OAS1_0001_MR1_mpr-3_100.jpg")
    with pytest.raises(DataError, match="1 subjects are both in train and in test .OAS1_0001"):
        datasets.adni(tmp_path, 16)


def test_digits():
    x, labels = datasets.digits()
    good(x, 1797, 1, 8)
    assert x.min() == -1 and x.max() == 1 and labels.bincount().min() > 170
    good(datasets.digits(32)[0], 1797, 1, 32)


def test_sets_of_torchvision(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 3, 28, 28) + bytes(2352))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 3) + bytes([7, 8, 9]))
    x, labels = datasets.standard("MNIST", 32, root=tmp_path / "MNIST")
    near(good(x, 3, size=32), -1)
    assert labels.tolist() == [7, 8, 9]

    class SVHN:
        def __init__(self, root, split, download):
            self.split = split

        def __getitem__(self, i):
            return [(Image.new("RGB", (32, 32), "red"), 1 if self.split == "train" else 2)][i]
    monkeypatch.setattr("torchvision.datasets.SVHN", SVHN)
    x, labels = datasets.standard("SVHN", 16, channels=3, train=False, root=tmp_path)
    near(good(x, 1, 3)[0, :, 0, 0], [1, -1, -1])
    assert labels.tolist() == [2]
    monkeypatch.setattr(SVHN, "__init__", lambda self, root, split, download: 1 / 0)
    with pytest.raises(DataError, match="cannot fetch SVHN"):
        datasets.standard("SVHN", 16)
    for name in ("NoSuchSet", "vision"):
        with pytest.raises(DataError, match="has no set"):
            datasets.standard(name, 16)
