"""Measures against those of scikit-learn and scikit-image; the measure of samples against what it must notice."""
import functools

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import f1_score, jaccard_score
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from test_weights import few
from torchvision.transforms.functional import gaussian_blur

from helpers import env, scenes
from helpers.features import FeatureNet, features, find_craters, find_light
from helpers.metrics import dice, iou, kid, nearest, psnr
from helpers.checkpoints import load_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def masks(n=6):
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.random((n, 1, 16, 16)) < share).float() for share in (0.3, 0.5)]


@pytest.mark.parametrize("kind", [torch.float32, torch.bool, torch.int64])
@pytest.mark.parametrize("ours, theirs", [(iou, jaccard_score), (dice, f1_score)])
def test_overlaps_are_those_of_scikit_learn(ours, theirs, kind):
    a, b = masks()
    found = ours(a.to(kind), b.to(kind))
    expected = [theirs(y.flatten().numpy(), x.flatten().numpy()) for x, y in zip(a, b)]
    assert found.shape == (6,) and found.numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("measure", [iou, dice])
def test_overlaps_at_the_edges(measure):
    a, zero = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    half = torch.cat([a[..., :2], zero[..., :2]], -1)
    assert measure(a, a) == 1 and measure(zero, zero) == 1
    assert measure(a, zero) < 1e-6 and measure(half, 1 - half) < 1e-6
    assert measure(a, half).item() == pytest.approx({iou: 1 / 2, dice: 2 / 3}[measure], abs=1e-6)
    assert measure(torch.cat([a, zero]), torch.cat([zero, zero])).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_a_loss_can_be_made_of_dice():
    logits, target = torch.zeros(2, 1, 8, 8, requires_grad=True), masks(2)[0][..., :8, :8]
    (1 - dice(logits.sigmoid(), target)).mean().backward()
    assert logits.grad.isfinite().all() and (logits.grad[target == 1] < 0).all()


def test_psnr_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-1, 1, (5, 3, 16, 16)) for _ in range(2))
    expected = [peak_signal_noise_ratio(y, x, data_range=2) for x, y in zip(a, b)]
    assert psnr(torch.from_numpy(a), torch.from_numpy(b)).numpy() == pytest.approx(expected, abs=1e-9)
    ones = [peak_signal_noise_ratio(y, x, data_range=1) for x, y in zip(a, b)]
    assert psnr(torch.from_numpy(a), torch.from_numpy(b), peak=1).numpy() == pytest.approx(ones, abs=1e-9)
    assert psnr(torch.ones(1, 4), torch.ones(1, 4)) == torch.inf


def test_nearest_is_that_of_scikit_learn():
    torch.manual_seed(0)
    queries, references = torch.randn(40, 1, 16, 16), torch.randn(300, 1, 16, 16)
    theirs = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(references.flatten(1).double().numpy())
    distance, index = theirs.kneighbors(queries.flatten(1).double().numpy())
    ours, where = nearest(queries, references)
    assert (where.numpy() == index[:, 0]).all() and ours.numpy() == pytest.approx(distance[:, 0], rel=1e-5)


def test_a_copy_lies_at_distance_zero():
    pictures = torch.rand(50, 1, 64, 64) * 2 - 1
    distance, index = nearest(pictures[10:40], pictures)
    assert (distance == 0).all() and (index == torch.arange(10, 40)).all()


# ---- the FeatureNet and the kernel inception distance


@functools.cache
def feature_net():
    return load_weights(env.WEIGHTS / "features.safetensors", FeatureNet)[0]


@functools.cache
def moon():
    """1024 pictures that the FeatureNet was not trained on, and what is in them."""
    return scenes.craters(1024, seed=501)


@functools.cache
def seen():
    return features(feature_net(), moon().images)


def interval(a, b):
    """The distance of two sets of features and its 95 % interval."""
    value, drawn = kid(a, b)
    return value, *drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()


def grows(distances, strength):
    """Each step away from fresh pictures is measured as one, the last as one beyond doubt."""
    values = [value for value, _, _ in distances]
    assert values == sorted(values) and len(set(values)) == len(values), f"{strength}: {values}"
    assert distances[-1][1] > distances[0][2], f"{strength}: {distances}"


def test_kid_is_that_of_scikit_learns_kernel():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(256, 12)), rng.normal(0.3, 1.2, size=(256, 12))
    aa, ab, bb = (polynomial_kernel(x, y, degree=3, gamma=1 / 12, coef0=1) for x, y in ((a, a), (a, b), (b, b)))
    n = 256
    expected = ((aa.sum() - aa.trace()) + (bb.sum() - bb.trace())) / (n * (n - 1)) - 2 * ab.mean()
    value, drawn = kid(torch.from_numpy(a), torch.from_numpy(b), draws=200)
    assert value == pytest.approx(expected, rel=1e-9) and expected > 0.1
    assert drawn.shape == (200,) and drawn.min() < value < drawn.max()
    assert kid(torch.from_numpy(b), torch.from_numpy(a), draws=2)[0] == pytest.approx(expected, rel=1e-9)


def test_a_draw_of_the_bootstrap_is_the_distance_of_the_pictures_it_drew():
    torch.manual_seed(0)
    a, b = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    _, drawn = kid(a, b, draws=4, seed=3)
    generator = torch.Generator().manual_seed(3)
    of_b, of_a = torch.randint(5, (4, 5), generator=generator), torch.randint(7, (4, 7), generator=generator)
    for value, i, j in zip(drawn.tolist(), of_a, of_b):
        aa, ab, bb = ((x @ y.T / 3 + 1) ** 3 for x, y in ((a[i], a[i]), (a[i], b[j]), (b[j], b[j])))
        other_a, other_b = i[:, None] != i[None], j[:, None] != j[None]      # a picture is never paired with itself
        assert value == pytest.approx((aa[other_a].mean() + bb[other_b].mean() - 2 * ab.mean()).item())
    assert torch.equal(drawn, kid(a, b, draws=4, seed=3)[1]) and not torch.equal(drawn, kid(a, b, draws=4)[1])


@pytest.mark.parametrize("a, b", [((1, 8), (9, 8)), ((9, 8), (1, 8)), ((0, 8), (9, 8)), ((9, 8), (9, 7))])
def test_kid_needs_two_pictures_and_equal_features(a, b):
    with pytest.raises(ValueError, match=r"kid compares two sets .* found \(\d, 8\) and \(\d, \d\)"):
        kid(torch.zeros(a), torch.zeros(b))


def test_features_are_one_wide_and_of_each_picture_alone():
    rows = seen()
    assert rows.shape == (1024, 544) and rows.isfinite().all()
    assert rows.mean(0).abs().median() < 0.5 and 0.5 < rows.std(0).median() < 1.5
    for i in (0, 100, 1023):
        assert torch.allclose(features(feature_net(), moon().images[i:i + 1]), rows[i:i + 1], atol=1e-3)


def test_real_against_real_is_zero():
    sets = seen().split(128)
    for a, b in zip(sets[::2], sets[1::2]):
        _, low, high = interval(a, b)
        assert low < 0 < high
    generator = torch.Generator().manual_seed(0)                   # and 0 on average, whoever is put in which set
    splits = [torch.randperm(256, generator=generator).split(128) for _ in range(60)]
    values = torch.tensor([kid(seen()[i], seen()[j], draws=1)[0] for i, j in splits])
    assert values.mean().abs() < 3 * values.std() / 60 ** 0.5
    assert values.std() < 0.03


def test_kid_grows_with_noise():
    x, reference = moon().images[:256], seen()[512:768]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = [features(feature_net(), (x + s * noise).clamp(-1, 1)) for s in (0, 0.05, 0.1, 0.2)]
    grows([interval(rows, reference) for rows in noisy], "noise")


def test_kid_grows_with_blur():
    x, reference = moon().images[:256], seen()[512:768]
    blurred = [seen()[:256], *(features(feature_net(), gaussian_blur(x, 9, s)) for s in (0.5, 0.8, 1.2))]
    grows([interval(rows, reference) for rows in blurred], "blur")


def test_kid_grows_where_modes_are_missing():
    counts, kinds = (moon().radii > 0).sum(1)[:512], (8, 6, 4, 3)
    grows([interval(seen()[:512][counts <= most], seen()[512:768]) for most in kinds], "at most so many craters")


def test_kid_grows_where_few_pictures_are_repeated():
    rows = [seen()[:n].repeat(256 // n, 1) for n in (256, 64, 32, 16)]
    grows([interval(few, seen()[512:768]) for few in rows], "copies")


def test_kid_ranks_five_moments_of_one_training():
    """By few samples of few steps; the five in full order, by many, are held by test_weights.py."""
    values = [few(f"craters64-{k}")["value"] for k in range(1, 6)]
    assert values[0] > 2 * values[1] > 4 * values[2] > 2 * max(values[3:]), values


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
