"""Figures to play with.  Where nothing is live (GitHub, a printed page) the first figure stands in their place."""
import base64
from functools import partial
from html import escape

import ipywidgets


def as_html(image):
    """The <img> of a plot.Png, with its words as alternative text: ipywidgets.Image has no place for them."""
    width, height = (int.from_bytes(image.png[k:k + 4], "big") for k in (16, 20))      # of a PNG: nothing jumps
    return (f'<img src="data:image/png;base64,{base64.b64encode(image.png).decode()}" alt="{escape(image.alt)}" '
            f'width="{width}" height="{height}" decoding="sync" style="max-width: 100%; height: auto">')


class Explorer:
    """draw(**values) -> plot.Png, drawn again whenever one of the controls changes.

    controls: ipywidgets by the name of draw's argument.  A ValueError from draw is shown as a sentence, and the last
    figure stays.
    """

    def __init__(self, draw, buttons=(), **controls):
        self.draw = draw
        self.controls = controls
        self.first = draw(**self.values())
        self.image = ipywidgets.HTML(as_html(self.first))
        self.message = ipywidgets.Label()
        self.box = ipywidgets.VBox([ipywidgets.HBox([*buttons, *controls.values()], layout={"flex_flow": "row wrap"}),
                                    self.image, self.message])
        for control in controls.values():
            control.observe(self.redraw, names="value")

    def values(self):
        """{name of a control: its value}."""
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self, change=None):
        """Show the figure for the values of the controls, or the sentence of the ValueError that draw raised."""
        try:
            self.image.value = as_html(self.draw(**self.values()))
            self.message.value = ""
        except ValueError as error:
            self.message.value = str(error)

    def _repr_mimebundle_(self, **_):
        data, metadata = self.first._repr_mimebundle_()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return data | {"application/vnd.jupyter.widget-view+json": view}, metadata


def explore(draw, **controls):
    """A figure with sliders, menus or an upload button: see Explorer."""
    return Explorer(draw, **controls)


def stepper(draw, last, **controls):
    """A figure with a slider step = 0 ... last and buttons for one step back or forward: draw(step=...) -> Png."""
    slider = ipywidgets.IntSlider(last * 2 // 3, 0, last, description="step")    # where most is to be seen
    buttons = [ipywidgets.Button(description=text, layout={"width": "auto"}) for text in ("◀ back", "forward ▶")]

    def step_by(by, _):
        slider.value = min(last, max(0, slider.value + by))

    for button, by in zip(buttons, (-1, 1)):
        button.on_click(partial(step_by, by))
    return Explorer(draw, buttons, step=slider, **controls)
