"""Measures against those of scikit-learn and scikit-image."""
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import f1_score, jaccard_score
from sklearn.neighbors import NearestNeighbors

from helpers.metrics import dice, iou, nearest, psnr


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
