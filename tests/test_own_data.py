"""Images of one's own in notebooks 03 to 08: what is called held out was not trained on, and copies are found."""
import ast
import warnings

import nbformat
import pytest
import torch
from PIL import Image

from helpers import env, metrics, plot, samplers, scenes
from helpers.checkpoints import save_weights
from helpers.data import DataError, DataWarning, load_images
from helpers.splits import trained_and_held_out, unseen
from tools.models.report import best_view
from helpers.train import diffusion_loss
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
UP_TO_THE_DATA = {"04": ["data = None", "env.find_weights", "own_data ="],
                  "05": ["data = None", "env.find_weights", "practice, exam ="],
                  "06": ["data = None", "env.find_weights"],
                  "08": ["data = None", "env.find_weights", "exam, others ="]}
TRAINING = ["data = None", "scenes.craters(8000", "schedule = Schedule(", "def network():", "kept = ", "def draw(",
            "ground64", "def watch(", "at five moments of training"]


class NoAsserts(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()


def play(page, words, names=None, **settings):
    """The names after those code cells of a notebook that hold one of the words; settings replace its own."""
    (path,) = (env.ROOT / "notebooks").glob(f"{page}_*.ipynb")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = dict(names or {})
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if "setup" not in tags and "exercise" not in tags and any(word in cell.source for word in words):
            tree = ast.fix_missing_locations(NoAsserts().visit(ast.parse(cell.source)))
            exec(compile(tree, f"notebook {page}", "exec"), names)
        if "parameters" in tags:
            names.update(settings)
    return names


def trained(folder, monkeypatch, tmp_path, **settings):
    """The names of notebook 03 after half a second of training on the images in folder."""
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path / "checkpoints")
    untouched = lambda eps_model, schedule, x, **options: x    # nothing here looks at samples
    with monkeypatch.context() as patch:
        patch.setattr(samplers, "sample", untouched)
        first = dict(noise_loss=diffusion_loss, x0=torch.zeros(2, 1, 16, 16, device=env.device()))
        return play("03", TRAINING, first, data=str(folder), minutes=0.01, **settings)


def photographs(folder, n, side):
    folder.mkdir()
    raw = ((scenes.craters(n, side, seed=9).images[:, 0] + 1) * 127.5).byte().numpy()
    for i, image in enumerate(raw):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def count_of(images, among):
    known = {x.cpu().numpy().tobytes() for x in among}
    return sum(x.cpu().numpy().tobytes() in known for x in images)


@pytest.mark.parametrize("n, crops", [(50, 1), (12, 5)])
def test_what_later_notebooks_evaluate_was_not_trained_on(n, crops, tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", n, 16 if crops == 1 else 64)
    seen = trained(folder, monkeypatch, tmp_path, size=16, crops=crops)["train"]
    assert len(seen) == (45 if n == 50 else 50)
    settings = dict(trained_on=str(folder), size=16)
    for data in (None, str(folder)):
        five, eight = (play(page, UP_TO_THE_DATA[page], data=data, **settings) for page in ("05", "08"))
        assert count_of([*five["practice"], *five["exam"], *five["x0"]], seen) == 0
        assert count_of(eight["exam"], seen) == 0 and len(eight["exam"]) == (5 if n == 50 else 10)
        assert len(eight["others"]) >= 32
    four = play("04", UP_TO_THE_DATA["04"], data=str(folder), size=16)
    assert count_of(four["pictures"], seen) == 0


def test_an_image_of_the_training_set_is_called_one(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 40, 64)
    names = trained(folder, monkeypatch, tmp_path, size=16, crops=2)
    settings = dict(trained_on=str(folder), size=16)
    new, old = folder / "39.png", folder / "3.png"
    for page in ("05", "08"):
        with pytest.warns(DataWarning, match="was trained on these images"):
            play(page, UP_TO_THE_DATA[page], data=str(old), **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataWarning)
            play(page, UP_TO_THE_DATA[page], data=str(new), **settings)
    assert unseen(load_images(folder, 16), folder, names["about"]) == list(range(36, 40))


def test_where_nothing_was_held_out_it_is_said(tmp_path, monkeypatch, capsys):
    folder = photographs(tmp_path / "mine", 40, 16)
    about = dict(size=16, channels=1, schedule="cosine", T=64, target="v", seed=0)   # as tools.models.train writes it
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path / "checkpoints")
    save_weights(env.weights_path(str(folder), 16, 1), UNet(1, 1, (8,), patch=4), **about)
    for page in ("05", "08"):
        with pytest.warns(DataWarning, match="^0 held-out images of .* looks better than it is"):
            play(page, UP_TO_THE_DATA[page], data=None, trained_on=str(folder), size=16)
    one = photographs(tmp_path / "one", 1, 64)
    names = trained(one, monkeypatch, tmp_path, size=16, crops=8)
    assert "what is called held out below is trained on" in capsys.readouterr().out
    assert names["about"]["held_out"] == [] and len(names["train"]) == 8


def test_a_changed_folder_is_not_taken_for_that_of_the_training(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 20, 16)
    about = trained(folder, monkeypatch, tmp_path, size=16, crops=1)["about"]
    assert about["held_out"] == ["16.png", "17.png", "18.png", "19.png"] and about["images"] == 20
    (folder / "0.png").rename(folder / "20.png")
    with pytest.raises(DataError, match="has changed since .* it holds 20 images, then it held 20"):
        trained_and_held_out(folder, about)
    (folder / "20.png").unlink()
    with pytest.raises(DataError, match="has changed since .* it holds 19 images, then it held 20"):
        trained_and_held_out(folder, about)


def test_a_second_file_of_a_training_image_is_not_evaluated_on(tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", 20, 16)
    (folder / "19.png").write_bytes((folder / "2.png").read_bytes())
    about = trained(folder, monkeypatch, tmp_path, size=16, crops=1)["about"]
    seen, held_out = trained_and_held_out(folder, about)
    assert len(seen) == 16 and len(held_out) == 3 and count_of(held_out, seen) == 0


# ---- copies


@pytest.mark.parametrize("n, crops", [(60, 1), (30, 8)])
def test_samples_that_are_training_crops_are_copies_and_fresh_ones_are_not(n, crops, tmp_path, monkeypatch):
    folder = photographs(tmp_path / "mine", n, 16 if crops == 1 else 64)
    seen = trained(folder, monkeypatch, tmp_path, size=16, crops=crops)["train"]
    fresh = scenes.craters(200, 64, seed=77).images
    fresh = torch.nn.functional.interpolate(fresh, (16, 16), mode="bilinear", antialias=True)
    for made, share in ((seen[::len(seen) // 40], 1), (fresh, 0)):
        monkeypatch.setattr(samplers, "sample", lambda eps_model, schedule, x, made=made, **options: made)
        names = play("06", ["data = None", "def draw", "= env.find_weights", "def nearest", "def closeness",
                            "def left_out", "def memorisation"],
                     dict(moon=torch.zeros(98, 1, 16, 16), best_view=best_view, some=seen[:2], metrics=metrics),
                     data=str(folder), size=16)
        assert count_of(names["held_out"], names["trained"]) == count_of(names["held_out"], seen) == 0
        found = names["memorisation"](names["near"], names["by_chance"])[0]
        assert abs(found - share) < 0.05, f"{found:.0%} copies"


# ---- a training that is resumed


def resumed(tmp_path, monkeypatch, fractions):
    """The labels under which notebook 03 shows samples, where fit calls watch at these fractions only."""
    def fit(model, train, loss, watch=None, **options):
        for done in fractions:
            watch(done, model, [1.0, 0.5])
        return model, [1.0, 0.5]
    folder = photographs(tmp_path / "mine", 10, 16)
    names = trained(folder, monkeypatch, tmp_path, size=16, crops=1)
    drawn, shown = [], []
    names |= dict(fit=fit, draw=lambda average, n: drawn.append(n) or torch.zeros(n, 1, 16, 16))
    monkeypatch.setattr(plot, "panels", lambda rows, alt, labels, side: shown.append(labels))
    play("03", ["def watch(", "at five moments of training"], names)
    return shown[0], len(drawn)


@pytest.mark.parametrize("fractions, wanted", [
    ([0.01, 0.02, 0.05, 0.1, 0.3, 0.3, 0.6, 1.001], ["2%", "10%", "30%", "60%", "100%"]),
    ([0.67, 0.68, 0.69, 1.0], ["67%", "100%"]),
    ([0.67, 0.68, 0.69, 0.69], ["67%"]),
    ([1.2], ["100%"]), ([], ["100%"])], ids=["whole", "resumed", "cut short", "past its end", "finished"])
def test_samples_are_labelled_with_what_was_done_when_they_were_drawn(fractions, wanted, tmp_path, monkeypatch):
    assert resumed(tmp_path, monkeypatch, fractions) == (wanted, len(wanted))


def test_rendered_images_are_never_those_of_the_training(tmp_path, monkeypatch):
    """Whoever trains notebook 03 with a seed that a later notebook renders with gets other images there."""
    monkeypatch.setattr(env, "CHECKPOINTS", tmp_path)
    for page, seed, trained_with in (("04", 7, 8), ("05", 2, 1002), ("08", 8, 1008)):
        about = dict(size=16, channels=1, schedule="cosine", T=64, target="v", seed=trained_with)
        save_weights(env.weights_path(None, 16, 1), UNet(1, 1, (8,), patch=4), **about)
        names = play(page, UP_TO_THE_DATA[page], size=16, seed=seed)
        shown = names["pictures"] if "pictures" in names else names["ordinary"]
        assert len(shown) >= 64 and count_of(shown, scenes.craters(len(shown), 16, trained_with).images) == 0
