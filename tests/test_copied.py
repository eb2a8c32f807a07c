"""Notebook 06: scores against other formulas and planted truth; copies are found, nobody else is accused."""
import ast
import functools
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from pages import loads
from skimage.metrics import structural_similarity
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import scale

from helpers import env, plot, samplers, scenes
from helpers.metrics import closeness, kid, memorisation, precision_recall
from helpers.metrics import interval
from tools.models.report import best_view, examine, verdicts, write
from helpers.checkpoints import load_sampler
from helpers.samplers import dpmpp_2m_step, sample

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = Path(__file__).resolve().parent.parent / "notebooks" / "06_good_or_copied.ipynb"


@functools.cache
def lessons():
    return scenes.craters(98, 32, 0).images


@functools.cache
def fresh(n=512, seed=777):
    return scenes.craters(n, 32, seed).images


@functools.cache
def chance():
    return best_view(fresh(), lessons())[0]


@functools.cache
def drawn(name="few98", n=48):
    """Pictures that a shipped network makes."""
    x0_model, schedule, _ = load_sampler(env.WEIGHTS / f"{name}.safetensors")
    noise = torch.randn(n, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    return sample(x0_model, schedule, noise, steps=12, step=dpmpp_2m_step)


def look(x):
    """Stands for the FeatureNet where only the report is asked: the picture in large pixels."""
    return torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), x.shape[-1] // 4).flatten(1)


# ---- numbers


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


def test_a_copy_is_found_in_each_of_its_eight_turns():
    for flipped in (lessons()[:6], lessons()[:6].flip(3)):
        for k in range(4):
            near, index, views = best_view(flipped.rot90(k, (2, 3)), lessons())
            assert near.max() < 1e-3 and index.tolist() == list(range(6)) and torch.equal(views, lessons()[:6])
    assert closeness(lessons()[:6].rot90(1, (2, 3)), lessons())[0].min() > 0.5       # no turns, no find


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


def test_fresh_pictures_score_0_copies_1_and_a_mixture_its_share():
    copies = (lessons().flip(2) + 0.1 * torch.randn(98, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    strangers = fresh(98, 778)
    for share in (0, 0.25, 0.5, 1):
        n = round(98 * share)
        near = best_view(torch.cat([copies[:n], strangers[n:]]), lessons())[0]
        value, low, high = interval(*memorisation(near, chance())[:2])
        assert value == pytest.approx(n / 98, abs=0.015) and low <= n / 98 <= high + 0.001


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


def test_intervals_hold_their_dots_and_show_all_names():
    one = plot.intervals({"a": (0.5, 0.2, 0.7)}, "one")
    two = plot.intervals([{"a": (0.5, 0.2, 0.7)}, {"b": (1, 1, 1), "c": (0, -1, 2)}], "two", ylabel=["x", "y"])
    assert one.alt == "one" and len(two.png) > 1000 and one.png != two.png
    value, low, high = interval(0.5, torch.linspace(0, 1, 1001))
    assert (value, low, high) == pytest.approx((0.5, 0.025, 0.975))


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


# ---- the report card


def card(samples, held=None, name="model", folder=None):
    found = examine(samples, lessons(), chance() if held is None else held, fresh(), look)
    return found, verdicts(found), folder and write(folder, name, samples, lessons(), found)


def test_the_card_of_a_network_that_saw_98_says_copies_where_the_neighbours_say_so():
    found, said, _ = card(drawn())
    by_eye = np.array([structural_similarity(view[0].numpy(), lessons()[i, 0].numpy(), data_range=2)
                       for view, i in zip(found.views, found.index)])         # another measure
    caught = found.near < found.limit
    assert said[0].startswith("It copies:") and caught.float().mean() > 0.1
    assert by_eye[caught].mean() > by_eye[~caught].mean() + 0.15


def test_the_card_of_fresh_pictures_does_not():
    for seed in (780, 781):
        found, said, _ = card(fresh(96, seed))
        assert not said[0].startswith("It copies") and found.copied[0] < 0.03 and "cannot tell" in said[1]
    _, said, _ = card(torch.zeros(96, 1, 32, 32) + 0.5 * torch.randn(96, 1, 32, 32))
    assert said[0].startswith("No copies found among 96") and "Up to 3%" in said[0]
    assert "The feature network can tell" in said[1]


def test_the_copies_of_a_perfect_copier_pass_the_judge():
    found, said, _ = card(lessons().flip(3))
    assert found.copied[0] > 0.97 and said[0].startswith("It copies: 100%") and found.precision > 0.6


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.images += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data):
        self.text += data


def test_the_card_is_one_page_and_one_pdf_each_whole_in_itself(tmp_path):
    name = "moon & <b>$me$</b>/../x"
    found, said, (page, pdf) = card(drawn(), name=name, folder=tmp_path / "new" / "folder")
    assert {page, pdf} == set((tmp_path / "new" / "folder").iterdir())         # nothing beside them
    html, tags = page.read_text(encoding="utf8"), Tags()
    tags.feed(html)
    assert loads(html) == [] and "<b>" not in html and name in tags.text
    assert len(tags.images) == 2 and all(len(image["alt"]) > 20 for image in tags.images)
    assert all(image["src"].startswith("data:image/png;base64,") for image in tags.images)
    assert all(sentence in tags.text for sentence in said)
    assert pdf.read_bytes().startswith(b"%PDF-") and pdf.read_bytes().rstrip().endswith(b"%%EOF")
    before = pdf.read_bytes()
    again = write(tmp_path / "new" / "folder", name, drawn(), lessons(), found)
    assert again[1].read_bytes() == before                     # no date in it


# ---- the page


def cells(*words):
    """The sources of the page's cells, without the set-up, that hold one of the words."""
    found = [cell for cell in nbformat.read(PAGE, as_version=4).cells if cell.cell_type == "code"]
    texts = [cell.source for cell in found if "setup" not in cell.metadata.get("tags", [])]
    return [text for text in texts if any(word in text for word in words)]


NEEDED = ("data = None", "def draw", "moon = ", "feature_net, _", "= env.find_weights", "def nearest",
          "import best_view",
          "def closeness", "def left_out", "def memorisation", "known = {", "def forge", "explore(forge",
          "sheets = list", "def inspect")


class NoAsserts(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()


@pytest.fixture(scope="module")
def played():
    """The page up to its widgets, by networks that copy every second lesson and render the rest."""
    def pretend(x0_model, schedule, x, **options):
        made = fresh(max(96, len(x)), 782)[:len(x)].clone()
        made[::2] = lessons()[:len(made[::2])]
        return made
    namespace = {"Path": Path, "interval": interval}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "sample", pretend)
        for text in cells(*NEEDED):
            if text.startswith("moon"):
                text = text.replace("max(counts)", "200")
            tree = NoAsserts().visit(ast.parse(text))
            exec(compile(ast.fix_missing_locations(tree), "cell", "exec"), namespace)
    return namespace


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
