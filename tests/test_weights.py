"""The shipped weights: each loads, is the file that its card names, and draws as well as the card says."""
import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import env, scenes
from tools.models import train
from helpers.features import FeatureNet
from helpers.checkpoints import load_weights, read_safetensors, save_weights
from helpers.unet import UNet
from tools.models import cards

pytestmark = pytest.mark.usefixtures("one_thread")
LISTED = env.WEIGHTS / "cards.json"
CARDS = json.loads(LISTED.read_text(encoding="utf8")) if LISTED.exists() else {}
MOMENTS = [f"craters64-{k}" for k in range(1, 8)]
NETWORKS = {                                                   # what must be there: data, channels, classes, side
    **dict.fromkeys([*MOMENTS, "craters64"], ("craters", 1, 0, 64)),
    **dict.fromkeys(["few20", "few98", "few98-1", "few98-2", "few98-3", "few98turned", "few500", "few8000"],
                    ("craters", 1, 0, 32)),
    "ground64": ("ground", 1, 0, 64), "cells64": ("cells", 2, 0, 64),
    "heads64": ("heads", 1, 2, 64), "digits32": ("digits", 1, 10, 32)}
FILES = sorted({*NETWORKS, "features"} | {path.stem for path in env.WEIGHTS.glob("*.safetensors")})
MAKING = [name for name in FILES if name != "features"]


def card(name):
    assert f"{name}.safetensors" in CARDS, f"{name}.safetensors has no card: make weights NAME={name}, then make cards"
    return CARDS[f"{name}.safetensors"]


@functools.cache
def feature_net():
    return load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)[0]


@functools.cache
def few(name):
    """The distance from fresh pictures of a few samples of a shipped network, and its interval."""
    return cards.few(feature_net(), *load_weights(env.WEIGHTS / f"{name}.safetensors", UNet))


def hold_together(path, card):
    """The file is the one that the card is about."""
    assert cards.sha256(path) == card["sha256"], f"{path.name} is damaged, or newer than its card: make cards"
    assert path.stat().st_size == card["bytes"]
    assert read_safetensors(path)[1] == card["about"]


def as_good_as_said(found, card):
    """The distance is that of the card, but for another machine's rounding: to a tenth of the card's interval."""
    said = card["few"]
    allowed = (said["high"] - said["low"]) / 10                # noise and fresh pictures are the same: nothing is drawn
    assert abs(found["value"] - said["value"]) < allowed, f"a KID of {found['value']}; the card says {said}"


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_the_one_on_the_card(name):
    path = env.WEIGHTS / f"{name}.safetensors"
    hold_together(path, card(name))
    assert path.stat().st_size <= 5_000_000
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    model, _ = load_weights(path, FeatureNet if name == "features" else UNet)
    assert sum(p.numel() for p in model.parameters()) == card(name)["parameters"]
    assert all(p.isfinite().all() for p in model.state_dict().values())


def test_all_files_together_are_small():
    assert sum(path.stat().st_size for path in env.WEIGHTS.iterdir()) <= 60_000_000


def test_the_cards_are_those_of_the_files_and_the_page_is_that_of_the_cards():
    assert list(CARDS) == [f"{name}.safetensors" for name in sorted(FILES)]
    assert (env.WEIGHTS / "README.md").read_text(encoding="utf8") == cards.page(CARDS)


@pytest.mark.parametrize("name", MAKING)
def test_what_the_card_says_was_measured_as_it_is_today(name):
    found = card(name)
    assert {"features": cards.sha256(env.WEIGHTS / "features.safetensors"), **cards.settings()}.items() <= found.items()
    assert min(found["counts"]) >= 256
    for what in ("kid", "floor", "few"):
        assert found[what]["low"] <= found[what]["value"] <= found[what]["high"]
    assert found["floor"]["low"] <= 0 <= found["floor"]["high"]
    assert found["kid"]["high"] > found["floor"]["low"]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_network_makes(name):
    model, about = load_weights(env.WEIGHTS / f"{name}.safetensors", UNet)
    _, channels, classes, side = NETWORKS[name]
    assert (about["data"], about["channels"], model.config["num_classes"], about["size"]) == NETWORKS[name]
    assert (model.config["in_channels"], model.config["out_channels"]) == (channels, channels)
    x, labels = cards.samples(model, about, 2, 2)
    assert x.shape == (2, channels, side, side) and x.isfinite().all() and x.abs().max() <= 1
    assert (labels is None) == (classes == 0) and x.std() > 0.02


@pytest.mark.parametrize("name", MAKING)
def test_a_network_draws_as_well_as_its_card_says(name):
    as_good_as_said(few(name), card(name))


def test_the_moments_of_a_training_are_ever_better():
    moments = [card(name) for name in [*MOMENTS, "craters64"]]
    steps, values = ([of(m) for m in moments] for of in (lambda m: m["about"]["steps"], lambda m: m["kid"]["value"]))
    assert steps == sorted(steps) and len(set(steps)) == 8
    early, late = values[:5], values[5:]                       # later than that the sampler's few steps decide
    assert early == sorted(early, reverse=True) and len(set(early)) == 5 and max(late) < early[3], values
    assert len({json.dumps({**m["about"], "steps": 0}) for m in moments}) == 1     # one training, one recipe


def test_the_judge_reads_rightly():
    reads = card("features")["reads"]
    for kind, correlation, radius, light in (("craters", 0.9, 0.1, 5), ("ground", 0.8, 0.1, 10)):
        assert reads[kind]["correlation of counts"] > correlation
        assert reads[kind]["median error of the radius"] < radius
        assert reads[kind]["median error of the light, degrees"] < light
    seed = CARDS["features.safetensors"]["about"]["seed"] + cards.SEED
    now = cards.reading(feature_net(), scenes.craters(64, 64, seed))
    assert now["correlation of counts"] == pytest.approx(reads["craters"]["correlation of counts"], abs=0.05)
    assert now["median error of the radius"] < 2 * reads["craters"]["median error of the radius"]


# ---- what is damaged is noticed


def test_half_a_file_is_refused(tmp_path):
    path, whole = tmp_path / "x.safetensors", (env.WEIGHTS / "craters64.safetensors").read_bytes()
    for part in (b"", whole[:100], whole[:len(whole) // 2], whole[:-1], b"\0" * 100 + whole[100:]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"x\.safetensors is not a file of this course.*fetch the file again"):
            load_weights(path, UNet)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_one_wrong_bit_is_noticed(place, tmp_path):
    path = Path(shutil.copy(env.WEIGHTS / "craters64.safetensors", tmp_path))
    hold_together(path, card("craters64"))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(AssertionError, match=r"craters64\.safetensors is damaged, or newer than its card"):
        hold_together(path, card("craters64"))


def wrong_target(model, about):
    return {**about, "target": "eps"}


def wrong_schedule(model, about):
    return {**about, "schedule": "linear"}


def layer_of_zeros(model, about):
    model.up[0].res2.conv1.weight.data.zero_()
    return about


def weights_of_little_precision(model, about):
    for p in model.parameters():
        if p.ndim > 1:
            p.data += 0.25 * p.std() * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    return about


@pytest.mark.parametrize("damage", [wrong_target, wrong_schedule, layer_of_zeros, weights_of_little_precision])
def test_wrong_weights_are_noticed_by_what_they_draw(damage):
    model, about = load_weights(env.WEIGHTS / "digits32.safetensors", UNet)
    about = damage(model, about)
    with pytest.raises(AssertionError, match="the card says"):
        as_good_as_said(cards.few(feature_net(), model, about), card("digits32"))


# ---- the tool that measures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two tiny networks and the feature network, and a tool that draws few pictures of them."""
    for name, value in dict(SAMPLES=8, REFERENCES=12, STEPS=2, FEW=4, FEW_STEPS=2).items():
        monkeypatch.setattr(cards, name, value)
    shutil.copy(env.WEIGHTS / "features.safetensors", tmp_path)
    save(tmp_path / "craters16.safetensors")
    save(tmp_path / "heads16.safetensors", "heads", 2)
    return tmp_path


def save(path, data="craters", classes=0, seed=0):
    torch.manual_seed(seed)
    save_weights(path, UNet(1, 1, [8], 2, num_classes=classes), data=data, examples=9, size=16, channels=1, batch=4,
                 schedule="cosine", T=20, target="v", lr=0.004, seed=seed, steps=1)


def read(folder):
    return json.loads((folder / "cards.json").read_text(encoding="utf8"))


def test_a_card_stays_as_long_as_its_file_does(folder, capsys):
    cards.main(["--folder", str(folder)])
    first = read(folder)
    assert list(first) == ["craters16.safetensors", "features.safetensors", "heads16.safetensors"]
    assert "craters16" in (folder / "README.md").read_text(encoding="utf8")
    assert capsys.readouterr().out.count("measured") == 3

    for found in first.values():                               # as if they had been made long ago
        found["date"] = "2020-02-02"
    (folder / "cards.json").write_text(json.dumps(first))
    cards.main(["--folder", str(folder)])
    assert read(folder) == first and "measured" not in capsys.readouterr().out
    cards.main(["--folder", str(folder), "--all"])             # the same figures once more, and the date of the file
    assert read(folder) == first and capsys.readouterr().out.count("measured") == 3

    save(folder / "heads16.safetensors", "heads", 2, seed=1)
    cards.main(["--folder", str(folder)])
    second = read(folder)
    assert second["heads16.safetensors"]["date"] != "2020-02-02" and capsys.readouterr().out.count("measured") == 1
    assert second["heads16.safetensors"]["kid"] != first["heads16.safetensors"]["kid"]
    assert second["craters16.safetensors"] == first["craters16.safetensors"]
    hold_together(folder / "heads16.safetensors", second["heads16.safetensors"])
    with pytest.raises(AssertionError, match="newer than its card"):
        hold_together(folder / "heads16.safetensors", first["heads16.safetensors"])

    (folder / "heads16.safetensors").unlink()
    cards.main(["--folder", str(folder)])
    assert list(read(folder)) == ["craters16.safetensors", "features.safetensors"]
    assert "heads16" not in (folder / "README.md").read_text(encoding="utf8")


def test_another_judge_or_another_way_to_sample_asks_for_new_cards(folder, capsys, monkeypatch):
    cards.main(["--folder", str(folder)])
    capsys.readouterr()
    monkeypatch.setattr(cards, "STEPS", 3)
    cards.main(["--folder", str(folder)])
    out = capsys.readouterr().out
    assert "features.safetensors: the card is still right" in out and out.count("measured") == 2
    model, about = load_weights(folder / "features.safetensors", FeatureNet)
    model.mean += 0.1
    save_weights(folder / "features.safetensors", model, **{k: v for k, v in about.items() if k != "architecture"})
    cards.main(["--folder", str(folder)])
    assert capsys.readouterr().out.count("measured") == 3


def test_what_cannot_be_measured_gets_a_sentence(folder):
    save(folder / "x.safetensors", "my photographs")
    with pytest.raises(ValueError, match="x.safetensors was trained on 'my photographs', of which nothing new can be"):
        cards.main(["--folder", str(folder)])
    save_weights(folder / "x.safetensors", UNet(1, 1, [8], 2), data="craters")
    with pytest.raises(ValueError, match="x.safetensors does not say its T, batch, channels, examples, "):
        cards.main(["--folder", str(folder)])


@pytest.mark.parametrize("data, n", [("craters", 40), ("ground", 40), ("cells", 6), ("heads", 20), ("digits", 100)])
def test_fresh_pictures(data, n):
    x, labels = cards.fresh(data, n, 16, 7)
    channels, classes, _ = train.SOURCES[data]
    assert x.shape == (n, channels, 16, 16) and x.abs().max() <= 1
    assert (labels is None) == (classes == 0)
    some, their_labels = cards.fresh(data, n // 2, 16, 7)      # the first of many are those that few would be
    assert torch.equal(some, x[:n // 2]) and (labels is None or torch.equal(their_labels, labels[:n // 2]))
    assert len(x.flatten(1).unique(dim=0)) == n                # none twice
    if data == "heads":
        assert labels.tolist() == [0, 1] * 10


def test_no_digit_stands_on_both_sides():
    (x, _), (y, _) = cards.compared("digits", 8, 0)
    assert len(x) == 1797 - 512 and len(y) == 512
    everything = cards.fresh("digits", 10_000, 8, 0)[0]
    assert len(everything) == 1797 and torch.equal(torch.cat([y, x]), everything)


def test_the_recipe_is_a_command_line_that_means_the_header(tmp_path):
    out = tmp_path / "x.safetensors"
    tiny = "--data heads --examples 12 --size 16 --widths 8 --patch 1 --steps 2 --batch 4 --T 20 --lr 0.01 --seed 2"
    train.main([*tiny.split(), "--target", "eps", "--out", str(out)])
    about = read_safetensors(out)[1]
    words = cards.command(about).split()
    assert words[:3] == "python -m tools.models.train".split()
    again = tmp_path / "again.safetensors"
    train.main([*words[3:], "--out", str(again)])
    assert again.read_bytes() == out.read_bytes()
    assert "--schedule" not in words                           # a default
    begun = train.options(cards.command(about | {"start": "craters64.safetensors"}).split()[3:])
    assert (env.ROOT / begun.start).exists()
