"""The exercises of notebook 07: dropping labels, interpolation, DDIM inversion, classifier-free guidance."""
import math

import torch

from exercises.common import ALPHA_BAR, ROUND, mixed, row
from exercises.exercise import exercise


def drop_labels_inputs(draw):
    """What drop_labels is tried with, besides the example."""
    return [(torch.tensor([5, 2, 4, 1, 3, 2, 0, 6, 1]), draw(9, low=0, high=1), 0.55),
            (torch.tensor([1, 0, 3, 2, 4]), torch.tensor([0.25, 0.5, 0.125, 0.75, 0.0]), 0.25),
            (torch.arange(1, 7), torch.tensor([0.6, 0.9, 0.65, 0.05, 0.8, 0.7]), 0.66)]


@exercise("One network, with and without a label", noise=["u"],
          example=(torch.tensor([2, 0, 1, 3]), torch.tensor([0.7, 0.1, 0.9, 0.2]), 0.3),
          inputs=drop_labels_inputs)
def drop_labels(y, u, share):
    r"""Drop labels at random: replace by −1 (no label) each label whose number in `u` is smaller than `share`.

    - `y`: labels, a tensor (B,) of integers from 0
    - `u`: numbers drawn uniformly between 0 and 1, (B,)
    - `share`: the probability of dropping a label, a number

    Return a new tensor (B,) of integers."""
    return torch.where(u < share, -1, y)                       # (B,)


def so_many(y, u, share):
    """Wrong: exactly a share of the labels, those with the smallest u."""
    y = y.clone()
    y[u.argsort()[:round(share * len(y))]] = -1
    return y


def last_ones(y, u, share):
    """Wrong: the last labels."""
    keep = len(y) - round(share * len(y))
    return torch.where(torch.arange(len(y)) < keep, y, -1)


def first_ones(y, u, share):
    """Wrong: the first labels."""
    return torch.where(torch.arange(len(y)) < round(share * len(y)), -1, y)


def dropped_together(y, u, share):
    """Wrong: the first number decides for the whole batch."""
    return y if u[0] >= share else torch.full_like(y, -1)


def dropped_by_the_mean(y, u, share):
    """Wrong: the mean decides for the whole batch."""
    return y if u.mean() >= share else torch.full_like(y, -1)


drop_labels.mistakes = {
    "inverted": (lambda y, u, share: torch.where(u < share, y, -1),
                 "You keep the labels that should be dropped, and drop the others."),
    "not strictly": (lambda y, u, share: torch.where(u <= share, -1, y),
                     "Nearly. A number that equals share is not smaller, so its label is kept."),
    "above": (lambda y, u, share: torch.where(u > share, -1, y),
              "You drop the labels whose number is above share. The task asks for those below."),
    "other end": (lambda y, u, share: torch.where(u > 1 - share, -1, y),
                  "You drop the labels with the largest numbers in u. The task asks for those below share."),
    "zero": (lambda y, u, share: torch.where(u < share, 0, y),
             "You write 0, but 0 is a label like any other. No label is minus 1."),
    "all": (lambda y, u, share: torch.full_like(y, -1),
            "All labels are gone, so the network never learns what they mean."),
    "none": (lambda y, u, share: y, "No label is dropped, so the network never learns to predict without one."),
    "shorter": (lambda y, u, share: y[u >= share],
                "You remove the labels, and the rest no longer stand beside their images. Replace them."),
    "minus one": (lambda y, u, share: y - (u < share).long(),
                  "You subtract 1 from a label, which makes it another label."),
    "negative": (lambda y, u, share: torch.where(u < share, -y, y),
                 "You change the sign of the labels. No label is minus 1, whatever it was before."),
    "last ones": (last_ones, "You always drop the last labels. Let the numbers in u decide for each."),
    "first ones": (first_ones, "You always drop the first labels. Let the numbers in u decide for each."),
    "so many": (so_many,
                "You drop a fixed number of labels. Each is dropped with a probability of its own, so their number "
                "varies."),
    "together": (dropped_together,
                 "One number decides for the whole batch. Each label has its own in u."),
    "by the mean": (dropped_by_the_mean,
                    "The mean of u decides for the whole batch. Each label has its own number in u."),
    "mask": (lambda y, u, share: u < share,
             "This says which labels are dropped. Return the labels, with minus 1 in their places."),
}


def slerp_inputs(draw):
    """What slerp is tried with, besides the example."""
    return [(draw(3, 2, 3, 2), draw(3, 2, 3, 2), 0.6), (draw(2, 2, 2, 2), draw(2, 2, 2, 2), 0.25),
            (draw(1, 1, 1, 2), draw(1, 1, 1, 2), 0.3)]


@exercise("From one noise to another", example=(row(1, 0), row(0, 1), 0.5),
          inputs=slerp_inputs)
def slerp(a, b, u):
    r"""Interpolate between two noises along the great circle (spherical linear interpolation),

    $$\frac{\sin((1-u)\,\omega)\,a + \sin(u\,\omega)\,b}{\sin \omega}, \qquad
    \cos\omega = \frac{a^\top b}{\lVert a \rVert\,\lVert b \rVert}.$$

    - `a`, `b`: noises (B, C, H, W); each pair has its own angle ω, over all its pixels
    - `u`: how far to go, a number from 0 (a) to 1 (b)

    Return the interpolated noises, (B, C, H, W)."""
    x = a.flatten(1)
    y = b.flatten(1)                                           # (B, C * H * W)
    cos = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))     # (B,)
    w = cos.acos()[:, None, None, None]                        # (B, 1, 1, 1): each pair has its own angle
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)


def cosines(a, b, dims=(1, 2, 3)):
    """The cosine of the angle of each pair, over the given axes, which stay with length 1."""
    lengths = a.pow(2).sum(dims, keepdim=True) * b.pow(2).sum(dims, keepdim=True)
    return (a * b).sum(dims, keepdim=True) / lengths**0.5


def great_circle(a, b, u, w):
    """The point between a and b on the great circle, for an angle w."""
    return (torch.sin((1 - u) * w) * a + torch.sin(u * w) * b) / torch.sin(w)


def with_angle(angle):
    """A wrong slerp from a function angle(a, b)."""
    return lambda a, b, u: great_circle(a, b, u, angle(a, b))


def with_weights(weights):
    """A wrong slerp from a function weights(u, w), w being the right angle, that gives the weights of a and b."""
    def answer(a, b, u):
        of_a, of_b = weights(u, cosines(a, b).acos())
        return of_a * a + of_b * b
    return answer


def unit(x):
    """Each noise brought to length 1."""
    return x / x.pow(2).sum((1, 2, 3), keepdim=True)**0.5


def rescaled_line(a, b, u):
    """Wrong: the straight line, brought to the length of a."""
    return unit((1 - u) * a + u * b) * a.pow(2).sum((1, 2, 3), keepdim=True)**0.5


def quarter_circle(a, b, u):
    """Wrong: the angle between a and b is taken for a right one."""
    return math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b


def angle_of_product(a, b):
    """An angle (B, 1, 1, 1) from the product, without the lengths."""
    return (a * b).sum((1, 2, 3), keepdim=True).clamp(-0.99, 0.99).acos()


def angle_of_mean_product(a, b):
    """An angle (B, 1, 1, 1) from the mean product of the pixels."""
    return (a * b).mean((1, 2, 3), keepdim=True).clamp(-0.99, 0.99).acos()


def cosine_weights(u, w):
    """Two weights with cosines in the place of sines."""
    return (torch.cos((1 - u) * w) / torch.sin(w), torch.cos(u * w) / torch.sin(w))


slerp.mistakes = {
    "straight": (lambda a, b, u: (1 - u) * a + u * b,
                 "You go along the straight line. Half-way the noise is then too weak, which the network takes for an "
                 "image without contrast."),
    "straight, rescaled": (rescaled_line,
                           "You go along the straight line and rescale. That ends on the sphere, but not at the right "
                           "place, and b loses its own length."),
    "other end": (lambda a, b, u: slerp.solution(a, b, 1 - u),
                  "The two noises have each other's weight: at u of 0 it should be a."),
    "one angle": (with_angle(lambda a, b: cosines(a, b, (0, 1, 2, 3)).acos()),
                  "One angle is used for the whole batch. Each pair of noises has its own."),
    "angle of each channel": (with_angle(lambda a, b: cosines(a, b, (2, 3)).acos()),
                              "Each channel has an angle of its own. There is one for all pixels of a pair."),
    "angle of each row": (with_angle(lambda a, b: cosines(a, b, (3,)).clamp(-0.999, 0.999).acos()),
                          "Each row of pixels has an angle of its own. There is one for all pixels of a pair."),
    "angle of each pixel": (with_angle(lambda a, b: cosines(a, b, (1,)).clamp(-0.999, 0.999).acos()),
                            "Each pixel has an angle of its own. There is one for all pixels of a pair."),
    "roots": (lambda a, b, u: (1 - u)**0.5 * a + u**0.5 * b,
              "The squares of your weights sum to 1, which is almost right: exact only if a and b stand at a right "
              "angle. Compute the angle."),
    "quarter circle": (quarter_circle,
                       "You take the angle between a and b for a right one. It nearly is for large noises; compute "
                       "it."),
    "not normalised": (with_angle(angle_of_product),
                       "Your angle comes from a product that was not divided by the two lengths."),
    "mean product": (with_angle(angle_of_mean_product),
                     "Your angle comes from the mean product of the pixels. Divide the sum by the two lengths."),
    "no sine below": (with_weights(lambda u, w: (torch.sin((1 - u) * w), torch.sin(u * w))),
                      "Nearly: a common divisor is missing, so even at the ends you do not get a and b."),
    "cosines": (with_weights(cosine_weights),
                "Your weights are cosines. At the start b should have no weight at all: which function is 0 there?"),
    "cosines, no sine below": (with_weights(lambda u, w: (torch.cos((1 - u) * w), torch.cos(u * w))),
                               "Your weights are cosines, and the common divisor is missing. At the start b should "
                               "have no weight at all: which function is 0 there?"),
    "length 1": (lambda a, b, u: slerp.solution(unit(a), unit(b), u),
                 "You mix the noises after bringing them to length 1, so the result is far too weak. Only the angle "
                 "needs that."),
    "cosine for angle": (with_angle(cosines), "You take the cosine for the angle itself. Undo the cosine first."),
    "degrees": (with_angle(lambda a, b: cosines(a, b).acos().rad2deg()),
                "Your angle is in degrees. Sines take radians."),
}


def invert_step_inputs(draw):
    """What invert_step is tried with, besides the example."""
    return [(draw(2, 2, 2, 3), draw(2, 2, 2, 3), t, u, ALPHA_BAR)
            for t, u in ((2, 4), (3, 6), (1, 5), (4, 5))]


@exercise("DDIM, backwards", example=(row(0.8, -0.1), row(1, 0.5), 1, 2, ROUND),
          inputs=invert_step_inputs)
def invert_step(xt, eps, t, u, alpha_bar):
    r"""Compute one step of DDIM inversion, from $x_t$ up to the noisier $x_u$, for any u > t: estimate the clean image
    from the predicted noise, and noise it up to u with that same noise,

    $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\hat\varepsilon}{\sqrt{\bar\alpha_t}}, \qquad
    x_u = \sqrt{\bar\alpha_u}\,\hat x_0 + \sqrt{1-\bar\alpha_u}\,\hat\varepsilon.$$

    - `xt`: images (B, C, H, W);  `eps`: the noise that the network predicts in them, the same shape
    - `t`, `u`: integers, 0 < t < u ≤ T
    - `alpha_bar`: a tensor (T + 1,)

    Return $x_u$, (B, C, H, W)."""
    a_t = alpha_bar[t]
    a_u = alpha_bar[u]
    x0 = (xt - (1 - a_t).sqrt() * eps) / a_t.sqrt()            # the clean image behind x_t
    return a_u.sqrt() * x0 + (1 - a_u).sqrt() * eps            # noised up to u, with the same noise


def climb(formula):
    """A wrong invert_step from a formula of (xt, x0, eps, a_t, a_u)."""
    def step(xt, eps, t, u, alpha_bar):
        a_t = alpha_bar[t]
        a_u = alpha_bar[u]
        return formula(xt, (xt - (1 - a_t)**0.5 * eps) / a_t**0.5, eps, a_t, a_u)
    return step


invert_step.mistakes = {
    "downwards": (lambda xt, eps, t, u, alpha_bar: invert_step.solution(xt, eps, u, t, alpha_bar),
                  "The two times have changed places: this takes x_t for an image at time u and steps down."),
    "x_t as clean": (climb(lambda xt, x0, e, a_t, a_u: mixed(xt, e, a_u)),
                     "You noise x_t as if it were clean. First estimate the clean image, then noise that up to u."),
    "no roots": (climb(lambda xt, x0, e, a_t, a_u: a_u * x0 + (1 - a_u) * e),
                 "The estimate of the image is right, but you noise it with variances for weights."),
    "no roots at all": (climb(lambda xt, x0, e, a_t, a_u: a_u * (xt - (1 - a_t) * e) / a_t + (1 - a_u) * e),
                        "All roots are missing: both splitting and putting together use variances for weights."),
    "weights sum to 1": (climb(lambda xt, x0, e, a_t, a_u: a_u**0.5 * x0 + (1 - a_u**0.5) * e),
                         "The estimate is right, but the weights with which you noise it sum to 1. Their squares "
                         "should."),
    "one time": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0, e, a_t)),
                 "You are back where you began: split in the proportion of t, but put together in that of u."),
    "noise of t": (climb(lambda xt, x0, e, a_t, a_u: a_u**0.5 * x0 + (1 - a_t)**0.5 * e),
                   "The image has the weight of u, but the noise still has that of t."),
    "image of t": (climb(lambda xt, x0, e, a_t, a_u: a_t**0.5 * x0 + (1 - a_u)**0.5 * e),
                   "The noise has the weight of u, but the image still has that of t."),
    "swapped": (climb(lambda xt, x0, e, a_t, a_u: mixed(e, x0, a_u)), "Image and noise have each other's weight."),
    "sign": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0, -e, a_u)),
             "The noise has the wrong sign when you put it in again."),
    "noise not subtracted": (climb(lambda xt, x0, e, a_t, a_u: mixed((xt + (1 - a_t)**0.5 * e) / a_t**0.5, e, a_u)),
                             "To estimate the clean image, you add the noise once more. It must be subtracted."),
    "forward noise": (climb(lambda xt, x0, e, a_t, a_u: (a_u / a_t)**0.5 * xt + (1 - a_u / a_t)**0.5 * e),
                      "This is the forward process, in which fresh noise is added. Here the noise is already a part of "
                      "x_t."),
    "estimate": (climb(lambda xt, x0, e, a_t, a_u: x0),
                 "This is the estimate of the clean image. Inversion goes the other way."),
    "noise added in full": (climb(lambda xt, x0, e, a_t, a_u: (a_u / a_t)**0.5 * xt + (1 - a_u)**0.5 * e),
                            "You add all the noise that there is at u, but x_t brings a part of it along."),
    "still scaled": (climb(lambda xt, x0, e, a_t, a_u: mixed(xt - (1 - a_t)**0.5 * e, e, a_u)),
                     "The noise is off, but the image is still scaled down as it was at t. Undo that before you noise "
                     "it up to u."),
    "brackets": (climb(lambda xt, x0, e, a_t, a_u: mixed(xt - (1 - a_t)**0.5 * e / a_t**0.5, e, a_u)),
                 "To estimate the clean image, only the noise is divided: a pair of brackets is missing."),
    "noise as image": (climb(lambda xt, x0, e, a_t, a_u: mixed(e, (xt - a_t**0.5 * e) / (1 - a_t)**0.5, a_u)),
                       "You take `eps` for the estimate of the image. It is the predicted noise."),
    "noise in full off": (climb(lambda xt, x0, e, a_t, a_u: mixed((xt - e) / a_t**0.5, e, a_u)),
                          "You subtract the noise in full, but at t it has a weight in x_t."),
    "divided by the variance": (climb(lambda xt, x0, e, a_t, a_u: mixed((xt - (1 - a_t)**0.5 * e) / a_t, e, a_u)),
                                "To estimate the clean image, you divide by a variance. Its weight is the root."),
    "only one step": (lambda xt, eps, t, u, alpha_bar: invert_step.solution(xt, eps, t, t + 1, alpha_bar),
                      "You step to the t just above, whatever u is. Steps may be left out, so use u."),
    "clipped": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0.clamp(-1, 1), e, a_u)),
                "You clip the estimate. The way down would then not lead back to where you began."),
    "clipped result": (climb(lambda xt, x0, e, a_t, a_u: mixed(x0, e, a_u).clamp(-1, 1)),
                       "You clip the result. Noisy images go beyond the range of clean ones, and must be free to."),
}


def guided_inputs(draw):
    """What guided is tried with, besides the example."""
    return [(draw(2, 2, 2, 3), draw(2, 2, 2, 3), scale) for scale in (1.5, 0.0, 1.0, 0.25, 7.5)]


@exercise("Overdo what the label changes", example=(row(1, 0), row(0.5, 0.5), 3.0),
          inputs=guided_inputs)
def guided(eps, eps_without, scale):
    r"""Combine two predictions of the noise by classifier-free guidance: go from the prediction without the label
    towards the one with the label, and `scale` times as far. A scale of 0 ignores the label, 1 gives the prediction
    with the label, and above 1 the label is overdone.

    - `eps`: the prediction with the label, (B, C, H, W);  `eps_without`: that without it, the same shape
    - `scale`: a number

    Return the guided prediction, (B, C, H, W)."""
    return eps_without + scale * (eps - eps_without)


guided.mistakes = {
    "one too much": (lambda eps, eps_without, scale: eps + scale * (eps - eps_without),
                     "You guide by one too much: here, a scale of 0 ignores the label. (The paper's w is our scale "
                     "less 1.)"),
    "swapped": (lambda eps, eps_without, scale: eps + scale * (eps_without - eps),
                "You start from the prediction with the label and go away from it. Start from the one without."),
    "only the difference": (lambda eps, eps_without, scale: scale * (eps - eps_without),
                            "This is only what the label changes. It must be added to a prediction."),
    "sign": (lambda eps, eps_without, scale: eps_without - scale * (eps - eps_without),
             "The sign is wrong: you step away from what the label asks for."),
    "label only": (lambda eps, eps_without, scale: scale * eps,
                   "You scale the whole prediction. Only what the label changes is to be scaled."),
    "added": (lambda eps, eps_without, scale: eps_without + scale * eps,
              "You add the prediction with the label. Add its difference to the one without, or the noise is counted "
              "twice."),
    "ignored": (lambda eps, eps_without, scale: eps,
                "The scale has no effect: this is the prediction with the label as it is."),
    "one too little": (lambda eps, eps_without, scale: eps_without + (scale - 1) * (eps - eps_without),
                       "You guide by one too little: a scale of 1 should give the prediction with the label."),
    "mean": (lambda eps, eps_without, scale: (eps + eps_without) / 2,
             "You take the mean of the two predictions, whatever the scale is."),
    "without": (lambda eps, eps_without, scale: eps_without,
                "The label has no effect: this is the prediction without it."),
    "average": (lambda eps, eps_without, scale: (eps_without + scale * eps) / (1 + scale),
                "You average the two predictions, so the result always lies between them. Guidance goes beyond."),
    "subtracted in full": (lambda eps, eps_without, scale: scale * eps - eps_without,
                           "You subtract the prediction without the label in full. At a scale of 1 the prediction with "
                           "the label should come out."),
    "never below 1": (lambda eps, eps_without, scale: guided.solution(eps, eps_without, max(scale, 1)),
                      "A scale below 1 has no effect. It should reduce the influence of the label; 0 removes it."),
    "never above 1": (lambda eps, eps_without, scale: guided.solution(eps, eps_without, min(scale, 1)),
                      "A scale above 1 has no effect. Guidance goes beyond the prediction with the label."),
    "squared": (lambda eps, eps_without, scale: guided.solution(eps, eps_without, scale**2),
                "You take the square of the scale. Use it as it is."),
    "clipped": (lambda eps, eps_without, scale: guided.solution(eps, eps_without, scale).clamp(-1, 1),
                "You clip the result. Noise goes beyond that range, and must be free to."),
    "both in full": (lambda eps, eps_without, scale: eps + eps_without + scale * (eps - eps_without),
                     "You add both predictions. Start from the one without the label."),
}
