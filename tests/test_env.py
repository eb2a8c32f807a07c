"""Where weights lie and whose are taken; what the tools make of a notebook."""
import os
import subprocess
import sys
import zlib
from html import escape
from pathlib import Path

import nbformat
import pytest
import torch
from nbconvert import HTMLExporter
from pages import loads

from helpers import env
from helpers.checkpoints import load_weights, save_weights
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


def test_all_spellings_of_a_path_find_the_same_weights(tmp_path, monkeypatch):
    photos = tmp_path / "home" / "photos"
    (tmp_path / "elsewhere").mkdir()
    photos.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))          # Windows
    spellings = ["~/photos", "~/photos/", Path("~/photos"), str(photos), photos, f"{photos}/", ["~/photos"], (photos,)]
    monkeypatch.chdir(photos)
    spellings += [".", "../photos", Path(".")]
    found = {env.weights_path(data, 64, 1) for data in spellings}
    monkeypatch.chdir(tmp_path / "elsewhere")
    found |= {env.weights_path(data, 64, 1) for data in ("~/photos", "../home/photos", str(photos))}
    assert len(found) == 1 and found.pop().name.startswith("photos-")
    if os.name == "posix":
        (tmp_path / "link").symlink_to(photos)
        assert env.weights_path(tmp_path / "link", 64, 1) == env.weights_path(photos, 64, 1)
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path)
    env.weights_path("~/photos", 64, 1).touch()
    assert env.find_weights(str(photos), 64, 1) == (env.weights_path("../home/photos", 64, 1), "your own")
    assert env.data_name("~/photos/") == env.data_name(".././home/photos") == "photos"


def test_weights_made_before_keep_their_name():
    path = Path("/a/photos.zip").resolve()                             # on Windows it has a drive
    stamp = f"{zlib.crc32(str(path).encode()):08x}"
    assert env.weights_path("/a/photos.zip", 64, 3).name == f"photos-{stamp}-64x64x3.safetensors"
    assert env.weights_path(None, 64, 1).name == "craters-64x64x1.safetensors"


def test_lists_and_uploads_have_names_too():
    content = b"PK a zip"
    eight = ({"name": "my photos.zip", "type": "application/zip", "size": 8, "content": memoryview(content)},)
    seven = {"my photos.zip": {"metadata": {"name": "my photos.zip"}, "content": content}}
    again = ({"name": "my photos (1).zip", "content": content},)
    uploads = [content, bytearray(content), memoryview(content), eight[0], eight, list(eight), seven, again]
    same = {env.weights_path(upload, 64, 1) for upload in uploads}
    assert len(same) == 1 and same.pop().name.startswith("upload-")
    others = [b"PK another", ("/a", "/b"), ["/b", "/a"], ["/a", "/c"], ["/a"], [*eight, "/a"], "/a/b"]
    names = {env.weights_path(data, 64, 1).name for data in [content, *others]}
    assert len(names) == 8 and all(len(name) < 80 for name in names)
    assert env.find_weights(("/a", "/b"), 64, 1)[1] == "shipped"
    shown = [env.data_name(data) for data in (None, "/x/a.zip", ["/x/a.zip", "/b", "/c"], eight, seven, content)]
    assert shown == ["craters", "a.zip", "a.zip and 2 more", "my photos.zip", "my photos.zip", "upload"]


def test_a_long_name_still_is_a_file_name(tmp_path, monkeypatch):
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path)
    for name in ("x" * 200, "é" * 120, "\N{CAMERA}" * 60):
        save_weights(env.weights_path(tmp_path / name, 64, 1), UNet(1, 1, [8]))        # by way of a longer one
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("data, words", [
    ((), "data is empty: name a path, or upload a file first"), ({}, "data is empty"),
    (3, "data is of type int: give a path"),
    (torch.zeros(3), "data is of type Tensor: give a path, an upload, or a list")], ids=repr)
def test_what_is_no_data_gets_a_sentence(data, words):
    for use in (env.data_name, lambda data: env.find_weights(data, 64, 1)):
        with pytest.raises(ValueError, match=words) as error:
            use(data)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting, place", [
    ("~/weights", "{home}/weights"), ("", None), (None, None), ("/a/b", "/a/b")])
def test_the_folder_of_ones_own_weights(setting, place, tmp_path):
    environment = os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(env.ROOT)}
    environment.pop("COURSE_CHECKPOINTS", None)
    environment |= {} if setting is None else {"COURSE_CHECKPOINTS": setting}
    end = subprocess.run([sys.executable, "-c", "from helpers import env; print(env.CHECKPOINTS)"], cwd=tmp_path,
                         env=environment, capture_output=True, text=True)
    wanted = Path(place.format(home=tmp_path)) if place else env.ROOT / "data" / "checkpoints"
    assert Path(end.stdout.strip()) == wanted, end.stderr


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
