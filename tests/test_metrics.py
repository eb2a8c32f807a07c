"""Measures against those of scikit-learn and scikit-image; the measure of samples against what it must notice."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import f1_score, jaccard_score
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import scale
from test_features import feature_net, moon, seen
from test_weights import few
from torchvision.transforms.functional import gaussian_blur

from helpers.features import features
from helpers.metrics import closeness, dice, iou, kid, memorisation, nearest, precision_recall, psnr

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


# ---- the kernel inception distance


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


# ---- copies


def test_closeness_is_that_of_scikit_learns_neighbours():
    torch.manual_seed(0)
    x, references = torch.randn(20, 1, 8, 8), torch.randn(80, 1, 8, 8)
    for k, others in ((50, 50), (3, 3), (500, 79)):
        a, b = (scale(y.flatten(1).double().numpy(), axis=1) for y in (x, references))
        distance, index = NearestNeighbors(n_neighbors=others + 1, algorithm="brute").fit(b).kneighbors(a)
        ours, where = closeness(x, references, k)
        assert (where.numpy() == index[:, 0]).all()
        assert ours.numpy() == pytest.approx(distance[:, 0] / distance[:, 1:].mean(1), rel=1e-4)
    near, where = closeness(references[5:9], references)
    assert near.max() < 1e-3 and where.tolist() == [5, 6, 7, 8]
    pale = closeness(0.3 * x - 0.2, references)[0]
    assert torch.allclose(pale, closeness(x, references)[0], atol=1e-3)
    with pytest.raises(ValueError, match=r"two or more images .* found 1\."):
        closeness(x, references[:1])


def by_hand(made, held):
    """The share of copies, by NumPy and in words other than the helper's."""
    limit = min(h for h in held if h >= 0.5)
    p, f = np.mean(np.less(made, limit)), np.mean(np.less(held, limit))
    return (p - f) / (1 - f), limit


def test_memorisation_is_the_share_of_copies_and_its_bootstrap_that_of_what_is_drawn():
    rng = np.random.default_rng(0)
    made, held = rng.uniform(0, 1, 30), rng.uniform(0.4, 1, 40)
    value, resampled, limit = memorisation(torch.from_numpy(made), torch.from_numpy(held), draws=5, seed=3)
    assert (value, limit) == pytest.approx(by_hand(made, held))
    generator = torch.Generator().manual_seed(3)
    i, j = torch.randint(30, (5, 30), generator=generator), torch.randint(40, (5, 40), generator=generator)
    assert resampled.tolist() == pytest.approx([by_hand(made[a], held[b])[0] for a, b in zip(i, j)])


@pytest.mark.parametrize("made, held", [([], [0.8]), ([0.5], []), ([0.5], [0.1, 0.2])])
def test_memorisation_needs_pictures_and_held_out_ones_that_are_no_copies(made, held):
    with pytest.raises(ValueError, match=r"held-out ones that are no copies; found \d and 0 of \d|found 0 and 1 of 1"):
        memorisation(torch.tensor(made), torch.tensor(held))


def test_twins_in_the_data_are_no_fault_of_the_model():
    held, made = torch.full((100,), 0.8), torch.full((100,), 0.9)
    held[:10], made[:10] = 0, 0                                # every tenth picture exists twice
    assert memorisation(made, held)[0] == 0 and memorisation(made, held)[2] == pytest.approx(0.8)
    made[:55] = 0
    assert memorisation(made, held)[0] == pytest.approx(0.5)


def test_precision_and_recall_are_those_of_loops():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(40, 3)), rng.normal(1.2, 0.9, size=(30, 3))

    def among(points, reference):
        count = 0
        for p in points:
            for r in reference:
                radius = sorted(np.linalg.norm(reference - r, axis=1))[3]
                if np.linalg.norm(p - r) <= radius:
                    count += 1
                    break
        return count / len(points)
    ours = precision_recall(torch.from_numpy(real), torch.from_numpy(made))
    assert ours == pytest.approx((among(made, real), among(real, made))) and 0 < min(ours) < max(ours) < 1
    far = torch.from_numpy(made + 100)
    assert precision_recall(torch.from_numpy(real), far) == (0, 0)
    with pytest.raises(ValueError, match=r"k=3 need more points than that; found 40, 3\."):
        precision_recall(torch.from_numpy(real), far[:3])
