"""The report on a network's samples: copies are found in all eight turns, and the card says what was found."""
import functools
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from pages import loads
from skimage.metrics import structural_similarity

from helpers import env, scenes
from helpers.checkpoints import load_sampler
from helpers.metrics import closeness
from helpers.samplers import dpmpp_2m_step, sample
from tools.models.report import best_view, examine, verdicts, write

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_copy_is_found_in_each_of_its_eight_turns():
    for flipped in (lessons()[:6], lessons()[:6].flip(3)):
        for k in range(4):
            near, index, views = best_view(flipped.rot90(k, (2, 3)), lessons())
            assert near.max() < 1e-3 and index.tolist() == list(range(6)) and torch.equal(views, lessons()[:6])
    assert closeness(lessons()[:6].rot90(1, (2, 3)), lessons())[0].min() > 0.5       # no turns, no find


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
