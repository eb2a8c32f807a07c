"""Eight functions that are wrong on purpose.  Notebook 09 shows them as they are; a test holds the two together."""
import math

import torch
import torch.nn.functional as F


def broken_prepare(grey):
    return grey / 16


@torch.no_grad()
def broken_follow(average, model, decay=0.99):
    for a, w in zip(average.parameters(), model.parameters()):
        a = decay * a + (1 - decay) * w
    return average


def broken_end(xt, x0, t, s, alpha_bar, z):
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    return mean + (1 - alpha).sqrt() * z


def broken_loss(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    batch = {"image": x0, "noisy": schedule.q_sample(x0, t)}
    return F.mse_loss(model(batch["image"], t), batch["image"])


def broken_step(xt, x0, t, s, alpha_bar, z):
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    return mean + (1 - a_s) / (1 - a_t) * (1 - alpha) * z


def broken_embedding(t, dim):
    freq = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))
    angle = torch.arange(len(t))[:, None] * freq
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def broken_times(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (1,)).expand(len(x0))
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


def broken_split(images, held):
    order = torch.randperm(len(images))
    return images[order[held:]], images[:held]
