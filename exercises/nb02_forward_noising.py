"""The exercises of notebook 02: the forward process, step by step and in one jump."""
import torch
import torch.nn.functional as F

from exercises.common import (
    ALPHA_BAR, ROUND, along, images_and_times, mixed, one_noise, one_time, per_image, row,
)
from exercises.exercise import exercise


def noise_step_inputs(draw):
    """What noise_step is tried with, besides the example."""
    return [(draw(2, 2, 3, 4), torch.tensor(0.19), draw(2, 2, 3, 4)),
            (draw(1, 1, 2, 2), torch.tensor(0.9), draw(1, 1, 2, 2))]


@exercise("A first idea: add a little noise, many times", noise=["z"],
          example=(row(1, -0.5), torch.tensor(0.36), row(0.5, 1)),
          inputs=noise_step_inputs)
def noise_step(x, beta, z):
    r"""Compute one small noising step, $\sqrt{1-\beta}\,x + \sqrt{\beta}\,z$: the image is scaled down and noise is
    added, so that a variance of 1 stays 1.

    - `x`: images (B, C, H, W)
    - `beta`: the variance of the added noise, a tensor with one number between 0 and 1
    - `z`: standard normal noise of the shape of `x`

    Return the noisier images, (B, C, H, W)."""
    return (1 - beta) ** 0.5 * x + beta ** 0.5 * z             # the squares of the weights sum to 1


noise_step.mistakes = {
    "not scaled down": (lambda x, beta, z: x + beta**0.5 * z,
                     "You add noise but do not scale the image down, so its variance grows without end."),
    "no roots": (lambda x, beta, z: (1 - beta) * x + beta * z,
                 "Your two weights are variances. Images and noise are multiplied by standard deviations."),
    "noise without root": (lambda x, beta, z: (1 - beta)**0.5 * x + beta * z,
                           "The weight of the image is right. That of the noise is still a variance."),
    "image without root": (lambda x, beta, z: (1 - beta) * x + beta**0.5 * z,
                           "The weight of the noise is right. The image is scaled down too much: its weight is still a "
                           "variance."),
    "swapped": (lambda x, beta, z: beta**0.5 * x + (1 - beta)**0.5 * z,
                "The two weights are swapped: a small step keeps almost all of the image."),
    "weights sum to 1": (lambda x, beta, z: (1 - beta**0.5) * x + beta**0.5 * z,
                         "Your two weights sum to 1. Their squares must, since it is variances that add."),
    "deviation": (lambda x, beta, z: (1 - beta**2)**0.5 * x + beta * z,
                  "You take beta for the standard deviation of the noise. It is the variance."),
    "sign": (lambda x, beta, z: (1 - beta)**0.5 * x - beta**0.5 * z,
             "You subtract the noise. It is added; with the other sign, a network would learn the wrong target."),
    "clipped": (lambda x, beta, z: ((1 - beta)**0.5 * x + beta**0.5 * z).clamp(-1, 1),
                "You clip the result. Noisy images go beyond the range of clean ones, and must be free to."),
    "scaled up": (lambda x, beta, z: (1 + beta)**0.5 * x + beta**0.5 * z,
                  "You scale the image up, so its variance grows with every step. It must be scaled down."),
    "noise in full": (lambda x, beta, z: (1 - beta)**0.5 * x + z,
                      "The noise is added in full. Its weight must be small where beta is small."),
    "only the noise": (lambda x, beta, z: beta**0.5 * z, "This is the added noise alone. The image is missing."),
    "image divided": (lambda x, beta, z: x / (1 - beta)**0.5 + beta**0.5 * z,
                      "You divide the image by its weight. It must be scaled down, so multiply."),
}


def alpha_bar_inputs(draw):
    """What alpha_bar is tried with, besides the example."""
    return [(F.pad(draw(9, low=0.02, high=0.3), (1, 0)),),
            (F.pad(draw(5, low=0.1, high=0.6), (1, 0)),)]


@exercise("What is left after t steps? A product, not a sum", example=(torch.tensor([0.0, 0.1, 0.2]),),
          inputs=alpha_bar_inputs)
def alpha_bar(beta):
    r"""Compute which part of the image's variance is left after each step,
    $\bar\alpha_t = \prod_{k=1}^{t} (1 - \beta_k)$.

    - `beta`: the noise variance of each step, a tensor (T + 1,) with `beta[0] = 0`

    Return a tensor (T + 1,) whose entry t belongs to t, so that entry 0 is 1."""
    return (1 - beta).cumprod(0)                               # (T + 1,): each step keeps its part of what is left


alpha_bar.mistakes = {
    "sum": (lambda beta: 1 - beta.cumsum(0),
            "You subtract the sum of the betas. Each step takes its part of what is still there, so the parts "
            "multiply: a price that is lowered twice by 10 % falls by 19 %."),
    "beta": (lambda beta: beta.cumprod(0),
             "You multiply the betas, or your product starts from 0. Beta is the noise that a step adds; what is left "
             "of the image is the rest."),
    "one minus the product": (lambda beta: 1 - beta.cumprod(0),
                              "You multiply the betas and subtract once, at the end. Subtract from 1 first, in each "
                              "step, and multiply what is left."),
    "alpha": (lambda beta: 1 - beta,
              "This is alpha, what each single step leaves. How much is left after all the steps so far?"),
    "exponential": (lambda beta: (-beta.cumsum(0)).exp(),
                    "This is the approximation for small betas. The exact answer needs no exponential."),
    "root": (lambda beta: (1 - beta).cumprod(0)**0.5,
             "You took a root. That is the weight of the image; alpha_bar itself is the variance that is left."),
    "noise": (lambda beta: 1 - (1 - beta).cumprod(0),
              "This is the variance of the noise. That of the image is what remains to 1."),
    "late": (lambda beta: F.pad((1 - beta[:-1]).cumprod(0), (1, 0), value=1.0),
             "Your list is one step late: entry t should already contain step t."),
    "last": (lambda beta: (1 - beta).prod(),
             "This is what is left at the end, one number. Keep what is left after each of the steps."),
    "without t = 0": (lambda beta: (1 - beta[1:]).cumprod(0),
                      "Your list begins after the first step. Entry 0 is the clean image, of which all is left."),
    "another 1": (lambda beta: F.pad((1 - beta).cumprod(0), (1, 0), value=1.0),
                  "Your list is one entry too long. The first beta is 0, so the product starts at 1 by itself."),
    "sum of alphas": (lambda beta: (1 - beta).cumsum(0),
                      "You add up what each step leaves. A part of a part is a product."),
    "reversed": (lambda beta: (1 - beta).flip(0).cumprod(0).flip(0),
                 "You multiply from the last step backwards. Entry t is the product of the steps up to t."),
    "power": (lambda beta: (1 - beta)**torch.arange(len(beta)),
              "You take the same step t times. The steps differ: multiply those from 1 to t."),
    "sum of squares": (lambda beta: 1 - (beta**2).cumsum(0),
                       "You square the betas. They are variances already."),
}


@exercise("In one jump", noise=["eps"], example=(row(0.5, -1), torch.tensor([1]), row(1, 0.25), ROUND),
          inputs=images_and_times)
def q_sample(x0, t, eps, alpha_bar):
    r"""Jump from clean images to time t in one step,
    $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$.

    - `x0`: clean images (B, C, H, W)
    - `t`: one time for each image, a tensor (B,) of integers from 1 to T
    - `eps`: standard normal noise of the shape of `x0`
    - `alpha_bar`: a tensor (T + 1,)

    Return the noisy images, (B, C, H, W)."""
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1): each image has its own time
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def step_beta(x0, t, alpha_bar):
    """beta of the single step t, (B, 1, 1, 1)."""
    return (1 - alpha_bar[t] / alpha_bar[t - 1]).reshape(-1, 1, 1, 1)


def noise_of_one_step(x0, t, eps, alpha_bar):
    """Wrong: the image is right, but the noise is that of step t alone."""
    return per_image(lambda x, e, a: a**0.5 * x)(x0, t, eps, alpha_bar) + step_beta(x0, t, alpha_bar)**0.5 * eps


q_sample.mistakes = {
    "no roots": (per_image(lambda x, e, a: a * x + (1 - a) * e),
                 "Your weights are variances. The notebook mixes with standard deviations: the squares of the two "
                 "weights sum to 1."),
    "noise without root": (per_image(lambda x, e, a: a**0.5 * x + (1 - a) * e),
                           "The weight of the image is right. That of the noise is still a variance."),
    "image without root": (per_image(lambda x, e, a: a * x + (1 - a)**0.5 * e),
                           "The weight of the noise is right. That of the image is still a variance."),
    "weights sum to 1": (per_image(lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e),
                         "The weight of the image is right. But the weights need not sum to 1: their squares must."),
    "swapped": (per_image(lambda x, e, a: mixed(e, x, a)),
                "The weights are swapped: at small t there should be much image and little noise."),
    "early": (per_image(mixed, -1),
              "You are one step early: entry t of alpha_bar belongs to t itself, since t counts from the clean image "
              "at 0."),
    "late": (per_image(mixed, 1), "You are one step late: entry t of alpha_bar belongs to t itself."),
    "subtracted": (per_image(lambda x, e, a: mixed(x, -e, a)),
                   "You subtract the noise instead of adding it. The images would look the same, but a network would "
                   "learn the wrong sign."),
    "columns": (along(3, mixed),
                "Each column of pixels has a time of its own, and each image should. Give the weights as many axes as "
                "the images have, with the batch first."),
    "rows": (along(2, mixed),
             "Each row of pixels has a time of its own, and each image should. Give the weights as many axes as the "
             "images have, with the batch first."),
    "channels": (along(1, mixed),
                 "Each channel has a time of its own, and each image should. Give the weights as many axes as the "
                 "images have, with the batch first."),
    "noise in full": (per_image(lambda x, e, a: a**0.5 * x + e),
                      "You add the noise in full at every t. Its weight must grow as that of the image falls."),
    "image in full": (per_image(lambda x, e, a: x + (1 - a)**0.5 * e),
                      "The image is not scaled down, so the variance grows above 1. Both parts have weights."),
    "one noise": (one_noise(per_image(mixed)),
                  "All images get the noise of the first one. Each image has its own in `eps`."),
    "one time": (one_time(per_image(mixed)),
                 "All images get the time of the first one. Each image has its own in `t`."),
    "noise of one step": (noise_of_one_step,
                          "The image is right, but the noise is what step t alone adds. In one jump, all the noise up "
                          "to t is added."),
    "one step": (lambda x0, t, eps, alpha_bar: mixed(x0, eps, 1 - step_beta(x0, t, alpha_bar)),
                 "This is step t alone, made from the clean image. The jump makes all the steps up to t at once."),
    "clipped": (per_image(lambda x, e, a: mixed(x, e, a).clamp(-1, 1)),
                "You clip the result. Noisy images go beyond the range of clean ones, and must be free to."),
    "product again": (lambda x0, t, eps, alpha_bar: per_image(mixed)(x0, t, eps, alpha_bar.cumprod(0)),
                      "You take the cumulative product once more. What you are given is that product already."),
    "last time": (lambda x0, t, eps, alpha_bar: mixed(x0, eps, alpha_bar[-1]),
                  "You use the last entry of alpha_bar for all images. Use that of each image's own time."),
    "one root over both": (per_image(lambda x, e, a: (a * x**2 + (1 - a) * e**2)**0.5),
                           "You add the squares of the two parts. Add the parts themselves; only the weights have "
                           "roots."),
}


LATE = torch.tensor([1.0, 0.93, 0.8, 0.68, 0.52, 0.31, 0.12, 0.04])      # the nearest is the last one above one half


def equal_parts_inputs(draw):
    """What equal_parts is tried with, besides the example."""
    return [(ALPHA_BAR,), (LATE,), (1 / (1 + torch.arange(20) / 9)**2,),
            (torch.linspace(1, 0.01, 24)**0.7,)]


@exercise("Signal and noise", example=(torch.tensor([1.0, 0.9, 0.7, 0.4, 0.1]),),
          inputs=equal_parts_inputs)
def equal_parts(alpha_bar):
    r"""Find the time at which the signal-to-noise ratio $\bar\alpha_t / (1 - \bar\alpha_t)$ is closest to 1.

    - `alpha_bar`: a tensor (T + 1,), from 1 at t = 0 down to nearly 0 at t = T

    Return that t, an integer."""
    snr = alpha_bar / (1 - alpha_bar)                          # (T + 1,), infinite at t = 0
    return (snr - 1).abs().argmin().item()                     # an index is a t already


def argmin(formula, shift=0):
    """A wrong equal_parts: the place of the smallest value of a formula of alpha_bar, shifted."""
    return lambda alpha_bar: formula(alpha_bar.double()).argmin().item() + shift


def snr_gap(a):
    """How far the signal-to-noise ratio is from 1, at each t."""
    return (a / (1 - a) - 1).abs()


def ratio_there(alpha_bar):
    """Wrong: the ratio, instead of its place in the list."""
    return (alpha_bar / (1 - alpha_bar))[snr_gap(alpha_bar).argmin()].item()


equal_parts.mistakes = {
    "weight": (argmin(lambda a: (a**0.5 - 0.5).abs()),
               "There the weight of the image is one half. The ratio is one of squares: equal parts mean equal "
               "variances."),
    "late": (argmin(snr_gap, 1), "One too late. Lists begin at t of 0, the clean image, so an index is a t already."),
    "early": (argmin(snr_gap, -1), "One too early. If you left t of 0 out because its ratio is infinite, add it again "
                                   "at the end."),
    "first below": (lambda alpha_bar: (alpha_bar < 0.5).nonzero()[0].item(),
                    "You take the first t at which the noise prevails. The one before it may be closer."),
    "last above": (lambda alpha_bar: (alpha_bar > 0.5).nonzero()[-1].item(),
                   "You take the last t at which the image prevails. The next one may be closer."),
    "end": (lambda alpha_bar: len(alpha_bar) - 1,
            "This is the end, where the ratio is smallest. The task asks for the t where it is closest to 1."),
    "clean": (lambda alpha_bar: 0,
              "This is the clean image, where the ratio is infinite. The task asks for the t where it is closest to "
               "1."),
    "half-way": (lambda alpha_bar: (len(alpha_bar) - 1) // 2,
                 "You take half of the time. Where the parts are equal depends on the schedule."),
    "middle": (lambda alpha_bar: len(alpha_bar) // 2,
               "You take the middle of the list. Where the parts are equal depends on the schedule."),
    "alpha_bar": (lambda alpha_bar: alpha_bar[snr_gap(alpha_bar).argmin()].item(),
                  "This is the value of alpha_bar there. The task asks for its place in the list, which is the t."),
    "ratio": (ratio_there,
              "This is the ratio there. The task asks for its place in the list, which is the t."),
    "gap": (lambda alpha_bar: snr_gap(alpha_bar).min().item(),
            "This says how close the ratio comes to 1. The task asks for the t at which it does."),
    "part of T": (lambda alpha_bar: snr_gap(alpha_bar).argmin().item() / (len(alpha_bar) - 1),
                  "You divide by T. The task asks for the t itself, an integer."),
}


def ratio(a):
    """What each step leaves, (T,)."""
    return a[1:] / a[:-1]


@exercise("A better schedule: cosine", example=(torch.tensor([1.0, 0.9, 0.72]),),
          inputs=lambda draw: [(ALPHA_BAR[:4],), (torch.linspace(1, 0.05, 12)**1.3,)])
def beta_of(alpha_bar):
    r"""Recover the noise variance of each step from the cumulative product,
    $\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}$.

    - `alpha_bar`: a tensor (T + 1,) with `alpha_bar[0] = 1`

    Return the betas, a tensor (T + 1,) with `beta[0] = 0`, as no noise is added before the first step."""
    alpha = alpha_bar[1:] / alpha_bar[:-1]                     # (T,): what each step leaves
    return F.pad(1 - alpha, (1, 0))                            # (T + 1,), beta[0] = 0


def rolled_forwards(alpha_bar):
    """Wrong: each entry is compared with the one after it."""
    return 1 - alpha_bar / torch.cat([alpha_bar[:1], alpha_bar[2:], alpha_bar[:1]])


beta_of.mistakes = {
    "difference": (lambda alpha_bar: F.pad(-alpha_bar.diff(), (1, 0)),
                   "You subtract neighbours. A step takes its part of what is still there, so compare them by "
                   "dividing."),
    "alpha": (lambda alpha_bar: F.pad(ratio(alpha_bar), (1, 0), value=1.0),
              "This is alpha, what each step leaves of the variance. Beta is what the step replaces by noise."),
    "upside down": (lambda alpha_bar: F.pad(1 - 1 / ratio(alpha_bar), (1, 0)),
                    "Your ratio is upside down, which makes the betas negative. The later value is the smaller one."),
    "noise": (lambda alpha_bar: 1 - alpha_bar,
              "This is all the noise there is at t. Beta is what the single step t adds to it."),
    "early": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar), (0, 1)),
              "Your list is one step early: the ratio of the entries t and t minus one belongs to t."),
    "without t = 0": (lambda alpha_bar: 1 - ratio(alpha_bar),
                      "The numbers are there, but one is missing in front: at t of 0 no step is made."),
    "roots": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar)**0.5, (1, 0)),
              "You took a root. It belongs to the weights; beta and alpha_bar are variances."),
    "leading 1": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar), (1, 0), value=1.0),
                  "The first entry is 1, all noise. Before the first step nothing is added, so it is 0."),
    "rolled": (lambda alpha_bar: 1 - alpha_bar / alpha_bar.roll(1),
               "The first entry compares t of 0 with the end of the list: rolling goes round in a circle."),
    "rolled the other way": (rolled_forwards,
                             "You compare each entry with the one after it. A step compares it with the one before."),
    "by the later": (lambda alpha_bar: F.pad(-alpha_bar.diff() / alpha_bar[1:], (1, 0)),
                     "You divide the difference by the later entry. A step takes its part of what was there before."),
    "logarithm": (lambda alpha_bar: F.pad(-alpha_bar.log().diff(), (1, 0)),
                  "The difference of logarithms is an approximation for small betas. The exact answer is one minus a "
                  "ratio."),
    "square": (lambda alpha_bar: F.pad(1 - ratio(alpha_bar)**2, (1, 0)),
               "You square the ratio. Both values are variances already."),
}
