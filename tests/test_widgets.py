"""Widgets: what happens on a change, on a mistake and at the ends, and what is saved."""
import base64
import io

import ipywidgets
import torch
from PIL import Image
from test_plot import GREY

from helpers import plot, widgets


def explorer():
    def draw(level):
        if level < 0:
            raise ValueError("level must not be negative")
        return plot.panels([[torch.full((1, 8, 8), level)]], "a square")
    return widgets.explore(draw, level=ipywidgets.FloatSlider(0.0, min=-1, max=1))


def test_a_slider_redraws_the_figure():
    figure = explorer()
    before = figure.image.value
    figure.controls["level"].value = 0.5
    assert figure.image.value != before
    figure.controls["level"].value = 0.0
    assert figure.image.value == before and base64.b64encode(figure.first.png).decode() in before


def test_the_figure_of_a_widget_has_its_words_and_its_size():
    picture = plot.panels([[GREY]], 'a "grey" square')
    html = widgets.as_html(picture)
    assert 'alt="a &quot;grey&quot; square"' in html
    width, height = Image.open(io.BytesIO(picture.png)).size
    assert f'width="{width}" height="{height}"' in html


def test_a_mistake_is_a_sentence_and_the_last_figure_stays():
    figure = explorer()
    before = figure.image.value
    figure.controls["level"].value = -0.5
    assert figure.message.value == "level must not be negative" and figure.image.value == before
    figure.controls["level"].value = 0.5
    assert figure.message.value == "" and figure.image.value != before


def test_what_is_saved_is_text_a_still_picture_and_the_widget():
    figure = explorer()
    figure.controls["level"].value = 0.5
    data, _ = figure._repr_mimebundle_()
    assert data["text/plain"] == "a square" and base64.b64decode(data["image/png"]) == figure.first.png
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.box.model_id


def test_the_stepper_goes_back_and_forward_and_stops_at_the_ends():
    seen = []
    figure = widgets.stepper(lambda step: seen.append(step) or plot.panels([[GREY * step / 3]], "step"), 3)
    back, forward = figure.box.children[0].children[:2]
    for button in (back, forward, forward, forward, back):
        button.click()
    assert seen == [2, 1, 2, 3, 2]
    for _ in range(5):
        back.click()
    assert figure.controls["step"].value == 0
