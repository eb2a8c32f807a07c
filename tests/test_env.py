"""Where weights lie and whose are taken; what the tools make of a notebook."""
from html import escape

import nbformat
import pytest
import torch
from nbconvert import HTMLExporter
from pages import loads

from helpers import env
from helpers.checkpoints import load_weights
from helpers.unet import UNet
from tools.authoring import html


def test_own_weights_come_before_the_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path)
    assert env.find_weights(None, 64, 1) == (env.WEIGHTS / "craters64.safetensors", "shipped")
    own = env.weights_path(None, 64, 1)
    own.write_bytes(b"")
    assert env.find_weights(None, 64, 1) == (own, "your own")
    for settings in [("folder", 64, 1), (None, 32, 1), (None, 64, 3)]:
        assert env.find_weights(*settings)[1] == "shipped"


def test_names_tell_folders_apart():
    assert len({env.weights_path(data, 64, 1) for data in (None, "a/images", "b/images", "b/images/")}) == 3


def test_the_shipped_weights_say_what_they_are():
    model, about = load_weights(env.WEIGHTS / "craters64.safetensors", UNet)
    assert {"data", "size", "channels", "schedule", "T", "target", "steps", "seed"} <= set(about)
    assert model(torch.zeros(1, about["channels"], about["size"], about["size"])).abs().sum() > 0


@pytest.mark.parametrize("path", sorted((env.ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_page_shows_every_figure_where_nothing_is_live(path):
    """As we make pages, with each figure's words and no progress bar, and as nbconvert does by itself."""
    notebook = nbformat.read(path, as_version=4)
    figures = [output.data for cell in notebook.cells for output in cell.get("outputs", [])
               if "image/png" in output.get("data", {})]
    text = html.page(notebook, "/* sets equations */")
    assert len(figures) > 3 and all(f'alt="{escape(data["text/plain"])}"' in text for data in figures)
    assert "No description" not in text and "%|" not in text
    plain, _ = HTMLExporter().from_notebook_node(notebook)
    for shown in (text, plain):
        assert shown.count('src="data:image/png;base64,') == len(figures)
        packed = "".join(shown.split())
        assert all("".join(data["image/png"].split()) in packed for data in figures)


def test_a_page_loads_nothing():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(
        "# A title\n\n[![Open in Colab](https://a.b/badge.svg)](https://a.b/c)\n\n$x$ and [a link](https://a.b/d)")])
    text = html.page(notebook, 'document.write("</script>")')
    assert loads(text) == [] and '<a href="https://a.b/c">Open in Colab</a>' in text
    assert 'document.write("<\\/script>")' in text and "$x$" in text
    assert loads('<img src="//a.b/c"><a href="http://a.b"></a><script type=module>x = await import("https://a.b")</script>'
                 '<link rel="stylesheet" href="https://a.b/c.css"><style>@import url(https://a.b/d.css)</style>') == [
                     "img //a.b/c", "script https://a.b", "link https://a.b/c.css", "style https://a.b/d.css"]
