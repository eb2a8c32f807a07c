"""What the benchmark photographs measures with: crops, labels, the detector, on images whose truth is known."""
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import photographs
from benchmarks.common import Settings
from benchmarks.photographs import GENTLY, cut, detector, fires, labels
from cells import pick, run

from helpers import env, scenes
from helpers.features import FeatureNet, find_light
from tools.models.train import options
from helpers.checkpoints import load_weights
from helpers.schedule import Schedule, cosine_beta
from helpers.train import diffusion_loss
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
MOON = scenes.craters(64, 64, seed=5)


@pytest.fixture(scope="module")
def feature_net():
    return load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)[0]


def boxes(moon):
    """Craters as YOLO has them, in parts of the picture's side."""
    return [torch.cat([(c[r > 0] + 0.5) / 64, 2 * r[r > 0, None].expand(-1, 2) / 64], dim=1)
            for c, r in zip(moon.centres, moon.radii)]


def test_labels_are_read_by_name(tmp_path):
    (tmp_path / "b.rf.1.txt").write_text("0 0.5 0.25 0.1 0.2\n\n0 0.75 0.5 0.3 0.3\n")
    (tmp_path / "a.rf.2.txt").write_text("")
    first, second = labels(tmp_path, ["x/a.rf.2.jpg", "x/b.rf.1.jpg"])
    assert first.shape == (0, 4)
    torch.testing.assert_close(second, torch.tensor([[0.5, 0.25, 0.1, 0.2], [0.75, 0.5, 0.3, 0.3]]))


def test_the_detector_finds_what_is_there_and_little_else(feature_net):
    found = detector(feature_net, MOON.images, boxes(MOON))
    assert found["precision"] > 0.9 and found["recall"] > 0.85
    elsewhere = detector(feature_net, MOON.images, boxes(scenes.craters(64, 64, seed=6)))
    assert elsewhere["precision"] < 0.5 * found["precision"]
    assert detector(feature_net, torch.zeros(2, 1, 64, 64), [torch.zeros(0, 4)] * 2) == dict(precision=0, recall=0)


def test_it_fires_where_there_are_craters(feature_net):
    assert fires(feature_net, MOON.images) > 0.9 and fires(feature_net, torch.zeros(8, 1, 64, 64)) == 0


def test_windows_keep_the_light_on_its_side(feature_net):
    moon = scenes.craters(32, 192, seed=7)
    found = cut(moon.images, 4, seed=1)
    assert found.shape == (128, 1, 64, 64) and found.min() >= -1 and found.max() <= 1
    degrees, _ = find_light(feature_net, found)            # from the upper left, or upside down: the lower left
    assert ((degrees > 90) & (degrees < 270)).float().mean() > 0.95
    upside_down = ((degrees > 180) & (degrees < 270)).float().mean()
    assert 0.3 < upside_down < 0.7
    assert torch.equal(found, cut(moon.images, 4, seed=1))
    assert not torch.equal(found, cut(moon.images, 4, seed=2))


def test_photographs_from_end_to_end(tmp_path, monkeypatch):
    """All but the trainings, in a folder named as people write it, with a ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COURSE_DATA", "~/data")
    monkeypatch.setattr(env, "ROOT", tmp_path)
    folder = tmp_path / "data" / "craters_98"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i, image in enumerate(scenes.craters(20, 256, seed=3).images):
        Image.fromarray(((image[0] + 1) * 127.5).byte().numpy()).save(folder / "images" / f"{i}.png")
        (folder / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    starts = []

    def trained(pool, start):
        starts.append(start)
        x0 = pool[:8] if start else pool[:8].flip(3)           # light from the wrong side
        return lambda xt, t: x0[torch.arange(len(xt)) % 8], Schedule(cosine_beta(20)), 5

    for name, value in dict(trained=trained, CROPS=4, REFERENCE=3, SAMPLES=8, EVALUATIONS=2).items():
        monkeypatch.setattr(photographs, name, value)
    result = photographs.photographs(Settings())
    assert starts == [None, env.WEIGHTS / "ground64.safetensors"] and (tmp_path / "build" / "photographs.png").exists()
    assert [row["samples"] for row in result["rows"]] == [8, 8, 8, 54] and len(result["checks"]) == 3
    assert result["rows"][1]["kid"] < result["rows"][0]["kid"] and result["checks"][0]["value"] < 1
    assert result["checks"][2]["passed"] is False              # copies lie nearer than held-out crops


def begun(tmp_path, **settings):
    """The names of notebook 03 before it trains on twelve pictures of one's own, 256×256."""
    raw = ((scenes.craters(12, 256, seed=9).images[:, 0] + 1) * 127.5).byte().numpy()
    np.savez(tmp_path / "few.npz", images=raw)
    left_out = dict(noise_loss=diffusion_loss, x0=torch.zeros(2, 1, 64, 64, device=env.device()))
    needed = pick("03", "settings", "images", "schedule", "network", "goal", "start")
    return run(needed, left_out, data=str(tmp_path / "few.npz"), **settings)


def test_few_photographs_are_cut_and_begin_from_rendered_ground(tmp_path):
    names = begun(tmp_path, crops=10)
    assert names["pictures"].shape == (120, 1, 64, 64) and len(names["held_out"]) == 20      # of two photographs, whole
    known, _ = load_weights(env.WEIGHTS / "ground64.safetensors", UNet)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(names["model"].parameters(), known.parameters()))
    assert names["lr"] == GENTLY < options([]).lr and names["start"] == {"start": "ground64.safetensors"}


def test_pictures_that_do_not_fit_begin_from_nothing(tmp_path):
    names = begun(tmp_path, size=32)
    assert names["pictures"].shape == (12, 1, 32, 32) and names["lr"] == options([]).lr and names["start"] == {}
