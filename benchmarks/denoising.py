"""denoising: held-out images, against the filters that people use."""
import numpy as np
import torch
from skimage.filters import gaussian, median
from skimage.metrics import structural_similarity
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from benchmarks.common import HELD_OUT, SHIPPED, at_least, note, verdict
from helpers import scenes
from helpers.checkpoints import load_sampler
from helpers.metrics import psnr
from helpers.samplers import dpmpp_2m_step, partial_denoise

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)     # noise on images whose own standard deviation is about 0.24
MODERATE = 0.2                                    # from here on the noise is as strong as the image, or nearly
AHEAD = 0.5                                       # dB
STEPS = 10                                        # of the partial denoise, at most


def non_local_means(image, strength, sigma, patches):
    """The image after non-local means; patches: (side of a patch, how far away others are looked for)."""
    return denoise_nl_means(image, *patches, h=strength * sigma, sigma=sigma)


# each filter: (a grid of its strength, other settings to try, (image, strength, sigma, other) -> image)
FILTERS = {
    "Gaussian": (np.geomspace(0.2, 64, 26), [None], lambda x, k, sigma, _: gaussian(x, k, mode="reflect")),
    "median": ([*range(17), 20, 24, 32], [None], lambda x, k, sigma, _: median(x, disk(int(k)), mode="reflect")),
    "total variation": (np.geomspace(0.01, 400, 32), [None], lambda x, k, sigma, _: denoise_tv_chambolle(x, k)),
    "non-local means": (np.geomspace(0.1, 6, 14), [(5, 6), (7, 11)], non_local_means),
}


def level(schedule, sigma):
    """The t whose noise, once x_t is divided by sqrt(alpha_bar), comes nearest to sigma: (t, its sigma)."""
    found = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt()
    t = 1 + (found[1:].log() - torch.tensor(sigma).double().log()).abs().argmin().item()
    return t, found[t].item()


def quality(images, clean):
    """{"psnr": mean in dB, "ssim": mean} of images (N, 1, H, W) clipped to [-1, 1]."""
    images = images.clamp(-1, 1)
    similar = [structural_similarity(a, b, data_range=2.0) for a, b in zip(images[:, 0].numpy(), clean[:, 0].numpy())]
    return dict(psnr=psnr(images, clean).mean().item(), ssim=float(np.mean(similar)))


def filtered(name, noisy, strength, sigma, other):
    """Noisy images (N, 1, H, W) after a filter: the same shape."""
    images = [FILTERS[name][2](x, strength, sigma, other) for x in noisy[:, 0].double().numpy()]
    return torch.from_numpy(np.stack(images)).float()[:, None]


def tuned(name, noisy, clean, sigma):
    """The best settings on training images: {"psnr": (strength, other, inside), "ssim": …}.

    inside: whether the best lies inside the grid of strengths, so that none beyond it would have been better
    """
    strengths, others, _ = FILTERS[name]
    tried = [(strength, other, quality(filtered(name, noisy, strength, sigma, other), clean))
             for other in others for strength in strengths]
    best = {key: max(tried, key=lambda row: row[2][key]) for key in ("psnr", "ssim")}
    return {key: (float(row[0]), row[1], bool(strengths[0] < row[0] < strengths[-1])) for key, row in best.items()}


def ours(x0_model, schedule, clean, t, seed):
    """(x_t / sqrt(alpha_bar), the one-step x0_hat, the full partial denoise): the last two see only the first."""
    torch.manual_seed(seed)
    pairs = [partial_denoise(x0_model, schedule, x, t, steps=STEPS, step=dpmpp_2m_step) for x in clean.split(64)]
    noisy, full = map(torch.cat, zip(*pairs))
    with torch.no_grad():
        one = torch.cat([x0_model(x, torch.full((len(x),), t)) for x in noisy.split(64)])
    return (noisy / schedule.at(t, clean).sqrt().item()).float(), one.float(), full.float()


def denoising_checks(levels):
    """The lead of the one-step x0_hat on the best filter, at the worst level from MODERATE on: two checks."""
    lead = {which: min(row["ours"]["one step"][which] - max(f[which] for f in row["filters"].values())
                       for row in levels if row["sigma"] >= 0.9 * MODERATE) for which in ("psnr", "ssim")}
    where = f"is our one-step x0_hat ahead of the best filter, at the worst level of noise from {MODERATE} on"
    return [at_least(f"dB of PSNR {where}", lead["psnr"], AHEAD), at_least(f"of SSIM {where}", lead["ssim"], 0)]


def denoising(s, _=None):
    """PSNR and SSIM at seven noise levels, against Gaussian, median, total variation and non-local means."""
    x0_model, schedule, about = load_sampler(SHIPPED)
    clean = scenes.craters(s.images, seed=HELD_OUT).images
    known = scenes.craters(s.tuning, seed=about["seed"]).images              # of the training set
    levels, rows, edges = [], [], []
    for k, wanted in enumerate(SIGMAS):
        t, sigma = level(schedule, wanted)
        noisy, one, full = ours(x0_model, schedule, clean, t, 100 + k)
        practice = ours(x0_model, schedule, known, t, 200 + k)[0]
        row = dict(t=t, sigma=sigma, alpha_bar=schedule.alpha_bar[t].item(), noisy=quality(noisy, clean),
                   ours={"one step": quality(one, clean), "partial denoise": quality(full, clean)}, filters={},
                   settings={name: tuned(name, practice, known, sigma) for name in FILTERS})
        for name, best in row["settings"].items():
            row["filters"][name] = {which: quality(filtered(name, noisy, strength, sigma, other), clean)[which]
                                    for which, (strength, other, _) in best.items()}
            edges += [] if best["psnr"][2] else [f"{name} at sigma {sigma:.2f}"]
        levels.append(row)
        rows.append({"sigma": sigma, "t": t} | {name: f"{v['psnr']:.1f} / {v['ssim']:.2f}" for name, v in (
            {"noisy": row["noisy"]} | row["ours"] | row["filters"]).items()})
        note(f"sigma {sigma:.2f}: done")
    checks = denoising_checks(levels)
    return dict(name="denoising", title="Denoising",
                claim=f"the one-step x0_hat is {AHEAD} dB or more ahead of every filter wherever the noise is moderate "
                      f"or more (sigma from {MODERATE} on)",
                passed=verdict(checks), checks=checks, rows=rows, levels=levels,
                says=[f"PSNR in dB / SSIM, means over {s.images} held-out images; sigma of the noise on images in "
                      f"[-1, 1] whose own standard deviation is {clean.std():.2f}. Each filter is tuned at each level "
                      f"on {s.tuning} training images, once for PSNR and once for SSIM, and knows sigma. The partial "
                      f"denoise takes {STEPS} deterministic steps.",
                      f"A filter was best at an end of its grid: {', '.join(edges)}." if edges else
                      "Each filter's best PSNR lies inside the grid of its settings."])
