"""Answers to the exercises of notebook 06."""

import math

import numpy as np
import torch

from answers.registry import edge, right, wrong

def _k(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3

# ----------------------------------------------------------------------------------------------------------------- kid

@right("kid", "matrix")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).diagonal().sum()) / (len(x) * (len(x) - 1))
    return (w(a) + w(b) - 2 * _k(a, b).mean()).item()

@right("kid", "loops")
def _(a, b):
    D = a.shape[1]
    k = lambda x, y: (float(x @ y) / D + 1) ** 3

    def within(x):
        n = len(x)
        return sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    return within(a) + within(b) - 2 * sum(k(x, y) for x in a for y in b) / (len(a) * len(b))

@right("kid", "einsum, double, fill_diagonal_, tensor")
def _(a, b):
    a, b = a.double(), b.double()
    D = a.shape[-1]
    k = lambda x, y: (torch.einsum("nd,md->nm", x, y) / D + 1).pow(3)
    n, m = len(a), len(b)
    return (
        k(a, a).fill_diagonal_(0).sum() / n / (n - 1)
        + k(b, b).fill_diagonal_(0).sum() / m / (m - 1)
        - 2 * k(a, b).sum() / n / m
    )

@right("kid", "numpy")
def _(a, b):
    a, b = a.numpy(), b.numpy()
    D = a.shape[1]
    off = lambda K: K[~np.eye(len(K), dtype=bool)].mean()
    return off((a @ a.T / D + 1) ** 3) + off((b @ b.T / D + 1) ** 3) - 2 * ((a @ b.T / D + 1) ** 3).mean()

@right("kid", "i < j only (symmetry)")
def _(a, b):
    tri = lambda x: _k(x, x)[tuple(torch.triu_indices(len(x), len(x), 1))].mean()
    return tri(a) + tri(b) - 2 * _k(a, b).mean()

@wrong("kid", "diagonal left in (mean)", "with itself")
def _(a, b):
    return (_k(a, a).mean() + _k(b, b).mean() - 2 * _k(a, b).mean()).item()

@wrong("kid", "diagonal left in, divided by n(n-1)", "with itself, divided by fewer")
def _(a, b):
    n, m = len(a), len(b)
    return _k(a, a).sum() / n / (n - 1) + _k(b, b).sum() / m / (m - 1) - 2 * _k(a, b).mean()

@wrong("kid", "diagonal zeroed but divided by n^2", "divided by all pairs")
def _(a, b):
    return _k(a, a).fill_diagonal_(0).mean() + _k(b, b).fill_diagonal_(0).mean() - 2 * _k(a, b).mean()

@wrong("kid", "without / d", "not divided")
def _(a, b):
    k = lambda x, y: (x @ y.T + 1) ** 3
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "without + 1", "no effect of 1")
def _(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1]) ** 3
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "squared kernel", "squared kernel")
def _(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 2
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "cross once, not twice", "cross once")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - _k(a, b).mean()

@wrong("kid", "cross added", "added")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) + 2 * _k(a, b).mean()

@wrong("kid", "cross diagonal removed, too", "cross diagonal")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    n = min(len(a), len(b))
    K = _k(a, b)
    return w(a) + w(b) - 2 * (K.sum() - K[:n, :n].trace()) / (K.numel() - n)

@wrong("kid", "root of the result", "root, never below 0")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    return (w(a) + w(b) - 2 * _k(a, b).mean()).clamp(min=0).sqrt()

@wrong("kid", "clipped at 0", "never below 0")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    return (w(a) + w(b) - 2 * _k(a, b).mean()).clamp(min=0)

@wrong("kid", "abs", "absolute value")
def _(a, b):
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (len(x) * (len(x) - 1))
    return (w(a) + w(b) - 2 * _k(a, b).mean()).abs()

@wrong("kid", "divides by N, not D", "divided by N")
def _(a, b):
    k = lambda x, y: (x @ y.T / len(x) + 1) ** 3
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "sqrt(d) like attention", "divided by the root")
def _(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1] ** 0.5 + 1) ** 3
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "brackets: (xy/D)^3 + 1", "no effect of 1")
def _(a, b):
    k = lambda x, y: (x @ y.T / x.shape[1]) ** 3 + 1
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "brackets: (xy + 1)/D", "divided with the 1")
def _(a, b):
    k = lambda x, y: ((x @ y.T + 1) / x.shape[1]) ** 3
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

@wrong("kid", "sums instead of means", "sums")
def _(a, b):
    w = lambda x: _k(x, x).sum() - _k(x, x).trace()
    return w(a) + w(b) - 2 * _k(a, b).sum()

@wrong("kid", "distance of the means", "distance of the means")
def _(a, b):
    return ((a.mean(0) - b.mean(0)) ** 2).sum()

@wrong("kid", "N for both sets (M ignored)", "one count")
def _(a, b):
    n = len(a)
    w = lambda x: (_k(x, x).sum() - _k(x, x).trace()) / (n * (n - 1))
    return w(a) + w(b) - 2 * _k(a, b).sum() / n / n

@wrong("kid", "trace of kernel subtracted once from the total (bracket slip)", None)
def _(a, b):
    n, m = len(a), len(b)
    return (
        _k(a, a).sum() / (n * (n - 1))
        - _k(a, a).trace()
        + _k(b, b).sum() / (m * (m - 1))
        - _k(b, b).trace()
        - 2 * _k(a, b).mean()
    )

@wrong("kid", "RBF kernel", "Gaussian kernel")
def _(a, b):
    k = lambda x, y: torch.exp(-(torch.cdist(x, y) ** 2) / 2)
    w = lambda x: (k(x, x).sum() - k(x, x).trace()) / (len(x) * (len(x) - 1))
    return w(a) + w(b) - 2 * k(a, b).mean()

# -------------------------------------------------------------------------------------------------------------- recall

@right("recall", "cdist topk")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@right("recall", "loops, sorted")
def _(real, made, k):
    dist = lambda x, y: math.sqrt(((x.double() - y.double()) ** 2).sum().item())
    rad = [sorted((dist(m, n) for j, n in enumerate(made) if j != i))[k - 1] for i, m in enumerate(made)]
    return sum(any((dist(x, m) <= r for m, r in zip(made, rad))) for x in real) / len(real)

@right("recall", "numpy broadcasting")
def _(real, made, k):
    R, M = real.numpy(), made.numpy()
    d = lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))
    rad = np.sort(d(M, M), axis=1)[:, k]
    return float((d(R, M) <= rad[None]).any(1).mean())

@right("recall", "kthvalue, diagonal inf, tensor")
def _(real, made, k):
    d = torch.cdist(made, made)
    d.fill_diagonal_(float("inf"))
    r = d.kthvalue(k, dim=1).values
    return (torch.cdist(real, made) <= r[None, :]).any(dim=1).double().mean()

@right("recall", "squared distances throughout")
def _(real, made, k):
    d = lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1)
    r = d(made, made).sort(1).values[:, k]
    return (d(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "precision instead (sets swapped)", "precision")
def _(real, made, k):
    r = torch.cdist(real, real).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(made, real) <= r).any(1).float().mean().item()

@wrong("recall", "counts itself: topk(k)", "itself")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "k + 2: one neighbour too many", "one too far")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 2, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "radius of the real point (own radius) - among by real radius", "real radius")
def _(real, made, k):
    r = torch.cdist(real, real).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r[:, None]).any(1).float().mean().item()

@wrong("recall", "all instead of any", "all")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).all(1).float().mean().item()

@wrong("recall", "share of pairs", "pairs")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).float().mean().item()

@wrong("recall", "largest neighbours (largest=True default)", "largest")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "share of made points (any over dim 0)", "of the generated")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(0).float().mean().item()

@wrong("recall", "one radius for all (mean)", "one radius")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1].mean()
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "radius of the nearest made only", "nearest only")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    d = torch.cdist(real, made)
    n = d.argmin(1)
    return (d.min(1).values <= r[n]).float().mean().item()

@wrong("recall", "radius from real to made (k-th made neighbour of real)", "distance to real")
def _(real, made, k):
    r = torch.cdist(made, real).topk(k, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "count, not share", "count")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).sum().item()

@wrong("recall", "percent", "percent")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return 100 * (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "k hard-coded to 3", None)
def _(real, made, k):
    r = torch.cdist(made, made).topk(4, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r).any(1).float().mean().item()

@wrong("recall", "L1 distance", "city blocks")
def _(real, made, k):
    r = torch.cdist(made, made, p=1).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made, p=1) <= r).any(1).float().mean().item()

@wrong("recall", "radius broadcast over the wrong axis ([:, None]) if shapes allow", "wrong axis")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) <= r[:, None][: len(real)]).any(1).float().mean().item()

@wrong("recall", "not covered share (1 - recall)", "missed")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) > r).all(1).float().mean().item()

@edge("recall", "strictly closer (<) instead of no farther", "strictly")
def _(real, made, k):
    r = torch.cdist(made, made).topk(k + 1, largest=False).values[:, -1]
    return (torch.cdist(real, made) < r).any(1).float().mean().item()

# ------------------------------------------------------------------------------------------------------------- nearest

@right("nearest", "cdist min")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min(1).values

@right("nearest", "broadcast")
def _(queries, references):
    d = (queries[:, None] - references[None]).flatten(2)
    return d.square().sum(-1).sqrt().amin(1)

@right("nearest", "loops")
def _(queries, references):
    return torch.stack([min(((q - r) ** 2).sum().sqrt() for r in references) for q in queries])

@right("nearest", "einsum expansion |a|^2 + |b|^2 - 2ab, double")
def _(queries, references):
    a, b = queries.flatten(1).double(), references.flatten(1).double()
    d2 = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * torch.einsum("nd,md->nm", a, b)
    return d2.clamp(min=0).min(1).values.sqrt()

@right("nearest", "numpy")
def _(queries, references):
    q, r = queries.numpy(), references.numpy()
    return torch.tensor([min(np.linalg.norm(x - y) for y in r) for x in q])

@right("nearest", "expansion in float32 (rounds)")
def _(queries, references):
    a, b = queries.flatten(1), references.flatten(1)
    d2 = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return d2.clamp(min=0).min(1).values.sqrt()

@wrong("nearest", "distance to the mean image", "mean image")
def _(queries, references):
    return (queries - references.mean(0)).flatten(1).norm(dim=1)

@wrong("nearest", "mean distance to all references", "mean")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).mean(1)

@wrong("nearest", "root forgotten", "squared")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min(1).values ** 2

@wrong("nearest", "root mean square instead of sum", "per pixel")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min(1).values / queries[0].numel() ** 0.5

@wrong("nearest", "mean squared error", "mean squared")
def _(queries, references):
    d = (queries[:, None] - references[None]).flatten(2)
    return d.square().mean(-1).min(1).values

@wrong("nearest", "min over the queries (N,)", "other way")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min(0).values

@wrong("nearest", "one number", "overall")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min()

@wrong("nearest", "index instead of distance", "which")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).argmin(1)

@wrong("nearest", "L1", "absolute")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1), p=1).min(1).values

@wrong("nearest", "largest distance", "farthest")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).max(1).values

@wrong("nearest", "second nearest (skips itself)", "second")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).topk(2, largest=False).values[:, 1]

@wrong("nearest", "cdist without flattening (per row)", None)
def _(queries, references):
    return torch.cdist(queries, references).min(1).values

@wrong("nearest", "pairs by index", "by place")
def _(queries, references):
    n = min(len(queries), len(references))
    return (queries[:n] - references[:n]).flatten(1).norm(dim=1)

@wrong("nearest", "to first reference", "first")
def _(queries, references):
    return (queries - references[:1]).flatten(1).norm(dim=1)

@wrong("nearest", "pixelwise nearest: min over references per pixel, then norm", "pixel by pixel")
def _(queries, references):
    d = (queries[:, None] - references[None]).abs().amin(1)
    return d.flatten(1).norm(dim=1)

@wrong("nearest", "cosine distance", "cosine")
def _(queries, references):
    return (1 - torch.cosine_similarity(queries.flatten(1)[:, None], references.flatten(1)[None], dim=-1)).min(1).values

@wrong("nearest", "distance of mean brightness", "brightness")
def _(queries, references):
    return (queries.mean((1, 2, 3))[:, None] - references.mean((1, 2, 3))[None]).abs().min(1).values

@wrong("nearest", "one channel only", "one channel")
def _(queries, references):
    return torch.cdist(queries[:, 0].flatten(1), references[:, 0].flatten(1)).min(1).values

@edge("nearest", "(distance, index) pair as the notebook", "form")
def _(queries, references):
    d = torch.cdist(queries.flatten(1), references.flatten(1)).min(1)
    return (d.values, d.indices)

@edge("nearest", "named tuple of min(1)", "form")
def _(queries, references):
    return torch.cdist(queries.flatten(1), references.flatten(1)).min(1)

# ----------------------------------------------------------------------------------------------------------- closeness

@right("closeness", "topk")
def _(distances, k):
    d = distances.topk(k + 1, largest=False).values
    return d[:, 0] / d[:, 1:].mean(1)

@right("closeness", "sort")
def _(distances, k):
    d = torch.sort(distances, dim=1).values
    return d[:, 0] / d[:, 1 : k + 1].mean(dim=1)

@right("closeness", "loop")
def _(distances, k):
    out = []
    for row in distances.tolist():
        row = sorted(row)
        out.append(row[0] / (sum(row[1 : 1 + k]) / k))
    return torch.tensor(out)

@right("closeness", "numpy partition")
def _(distances, k):
    d = np.sort(distances.numpy(), 1)[:, : k + 1]
    return torch.from_numpy(d[:, 0] / d[:, 1:].mean(1))

@right("closeness", "double, clamp")
def _(distances, k):
    d = distances.double().sort(1)[0]
    return d[:, 0] / d[:, 1 : k + 1].mean(1).clamp(min=1e-06)

@wrong("closeness", "the nearest counted among the k", "nearest again")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, :k].mean(1)

@wrong("closeness", "mean of k + 1 with the nearest", "nearest too")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, : k + 1].mean(1)

@wrong("closeness", "not sorted", "unsorted")
def _(distances, k):
    return distances[:, 0] / distances[:, 1 : k + 1].mean(1)

@wrong("closeness", "one neighbour too few: [1:k]", "one too few")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1:k].mean(1)

@wrong("closeness", "all others", "all")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1:].mean(1)

@wrong("closeness", "k-th only", "k-th")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, k]

@wrong("closeness", "inverted", "upside down")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 1 : k + 1].mean(1) / d[:, 0].clamp(min=1e-06)

@wrong("closeness", "sum instead of mean", "sum")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1 : k + 1].sum(1)

@wrong("closeness", "difference (gap)", "gap")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 1 : k + 1].mean(1) - d[:, 0]

@wrong("closeness", "largest first", "largest first")
def _(distances, k):
    d = distances.topk(k + 1).values
    return d[:, 0] / d[:, 1:].mean(1)

@wrong("closeness", "sorted along dim 0", "sorted by columns")
def _(distances, k):
    d = distances.sort(0).values
    return d[:, 0] / d[:, 1 : k + 1].mean(1)

@wrong("closeness", "mean over whole batch", "all images")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1 : k + 1].mean()

@wrong("closeness", "min divided by mean of first k unsorted", "others unsorted")
def _(distances, k):
    return distances.min(1).values / distances[:, 1 : k + 1].mean(1)

@wrong("closeness", "1 - ratio", "one minus")
def _(distances, k):
    d = distances.sort(1).values
    return 1 - d[:, 0] / d[:, 1 : k + 1].mean(1)

@wrong("closeness", "median", "median")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1 : k + 1].median(1).values

@wrong("closeness", "sorts the input in place (right value)", "form")
def _(distances, k):
    distances.copy_(distances.sort(1).values)
    return distances[:, 0] / distances[:, 1 : k + 1].mean(1)

@wrong("closeness", "k + 1 others", "one too many")
def _(distances, k):
    d = distances.sort(1).values
    return d[:, 0] / d[:, 1 : k + 2].mean(1)

# -------------------------------------------------------------------------------------------------------------- copied

@right("copied", "min")
def _(made, held_out):
    return (made < held_out.min()).float().mean().item()

@right("copied", "loop")
def _(made, held_out):
    return sum(all(m < h for h in held_out.tolist()) for m in made.tolist()) / len(made)

@right("copied", "broadcast all")
def _(made, held_out):
    return (made[:, None] < held_out[None]).all(1).double().mean()

@right("copied", "numpy")
def _(made, held_out):
    return float(np.mean(made.numpy() < held_out.numpy().min()))

@wrong("copied", "mean of held_out as limit", "mean")
def _(made, held_out):
    return (made < held_out.mean()).float().mean().item()

@wrong("copied", "max of held_out (closer than any)", "farthest")
def _(made, held_out):
    return (made < held_out.max()).float().mean().item()

@wrong("copied", "fixed limit 0.5", "half")
def _(made, held_out):
    return (made < 0.5).float().mean().item()

@wrong("copied", "<=", "not strictly")
def _(made, held_out):
    return (made <= held_out.min()).float().mean().item()

@wrong("copied", "count", "count")
def _(made, held_out):
    return (made < held_out.min()).sum().item()

@wrong("copied", "other direction: >", "farther")
def _(made, held_out):
    return (made > held_out.min()).float().mean().item()

@wrong("copied", "sets swapped", "sets exchanged")
def _(made, held_out):
    return (held_out < made.min()).float().mean().item()

@wrong("copied", "5th percentile", "percentile")
def _(made, held_out):
    return (made < held_out.quantile(0.05)).float().mean().item()

@wrong("copied", "share of pairs", "pairs")
def _(made, held_out):
    return (made[:, None] < held_out[None]).float().mean().item()

@wrong("copied", "any pair", "farthest")
def _(made, held_out):
    return (made[:, None] < held_out[None]).any(1).float().mean().item()

@wrong("copied", "divided by M", "by the held-out")
def _(made, held_out):
    return (made < held_out.min()).sum().item() / len(held_out)

@wrong("copied", "subtracts share of held-out (0) but with mean limit", None)
def _(made, held_out):
    limit = held_out.median()
    return ((made < limit).float().mean() - (held_out < limit).float().mean()).item()

@wrong("copied", "percent", "percent")
def _(made, held_out):
    return 100 * (made < held_out.min()).float().mean().item()

@wrong("copied", "mask returned", "each")
def _(made, held_out):
    return made < held_out.min()

@wrong("copied", "exact copies only (== 0)", "exact copies")
def _(made, held_out):
    return (made == 0).float().mean().item()

@wrong("copied", "pair by pair (zip)", "by place")
def _(made, held_out):
    n = min(len(made), len(held_out))
    return (made[:n] < held_out[:n]).float().mean().item()

@right("copied", "page formula with 0.5 rule")
def _(made, held_out):
    limit = held_out[held_out >= 0.5].min()
    c, i = (made < limit).float().mean(), (held_out < limit).float().mean()
    return ((c - i) / (1 - i)).item()
