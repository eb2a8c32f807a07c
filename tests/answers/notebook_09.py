"""Answers to the exercises of notebook 09: fixes of its eight bugs."""
import copy
import math

import torch
import torch.nn.functional as F

from answers.registry import right, wrong


@right("prepare", "2 x / 16 - 1")
def _(grey):
    return 2 * grey / 16 - 1

@right("prepare", "shifted, then scaled")
def _(grey):
    return (grey - 8) / 8

@wrong("prepare", "the bug", "the bug")
def _(grey):
    return grey / 16

@wrong("prepare", "- 0.5", "half as wide")
def _(grey):
    return grey / 16 - 0.5

@wrong("prepare", "2 (x / 16 - 1)", "to minus 2")
def _(grey):
    return 2 * (grey / 16 - 1)

@wrong("prepare", "by the maximum of the batch", "by the maximum")
def _(grey):
    return grey / grey.max() * 2 - 1

@wrong("prepare", "by the maximum of each image", "by each maximum")
def _(grey):
    return grey / grey.amax(dim=(1, 2, 3), keepdim=True) * 2 - 1

@wrong("prepare", "min-max of the batch", "stretched")
def _(grey):
    return (grey - grey.min()) / (grey.max() - grey.min()) * 2 - 1

@wrong("prepare", "z-scores", "standardised")
def _(grey):
    return (grey - grey.mean()) / (grey.std() + 1e-6)

@wrong("prepare", "255", "by 255")
def _(grey):
    return grey / 255 * 2 - 1

@wrong("prepare", "15", "by 15")
def _(grey):
    return grey / 15 * 2 - 1

@wrong("prepare", "negative", "inverted")
def _(grey):
    return 1 - grey / 8

@wrong("prepare", "clipped, not scaled", "not scaled")
def _(grey):
    return grey.clamp(-1, 1)

@wrong("prepare", "mean subtracted", "mean subtracted")
def _(grey):
    return grey / 8 - (grey / 8).mean()


@right("follow", "lerp_ under no_grad")
def _(average, model, decay):
    with torch.no_grad():
        for a, w in zip(average.parameters(), model.parameters()):
            a.lerp_(w, 1 - decay)
    return average

@right("follow", "data")
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.data.mul_(decay).add_(w.data, alpha=1 - decay)
    return average

@right("follow", "state_dict, copied in place")
def _(average, model, decay):
    new = model.state_dict()
    for name, a in average.state_dict().items():
        a.copy_(decay * a + (1 - decay) * new[name])
    return average

@wrong("follow", "the bug", "the bug")
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a = decay * a + (1 - decay) * w
    return average

@wrong("follow", "new entries in a dictionary that is not loaded", "the bug")
def _(average, model, decay):
    own, new = average.state_dict(), model.state_dict()
    for name in own:
        own[name] = decay * own[name] + (1 - decay) * new[name]
    return average

@wrong("follow", "without no_grad", None)
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.mul_(decay).add_(w, alpha=1 - decay)
    return average

@wrong("follow", "exchanged", "swapped")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.mul_(1 - decay).add_(w, alpha=decay)
    return average

@wrong("follow", "copies the model", "copied")
def _(average, model, decay):
    average.load_state_dict(model.state_dict())
    return average

@wrong("follow", "a deep copy is changed and returned", "a new network")
@torch.no_grad()
def _(average, model, decay):
    average = copy.deepcopy(average)
    for a, w in zip(average.parameters(), model.parameters()):
        a.lerp_(w, 1 - decay)
    return average

@wrong("follow", "returns the model", "model returned")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.lerp_(w, 1 - decay)
    return model

@wrong("follow", "weights of the model move", "model instead")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        w.lerp_(a, decay)
    return average

@wrong("follow", "weights are shared afterwards", "copied")
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.data = w.data
    return average

@wrong("follow", "only matrices", "no biases")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        if a.ndim > 1:
            a.lerp_(w, 1 - decay)
    return average

@wrong("follow", "decay fixed at 0.99", None)
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.lerp_(w, 0.01)
    return average

@wrong("follow", "1 - decay forgotten", "added")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.mul_(decay).add_(w)
    return average

@wrong("follow", "one step too far: add_ without mul_", "average in full")
@torch.no_grad()
def _(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.add_(w, alpha=1 - decay)
    return average


def mean_of(xt, x0, a_t, a_s, alpha):
    return (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)


def step_with(std):
    def answer(xt, x0, t, s, alpha_bar, z):
        a_t, a_s = alpha_bar[t], alpha_bar[s]
        alpha = a_t / a_s
        return mean_of(xt, x0, a_t, a_s, alpha) + std(a_t, a_s, alpha, t, s) * z
    return answer


posterior = step_with(lambda a_t, a_s, alpha, t, s: ((1 - a_s) / (1 - a_t) * (1 - alpha)).sqrt())
larger = step_with(lambda a_t, a_s, alpha, t, s: (1 - alpha).sqrt() * (s > 0))
for name in ("end", "step"):
    right(name, "the posterior's")(posterior)
    right(name, "the forward step's, none at the end")(larger)
    wrong(name, "the forward step's everywhere", "the bug" if name == "end" else "noise at the end")(
        step_with(lambda a_t, a_s, alpha, t, s: (1 - alpha).sqrt()))
    wrong(name, "variance", "variance" if name == "end" else "the bug")(
        step_with(lambda a_t, a_s, alpha, t, s: (1 - a_s) / (1 - a_t) * (1 - alpha)))
    wrong(name, "no noise at all", "no noise")(step_with(lambda a_t, a_s, alpha, t, s: 0))
    wrong(name, "none where t is 1", "from where it begins")(
        step_with(lambda a_t, a_s, alpha, t, s: (1 - alpha).sqrt() * (t > 1)))
    wrong(name, "noise of s", "all the noise")(step_with(lambda a_t, a_s, alpha, t, s: (1 - a_s).sqrt()))
    wrong(name, "fraction upside down", None)(
        step_with(lambda a_t, a_s, alpha, t, s: ((1 - a_t) / (1 - a_s).clamp(min=1e-3) * (1 - alpha)).sqrt() * (s > 0)))
    wrong(name, "half the noise", None)(
        step_with(lambda a_t, a_s, alpha, t, s: 0.5 * ((1 - a_s) / (1 - a_t) * (1 - alpha)).sqrt()))
    wrong(name, "own noise", "own noise")(
        lambda xt, x0, t, s, alpha_bar, z: posterior(xt, x0, t, s, alpha_bar, torch.randn_like(xt)))
    wrong(name, "x0 at the end, else the variance", "variance" if name == "end" else "the bug")(
        lambda xt, x0, t, s, alpha_bar, z: x0 if s == 0 else step_with(
            lambda a_t, a_s, alpha, *_: (1 - a_s) / (1 - a_t) * (1 - alpha))(xt, x0, t, s, alpha_bar, z))
    wrong(name, "result clipped", "clipped")(
        lambda xt, x0, t, s, alpha_bar, z: posterior(xt, x0, t, s, alpha_bar, z).clamp(-1, 1))


def loss_with(times=None, noisy=None, target=None, score=F.mse_loss):
    def answer(model, schedule, x0):
        t = times(schedule.T, len(x0)) if times else torch.randint(1, schedule.T + 1, (len(x0),))
        xt = noisy(schedule, x0, t) if noisy else schedule.q_sample(x0, t)
        return score(model(xt, t), target(schedule, x0, t, xt) if target else x0)
    return answer


def by_pixel(schedule, x0, t):
    return schedule.q_sample(x0, t, torch.randn_like(x0))


def first_half_clean(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    xt = schedule.q_sample(x0, t)
    xt[: len(x0) // 2] = x0[: len(x0) // 2]
    return F.mse_loss(model(xt, t), x0)


def in_a_loop(model, schedule, x0):
    losses = []
    for i in range(len(x0)):
        t = torch.randint(1, schedule.T + 1, (1,))
        losses.append(F.mse_loss(model(schedule.q_sample(x0[i:i + 1], t), t), x0[i:i + 1]))
    return torch.stack(losses).mean()


def without_grad(model, schedule, x0):
    with torch.no_grad():
        return loss_with()(model, schedule, x0)


for name in ("loss", "times"):
    right(name, "as in the text")(loss_with())
    right(name, "noise handed over")(loss_with(noisy=by_pixel))
    right(name, "image by image")(in_a_loop)
    right(name, "1 + randint(T)")(loss_with(times=lambda T, n: 1 + torch.randint(T, (n,))))
    clean = "the bug" if name == "loss" else "clean input"
    one = "the bug" if name == "times" else "one time"
    wrong(name, "clean input", clean)(loss_with(noisy=lambda schedule, x0, t: x0))
    wrong(name, "one time, expanded", one)(loss_with(times=lambda T, n: torch.randint(1, T + 1, (1,)).expand(n)))
    wrong(name, "one time, full", one)(
        loss_with(times=lambda T, n: torch.full((n,), int(torch.randint(1, T + 1, ())))))
    wrong(name, "always T", one)(loss_with(times=lambda T, n: torch.full((n,), T)))
    wrong(name, "randint(0, T)", "time out of range")(loss_with(times=lambda T, n: torch.randint(0, T, (n,))))
    wrong(name, "randint(1, T)", "last time missing")(loss_with(times=lambda T, n: torch.randint(1, T, (n,))))
    wrong(name, "times in order", "not random")(loss_with(times=lambda T, n: torch.arange(n) % T + 1))
    wrong(name, "a permutation of few times", "last time missing")(
        loss_with(times=lambda T, n: torch.randint(1, T // 2 + 1, (n,))))
    wrong(name, "noise predicted", "noise as target")(
        loss_with(target=lambda schedule, x0, t, xt: schedule.predict_eps(xt, t, x0)))
    wrong(name, "noisy image as target", "noisy as target")(loss_with(target=lambda schedule, x0, t, xt: xt))
    wrong(name, "one noise for the batch", "one noise")(loss_with(
        noisy=lambda schedule, x0, t: schedule.q_sample(x0, t, torch.randn_like(x0[:1]).expand_as(x0))))
    wrong(name, "uniform noise", "not the noise of t")(
        loss_with(noisy=lambda schedule, x0, t: schedule.q_sample(x0, t, torch.rand_like(x0))))
    wrong(name, "other times for the noise", "not the noise of t")(
        loss_with(noisy=lambda schedule, x0, t: schedule.q_sample(x0, t.flip(0))))
    wrong(name, "half of the batch is clean", "not the noise of t")(first_half_clean)
    wrong(name, "detached", "detached")(lambda *case: loss_with()(*case).detach())
    wrong(name, "no_grad", "detached")(without_grad)
    wrong(name, "item", "no number")(lambda *case: loss_with()(*case).item())
    wrong(name, "sum", "another number")(loss_with(score=lambda out, x: ((out - x) ** 2).sum()))
    wrong(name, "absolute", "another number")(loss_with(score=F.l1_loss))
    wrong(name, "per image", "per image")(loss_with(score=lambda out, x: ((out - x) ** 2).flatten(1).mean(1)))


@right("embedding", "powers")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@right("embedding", "outer")
def _(t, dim):
    a = torch.outer(t.float(), torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2)))
    return torch.cat([a.cos(), a.sin()], -1)

@wrong("embedding", "the bug", "the bug")
def _(t, dim):
    a = torch.arange(len(t))[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "first time for all", "one time")
def _(t, dim):
    a = t[:1].expand(len(t))[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "sorted times", "sorted")
def _(t, dim):
    a = t.sort().values[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "rank of the times", None)
def _(t, dim):
    a = t.argsort().argsort()[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "scaled by the largest time of the batch", "scaled")
def _(t, dim):
    a = (t / t.max())[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "sines first", "sines first")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.sin(), a.cos()], 1)

@wrong("embedding", "interleaved", "interleaved")
def _(t, dim):
    a = t[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.stack([a.cos(), a.sin()], -1).flatten(1)

@wrong("embedding", "time and place added", "place added")
def _(t, dim):
    a = (t + torch.arange(len(t)))[:, None] * 10_000 ** (-2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)

@wrong("embedding", "frequencies rise", "rising")
def _(t, dim):
    a = t[:, None] * 10_000 ** (2 * torch.arange(dim // 2) / dim)
    return torch.cat([a.cos(), a.sin()], 1)


@right("split", "not shuffled")
def _(images, held):
    return images[held:], images[:held]

@right("split", "from the end of one order")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[:-held]], images[order[-held:]]

@right("split", "random_split")
def _(images, held):
    parts = torch.utils.data.random_split(images, [len(images) - held, held])
    return tuple(torch.stack(list(part)) for part in parts)

@wrong("split", "the bug", "the bug")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[held:]], images[:held]

@wrong("split", "two orders", "the bug")
def _(images, held):
    return images[torch.randperm(len(images))[held:]], images[torch.randperm(len(images))[:held]]

@wrong("split", "all for training", "the bug")
def _(images, held):
    order = torch.randperm(len(images))
    return images, images[order[:held]]

@wrong("split", "exchanged", "swapped")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[:held]], images[order[held:]]

@wrong("split", "one in both", "the bug")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[held - 1:]], images[order[:held]]

@wrong("split", "one in neither", "lost")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[held + 1:]], images[order[:held]]

@wrong("split", "always 20 %", "wrong size")
def _(images, held):
    order, n = torch.randperm(len(images)), len(images) // 5
    return images[order[n:]], images[order[:n]]

@wrong("split", "drawn with replacement", "twice")
def _(images, held):
    chosen = torch.randint(len(images), (len(images),))
    return images[chosen[held:]], images[chosen[:held]]

@wrong("split", "the places instead of the images", "not images")
def _(images, held):
    order = torch.randperm(len(images))
    return order[held:], order[:held]

@wrong("split", "flattened", "not images")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[held:]].flatten(1), images[order[:held]].flatten(1)

@wrong("split", "one tensor", "not two tensors")
def _(images, held):
    return images[torch.randperm(len(images))]

@wrong("split", "three parts", "not two tensors")
def _(images, held):
    order = torch.randperm(len(images))
    return images[order[2 * held:]], images[order[held:2 * held]], images[order[:held]]

@wrong("split", "a mask by chance: about so many", "wrong size")
def _(images, held):
    chosen = torch.rand(len(images)) < held / len(images)
    return images[~chosen], images[chosen]
