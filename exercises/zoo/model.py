"""The small model of notebook 09 in good health: digits, a network, its training and its sampler."""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from exercises.nb04_reverse_sampling import ddpm_step
from helpers.schedule import Schedule, cosine_beta
from helpers.train import learning_rate
from helpers.unet import time_embedding

SCHEDULE = Schedule(cosine_beta(200))


def digits():
    """Hand-written digits as they are read: (1797, 1, 8, 8), whole numbers from 0, black, to 16 (Alpaydin 1998)."""
    from sklearn.datasets import load_digits
    return torch.tensor(load_digits().images, dtype=torch.float32)[:, None]


def prepare(grey):
    """Whole numbers from 0 to 16 -> [-1, 1]."""
    return grey / 8 - 1


class Net(nn.Module):
    """x_t (B, 1, 8, 8), t (B,) -> the estimate of x_0, the same shape: two residual blocks that are told the time."""

    def __init__(self, embedding=time_embedding, width=192):
        super().__init__()
        self.embedding = embedding
        self.first = nn.Linear(64, width)
        self.last = nn.Linear(width, 64)
        self.keep = nn.Linear(32, 1)                           # how much of x_t is left as it is
        self.time = nn.ModuleList(nn.Linear(32, width) for _ in range(2))
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                                  nn.Linear(width, width)) for _ in range(2))

    def forward(self, x, t):
        h = self.first(x.flatten(1))
        emb = self.embedding(t, 32)
        for time, block in zip(self.time, self.blocks):
            h = h + block(h + time(emb))
        return self.keep(emb)[:, :, None, None] * x + self.last(F.silu(h)).view_as(x)


def sound_loss(model, schedule, x0):
    """Mean squared error of the estimated image, at a time of its own for each: a scalar."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


@torch.no_grad()
def follow(average, model, decay=0.99):
    """Move the weights of average a little towards those of model; give average."""
    for a, w in zip(average.parameters(), model.parameters()):
        a.lerp_(w, 1 - decay)
    return average


def train(images, loss=sound_loss, embedding=time_embedding, follow=follow, steps=1200, seed=0):
    """A small network trained from scratch: (network, its running average, the loss of each step)."""
    torch.manual_seed(seed)
    model = Net(embedding)
    losses = []
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step / steps, step, 2e-3, warmup=20)
        value = loss(model, SCHEDULE, images[torch.randint(len(images), (64,))])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        follow(average, model)
        losses.append(value.item())
    return model.eval(), average.eval(), losses


@torch.no_grad()
def draw(model, step=ddpm_step.solution, n=32, steps=200, seed=1):
    """Samples of a model, (n, 1, 8, 8), made in the given number of equal steps."""
    torch.manual_seed(seed)
    x = torch.randn(n, 1, 8, 8)
    times = SCHEDULE.timesteps(steps, even=True)
    alpha_bar = SCHEDULE.alpha_bar.float()
    for t, s in zip(times, times[1:]):
        x0 = model(x, torch.full((n,), t)).clamp(-1, 1)
        x = step(x, x0, t, s, alpha_bar, torch.randn_like(x))
    return x
