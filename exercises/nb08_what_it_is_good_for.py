"""The exercises of notebook 08: inpainting, super-resolution, the likelihood bound."""
import math

import torch
import torch.nn.functional as F

from exercises.common import ALPHA_BAR, ROUND, mixed, row
from exercises.exercise import exercise


def paste_known_inputs(draw):
    """What paste_known is tried with, besides the example."""
    return [(draw(*shape), draw(*shape), draw.mask(*shape), t, draw(*shape), ALPHA_BAR)
            for shape, t in (((2, 2, 3, 4), 4), ((3, 1, 2, 2), 2))]


@exercise("Missing pixels: keep what is known", noise=["eps"],
          example=(row(0.1, 0.2), row(0.5, -1), row(1, 0), 1, row(1, 0.25), ROUND),
          inputs=paste_known_inputs)
def paste_known(xt, x0, mask, t, eps, alpha_bar):
    r"""Keep the known pixels in one step of inpainting: where `mask` is 1, put the known image noised to time t,
    $\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$; elsewhere keep $x_t$.

    - `xt`: the images at time t, (B, C, H, W)
    - `x0`: the known images;  `mask`: 1 where a pixel is known, else 0;  `eps`: standard normal noise; all of that
      shape
    - `t`: an integer
    - `alpha_bar`: a tensor (T + 1,)

    Return the images with the known pixels replaced, (B, C, H, W)."""
    a = alpha_bar[t]
    known = a.sqrt() * x0 + (1 - a).sqrt() * eps               # as noisy as the rest is at t
    return torch.where(mask == 1, known, xt)


def pasted(known, keep=lambda mask: mask):
    """A wrong paste_known from a formula known(x0, eps, a) and from what is done to the mask."""
    def paste(xt, x0, mask, t, eps, alpha_bar):
        m = keep(mask)
        return m * known(x0, eps, alpha_bar[t]) + (1 - m) * xt
    return paste


def combined(formula):
    """A wrong paste_known from a formula of (xt, x0, mask, eps, a)."""
    return lambda xt, x0, mask, t, eps, alpha_bar: formula(xt, x0, mask, eps, alpha_bar[t])


paste_known.mistakes = {
    "mask inverted": (pasted(mixed, lambda mask: 1 - mask),
                      "The mask is inverted: you overwrite what has to be found and keep what is known."),
    "clean": (pasted(lambda x, e, a: x),
              "You paste clean pixels into a noisy image. The network expects the noise of time t everywhere."),
    "everywhere": (pasted(mixed, torch.ones_like),
                   "You replace the whole image, so what the network has found so far is lost."),
    "nowhere": (combined(lambda xt, x0, m, e, a: xt), "Nothing is pasted: what is known has no influence."),
    "added": (combined(lambda xt, x0, m, e, a: xt + m * mixed(x0, e, a)),
              "You add the known pixels to what is there. They should replace it."),
    "rest 0": (combined(lambda xt, x0, m, e, a: m * mixed(x0, e, a)),
               "The known pixels are right, but all others have become 0. They should stay as they are in xt."),
    "no roots": (pasted(lambda x, e, a: a * x + (1 - a) * e),
                 "The right pixels are replaced, but you noise them with variances for weights."),
    "noise without root": (pasted(lambda x, e, a: a**0.5 * x + (1 - a) * e),
                           "The right pixels are replaced, but the weight of their noise is still a variance."),
    "weights sum to 1": (pasted(lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e),
                         "The right pixels are replaced, but the weights with which you noise them sum to 1. Their "
                         "squares should."),
    "image in full": (pasted(lambda x, e, a: x + (1 - a)**0.5 * e),
                      "The right pixels are replaced, but the known image is not scaled down when you noise it."),
    "added in full": (pasted(lambda x, e, a: x + e),
                      "The right pixels are replaced, but image and noise are just added. Both have weights."),
    "swapped": (pasted(lambda x, e, a: mixed(e, x, a)),
                "The right pixels are replaced, but image and noise have each other's weight."),
    "early": (lambda xt, x0, mask, t, eps, alpha_bar: paste_known.solution(xt, x0, mask, t - 1, eps, alpha_bar),
              "The known pixels have the noise of one step below t, and the others that of t."),
    "late": (lambda xt, x0, mask, t, eps, alpha_bar: paste_known.solution(xt, x0, mask, t + 1, eps, alpha_bar),
             "The known pixels have the noise of one step above t, and the others that of t."),
    "noise only": (pasted(lambda x, e, a: (1 - a)**0.5 * e), "You put in the noise without the image."),
    "image only": (pasted(lambda x, e, a: a**0.5 * x), "The known pixels are scaled down, but their noise is missing."),
    "masked first": (combined(lambda xt, x0, m, e, a: mixed(m * x0, e, a) + (1 - m) * xt),
                     "You mask before you noise, so xt gets further noise where it should stay as it is."),
    "all noised": (combined(lambda xt, x0, m, e, a: mixed(m * x0 + (1 - m) * xt, e, a)),
                   "You noise xt as well, and it is as noisy as it should be already. Noise x0 alone."),
    "averaged": (combined(lambda xt, x0, m, e, a: (m * mixed(x0, e, a) + (2 - m) * xt) / 2),
                 "You average the known pixels with what is there. They should replace it."),
    "first mask": (pasted(mixed, lambda mask: mask[:1].expand_as(mask)),
                   "You use the mask of the first image for all. Each image has its own."),
}


def bits_per_dim_inputs(draw):
    """What bits_per_dim is tried with, besides the example."""
    return [(draw(3, low=-90, high=-20), (3, 2, 4)), (draw(4, low=-9, high=30), (2, 3, 3))]


@exercise("What grain costs", example=(torch.tensor([-8.0, 3.0]), (1, 1, 2)),
          inputs=bits_per_dim_inputs)
def bits_per_dim(nll, shape):
    r"""Convert negative log-likelihoods to bits per dimension. `nll` is $-\ln p(x)$ for images with values in [−1, 1];
    the usual measure is for values from 0 to 255. Each of the D = C·H·W values is stretched by 127.5, which divides its
    density by 127.5: $\mathrm{nll} / (D \ln 2) + \log_2 127.5$.

    - `nll`: one number for each image, (B,)
    - `shape`: (C, H, W), a tuple of integers

    Return one number for each image, (B,)."""
    nats = nll / math.prod(shape)                              # (B,): for one value between -1 and 1
    return nats / math.log(2) + math.log2(127.5)               # 0 to 255 is 127.5 times as wide


STRETCHING = math.log2(127.5)


def bits(of_nll=lambda nll, n: nll / n / math.log(2), stretching=STRETCHING):
    """A wrong bits_per_dim from a formula of nll and the number of values, and from what is added."""
    return lambda nll, shape: of_nll(nll, math.prod(shape)) + stretching


bits_per_dim.mistakes = {
    "nats": (bits(lambda nll, n: nll / n, math.log(127.5)),
             "These are nats, from the natural logarithm. Bits come from the one to base two."),
    "half in bits": (bits(lambda nll, n: nll / n),
                     "Only the stretching is in bits, while the likelihood is still in nats."),
    "stretching in nats": (bits(stretching=math.log(127.5)),
                           "The likelihood is in bits, but the stretching is still in nats."),
    "multiplied": (bits(lambda nll, n: nll / n * math.log(2)),
                   "You multiply by the logarithm of 2. To go from nats to bits, divide by it."),
    "not stretched": (bits(stretching=0),
                      "The stretching is missing: from the range of minus 1 to 1 to that of 0 to 255."),
    "by 255": (bits(stretching=math.log2(255)),
               "You stretch by the whole new range. The old one had a width, too: by which factor does it grow?"),
    "by 128": (bits(stretching=7), "You stretch by 128. From 0 to 255 the range is 255 wide, and 2 before."),
    "by 256": (bits(stretching=8), "You stretch by 256. From 0 to 255 the range is 255 wide, and 2 before."),
    "stretched backwards": (bits(stretching=-math.log2(127.5)),
                            "The stretching has the wrong sign: a wider range makes each density smaller."),
    "whole image": (lambda nll, shape: nll / math.log(2) + math.prod(shape) * math.log2(127.5),
                    "These are the bits of a whole image. Per dimension they can be compared between sizes."),
    "nll of the whole image": (bits(lambda nll, n: nll / math.log(2)),
                               "The likelihood is that of the whole image, and the stretching that of one value. "
                               "Divide by the number of values."),
    "pixels": (lambda nll, shape: nll / math.prod(shape[-2:]) / math.log(2) + math.log2(127.5),
               "You divide by the pixels alone. Each pixel holds a value for each channel, and each counts."),
    "sum of the shape": (lambda nll, shape: nll / sum(shape) / math.log(2) + math.log2(127.5),
                         "You divide by the sum of the shape. The number of values is its product."),
    "batch": (lambda nll, shape: bits()(nll, shape).mean(),
              "This is the mean over the batch. Each image has its own number."),
    "sign": (bits(lambda nll, n: -nll / n / math.log(2)),
             "The sign of the likelihood is wrong: `nll` has its minus already."),
    "stretched once": (lambda nll, shape: (nll + math.log(127.5)) / math.prod(shape) / math.log(2),
                       "You count the stretching once for the whole image. Every value of it is stretched."),
    "multiplied by 127.5": (lambda nll, shape: nll / math.prod(shape) / math.log(2) * 127.5,
                            "You multiply by the stretching. In a logarithm, a factor becomes a sum."),
    "logarithm of nll": (lambda nll, shape: nll.abs().log2() / math.prod(shape) + math.log2(127.5),
                         "You take the logarithm of `nll`, which is a logarithm already. Change its base."),
}


def back_project_inputs(draw):
    """What back_project is tried with, besides the example."""
    return [(draw(2, 2, 4, 6), draw(2, 2, 2, 3)), (draw(1, 3, 4, 4), draw(1, 3, 2, 2))]


@exercise("Super-resolution: agree with the small picture",
          example=(torch.tensor([[[[0.0, 0.2], [0.4, 0.2]]]]), torch.tensor([[[[0.5]]]])),
          inputs=back_project_inputs)
def back_project(x, low):
    r"""Change a large image as little as possible so that it agrees with a small one: the mean of each 2×2 block
    becomes the pixel of the small image, and what it lacks is added to all four pixels alike.

    - `x`: large images (B, C, 2H, 2W);  `low`: small images (B, C, H, W)

    Return the corrected large images, (B, C, 2H, 2W)."""
    lacking = low - F.avg_pool2d(x, 2)                         # (B, C, H, W)
    return x + F.interpolate(lacking, scale_factor=2)          # to all four pixels alike


def grown(x):
    """Each pixel as four equal ones."""
    return F.interpolate(x, scale_factor=2)


def corner(x):
    """x in every second pixel, and 0 elsewhere."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[..., ::2, ::2] = x
    return out


def lacking(x, low):
    """What the means of the large image lack."""
    return low - F.avg_pool2d(x, 2)


def overwritten(x, low):
    """Wrong: one pixel of four becomes that of the small image."""
    x = x.clone()
    x[..., ::2, ::2] = low
    return x


def enlarged_smoothly(x, low):
    """Wrong: what is lacking is enlarged by blending neighbours."""
    return x + F.interpolate(lacking(x, low), scale_factor=2, mode="bilinear")


def global_mean_corrected(x, low):
    """Wrong: the mean of the whole image is corrected."""
    return x + low.mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True)


back_project.mistakes = {
    "sign": (lambda x, low: x - grown(lacking(x, low)), "You move away from the small image. A sign is wrong."),
    "low added": (lambda x, low: x + grown(low),
                  "You add the whole small image. Add only what the large one lacks of it."),
    "replaced": (lambda x, low: grown(low), "You enlarge the small image and lose the fine detail of x."),
    "quarter": (lambda x, low: x + grown(lacking(x, low)) / 4,
                "You divide what is lacking among the four pixels. But a mean rises by 1 only if all four rise by 1."),
    "four times": (lambda x, low: x + 4 * grown(lacking(x, low)),
                   "You add four times what is lacking. A mean rises by 1 if all four pixels rise by 1."),
    "summed": (lambda x, low: x + grown(low - 4 * F.avg_pool2d(x, 2)),
               "You compare with the sums of four pixels. The small image holds their means."),
    "every second": (lambda x, low: x + grown(low - x[..., ::2, ::2]),
                     "You compare with every second pixel. The small image holds means of four."),
    "correction only": (lambda x, low: grown(lacking(x, low)),
                        "This is the correction alone. Add it to the large image."),
    "half-way": (lambda x, low: x + grown(lacking(x, low)) / 2,
                 "You go only half of the way, so the means are still not those of the small image."),
    "largest": (lambda x, low: x + grown(low - F.max_pool2d(x, 2)),
                "You compare with the brightest of four pixels. The small image holds their means."),
    "bilinear": (enlarged_smoothly,
                 "You blend between neighbours while you enlarge what is lacking. All four pixels get the same."),
    "tiled": (lambda x, low: x + lacking(x, low).repeat(1, 1, 2, 2),
              "You repeat the image of what is lacking four times, side by side. Each of its pixels belongs to four "
              "neighbours."),
    "one pixel": (lambda x, low: x + 4 * corner(lacking(x, low)),
                  "You give all that is lacking to one of the four pixels. The means are right, but the change is "
                  "larger than it need be."),
    "one pixel, once": (lambda x, low: x + corner(lacking(x, low)),
                        "Only one of the four pixels is changed. All four get what their mean lacks."),
    "overwritten": (overwritten, "You write the small image into every second pixel. Change the means of four."),
    "ratio": (lambda x, low: x * grown(low / F.avg_pool2d(x, 2)),
              "You scale the pixels by a ratio of means. Add what is lacking; near 0 a ratio has no limits."),
    "clipped": (lambda x, low: back_project.solution(x, low).clamp(-1, 1),
                "You clip the result, so the means are not exact where it goes beyond the range."),
    "global mean": (global_mean_corrected,
                    "You correct the mean of the whole image. Each block of four has a mean of its own."),
    "means only": (lambda x, low: x - grown(F.avg_pool2d(x, 2)),
                   "You subtract the means of x. The small image is still to be added."),
}


def step_cost_inputs(draw):
    """What step_cost is tried with, besides the example."""
    return [(draw(2, 2, 2, 3), draw(2, 2, 2, 3), t, s, ALPHA_BAR)
            for t, s in ((5, 2), (3, 2), (6, 1))]


@exercise("How surprised was the model?",
          example=(row(1, 0), row(0.5, 0), 2, 1, ROUND),
          inputs=step_cost_inputs)
def step_cost(x0, estimate, t, s, alpha_bar):
    r"""Compute what the step from t to s adds to the bound on the negative log-likelihood,
    $\tfrac12\,(\mathrm{SNR}_s - \mathrm{SNR}_t)\,\lVert x_0 - \hat x_0 \rVert^2$, where
    $\mathrm{SNR}_t = \bar\alpha_t / (1 - \bar\alpha_t)$.

    - `x0`: clean images (B, C, H, W);  `estimate`: the network's estimates $\hat x_0$, the same shape
    - `t`, `s`: integers, T ≥ t > s ≥ 1
    - `alpha_bar`: a tensor (T + 1,)

    Return one number for each image, in nats, (B,)."""
    snr = alpha_bar / (1 - alpha_bar)                          # (T + 1,)
    return (snr[s] - snr[t]) / 2 * ((x0 - estimate) ** 2).sum((1, 2, 3))   # (B,), in nats


def squared_error(x0, estimate):
    """The squared error of each image, (B,)."""
    return ((x0 - estimate)**2).sum((1, 2, 3))


def cost(weight, error=squared_error):
    """A wrong step_cost from a formula of the two signal-to-noise ratios, and from an error."""
    def of(x0, estimate, t, s, alpha_bar):
        snr = alpha_bar / (1 - alpha_bar)
        return weight(snr[t], snr[s]) * error(x0, estimate)
    return of


def gain(at_t, at_s):
    """The right weight."""
    return (at_s - at_t) / 2


step_cost.mistakes = {
    "not halved": (cost(lambda at_t, at_s: at_s - at_t),
                   "It is twice too much: the formula has a factor one half, from the exponent of the Gaussian."),
    "negative": (cost(lambda at_t, at_s: (at_t - at_s) / 2),
                 "A cost cannot be negative. On the way down the ratio grows: which of the two is the larger?"),
    "mean": (cost(gain, lambda x0, x: ((x0 - x)**2).mean((1, 2, 3))),
             "You average over the pixels. The likelihood of a whole image adds them up; division comes later."),
    "at t": (cost(lambda at_t, at_s: at_t / 2),
             "You weigh with the ratio at t. What counts is by how much it grows in this step."),
    "at s": (cost(lambda at_t, at_s: at_s / 2),
             "You weigh with the ratio at s. What counts is by how much it grows in this step."),
    "logarithms": (cost(lambda at_t, at_s: (at_s.log() - at_t.log()) / 2),
                   "You take the difference of logarithms. It is the difference of the ratios that counts."),
    "ratio": (cost(lambda at_t, at_s: (at_s / at_t - 1) / 2),
              "You divide the two ratios. It is their difference that counts."),
    "roots": (cost(lambda at_t, at_s: (at_s**0.5 - at_t**0.5) / 2),
              "You take the roots of the ratios. They are ratios of variances, and stay as they are."),
    "inverse": (cost(lambda at_t, at_s: (1 / at_t - 1 / at_s) / 2),
                "Your ratio is upside down: it is signal over noise."),
    "batch": (cost(gain, lambda x0, x: ((x0 - x)**2).sum()), "All images are added up. Each has its own cost."),
    "batch mean": (lambda *case: step_cost.solution(*case).mean(),
                   "You average over the batch. Each image has its own cost."),
    "absolute": (cost(gain, lambda x0, x: (x0 - x).abs().sum((1, 2, 3))),
                 "You add up absolute errors. The logarithm of a Gaussian has their squares."),
    "square of the sum": (cost(gain, lambda x0, x: (x0 - x).sum((1, 2, 3))**2),
                          "You add the errors up before you square them, so they cancel. Square first."),
    "difference of squares": (cost(gain, lambda x0, x: (x0**2 - x**2).sum((1, 2, 3))),
                              "You subtract the squares. Subtract the images, then square."),
    "alpha_bar": (lambda x0, x, t, s, alpha_bar: (alpha_bar[s] - alpha_bar[t]) / 2 * squared_error(x0, x),
                  "You use alpha_bar. The ratio compares it with the noise variance beside it."),
    "root": (cost(gain, lambda x0, x: squared_error(x0, x)**0.5),
             "You took a root of the summed squares. Leave them as they are."),
    "bits": (cost(lambda at_t, at_s: gain(at_t, at_s) / math.log(2)),
             "These are bits. The task asks for nats, as the formula gives them."),
    "only one step": (lambda x0, x, t, s, alpha_bar: step_cost.solution(x0, x, t, t - 1, alpha_bar),
                      "You step from t to the t just below, whatever s is. Steps may be left out, so use s."),
    "per pixel": (cost(gain, lambda x0, x: (x0 - x)**2),
                  "Each pixel has a cost of its own. Add them up for each image."),
}
