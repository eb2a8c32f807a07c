"""The exercises of pages 04 to 06: noise out, denoising, good or copied."""
import math

import torch

from helpers import metrics, samplers
from helpers.check.engine import exercise
from helpers.check.noising import ALPHA_BAR, known, mixed


def fresh(*shape):
    """The noise that a helper draws for itself after torch.manual_seed(0), so that z can be given to the learner."""
    torch.manual_seed(0)
    return torch.randn(*shape)


def seeded(function, *args, **options):
    """A helper's answer, if what it draws is fresh()."""
    torch.manual_seed(0)
    return function(*args, **options)

# ---------------------------------------------------------------------------------------------------------------- 04


def posterior(mean, variance):
    """A wrong ddpm_step from formulas of (xt, x0, a_t, a_s, alpha)."""
    def step(xt, x0, t, s, alpha_bar, z):
        a_t, a_s = alpha_bar[t], alpha_bar[s]
        parts = xt, x0, a_t, a_s, a_t / a_s
        return mean(*parts) + variance(*parts) * z
    return step


blend = lambda xt, x0, a_t, a_s, alpha: (a_s**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a_s) * xt) / (1 - a_t)
small = lambda xt, x0, a_t, a_s, alpha: (1 - a_s) / (1 - a_t) * (1 - alpha)
std = lambda *parts: small(*parts)**0.5
steps_down = lambda draw: [(draw(2), draw(2), 5, 3, ALPHA_BAR), (draw(2, 1, 2, 3), draw(2, 1, 2, 3), 6, 4, ALPHA_BAR),
                           (draw(2), draw(2), 2, 0, ALPHA_BAR)]
exercise(
    "ddpm_step", "04", "One step of DDPM",
    "From x_t at t to x_s at s, any s below t, given the guess x0: the mean of the posterior, plus its standard "
    "deviation times the noise z, which is given; alpha_bar is (T + 1,), t and s are whole numbers.",
    truth=samplers.ddpm_step,
    inputs=lambda draw: [(*case, fresh(*case[0].shape)) for case in steps_down(draw)],
    mistakes={
        "variance": (posterior(blend, small),
                     "The noise is multiplied by the variance. What scales a noise is its standard deviation."),
        "noise at the end": (posterior(blend, lambda xt, x0, a_t, a_s, alpha: (1 - alpha)**0.5),
                             "This is the noise that the forward step added. Of the posterior's variance a part is "
                             "missing, and so your last step still adds noise."),
        "no noise": (posterior(blend, lambda *parts: 0),
                     "This is the mean alone. DDPM draws, so add the noise z in the right strength."),
        "weights swapped": (posterior(lambda xt, x0, *a: blend(x0, xt, *a), std),
                            "The guess and x_t have each other's weight in the mean."),
        "alpha_bar for alpha": (posterior(lambda xt, x0, a_t, a_s, alpha: blend(xt, x0, a_t, a_s, a_t),
                                          lambda xt, x0, a_t, a_s, alpha: std(xt, x0, a_t, a_s, a_t)),
                                "You put alpha_bar where alpha belongs. Here alpha is what survives on the way from s "
                                "to t alone."),
        "not divided": (posterior(lambda xt, x0, a_t, a_s, alpha: (1 - a_t) * blend(xt, x0, a_t, a_s, alpha), std),
                        "The mean is too small: the whole blend is to be divided by the noise that there is at t."),
        "only one step": (lambda xt, x0, t, s, alpha_bar, z: posterior(blend, std)(xt, x0, t, t - 1, alpha_bar, z),
                          "You step from t to the t just below, whatever s is. Steps may be left out, so use s."),
        "no roots": (posterior(lambda xt, x0, a_t, a_s, alpha: (a_s * (1 - alpha) * x0 + alpha * (1 - a_s) * xt)
                               / (1 - a_t), std),
                     "In the mean's two weights the roots are missing. Compare them with the formula, factor by "
                     "factor."),
        "noised anew": (lambda xt, x0, t, s, alpha_bar, z: mixed(x0, z, alpha_bar[s]),
                        "You put fresh noise on the guess and forget where you are: x_t takes no part."),
        "alpha of one step": (lambda xt, x0, t, s, alpha_bar, z: (
                                  blend(xt, x0, alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[t - 1])
                                  + std(xt, x0, alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[t - 1]) * z),
                              "Your alpha is that of the single step t. Where steps are left out, it is what survives "
                              "on the whole way from s to t."),
        "half a root": (posterior(blend, lambda xt, x0, a_t, a_s, alpha: (1 - a_s) / (1 - a_t) * (1 - alpha)**0.5),
                        "Your root covers only a part of the variance: a pair of brackets is missing."),
    })

deviation = lambda formula: lambda t, s, alpha_bar: formula(alpha_bar[t], alpha_bar[s]).item()
exercise(
    "last_step", "04", "One step of DDPM",
    "The standard deviation of the noise that a DDPM step from t to s adds, any s below t, one number. (Work out for "
    "yourself what it becomes in the last step, where s is 0.)",
    truth=lambda t, s, alpha_bar: samplers.ddpm_step(
        torch.zeros(1), torch.zeros(1), t, s, alpha_bar, z=torch.ones(1)).item(),
    inputs=lambda draw: [(1, 0, ALPHA_BAR), (5, 3, ALPHA_BAR), (6, 5, ALPHA_BAR)],
    mistakes={
        "variance": (deviation(lambda a_t, a_s: (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)),
                     "This is the variance. One operation is missing to the standard deviation."),
        "forward step": (deviation(lambda a_t, a_s: (1 - a_t / a_s)**0.5),
                         "This is the noise of the forward step, and at the last step it does not vanish. The "
                         "posterior knows the guess, so less is open: a factor is missing."),
        "all the noise": (deviation(lambda a_t, a_s: (1 - a_s)**0.5),
                          "This is all the noise that x_s contains. Most of it comes along with x_t; how much is "
                          "fresh?"),
        "upside down": (deviation(lambda a_t, a_s: ((1 - a_t) / (1 - a_s) * (1 - a_t / a_s))**0.5),
                        "The fraction is upside down, and in the last step you divide by 0."),
        "alpha upside down": (deviation(lambda a_t, a_s: ((1 - a_s) / (1 - a_t) * (a_s / a_t - 1))**0.5),
                              "Your alpha is upside down. It is what survives from s to t, so it lies below 1."),
        "picture": (deviation(lambda a_t, a_s: (a_s / a_t * (1 - a_t / a_s))**0.5),
                    "Your fraction compares what is left of the picture. Compare the noise at s with the noise at t."),
        "the last alone": (lambda t, s, alpha_bar: 0.0,
                           "This is right for the last step alone. Asked for is what any step adds, from t to s."),
        "forward step, but for the end": (lambda t, s, alpha_bar: (1 - alpha_bar[t] / alpha_bar[s]).item()**0.5
                                          * (s > 0),
                                          "The last step is right, but the others have the noise of the forward step. "
                                          "A factor is missing, and with it the end comes right by itself."),
    })


def jump(formula):
    """A wrong ddim_step from a formula of (xt, x0, eps, a_t, a_s)."""
    def step(xt, x0, t, s, alpha_bar):
        a_t, a_s = alpha_bar[t], alpha_bar[s]
        return formula(xt, x0, (xt - a_t**0.5 * x0) / (1 - a_t)**0.5, a_t, a_s)
    return step


exercise(
    "ddim_step", "04", "DDIM: the same network, no fresh noise",
    "From x_t at t to x_s at s, given the guess x0, with eta at 0: no noise is drawn.",
    truth=samplers.ddim_step,
    inputs=steps_down,
    mistakes={
        "no roots": (jump(lambda xt, x0, e, a_t, a_s: a_s * x0 + (1 - a_s) * e),
                     "You split x_t well, but put the parts together with variances. Weights are standard deviations."),
        "one time": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, e, a_t)),
                     "You are back at x_t, since you split and put together in one and the same proportion. Split in "
                     "that of t, put together in that of s."),
        "noise of t": (jump(lambda xt, x0, e, a_t, a_s: a_s**0.5 * x0 + (1 - a_t)**0.5 * e),
                       "The guess has the weight of s, but the noise is still as strong as at t."),
        "x_t as noise": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, xt, a_s)),
                         "You take x_t itself for the noise. First find the noise that, with the guess, makes up x_t."),
        "swapped": (jump(lambda xt, x0, e, a_t, a_s: mixed(e, x0, a_s)),
                    "Guess and noise have each other's weight: at small s there should be much picture."),
        "sign": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, -e, a_s)),
                 "The guessed noise has the wrong sign: it has to be put back in, not to be taken out twice."),
        "guess": (jump(lambda xt, x0, e, a_t, a_s: x0),
                  "This is the guess: one jump to the end. Go only as far as s."),
        "DDPM's mean": (jump(lambda xt, x0, e, a_t, a_s: blend(xt, x0, a_t, a_s, a_t / a_s)),
                        "This is the mean of the DDPM step. Without the noise that DDPM adds, its pictures lack "
                        "contrast; DDIM keeps all of the guessed noise that belongs to s."),
        "only one step": (lambda xt, x0, t, s, alpha_bar: samplers.ddim_step(xt, x0, t, t - 1, alpha_bar),
                          "You step to the t just below, whatever s is. Steps may be left out, so use s."),
        "no roots at all": (lambda xt, x0, t, s, alpha_bar: alpha_bar[s] * x0 + (1 - alpha_bar[s]) * (
                                xt - alpha_bar[t] * x0) / (1 - alpha_bar[t]),
                            "All roots are missing: you split x_t and put it together again with variances."),
        "not divided": (lambda xt, x0, t, s, alpha_bar: mixed(x0, xt - alpha_bar[t]**0.5 * x0, alpha_bar[s]),
                        "What you take for the noise is still as weak as it lies in x_t. Divide it by its weight "
                        "there."),
        "guess in full": (lambda xt, x0, t, s, alpha_bar: mixed(x0, (xt - x0) / (1 - alpha_bar[t])**0.5, alpha_bar[s]),
                          "You take the guess off x_t in full, but x_t holds the picture weakened."),
    })

exercise(
    "timesteps", "04", "How few steps are enough?",
    "The list of times that a sampler visits in so many even steps: whole numbers from T down to 0, both included. "
    "(Here T is a multiple of steps.)",
    truth=lambda T, steps: known(torch.linspace(1, 0.1, T + 1)).timesteps(steps, even=True),
    inputs=lambda draw: [(6, 2), (12, 4), (100, 5)],
    mistakes={
        "no end": (lambda T, steps: list(range(T, 0, -T // steps)),
                   "Your list stops before 0, so the last step is never made and noise is left in the pictures."),
        "no start": (lambda T, steps: list(range(T - T // steps, -1, -T // steps)),
                     "Your list starts below T. But sampling starts from pure noise, and that is x at T."),
        "forwards": (lambda T, steps: list(range(0, T + 1, T // steps)),
                     "Your list runs forwards. The way from noise to picture begins at the largest t."),
        "every t": (lambda T, steps: list(range(T, -1, -1)),
                    "You visit every t. With so few steps most of them are to be left out."),
        "too many": (lambda T, steps: torch.linspace(T, 0, steps + 2).round().long().tolist(),
                     "There is one step too many. Count the gaps between the times, not the times."),
        "too few": (lambda T, steps: torch.linspace(T, 0, steps).round().long().tolist(),
                    "There is one step too few. So many steps need one more time than that, as a fence needs one more "
                    "post than boards."),
        "crowded": (lambda T, steps: known(torch.linspace(1, 0.1, T + 1)).timesteps(steps),
                    "These crowd at both ends, as the helper does by default. The task asks for even steps."),
        "from T - 1": (lambda T, steps: [max(0, t - 1) for t in range(T, -1, -T // steps)],
                       "Your times are one too small, as in programs that count from the first noisy picture. Here t "
                       "of 0 is clean and T is noise."),
        "stride": (lambda T, steps: list(range(T, -1, -steps)),
                   "You go down by the number of steps each time. It says how many steps there are; how long is "
                   "each?"),
    })

restorer = lambda x, t: 0.8 * x - 0.03 * t * x.roll(1, -1)**2
denoised = lambda start, at=0: lambda denoise, x0, t, eps, alpha_bar: denoise(
    start(x0, eps, alpha_bar[t]), t + at if at < 1 else len(alpha_bar) - 1)
exercise(
    "partial_denoise", "04", "Take the noise off a picture",
    "Noise the picture x0 up to t with eps, then let denoise(noisy, t) bring it back; return what it makes.",
    truth=denoised(mixed),
    inputs=lambda draw: [(restorer, draw(2), 3, draw(2), ALPHA_BAR),
                         (restorer, draw(2, 1, 3, 4), 5, draw(2, 1, 3, 4), ALPHA_BAR)],
    mistakes={
        "original": (denoised(lambda x, e, a: x),
                     "You hand over the original, so there is nothing to take off. The result must be made from the "
                     "noisy picture alone."),
        "pure noise": (denoised(lambda x, e, a: e),
                       "You start from noise alone, so nothing of the picture can come back."),
        "from T": (denoised(mixed, 1),
                   "The picture is noised up to t, but the way back starts at T. Tell it the time that it really is."),
        "a step late": (denoised(mixed, -1),
                        "The picture is noised up to t, but the way back starts one step below."),
        "no roots": (denoised(lambda x, e, a: a * x + (1 - a) * e),
                     "The way back is right, but the picture is noised with variances for weights."),
        "noise added": (denoised(lambda x, e, a: x + (1 - a)**0.5 * e),
                        "You add the noise but do not weaken the picture: such an x_t the network has never seen."),
        "noisy": (lambda denoise, x0, t, eps, alpha_bar: mixed(x0, eps, alpha_bar[t]),
                  "This is the noisy picture. Now take the noise off it."),
        "swapped": (denoised(lambda x, e, a: mixed(e, x, a)),
                    "Picture and noise have each other's weight when you noise the picture."),
        "added in full": (denoised(lambda x, e, a: x + e),
                          "You just add the noise, the same at every t. Jump to t instead: both parts have weights."),
    })

# ---------------------------------------------------------------------------------------------------------------- 05

two = lambda draw: [(draw(1, 1, 1, 2), draw(1, 1, 1, 2)), (draw(3, 1, 3, 4), draw(3, 1, 3, 4))]
mse = lambda pred, target: ((pred - target)**2).mean((1, 2, 3))
exercise(
    "psnr", "05", "Against the classics",
    "The peak signal-to-noise ratio in decibels of pictures pred, target (B, C, H, W) in [-1, 1]: one number for each "
    "picture, (B,). The peak is the whole range of values, and counts squared.",
    truth=lambda pred, target: metrics.psnr(pred, target), inputs=two,
    mistakes={
        "peak 1": (lambda pred, target: metrics.psnr(pred, target, peak=1),
                   "Your peak is 1, but from black to white these pictures span more than that. You are 6 dB too low."),
        "peak not squared": (lambda pred, target: 10 * (2 / mse(pred, target)).log10(),
                             "You compare the peak with a squared error. Square both, or neither."),
        "peak 255": (lambda pred, target: metrics.psnr(pred, target, peak=255),
                     "Your peak is 255, that of files. In this course pictures lie between minus 1 and 1."),
        "natural": (lambda pred, target: 10 * (4 / mse(pred, target)).log(),
                    "You took the natural logarithm. Decibels count powers of ten."),
        "sign": (lambda pred, target: -metrics.psnr(pred, target),
                 "The sign is wrong: a better picture should have more decibels."),
        "twenty": (lambda pred, target: 2 * metrics.psnr(pred, target),
                   "It is twice too much. The factor 20 goes with the root of the squared error, 10 with the squared "
                   "error itself."),
        "all pictures": (lambda pred, target: 10 * (4 / ((pred - target)**2).mean()).log10(),
                         "All pictures share one number. Each is to have its own, so average over all axes but the "
                         "first."),
        "sum": (lambda pred, target: 10 * (4 / ((pred - target)**2).sum((1, 2, 3))).log10(),
                "You add the squared errors up, so a larger picture seems worse. Take their mean."),
        "absolute": (lambda pred, target: 20 * (2 / (pred - target).abs().mean((1, 2, 3))).log10(),
                     "You average the sizes of the errors. PSNR rests on their squares."),
    })

strength = lambda a: ((1 - a) / a)**0.5
nearest_time = lambda of, shift=0: lambda s, alpha_bar: (of(alpha_bar.double()) - s).abs().argmin().item() + shift
exercise(
    "time_of", "05", "Nobody says how noisy",
    "A photograph is a picture plus noise of standard deviation s. The t, a whole number, at which x_t divided by the "
    "weight of its picture is just as noisy, or nearly; alpha_bar is (T + 1,).",
    truth=lambda s, alpha_bar: (known(alpha_bar).snr().rsqrt() - s).abs().argmin().item(),
    inputs=lambda draw: [(0.7, ALPHA_BAR), (0.45, (torch.linspace(1, 0.1, 31))), (2.1, torch.linspace(1, 0.05, 41)**2)],
    mistakes={
        "noise in x_t": (nearest_time(lambda a: (1 - a)**0.5),
                         "You compare s with the noise in x_t itself. But there the picture has been weakened: divide "
                         "by its weight first."),
        "variance": (nearest_time(lambda a: (1 - a) / a),
                     "You compare s with a variance. It is a standard deviation."),
        "SNR": (nearest_time(lambda a: (a / (1 - a)).clamp(max=1e9)),
                "You compare s with the signal-to-noise ratio. Wanted is noise over signal, and a standard deviation."),
        "upside down": (nearest_time(lambda a: (a / (1 - a)).clamp(max=1e9)**0.5),
                        "The ratio is upside down: more noise should give a larger t."),
        "picture": (nearest_time(lambda a: a**0.5),
                    "You compare s with the weight of the picture. It is the strength of a noise."),
        "late": (nearest_time(strength, 1),
                 "One too late. Lists begin with the clean picture, so an index is a t already."),
        "early": (nearest_time(strength, -1),
                  "One too early. Entry t of the list belongs to t itself."),
        "first above": (lambda s, alpha_bar: (strength(alpha_bar.double()) > s).nonzero()[0].item(),
                        "You take the first t that is noisier. The one before it may be nearer."),
        "last below": (lambda s, alpha_bar: (strength(alpha_bar.double()) <= s).sum().item() - 1,
                       "You take the last t that is not noisier. The next one may be nearer."),
    })

many = lambda draw: [(draw(3, 1, 1, 2),), (draw(5, 2, 3, 4),)]
exercise(
    "spread", "05", "What is restored, and what is invented?",
    "Of n restorations (n, C, H, W) of one noisy picture, their standard deviation in each pixel, (C, H, W), as torch "
    "computes it.",
    truth=lambda restorations: restorations.std(0), inputs=many,
    mistakes={
        "variance": (lambda restorations: restorations.var(0),
                     "This is the variance. The spread is in the units of brightness."),
        "everything": (lambda restorations: restorations.std(),
                       "This is one number for everything. Each pixel is to have its own."),
        "within pictures": (lambda restorations: restorations.std((1, 2, 3)),
                            "This is the contrast of each restoration. Compare the restorations with each other, pixel "
                            "by pixel."),
        "mean": (lambda restorations: restorations.mean(0),
                 "This is the mean of the restorations. The spread says how far they lie around it."),
        "divided by n": (lambda restorations: restorations.std(0, correction=0),
                         "A little too small: their mean was found from the same restorations, so divide by one "
                         "fewer."),
        "mean deviation": (lambda restorations: (restorations - restorations.mean(0)).abs().mean(0),
                           "You average the sizes of the deviations. A standard deviation averages their squares."),
        "range": (lambda restorations: restorations.amax(0) - restorations.amin(0),
                  "This is the range from lowest to highest, which grows with the number of restorations."),
        "of the mean": (lambda restorations: restorations.std(0) / len(restorations)**0.5,
                        "This is how uncertain their mean is. Asked for is how far the restorations themselves "
                        "scatter."),
    })

exercise(
    "blend", "05", "Larger than the network",
    "Several tiles answer for the same pixels: answers (K, H, W) with weights (K, H, W), all above 0. Give their "
    "weighted mean in each pixel, (H, W).",
    truth=lambda answers, weights: (answers * weights).sum(0) / weights.sum(0),
    inputs=lambda draw: [(draw(2, 1, 2), draw(2, 1, 2, low=0.2)), (draw(3, 4, 5), draw(3, 4, 5, low=0.2))],
    mistakes={
        "not divided": (lambda answers, weights: (answers * weights).sum(0),
                        "You add up without dividing, so a pixel is brighter the more tiles answer for it."),
        "plain mean": (lambda answers, weights: answers.mean(0),
                       "All answers count alike, so the borders of the tiles will show. Use the weights."),
        "divided by K": (lambda answers, weights: (answers * weights).mean(0),
                         "You divide by the number of tiles. Divide by what the weights of this pixel add up to."),
        "everywhere": (lambda answers, weights: (answers * weights).sum(0) / weights.sum(),
                       "You divide by all weights of the picture. Each pixel has a sum of its own."),
        "loudest": (lambda answers, weights: answers.gather(0, weights.argmax(0, keepdim=True))[0],
                    "You take the answer with the largest weight and drop the others: there will be seams."),
        "softmax": (lambda answers, weights: (answers * weights.softmax(0)).sum(0),
                    "You pass the weights through a softmax. They are weights already; make them sum to 1 as they "
                    "are."),
        "inside tiles": (lambda answers, weights: (answers * weights / weights.sum((1, 2), keepdim=True)).sum(0),
                         "Your weights sum to 1 inside each tile. They should do so in each pixel, across the tiles."),
    })

# ---------------------------------------------------------------------------------------------------------------- 06

apart = lambda queries, references: queries.flatten(1)[:, None] - references.flatten(1)      # (B, N, D)
distances = lambda queries, references: apart(queries, references).norm(dim=2)


def mmd(a, b, power=3, plus=1, scaled=True, unbiased=True, cross=2, fewer=1):
    """The squared maximum mean discrepancy, with whatever can go wrong."""
    a, b = a.double(), b.double()
    kernel = lambda x, y: (x @ y.T / (x.shape[1] if scaled else 1) + plus)**power
    def within(x):
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - fewer)) if unbiased else k.mean()
    return (within(a) + within(b) - cross * kernel(a, b).mean()).item()


exercise(
    "kid", "06", "Two clouds of points",
    "The unbiased squared distance of two sets of features a (N, D), b (M, D) under the cubic kernel, one number: what "
    "the pictures of a set have in common with each other on average, never with themselves, for both sets, less twice "
    "what they have in common across, on average. The kernel is (x·y / D + 1) to the third.",
    truth=lambda a, b: metrics.kid(a, b, draws=1)[0],
    inputs=lambda draw: [(draw(2, 2), draw(2, 2)), (draw(5, 3, high=2), draw(4, 3))],
    mistakes={
        "with itself": (lambda a, b: mmd(a, b, unbiased=False),
                        "You compare each picture with itself, too. That makes a set look closer to itself than it is, "
                        "and the more so the smaller it is."),
        "no one": (lambda a, b: mmd(a, b, plus=0),
                   "In the kernel the 1 is missing: you compare third moments alone, and miss the means."),
        "not divided": (lambda a, b: mmd(a, b, scaled=False),
                        "In the kernel the product is not divided by the number of features."),
        "squared kernel": (lambda a, b: mmd(a, b, power=2),
                           "Your kernel takes a square, the one of KID a third power."),
        "linear kernel": (lambda a, b: mmd(a, b, power=1),
                          "Your kernel is linear, so only the means of the sets are compared."),
        "cross once": (lambda a, b: mmd(a, b, cross=1),
                       "What the sets have in common across is to be taken off twice: two equal sets should give 0."),
        "sign": (lambda a, b: -mmd(a, b),
                 "The sign is wrong: sets that differ should have a distance above 0."),
        "added": (lambda a, b: mmd(a, b, cross=-2),
                  "You add what the sets have in common across. It must be taken off, or likeness would count as "
                  "distance."),
        "root": (lambda a, b: math.copysign(abs(mmd(a, b))**0.5, mmd(a, b)),
                 "You took a root. KID stays squared; an unbiased estimate may well fall below 0."),
        "divided by all pairs": (lambda a, b: mmd(a, b, fewer=0),
                                 "The pairs of a picture with itself are left out of your sum, but you divide as if "
                                 "they were in it. How many pairs are left?"),
        "never below 0": (lambda a, b: max(mmd(a, b), 0.0),
                          "You cut off what lies below 0. But two sets of one source should give 0 on average, so "
                          "sometimes less."),
    })


def covered(real, made, k, radius=None, together=torch.any, skip=1):
    """The share of real that lies among made, with whatever can go wrong."""
    reach = distances(made, made).sort().values[:, k - 1 + skip] if radius is None else radius(real, made, k)
    return together(distances(real, made) <= reach, dim=1).double().mean().item()


exercise(
    "recall", "06", "Real, and all of them?",
    "Coverage of two sets of features real (N, D), made (M, D): the share of the real ones that lie among the made, "
    "one number. A point lies among them if it is no farther from one of them than that one's own k-th neighbour.",
    truth=lambda real, made, k: metrics.precision_recall(real, made, k)[1],
    inputs=lambda draw: [(torch.tensor([[0.2], [0.9], [2.2], [5.0]]), torch.tensor([[0.0], [0.4], [1.0], [2.0]]), 1),
                         (draw(12, 2, low=-1.5, high=1.8), draw(13, 2), 3), (draw(15, 2), draw(15, 2, low=0), 2),
                         (torch.tensor([[1.0], [3.5], [4.0], [5.5]]), torch.arange(4.0)[:, None], 1)],
    mistakes={
        "precision": (lambda real, made, k: metrics.precision_recall(real, made, k)[0],
                      "This is the share of the made pictures that lie among the real ones. Recall asks the other way "
                      "round: how much of reality is covered?"),
        "itself": (lambda real, made, k: covered(real, made, k, skip=0),
                   "Your reach is too short: the first neighbour you count is the point itself, at distance 0."),
        "one too far": (lambda real, made, k: covered(real, made, k, skip=2),
                        "Your reach is too long: you take one neighbour more than the k-th."),
        "all": (lambda real, made, k: covered(real, made, k, together=torch.all),
                "You ask each point to lie within the reach of every made picture. One is enough."),
        "one radius": (lambda real, made, k: covered(
                           real, made, k, lambda real, made, k: distances(made, made).sort().values[:, k].mean()),
                       "Your reach is the same for all. Each made picture has one of its own: short where they crowd."),
        "real radius": (lambda real, made, k: (distances(made, real) <= distances(real, real).sort().values[:, k])
                        .any(0).double().mean().item(),
                        "You use the reach of the real pictures. It is the made ones that shall cover."),
        "missed": (lambda real, made, k: 1 - covered(real, made, k),
                   "This is the share that is missed."),
    })

exercise(
    "nearest", "06", "Copied: the nearest relative",
    "For each query (B, C, H, W) the distance to its nearest reference (N, C, H, W), the root of the summed squares of "
    "the differences: (B,).",
    truth=lambda queries, references: metrics.nearest(queries, references)[0],
    inputs=lambda draw: [(draw(1, 1, 1, 2), draw(2, 1, 1, 2)), (draw(3, 1, 2, 3), draw(5, 1, 2, 3))],
    mistakes={
        "squared": (lambda queries, references: distances(queries, references).amin(1)**2,
                    "These are squared distances. One operation is missing."),
        "which": (lambda queries, references: distances(queries, references).argmin(1),
                  "This says which reference is nearest. Asked for is how far away it is."),
        "mean": (lambda queries, references: distances(queries, references).mean(1),
                 "You average over all references. A copy is betrayed by the nearest one alone."),
        "farthest": (lambda queries, references: distances(queries, references).amax(1),
                     "This is the farthest reference."),
        "other way": (lambda queries, references: distances(queries, references).amin(0),
                      "You look for the nearest query of each reference. Ask the other way round."),
        "absolute": (lambda queries, references: apart(queries, references).abs().sum(2).amin(1),
                     "You add up the sizes of the differences. The distance here rests on their squares."),
        "per pixel": (lambda queries, references: (apart(queries, references)**2).mean(2).amin(1)**0.5,
                      "You average over the pixels, so this is the difference of a typical pixel. The distance adds "
                      "the pixels up."),
        "overall": (lambda queries, references: distances(queries, references).amin(),
                    "This is the smallest of all distances. Each query has its own."),
    })

against = lambda score: lambda distances, k: score(distances.sort(1).values, k)     # the nearest first
exercise(
    "closeness", "06", "How near is too near?",
    "From the distances (B, N) of each picture to all references, in any order: the distance to the nearest, in units "
    "of the mean distance to the next k, (B,), 0 for a copy.",
    truth=against(lambda d, k: d[:, 0] / d[:, 1:k + 1].mean(1)),
    inputs=lambda draw: [(draw(1, 4, low=0.2), 2), (draw(3, 9, low=0.2), 4)],
    mistakes={
        "nearest again": (against(lambda d, k: d[:, 0] / d[:, :k].mean(1)),
                          "The nearest is counted among its own neighbours. Compare it with the next ones."),
        "all": (against(lambda d, k: d[:, 0] / d[:, 1:].mean(1)),
                "You compare with all the others. Far pictures say nothing about the crowd near this one: take k."),
        "k-th": (against(lambda d, k: d[:, 0] / d[:, k]),
                 "You compare with a single neighbour, the farthest of the k. Take the mean of all k."),
        "distance": (against(lambda d, k: d[:, 0]),
                     "This is the distance itself. What is near and what is far depends on how crowded it is around."),
        "upside down": (against(lambda d, k: d[:, 1:k + 1].mean(1) / d[:, 0]),
                        "The fraction is upside down: a copy would be infinite. It should be 0."),
        "gap": (against(lambda d, k: d[:, 1:k + 1].mean(1) - d[:, 0]),
                "You subtract, and the gap then depends on contrast and size. Divide, to have it in units of the "
                "rest."),
        "unsorted": (lambda distances, k: distances[:, 0] / distances[:, 1:k + 1].mean(1),
                     "You take the references in the order in which they come. Look for the nearest first."),
        "squared": (against(lambda d, k: d[:, 0]**2 / (d[:, 1:k + 1]**2).mean(1)),
                    "You compare squared distances, in which far neighbours weigh too much."),
        "all pictures": (against(lambda d, k: d[:, 0] / d[:, 1:k + 1].mean()),
                         "You compare with the neighbours of all pictures. Each picture has a neighbourhood of its "
                         "own."),
        "one too few": (against(lambda d, k: d[:, 0] / d[:, 1:k].mean(1)),
                        "You take one neighbour too few: k of them come after the nearest."),
        "nearest too": (against(lambda d, k: d[:, 0] / d[:, :k + 1].mean(1)),
                        "The next k are there, but the nearest is in the mean, too. It would be compared with itself."),
        "nearest left out": (against(lambda d, k: d[:, 1] / d[:, 2:k + 2].mean(1)),
                             "You leave the nearest out, as if each picture were among its own references. It is the "
                             "very one that counts."),
    })

below = lambda limit: lambda made, held_out: (made < limit(made, held_out)).double().mean().item()
exercise(
    "copied", "06", "A score that means something",
    "made (N,) and held_out (M,) are the closeness of generated and of held-out pictures to their nearest training "
    "picture, 0 being a copy. Give the share of made that lies closer than every held-out picture does, one number. "
    "(No held-out picture here lies below 0.5.)",
    truth=lambda made, held_out: metrics.memorisation(made, held_out, draws=1)[0],
    inputs=lambda draw: [(torch.tensor([0.1, 0.8, 0.65, 0.97, 0.72, 0.58]), torch.tensor([0.6, 0.9, 0.7])),
                         (draw(11, low=0.1, high=1), draw(7, low=0.6, high=1))],
    mistakes={
        "farthest": (below(lambda made, held: held.max()),
                     "You measure against the farthest held-out picture, and accuse almost everybody. A copy lies "
                     "closer than all of them."),
        "mean": (below(lambda made, held: held.mean()),
                 "You measure against the mean of the held-out pictures. About half of these innocents would be "
                 "accused."),
        "median": (below(lambda made, held: held.median()),
                   "You measure against the middle of the held-out pictures. Half of these innocents would be "
                   "accused."),
        "half": (below(lambda made, held: 0.5),
                 "Your limit is fixed. Let the held-out pictures say how close a picture may lie by chance."),
        "inverted": (lambda made, held_out: 1 - below(lambda made, held: held.min())(made, held_out),
                     "This is the share of those that are no copies."),
        "count": (lambda made, held_out: float((made < held_out.min()).sum()),
                  "This is how many there are. Asked for is their share of all that were made."),
        "other way": (lambda made, held_out: (held_out < made.max()).double().mean().item(),
                      "You count held-out pictures. They only set the limit; count the generated ones."),
        "share of held out": (lambda made, held_out: (made < held_out.min()).sum().item() / len(held_out),
                              "You divide by the number of held-out pictures. It is a share of the generated ones."),
        "pairs": (lambda made, held_out: (made[:, None] < held_out).double().mean().item(),
                  "You average over all pairs. A generated picture counts in full if it lies closer than all held-out "
                  "ones, and else not at all."),
    })
