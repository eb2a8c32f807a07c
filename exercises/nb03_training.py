"""The exercises of notebook 03: the time embedding, the loss, the running average, the estimate of the clean image."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from exercises.common import ROUND, along, images_and_times, mixed, one_noise, one_time, per_image, row
from exercises.exercise import exercise


def time_embedding_inputs(draw):
    """What time_embedding is tried with, besides the example."""
    return [(torch.tensor([40, 7, 993, 2]), 4), (torch.tensor([5, 1, 8]), 12),
            (torch.tensor([60, 11]), 2)]


@exercise("The network must know the time", example=(torch.tensor([2]), 4),
          inputs=time_embedding_inputs)
def time_embedding(t, dim):
    r"""Embed times as cosines and sines of many frequencies, $f_k = 10000^{-2k/d}$ for $k = 0, \dots, d/2 - 1$, where
    d is `dim`. The row of a time is $\cos(t f_0), \dots, \cos(t f_{d/2-1}), \sin(t f_0), \dots, \sin(t f_{d/2-1})$.

    - `t`: times, a tensor (B,) of integers
    - `dim`: the length of a row, an even integer

    Return a tensor (B, dim): first all cosines, then all sines."""
    k = torch.arange(dim // 2)                                 # (dim / 2,)
    freq = torch.exp(-math.log(10_000) * k / (dim // 2))       # from 1 down, by equal factors
    angle = t[:, None] * freq                                  # (B, dim / 2)
    return torch.cat([angle.cos(), angle.sin()], dim=1)        # (B, dim)


def angles(t, dim):
    """t times each frequency, (B, dim / 2)."""
    return t[:, None] * 10_000 ** (-torch.arange(dim // 2) / (dim // 2))


def waves(frequencies):
    """A wrong time_embedding from a formula of k and of half the dimension."""
    def answer(t, dim):
        angle = t[:, None] * frequencies(torch.arange(dim // 2), dim // 2)
        return torch.cat([angle.cos(), angle.sin()], dim=1)
    return answer


def arranged(order):
    """A wrong time_embedding that puts the right cosines and sines, (B, dim / 2) each, together in another way."""
    return lambda t, dim: order(angles(t, dim).cos(), angles(t, dim).sin())


def in_turn(a, b):
    """The columns of a and b in turn."""
    return torch.stack([a, b], -1).flatten(1)


time_embedding.mistakes = {
    "batch": (lambda t, dim: time_embedding.solution(torch.arange(len(t)), dim),
              "Your rows depend on the place in the batch and not on t. The embedding of a time must not depend on "
              "which others are in the batch."),
    "sines first": (arranged(lambda cos, sin: torch.cat([sin, cos], 1)),
                    "The sines come first here. A new network could learn from that as well, but the weights of this "
                    "course expect the cosines first."),
    "interleaved": (arranged(in_turn), "Cosines and sines take turns here. Put all cosines before all sines."),
    "interleaved, sines first": (arranged(lambda cos, sin: in_turn(sin, cos)),
                                 "Sines and cosines take turns, as in the paper on transformers. Here all cosines come "
                                 "first, then all sines."),
    "cosines only": (arranged(lambda cos, sin: cos), "The sines are missing: put them after the cosines."),
    "sines only": (arranged(lambda cos, sin: sin), "The cosines are missing: put them before the sines."),
    "transposed": (arranged(lambda cos, sin: torch.cat([cos, sin], 1).T),
                   "Rows and columns are exchanged: each time needs a row."),
    "original divisor": (waves(lambda k, half: 10_000 ** (-k / max(half - 1, 1))),
                         "Your last frequency is 1 by 10000 itself. With the formula given here it stays one factor "
                         "above that: divide by the number of frequencies, not by one less."),
    "dim": (waves(lambda k, half: 10_000 ** (-k / (2 * half))),
            "Your frequencies fall too slowly: there are only half as many of them as there are columns."),
    "falling twice": (waves(lambda k, half: 10_000 ** (-2 * k / half)),
                      "Your frequencies fall too fast, as if each factor were taken twice. The last one stays above 1 "
                      "by 10000."),
    "rising": (waves(lambda k, half: 10_000 ** (k / half)),
               "Your frequencies rise instead of falling: the exponent has the wrong sign, or the times are divided by "
               "them."),
    "linear": (waves(lambda k, half: torch.linspace(1, 1e-4, half)),
               "Your frequencies lie on a straight line. From one to the next they fall by equal factors."),
    "from 1": (waves(lambda k, half: 10_000 ** (-(k + 1) / half)),
               "Your first frequency is not 1. Count k from 0."),
    "times two pi": (waves(lambda k, half: 2 * math.pi * 10_000 ** (-k / half)),
                     "There is a factor of two pi too many: the angle is t times the frequency."),
    "base 1000": (waves(lambda k, half: 1000 ** (-k / half)),
                        "Your frequencies fall towards 1 by 1000. The base is 10000."),
    "base e": (waves(lambda k, half: torch.exp(-k / half)),
               "Your frequencies fall towards 1 by e: the logarithm of 10000 is missing in the exponent."),
    "log10": (waves(lambda k, half: torch.exp(-4 * k / half)),
              "You take the logarithm to base ten. With the exponential goes the natural one."),
    "divided": (lambda t, dim: time_embedding.solution(t / 1000, dim),
                "You divide the times by their number first. Here they go into the angle as they are."),
}


class TinyNetwork(nn.Module):
    """A network with one weight, whose prediction depends on x_t and on t."""

    def __init__(self, weight, of_time):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.of_time = of_time

    def forward(self, x, t):
        t = torch.as_tensor(t).reshape(-1, 1, 1, 1)
        return self.weight * x + self.of_time * t * x.roll(1, -1)**2

    def __repr__(self):
        plus = f" + {self.of_time:g} t roll(x)^2" if self.of_time else ""
        return f"a network with model(x, t) = {self.weight.item():g} x{plus}"


def loss_and_gradient(loss, case):
    """What training uses of a loss: its value and its gradient for the network's weight, (2,)."""
    if not torch.is_tensor(loss) or loss.numel() != 1 or not loss.is_floating_point():
        return loss
    weight = case[0].weight
    if loss.requires_grad:
        loss.backward()
    return torch.stack([loss.detach().reshape(()).to(weight), torch.zeros(()) if weight.grad is None else weight.grad])


def noise_loss_inputs(draw):
    """What noise_loss is tried with, besides the example."""
    return [(TinyNetwork(0.6, 0.07), *case) for case in images_and_times(draw)]


@exercise("The loss", noise=["t", "eps"], read=loss_and_gradient, entries=("the loss", "the gradient of the loss"),
          example=(TinyNetwork(0.5, 0), row(0.5, -1), torch.tensor([1]), row(1, 0.25), ROUND),
          inputs=noise_loss_inputs)
def noise_loss(model, x0, t, eps, alpha_bar):
    r"""Compute the training loss of a noise predictor: make $x_t = \sqrt{\bar\alpha_t}\,x_0 +
    \sqrt{1-\bar\alpha_t}\,\varepsilon$, let the network predict the noise, and return the mean squared error of its
    prediction.

    - `model`: the network, called as `model(xt, t)`, predicts the noise (B, C, H, W)
    - `x0`: clean images (B, C, H, W)
    - `t`: one time for each image, a tensor (B,) of integers from 1 to T
    - `eps`: standard normal noise of the shape of `x0`
    - `alpha_bar`: a tensor (T + 1,)

    Return the loss, a tensor with one number through which gradients reach the network."""
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return ((model(xt, t) - eps) ** 2).mean()                  # one number


def scored(score, noisy=None):
    """A wrong noise_loss: score(prediction, eps, x0, xt), with x_t made by noisy or, without it, rightly."""
    def answer(model, x0, t, eps, alpha_bar):
        xt = (noisy or per_image(mixed))(x0, t, eps, alpha_bar)
        return score(model(xt, t), eps, x0, xt)
    return answer


def mse(prediction, eps, *_):
    """The right score."""
    return F.mse_loss(prediction, eps)


def without_time(model, x0, t, eps, alpha_bar):
    """Wrong: the network is told that t is 0."""
    return F.mse_loss(model(per_image(mixed)(x0, t, eps, alpha_bar), 0 * t), eps)


def weighted(model, x0, t, eps, alpha_bar):
    """Wrong: weighted by the signal-to-noise ratio."""
    a = alpha_bar[t].reshape(-1, 1, 1, 1)
    return (a / (1 - a) * (model(mixed(x0, eps, a), t) - eps)**2).mean()


@torch.no_grad()
def without_gradient(*case):
    """Wrong: a loss that no gradient passes."""
    return noise_loss.solution(*case)


noise_loss.mistakes = {
    "sum": (scored(lambda out, eps, x0, xt: F.mse_loss(out, eps, reduction="sum")),
            "You add the squares up, so a larger batch has a larger loss. Take their mean."),
    "sum of pixels": (scored(lambda out, eps, x0, xt: F.mse_loss(out, eps, reduction="sum") / len(out)),
                      "You add up the squares within each image, so a larger image has a larger loss. Take the mean "
                      "over the pixels, too."),
    "absolute": (scored(lambda out, eps, x0, xt: F.l1_loss(out, eps)),
                 "You average the absolute errors. With squares the best prediction is the mean, on which the whole "
                 "method rests."),
    "root": (scored(lambda out, eps, x0, xt: F.mse_loss(out, eps)**0.5),
             "You took the root of the error. Leave the squares as they are."),
    "half": (scored(lambda out, eps, x0, xt: F.mse_loss(out, eps) / 2),
             "It is half of the mean squared error."),
    "negative": (scored(lambda out, eps, x0, xt: -F.mse_loss(out, eps)),
                 "The loss is negative: training would make the error as large as it can."),
    "norm": (scored(lambda out, eps, x0, xt: (out - eps).norm()),
             "This is the norm of the error, which grows with the number of pixels. Take the mean of the squares."),
    "Huber": (scored(lambda out, eps, x0, xt: F.smooth_l1_loss(out, eps)),
              "Large errors count with their size here, and not with their square. Take the mean of the squares."),
    "weighted": (weighted, "You weigh the errors with the signal-to-noise ratio. Here all times count alike."),
    "difference of squares": (scored(lambda out, eps, x0, xt: (out**2 - eps**2).mean()),
                              "You subtract the squares. Subtract prediction and noise, then square."),
    "mean error": (scored(lambda out, eps, x0, xt: (out - eps).mean()),
                   "You average the errors without squaring them, so errors of opposite sign cancel."),
    "clean input": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(model(x0, t), eps),
                    "The network gets the clean image, in which there is no noise to be predicted."),
    "image as target": (scored(lambda out, eps, x0, xt: F.mse_loss(out, x0)),
                        "You compare the prediction with the image. In this notebook the network predicts the noise."),
    "noisy image as target": (scored(lambda out, eps, x0, xt: F.mse_loss(out, xt)),
                              "You compare the prediction with the noisy image, which the network is given. It "
                              "predicts the noise."),
    "predicted image": (scored(lambda out, eps, x0, xt: F.mse_loss(xt - out, x0)),
                        "You subtract the prediction and compare with the image. Compare the prediction itself with "
                        "the noise."),
    "noise as input": (lambda model, x0, t, eps, alpha_bar: F.mse_loss(model(eps, t), eps),
                       "The network gets the noise alone and has only to copy it. It must see the noisy image."),
    "no time": (without_time, "The network is told that t is 0. It needs the time of each image."),
    "per image": (scored(lambda out, eps, x0, xt: ((out - eps)**2).mean((1, 2, 3))),
                  "You have one number for each image. Training minimises a single number."),
    "per pixel": (scored(lambda out, eps, x0, xt: (out - eps)**2),
                  "You have one number for each pixel. Training minimises a single number, their mean."),
    "no roots": (scored(mse, per_image(lambda x, e, a: a * x + (1 - a) * e)),
                 "The error is right, but the noisy image is not: it is mixed with variances instead of standard "
                 "deviations."),
    "weights sum to 1": (scored(mse, per_image(lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e)),
                         "The error is right, but not the noisy image: its two weights sum to 1, and their squares "
                         "should."),
    "swapped": (scored(mse, per_image(lambda x, e, a: mixed(e, x, a))),
                "The error is right, but in the noisy image the two weights are swapped."),
    "added in full": (scored(mse, lambda x0, t, eps, alpha_bar: x0 + eps),
                      "The error is right, but the noise is added in full at every t. Both parts have weights."),
    "columns": (scored(mse, along(3, mixed)),
                "The error is right, but in the noisy image each column of pixels has a time of its own. Each image "
                "should."),
    "detached": (without_gradient,
                 "The number is right, but no gradient passes through it, so nothing would be learnt. Look for a "
                 "detach, an item or a no_grad on the way."),
    "number": (lambda *case: noise_loss.solution(*case).item(),
               "You return a plain number. Training needs the tensor, through which gradients reach the network."),
}


@exercise("The same loop, ready for use", example=(torch.tensor([1.0, 0]), torch.tensor([0, 2.0]), 0.9),
          inputs=lambda draw: [(draw(3, 4), draw(3, 4), 0.75), (draw(2), draw(2), 0.999)])
def ema_update(average, weights, decay):
    r"""Compute one step of the exponential moving average of the weights, `decay` · average + (1 − `decay`) · weights.

    - `average`, `weights`: tensors of one shape
    - `decay`: how much of the average is kept, a number between 0 and 1

    Return the new average, a new tensor; both arguments stay as they are."""
    return decay * average + (1 - decay) * weights


ema_update.mistakes = {
    "swapped": (lambda average, weights, decay: average.lerp(weights, decay),
                "The two factors are swapped: the average should move slowly, so most of it is kept."),
    "plain mean": (lambda average, weights, decay: (average + weights) / 2,
                   "You take half of each, whatever decay says."),
    "too much": (lambda average, weights, decay: decay * average + weights,
                 "The new weights are added in full, so the average grows and grows. The two factors sum to 1."),
    "weights only": (lambda average, weights, decay: weights,
                     "These are the new weights alone. The average keeps most of what came before."),
    "average only": (lambda average, weights, decay: average,
                     "The average stays as it is: a little of the new weights must go in."),
    "fading": (lambda average, weights, decay: (1 - decay) * (average + weights),
               "Both get the small factor, and the average fades to nothing. The two factors sum to 1."),
    "growing": (lambda average, weights, decay: decay * (average + weights),
                "Both get the large factor, and the average grows. The two factors sum to 1."),
    "only kept": (lambda average, weights, decay: decay * average,
                  "You scale the average down, and add nothing of the new weights."),
    "backwards": (lambda average, weights, decay: average - (1 - decay) * (weights - average),
                  "The average moves away from the new weights. A sign is wrong."),
    "subtracted": (lambda average, weights, decay: decay * average - (1 - decay) * weights,
                   "You subtract the new weights. Add them."),
    "scaled twice": (lambda average, weights, decay: average + decay * (weights - average) * (1 - decay),
                     "The step is scaled down twice, by both factors."),
    "average in full": (lambda average, weights, decay: average + (1 - decay) * weights,
                        "The old average is kept in full, so it grows and grows. The two factors sum to 1."),
    "bias correction": (lambda average, weights, decay: average.lerp(weights, 1 - decay) / (1 - decay),
                        "You divide by what was added, as optimisers do to correct the start. Here the average starts "
                        "from the weights, so nothing is to be corrected."),
}


@exercise("Where is it hard?", example=(row(1, -0.65), torch.tensor([1]), row(1, 0.25), ROUND),
          inputs=images_and_times)
def predict_x0(xt, t, eps, alpha_bar):
    r"""Estimate the clean image from the noisy one: solve $x_t = \sqrt{\bar\alpha_t}\,x_0 +
    \sqrt{1-\bar\alpha_t}\,\varepsilon$ for $x_0$.

    - `xt`: noisy images (B, C, H, W)
    - `t`: one time for each image, a tensor (B,) of integers from 1 to T
    - `eps`: the noise in them, of the shape of `xt`
    - `alpha_bar`: a tensor (T + 1,)

    Return the estimate $\hat x_0$, (B, C, H, W), without clipping."""
    a = alpha_bar[t][:, None, None, None]                      # (B, 1, 1, 1)
    return (xt - (1 - a).sqrt() * eps) / a.sqrt()


def solved(x, e, a):
    """The right formula."""
    return (x - (1 - a)**0.5 * e) / a**0.5


predict_x0.mistakes = {
    "no roots": (per_image(lambda x, e, a: (x - (1 - a) * e) / a),
                 "You use variances as weights. In the formula both weights are standard deviations."),
    "multiplied": (per_image(lambda x, e, a: (x - (1 - a)**0.5 * e) * a**0.5),
                   "The noise is gone, but then you scale the image down once more. Noising has scaled it down; undo "
                   "that."),
    "not divided": (per_image(lambda x, e, a: x - (1 - a)**0.5 * e),
                    "The noise is gone, but the image is still scaled down as it is in x_t."),
    "added": (per_image(lambda x, e, a: (x + (1 - a)**0.5 * e) / a**0.5),
              "You add the noise once more. It must be subtracted."),
    "brackets": (per_image(lambda x, e, a: x - (1 - a)**0.5 * e / a**0.5),
                 "Only the noise is divided: a pair of brackets is missing. The whole difference is the scaled image."),
    "swapped": (per_image(lambda x, e, a: (x - a**0.5 * e) / (1 - a)**0.5),
                "The weights are swapped: this would solve for the noise if you were given the image."),
    "noise in full": (per_image(lambda x, e, a: (x - e) / a**0.5),
                      "You subtract the noise in full, but at small t there is little of it in x_t."),
    "difference": (per_image(lambda x, e, a: x - e),
                   "You subtract the noise in full, and the weights are missing. In x_t both parts have one."),
    "early": (per_image(solved, -1), "You are one step early: entry t of alpha_bar belongs to t itself."),
    "late": (per_image(solved, 1), "You are one step late: entry t of alpha_bar belongs to t itself."),
    "columns": (along(3, solved),
                "Each column of pixels has a time of its own, and each image should. Give the weights as many axes as "
                "the images have."),
    "rows": (along(2, solved),
             "Each row of pixels has a time of its own, and each image should. Give the weights as many axes as the "
             "images have."),
    "channels": (along(1, solved),
                 "Each channel has a time of its own, and each image should. Give the weights as many axes as the "
                 "images have."),
    "brackets in front": (per_image(lambda x, e, a: x / a**0.5 - (1 - a)**0.5 * e),
                          "Only x_t is divided, and then the noise is subtracted as it was before: a pair of brackets "
                          "is missing."),
    "noise without root": (per_image(lambda x, e, a: (x - (1 - a) * e) / a**0.5),
                           "The division is right, but the weight of the noise is still a variance."),
    "weights sum to 1": (per_image(lambda x, e, a: (x - (1 - a**0.5) * e) / a**0.5),
                         "The division is right, but the weight of the noise is not what the weight of the image "
                         "leaves to 1: their squares sum to 1."),
    "divisor without root": (per_image(lambda x, e, a: (x - (1 - a)**0.5 * e) / a),
                             "The noise is gone, but then you divide by a variance."),
    "divided by the noise": (per_image(lambda x, e, a: (x - (1 - a)**0.5 * e) / (1 - a)**0.5),
                             "The noise is gone, but then you divide by its weight. Divide by that of the image."),
    "clipped": (per_image(lambda x, e, a: solved(x, e, a).clamp(-1, 1)),
                "You clip the estimate. That is useful when sampling, but here it hides how large the errors are."),
    "one noise": (one_noise(per_image(solved)),
                  "From all images the noise of the first one is subtracted. Each has its own in `eps`."),
    "one time": (one_time(per_image(solved)),
                 "All images are taken at the time of the first one. Each has its own in `t`."),
    "noised again": (per_image(mixed), "You noise x_t once more. Solve the equation for the clean image."),
}
