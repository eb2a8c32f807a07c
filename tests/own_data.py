"""Images of one's own for tests: a folder of them, and the names of notebooks that ran on it."""
import torch
from cells import pick, run, without_asserts
from PIL import Image

from helpers import env, samplers, scenes
from helpers.train import diffusion_loss

UP_TO_THE_DATA = {"04": ["settings", "weights", "images"], "05": ["settings", "weights", "images"],
                  "08": ["settings", "weights", "images"]}
TRAINING = ["settings", "images", "schedule", "network", "goal", "draw", "start", "train", "moments"]


def play(number, ids, names=None, **settings):
    """The names after these cells of a notebook, whose assertions hold for the course's own images."""
    return run(pick(number, *ids), names, change=without_asserts, **settings)


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
