"""Answers to the exercises of notebook 02."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from answers.registry import edge, right, wrong

V = lambda a: a[:, None, None, None]

# ---------------------------------------------------------------------------------------------------------- noise_step

@right("noise_step", "math.sqrt / ** 0.5")
def _(x, beta, z):
    return (1 - beta) ** 0.5 * x + beta**0.5 * z

@right("noise_step", "torch.sqrt(as_tensor)")
def _(x, beta, z):
    b = torch.as_tensor(beta)
    return torch.sqrt(1 - b) * x + torch.sqrt(b) * z

@right("noise_step", "math.sqrt(float())")
def _(x, beta, z):
    return math.sqrt(1 - float(beta)) * x + math.sqrt(float(beta)) * z

@right("noise_step", "loop over the pixels")
def _(x, beta, z):
    out = torch.empty_like(x).flatten()
    for i, (p, n) in enumerate(zip(x.flatten(), z.flatten())):
        out[i] = (1 - beta) ** 0.5 * p + beta**0.5 * n
    return out.view_as(x)

@right("noise_step", "lerp of squares / double")
def _(x, beta, z):
    return (x.double() * (1 - beta) ** 0.5).add(z.double() * beta**0.5)

@wrong("noise_step", "x not weakened", "not scaled down")
def _(x, beta, z):
    return x + beta**0.5 * z

@wrong("noise_step", "1 - beta without the root", "image without root")
def _(x, beta, z):
    return (1 - beta) * x + beta**0.5 * z

@wrong("noise_step", "beta without the root", "noise without root")
def _(x, beta, z):
    return (1 - beta) ** 0.5 * x + beta * z

@wrong("noise_step", "both without the root", "no roots")
def _(x, beta, z):
    return (1 - beta) * x + beta * z

@wrong("noise_step", "1 - sqrt(beta)", "weights sum to 1")
def _(x, beta, z):
    return (1 - beta**0.5) * x + beta**0.5 * z

@wrong("noise_step", "weights swapped", "swapped")
def _(x, beta, z):
    return beta**0.5 * x + (1 - beta) ** 0.5 * z

@wrong("noise_step", "own noise", "own noise")
def _(x, beta, z):
    return (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn_like(x)

@wrong("noise_step", "beta as standard deviation: sqrt(1-beta^2)", "deviation")
def _(x, beta, z):
    return (1 - beta**2) ** 0.5 * x + beta * z

@wrong("noise_step", "sign: minus noise", "sign")
def _(x, beta, z):
    return (1 - beta) ** 0.5 * x - beta**0.5 * z

@wrong("noise_step", "clips to [-1, 1]", "clipped")
def _(x, beta, z):
    return ((1 - beta) ** 0.5 * x + beta**0.5 * z).clamp(-1, 1)

@wrong("noise_step", "sqrt(1+beta)", "scaled up")
def _(x, beta, z):
    return (1 + beta) ** 0.5 * x + beta**0.5 * z

# ----------------------------------------------------------------------------------------------------------- alpha_bar

@right("alpha_bar", "cumprod")
def _(beta):
    return torch.cumprod(1 - beta, dim=0)

@right("alpha_bar", "loop, list, torch.tensor (default float32)")
def _(beta):
    out, a = [], 1.0
    for b in beta.tolist():
        a *= 1 - b
        out.append(a)
    return torch.tensor(out)

@right("alpha_bar", "numpy cumprod from_numpy")
def _(beta):
    return torch.from_numpy(np.cumprod(1 - beta.numpy()))

@right("alpha_bar", "exp of cumsum of log1p")
def _(beta):
    return torch.log1p(-beta).cumsum(0).exp()

@right("alpha_bar", "in-place loop on a fresh tensor")
def _(beta):
    out = torch.ones_like(beta)
    for t in range(1, len(beta)):
        out[t] = out[t - 1] * (1 - beta[t])
    return out

@wrong("alpha_bar", "1 - cumsum(beta)", "sum")
def _(beta):
    return 1 - beta.cumsum(0)

@wrong("alpha_bar", "cumprod of beta", "beta")
def _(beta):
    return beta.cumprod(0)

@wrong("alpha_bar", "1 - cumprod of beta", "one minus the product")
def _(beta):
    return 1 - beta.cumprod(0)

@wrong("alpha_bar", "only alpha, no product", "alpha")
def _(beta):
    return 1 - beta

@wrong("alpha_bar", "sqrt: the image's weight, not its variance", "root")
def _(beta):
    return (1 - beta).sqrt().cumprod(0)

@wrong("alpha_bar", "exp(-cumsum): the approximation", "exponential")
def _(beta):
    return (-beta.cumsum(0)).exp()

@wrong("alpha_bar", "prod(): one number", "last")
def _(beta):
    return (1 - beta).prod()

@wrong("alpha_bar", "leaves out t = 0: T entries", "without t = 0")
def _(beta):
    return (1 - beta[1:]).cumprod(0)

@wrong("alpha_bar", "pads another 1 in front: T + 2", "another 1")
def _(beta):
    return torch.cat([torch.ones(1, dtype=beta.dtype), (1 - beta).cumprod(0)])

@wrong("alpha_bar", "shifted by one (alpha_bar_{t-1})", "late")
def _(beta):
    a = (1 - beta).cumprod(0)
    return torch.cat([torch.ones(1, dtype=beta.dtype), a[:-1]])

@wrong("alpha_bar", "noise variance 1 - alpha_bar", "noise")
def _(beta):
    return 1 - (1 - beta).cumprod(0)

@wrong("alpha_bar", "cumsum of alpha", "sum of alphas")
def _(beta):
    return (1 - beta).cumsum(0)

@wrong("alpha_bar", "reversed", "reversed")
def _(beta):
    return (1 - beta).flip(0).cumprod(0).flip(0)

@wrong("alpha_bar", "(1-beta)^t", "power")
def _(beta):
    return (1 - beta) ** torch.arange(len(beta))

@edge("alpha_bar", "right, numpy returned", "form")
def _(beta):
    return np.cumprod(1 - beta.numpy())

@edge("alpha_bar", "right, list returned", "form")
def _(beta):
    return (1 - beta).cumprod(0).tolist()

# ------------------------------------------------------------------------------------------------------------ q_sample

@right("q_sample", "view(-1,1,1,1)")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@right("q_sample", "loop over the batch")
def _(x0, t, eps, alpha_bar):
    return torch.stack(
        [alpha_bar[int(k)] ** 0.5 * x + (1 - alpha_bar[int(k)]) ** 0.5 * e for x, k, e in zip(x0, t, eps)]
    )

@right("q_sample", "einsum")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t].to(x0.dtype)
    return torch.einsum("b,bchw->bchw", a.sqrt(), x0) + torch.einsum("b,bchw->bchw", (1 - a).sqrt(), eps)

@right("q_sample", "numpy inside, tensor out")
def _(x0, t, eps, alpha_bar):
    a = np.asarray(alpha_bar)[np.asarray(t)].reshape(-1, 1, 1, 1)
    return torch.tensor(np.sqrt(a) * x0.numpy() + np.sqrt(1 - a) * eps.numpy())

@right("q_sample", "gather, float64")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar.double().gather(0, t.long()).reshape(len(t), 1, 1, 1)
    return x0.double() * a.sqrt() + eps.double() * torch.sqrt(1 - a)

@right("q_sample", "transpose trick")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return (a.sqrt() * x0.transpose(0, -1) + (1 - a).sqrt() * eps.transpose(0, -1)).transpose(0, -1)

@wrong("q_sample", "1 - sqrt(alpha_bar) as the noise weight", "weights sum to 1")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a.sqrt()) * eps

@wrong("q_sample", "sqrt(beta) as noise weight", "noise of one step")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    prev = V(alpha_bar[(t - 1).clamp(min=0)])
    beta = 1 - a / prev
    return a.sqrt() * x0 + beta.sqrt() * eps

@wrong("q_sample", "single step: sqrt(alpha_t) x0 + sqrt(beta_t) eps", "one step")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    prev = V(alpha_bar[(t - 1).clamp(min=0)])
    beta = 1 - a / prev
    return (1 - beta).sqrt() * x0 + beta.sqrt() * eps

@wrong("q_sample", "one eps for the whole batch (eps[:1])", "one noise")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps[:1]

@wrong("q_sample", "one eps for the whole batch (eps[0])", "one noise")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps[0]

@wrong("q_sample", "one t for the whole batch (t[0])", "one time")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t[0]]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "own noise instead of eps", "own noise")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0)

@wrong("q_sample", "no roots", "no roots")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a * x0 + (1 - a) * eps

@wrong("q_sample", "root only at the image", "noise without root")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + (1 - a) * eps

@wrong("q_sample", "root only at the noise", "image without root")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "weights swapped", "swapped")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (1 - a).sqrt() * x0 + a.sqrt() * eps

@wrong("q_sample", "off by one: alpha_bar[t-1]", "early")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t - 1])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "off by one: alpha_bar[t+1] (clipped)", "late")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[(t + 1).clamp(max=len(alpha_bar) - 1)])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "no broadcasting: alpha_bar[t] * x0", "columns")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "broadcast over rows instead of batch: a[None,None,:,None]", "rows")
def _(x0, t, eps, alpha_bar):
    a = alpha_bar[t].view(1, 1, -1, 1)
    if a.shape[2] != x0.shape[2]:
        a = a[:, :, :1]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "noise not weighted", "noise in full")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 + eps

@wrong("q_sample", "image not weighted", "image in full")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return x0 + (1 - a).sqrt() * eps

@wrong("q_sample", "v-target by mistake: minus sign", "subtracted")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return a.sqrt() * x0 - (1 - a).sqrt() * eps

@wrong("q_sample", "clipped to [-1, 1]", "clipped")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (a.sqrt() * x0 + (1 - a).sqrt() * eps).clamp(-1, 1)

@wrong("q_sample", "alpha_bar computed again from it (cumprod of alpha_bar)", "product again")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar.cumprod(0)[t])
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@edge("q_sample", "right, numpy returned", "form")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (a.sqrt() * x0 + (1 - a).sqrt() * eps).numpy()

@edge("q_sample", "right, prints", "right")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    print("PRINT-FROM-STUDENT", a.shape)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

@edge("q_sample", "right, but mutates x0 and eps in place", "form")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t]).to(x0.dtype)
    x0.mul_(a.sqrt())
    eps.mul_((1 - a).sqrt())
    return x0.add_(eps)

@edge("q_sample", "wrong (no roots), and mutates in place", "no roots")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t]).to(x0.dtype)
    x0.mul_(a)
    eps.mul_(1 - a)
    return x0.add_(eps)

@edge("q_sample", "right, half precision", "form")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (a.sqrt() * x0 + (1 - a).sqrt() * eps).half()

@edge("q_sample", "right, returns (xt, eps) tuple", "form")
def _(x0, t, eps, alpha_bar):
    a = V(alpha_bar[t])
    return (a.sqrt() * x0 + (1 - a).sqrt() * eps, eps)

# --------------------------------------------------------------------------------------------------------- equal_parts

@right("equal_parts", "argmin of |log snr|... on SNR directly")
def _(alpha_bar):
    a = alpha_bar.double()
    snr = a / (1 - a)
    return int((snr - 1).abs().argmin())

@right("equal_parts", "loop")
def _(alpha_bar):
    best, at = float("inf"), None
    for t in range(1, len(alpha_bar)):
        a = float(alpha_bar[t])
        d = abs(a / (1 - a) - 1)
        if d < best:
            best, at = d, t
    return at

@right("equal_parts", "closest alpha_bar to 1/2")
def _(alpha_bar):
    return (alpha_bar - 0.5).abs().argmin().item()

@right("equal_parts", "closest log SNR to 0")
def _(alpha_bar):
    a = alpha_bar[1:]
    return 1 + (a / (1 - a)).log().abs().argmin().item()

@right("equal_parts", "closest weights")
def _(alpha_bar):
    return (alpha_bar.sqrt() - (1 - alpha_bar).sqrt()).abs().argmin().item()

@right("equal_parts", "numpy argmin, np.int64")
def _(alpha_bar):
    a = alpha_bar.numpy()[1:]
    return np.argmin(np.abs(a / (1 - a) - 1)) + 1

@right("equal_parts", "0-dim tensor")
def _(alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    return (snr - 1).abs().argmin()

@wrong("equal_parts", "off by one: drops t = 0 and forgets + 1", "early")
def _(alpha_bar):
    a = alpha_bar[1:]
    return (a / (1 - a) - 1).abs().argmin().item()

@wrong("equal_parts", "no abs: (snr - 1).argmin()", "end")
def _(alpha_bar):
    return (alpha_bar / (1 - alpha_bar) - 1).argmin().item()

@wrong("equal_parts", "weight sqrt(alpha_bar) closest to 1/2", "weight")
def _(alpha_bar):
    return (alpha_bar.sqrt() - 0.5).abs().argmin().item()

@wrong("equal_parts", "snr closest to 0", "end")
def _(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).abs().argmin().item()

@wrong("equal_parts", "middle of the times", "middle")
def _(alpha_bar):
    return len(alpha_bar) // 2

@wrong("equal_parts", "alpha_bar closest to 1", "clean")
def _(alpha_bar):
    return (alpha_bar - 1).abs().argmin().item()

@wrong("equal_parts", "first t below 1, not the closest", "first below")
def _(alpha_bar):
    return int((alpha_bar < 0.5).nonzero()[0])

@wrong("equal_parts", "last t above 1, not the closest", "last above")
def _(alpha_bar):
    return int((alpha_bar > 0.5).nonzero()[-1])

@wrong("equal_parts", "returns the SNR itself (min)", "gap")
def _(alpha_bar):
    return (alpha_bar / (1 - alpha_bar) - 1).abs().min().item()

@wrong("equal_parts", "share of T: t / T", "part of T")
def _(alpha_bar):
    return (alpha_bar - 0.5).abs().argmin().item() / (len(alpha_bar) - 1)

@wrong("equal_parts", "snr of roots sqrt(a)/ (1 - sqrt(a))", None)
def _(alpha_bar):
    a = alpha_bar.sqrt()
    return (a / (1 - a) - 1).abs().argmin().item()

@wrong("equal_parts", "constant 1000-step answer", None)
def _(alpha_bar):
    return 259

@edge("equal_parts", "right as a float", "form")
def _(alpha_bar):
    return float((alpha_bar - 0.5).abs().argmin())

# ------------------------------------------------------------------------------------------------------------- beta_of

@right("beta_of", "F.pad")
def _(alpha_bar):
    return F.pad(1 - alpha_bar[1:] / alpha_bar[:-1], (1, 0))

@right("beta_of", "cat zeros")
def _(alpha_bar):
    b = (alpha_bar[:-1] - alpha_bar[1:]) / alpha_bar[:-1]
    return torch.cat([torch.zeros(1, dtype=b.dtype), b])

@right("beta_of", "loop")
def _(alpha_bar):
    out = torch.zeros_like(alpha_bar)
    for t in range(1, len(alpha_bar)):
        out[t] = 1 - alpha_bar[t] / alpha_bar[t - 1]
    return out

@right("beta_of", "roll")
def _(alpha_bar):
    prev = alpha_bar.roll(1)
    prev[0] = 1
    return 1 - alpha_bar / prev

@right("beta_of", "python list comprehension, torch.tensor float32")
def _(alpha_bar):
    a = alpha_bar.tolist()
    return torch.tensor([0.0] + [1 - y / x for x, y in zip(a, a[1:])])

@right("beta_of", "clipped at 0.999 as in the text")
def _(alpha_bar):
    return F.pad((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999), (1, 0))

@right("beta_of", "logs")
def _(alpha_bar):
    return F.pad(-torch.expm1(alpha_bar.log().diff()), (1, 0))

@wrong("beta_of", "difference", "difference")
def _(alpha_bar):
    return F.pad(alpha_bar[:-1] - alpha_bar[1:], (1, 0))

@wrong("beta_of", "1 - alpha_bar", "noise")
def _(alpha_bar):
    return 1 - alpha_bar

@wrong("beta_of", "ratio upside down", "upside down")
def _(alpha_bar):
    return F.pad(1 - alpha_bar[:-1] / alpha_bar[1:], (1, 0))

@wrong("beta_of", "alpha instead of beta", "alpha")
def _(alpha_bar):
    return F.pad(alpha_bar[1:] / alpha_bar[:-1], (1, 0), value=1)

@wrong("beta_of", "forgets the leading 0", "without t = 0")
def _(alpha_bar):
    return 1 - alpha_bar[1:] / alpha_bar[:-1]

@wrong("beta_of", "the 0 at the end", "early")
def _(alpha_bar):
    return F.pad(1 - alpha_bar[1:] / alpha_bar[:-1], (0, 1))

@wrong("beta_of", "leading 1", "leading 1")
def _(alpha_bar):
    return F.pad(1 - alpha_bar[1:] / alpha_bar[:-1], (1, 0), value=1)

@wrong("beta_of", "roll without mending [0]", "rolled")
def _(alpha_bar):
    return 1 - alpha_bar / alpha_bar.roll(1)

@wrong("beta_of", "roll in the wrong direction", "rolled the other way")
def _(alpha_bar):
    nxt = alpha_bar.roll(-1)
    b = 1 - alpha_bar / nxt
    b[0] = 0
    return b

@wrong("beta_of", "root of ratio", "roots")
def _(alpha_bar):
    return F.pad(1 - (alpha_bar[1:] / alpha_bar[:-1]).sqrt(), (1, 0))

@wrong("beta_of", "diff divided by the later one", "by the later")
def _(alpha_bar):
    return F.pad((alpha_bar[:-1] - alpha_bar[1:]) / alpha_bar[1:], (1, 0))

@wrong("beta_of", "-diff(log): approximation", "logarithm")
def _(alpha_bar):
    return F.pad(-alpha_bar.log().diff(), (1, 0))
