"""Answers to the exercises of notebook 07."""
import math

import numpy as np
import torch
import torch.nn.functional as F

from answers.registry import edge, right, wrong


@right("drop_labels", "masked_fill")
def _(y, u, share):
    return y.masked_fill(u < share, -1)

@right("drop_labels", "comprehension")
def _(y, u, share):
    return torch.tensor([-1 if p < share else int(k) for k, p in zip(y, u)])

@right("drop_labels", "numpy inside")
def _(y, u, share):
    return torch.from_numpy(np.where(u.numpy() < share, -1, y.numpy()))

@edge("drop_labels", "float labels", "form")
def _(y, u, share):
    return torch.where(u < share, -1.0, y.float())

@wrong("drop_labels", "in place", "form")
def _(y, u, share):
    y[u < share] = -1
    return y

@wrong("drop_labels", "own random numbers", "own noise")
def _(y, u, share):
    return y.masked_fill(torch.rand(len(y)) < share, -1)

@wrong("drop_labels", "kept where it should be dropped", "inverted")
def _(y, u, share):
    return torch.where(u < share, y, -1)

@wrong("drop_labels", "u <= share", "not strictly")
def _(y, u, share):
    return torch.where(u <= share, -1, y)

@wrong("drop_labels", "multiplied by the mask", "zero")
def _(y, u, share):
    return y * (u >= share)

@wrong("drop_labels", "minus the mask", "minus one")
def _(y, u, share):
    return y - (u < share).long()

@wrong("drop_labels", "removed", "shorter")
def _(y, u, share):
    return y[u >= share]

@wrong("drop_labels", "one decision for the batch", "together")
def _(y, u, share):
    return torch.full_like(y, -1) if u[0] < share else y

@wrong("drop_labels", "the first share of the batch", None)
def _(y, u, share):
    y = y.clone()
    y[:int(share * len(y))] = -1
    return y

@wrong("drop_labels", "a new class at the end", None)
def _(y, u, share):
    return torch.where(u < share, y.max() + 1, y)

@wrong("drop_labels", "u > share", "above")
def _(y, u, share):
    return torch.where(u > share, -1, y)

@wrong("drop_labels", "the smallest u", "so many")
def _(y, u, share):
    y = y.clone()
    y[u.topk(round(share * len(u)), largest=False).indices] = -1
    return y


@right("slerp", "cosine_similarity")
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).acos().view(-1, 1, 1, 1)
    return ((1 - u) * w).sin() / w.sin() * a + (u * w).sin() / w.sin() * b

@right("slerp", "loop")
def _(a, b, u):
    out = []
    for x, y in zip(a, b):
        w = torch.acos((x * y).sum() / (x.norm() * y.norm()))
        out.append((torch.sin((1 - u) * w) * x + torch.sin(u * w) * y) / torch.sin(w))
    return torch.stack(out)

@wrong("slerp", "torch.lerp", "straight")
def _(a, b, u):
    return torch.lerp(a, b, u)

@wrong("slerp", "angle of the whole batch", "one angle")
def _(a, b, u):
    w = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)

@wrong("slerp", "cosine_similarity along channels", None)
def _(a, b, u):
    w = F.cosine_similarity(a, b).clamp(-0.999, 0.999).acos()[:, None]
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)

@wrong("slerp", "acos forgotten", "cosine for angle")
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).view(-1, 1, 1, 1)
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)

@wrong("slerp", "divisor forgotten", "no sine below")
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).acos().view(-1, 1, 1, 1)
    return torch.sin((1 - u) * w) * a + torch.sin(u * w) * b

@wrong("slerp", "u and 1 - u exchanged", "other end")
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).acos().view(-1, 1, 1, 1)
    return (torch.sin(u * w) * a + torch.sin((1 - u) * w) * b) / torch.sin(w)

@wrong("slerp", "sqrt weights", "roots")
def _(a, b, u):
    return math.sqrt(1 - u) * a + math.sqrt(u) * b

@wrong("slerp", "sine weights, right angle assumed", "quarter circle")
def _(a, b, u):
    return math.sin((1 - u) * math.pi / 2) * a + math.sin(u * math.pi / 2) * b

@wrong("slerp", "normalised, not scaled back", "length 1")
def _(a, b, u):
    a, b = (x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for x in (a, b))
    w = (a * b).sum((1, 2, 3), keepdim=True).acos()
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)

@wrong("slerp", "cosines as weights", "cosines")
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).acos().view(-1, 1, 1, 1)
    return (torch.cos((1 - u) * w) * a + torch.cos(u * w) * b) / torch.sin(w)

@wrong("slerp", "line divided by sqrt(u^2 + (1 - u)^2)", None)
def _(a, b, u):
    return ((1 - u) * a + u * b) / math.sqrt((1 - u) ** 2 + u**2)

@wrong("slerp", "sin(1 - u) * w: brackets", None)
def _(a, b, u):
    w = F.cosine_similarity(a.flatten(1), b.flatten(1)).acos().view(-1, 1, 1, 1)
    return (math.sin(1 - u) * w * a + math.sin(u) * w * b) / torch.sin(w)


@right("invert_step", "ratio form")
def _(xt, eps, t, u, alpha_bar):
    r = (alpha_bar[u] / alpha_bar[t]).sqrt()
    return r * xt + ((1 - alpha_bar[u]).sqrt() - r * (1 - alpha_bar[t]).sqrt()) * eps

@right("invert_step", "floats")
def _(xt, eps, t, u, alpha_bar):
    a, b = float(alpha_bar[t]), float(alpha_bar[u])
    return math.sqrt(b) * (xt - math.sqrt(1 - a) * eps) / math.sqrt(a) + math.sqrt(1 - b) * eps

@wrong("invert_step", "fresh noise in the end", "own noise")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * torch.randn_like(xt)

@wrong("invert_step", "forward process from t to u", "forward noise")
def _(xt, eps, t, u, alpha_bar):
    r = alpha_bar[u] / alpha_bar[t]
    return r.sqrt() * xt + (1 - r).sqrt() * eps

@wrong("invert_step", "t and u exchanged", "downwards")
def _(xt, eps, t, u, alpha_bar):
    b, a = alpha_bar[t], alpha_bar[u]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps

@wrong("invert_step", "q_sample(xt, u)", "x_t as clean")
def _(xt, eps, t, u, alpha_bar):
    return alpha_bar[u].sqrt() * xt + (1 - alpha_bar[u]).sqrt() * eps

@wrong("invert_step", "u ignored: t + 1", "only one step")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[t + 1]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps

@wrong("invert_step", "x0 clipped", "clipped")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    x0 = ((xt - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    return b.sqrt() * x0 + (1 - b).sqrt() * eps

@wrong("invert_step", "no roots", "no roots at all")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    return b * (xt - (1 - a) * eps) / a + (1 - b) * eps

@wrong("invert_step", "noise of t", "noise of t")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps) / a.sqrt() + (1 - a).sqrt() * eps

@wrong("invert_step", "not divided by sqrt(a_t)", "still scaled")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps) + (1 - b).sqrt() * eps

@wrong("invert_step", "only the estimate", "estimate")
def _(xt, eps, t, u, alpha_bar):
    return (xt - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()

@wrong("invert_step", "eps taken for x0 (ddim_step's arguments)", "noise as image")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    e = (xt - a.sqrt() * eps) / (1 - a).sqrt()
    return b.sqrt() * eps + (1 - b).sqrt() * e

@wrong("invert_step", "brackets: only the noise divided", "brackets")
def _(xt, eps, t, u, alpha_bar):
    a, b = alpha_bar[t], alpha_bar[u]
    return b.sqrt() * (xt - (1 - a).sqrt() * eps / a.sqrt()) + (1 - b).sqrt() * eps


@right("guided", "weights sum to 1")
def _(eps, eps_without, scale):
    return scale * eps + (1 - scale) * eps_without

@right("guided", "from the label on")
def _(eps, eps_without, scale):
    return eps + (scale - 1) * (eps - eps_without)

@right("guided", "lerp")
def _(eps, eps_without, scale):
    return torch.lerp(eps_without, eps, scale)

@wrong("guided", "the paper's w", "one too much")
def _(eps, eps_without, scale):
    return (1 + scale) * eps - scale * eps_without

@wrong("guided", "exchanged", "swapped")
def _(eps, eps_without, scale):
    return eps + scale * (eps_without - eps)

@wrong("guided", "sign", "sign")
def _(eps, eps_without, scale):
    return eps_without - scale * (eps - eps_without)

@wrong("guided", "difference only", "only the difference")
def _(eps, eps_without, scale):
    return scale * (eps - eps_without)

@wrong("guided", "sum", "added")
def _(eps, eps_without, scale):
    return eps_without + scale * eps

@wrong("guided", "label scaled, rest subtracted", "subtracted in full")
def _(eps, eps_without, scale):
    return scale * eps - eps_without

@wrong("guided", "clipped", "clipped")
def _(eps, eps_without, scale):
    return (eps_without + scale * (eps - eps_without)).clamp(-1, 1)

@wrong("guided", "rescaled to the standard deviation of eps", None)
def _(eps, eps_without, scale):
    out = eps_without + scale * (eps - eps_without)
    return out * eps.std() / out.std()

@wrong("guided", "divided by scale", None)
def _(eps, eps_without, scale):
    return (eps_without + scale * (eps - eps_without)) / max(scale, 1)

@wrong("guided", "only above 1", "never below 1")
def _(eps, eps_without, scale):
    return eps_without + scale * (eps - eps_without) if scale > 1 else eps

@wrong("guided", "scale - 1 on the wrong side", "one too little")
def _(eps, eps_without, scale):
    return eps_without + (scale - 1) * (eps - eps_without)

@wrong("guided", "mean", "mean")
def _(eps, eps_without, scale):
    return (eps + eps_without) / 2
