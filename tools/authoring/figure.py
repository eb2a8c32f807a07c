"""Draw data/craters_from_noise.png, the README's image: the shipped weights turn noise (left) into craters."""
from pathlib import Path

import torch

from helpers import env, plot
from helpers.checkpoints import load_sampler
from helpers.samplers import dpmpp_2m_step, sample_path

ROOT = Path(__file__).resolve().parents[2]

torch.manual_seed(5)
x0_model, schedule, about = load_sampler(env.WEIGHTS / "craters64.safetensors")
x = torch.randn(3, about["channels"], about["size"], about["size"])
steps = sample_path(x0_model, schedule, x, steps=40, step=dpmpp_2m_step)
path = [(schedule.T, x, x), *steps]
shown = [path[i] for i in (0, 9, 15, 20, 26, 33, 40)]
figure = plot.panels([[x[i] for _, x, _ in shown] for i in range(3)], "Noise turning into craters", side=1.35)
(ROOT / "data" / "craters_from_noise.png").write_bytes(figure.png)
