"""Notebook 02: its sliders answer quickly."""
import torch
from cells import pick, run

from helpers import plot, scenes
from helpers.schedule import Schedule, linear_beta


def test_the_sliders_of_02_answer_within_150_ms(answers_within_150_ms):
    x0 = scenes.craters(1, 64, 1).images
    names = dict(x0=x0, eps=torch.randn_like(x0), size=64, kind="rendered", plot=plot, Schedule=Schedule,
                 linear_beta=linear_beta)
    cells = pick("02", "histogram", "slider-axes", "slider-figure", "slider")
    cells["slider"] = cells["slider"].replace("widgets.explore(", "explorer = widgets.explore(")
    names = run(cells, names)
    answers_within_150_ms(names["explorer"], when=(0.5, 1, 0, 0.9), T=(100, 1024), first=(0.1, 1e-5), last=(0.3, 1e-3))
