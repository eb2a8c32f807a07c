"""The answers to the exercises, as one would write them on the board: my_NAME is what check.NAME wants to see.

tests/test_classroom.py puts each through its check; classroom.py writes them into the instructor's notebooks, with
those of the imports below that they use.
"""
import math

import torch
import torch.nn.functional as F

# ---------------------------------------------------------------------------------------------------------------- 01


def my_held_out(groups, share):
    slices = groups.unique()                                   # (S,), in rising order
    count = max(round(share * len(slices)), 1)                 # a share of slices, not of pictures
    return torch.isin(groups, slices[-count:])                 # (N,)


def my_iou(pred, target):
    p, q = pred.flatten(1), target.flatten(1)                  # (B, H * W)
    overlap = (p * q).sum(1)                                   # (B,)
    union = p.sum(1) + q.sum(1) - overlap                      # the overlap was counted twice
    return torch.where(union == 0, 1.0, overlap / union)


def my_dice(pred, target):
    p, q = pred.flatten(1), target.flatten(1)                  # (B, H * W)
    return 2 * (p * q).sum(1) / (p.sum(1) + q.sum(1))          # (B,)


def my_skip_join(x, skip):
    grown = F.interpolate(x, scale_factor=2)                   # (B, C, 2H, 2W): each pixel four times
    return torch.cat([grown, skip], dim=1)                     # (B, C + D, 2H, 2W)

# ---------------------------------------------------------------------------------------------------------------- 02


def my_noise_step(x, beta, z):
    return (1 - beta) ** 0.5 * x + beta ** 0.5 * z             # the squares of the weights sum to 1


def my_alpha_bar(beta):
    return (1 - beta).cumprod(0)                               # (T + 1,): each step keeps its part of what is there


def my_q_sample(x0, t, eps, alpha_bar):
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1): each picture its own time
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def my_equal_parts(alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)                          # (T + 1,), infinite at t = 0
    return snr.log().abs().argmin().item()                     # an index is a t already


def my_beta_of(alpha_bar):
    alpha = alpha_bar[1:] / alpha_bar[:-1]                     # (T,): what each step leaves
    return F.pad(1 - alpha, (1, 0))                            # (T + 1,), beta[0] = 0

# ---------------------------------------------------------------------------------------------------------------- 03


def my_time_embedding(t, dim):
    k = torch.arange(dim // 2)                                 # (dim / 2,)
    freq = torch.exp(-math.log(10_000) * k / (dim // 2))       # from 1 down, by equal factors
    angle = t[:, None] * freq                                  # (B, dim / 2)
    return torch.cat([angle.cos(), angle.sin()], dim=1)        # (B, dim)


def my_noise_loss(model, x0, t, eps, alpha_bar):
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return ((model(xt, t) - eps) ** 2).mean()                  # one number


def my_ema_update(average, weights, decay):
    return decay * average + (1 - decay) * weights


def my_predict_x0(xt, t, eps, alpha_bar):
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1)
    return (xt - (1 - a).sqrt() * eps) / a.sqrt()

# ---------------------------------------------------------------------------------------------------------------- 04


def my_ddpm_step(xt, x0, t, s, alpha_bar, z):
    a_t, a_s = alpha_bar[t], alpha_bar[s]
    alpha = a_t / a_s                                          # what survives from s to t
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)             # 0 at s = 0
    return mean + variance.sqrt() * z


def my_last_step(t, s, alpha_bar):
    a_t, a_s = alpha_bar[t], alpha_bar[s]
    return ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt().item()         # at s = 0 the first factor is 0


def my_ddim_step(xt, x0, t, s, alpha_bar):
    a_t, a_s = alpha_bar[t], alpha_bar[s]
    eps = (xt - a_t.sqrt() * x0) / (1 - a_t).sqrt()            # the noise that, with the guess, makes up x_t
    return a_s.sqrt() * x0 + (1 - a_s).sqrt() * eps


def my_timesteps(T, steps):
    return list(range(T, -1, -T // steps))                     # steps + 1 times, both ends among them


def my_partial_denoise(denoise, x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    noisy = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return denoise(noisy, t)                                   # made from the noisy picture alone

# ---------------------------------------------------------------------------------------------------------------- 05


def my_psnr(pred, target):
    error = ((pred - target) ** 2).mean((1, 2, 3))             # (B,)
    return 10 * torch.log10(2 ** 2 / error)                    # from -1 to 1 the peak is 2


def my_time_of(s, alpha_bar):
    noise = ((1 - alpha_bar) / alpha_bar).sqrt()               # (T + 1,): in x_t divided by the weight of its picture
    return (noise - s).abs().argmin().item()


def my_spread(restorations):
    return restorations.std(0)                                 # (C, H, W)


def my_blend(answers, weights):
    return (answers * weights).sum(0) / weights.sum(0)         # (H, W)

# ---------------------------------------------------------------------------------------------------------------- 06


def my_kid(a, b):
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3      # (N, M): one number for each pair

    def within(x):
        k, n = kernel(x, x), len(x)
        return (k.sum() - k.trace()) / (n * (n - 1))           # never a picture with itself

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()


def my_recall(real, made, k):
    reach = torch.cdist(made, made).sort(1).values[:, k]       # (M,): entry 0 is the point itself
    covered = torch.cdist(real, made) <= reach                 # (N, M)
    return covered.any(1).float().mean().item()


def my_nearest(queries, references):
    distance = torch.cdist(queries.flatten(1), references.flatten(1))      # (B, N)
    return distance.amin(1)                                    # (B,)


def my_closeness(distances, k):
    d = distances.sort(1).values                               # (B, N), the nearest first
    return d[:, 0] / d[:, 1:k + 1].mean(1)                     # (B,)


def my_copied(made, held_out):
    return (made < held_out.min()).float().mean().item()

# ---------------------------------------------------------------------------------------------------------------- 07


def my_invert_step(xt, eps, t, u, alpha_bar):
    a_t, a_u = alpha_bar[t], alpha_bar[u]
    x0 = (xt - (1 - a_t).sqrt() * eps) / a_t.sqrt()            # the picture behind x_t
    return a_u.sqrt() * x0 + (1 - a_u).sqrt() * eps            # noised up to u, with the same noise


def my_slerp(a, b, u):
    x, y = a.flatten(1), b.flatten(1)                          # (B, C * H * W)
    cos = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))     # (B,)
    w = cos.acos()[:, None, None, None]                        # (B, 1, 1, 1): each pair its own angle
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)


def my_guided(eps, eps_without, scale):
    return eps_without + scale * (eps - eps_without)


def my_drop_labels(y, u, share):
    return torch.where(u < share, -1, y)                       # (B,)

# ---------------------------------------------------------------------------------------------------------------- 08


def my_paste_known(xt, x0, mask, t, eps, alpha_bar):
    a = alpha_bar[t]
    known = a.sqrt() * x0 + (1 - a).sqrt() * eps               # as noisy as the rest is at t
    return torch.where(mask == 1, known, xt)


def my_bits_per_dim(nll, shape):
    nats = nll / math.prod(shape)                              # (B,): for one value between -1 and 1
    return nats / math.log(2) + math.log2(127.5)               # 0 to 255 is 127.5 times as wide


def my_back_project(x, low):
    lacking = low - F.avg_pool2d(x, 2)                         # (B, C, H, W)
    return x + F.interpolate(lacking, scale_factor=2)          # to all four pixels alike


def my_step_cost(x0, guess, t, s, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)                          # (T + 1,)
    return (snr[s] - snr[t]) / 2 * ((x0 - guess) ** 2).sum((1, 2, 3))      # (B,), in nats

# ---------------------------------------------------------------------------------------------------------------- 09


def my_prepare(grey):
    return grey / 8 - 1                                        # from 0 … 16 to -1 … 1


@torch.no_grad()
def my_follow(average, model, decay):
    for a, w in zip(average.parameters(), model.parameters()):
        a.copy_(decay * a + (1 - decay) * w)                   # in place: a = … would only move the name
    return average


def my_end(schedule, xt, x0, t, s):
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)             # 0 at s = 0
    return mean + variance.sqrt() * torch.randn_like(xt)


def my_loss(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (len(x0),))           # (B,)
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)                        # it sees x_t, never x_0


def my_step(schedule, xt, x0, t, s):
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)
    return mean + variance.sqrt() * torch.randn_like(xt)       # the root: a standard deviation


def my_embedding(t, dim):
    k = torch.arange(dim // 2)                                 # (dim / 2,)
    angle = t[:, None] * torch.exp(-math.log(10_000) * k / (dim // 2))     # (B, dim / 2): of t, not of the place
    return torch.cat([angle.cos(), angle.sin()], dim=1)        # (B, dim)


def my_times(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (len(x0),))           # (B,): a time for each picture
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


def my_split(pictures, held):
    mixed = pictures[torch.randperm(len(pictures))]            # shuffle once, cut once
    return mixed[held:], mixed[:held]
