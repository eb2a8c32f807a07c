"""Bar 6: denoising held-out pictures, against the filters that people use."""
import numpy as np
import torch
from skimage.filters import gaussian, median
from skimage.metrics import structural_similarity
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from benchmarks.common import HELD_OUT, SHIPPED, at_least, note, sha256, verdict
from helpers import scenes
from helpers.checkpoints import load_sampler
from helpers.metrics import psnr
from helpers.samplers import dpmpp_2m_step, partial_denoise

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)     # noise on pictures whose own standard deviation is about 0.24
MODERATE = 0.2                                    # from here on the noise is as strong as the picture, or nearly
AHEAD = 0.5                                       # dB
STEPS = 10                                        # of the partial denoise, at most


# each filter: (a grid of its strength, other settings to try, (picture, strength, sigma, other) -> picture)
FILTERS = {
    "Gaussian": (np.geomspace(0.2, 64, 26), [None], lambda x, k, sigma, _: gaussian(x, k, mode="reflect")),
    "median": ([*range(17), 20, 24, 32], [None], lambda x, k, sigma, _: median(x, disk(int(k)), mode="reflect")),
    "total variation": (np.geomspace(0.01, 400, 32), [None], lambda x, k, sigma, _: denoise_tv_chambolle(x, k)),
    "non-local means": (np.geomspace(0.1, 6, 14), [(5, 6), (7, 11)], lambda x, k, sigma, other: denoise_nl_means(
        x, *other, h=k * sigma, sigma=sigma)),
}


def level(schedule, sigma):
    """The t whose noise, once x_t is divided by sqrt(alpha_bar), comes nearest to sigma: (t, its sigma)."""
    found = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt()
    t = 1 + (found[1:].log() - torch.tensor(sigma).double().log()).abs().argmin().item()
    return t, found[t].item()


def quality(pictures, clean):
    """(mean PSNR in dB, mean SSIM) of pictures (N, 1, H, W) held inside [-1, 1]."""
    pictures = pictures.clamp(-1, 1)
    similar = [structural_similarity(a, b, data_range=2.0) for a, b in zip(pictures[:, 0].numpy(), clean[:, 0].numpy())]
    return psnr(pictures, clean).mean().item(), float(np.mean(similar))


def filtered(name, noisy, strength, sigma, other):
    """The filter's answer to noisy pictures (N, 1, H, W)."""
    answer = [FILTERS[name][2](x, strength, sigma, other) for x in noisy[:, 0].double().numpy()]
    return torch.from_numpy(np.stack(answer)).float()[:, None]


def tuned(name, noisy, clean, sigma):
    """The best settings on training pictures: {"psnr": (strength, other, inside), "ssim": …}.

    inside: whether the best lies inside the grid of strengths, so that none beyond it would have been better
    """
    strengths, others, _ = FILTERS[name]
    tried = [(strength, other, *quality(filtered(name, noisy, strength, sigma, other), clean))
             for other in others for strength in strengths]
    best = {"psnr": max(tried, key=lambda row: row[2]), "ssim": max(tried, key=lambda row: row[3])}
    ends = (strengths[0], strengths[-1])
    return {key: (float(row[0]), row[1], bool(row[0] not in ends)) for key, row in best.items()}


def ours(x0_model, schedule, clean, t, seed):
    """(x_t / sqrt(alpha_bar), the one-step x0_hat, the full partial denoise): the last two see only the first."""
    torch.manual_seed(seed)
    root = schedule.at(t, clean).sqrt().item()
    noisy, full = [], []
    for x in clean.split(64):
        a, b = partial_denoise(x0_model, schedule, x, t, steps=STEPS, step=dpmpp_2m_step)
        noisy.append(a), full.append(b)
    noisy = torch.cat(noisy)
    with torch.no_grad():
        one = torch.cat([x0_model(x, torch.full((len(x),), t)) for x in noisy.split(64)])
    return (noisy / root).float(), one.float(), torch.cat(full).float()


def denoising_checks(levels):
    """The checks of bar 6: the lead of the one-step x0_hat on the best filter, at the worst level from MODERATE on."""
    wanted = [row for row in levels if row["sigma"] >= 0.9 * MODERATE]
    lead = lambda row, which: row["ours"]["one step"][which] - max(f[which] for f in row["filters"].values())
    return [at_least(f"dB of PSNR is our one-step x0_hat ahead of the best filter, at the worst level of noise from "
                     f"{MODERATE} on", min(lead(row, "psnr") for row in wanted), AHEAD),
            at_least(f"of SSIM is our one-step x0_hat ahead of the best filter, at the worst level of noise from "
                     f"{MODERATE} on", min(lead(row, "ssim") for row in wanted), 0)]


def denoising(s, _=None):
    """Bar 6: PSNR and SSIM at seven noise levels, against Gaussian, median, total variation and non-local means."""
    x0_model, schedule, about = load_sampler(SHIPPED)
    clean = scenes.craters(s.pictures, seed=HELD_OUT).images
    known = scenes.craters(s.tuning, seed=about["seed"]).images              # of the training set
    levels, rows = [], []
    for k, wanted in enumerate(SIGMAS):
        t, sigma = level(schedule, wanted)
        noisy, one, full = ours(x0_model, schedule, clean, t, 100 + k)
        practice = ours(x0_model, schedule, known, t, 200 + k)[0]
        scored = lambda x: dict(zip(("psnr", "ssim"), quality(x, clean)))
        row = dict(t=t, sigma=sigma, alpha_bar=schedule.alpha_bar[t].item(), noisy=scored(noisy),
                   ours={"one step": scored(one), "partial denoise": scored(full)}, filters={}, settings={})
        for name in FILTERS:
            row["settings"][name] = best = tuned(name, practice, known, sigma)
            row["filters"][name] = {which: scored(filtered(name, noisy, strength, sigma, other))[which]
                                    for which, (strength, other, _) in best.items()}
        levels.append(row)
        cell = lambda v: f"{v['psnr']:.1f} / {v['ssim']:.2f}"
        rows.append({"sigma": sigma, "t": t, "noisy": cell(row["noisy"]),
                     **{name: cell(v) for name, v in [*row["ours"].items(), *row["filters"].items()]}})
        note(f"sigma {sigma:.2f}: done")
    checks = denoising_checks(levels)
    edges = [f"{name} at sigma {row['sigma']:.2f}" for row in levels for name, best in row["settings"].items()
             if not best["psnr"][2]]
    return dict(name="denoising", number=6, title="Denoising",
                bar=f"the one-step x0_hat is {AHEAD} dB or more ahead of every filter wherever the noise is moderate "
                    f"or more (sigma from {MODERATE} on)",
                passed=verdict(checks), checks=checks, rows=rows, levels=levels,
                says=[f"PSNR in dB / SSIM, means over {s.pictures} held-out pictures; sigma of the noise on pictures "
                      f"in [-1, 1] whose own standard deviation is {clean.std():.2f}. Each filter is tuned at each "
                      f"level on {s.tuning} training pictures, once for PSNR and once for SSIM, and knows sigma. The "
                      f"partial denoise takes {STEPS} deterministic steps.",
                      "A filter was best at an end of its grid: " + ", ".join(edges) if edges else
                      "Each filter's best PSNR lies inside the grid of its settings."],
                weights=sha256(SHIPPED))
