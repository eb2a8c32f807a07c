"""The bug zoo: each broken model shows its own symptoms and no others, and each fix is told from its bug."""
import functools

import pytest
import torch
import torch.nn.functional as F

from exercises import zoo
from exercises.check import EXERCISES
from exercises.zoo import broken

pytestmark = pytest.mark.usefixtures("one_thread")
FIXES = {name: exercise for name, exercise in EXERCISES.items() if exercise.notebook == "09"}
exhibit = functools.cache(zoo.exhibit)
SYMPTOMS = {0: [], 1: ["range of the images"],
            2: ["average and raw weights", "samples: contrast", "samples: fine texture", "samples: variety"],
            3: ["samples: range"],
            4: ["loss at each t", "loss in training", "samples: fine texture", "samples: variety"],
            5: ["samples: variety"], 6: ["loss at each t", "depends on t", "independent of the batch"],
            7: ["steady across batches"], 8: ["held-out images"]}

# ------------------------------------------------------------------------------------------------- the broken models


@pytest.mark.parametrize("number", SYMPTOMS)
def test_each_bug_lights_its_own_rows(number):
    found = exhibit(number).found
    assert found.wrong == SYMPTOMS[number], found
    assert [row.name for row in found.rows if row.ok is None] == ["held-out images"] * (number != 8)


def test_what_the_page_says_of_the_exhibits():
    healthy, proud, nervous, leaky = (exhibit(n) for n in (0, 4, 7, 8))
    assert sum(proud.losses[-100:]) < sum(healthy.losses[-100:]) / 20
    assert torch.tensor(nervous.losses[-150:]).std() > 2.5 * torch.tensor(healthy.losses[-150:]).std()
    lessons = {tuple(x.flatten().tolist()) for x in leaky.images}
    assert sum(tuple(x.flatten().tolist()) in lessons for x in leaky.held_out) > 14
    assert torch.equal(exhibit(2).network.last.weight, healthy.network.last.weight), "raw, it is the healthy network"
    assert not torch.equal(exhibit(2).average.last.weight, healthy.average.last.weight)
    assert torch.equal(exhibit(3).network.last.weight, healthy.network.last.weight)


def test_the_same_noise_at_several_places():
    x = torch.randn(1, 1, 8, 8).expand(4, 1, 8, 8)
    t, networks = torch.full((4,), 150), (exhibit(0).network, exhibit(6).network)
    with torch.no_grad():
        apart = [(net(x, t) - net(x, t)[:1]).abs().max().item() for net in networks]
    assert apart[0] < 1e-5 and apart[1] > 0.05


def test_only_nine_exhibits():
    with pytest.raises(ValueError, match="1 to 8.*found 9"):
        zoo.exhibit(9)


# ------------------------------------------------------------------------------------------------------- the fixes

BUGS = {"prepare": broken.broken_prepare, "follow": broken.broken_follow, "end": broken.broken_end,
        "loss": broken.broken_loss, "step": broken.broken_step, "embedding": broken.broken_embedding,
        "times": broken.broken_times, "split": broken.broken_split}


def test_there_are_eight():
    assert list(FIXES) == list(BUGS)


@pytest.mark.parametrize("name", BUGS)
def test_the_bug_pasted_back_is_still_the_bug(name):
    result = FIXES[name](BUGS[name])
    assert result.mistake == "the bug" and result.hint.startswith("This is still the bug. ")
    others = [hint for mistake, (_, hint) in FIXES[name].mistakes.items() if mistake != "the bug"]
    assert len(others) >= 5 and not any("still the bug" in hint for hint in others)


@pytest.mark.parametrize("name", FIXES)
def test_anything_else_is_no_pass_and_no_error(name):
    for odd in (lambda *args: 1 / 0, lambda *args: "done", lambda *args: torch.zeros(3), lambda *args: args[0], 7):
        assert FIXES[name](odd).ok is False


def two_draws(model, schedule, x0):
    """x_t is right, but it is drawn for other times than those that the network is told."""
    n = len(x0)
    xt = schedule.q_sample(x0, torch.randint(1, schedule.T + 1, (n,)))
    return F.mse_loss(model(xt, torch.randint(1, schedule.T + 1, (n,))), x0)


def noise_of_each_image(model, schedule, x0):
    """One number of noise for all pixels of an image."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    return F.mse_loss(model(schedule.q_sample(x0, t, torch.randn(len(x0), 1, 1, 1).expand_as(x0)), t), x0)


@pytest.mark.parametrize(("wrong", "mistake"), [
    (two_draws, "not the noise of t"), (noise_of_each_image, "one noise"),
    (lambda model, schedule, x0: FIXES["loss"].solution(model, schedule, x0[:128]), "never called"),
    (lambda *case: FIXES["loss"].solution(*case).detach().requires_grad_(), "detached"),
    (lambda *case: 2 * FIXES["loss"].solution(*case), "another number")])
def test_more_wrong_losses_are_told(wrong, mistake):
    for name in ("loss", "times"):
        assert FIXES[name](wrong).mistake == mistake


@pytest.mark.parametrize(("wrong", "mistake"), [
    (lambda images, held: (images[12:], images[:12]), "wrong size"),
    (lambda images, held: tuple(torch.randperm(len(images)).split([len(images) - held, held])), "not images"),
    (lambda images, held: (images[held:], images[-held:]), "the bug"),
    (lambda images, held: (images[held:] * 1.001, images[:held]), "changed")])
def test_more_wrong_splits_are_told(wrong, mistake):
    assert FIXES["split"](wrong).mistake == mistake
