"""What several exercises share: a small schedule, the forward process on it, and images to try it with."""
import torch

from helpers.schedule import Schedule

ALPHA_BAR = torch.tensor([1.0, 0.95, 0.84, 0.66, 0.43, 0.22, 0.07])      # T = 6: small enough to be shown in full
ROUND = torch.tensor([1.0, 0.64, 0.36])                                  # T = 2, for examples: the roots are 0.8, 0.6


def row(*numbers):
    """An image batch (1, 1, 1, n) of one row of pixels."""
    return torch.tensor(numbers, dtype=torch.float32).reshape(1, 1, 1, -1)


def known(alpha_bar):
    """The Schedule that has this alpha_bar (T + 1,)."""
    alpha_bar = alpha_bar.double()
    return Schedule(1 - alpha_bar[1:] / alpha_bar[:-1])


def mixed(x, eps, a):
    """sqrt(a) x + sqrt(1 - a) eps, with a (B,), (B, 1, 1, 1) or a number."""
    a = a.reshape(-1, 1, 1, 1) if torch.is_tensor(a) and a.ndim == 1 else a
    return a**0.5 * x + (1 - a)**0.5 * eps


def images_and_times(draw):
    """Inputs (x0 or xt, t, eps, alpha_bar): images with values beyond [-1, 1] and times that differ.

    As many images as channels, rows and columns, so that a mixed-up axis gives wrong numbers and no error.
    """
    return [(draw(4, 4, 4, 4), torch.tensor([1, 5, 3, 2]), draw(4, 4, 4, 4), ALPHA_BAR),
            (draw(3, 3, 3, 3), torch.tensor([6, 2, 4]), draw(3, 3, 3, 3), ALPHA_BAR)]


def per_image(formula, shift=0):
    """A function of (x, t, eps, alpha_bar) from a formula of (x, eps, a), with a = alpha_bar[t + shift]."""
    def answer(x, t, eps, alpha_bar):
        a = alpha_bar[(t + shift).clamp(max=len(alpha_bar) - 1)]
        return formula(x, eps, a.reshape(-1, 1, 1, 1))
    return answer


def along(axis, formula):
    """The same, with the batch's values of alpha_bar[t] laid along another axis: 1 channels, 2 rows, 3 columns."""
    def answer(x, t, eps, alpha_bar):
        return formula(x, eps, alpha_bar[t].reshape([1, -1, *[1] * (3 - axis)]))
    return answer


def one_noise(function):
    """The same function with the first image's noise for all images."""
    return lambda x, t, eps, alpha_bar: function(x, t, eps[:1].expand_as(x), alpha_bar)


def one_time(function):
    """The same function with the first image's time for all images."""
    return lambda x, t, eps, alpha_bar: function(x, t[:1].expand_as(t), eps, alpha_bar)
