"""Splits: by groups, by subjects read from names; what notebooks call held out, notebook 03 was not trained on."""
import warnings

import numpy as np
import pytest
import torch
from image_files import flat, save
from own_data import UP_TO_THE_DATA, count_of, photographs, play, trained

from helpers import env, scenes
from helpers.checkpoints import save_weights
from helpers.data import DataError, DataWarning, load_images
from helpers.splits import split, subjects_of, trained_and_held_out, unseen
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
quiet = pytest.mark.usefixtures("quiet")


# ---- in the notebooks, images of one's own


@pytest.mark.parametrize("n, crops", [(50, 1), (12, 5)])
def test_what_later_notebooks_evaluate_was_not_trained_on(n, crops, tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", n, 16 if crops == 1 else 64)
    seen = trained(folder, monkeypatch, tmp_path, size=16, crops=crops)["train"]
    assert len(seen) == (45 if n == 50 else 50)
    settings = dict(trained_on=str(folder), size=16)
    for data in (None, str(folder)):
        five, eight = (play(page, UP_TO_THE_DATA[page], data=data, **settings) for page in ("05", "08"))
        assert count_of([*five["practice"], *five["exam"], *five["x0"]], seen) == 0
        assert count_of(eight["exam"], seen) == 0 and len(eight["exam"]) == (5 if n == 50 else 10)
        assert len(eight["others"]) >= 32
    four = play("04", UP_TO_THE_DATA["04"], data=str(folder), size=16)
    assert count_of(four["pictures"], seen) == 0


def test_an_image_of_the_training_set_is_called_one(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 40, 64)
    names = trained(folder, monkeypatch, tmp_path, size=16, crops=2)
    settings = dict(trained_on=str(folder), size=16)
    new, old = folder / "39.png", folder / "3.png"
    for page in ("05", "08"):
        with pytest.warns(DataWarning, match="was trained on these images"):
            play(page, UP_TO_THE_DATA[page], data=str(old), **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            play(page, UP_TO_THE_DATA[page], data=str(new), **settings)
    assert unseen(load_images(folder, 16), folder, names["about"]) == list(range(36, 40))


def test_where_nothing_was_held_out_it_is_said(tmp_path, monkeypatch, capsys):
    folder = photographs(tmp_path / "mine", 40, 16)
    about = dict(size=16, channels=1, schedule="cosine", T=64, target="v", seed=0)   # as tools.models.train writes it
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path / "checkpoints")
    save_weights(env.weights_path(str(folder), 16, 1), UNet(1, 1, (8,), patch=4), **about)
    for page in ("05", "08"):
        with pytest.warns(DataWarning, match="^0 held-out images of .* looks better than it is"):
            play(page, UP_TO_THE_DATA[page], data=None, trained_on=str(folder), size=16)
    one = photographs(tmp_path / "one", 1, 64)
    names = trained(one, monkeypatch, tmp_path, size=16, crops=8)
    assert "what is called held out below is trained on" in capsys.readouterr().out
    assert names["about"]["held_out"] == [] and len(names["train"]) == 8


def test_a_changed_folder_is_not_taken_for_that_of_the_training(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 20, 16)
    about = trained(folder, monkeypatch, tmp_path, size=16, crops=1)["about"]
    assert about["held_out"] == ["16.png", "17.png", "18.png", "19.png"] and about["images"] == 20
    (folder / "0.png").rename(folder / "20.png")
    with pytest.raises(DataError, match="has changed since .* it holds 20 images, then it held 20"):
        trained_and_held_out(folder, about)
    (folder / "20.png").unlink()
    with pytest.raises(DataError, match="has changed since .* it holds 19 images, then it held 20"):
        trained_and_held_out(folder, about)


def test_a_second_file_of_a_training_image_is_not_evaluated_on(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 20, 16)
    (folder / "19.png").write_bytes((folder / "2.png").read_bytes())
    about = trained(folder, monkeypatch, tmp_path, size=16, crops=1)["about"]
    seen, held_out = trained_and_held_out(folder, about)
    assert len(seen) == 16 and len(held_out) == 3 and count_of(held_out, seen) == 0


def test_rendered_images_are_never_those_of_the_training(tmp_path, monkeypatch):
    """Whoever trains notebook 03 with a seed that a later notebook renders with gets other images there."""
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path)
    for page, seed, trained_with in (("04", 7, 8), ("05", 2, 1002), ("08", 8, 1008)):
        about = dict(size=16, channels=1, schedule="cosine", T=64, target="v", seed=trained_with)
        save_weights(env.weights_path(None, 16, 1), UNet(1, 1, (8,), patch=4), **about)
        names = play(page, UP_TO_THE_DATA[page], size=16, seed=seed)
        shown = names["pictures"] if "pictures" in names else names["ordinary"]
        assert len(shown) >= 64 and count_of(shown, scenes.craters(len(shown), 16, trained_with).images) == 0


# ---- in two parts


@quiet
def test_split_keeps_groups_whole():
    x = torch.randn(60, 1, 4, 4)
    for groups in ([i // 6 for i in range(60)], torch.arange(60) // 6, [f"p{i % 10}" for i in range(60)],
                   np.arange(60) % 10):
        train, held = split(x, groups)
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(60)) and len(held) == 12
        named = groups.tolist() if hasattr(groups, "tolist") else groups
        assert not {named[i] for i in train} & {named[i] for i in held}
    assert len(x[train]) == 48


@quiet
def test_split_is_fixed_by_its_seed_and_leaves_something_on_both_sides():
    x = torch.randn(10, 1, 4, 4)
    assert split(x)[1].tolist() == split(x)[1].tolist() and len(split(x)[1]) == 2
    assert len({tuple(split(x, seed=s)[1].tolist()) for s in range(9)}) > 3
    for part in (0, 0.01, 0.99, 1):
        train, held = split(x, heldout=part)
        assert len(train) and len(held)


@quiet
def test_split_refuses(tmp_path):
    x = torch.randn(4, 1, 4, 4)
    with pytest.raises(DataError, match="4 images, but 3 groups"):
        split(x, [1, 2, 3])
    with pytest.raises(DataError, match="of one group"):
        split(x, ["a"] * 4)


@quiet
def test_split_warns_of_copies():
    x = torch.randn(10, 1, 4, 4)
    held = split(x)[1]
    x[held[0]] = x[split(x)[0][3]]
    with pytest.warns(DataWarning, match="1 held-out images are also in training"):
        split(x)


@quiet
def test_names_make_groups(tmp_path):
    for i, name in enumerate(("p1_1", "p1_2", "p2_1")):
        save(tmp_path / f"{name}.png", flat(i))
    (tmp_path / "p0_0.png").write_bytes(b"")
    with pytest.warns(DataWarning):
        x, names = load_images(tmp_path, 16, names=True)
    assert names == ["p1_1.png", "p1_2.png", "p2_1.png"] and len(x) == 3
    train, held = split(x, [name.split("_")[0] for name in names])
    assert {len(train), len(held)} == {1, 2}


# ---- subjects


SLICES = range(100, 103)


SUBJECTS = [
    ([f"AD/{s}_{k}.jpeg" for s in (388206, 388207) for k in (78, 79)], ["388206"] * 2 + ["388207"] * 2),
    ([f"AD/OAS1_{s:04}_MR{v}_mpr-{m}_{k}.jpg" for s in range(1, 5) for v in (1, 2) for m in (1, 2, 3) for k in SLICES],
     [f"OAS1_{s:04}" for s in range(1, 5) for _ in range(18)]),
    ([f"OAS3{s:04}_MR_d0129_{k}.png" for s in (1, 2) for k in SLICES], ["OAS30001"] * 3 + ["OAS30002"] * 3),
    (["a/IXI174-HH-1571_+04.png", "a/IXI174-HH-1571_+10.png", "b/IXI239-HH-2296_+04.png"], ["IXI174"] * 2 + ["IXI239"]),
    (["sub-01_slice-010.png", "sub-01_slice-011.png", "sub-02_slice-010.png"], ["sub-01"] * 2 + ["sub-02"]),
    (["sub-01/ses-2/anat/010.png", "x.zip/sub-02/ses-1/anat/010.png"], ["sub-01", "sub-02"]),
    (["002_S_0295_MR_12.png", "002_S_0413_MR_12.png"], ["002_S_0295", "002_S_0413"]),
    (["AD/p7/001.png", "AD/p7/slice_002.png", "NC/p8/001.png"], ["p7", "p7", "p8"]),
    (["2026.zip/p7/001.png", "2026.zip/p8/001.png"], ["p7", "p8"]),
    (["patient7_slice_012.png", "patient7_slice_013.png", "patient8_slice_012.png"], ["patient7"] * 2 + ["patient8"]),
    (["study2_p7_012.png", "study2_p7_013.png", "study2_p8_012.png"], ["study2_p7"] * 2 + ["study2_p8"]),
    (["anna_1.png", "anna_2.png", "ben_1.png"], ["anna", "anna", "ben"]),
    (["p7.tif, page 1", "p7.tif, page 2", "p8.tif, page 1"], ["p7", "p7", "p8"]),
    (["training.tif, page 1", "training.tif, page 2"], ["training"] * 2),
]


@quiet
@pytest.mark.parametrize("names, want", SUBJECTS)
def test_subjects_are_read_from_names(names, want):
    assert subjects_of(names) == want


@quiet
@pytest.mark.parametrize("names", [["a.png", "b.png"], ["a/100070.png", "b/100071.png"], ["img_1.png", "img_2.png"],
                                   ["AD/AD_1.png", "AD/AD_2.png", "NC/NC_1.png"], ["p7_1.png", "other.png"],
                                   ["a1/s1_1.png", "a2/s1_1.png"]])
def test_names_that_tell_no_subject_are_refused(names):
    with pytest.raises(DataError, match=f"names such as {names[0]} do not tell .* <subject>_<slice>"):
        subjects_of(names)


@quiet
def test_names_that_tell_more_than_the_subject_are_told():
    names = [f"{s}_{visit}_{k}.png" for s in (11, 12) for visit in (1, 2) for k in SLICES]
    with pytest.warns(DataWarning, match="subject of 11_1_100.png is taken to be 11, .* 2 subjects"):
        assert subjects_of(names) == ["11"] * 6 + ["12"] * 6
