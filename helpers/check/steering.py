"""The exercises of pages 07 and 08: labels and ways between pictures, missing pixels and likelihood."""
import math

import torch
import torch.nn.functional as F

from helpers import guidance, samplers
from helpers.check.engine import exercise
from helpers.check.noising import ALPHA_BAR, known, mixed
from helpers.check.sampling import seeded

# ---------------------------------------------------------------------------------------------------------------- 07


def upwards(xt, eps, t, u, alpha_bar):
    """The picture behind x_t, noised up to u with the very noise that was seen in x_t."""
    schedule = known(alpha_bar)
    return schedule.q_sample(schedule.predict_x0(xt, t, eps), u, eps)


def climb(formula):
    """A wrong invert_step from a formula of (xt, x0, eps, a_t, a_u)."""
    def step(xt, eps, t, u, alpha_bar):
        a_t, a_u = alpha_bar[t], alpha_bar[u]
        return formula(xt, (xt - (1 - a_t)**0.5 * eps) / a_t**0.5, eps, a_t, a_u)
    return step


exercise(
    "invert_step", "07", "DDIM, backwards",
    "One step of DDIM inversion: from x_t at t up to the noisier x_u at u, any u above t, given the noise eps that the "
    "network sees in x_t. Nothing is drawn.",
    truth=upwards,
    inputs=lambda draw: [(draw(2), draw(2), 2, 4, ALPHA_BAR), (draw(2, 1, 2, 3), draw(2, 1, 2, 3), 3, 6, ALPHA_BAR)],
    mistakes={
        "downwards": (lambda xt, eps, t, u, alpha_bar: upwards(xt, eps, u, t, alpha_bar),
                      "You exchanged the two times: this takes x_t for a picture of time u and walks down."),
        "picture as clean": (climb(lambda xt, x0, e, a_t, a_u: mixed(xt, e, a_u)),
                             "You noise x_t as if it were clean. First find the picture behind it, then noise that up "
                             "to u."),
        "no roots": (climb(lambda xt, x0, e, a_t, a_u: a_u * x0 + (1 - a_u) * e),
                     "The guess of the picture is right, but you noise it with variances for weights."),
        "one time": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0, e, a_t)),
                     "You are back where you began, since you split and put together in one and the same proportion."),
        "noise of t": (climb(lambda xt, x0, e, a_t, a_u: a_u**0.5 * x0 + (1 - a_t)**0.5 * e),
                       "The picture has the weight of u, but the noise is only as strong as at t."),
        "swapped": (climb(lambda xt, x0, e, a_t, a_u: mixed(e, x0, a_u)),
                    "Picture and noise have each other's weight."),
        "sign": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0, -e, a_u)),
                 "The noise has the wrong sign when you put it in again."),
        "forward noise": (climb(lambda xt, x0, e, a_t, a_u: (a_u / a_t)**0.5 * xt + (1 - a_u / a_t)**0.5 * e),
                          "This is the forward process, in which fresh noise is added. Here the noise is not fresh: it "
                          "is already part of x_t."),
        "guess": (climb(lambda xt, x0, e, a_t, a_u: x0),
                  "This is the guess of the clean picture. Inversion goes the other way."),
        "noise added in full": (climb(lambda xt, x0, e, a_t, a_u: (a_u / a_t)**0.5 * xt + (1 - a_u)**0.5 * e),
                                "You add all the noise that there is at u, but x_t brings a part of it along."),
        "still weak": (climb(lambda xt, x0, e, a_t, a_u: a_u**0.5 * (xt - (1 - a_t)**0.5 * e) + (1 - a_u)**0.5 * e),
                       "The noise is off, but the picture behind it is still as weak as it was at t. Undo that before "
                       "you weaken it to u."),
    })


def great_circle(a, b, u, angle=None, weights=lambda u, w: (torch.sin((1 - u) * w), torch.sin(u * w)), flat=1):
    """Spherical interpolation, with whatever can go wrong."""
    shape = (-1, *[1] * (a.ndim - 1)) if flat else ()
    x, y = (a.flatten(1), b.flatten(1)) if flat else (a.flatten(), b.flatten())
    cos = (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))
    w = (cos.clamp(-1, 1).acos() if angle is None else angle(x, y, cos)).reshape(shape)
    return (weights(u, w)[0] * a + weights(u, w)[1] * b) / torch.sin(w)


exercise(
    "slerp", "07", "From one noise to another",
    "Between the noises a and b, both (B, C, H, W), go the part u of the way on the great circle, each picture by the "
    "angle of its own: u at 0 gives a, at 1 gives b, and half-way noise is as strong as at the ends.",
    truth=lambda a, b, u: great_circle(a, b, u),
    inputs=lambda draw: [(draw(1, 1, 1, 2), draw(1, 1, 1, 2), 0.3), (draw(2, 1, 3, 2), draw(2, 1, 3, 2), 0.6)],
    mistakes={
        "straight": (lambda a, b, u: (1 - u) * a + u * b,
                     "You go straight. Half-way noise is then too weak, and the network would see grey."),
        "other end": (lambda a, b, u: great_circle(a, b, 1 - u),
                      "You start at the other end: at 0 it should be a."),
        "one angle": (lambda a, b, u: great_circle(a, b, u, flat=0),
                      "One angle is used for the whole batch. Each pair of noises has an angle of its own."),
        "roots": (lambda a, b, u: (1 - u)**0.5 * a + u**0.5 * b,
                  "The squares of your weights sum to 1, which is almost right: exact only if a and b stand at a right "
                  "angle. Measure the angle."),
        "quarter circle": (lambda a, b, u: math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b,
                           "You take the angle between a and b for a right one. It is nearly so for large noises; "
                           "measure it."),
        "not a cosine": (lambda a, b, u: great_circle(
                             a, b, u, lambda x, y, cos: (x * y).mean(-1).clamp(-0.99, 0.99).acos()),
                         "Your angle comes from a product that was not divided by the two lengths."),
        "no sine below": (lambda a, b, u: great_circle(a, b, u) * torch.sin(((a * b).flatten(1).sum(1) / (
                              a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1))).acos()).reshape(-1, 1, 1, 1),
                          "Nearly: a common divisor is missing, so even at the ends you do not get a and b."),
        "cosines": (lambda a, b, u: great_circle(
                        a, b, u, weights=lambda u, w: (torch.cos((1 - u) * w), torch.cos(u * w))),
                    "Your weights are cosines. At the start b should have no weight at all: which function is 0 "
                    "there?"),
        "length 1": (lambda a, b, u: great_circle(*(x / x.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for x in (a, b)),
                                                  u),
                     "You mix the noises after bringing them to length 1, and so the result is far too weak. Only the "
                     "angle needs that."),
        "cosine for angle": (lambda a, b, u: great_circle(a, b, u, lambda x, y, cos: cos),
                             "You take the cosine for the angle itself. Undo the cosine first."),
    })

exercise(
    "guided", "07", "Overdo what the label changes",
    "Classifier-free guidance: from the guesses eps with the label and eps_without, the guess that is used. A scale of "
    "0 ignores the label, 1 heeds it, above 1 overdoes it.",
    truth=lambda eps, eps_without, scale: guidance.guided(
        lambda xt, t: eps, lambda xt, t: eps_without, scale)(None, None),
    inputs=lambda draw: [(draw(2), draw(2), 3.0), (draw(2, 1, 2, 3), draw(2, 1, 2, 3), 1.5)],
    mistakes={
        "one too much": (lambda eps, eps_without, scale: eps + scale * (eps - eps_without),
                         "You guide by one too much: here, a scale of 0 should ignore the label. (The paper counts "
                         "differently, its w is our scale less 1.)"),
        "swapped": (lambda eps, eps_without, scale: eps + scale * (eps_without - eps),
                    "The two guesses are exchanged, so a large scale leads away from the label."),
        "only the difference": (lambda eps, eps_without, scale: scale * (eps - eps_without),
                                "This is only what the label changes. It must be added to a guess."),
        "from above": (lambda eps, eps_without, scale: eps_without - scale * (eps - eps_without),
                       "The sign is wrong: you step away from what the label asks for."),
        "label only": (lambda eps, eps_without, scale: scale * eps,
                       "You enlarge the whole guess. Only what the label changes is to be enlarged."),
        "added": (lambda eps, eps_without, scale: eps_without + scale * eps,
                  "You add the guess with the label. Add its difference to the one without, or noise is counted "
                  "twice."),
        "ignored": (lambda eps, eps_without, scale: eps,
                    "The scale has no effect: this is the guess with the label as it is."),
        "average": (lambda eps, eps_without, scale: (eps_without + scale * eps) / (1 + scale),
                    "You average the two guesses, so the result always lies between them. Guidance goes beyond."),
        "taken off in full": (lambda eps, eps_without, scale: scale * eps - eps_without,
                              "You take the guess without the label off in full. At a scale of 1 the guess with the "
                              "label should come out."),
    })


def dropped(y, u, share):
    """The helper's, which draws u for itself."""
    from helpers.train import drop_labels  # not above: it loads Accelerate, which takes seconds
    return seeded(drop_labels, y, share)


def uniform(n):
    """What dropped() draws."""
    torch.manual_seed(0)
    return torch.rand(n)


exercise(
    "drop_labels", "07", "One network, with and without a label",
    "Of the labels y (B,), replace those by -1, no label, whose number in u (B,) lies below share; u is drawn evenly "
    "between 0 and 1. Return a new tensor of whole numbers.",
    truth=dropped,
    inputs=lambda draw: [(torch.tensor([2, 0, 1, 3]), uniform(4), 0.3),
                         (torch.tensor([5, 2, 4, 1, 3, 2, 0, 6, 1]), uniform(9), 0.55)],
    mistakes={
        "inverted": (lambda y, u, share: y.where(u < share, -1),
                     "Inside out: you keep the labels that should go, so nearly all of them are lost."),
        "zero": (lambda y, u, share: y.where(u >= share, 0),
                 "You write 0, but 0 is a label like any other. No label is minus 1."),
        "all": (lambda y, u, share: torch.full_like(y, -1),
                "All labels are gone, so the network never learns what they mean."),
        "none": (lambda y, u, share: y,
                 "No label is dropped, so the network never learns to do without."),
        "shorter": (lambda y, u, share: y[u >= share],
                    "You remove the labels, and the rest no longer stand beside their pictures. Replace them."),
        "minus one": (lambda y, u, share: y - (u < share).long(),
                      "You subtract 1 from a label, which makes it another label."),
        "at the end": (lambda y, u, share: torch.cat([y[:-round(share * len(y))], -torch.ones_like(
                           y[-round(share * len(y)):])]),
                       "You always drop the last labels. Let the numbers in u decide for each."),
        "together": (lambda y, u, share: y if u[0] >= share else torch.full_like(y, -1),
                     "One number decides for the whole batch. Each label has its own in u."),
    })

# ---------------------------------------------------------------------------------------------------------------- 08


def pasted(known_part, keep=lambda mask: mask):
    """A wrong paste_known from a formula of (x0, eps, a), a being alpha_bar at t."""
    def paste(xt, x0, mask, t, eps, alpha_bar):
        m = keep(mask)
        return m * known_part(x0, eps, alpha_bar[t]) + (1 - m) * xt
    return paste


exercise(
    "paste_known", "08", "Missing pixels: keep what is known",
    "The step of inpainting that keeps to the data: where mask is 1, a pixel of x0 is known, so put there what it "
    "looks like at time t, noised with eps; leave xt elsewhere. All are (B, C, H, W), t is a whole number.",
    truth=lambda xt, x0, mask, t, eps, alpha_bar: torch.where(
        mask.bool(), known(alpha_bar).q_sample(x0, t, eps), xt),
    inputs=lambda draw: [(draw(3), draw(3), torch.tensor([1.0, 0.0, 1.0]), 3, draw(3), ALPHA_BAR),
                         (draw(2, 1, 3, 4), draw(2, 1, 3, 4), draw.mask(2, 1, 3, 4), 4, draw(2, 1, 3, 4), ALPHA_BAR)],
    mistakes={
        "mask inverted": (pasted(mixed, lambda mask: 1 - mask),
                          "The mask is inside out: you overwrite what has to be found and leave what is known."),
        "clean": (pasted(lambda x, e, a: x),
                  "You paste clean pixels into a noisy picture. The network expects the noise of time t everywhere."),
        "everywhere": (pasted(mixed, torch.ones_like),
                       "You replace the whole picture, so what the network has found so far is lost."),
        "nowhere": (lambda xt, x0, mask, t, eps, alpha_bar: xt,
                    "Nothing is put in: what is known has no influence."),
        "added": (lambda xt, x0, mask, t, eps, alpha_bar: xt + mask * mixed(x0, eps, alpha_bar[t]),
                  "You add the known pixels on top of what is there. They should replace it."),
        "rest black": (lambda xt, x0, mask, t, eps, alpha_bar: mask * mixed(x0, eps, alpha_bar[t]),
                       "The known pixels are right, but all others have become 0. They should stay as they are in xt."),
        "no roots": (pasted(lambda x, e, a: a * x + (1 - a) * e),
                     "The right pixels are replaced, but you noise them with variances for weights."),
        "early": (lambda xt, x0, mask, t, eps, alpha_bar: pasted(mixed)(xt, x0, mask, t - 1, eps, alpha_bar),
                  "The known pixels have the noise of one step below t, and the others that of t."),
        "noise only": (pasted(lambda x, e, a: (1 - a)**0.5 * e),
                       "You put in the noise without the picture."),
        "masked first": (lambda xt, x0, mask, t, eps, alpha_bar: mixed(mask * x0, eps, alpha_bar[t]) + (1 - mask) * xt,
                         "You mask before you noise, so xt gets further noise where it should stay as it is."),
        "all noised": (lambda xt, x0, mask, t, eps, alpha_bar: mixed(mask * x0 + (1 - mask) * xt, eps, alpha_bar[t]),
                       "You noise xt as well, and it is as noisy as it should be already. Noise x0 alone."),
    })

pixels = lambda shape: math.prod(shape)
exercise(
    "bits_per_dim", "08", "What grain costs",
    "nll (B,) is how surprised a model is by each picture: minus the natural logarithm of its density, for values in "
    "[-1, 1]. Give bits per dimension (B,) for the same pictures with values from 0 to 255; shape is (C, H, W). One "
    "value counts as one dimension, and stretching the range makes each density smaller.",
    truth=lambda nll, shape: nll / (math.prod(shape) * math.log(2)) + math.log2(127.5),
    inputs=lambda draw: [(torch.tensor([-8.0, 3.0]), (1, 1, 2)), (draw(3, low=-90, high=-20), (3, 2, 4))],
    mistakes={
        "nats": (lambda nll, shape: nll / pixels(shape) + math.log(127.5),
                 "These are nats, from the natural logarithm. Bits count powers of two."),
        "half in bits": (lambda nll, shape: nll / pixels(shape) + math.log2(127.5),
                         "Only the stretching is in bits, while the surprise is still in nats."),
        "not stretched": (lambda nll, shape: nll / pixels(shape) / math.log(2),
                          "The stretching is missing: from the range of minus 1 to 1 to that of 0 to 255."),
        "256 and not 127.5": (lambda nll, shape: nll / pixels(shape) / math.log(2) + math.log2(255),
                              "You stretch by the whole new range. The old one had a width, too: by which factor does "
                              "it grow?"),
        "stretched backwards": (lambda nll, shape: nll / pixels(shape) / math.log(2) - math.log2(127.5),
                                "The stretching has the wrong sign: a wider range makes each value more surprising."),
        "whole picture": (lambda nll, shape: nll / math.log(2) + pixels(shape) * math.log2(127.5),
                          "These are the bits of a whole picture. Per dimension they are comparable between sizes."),
        "pixels": (lambda nll, shape: nll / pixels(shape[-2:]) / math.log(2) + math.log2(127.5),
                   "You divide by the pixels alone. In colour, each pixel holds three values, and each counts."),
        "batch": (lambda nll, shape: (nll / pixels(shape) / math.log(2) + math.log2(127.5)).mean(),
                  "This is the mean over the batch. Each picture is to have its own number."),
        "sign": (lambda nll, shape: -nll / pixels(shape) / math.log(2) + math.log2(127.5),
                 "The sign of the surprise is wrong: it comes with its minus already."),
        "stretching in nats": (lambda nll, shape: nll / pixels(shape) / math.log(2) + math.log(127.5),
                               "The surprise is in bits, but the stretching is still in nats."),
        "stretched once": (lambda nll, shape: (nll + math.log(127.5)) / pixels(shape) / math.log(2),
                           "You count the stretching once for the whole picture. Every value of it is stretched."),
    })

shrink = lambda x: F.avg_pool2d(x, 2)
exercise(
    "back_project", "08", "Super-resolution: agree with the small picture",
    "Change the large picture x (B, C, 2H, 2W) as little as you can so that its 2 by 2 means are the small picture low "
    "(B, C, H, W): whatever a mean lacks goes to all its four pixels alike.",
    truth=lambda x, low: x + F.interpolate(low - F.avg_pool2d(x, 2), scale_factor=2),
    inputs=lambda draw: [(draw(1, 1, 2, 2), draw(1, 1, 1, 1)), (draw(2, 1, 4, 6), draw(2, 1, 2, 3))],
    mistakes={
        "sign": (lambda x, low: x - F.interpolate(low - shrink(x), scale_factor=2),
                 "You move away from the small picture. A sign is wrong."),
        "low added": (lambda x, low: x + F.interpolate(low, scale_factor=2),
                      "You add the whole small picture. Add only what the large one lacks of it."),
        "replaced": (lambda x, low: F.interpolate(low, scale_factor=2),
                     "You enlarge the small picture and forget the fine detail of x."),
        "quarter": (lambda x, low: x + F.interpolate(low - shrink(x), scale_factor=2) / 4,
                    "You share what is lacking among the four pixels. But a mean rises by 1 only if all four rise by "
                    "1."),
        "summed": (lambda x, low: x + F.interpolate(low - 4 * shrink(x), scale_factor=2),
                   "You compare with the sums of four pixels. The small picture holds their means."),
        "every second": (lambda x, low: x + F.interpolate(low - x[..., ::2, ::2], scale_factor=2),
                         "You compare with every second pixel. The small picture holds means of four."),
        "correction only": (lambda x, low: F.interpolate(low - shrink(x), scale_factor=2),
                            "This is the correction alone. Add it to the large picture."),
        "half-way": (lambda x, low: x + F.interpolate(low - shrink(x), scale_factor=2) / 2,
                     "You go only half of the way, so the means are still not those of the small picture."),
        "largest": (lambda x, low: x + F.interpolate(low - F.max_pool2d(x, 2), scale_factor=2),
                    "You compare with the brightest of four pixels. The small picture holds their means."),
        "smooth": (lambda x, low: x + F.interpolate(low - shrink(x), scale_factor=2, mode="bilinear"),
                   "You blend between neighbours while you enlarge what is lacking. All four pixels get the same."),
        "tiled": (lambda x, low: x + (low - shrink(x)).repeat(1, 1, 2, 2),
                  "You lay what is lacking down four times, side by side. Each of its pixels belongs to four "
                  "neighbours."),
    })


def cost(weight, over=lambda squares: squares.flatten(1).sum(1)):
    """A wrong step_cost from a formula of the two signal-to-noise ratios."""
    def of(x0, guess, t, s, alpha_bar):
        snr = alpha_bar / (1 - alpha_bar)
        return weight(snr[t], snr[s]) * over((x0 - guess)**2)
    return of


def gaussian_cost(x0, guess, t, s, alpha_bar):
    """KL of two Gaussians of equal variance, whose means are those of the posterior given x0 and given the guess."""
    none = torch.zeros_like(x0)
    difference = (samplers.ddpm_step(none, x0, t, s, alpha_bar, none)
                  - samplers.ddpm_step(none, guess, t, s, alpha_bar, none))
    a_t, a_s = alpha_bar[t].item(), alpha_bar[s].item()
    return (difference**2).flatten(1).sum(1) / (2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s))


exercise(
    "step_cost", "08", "How surprised was the model?",
    "What the step from t to s, s at least 1, adds to the bound on the surprise, in nats: half of what the signal-to-"
    "noise ratio gains, times the summed squared error of the guess; x0, guess (B, C, H, W) give (B,).",
    truth=gaussian_cost,
    inputs=lambda draw: [(draw(1, 1, 1, 2), draw(1, 1, 1, 2), 3, 2, ALPHA_BAR),
                         (draw(2, 1, 2, 3), draw(2, 1, 2, 3), 5, 2, ALPHA_BAR)],
    mistakes={
        "not halved": (cost(lambda t, s: s - t),
                       "It is twice too much: a Gaussian carries a factor one half in its exponent."),
        "negative": (cost(lambda t, s: (t - s) / 2),
                     "A cost below 0 would be a gift. On the way down the ratio grows: which of the two is the "
                     "larger?"),
        "mean": (cost(lambda t, s: (s - t) / 2, lambda squares: squares.flatten(1).mean(1)),
                 "You average over the pixels. The surprise of a whole picture adds them up; division comes later."),
        "one ratio": (cost(lambda t, s: t / 2),
                      "You weigh with the ratio at t. What counts is by how much it grows in this step."),
        "logarithms": (cost(lambda t, s: (s.log() - t.log()) / 2),
                       "You take the gain of the logarithm. It is the ratio itself whose gain counts."),
        "batch": (cost(lambda t, s: (s - t) / 2, lambda squares: squares.sum()),
                  "All pictures are added up. Each is to have its own cost."),
        "absolute": (lambda x0, guess, t, s, alpha_bar: cost(lambda t, s: (s - t) / 2)(
                         (x0 - guess).abs()**0.5, torch.zeros_like(x0), t, s, alpha_bar),
                     "You add up the sizes of the errors. A Gaussian's surprise grows with their squares."),
        "alpha_bar": (lambda x0, guess, t, s, alpha_bar: (alpha_bar[s] - alpha_bar[t]) / 2 * (
                          (x0 - guess)**2).flatten(1).sum(1),
                      "You use alpha_bar. The ratio compares it with the noise that is there beside it."),
        "root": (cost(lambda t, s: (s - t) / 2, lambda squares: squares.flatten(1).sum(1)**0.5),
                 "You took a root of the summed squares. Leave them as they are."),
        "bits": (cost(lambda t, s: (s - t) / 2 / math.log(2)),
                 "These are bits. Asked for are nats, as the formula gives them."),
    })
