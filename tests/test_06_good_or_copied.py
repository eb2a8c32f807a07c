"""Notebook 06: copies are found, nobody else is accused; its widgets answer quickly."""
import pytest
import torch
from cells import pick, run, without_asserts
from own_data import count_of, photographs, play, trained
from test_report import chance, drawn, fresh, lessons, look

from helpers import metrics, samplers, scenes
from helpers.metrics import closeness, interval, kid, memorisation
from tools.models.report import best_view

pytestmark = pytest.mark.usefixtures("one_thread")


def test_fresh_pictures_score_0_copies_1_and_a_mixture_its_share():
    copies = (lessons().flip(2) + 0.1 * torch.randn(98, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    strangers = fresh(98, 778)
    for share in (0, 0.25, 0.5, 1):
        n = round(98 * share)
        near = best_view(torch.cat([copies[:n], strangers[n:]]), lessons())[0]
        value, low, high = interval(*memorisation(near, chance())[:2])
        assert value == pytest.approx(n / 98, abs=0.015) and low <= n / 98 <= high + 0.001


# ---- who is accused


def test_at_most_one_fresh_picture_in_a_hundred_is_accused():
    near = best_view(fresh(1000, 779), lessons())[0]
    limit = memorisation(near, chance())[2]
    assert (near < limit).float().mean() <= 0.01


def test_a_planted_copy_is_found_and_nobody_else():
    thieves = drawn()[best_view(drawn(), lessons())[0].argsort()[:5]]
    limit = memorisation(chance(), chance())[2]
    pool, wrong = fresh(1000, 779), 0
    for seed in range(10):
        lots = torch.Generator().manual_seed(seed)
        sheets = pool[torch.randperm(1000, generator=lots)[:72]].clone()
        places = torch.randperm(72, generator=lots)[:5]
        sheets[places] = thieves.rot90(seed % 4, (2, 3)) if seed % 2 else thieves.rot90(seed % 4, (2, 3)).flip(3)
        accused = set((best_view(sheets, lessons())[0] < limit).nonzero()[:, 0].tolist())
        assert set(places.tolist()) <= accused
        wrong += len(accused) - 5
    assert wrong <= 0.01 * 10 * 72


def test_without_turns_or_without_the_gap_the_search_would_fail():
    """What the page warns of: a mirrored copy gets past plain pixels, and plain distance accuses empty pictures."""
    mirrored = lessons()[:20].flip(3)
    assert (closeness(mirrored, lessons())[0] < memorisation(chance(), chance())[2]).float().mean() < 0.2
    empty = 0.05 * fresh(200, 784) + 0.02 * torch.randn(200, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = [torch.cdist(x.flatten(1), lessons().flatten(1)).amin(1) for x in (empty, fresh())]
    assert (plain[0] < plain[1].quantile(0.2)).all()           # nearer than ordinary pictures, and no copies at all
    assert (best_view(empty, lessons())[0] < memorisation(chance(), chance())[2]).float().mean() <= 0.01


# ---- the page


NEEDED = ("settings", "draw", "moon", "features", "trained-on", "solution-nearest", "best-turn", "solution-closeness",
          "left-out", "solution-memorisation", "planted", "forge", "forge-slider", "sheets", "sheet-slider")


@pytest.fixture(scope="module")
def played():
    """The page up to its widgets, by networks that copy every second lesson and render the rest."""
    def pretend(x0_model, schedule, x, **options):
        made = fresh(max(96, len(x)), 782)[:len(x)].clone()
        made[::2] = lessons()[:len(made[::2])]
        return made
    cells = pick("06", *NEEDED)
    cells["moon"] = cells["moon"].replace("max(counts)", "200")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "sample", pretend)
        return run(cells, {"interval": interval}, change=without_asserts)


@pytest.mark.parametrize("widget, control, values", [
    ("figure", "strength", [0, 5, 1, 9, 2, 10, 4]), ("figure", "which", [3, 60, 97, 0, 20]),
    ("figure", "disguise", ["noise", "blur", "enlarge", "darker", "mirror", "quarter turns"]),
    ("case", "sheet", ["sheet A", "sheet B", "sheet C", "first decide", "sheet C"])])
def test_the_widgets_answer_within_150_ms(widget, control, values, played, answers_within_150_ms):
    answers_within_150_ms(played[widget], **{control: values})


def test_every_disguise_leaves_a_picture(played):
    for name, disguise in played["disguises"].items():
        for strength in range(11):
            x = disguise(lessons()[:2], strength)
            assert x.shape == (2, 1, 32, 32) and x.isfinite().all(), name
    assert all(torch.equal(played["disguises"][name](lessons()[:2], 0), lessons()[:2])
               for name in ("noise", "darker", "blur", "quarter turns", "shift", "enlarge"))


def test_kid_cannot_see_a_copier():
    copier, painter = (kid(look(x), look(fresh()), draws=2)[0] for x in (lessons(), fresh(98, 783)))
    assert abs(copier - painter) < 0.05


@pytest.mark.parametrize("n, crops", [(60, 1), (30, 8)])
def test_samples_that_are_training_crops_are_copies_and_fresh_ones_are_not(n, crops, tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", n, 16 if crops == 1 else 64)
    seen = trained(folder, monkeypatch, tmp_path, size=16, crops=crops)["train"]
    fresh = scenes.craters(200, 64, seed=77).images
    fresh = torch.nn.functional.interpolate(fresh, (16, 16), mode="bilinear", antialias=True)
    for made, share in ((seen[::len(seen) // 40], 1), (fresh, 0)):
        monkeypatch.setattr(samplers, "sample", lambda eps_model, schedule, x, made=made, **options: made)
        names = play("06", ["settings", "draw", "trained-on", "solution-nearest", "solution-closeness", "left-out",
                            "solution-memorisation"],
                     dict(moon=torch.zeros(98, 1, 16, 16), best_view=best_view, some=seen[:2], metrics=metrics),
                     data=str(folder), size=16)
        assert count_of(names["held_out"], names["trained"]) == count_of(names["held_out"], seen) == 0
        found = names["memorisation"](names["near"], names["by_chance"])[0]
        assert abs(found - share) < 0.05, f"{found:.0%} copies"
