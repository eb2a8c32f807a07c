"""The exercises of notebook 05: the variation of restorations, PSNR, the time of a noisy image, blending tiles."""
import torch

from exercises.common import ALPHA_BAR
from exercises.exercise import exercise


@exercise("What is restored, and what is invented?",
          example=(torch.tensor([[[[0, 0.5]]], [[[0.3, 0.5]]], [[[0.6, 0.5]]]]),),
          inputs=lambda draw: [(draw(5, 2, 3, 4),), (draw(4, 4, 4, 4),)])
def spread(restorations):
    r"""Compute the standard deviation, in each pixel, of several restorations of one noisy image.

    - `restorations`: n images (n, C, H, W)

    Return a tensor (C, H, W). Divide by n − 1, as `torch.std` does."""
    return restorations.std(0)                                 # (C, H, W)


spread.mistakes = {
    "variance": (lambda x: x.var(0), "This is the variance. Its root has the units of the pixels."),
    "everything": (lambda x: x.std(), "This is one number for everything. Each pixel has its own."),
    "within images": (lambda x: x.std((1, 2, 3)),
                      "This is the contrast of each restoration. Compare the restorations with each other, pixel by "
                      "pixel."),
    "of columns": (lambda x: x.std(-1),
                   "You compare the pixels of each row. Compare the restorations with each other."),
    "of channels": (lambda x: x.std(1),
                    "You compare the channels of each restoration. Compare the restorations with each other."),
    "channels averaged": (lambda x: x.std(0).mean(0),
                          "You average over the channels in the end. Each channel keeps its own."),
    "channels thrown together": (lambda x: x.std((0, 1)), "You throw the channels together. Each channel has its own."),
    "one axis too many": (lambda x: x.std(0, keepdim=True),
                          "The numbers are there, but with an axis of length 1 in front. The restorations' axis should "
                          "be gone."),
    "mean": (lambda x: x.mean(0), "This is the mean of the restorations. How far do they lie around it?"),
    "divided by n": (lambda x: x.std(0, correction=0),
                     "A little too small: the mean was estimated from the same restorations, so divide by one fewer."),
    "mean deviation": (lambda x: (x - x.mean(0)).abs().mean(0),
                       "You average the absolute deviations. A standard deviation averages their squares."),
    "range": (lambda x: x.amax(0) - x.amin(0),
              "This is the range from lowest to highest, which grows with the number of restorations."),
    "of the mean": (lambda x: x.std(0) / len(x)**0.5,
                    "This is how uncertain their mean is. The task asks for how far the restorations themselves vary."),
    "around 0": (lambda x: (x**2).mean(0)**0.5, "You measure the deviations from 0. Subtract the mean first."),
    "from the first": (lambda x: ((x - x[:1])**2).mean(0)**0.5,
                       "You measure the deviations from the first restoration. Measure them from the mean."),
}


def mse(pred, target):
    """Mean squared error of each image, (B,)."""
    return ((pred - target)**2).mean((1, 2, 3))


def decibels(peak, error):
    """10 log10(peak^2 / error)."""
    return 10 * (peak**2 / error).log10()


def images(draw):
    """Pairs of images within [-1, 1], several channels, several images."""
    return [(draw(3, 2, 3, 4, low=-1, high=1), draw(3, 2, 3, 4, low=-1, high=1)),
            (draw(2, 3, 2, 2, low=-1, high=1), draw(2, 3, 2, 2, low=-1, high=1))]


@exercise("Against the classics", inputs=images,
          example=(torch.tensor([[[[0.5, -0.5]]]]), torch.tensor([[[[0.7, -0.3]]]])))
def psnr(pred, target):
    r"""Compute the peak signal-to-noise ratio in decibels, $10 \log_{10}(p^2 / \mathrm{MSE})$, of each image, where the
    peak p is the width of the range of pixel values.

    - `pred`, `target`: images (B, C, H, W) in [−1, 1]

    Return one number for each image, (B,)."""
    error = ((pred - target) ** 2).mean((1, 2, 3))             # (B,)
    return 10 * torch.log10(2 ** 2 / error)                    # from -1 to 1 the peak is 2


def of_each_range(pred, target):
    """Wrong: the peak is the range within each image."""
    return decibels(target.amax((1, 2, 3)) - target.amin((1, 2, 3)), mse(pred, target))


def signal_to_noise(pred, target):
    """Wrong: the error is compared with the power of the image."""
    return 10 * ((target**2).mean((1, 2, 3)) / mse(pred, target)).log10()


psnr.mistakes = {
    "peak 1": (lambda pred, target: decibels(1, mse(pred, target)),
               "Your peak is 1, but the range from black to white is wider here. You are 6 dB too low."),
    "peak not squared": (lambda pred, target: 10 * (2 / mse(pred, target)).log10(),
                         "You compare the peak with a squared error. Square both, or neither."),
    "peak 255": (lambda pred, target: decibels(255, mse(pred, target)),
                 "Your peak is 255, that of image files. In this course pixels lie between minus 1 and 1."),
    "peak of the image": (lambda pred, target: decibels(target.amax((1, 2, 3)), mse(pred, target)),
                          "Your peak is the brightest pixel of the image. Take the width of the range that pixels can "
                          "have."),
    "range of the image": (of_each_range, "Your peak is the range within the image. Take the width of the range that "
                                          "pixels can have."),
    "natural": (lambda pred, target: 10 * (4 / mse(pred, target)).log(),
                "You took the natural logarithm. Decibels use the one to base ten."),
    "base 2": (lambda pred, target: 10 * (4 / mse(pred, target)).log2(),
               "You took the logarithm to base two. Decibels use the one to base ten."),
    "bels": (lambda pred, target: (4 / mse(pred, target)).log10(), "These are bels. A decibel is a tenth of one."),
    "sign": (lambda pred, target: -decibels(2, mse(pred, target)),
             "The sign is wrong: a better image has more decibels."),
    "twenty": (lambda pred, target: 2 * decibels(2, mse(pred, target)),
               "It is twice too much. The factor 20 goes with the root of the squared error, 10 with the squared error "
               "itself."),
    "root": (lambda pred, target: 10 * (2 / mse(pred, target)**0.5).log10(),
             "It is half of what it should be. The factor 10 goes with the squared error, 20 with its root."),
    "one root": (lambda pred, target: 10 * (4 / mse(pred, target)**0.5).log10(),
                 "You compare the squared peak with the root of the squared error. Square both, or neither."),
    "all images": (lambda pred, target: decibels(2, ((pred - target)**2).mean()),
                   "All images share one number. Each has its own: average over all axes but the first."),
    "batch mean": (lambda pred, target: decibels(2, mse(pred, target)).mean(),
                   "You average over the batch. Each image has its own number."),
    "each channel": (lambda pred, target: decibels(2, ((pred - target)**2).mean((2, 3))),
                     "Each channel has a number of its own. Average the squared errors over the channels, too."),
    "mean of channels": (lambda pred, target: decibels(2, ((pred - target)**2).mean((2, 3))).mean(1),
                         "You average the decibels of the channels. Average the squared errors, and take the logarithm "
                         "once."),
    "sum": (lambda pred, target: decibels(2, ((pred - target)**2).sum((1, 2, 3))),
            "You add the squared errors up, so a larger image seems worse. Take their mean."),
    "absolute": (lambda pred, target: 2 * 10 * (2 / (pred - target).abs().mean((1, 2, 3))).log10(),
                 "You average the absolute errors. PSNR averages their squares."),
    "absolute, 10": (lambda pred, target: 10 * (4 / (pred - target).abs().mean((1, 2, 3))).log10(),
                     "You average the absolute errors, and compare them with the squared peak. PSNR averages squares."),
    "peak of the batch": (lambda pred, target: decibels(target.max(), mse(pred, target)),
                          "Your peak is the brightest pixel of all images. Take the width of the range that pixels can "
                          "have."),
    "range of the batch": (lambda pred, target: decibels(target.max() - target.min(), mse(pred, target)),
                           "Your peak is the range of these images. Take the width of the range that pixels can have."),
    "SNR": (signal_to_noise,
            "You compare the error with the power of the image. Compare it with the squared peak."),
    "difference of squares": (lambda pred, target: decibels(2, (pred**2 - target**2).mean((1, 2, 3)).abs()),
                              "You subtract the squares. Subtract the images, then square."),
    "error": (mse, "This is the mean squared error itself. Put it into the formula."),
}


def time_of_inputs(draw):
    """What time_of is tried with, besides the example."""
    return [(0.7, ALPHA_BAR), (1.2, ALPHA_BAR), (0.448, torch.linspace(1, 0.1, 31)),
            (2.13, torch.linspace(1, 0.05, 41)**2)]


@exercise("Nobody says how noisy", example=(0.8, torch.tensor([1.0, 0.8, 0.64, 0.36, 0.1])),
          inputs=time_of_inputs)
def time_of(s, alpha_bar):
    r"""Find the time that belongs to a noisy photograph. Divided by the weight of its image, $x_t$ is an image plus
    noise of standard deviation $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$.

    - `s`: the standard deviation of the noise in the photograph, a number
    - `alpha_bar`: a tensor (T + 1,)

    Return the t whose noise is closest to `s`, an integer."""
    noise = ((1 - alpha_bar) / alpha_bar).sqrt()               # (T + 1,): in x_t divided by the weight of its image
    return (noise - s).abs().argmin().item()


def strength(a):
    """The standard deviation of the noise in x_t divided by the weight of its image."""
    return ((1 - a) / a)**0.5


def nearest_time(of, shift=0):
    """A wrong time_of: the t at which a formula of alpha_bar is closest to s, shifted."""
    return lambda s, alpha_bar: (of(alpha_bar.double()) - s).abs().argmin().item() + shift


time_of.mistakes = {
    "noise in x_t": (nearest_time(lambda a: (1 - a)**0.5),
                     "You compare s with the noise in x_t itself. But there the image is scaled down: divide by its "
                     "weight first."),
    "variance": (nearest_time(lambda a: (1 - a) / a), "You compare s with a variance. It is a standard deviation."),
    "variance in x_t": (nearest_time(lambda a: 1 - a),
                        "You compare s with the noise variance in x_t. It is a standard deviation, and in an image "
                        "that is not scaled down."),
    "SNR": (nearest_time(lambda a: (a / (1 - a)).clamp(max=1e9)),
            "You compare s with the signal-to-noise ratio. The task asks for noise over signal, as a standard "
             "deviation."),
    "upside down": (nearest_time(lambda a: (a / (1 - a)).clamp(max=1e9)**0.5),
                    "The ratio is upside down: more noise should give a larger t."),
    "image": (nearest_time(lambda a: a**0.5),
              "You compare s with the weight of the image. It is the standard deviation of the noise."),
    "alpha_bar": (nearest_time(lambda a: a), "You compare s with alpha_bar. It is the standard deviation of a noise."),
    "weight not rooted": (nearest_time(lambda a: (1 - a)**0.5 / a),
                          "You divide by alpha_bar. The weight of the image is its root."),
    "late": (nearest_time(strength, 1),
             "One too late. Lists begin with the clean image, so an index is a t already."),
    "early": (nearest_time(strength, -1), "One too early. Entry t of the list belongs to t itself."),
    "first above": (lambda s, alpha_bar: (strength(alpha_bar.double()) > s).nonzero()[0].item(),
                    "You take the first t that is noisier. The one before it may be closer."),
    "last below": (lambda s, alpha_bar: (strength(alpha_bar.double()) <= s).sum().item() - 1,
                   "You take the last t that is not noisier. The next one may be closer."),
    "farthest": (lambda s, alpha_bar: (strength(alpha_bar.double()) - s).abs().argmax().item(),
                 "This is the t whose noise is farthest from s. The task asks for the closest."),
    "no absolute value": (lambda s, alpha_bar: (strength(alpha_bar.double()) - s).argmin().item(),
                          "You take the smallest difference, which is the most negative one. Take its absolute value."),
    "gap": (lambda s, alpha_bar: (strength(alpha_bar) - s).abs().min().item(),
            "This says how close the noise comes to s. The task asks for the t at which it does."),
    "s squared": (lambda s, alpha_bar: nearest_time(strength)(s**2, alpha_bar),
                  "You square s, and compare it with a standard deviation. Square both, or neither."),
    "strength": (lambda s, alpha_bar: strength(alpha_bar)[time_of.solution(s, alpha_bar)].item(),
                 "This is the noise at that t. The task asks for its place in the list, which is the t."),
    "part of T": (lambda s, alpha_bar: time_of.solution(s, alpha_bar) / (len(alpha_bar) - 1),
                  "You divide by T. The task asks for the t itself, an integer."),
}


def blend_inputs(draw):
    """What blend is tried with, besides the example."""
    return [(draw(3, 4, 5), draw(3, 4, 5, low=0.2)), (draw(2, 2, 2), draw(2, 2, 2, low=0.2))]


@exercise("Larger than the network",
          example=(torch.tensor([[[1.0, 0]], [[0, 0.5]]]), torch.tensor([[[3.0, 1]], [[1, 1]]])),
          inputs=blend_inputs)
def blend(answers, weights):
    r"""Blend the predictions of overlapping tiles: their weighted mean in each pixel,
    $\sum_k w_k a_k \,/\, \sum_k w_k$.

    - `answers`: the predictions of K tiles for the same pixels, (K, H, W)
    - `weights`: their weights in each pixel, (K, H, W), all above 0

    Return the blended prediction, (H, W)."""
    return (answers * weights).sum(0) / weights.sum(0)         # (H, W)


def normalised_twice(answers, weights):
    """Wrong: the weights are divided by their sum in each tile first."""
    return blend.solution(answers, weights / weights.sum((1, 2), keepdim=True))


def weighted_inside_tiles(answers, weights):
    """Wrong: the weights sum to 1 inside each tile."""
    return (answers * weights / weights.sum((1, 2), keepdim=True)).sum(0)


blend.mistakes = {
    "not divided": (lambda answers, weights: (answers * weights).sum(0),
                    "You add up without dividing, so a pixel is brighter the more tiles cover it."),
    "plain mean": (lambda answers, weights: answers.mean(0),
                   "All tiles count alike, so their borders will show. Use the weights."),
    "plain sum": (lambda answers, weights: answers.sum(0),
                  "You add the predictions up. Take their mean, with the weights."),
    "divided by K": (lambda answers, weights: (answers * weights).mean(0),
                     "You divide by the number of tiles. Divide by what the weights of this pixel add up to."),
    "everywhere": (lambda answers, weights: (answers * weights).sum(0) / weights.sum(),
                   "You divide by the sum of all weights. Each pixel has a sum of its own."),
    "one number": (lambda answers, weights: (answers * weights).sum() / weights.sum(),
                   "This is one number for the whole image. Each pixel has its own mean."),
    "largest": (lambda answers, weights: answers.gather(0, weights.argmax(0, keepdim=True))[0],
                "You take the prediction with the largest weight and drop the others: there will be seams."),
    "softmax": (lambda answers, weights: (answers * weights.softmax(0)).sum(0),
                "You pass the weights through a softmax. They are weights already; make them sum to 1 as they are."),
    "inside tiles": (weighted_inside_tiles,
                     "Your weights sum to 1 inside each tile. They should do so in each pixel, across the tiles."),
    "by the largest": (lambda answers, weights: (answers * weights).sum(0) / weights.amax(0),
                       "You divide by the largest weight in each pixel. Divide by their sum."),
    "squared weights": (lambda answers, weights: (answers * weights**2).sum(0) / (weights**2).sum(0),
                        "You square the weights. Use them as they are."),
    "weights alone": (lambda answers, weights: weights / weights.sum(0),
                      "These are the weights, made to sum to 1. Multiply them by the predictions and add up."),
    "not added up": (lambda answers, weights: answers * weights / weights.sum(0),
                     "Each tile still has a part of its own. Add them up over the tiles."),
    "numerator unweighted": (lambda answers, weights: answers.sum(0) / weights.sum(0),
                             "The weights are missing in the sum of the predictions."),
    "over rows": (lambda answers, weights: (answers * weights).sum(1) / weights.sum(1),
                  "You sum over the rows of each tile. Sum over the tiles, the first axis."),
    "one axis too many": (lambda answers, weights: blend.solution(answers, weights)[None],
                          "The numbers are there, but with an axis of length 1 in front. The axis of the tiles should "
                          "be gone."),
    "both": (normalised_twice, "You divide the weights by their sum in each tile first. Use them as they are."),
    "inverse weights": (lambda answers, weights: (answers / weights).sum(0) / (1 / weights).sum(0),
                        "You divide by the weights, so the edges of the tiles count most. Multiply by them."),
}
