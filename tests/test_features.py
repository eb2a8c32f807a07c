"""The feature network: one row for each image, craters counted and measured, the light found."""
import functools

import pytest
import torch

from helpers import env, scenes
from helpers.checkpoints import load_weights
from helpers.features import FeatureNet, features, find_craters, find_light

pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def feature_net():
    return load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)[0]


@functools.cache
def moon():
    """1024 pictures that the FeatureNet was not trained on, and what is in them."""
    return scenes.craters(1024, seed=501)


def test_features_are_one_wide_and_of_each_picture_alone():
    rows = seen()
    assert rows.shape == (1024, 544) and rows.isfinite().all()
    assert rows.mean(0).abs().median() < 0.5 and 0.5 < rows.std(0).median() < 1.5
    for i in (0, 100, 1023):
        assert torch.allclose(features(feature_net(), moon().images[i:i + 1]), rows[i:i + 1], atol=1e-3)


def test_craters_are_counted_and_measured():
    images, radii = moon().images[:512], moon().radii[:512]
    found = find_craters(feature_net(), images)
    assert all(c.shape == (len(r), 2) for c, r in found) and len(found) == 512
    counts = torch.tensor([[len(r) for _, r in found], (radii > 0).sum(1).tolist()], dtype=torch.float64)
    assert counts.corrcoef()[0, 1] > 0.9
    at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    ours, true = torch.cat([r for _, r in found]).quantile(at), radii[radii > 0].quantile(at)
    assert ours.tolist() == pytest.approx(true.tolist(), rel=0.05)
    near = [torch.cdist(c, where[r > 0]).min(1).values for (c, _), where, r in zip(found, moon().centres, radii)]
    assert torch.cat(near).quantile(0.9) < 1.5                         # pixels
    assert sum(len(r) for _, r in find_craters(feature_net(), images, 0.99)) < counts[0].sum()


def test_light_is_found_and_must_agree():
    images, light = moon().images[:256], moon().light[:256]
    degrees, agreement = find_light(feature_net(), images)
    error = ((degrees - light + 180) % 360 - 180).abs()
    assert error.median() < 4 and error.quantile(0.95) < 15
    turned, _ = find_light(feature_net(), images.rot90(1, (2, 3)))           # against the clock
    assert ((turned - light - 90 + 180) % 360 - 180).abs().median() < 6
    two_suns = torch.cat([images[..., :32], images[..., 32:].flip(-1)], dim=-1)
    _, disagreement = find_light(feature_net(), two_suns)
    assert agreement.median() > 0.95 and disagreement.median() < 0.9
    assert (disagreement < agreement).float().mean() > 0.95


@functools.cache
def seen():
    return features(feature_net(), moon().images)
