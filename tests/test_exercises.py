"""The exercises: each mistake gets its own hint, right answers pass in any style, and nothing stops the notebook."""
import ast
import functools
import inspect
import math
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exercises import check, comparison, sandbox
from exercises.check import EXERCISES
from exercises.common import known
from exercises.exercise import RAISES
from exercises.result import WORDS, Result
from helpers import metrics, samplers, unet
from helpers.schedule import Schedule, cosine_beta
from helpers.train import diffusion_loss

ROOT = Path(__file__).resolve().parent.parent
MISTAKES = [(name, mistake) for name, exercise in EXERCISES.items() for mistake in exercise.mistakes]
PLAIN = [name for name, exercise in EXERCISES.items() if not exercise.read and not exercise.examine]
each = pytest.mark.parametrize("name", EXERCISES)
each_plain = pytest.mark.parametrize("name", PLAIN)           # whose result itself is compared


def truth(name, change=lambda x: x):
    """The solution, with its result changed."""
    return lambda *arguments: change(EXERCISES[name].solution(*arguments))

# ------------------------------------------------------------------------------------- right answers in other styles


def iou_by_loop(found, wanted):
    scores = []
    for a, b in zip(found, wanted):
        both, either = 0, 0
        for p, q in zip(a.flatten().tolist(), b.flatten().tolist()):
            both, either = both + (p == q == 1), either + (p == 1 or q == 1)
        scores.append(both / either if either else 1.0)
    return torch.tensor(scores)


def iou_in_numpy(a, b):
    a, b = a.numpy().astype(bool).reshape(len(a), -1), b.numpy().astype(bool).reshape(len(b), -1)
    either = (a | b).sum(1)
    return torch.from_numpy(np.where(either == 0, 1.0, (a & b).sum(1) / np.maximum(either, 1)))


def join_by_hand(x, skip):
    out = skip.new_empty(len(x), x.shape[1] + skip.shape[1], *skip.shape[2:])
    out[:, x.shape[1]:] = skip
    for i in (0, 1):
        for j in (0, 1):
            out[:, :x.shape[1], i::2, j::2] = x
    return out


def held_out_in_numpy(groups, share):
    kinds = np.unique(groups.numpy())
    return torch.from_numpy(np.isin(groups.numpy(), kinds[-max(1, round(share * len(kinds))):]))


def held_out_by_set(g, part):
    kinds = sorted(set(g.tolist()))
    out = set(kinds[len(kinds) - max(round(len(kinds) * part), 1):])
    return torch.tensor([kind in out for kind in g.tolist()])


def alpha_bar_by_loop(b):
    left, out = 1.0, []
    for value in b.tolist():
        left *= 1 - value
        out.append(left)
    return torch.tensor(out)


def q_sample_by_loop(picture, when, noise, bars):
    out = picture.clone()
    for i, t in enumerate(when.tolist()):
        out[i] *= math.sqrt(bars[t])
        out[i] += math.sqrt(1 - bars[t]) * noise[i]
    return out


class Embedding:
    def __call__(self, time, width):
        out = torch.zeros(len(time), width)
        for i in range(width // 2):
            angle = time.double() * 10_000 ** (-i / (width // 2))
            out[:, i], out[:, width // 2 + i] = angle.cos(), angle.sin()
        return out


def loss_by_loop(model, x0, t, eps, bars):
    total = 0
    for i in range(len(x0)):
        xt = bars[t[i]].sqrt() * x0[i:i + 1] + (1 - bars[t[i]]).sqrt() * eps[i:i + 1]
        total = total + (model(xt, t[i:i + 1]) - eps[i:i + 1]).square().mean() / len(x0)
    return total


def ema_in_place(average, weights, decay):
    own = average.clone()
    own.mul_(decay).add_(weights, alpha=1 - decay)
    return own


def x0_by_loop(xt, t, eps, bars):
    return torch.stack([(x - (1 - bars[k]).sqrt() * e) / bars[k].sqrt() for x, k, e in zip(xt, t, eps)])


def bayes(xt, x0, t, s, bars, z):
    """DDPM's step by the product of two Gaussians, precisions added."""
    alpha = bars[t] / bars[s]
    if s == 0:
        return x0.clone()
    precision = alpha / (1 - alpha) + 1 / (1 - bars[s])
    mean = (alpha.sqrt() * xt / (1 - alpha) + bars[s].sqrt() * x0 / (1 - bars[s])) / precision
    return mean + z / precision.sqrt()


def ddpm_in_numpy(xt, x0, t, s, a, z):
    xt, x0, a, z = (np.asarray(v, dtype=np.float64) for v in (xt, x0, a, z))
    alpha = a[t] / a[s]
    mean = (np.sqrt(a[s]) * (1 - alpha) * x0 + np.sqrt(alpha) * (1 - a[s]) * xt) / (1 - a[t])
    return torch.from_numpy(mean + np.sqrt((1 - a[s]) / (1 - a[t]) * (1 - alpha)) * z)


def std_by_precision(t, s, bars):
    return 0.0 if s == 0 else (bars[t] / (bars[s] - bars[t]) + 1 / (1 - bars[s])).rsqrt().item()


def ddim_by_ratio(xt, x0, t, s, a):
    ratio = ((1 - a[s]) / (1 - a[t])).sqrt()
    return ratio * xt + (a[s].sqrt() - ratio * a[t].sqrt()) * x0


def blend_by_loop(answers, weights):
    total, weight = torch.zeros(answers.shape[1:]), torch.zeros(answers.shape[1:])
    for a, w in zip(answers, weights):
        total += a * w
        weight += w
    return total / weight


def nearest_by_loop(queries, references):
    flat = lambda x: x.flatten(1).tolist()
    return torch.tensor([min(math.dist(q, r) for r in flat(references)) for q in flat(queries)])


def kid_by_loop(a, b):
    k = lambda x, y: ((x.double() @ y.double()).item() / len(x) + 1) ** 3
    own = lambda s: sum(k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
    return own(a) + own(b) - 2 * sum(k(x, y) for x in a for y in b) / (len(a) * len(b))


def kid_in_numpy(a, b):
    a, b = a.numpy().astype(float), b.numpy().astype(float)
    k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    own = lambda x: (k(x, x).sum() - np.trace(k(x, x))) / len(x) / (len(x) - 1)
    return own(a) + own(b) - 2 * k(a, b).mean()


def kid_filled(a, b):
    a, b = a.double(), b.double()
    aa, bb = (((x @ x.T / x.shape[1] + 1) ** 3).fill_diagonal_(0) for x in (a, b))
    return (aa.sum() / (len(a) ** 2 - len(a)) + bb.sum() / (len(b) ** 2 - len(b))
            - 2 * ((a @ b.T / a.shape[1] + 1) ** 3).mean())


def recall_by_loop(real, made, k):
    reach = [sorted(math.dist(m.tolist(), n.tolist()) for n in made)[k] for m in made]
    return sum(any(math.dist(r.tolist(), m.tolist()) <= d for m, d in zip(made, reach)) for r in real) / len(real)


def recall_in_numpy(real, made, k):
    real, made = real.numpy().astype(float), made.numpy().astype(float)
    between = lambda x, y: np.sqrt(((x[:, None] - y) ** 2).sum(-1))
    return (between(real, made) <= np.sort(between(made, made))[:, k]).any(1).mean()


def slerp_by_loop(a, b, u):
    out = []
    for x, y in zip(a, b):
        w = math.acos(float(x.flatten() @ y.flatten() / x.norm() / y.norm()))
        out.append((math.sin((1 - u) * w) * x + math.sin(u * w) * y) / math.sin(w))
    return torch.stack(out)


def slerp_by_rotation(a, b, u):
    """Turn a towards the part of b at a right angle to it."""
    x, y = a.flatten(1), b.flatten(1)
    length, other = x.norm(dim=1, keepdim=True), y.norm(dim=1, keepdim=True)
    x, y = x / length, y / other
    cos = (x * y).sum(1, keepdim=True)
    side = (y - cos * x) / (1 - cos**2).sqrt()
    w = u * cos.acos()
    unit = w.cos() * x + w.sin() * side                        # a's direction, turned by w
    along = (unit * side).sum(1, keepdim=True) / (1 - cos**2).sqrt()
    out = length * (unit - along * y) + other * along * y      # weights of a and b, each with its own length
    return out.view_as(a)


def drop_by_loop(y, u, share):
    return torch.tensor([-1 if p < share else label for label, p in zip(y.tolist(), u.tolist())])


def drop_on_a_copy(y, u, share):
    y = y.clone()
    y[u < share] = -1
    return y


def paste_on_a_copy(xt, x0, mask, t, eps, a):
    out, there = xt.clone(), mask == 1
    out[there] = a[t].sqrt() * x0[there] + (1 - a[t]).sqrt() * eps[there]
    return out


def back_project_by_loop(x, low):
    x = x.clone()
    for i in range(low.shape[2]):
        for j in range(low.shape[3]):
            square = x[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2]
            square += (low[:, :, i, j] - square.mean((2, 3)))[:, :, None, None]
    return x


def back_project_in_numpy(x, low):
    x, low = x.numpy().astype(float), low.numpy()
    B, C, H, W = low.shape
    lack = low - x.reshape(B, C, H, 2, W, 2).mean((3, 5))
    return torch.from_numpy(x + lack.repeat(2, 2).repeat(2, 3))


def step_cost_by_loop(x0, guess, t, s, a):
    snr = [float(v) / (1 - float(v)) if v < 1 else math.inf for v in a]
    return torch.tensor([(snr[s] - snr[t]) * float(((x - y) ** 2).sum()) / 2 for x, y in zip(x0, guess)])


def follow_in_place(average, model, decay):
    with torch.no_grad():
        for name, w in model.named_parameters():
            average.get_parameter(name).mul_(decay).add_(w, alpha=1 - decay)
    return average


def follow_by_state(average, model, decay):
    new = model.state_dict()
    average.load_state_dict({k: decay * v + (1 - decay) * new[k] for k, v in average.state_dict().items()})
    return average


def follow_by_data(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.data = decay * a.data + (1 - decay) * w.data
    return average


def larger_variance(xt, x0, t, s, a, z):
    alpha = a[t] / a[s]
    mean = (a[s].sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a[s]) * xt) / (1 - a[t])
    return mean + (1 - alpha).sqrt() * z if s > 0 else mean


def loss_by_formula(model, schedule, x0):
    eps, t = torch.randn_like(x0), 1 + torch.randint(schedule.T, (x0.shape[0],))
    a = schedule.alpha_bar.float()[t].reshape(-1, 1, 1, 1)
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - x0).pow(2).mean()


def loss_image_by_image(model, schedule, x0):
    total = 0
    for x in x0:
        t = torch.randint(1, schedule.T + 1, (1,))
        total = total + (model(schedule.q_sample(x[None], t), t) - x[None]).square().mean()
    return total / len(x0)


def split_by_mask(images, held):
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.randperm(len(images))[:held]] = True
    return images[~chosen], images[chosen]


col = lambda a: a[:, None, None, None]
RIGHT = {
    "iou": [iou_by_loop, iou_in_numpy,
            lambda p, q: torch.stack([(a * b).sum() / a.maximum(b).sum() if a.any() or b.any() else torch.tensor(1.0)
                                      for a, b in zip(p, q)])],
    "dice": [lambda a, b: 2 * (a * b).sum((1, 2)) / (a.sum((1, 2)) + b.sum((1, 2))),
             lambda a, b: torch.tensor([2 * np.sum(x * y) / np.sum(x + y) for x, y in zip(a.numpy(), b.numpy())]),
             lambda p, q: 2 * torch.einsum("bhw,bhw->b", p, q) / torch.einsum("bhw->b", p + q)],
    "skip_join": [join_by_hand, lambda a, b: torch.cat((a.repeat_interleave(2, 2).repeat_interleave(2, 3), b), 1),
                  lambda x, s: torch.cat((torch.kron(x, torch.ones(1, 1, 2, 2)), s), -3)],
    "held_out": [held_out_in_numpy, held_out_by_set,
                 lambda g, share: g >= g.unique()[-max(round(share * len(g.unique())), 1)]],
    "alpha_bar": [alpha_bar_by_loop, lambda b: torch.from_numpy(np.cumprod(1 - b.numpy().astype(np.float64))),
                  lambda beta: (1 - beta).log().cumsum(0).exp()],
    "noise_step": [lambda x, b, n: math.sqrt(1 - b) * x + math.sqrt(b) * n,
                   lambda x, b, n: torch.from_numpy(np.sqrt(1 - b.item()) * x.numpy() + np.sqrt(b.item()) * n.numpy()),
                   lambda x, beta, z: (1 - beta).sqrt() * x + beta.sqrt() * z,
                   lambda x, beta, z: x.clone().mul_((1 - beta) ** 0.5).add_(z, alpha=float(beta) ** 0.5)],
    "q_sample": [q_sample_by_loop, lambda x, t, e, a: col(a[t].sqrt()) * x + col((1 - a[t]).sqrt()) * e,
                 lambda x, t, e, a: torch.einsum("b,bchw->bchw", a[t].double() ** 0.5, x.double())
                 + torch.einsum("b,bchw->bchw", (1 - a[t].double()) ** 0.5, e.double())],
    "equal_parts": [lambda a: int(np.abs(a.numpy() - 0.5).argmin()),
                    lambda a: (a.sqrt() - (1 - a).sqrt()).abs().argmin(),
                    lambda a: min(range(len(a)), key=lambda t: abs(math.log(a[t] / (1 - a[t] + 1e-12))))],
    "beta_of": [lambda a: F.pad(1 - a[1:] / a[:-1], (1, 0)),
                lambda a: torch.tensor([0.0] + [1 - float(a[t] / a[t - 1]) for t in range(1, len(a))]),
                lambda a: 1 - torch.from_numpy(a.numpy() / np.concatenate([[1], a.numpy()[:-1]]))],
    "time_embedding": [Embedding(),
                       lambda t, d: torch.view_as_real(torch.polar(torch.ones(()), t[:, None] * 1e-4 ** (
                           torch.arange(d // 2) / (d // 2)))).transpose(1, 2).flatten(1),
                       lambda t, d: torch.tensor([[f(k * 10_000 ** (-2 * i / d)) for f in (math.cos, math.sin)
                                                   for i in range(d // 2)] for k in t.tolist()])],
    "noise_loss": [loss_by_loop,
                   lambda m, x, t, e, a: (e - m(col(a[t]).sqrt() * x + col(1 - a[t]).sqrt() * e, t)).pow(2).mean(),
                   lambda net, x, t, n, a: F.mse_loss(net(q_sample_by_loop(x, t, n, a), t).double(), n.double())],
    "ema_update": [ema_in_place, lambda a, w, d: d * a + (1 - d) * w, lambda a, w, d: w - d * (w - a)],
    "predict_x0": [x0_by_loop, lambda x, t, e, a: (x - col(1 - a[t]).sqrt() * e) * col(a[t]).rsqrt(),
                   lambda x, t, e, a: x / col(a[t]) ** 0.5 - e * (1 / col(a[t]) - 1) ** 0.5],
    "ddpm_step": [bayes, ddpm_in_numpy, lambda x, x0, t, s, a, z: (
        (a[s].sqrt() * (1 - a[t] / a[s]) * x0 + (a[t] / a[s]).sqrt() * (1 - a[s]) * x) / (1 - a[t])
        + std_by_precision(t, s, a) * z)],
    "last_step": [std_by_precision, lambda t, s, a: ((1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])).sqrt(),
                  lambda t, s, a: np.sqrt((1 - a[s].item()) * (1 - a[t].item() / a[s].item()) / (1 - a[t].item()))],
    "ddim_step": [ddim_by_ratio,
                  lambda x, y, t, s, a: a[s].sqrt() * y + ((1 - a[s]) / (1 - a[t])).sqrt() * (x - a[t].sqrt() * y),
                  lambda x, y, t, s, a: torch.from_numpy(
                      a.sqrt()[s].numpy() * y.numpy() + np.sqrt((1 - a[s].item()) / (1 - a[t].item()))
                      * (x.numpy() - a.sqrt()[t].numpy() * y.numpy()))],
    "timesteps": [lambda T, n: [T * (n - i) // n for i in range(n + 1)], lambda T, n: torch.arange(T, -1, -T // n),
                  lambda T, n: range(T, -1, -(T // n)), lambda T, n: tuple(reversed(range(0, T + 1, T // n)))],
    "partial_denoise": [lambda f, x, t, e, a: f(a[t].sqrt() * x + (1 - a[t]).sqrt() * e, t),
                        lambda net, x, t, e, a: net(x.clone().mul_(a[t] ** 0.5).add_(e * (1 - a[t]) ** 0.5), t),
                        lambda f, x, t, e, a: f(x.lerp(e, 1) * math.sqrt(1 - a[t]) + math.sqrt(a[t]) * x, int(t))],
    "psnr": [lambda p, q: torch.tensor([10 * math.log10(4 / float(((a - b) ** 2).mean())) for a, b in zip(p, q)]),
             lambda p, q: 20 * (2 / (p - q).square().flatten(1).mean(1).sqrt()).log10(),
             lambda p, q: torch.from_numpy(-10 * np.log10((((p - q).numpy() / 2) ** 2).mean((1, 2, 3))))],
    "time_of": [lambda s, a: int(np.abs(np.sqrt(1 / a.numpy() - 1) - s).argmin()),
                lambda s, a: (((1 - a) / a).sqrt() - s).abs().argmin(),
                lambda s, a: min(range(len(a)), key=lambda t: abs(math.sqrt((1 - float(a[t])) / float(a[t])) - s))],
    "spread": [lambda r: r.var(0).sqrt(), lambda r: torch.from_numpy(r.numpy().std(0, ddof=1)),
               lambda r: ((r - r.mean(0)) ** 2).sum(0).div(len(r) - 1).sqrt()],
    "blend": [blend_by_loop, lambda a, w: (a * (w / w.sum(0))).sum(0),
              lambda a, w: torch.from_numpy(np.average(a.numpy(), axis=0, weights=w.numpy()))],
    "nearest": [nearest_by_loop, lambda q, r: torch.stack([(r - x).flatten(1).norm(dim=1).min() for x in q]),
                lambda q, r: ((q.flatten(1)[:, None] - r.flatten(1)) ** 2).sum(-1).min(1).values.sqrt()],
    "closeness": [lambda d, k: torch.tensor([min(row) * k / sum(sorted(row)[1:k + 1]) for row in d.tolist()]),
                  lambda d, k: (near := d.topk(k + 1, largest=False).values)[:, 0] * k / near[:, 1:].sum(1),
                  lambda d, k: torch.from_numpy(d.numpy().min(1) / np.sort(d.numpy())[:, 1:k + 1].mean(1))],
    "kid": [kid_by_loop, kid_in_numpy, kid_filled],
    "copied": [lambda m, h: sum(x < min(h.tolist()) for x in m.tolist()) / len(m),
               lambda m, h: (m < h.min()).float().mean(),
               lambda m, h: np.mean(m.numpy()[:, None] < h.numpy(), axis=0).min()],
    "recall": [recall_by_loop, recall_in_numpy,
               lambda r, m, k: (torch.cdist(r, m) <= torch.cdist(m, m).kthvalue(k + 1).values).any(1).float().mean()],
    "invert_step": [lambda x, e, t, u, a: (a[u] / a[t]).sqrt() * (x - (1 - a[t]).sqrt() * e) + (1 - a[u]).sqrt() * e,
                    lambda x, e, t, u, a: (a[u] / a[t]).sqrt() * x + (
                        (1 - a[u]).sqrt() - (a[u] / a[t]).sqrt() * (1 - a[t]).sqrt()) * e,
                    lambda x, e, t, u, a: torch.from_numpy(math.sqrt(a[u]) * (
                        x.numpy() / math.sqrt(a[t]) + (1 / a - 1).sqrt().diff()[t:u].sum().numpy() * e.numpy()))],
    "slerp": [slerp_by_loop, slerp_by_rotation, lambda a, b, u: slerp_by_loop(b.double(), a.double(), 1 - u)],
    "guided": [lambda c, n, s: n + s * (c - n), lambda c, n, s: (1 - s) * n + s * c, lambda c, n, s: n.lerp(c, s)],
    "drop_labels": [drop_by_loop, drop_on_a_copy, lambda y, u, s: torch.where(u < s, torch.tensor(-1), y)],
    "paste_known": [paste_on_a_copy, lambda x, y, m, t, e, a: x + m * (a[t].sqrt() * y + (1 - a[t]).sqrt() * e - x),
                    lambda x, y, m, t, e, a: torch.from_numpy(np.where(
                        m.numpy() > 0, math.sqrt(a[t]) * y.numpy() + math.sqrt(1 - a[t]) * e.numpy(), x.numpy()))],
    "bits_per_dim": [lambda n, s: (n / math.prod(s) + math.log(127.5)) / math.log(2),
                     lambda n, s: torch.tensor([v / (s[0] * s[1] * s[2]) * math.log2(math.e) + math.log2(255) - 1
                                                for v in n.tolist()]),
                     lambda n, s: torch.from_numpy(n.numpy() / np.prod(s) / np.log(2) + np.log2(127.5))],
    "back_project": [back_project_by_loop, back_project_in_numpy,
                     lambda x, low: x + torch.kron(low - F.avg_pool2d(x, 2), torch.ones(2, 2))],
    "step_cost": [step_cost_by_loop,
                  lambda x, y, t, s, a: (1 / (1 - a[s]) - 1 / (1 - a[t])) / 2 * (x - y).pow(2).sum((1, 2, 3)),
                  lambda x, y, t, s, a: (x - y).flatten(1).norm(dim=1) ** 2 * (a / (1 - a))[[t, s]].diff() * 0.5],
    "prepare": [lambda grey: 2 * (grey / 16) - 1, lambda grey: (grey - 8) / 8, lambda grey: grey.sub(8).div(8)],
    "follow": [follow_in_place, follow_by_state, follow_by_data], "end": [bayes, ddpm_in_numpy, larger_variance],
    "step": [bayes, ddpm_in_numpy, larger_variance], "loss": [loss_by_formula, loss_image_by_image],
    "times": [loss_by_formula, loss_image_by_image],
    "embedding": [Embedding(), lambda t, dim: unet.time_embedding(t, dim)],
    "split": [lambda images, held: (images[held:], images[:held]), split_by_mask,
              lambda images, held: images.split([len(images) - held, held])],
}

# ------------------------------------------------------------------------------------------------ right, and mistakes


def test_there_are_enough():
    assert len(EXERCISES) >= 43 and len(MISTAKES) >= 700
    notebooks = [exercise.notebook for exercise in EXERCISES.values()]
    assert notebooks == sorted(notebooks) and all(3 <= notebooks.count(f"{n:02}") <= 5 for n in range(1, 9))
    assert min(len(exercise.mistakes) for exercise in EXERCISES.values()) >= 7


@each
def test_each_stands_in_the_file_of_its_notebook_and_is_defined_by_name(name):
    """So that an editor completes check.NAME, and "Go to definition" leads to the solution."""
    exercise, listed = EXERCISES[name], ast.parse(inspect.getsource(check))
    names = {alias.name for node in ast.walk(listed) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert name in names and getattr(check, name) is exercise
    assert (ROOT / "notebooks" / exercise.file).exists() and exercise.module == f"exercises.nb{exercise.file[:-6]}"
    assert getattr(sys.modules[exercise.module], name) is exercise


@each
def test_the_solution_passes(name):
    result = EXERCISES[name](EXERCISES[name].solution)
    assert result.ok is True, result


@each
def test_a_solution_stands_on_its_own(name):
    scope, exercise = {}, EXERCISES[name]
    exec("\n".join([*exercise.imports(), exercise.source(f"my_{name}")]), scope)
    assert exercise(scope[f"my_{name}"]).ok is True
    assert list(inspect.signature(scope[f"my_{name}"]).parameters) == exercise.arguments


@each
def test_a_prompt_is_whole(name):
    """A sentence, each argument with its shape or type, what is returned, and a worked example."""
    exercise = EXERCISES[name]
    assert exercise.prompt[0].isupper() and re.search(r"[.:](\n|$)", exercise.prompt)
    described = re.findall(r"(?ms)^- .+?(?=^- |^$)", exercise.prompt)
    words = {word for item in described for word in re.findall(r"`(\w+)`", item)}
    assert set(exercise.arguments) <= words and "\nReturn " in exercise.prompt
    assert exercise.example_in_words().startswith("For example, ") and exercise.example_in_words().endswith(".")


@each
def test_other_right_answers_pass(name):
    assert len(RIGHT[name]) >= 2
    for i, answer in enumerate(RIGHT[name]):
        result = EXERCISES[name](answer)
        assert result.ok is True, (i, result)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_gets_its_own_hint(name, mistake):
    wrong, hint = EXERCISES[name].mistakes[mistake]
    result = EXERCISES[name](wrong)
    assert (result.ok, result.mistake) == (False, mistake) and result.hint.startswith(hint)


def apart(x, y):
    """The largest difference of two answers, one of which may have raised an error."""
    if x is None or y is None:
        return 0.0 if x is y else math.inf
    return math.inf if x.shape != y.shape else (x - y).abs().nan_to_num(nan=math.inf, posinf=math.inf).max()


@pytest.mark.parametrize("name", [name for name, exercise in EXERCISES.items() if not exercise.examine])
def test_solution_and_mistakes_lie_well_apart(name):
    _, right, wrongs = EXERCISES[name].prepared()
    answers = [right, *wrongs.values()]
    assert all(torch.as_tensor(x).isfinite().all() for x in right)
    tensors = [[None if x is RAISES else torch.as_tensor(x).double() for x in answer] for answer in answers]
    names = ["the solution", *wrongs]
    for i, a in enumerate(tensors):
        for j, b in enumerate(tensors[:i]):
            gap = max(apart(x, y) for x, y in zip(a, b))
            assert gap > 3e-3, f"{names[i]} and {names[j]} give nearly the same numbers"


@each
def test_hints_are_plain_and_give_nothing_away(name):
    for hint in (hint for _, hint in EXERCISES[name].mistakes.values()):
        assert 30 < len(hint) < 260 and hint[0].isupper() and hint[-1] in ".?)", hint
        assert not re.search(r"[=*^√{}\[\]/+$\\]|\w\(|torch|numpy|sqrt|cumprod|lambda|\d\s*[-−]\s", hint), hint
        assert len(re.findall(r"[.?!:](?:\s|$)", hint)) <= 4, hint
        assert not re.search(r"\b(picture|guess|spread|grain|lesson|page|clamp)", hint), hint


def test_a_hint_is_given_only_where_it_holds_on_all_inputs():
    """An answer that makes a known mistake on one set of inputs alone gets a counter-example."""
    no_roots = check.q_sample.mistakes["no roots"][0]
    once = lambda x0, *rest: (no_roots if len(x0) == 4 else check.q_sample.solution)(x0, *rest)
    result = check.q_sample(once)
    assert result.ok is False and result.mistake is None and result.example


def test_a_mistake_that_raises_on_later_inputs_is_named_too():
    result = check.skip_join(lambda x, skip: F.interpolate(x, scale_factor=2).add(skip))
    assert result.mistake == "added"
    error = check.skip_join(lambda x, skip: x + skip)
    assert error.ok is False and error.mistake is None and "RuntimeError" in error.hint


FROM_HELPERS = {
    "iou": metrics.iou, "dice": metrics.dice, "psnr": metrics.psnr, "time_embedding": unet.time_embedding,
    "alpha_bar": lambda beta: Schedule(beta[1:]).alpha_bar, "beta_of": lambda alpha_bar: known(alpha_bar).beta,
    "equal_parts": lambda alpha_bar: known(alpha_bar).snr().log().abs().argmin(),
    "q_sample": lambda x0, t, eps, alpha_bar: known(alpha_bar).q_sample(x0, t, eps),
    "predict_x0": lambda xt, t, eps, alpha_bar: known(alpha_bar).predict_x0(xt, t, eps),
    "time_of": lambda s, alpha_bar: (known(alpha_bar).snr().rsqrt() - s).abs().argmin(),
    "timesteps": lambda T, steps: known(torch.linspace(1, 0.1, T + 1)).timesteps(steps, even=True),
    "kid": lambda a, b: metrics.kid(a, b, draws=1)[0],
    "recall": lambda real, made, k: metrics.precision_recall(real, made, k)[1],
    "nearest": lambda queries, references: metrics.nearest(queries, references)[0],
    "copied": lambda made, held_out: metrics.memorisation(made, held_out, draws=1)[0],
}


@pytest.mark.parametrize("name", FROM_HELPERS)
def test_a_solution_is_the_helpers_own(name):
    cases, solutions, _ = EXERCISES[name].prepared()
    for case, solution in zip(cases, solutions):
        theirs = torch.as_tensor(FROM_HELPERS[name](*case))
        assert torch.allclose(torch.as_tensor(solution).double(), theirs.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ddpm_step", "ddim_step"])
def test_a_step_is_the_helpers_own(name):
    ours, theirs = EXERCISES[name].solution, getattr(samplers, name)
    assert list(inspect.signature(theirs).parameters) == EXERCISES[name].arguments
    for case in EXERCISES[name].prepared()[0]:
        assert torch.allclose(ours(*case), theirs(*case), atol=1e-5)


def test_what_helpers_draw_for_themselves_agrees_with_the_solutions():
    schedule, x0 = Schedule(cosine_beta(20)), torch.rand(4, 1, 3, 4) * 2 - 1
    net = lambda x, t: 0.5 * x + 0.01 * t.reshape(-1, 1, 1, 1)
    torch.manual_seed(5)
    theirs = diffusion_loss(net, schedule, x0)
    torch.manual_seed(5)
    t, eps = torch.randint(1, 21, (4,)), torch.randn_like(x0)
    assert torch.allclose(check.noise_loss.solution(net, x0, t, eps, schedule.alpha_bar.float()), theirs, atol=1e-5)
    x, y = (torch.randn(n, 6) for n in (3, 9))
    x, y = (F.normalize(v - v.mean(1, keepdim=True)) for v in (x, y))         # as the helper does: mean 0, length 1
    assert torch.allclose(check.closeness.solution(torch.cdist(x, y), 4), metrics.closeness(x, y, 4)[0], atol=1e-5)

# ------------------------------------------------------------------------------------------------------- not done yet


@each
def test_an_untouched_stub_is_not_done_yet(name):
    space = {}
    exec(EXERCISES[name].stub, space)
    result = EXERCISES[name](space[f"my_{name}"])
    assert result.ok is None and "not done yet" in repr(result) and "not done yet" in result._repr_html_()


def test_nothing_handed_over_is_not_done_yet():
    def to_do(beta):
        raise NotImplementedError
    for nothing in (None, ..., to_do, lambda beta: ...):
        assert check.alpha_bar(nothing).ok is None
    assert check.alpha_bar().ok is None

# --------------------------------------------------------------------------------------- whatever else one may return


@each_plain
def test_an_unknown_mistake_gets_a_true_counter_example(name):
    def shift(x):
        if isinstance(x, list):
            return [7 + v for v in x]
        if torch.is_tensor(x) and x.dtype == torch.bool:
            return torch.stack([x[0] == x[0], *x[1:]]).logical_xor(torch.arange(len(x)) % 2 == 0)
        return x + (7 if torch.as_tensor(x).dtype == torch.int64 else 0.3217)

    result = EXERCISES[name](truth(name, shift))
    assert result.ok is False and result.mistake is None, result
    arguments, index, expected, found = result.example
    cases, *_ = EXERCISES[name].prepared()
    with sandbox.unchanged():
        wanted = torch.as_tensor(EXERCISES[name].solution(*arguments))
        got = torch.as_tensor(shift(EXERCISES[name].solution(*arguments)))
    assert wanted[index].item() == pytest.approx(expected) and got[index].item() == pytest.approx(found)
    assert not math.isclose(expected, found, rel_tol=1e-4)
    for value in (expected, found):
        assert comparison.number(value) in result.hint
    assert comparison.size(arguments) == min(map(comparison.size, cases))


def test_the_smallest_wrong_case_is_shown():
    large_only = lambda beta: check.alpha_bar.solution(beta) + (len(beta) > 5)
    both = lambda beta: check.alpha_bar.solution(beta) + 1
    assert len(check.alpha_bar(large_only).example[0][0]) == 6 and len(check.alpha_bar(both).example[0][0]) == 3
    lines = ["For", "    beta = [0, 0.1, 0.2]", "entry [0] of the result should be `1`; yours is `2`."]
    assert check.alpha_bar(both).hint == "\n".join(lines)


def test_a_counter_example_has_lines_code_type_the_values_it_speaks_of_and_a_link():
    html = check.alpha_bar(lambda beta: check.alpha_bar.solution(beta) + 1)._repr_html_()
    assert "<br><code" in html and "beta = [0, 0.1, 0.2]</code><br>" in html and "yours is <code>2</code>" in html
    section = "What-is-left-after-t-steps%3F-A-product%2C-not-a-sum"
    assert f'href="02_forward_noising.ipynb#{section}"' in html
    large = lambda x0, t, eps, alpha_bar: check.q_sample.solution(x0, t, eps, alpha_bar) + (len(x0) == 4)
    hint = check.q_sample(large).hint
    assert "x0 = a tensor of shape (4, 4, 4, 4), x0[0, 0, 0, 0] = " in hint
    assert max(len(line) for line in hint.splitlines()) < 120


def test_several_things_are_told():
    pair = check.q_sample(truth("q_sample", lambda x: (x, 2 * x)))
    assert pair.ok is False and "you return two things" in pair.hint and "The first is right" in pair.hint
    named = check.nearest(lambda a, b: torch.cdist(a.flatten(1), b.flatten(1)).min(1))
    assert "you return two things" in named.hint and "min" not in named.hint
    assert "three things" in check.last_step(lambda t, s, a: (0, check.last_step.solution(t, s, a), 1)).hint


def test_the_function_to_go_on_with():
    right, wrong, solution = RIGHT["alpha_bar"][0], lambda beta: 1 - beta, check.alpha_bar.solution
    assert check.alpha_bar(right).function_or(solution) is right
    for unfinished in (wrong, None, lambda beta: ...):
        assert check.alpha_bar(unfinished).function_or(solution) is solution

@each_plain
def test_a_wrong_shape_is_told(name):
    _, right, _ = EXERCISES[name].prepared()
    shape = (2, 3, 2, 1, 2)
    result = EXERCISES[name](truth(name, lambda x: torch.zeros(shape, dtype=torch.as_tensor(x).dtype)))
    wanted = torch.as_tensor(right[0]).shape
    assert result.ok is False and str(shape) in result.hint and str(tuple(wanted)) in result.hint


class Evil:
    @property
    def __class__(self):
        raise RuntimeError("I have no class")

    def __repr__(self):
        raise RuntimeError("nor a name")


TYPES = {
    "a string": (lambda x: "0.5", "type str"), "an array": (lambda x: x.numpy(), "numpy array"),
    "a list": (lambda x: x.tolist(), "list"), "ragged": (lambda x: [1, [2, 3]], "list"),
    "a dictionary": (lambda x: {"x": x}, "type dict"), "evil": (lambda x: Evil(), "cannot be read"),
    "words": (lambda x: ["a"] * len(x), "list"), "an int": (lambda x: 1, "plain number (int)"),
    "a float": (lambda x: 0.5, "plain number (float)"), "a generator": (lambda x: (v for v in x), "type generator"),
    "gradients": (lambda x: x.requires_grad_(), "requires a gradient"), "whole": (lambda x: x.long(), "whole numbers"),
    "half": (lambda x: x.half(), "half precision"), "complex": (lambda x: x + 0.5j, "complex numbers"),
    "on no device": (lambda x: x.to("meta"), "cannot be read"), "nan": (lambda x: x * math.nan, "divided by 0"),
    "a parameter": (lambda x: torch.nn.Parameter(x), "requires a gradient"),
    "a function": (lambda x: len, "type builtin"),
}


@pytest.mark.parametrize("what", TYPES)
def test_a_wrong_type_is_told(what):
    change, words = TYPES[what]
    result = check.alpha_bar(truth("alpha_bar", change))
    assert result.ok is False and words in result.hint, result


@each_plain
def test_arrays_lists_and_gradients_are_told_of_each_exercise(name):
    plain = not torch.is_tensor(EXERCISES[name].prepared()[1][0])
    array = EXERCISES[name](truth(name, lambda x: np.array(x)))
    assert array.ok is plain, "where a number or a list is wanted, those of numpy will do"
    assert plain or "numpy array" in array.hint and "numbers are right" in array.hint
    if not plain and torch.is_floating_point(EXERCISES[name].prepared()[1][0]):
        attached = EXERCISES[name](truth(name, lambda x: x.clone().requires_grad_()))
        assert attached.ok is False and "a gradient" in attached.hint and "numbers are right" in attached.hint
        half = EXERCISES[name](truth(name, lambda x: x.half()))
        assert half.ok is False and "half precision" in half.hint and "numbers are right" in half.hint


def test_float64_is_right_and_told():
    result = check.noise_step(lambda x, b, z: ((1 - b) ** 0.5 * x + b**0.5 * z).double())
    assert result.ok is True and "float64" in result.hint


def test_whole_numbers_stay_whole():
    result = check.drop_labels(lambda y, u, share: y.where(u >= share, -1).float())
    assert result.ok is False and "whole numbers" in result.hint and "numbers are right" in result.hint
    assert check.held_out(lambda g, share: RIGHT["held_out"][0](g, share).long()).ok is False
    assert "plain number" in check.noise_loss(lambda *a: RIGHT["noise_loss"][0](*a).item()).hint
    assert check.noise_loss(lambda *a: RIGHT["noise_loss"][0](*a).detach()).mistake == "detached"


def test_a_mistake_is_recognised_in_the_wrong_type_too():
    result = check.alpha_bar(lambda beta: (1 - beta.cumsum(0)).numpy())
    assert result.mistake == "sum" and "numpy array" in result.hint


def test_a_missing_branch_is_told():
    result = check.last_step(lambda t, s, a: RIGHT["last_step"][0](t, s, a) if s else None)
    assert result.ok is False and "branches" in result.hint


def test_drawing_is_told():
    result = check.noise_step(lambda x, beta, z: (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn_like(x))
    assert result.ok is False and "random" in result.hint and "Use the `z` that you are given." in result.hint

# ------------------------------------------------------------------------------------------ whatever it may do instead


@each
def test_raising_is_told(name):
    def breaks(*arguments):
        return {}["nothing"]
    result = EXERCISES[name](breaks)
    assert result.ok is False and "KeyError" in result.hint and "return {}[" in result.hint


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize("error", [ValueError("no <b>good</b>"), SystemExit(3), KeyboardInterrupt(), Unspeakable(),
                                   GeneratorExit(), RecursionError(), MemoryError(), StopIteration(), sandbox.TimeUp()])
def test_no_error_comes_through(error):
    def breaks(beta):
        raise error
    result = check.alpha_bar(breaks)
    assert result.ok is False and (type(error).__name__ in result.hint or "stopped after" in result.hint)
    assert "<b>" not in result._repr_html_()


def endless(*arguments):
    while True:
        pass


@each
def test_looping_is_told(name, monkeypatch):
    monkeypatch.setattr(sandbox, "LIMIT", 0.02)
    result = EXERCISES[name](endless)
    assert result.ok is False and "loop" in result.hint


def stubborn(*arguments):
    while True:
        try:
            sum(range(100))
        except:                                                # noqa: E722
            pass


def asleep(*arguments):
    time.sleep(60)


@pytest.mark.parametrize("function", [stubborn, asleep])
def test_the_alarm_wakes_all(function, monkeypatch):
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timer signals here")
    monkeypatch.setattr(sandbox, "LIMIT", 0.05)
    before, threads, start = signal.getsignal(signal.SIGALRM), threading.active_count(), time.monotonic()
    result = check.alpha_bar(function)
    assert "loop" in result.hint and time.monotonic() - start < 20
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert threading.active_count() == threads


@pytest.mark.parametrize("where", ["another thread", "Windows"])
def test_without_alarm_a_loop_ends_too(where, monkeypatch):
    monkeypatch.setattr(sandbox, "LIMIT", 0.05)
    results, trace = [], sys.gettrace()
    work = lambda: results.extend([check.alpha_bar(endless), check.alpha_bar(RIGHT["alpha_bar"][0])])
    if where == "Windows":
        monkeypatch.delattr(signal, "setitimer", raising=False)
        work()
    else:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    assert "loop" in results[0].hint and results[1].ok is True and sys.gettrace() is trace


@each
def test_changes_in_place_are_told(name):
    def spoils(*arguments):
        answer = EXERCISES[name].solution(*arguments)
        answer = answer.clone() if torch.is_tensor(answer) else answer
        tensors = [x for x in arguments if torch.is_tensor(x)]
        return answer if not tensors else [tensors[0].mul_(0), answer][1]

    result = EXERCISES[name](spoils)
    if any(map(torch.is_tensor, EXERCISES[name].prepared()[0][0])) and not EXERCISES[name].examine:
        assert result.ok is False and "in place" in result.hint and "numbers are right" in result.hint
    assert EXERCISES[name](truth(name)).ok is True             # the table's own inputs are untouched


@pytest.mark.parametrize(("given", "words"), [
    (3, "without a call"), (torch.ones(3), "without a call"), (lambda: 1, "1 in this order: `beta`"),
    (lambda a, b: 1, "1 in this order: `beta`"), (lambda *, beta: 1, "1 in this order: `beta`")])
def test_a_wrong_call_is_told(given, words):
    result = check.alpha_bar(given)
    assert result.ok is False and words in result.hint


def test_callables_of_all_kinds_pass():
    class Answer:
        def method(self, mine):
            return alpha_bar_by_loop(mine)
        __call__ = method
    for function in (Answer(), Answer().method, functools.partial(lambda other, mine: alpha_bar_by_loop(mine), None),
                     lambda mine, more=3: alpha_bar_by_loop(mine), lambda *all: alpha_bar_by_loop(*all)):
        assert check.alpha_bar(function).ok is True


def test_an_unknown_exercise_names_those_there_are():
    with pytest.raises(AttributeError, match="q_sample"):
        check.alpha_baz                                        # noqa: B018
    assert "a tensor (T + 1,)" in check.alpha_bar.__doc__ and "check.alpha_bar" in repr(check.alpha_bar)

# ----------------------------------------------------------------------------------------------- what is left behind


def settings():
    return (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.get_deterministic_debug_mode(), tuple(torch.get_rng_state().tolist()),
            str(np.random.get_state()), random.getstate(), np.geterr()["divide"])


def meddle(beta):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_deterministic_debug_mode("warn")
    torch.set_num_threads(3)
    np.seterr(divide="raise")
    raise ValueError


@pytest.mark.parametrize("function", [meddle, alpha_bar_by_loop, lambda beta: torch.rand(len(beta)), lambda beta: ...])
def test_settings_and_random_states_are_unchanged(function):
    before = settings()
    check.alpha_bar(function), check.ddpm_step(truth("ddpm_step"))
    assert settings() == before


def test_settings_of_the_page_do_not_matter(monkeypatch):
    monkeypatch.setattr(check.q_sample, "known", None)         # the inputs are made anew
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.no_grad():
            assert check.q_sample(RIGHT["q_sample"][0]).ok is True and not torch.is_grad_enabled()
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("cpu")


def test_results_are_seen_and_heard():
    results = [check.alpha_bar(f) for f in (alpha_bar_by_loop, lambda beta: 1 - beta, lambda beta: ...)]
    words = [WORDS[ok] for ok in (True, False, None)]
    for result, word in zip(results, words):
        text, html = repr(result), result._repr_html_()
        assert text.startswith(f"alpha_bar: {word}. ") and text.isascii() or "“" in text
        assert 'role="status"' in html and f"alpha_bar: {word}." in html and 'aria-hidden="true"' in html
    assert len({re.search(r"solid (#\w+)", result._repr_html_())[1] for result in results}) == 3
    evil = Result("<i>", False, "a < b & c")
    assert "<i>" not in evil._repr_html_() and "a &lt; b &amp; c" in evil._repr_html_()
