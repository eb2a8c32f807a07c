"""The noise schedule and the forward process.

t runs from 0 (clean) to T (noise).  beta[0] = 0, so alpha_bar[0] = 1, and the last step of every sampler
lands on clean data without a special case.
"""
import math
import operator

import torch
import torch.nn.functional as F


def linear_beta(T=1000, start=1e-4, end=0.02):
    """T betas on a straight line from start to end (Ho et al. 2020, section 4): (T,) float64."""
    return torch.linspace(start, end, T, dtype=torch.float64)


def cosine_beta(T=1000, s=0.008, max_beta=0.999):
    """T betas whose alpha_bar falls like a squared cosine (Nichol & Dhariwal 2021, eq. 17): (T,) float64."""
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)


BETAS = {"linear": linear_beta, "cosine": cosine_beta}


class Schedule:
    """beta, alpha and alpha_bar, each (T + 1,) float64, and the maths that needs only them.

    beta: (T,) values in [0, 1), the variance of the noise that step t = 1 ... T adds.
    """

    def __init__(self, beta):
        beta = torch.as_tensor(beta, dtype=torch.float64)
        wrong = beta[~((beta >= 0) & (beta < 1))].tolist()
        if beta.ndim != 1 or len(beta) == 0 or wrong:
            raise ValueError(f"beta must be a row of numbers from 0 to below 1, as linear_beta() gives; found shape "
                             f"{tuple(beta.shape)}, {len(wrong)} out of range {wrong[:3]}.")
        self.T = len(beta)
        self.beta = F.pad(beta, (1, 0))                        # (T + 1,), beta[0] = 0
        self.alpha = 1 - self.beta
        self.alpha_bar = self.alpha.cumprod(0)                 # Ho et al. 2020, below eq. 4
        self.copies = {}                                       # (type, device): alpha_bar as that, there

    @classmethod
    def from_alpha_bar(cls, alpha_bar):
        """The Schedule of this alpha_bar (T + 1,), which starts with alpha_bar[0] = 1 and never rises."""
        alpha_bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
        if alpha_bar.ndim != 1 or len(alpha_bar) < 2 or alpha_bar[0] != 1:
            raise ValueError(f"alpha_bar must be a row of two or more numbers, of which the first, at t = 0, is 1; "
                             f"found shape {tuple(alpha_bar.shape)}, {alpha_bar.flatten()[:3].tolist()} ...")
        return cls(1 - alpha_bar[1:] / alpha_bar[:-1])

    def alpha_bar_like(self, x):
        """alpha_bar (T + 1,) on the device of x, in float32, or float64 where x is."""
        kind = torch.promote_types(x.dtype, torch.float32), x.device
        if kind not in self.copies:                            # once: to copy it at every step is to wait for a GPU
            self.copies[kind] = self.alpha_bar.to(kind[0]).to(kind[1])
        return self.copies[kind]

    def at(self, t, x):
        """alpha_bar[t] for one whole number t, or for t (B,) shaped to broadcast over the batch x (B, ...)."""
        if torch.as_tensor(t).ndim == 0:                       # Python's, NumPy's or torch's
            a = self.alpha_bar[operator.index(t)]              # a float64 scalar: 1 - a stays exact near t = 0
            return a.float().to(x.device) if x.device.type == "mps" else a     # Apple's GPUs know no float64
        return self.alpha_bar_like(x)[t].reshape(-1, *[1] * (x.ndim - 1))

    def q_sample(self, x0, t, eps=None):
        """Draw x_t ~ q(x_t | x_0), in one jump (Ho et al. 2020, eq. 4).  x0, eps: (B, C, H, W)."""
        eps = torch.randn_like(x0) if eps is None else eps
        a = self.at(t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * eps

    def predict_x0(self, xt, t, eps):
        """Solve x_t = sqrt(a) x_0 + sqrt(1 - a) eps for x_0 (Ho et al. 2020, eq. 15)."""
        a = self.at(t, xt)
        return (xt - (1 - a).sqrt() * eps) / a.sqrt()

    def predict_eps(self, xt, t, x0):
        """Solve the same equation for eps; t > 0, since a clean image holds no noise."""
        a = self.at(t, xt)
        return (xt - a.sqrt() * x0) / (1 - a).sqrt()

    def velocity(self, x0, t, eps):
        """v = sqrt(a) eps - sqrt(1 - a) x_0, a target that is well-posed at every t (Salimans & Ho 2022, app. D)."""
        a = self.at(t, x0)
        return a.sqrt() * eps - (1 - a).sqrt() * x0

    def snr(self):
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar): (T + 1,), infinite at t = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def timesteps(self, steps, start=None, even=False):
        """The t of each step, from start (default T) down to 0: at most start + 1 different integers.

        They are dense at both ends, as a cosine is: steps must be short where x_t is nearly all noise and where the
        fine texture is decided (`make bench NAME=sampling` measures what it is worth).  even: all equally far apart.
        """
        start = self.T if start is None else start
        if not 1 <= start <= self.T or steps < 1:
            raise ValueError(f"start must lie in 1 ... {self.T} and steps be 1 or more; found {start=}, {steps=}.")
        steps = min(steps, start)
        k = torch.arange(steps, -1, -1, dtype=torch.float64)
        fraction = k / steps if even else (1 - torch.cos(math.pi * k / steps)) / 2
        highest = start - (steps - k)                          # room for the times above; k: for those below
        return (start * fraction).round().clamp(k, highest).long().tolist()
