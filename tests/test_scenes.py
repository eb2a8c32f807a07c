"""The rendered pictures are what they say: ground truth, light, power law, groups, seeds, error sentences, speed."""
import time

import numpy as np
import pytest
import torch

from helpers import scenes

MAKERS = [scenes.craters, scenes.cells, scenes.heads]


@pytest.fixture(scope="module")
def moon():
    return scenes.craters(600, seed=5)


@pytest.fixture(scope="module")
def tissue():
    return scenes.cells(64, seed=5)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("whole", [np.int64, torch.tensor])
def test_whole_numbers_of_numpy_and_torch(make, whole):
    assert torch.equal(make(whole(2), whole(32), whole(3))[0], make(2, 32, 3)[0])
    with pytest.raises(ValueError, match="must be whole numbers, but they are 2, 32.0, 3"):
        make(2, 32.0, 3)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [32, 64, 96])
def test_pictures_are_float32_between_minus_one_and_one(make, size):
    images = make(3, size=size).images
    assert images.shape == (3, 1, size, size) and images.dtype == torch.float32 and images.is_contiguous()
    assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1
    assert 0.1 < images.std() < 0.8 and images.std((1, 2, 3)).min() > 0.05


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_same_pictures_and_the_first_k_of_n(make):
    one, same, other, longer = make(5, seed=1), make(5, seed=1), make(5, seed=2), make(40, seed=1)
    for a, b, c in zip(one, same, longer):
        assert torch.equal(a, b) and torch.equal(a, c[:5])
    shown = torch.corrcoef(torch.stack([one.images.diff().flatten(), other.images.diff().flatten()]))[0, 1]
    assert not torch.equal(one.images, other.images)
    assert make is scenes.heads or shown.abs() < 0.1             # heads share their outline


def test_neighbouring_chunks_and_seeds_are_independent():
    a, b = scenes.craters(64, seed=0).images, scenes.craters(64, seed=1).images
    grain = torch.cat([a, b]).diff().flatten(1)
    close = torch.corrcoef(grain).fill_diagonal_(0).abs().max()
    assert close < 0.35


@pytest.mark.parametrize("make", MAKERS)
def test_global_random_state_is_untouched(make):
    torch.manual_seed(3), np.random.seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    make(2)
    assert torch.equal(before, torch.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()


# --- craters

def test_crater_lists_have_the_documented_shapes_and_units(moon):
    assert moon.centres.shape == (600, 8, 2) and moon.radii.shape == (600, 8) and moon.light.shape == (600,)
    count = (moon.radii > 0).sum(1)
    assert count.min() == 2 and count.max() == 8
    found = moon.radii[moon.radii > 0]
    assert 3.4 < found.min() < 3.7 and 15 < found.max() <= 20.01
    assert (moon.centres >= 0).all() and (moon.centres <= 64).all()
    assert (moon.centres[moon.radii == 0] == 0).all()
    double = scenes.craters(8, size=128, seed=5).radii
    assert torch.allclose(double, 2 * moon.radii[:8])            # the same craters, drawn twice as fine


def test_light_comes_from_the_upper_left(moon):
    assert 110 <= moon.light.min() < 112 and 158 < moon.light.max() <= 160 and abs(moon.light.mean() - 135) < 2


def test_radii_follow_the_power_law(moon):
    r = moon.radii[moon.radii > 0]
    expected = lambda x: (x ** -1.2 - 20 ** -1.2) / (3.5 ** -1.2 - 20 ** -1.2)
    for x in (5, 8, 12):
        assert abs((r > x).float().mean() - expected(x)) < 0.04


def crater_sides(moon, reach):
    """Per crater: the wall's mean brightness toward the light and away from it, and the pull of its brightness."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    near, far, angle = [], [], []
    for image, centres, radii, light in zip(*moon):
        for (cx, cy), r in zip(centres, radii):
            if r < 5 or min(cx, cy) < r or max(cx, cy) > 63 - r:
                continue
            a, dx, dy = torch.deg2rad(light), x - cx, cy - y
            rho, side = torch.hypot(dx, dy) / r, dx * a.cos() + dy * a.sin()
            wall = (rho > reach[0]) & (rho < reach[1])
            near.append(image[0][wall & (side > 0.5 * rho * r)].mean())
            far.append(image[0][wall & (side < -0.5 * rho * r)].mean())
            ring = wall & (rho < 1)
            angle.append(torch.stack([(image[0] * dx)[ring].sum(), (image[0] * dy)[ring].sum()]))
    return torch.stack(near), torch.stack(far), torch.stack(angle)


def test_craters_are_hollows_dark_toward_the_light(moon):
    near, far, _ = crater_sides(moon, (0.6, 0.97))
    assert len(near) > 150
    assert ((far - near) > 0).float().mean() > 0.95 and (far - near).mean() > 0.35


def test_shading_points_along_the_light_that_is_reported(moon):
    """Within each picture the bright wall lies opposite the reported light: the pull of the shading says the angle."""
    low, high = moon.light < 120, moon.light > 150
    for chosen in (low, high):
        part = scenes.Craters(*(a[chosen] for a in moon))
        pull = crater_sides(part, (0.5, 0.97))[2].sum(0)
        angle = torch.rad2deg(torch.atan2(-pull[1], -pull[0])) % 360
        assert abs(angle - part.light.mean()) < 8


def test_rims_lie_where_the_ground_truth_says(moon):
    """Brightness changes faster along the given circle than along one 40 % smaller or larger."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    edge = torch.zeros(600, 64, 64)
    edge[:, 1:-1, 1:-1] = torch.hypot(moon.images[:, 0, 2:, 1:-1] - moon.images[:, 0, :-2, 1:-1],
                                      moon.images[:, 0, 1:-1, 2:] - moon.images[:, 0, 1:-1, :-2])
    fits = {k: [] for k in (0.6, 1.0, 1.4)}
    for e, centres, radii in zip(edge, moon.centres, moon.radii):
        (cx, cy), r = centres[0], radii[0]
        if 6 < r < 14:
            rho = torch.hypot(x - cx, y - cy)
            for k, found in fits.items():
                found.append(e[(rho - k * r).abs() < 1].mean())
    mean = {k: torch.stack(v).nanmean() for k, v in fits.items()}
    assert mean[1.0] > 1.3 * mean[0.6] and mean[1.0] > 1.3 * mean[1.4]


def test_craters_are_quick():
    start = time.process_time()                                # not the clock's: the machine may be busy
    scenes.craters(2000)
    assert time.process_time() - start < 40


# --- cells

def test_masks_are_zero_or_one_and_mark_a_fair_share(tissue):
    assert tissue.masks.shape == (64, 1, 64, 64) and tissue.masks.dtype == torch.float32
    assert set(tissue.masks.unique().tolist()) == {0.0, 1.0}
    assert 0.07 < tissue.masks.mean() < 0.25


def test_mitochondria_are_darker_and_striped_but_no_threshold_finds_them(tissue):
    image, mask = torch.nn.functional.avg_pool2d(tissue.images, 3, 1, 1), tissue.masks.bool()
    assert image[mask].mean() < image[~mask].mean() - 0.2
    core = torch.nn.functional.avg_pool2d(tissue.masks, 7, 1, 3) == 1
    rest = torch.nn.functional.max_pool2d(tissue.masks, 7, 1, 3) == 0
    detail = (tissue.images - image).abs()                       # what blurring takes away: grain, and the cristae
    assert detail[core].median() > 1.3 * detail[rest].median()
    for threshold in torch.linspace(-0.8, 0.4, 25):
        dark = image < threshold
        assert (dark & mask).sum() / (dark | mask).sum() < 0.6


def test_slices_say_which_pictures_overlap(tissue):
    assert tissue.slices.tolist() == [i // 16 for i in range(64)]
    tone = tissue.images.mean((1, 2, 3)).view(4, 16)
    assert tone.mean(1).std() > tone.std(1).mean() / 16 ** 0.5   # a slice has a stain of its own
    # rows of one picture are found again, pixel for pixel, in others of its slice and in none of another slice
    rows = tissue.images[:, 0].unfold(2, 8, 1).reshape(64, -1, 8)
    def shared(i, j):
        return len(set(map(tuple, rows[i].tolist())) & set(map(tuple, rows[j].tolist())))
    assert sum(shared(0, j) > 0 for j in range(1, 16)) >= 1 and sum(shared(0, j) for j in range(16, 64, 6)) == 0


# --- heads

def test_a_subject_has_six_slices_and_one_group():
    h = scenes.heads(30, seed=2)
    assert h.subjects.tolist() == [i // 6 for i in range(30)] and h.groups.tolist() == [i // 6 % 2 for i in range(30)]


def test_groups_differ_in_the_dark_area_in_the_middle():
    h = scenes.heads(240, seed=2)
    dark = (h.images[:, 0, 20:44, 22:42] < -0.3).float().mean((1, 2)).view(40, 6)[:, :3].mean(1)
    narrow, wide = dark[0::2], dark[1::2]
    assert wide.mean() > 1.5 * narrow.mean()
    assert (wide.mean() - narrow.mean()) > 2 * (narrow.std() + wide.std()) / 2
    lit = h.images[:, 0] > -0.3
    assert abs(lit[0::12].float().mean() - lit[6::12].float().mean()) < 0.06    # the heads themselves do not differ


# --- what is refused

@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("wrong, says", [
    ({"n": 0}, "n is the number of images.*it is 0"), ({"n": 4, "size": 8}, "size is .*it is 8.*16"),
    ({"n": 4, "size": 65}, "size is .*it is 65.*multiple of 4"), ({"n": 4, "seed": -1}, "seed .*it is -1"),
])
def test_errors_are_sentences(make, wrong, says):
    with pytest.raises(ValueError, match=says):
        make(**wrong)
