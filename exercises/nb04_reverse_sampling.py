"""The exercises of notebook 04: steps of DDPM and DDIM, the list of times, denoising from part of the way."""
import torch

from exercises.common import ALPHA_BAR, ROUND, known, mixed, row
from exercises.exercise import exercise


def steps_down(draw):
    """Inputs (xt, x0, t, s, alpha_bar, z): single steps, longer ones, and the last one; estimates beyond [-1, 1]."""
    times = [(5, 3), (6, 4), (4, 3), (5, 1), (2, 0), (1, 0)]
    return [(draw(2, 2, 2, 3), draw(2, 2, 2, 3), t, s, ALPHA_BAR, draw(2, 2, 2, 3)) for t, s in times]


@exercise("One step of DDPM", noise=["z"], inputs=steps_down,
          example=(row(1, -0.5), row(0.5, -1), 2, 1, ROUND, row(1, 0)))
def ddpm_step(xt, x0, t, s, alpha_bar, z):
    r"""Compute one step of DDPM from $x_t$ to $x_s$, for any s < t: the mean of the posterior, plus its standard
    deviation times the noise z. With $\alpha = \bar\alpha_t / \bar\alpha_s$,

    $$x_s = \frac{\sqrt{\bar\alpha_s}\,(1-\alpha)\,\hat x_0 + \sqrt{\alpha}\,(1-\bar\alpha_s)\,x_t}{1-\bar\alpha_t}
    + \sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\,(1-\alpha)}\;z.$$

    - `xt`: noisy images (B, C, H, W);  `x0`: the estimate of the clean images, the same shape
    - `t`, `s`: integers, T ≥ t > s ≥ 0
    - `alpha_bar`: a tensor (T + 1,)
    - `z`: standard normal noise of the shape of `xt`

    Return $x_s$, (B, C, H, W)."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s                                          # what is left from s to t
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)             # 0 at s = 0
    return mean + variance.sqrt() * z


def posterior_mean(xt, x0, a_t, a_s, alpha):
    """The mean of x_s given x_t and x_0."""
    return (a_s**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a_s) * xt) / (1 - a_t)


def posterior_std(a_t, a_s, alpha):
    """The standard deviation of x_s given x_t and x_0."""
    return ((1 - a_s) / (1 - a_t) * (1 - alpha))**0.5


def with_mean(formula):
    """A wrong ddpm_step whose mean is formula(xt, x0, a_t, a_s, alpha), with the right noise."""
    def step(xt, x0, t, s, alpha_bar, z):
        parts = alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[s]
        return formula(xt, x0, *parts) + posterior_std(*parts) * z
    return step


def with_std(formula):
    """A wrong ddpm_step whose noise is scaled by formula(a_t, a_s, alpha), with the right mean."""
    def step(xt, x0, t, s, alpha_bar, z):
        parts = alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[s]
        return posterior_mean(xt, x0, *parts) + formula(*parts) * z
    return step


def with_alpha(formula):
    """A wrong ddpm_step that takes formula(t, s, alpha_bar) for alpha, both in the mean and in the noise."""
    def step(xt, x0, t, s, alpha_bar, z):
        a_t = alpha_bar[t]
        a_s = alpha_bar[s]
        alpha = formula(t, s, alpha_bar)
        return posterior_mean(xt, x0, a_t, a_s, alpha) + posterior_std(a_t, a_s, alpha) * z
    return step


def with_single_alphas(xt, x0, t, s, alpha_bar, z):
    """Wrong: alpha of the single steps stands where alpha_bar belongs."""
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    a_t = alphas[t]
    a_s = alphas[s]
    std = ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).abs()**0.5
    return posterior_mean(xt, x0, a_t, a_s, a_t / a_s) + std * z


def times_exchanged(xt, x0, t, s, alpha_bar, z):
    """Wrong: t and s have changed places."""
    return ddpm_step.solution(xt, x0, s, t, alpha_bar, z)


def means_brackets(xt, x0, a_t, a_s, alpha):
    """Wrong: only the second term of the mean is divided."""
    return a_s**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a_s) * xt / (1 - a_t)


def mean_without_roots(xt, x0, a_t, a_s, alpha):
    """Wrong: variances for weights."""
    return (a_s * (1 - alpha) * x0 + alpha * (1 - a_s) * xt) / (1 - a_t)


def estimate_as_noise(xt, x0, a_t, a_s, alpha):
    """Wrong: the mean written for a predicted noise, with the estimate of the image in its place."""
    return (xt - (1 - alpha) / (1 - a_t)**0.5 * x0) / alpha**0.5


def deterministic(xt, x0, t, s, alpha_bar, z):
    """The step of DDIM."""
    return ddim_step.solution(xt, x0, t, s, alpha_bar)


def without_noise_at_the_end(formula):
    """A wrong ddpm_step whose noise is scaled by formula(a_t, a_s, alpha), but not in the last step."""
    def step(xt, x0, t, s, alpha_bar, z):
        return with_std(formula)(xt, x0, t, s, alpha_bar, z if s > 0 else 0 * z)
    return step


ddpm_step.mistakes = {
    "variance": (with_std(lambda a_t, a_s, alpha: (1 - a_s) / (1 - a_t) * (1 - alpha)),
                 "The noise is multiplied by the variance. What scales noise is its standard deviation."),
    "noise at the end": (with_std(lambda a_t, a_s, alpha: (1 - alpha)**0.5),
                         "This is the noise that the forward step added. A factor of the posterior's variance is "
                         "missing, so your last step still adds noise."),
    "larger variance": (without_noise_at_the_end(lambda a_t, a_s, alpha: (1 - alpha)**0.5),
                        "This is the larger of the two variances that Ho et al. 2020 try, which works as well. The "
                        "task asks for the posterior's, which vanishes in the last step by itself."),
    "no noise": (with_std(lambda a_t, a_s, alpha: 0),
                 "This is the mean alone. DDPM draws from the posterior, so add the noise, scaled by its standard "
                 "deviation."),
    "noise in full": (with_std(lambda a_t, a_s, alpha: 1),
                      "The noise is added in full. Scale it by the standard deviation of the posterior."),
    "noise subtracted": (with_std(lambda *parts: -posterior_std(*parts)),
                         "You subtract the noise. On average that would be as good, but add the noise that you are "
                         "given."),
    "weights swapped": (with_mean(lambda xt, x0, *parts: posterior_mean(x0, xt, *parts)),
                        "In the mean, the estimate and x_t have each other's weight."),
    "alpha_bar for alpha": (with_alpha(lambda t, s, alpha_bar: alpha_bar[t]),
                            "You put alpha_bar where alpha belongs. Here alpha is what is left on the way from s to t "
                            "alone."),
    "alpha for alpha_bar": (with_single_alphas,
                            "You put the alphas of single steps where alpha_bar belongs, which is their product."),
    "not divided": (with_mean(lambda xt, x0, a_t, a_s, alpha: (1 - a_t) * posterior_mean(xt, x0, a_t, a_s, alpha)),
                    "The mean is too small: the whole sum is to be divided by the noise variance at t."),
    "brackets": (with_mean(means_brackets),
                 "Only the second term of the mean is divided: a pair of brackets is missing."),
    "only one step": (lambda xt, x0, t, s, alpha_bar, z: ddpm_step.solution(xt, x0, t, t - 1, alpha_bar, z),
                      "You step from t to the t just below, whatever s is. Steps may be left out, so use s."),
    "alpha of one step": (with_alpha(lambda t, s, alpha_bar: alpha_bar[t] / alpha_bar[t - 1]),
                          "Your alpha is that of the single step t. Where steps are left out, it is what is left on "
                          "the whole way from s to t."),
    "no roots": (with_mean(mean_without_roots),
                 "In the mean's two weights the roots are missing. Compare them with the formula, factor by factor."),
    "root of t": (with_mean(lambda xt, x0, *parts: posterior_mean(xt, parts[2]**0.5 * x0, *parts)),
                  "In the mean, the weight of the estimate has alpha_bar of t where that of s belongs."),
    "times exchanged": (times_exchanged, "The times t and s have changed places."),
    "noised again": (lambda xt, x0, t, s, alpha_bar, z: mixed(x0, z, alpha_bar[s]),
                    "You noise the estimate again and forget where you are: x_t takes no part."),
    "DDIM": (deterministic,
             "This is the step of DDIM, which keeps the noise that is in x_t. DDPM replaces a part of it by the noise "
             "z."),
    "estimate as noise": (with_mean(estimate_as_noise),
                          "You use the formula for a predicted noise. What you are given is the estimate of the clean "
                          "image."),
    "half a root": (with_std(lambda a_t, a_s, alpha: (1 - a_s) / (1 - a_t) * (1 - alpha)**0.5),
                    "Your root covers only a part of the variance: a pair of brackets is missing."),
    "clipped estimate": (lambda xt, x0, t, s, alpha_bar, z: ddpm_step.solution(xt, x0.clamp(-1, 1), t, s, alpha_bar, z),
                         "You clip the estimate. The sampling loop decides about that; the step takes it as it is."),
    "clipped": (lambda xt, x0, t, s, alpha_bar, z: ddpm_step.solution(xt, x0, t, s, alpha_bar, z).clamp(-1, 1),
                "You clip the result. Noisy images go beyond the range of clean ones, and must be free to."),
    "all the noise": (with_std(lambda a_t, a_s, alpha: (1 - a_s)**0.5),
                      "You add all the noise that belongs to s. Most of it comes with x_t already."),
    "noise not below": (with_std(lambda a_t, a_s, alpha: ((1 - a_s) / (1 - a_t) * (1 - alpha)).clamp(min=1e-2)**0.5),
                        "You keep the variance from vanishing, so the last step adds noise. It should end on clean "
                        "images."),
    "estimate": (lambda xt, x0, t, s, alpha_bar, z: x0,
                 "This is the estimate: one jump to the end. Go only as far as s."),
}


def last_step_inputs(draw):
    """What last_step is tried with, besides the example."""
    return [(1, 0, ALPHA_BAR), (5, 3, ALPHA_BAR), (6, 5, ALPHA_BAR), (6, 1, ALPHA_BAR)]


@exercise("One step of DDPM", example=(2, 1, ROUND),
          inputs=last_step_inputs)
def last_step(t, s, alpha_bar):
    r"""Compute the standard deviation of the noise that a step of DDPM from t to s adds,
    $\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\,\bigl(1 - \bar\alpha_t/\bar\alpha_s\bigr)}$. What does it become in
    the last step, where s = 0?

    - `t`, `s`: integers, T ≥ t > s ≥ 0
    - `alpha_bar`: a tensor (T + 1,)

    Return one number."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    return ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt().item()         # at s = 0 the first factor is 0


def deviation(formula):
    """A wrong last_step from a formula of (a_t, a_s)."""
    return lambda t, s, alpha_bar: formula(alpha_bar[t], alpha_bar[s]).item()


def variance(a_t, a_s):
    """The variance of the posterior."""
    return (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)


def of_single_alpha(t, s, alpha_bar):
    """Wrong: alpha is that of the single step t."""
    return posterior_std(alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[t - 1]).item()


last_step.mistakes = {
    "variance": (deviation(variance), "This is the variance. One operation is missing to the standard deviation."),
    "forward step": (deviation(lambda a_t, a_s: (1 - a_t / a_s)**0.5),
                     "This is the noise of the forward step, which does not vanish in the last step. Ho et al. 2020 "
                     "try it, too, but the task asks for the posterior's: a factor is missing."),
    "all the noise": (deviation(lambda a_t, a_s: (1 - a_s)**0.5),
                      "This is all the noise that x_s contains. Most of it comes with x_t; how much is new?"),
    "upside down": (deviation(lambda a_t, a_s: ((1 - a_t) / (1 - a_s) * (1 - a_t / a_s))**0.5),
                    "The fraction is upside down, and in the last step you divide by 0."),
    "alpha upside down": (deviation(lambda a_t, a_s: ((1 - a_s) / (1 - a_t) * (a_s / a_t - 1))**0.5),
                          "Your alpha is upside down. It is what is left from s to t, so it lies below 1."),
    "image": (deviation(lambda a_t, a_s: (a_s / a_t * (1 - a_t / a_s))**0.5),
              "Your fraction compares what is left of the image. Compare the noise at s with the noise at t."),
    "the last alone": (lambda t, s, alpha_bar: 0.0,
                       "This is right for the last step alone. The task asks for what any step adds, from t to s."),
    "forward step, but for the end": (lambda t, s, alpha_bar: (1 - alpha_bar[t] / alpha_bar[s]).item()**0.5 * (s > 0),
                                      "The last step is right, but the others have the noise of the forward step. A "
                                      "factor is missing, and with it the end comes right by itself."),
    "alpha of one step": (of_single_alpha,
                          "Your alpha is that of the single step t. Where steps are left out, it is what is left on "
                          "the whole way from s to t."),
    "only one step": (lambda t, s, alpha_bar: variance(alpha_bar[t], alpha_bar[t - 1]).item()**0.5,
                      "You step from t to the t just below, whatever s is. Steps may be left out, so use s."),
    "not below": (deviation(lambda a_t, a_s: variance(a_t, a_s).clamp(min=1e-3)**0.5),
                  "You keep the variance from vanishing. In the last step it should: the result is a clean image."),
    "logarithm": (deviation(lambda a_t, a_s: variance(a_t, a_s).clamp(min=1e-20).log()),
                  "This is the logarithm of the variance. The task asks for the standard deviation."),
    "half a root": (deviation(lambda a_t, a_s: (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)**0.5),
                    "Your root covers only a part of the variance: a pair of brackets is missing."),
    "one factor": (deviation(lambda a_t, a_s: ((1 - a_s) / (1 - a_t))**0.5),
                   "The second factor is missing: how much noise the way from s to t adds."),
}


@exercise("DDIM: the same network, no fresh noise", example=(row(1, -0.5), row(0.5, -1), 2, 1, ROUND),
          inputs=lambda draw: [case[:5] for case in steps_down(draw)])
def ddim_step(xt, x0, t, s, alpha_bar):
    r"""Compute one deterministic step of DDIM (with η = 0) from $x_t$ to $x_s$, for any s < t: find the noise that,
    with the estimate $\hat x_0$, makes up $x_t$, and put the two together again for s,

    $$\hat\varepsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}}, \qquad
    x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s}\,\hat\varepsilon.$$

    - `xt`: noisy images (B, C, H, W);  `x0`: the estimate of the clean images, the same shape
    - `t`, `s`: integers, T ≥ t > s ≥ 0
    - `alpha_bar`: a tensor (T + 1,)

    Return $x_s$, (B, C, H, W)."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    eps = (xt - a_t.sqrt() * x0) / (1 - a_t).sqrt()            # the noise that, with the estimate, makes up x_t
    return a_s.sqrt() * x0 + (1 - a_s).sqrt() * eps


def implied_noise(xt, x0, a_t):
    """The noise that, with the estimate, makes up x_t."""
    return (xt - a_t**0.5 * x0) / (1 - a_t)**0.5


def jump(formula):
    """A wrong ddim_step from a formula of (xt, x0, eps, a_t, a_s)."""
    def step(xt, x0, t, s, alpha_bar):
        a_t = alpha_bar[t]
        a_s = alpha_bar[s]
        return formula(xt, x0, implied_noise(xt, x0, a_t), a_t, a_s)
    return step


def exchanged(xt, x0, t, s, alpha_bar):
    """Wrong: t and s have changed places."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    return mixed(x0, (xt - a_s**0.5 * x0) / (1 - a_s).clamp(min=1e-6)**0.5, a_t)


def posterior_mean_alone(xt, x0, t, s, alpha_bar):
    """Wrong: the mean of the DDPM step."""
    return posterior_mean(xt, x0, alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[s])


ddim_step.mistakes = {
    "no roots": (jump(lambda xt, x0, e, a_t, a_s: a_s * x0 + (1 - a_s) * e),
                 "You split x_t well, but put the parts together with variances. Weights are standard deviations."),
    "no roots at all": (jump(lambda xt, x0, e, a_t, a_s: a_s * x0 + (1 - a_s) * (xt - a_t * x0) / (1 - a_t)),
                        "All roots are missing: you split x_t and put it together again with variances."),
    "weights sum to 1": (jump(lambda xt, x0, e, a_t, a_s: a_s**0.5 * x0 + (1 - a_s**0.5) * e),
                         "You split x_t well, but the weights with which you put the parts together sum to 1. Their "
                         "squares should."),
    "one time": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, e, a_t)),
                 "You are back at x_t: split in the proportion of t, but put together in that of s."),
    "noise of t": (jump(lambda xt, x0, e, a_t, a_s: a_s**0.5 * x0 + (1 - a_t)**0.5 * e),
                   "The estimate has the weight of s, but the noise still has that of t."),
    "estimate of t": (jump(lambda xt, x0, e, a_t, a_s: a_t**0.5 * x0 + (1 - a_s)**0.5 * e),
                      "The noise has the weight of s, but the estimate still has that of t."),
    "x_t as noise": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, xt, a_s)),
                     "You take x_t itself for the noise. First find the noise that, with the estimate, makes up x_t."),
    "swapped": (jump(lambda xt, x0, e, a_t, a_s: mixed(e, x0, a_s)),
                "Estimate and noise have each other's weight: at small s there should be much image."),
    "sign": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, -e, a_s)),
             "The noise has the wrong sign: it is put back in, not subtracted a second time."),
    "estimate": (jump(lambda xt, x0, e, a_t, a_s: x0),
                 "This is the estimate: one jump to the end. Go only as far as s."),
    "DDPM's mean": (posterior_mean_alone,
                    "This is the mean of the DDPM step. Without the noise that DDPM adds, its images lack contrast; "
                    "DDIM keeps all of the noise that belongs to s."),
    "only one step": (lambda xt, x0, t, s, alpha_bar: ddim_step.solution(xt, x0, t, t - 1, alpha_bar),
                      "You step to the t just below, whatever s is. Steps may be left out, so use s."),
    "times exchanged": (exchanged, "The times t and s have changed places."),
    "not divided": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, xt - a_t**0.5 * x0, a_s)),
                    "What you take for the noise is still scaled as it is in x_t. Divide it by its weight there."),
    "estimate in full": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, (xt - x0) / (1 - a_t)**0.5, a_s)),
                         "You subtract the estimate in full, but in x_t the image is scaled down."),
    "difference as noise": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, xt - x0, a_s)),
                            "You take the difference of x_t and the estimate for the noise. Both have weights in x_t: "
                            "undo them."),
    "clipped estimate": (lambda xt, x0, t, s, alpha_bar: ddim_step.solution(xt, x0.clamp(-1, 1), t, s, alpha_bar),
                         "You clip the estimate. The sampling loop decides about that; the step takes it as it is."),
    "clipped, old noise": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0.clamp(-1, 1), e, a_s)),
                           "You clip the estimate after finding the noise, so the two no longer make up x_t. The "
                           "sampling loop clips, before the step."),
    "clipped": (jump(lambda xt, x0, e, a_t, a_s: mixed(x0, e, a_s).clamp(-1, 1)),
                "You clip the result. Noisy images go beyond the range of clean ones, and must be free to."),
    "only the noise": (jump(lambda xt, x0, e, a_t, a_s: (1 - a_s)**0.5 * e),
                       "You put the noise in without the estimate."),
}


def even(T, steps):
    """The right list."""
    return [T * k // steps for k in range(steps, -1, -1)]


@exercise("How few steps are enough?", example=(6, 3),
          inputs=lambda draw: [(12, 4), (100, 5), (8, 2), (7, 7)])
def timesteps(T, steps):
    r"""List the times that a sampler visits in `steps` equal steps, from T down to 0, both included.

    - `T`: the largest time, an integer that `steps` divides
    - `steps`: the number of steps, an integer

    Return a list of `steps + 1` integers, the largest first."""
    return list(range(T, -1, -T // steps))


timesteps.mistakes = {
    "no end": (lambda T, steps: even(T, steps)[:-1],
               "Your list stops before 0, so the last step is never made and noise is left in the images."),
    "no start": (lambda T, steps: even(T, steps)[1:],
                 "Your list starts below T. But sampling starts from pure noise, and that is x at T."),
    "forwards": (lambda T, steps: even(T, steps)[::-1],
                 "Your list runs forwards. The way from noise to image begins at the largest t."),
    "every t": (lambda T, steps: list(range(T, -1, -1)),
                "You visit every t. With few steps most of them are left out."),
    "too many": (lambda T, steps: torch.linspace(T, 0, steps + 2).round().long().tolist(),
                 "There is one step too many. Count the gaps between the times, not the times."),
    "too few": (lambda T, steps: torch.linspace(T, 0, steps).round().long().tolist(),
                "There is one step too few: so many steps need one more time than that."),
    "crowded": (lambda T, steps: known(torch.linspace(1, 0.1, T + 1)).timesteps(steps),
                "These times crowd at both ends, as the helper's do by default. The task asks for equal steps."),
    "from T - 1": (lambda T, steps: torch.linspace(T - 1, 0, steps).round().long().tolist(),
                   "Your list starts at T minus 1, as in programs that count from the first noisy image. Here t of 0 "
                   "is clean and T is noise, both included."),
    "one too small": (lambda T, steps: [max(0, t - 1) for t in even(T, steps)],
                      "Your times are one too small, as in programs that count from the first noisy image. Here t of 0 "
                      "is clean and T is noise."),
    "to 1": (lambda T, steps: torch.linspace(T, 1, steps + 1).round().long().tolist(),
             "Your list ends at 1. Go on to 0, the clean image."),
    "stride": (lambda T, steps: list(range(T, -1, -steps)),
               "You go down by the number of steps each time. It says how many steps there are; how long is each?"),
    "pairs": (lambda T, steps: list(zip(even(T, steps), even(T, steps)[1:])),
              "These are the pairs of times of each step. The task asks for the list of the times themselves."),
    "parts": (lambda T, steps: [k / steps for k in range(steps, -1, -1)],
              "Your times run from 1 to 0. The task asks for integers from T down to 0."),
}


class Denoiser:
    """A denoiser to be called as denoise(noisy, t), whose answer depends on both."""

    def __init__(self, image, of_time):
        self.image = image
        self.of_time = of_time

    def __call__(self, noisy, t):
        t = torch.as_tensor(t).reshape(-1, *[1] * (noisy.ndim - 1))
        return self.image * noisy - self.of_time * t * noisy.roll(1, -1)**2

    def __repr__(self):
        minus = f" - {self.of_time:g} t roll(noisy)^2" if self.of_time else ""
        return f"a function with denoise(noisy, t) = {self.image:g} noisy{minus}"


def partial_denoise_inputs(draw):
    """What partial_denoise is tried with, besides the example."""
    return [(Denoiser(0.8, 0.03), draw(2, 2, 3, 4), 5, draw(2, 2, 3, 4), ALPHA_BAR),
            (Denoiser(0.8, 0.03), draw(2, 1, 2, 2), 3, draw(2, 1, 2, 2), ALPHA_BAR)]


@exercise("Take the noise off a picture", noise=["eps"],
          example=(Denoiser(0.5, 0), row(0.5, -1), 1, row(1, 0.25), ROUND),
          inputs=partial_denoise_inputs)
def partial_denoise(denoise, x0, t, eps, alpha_bar):
    r"""Noise images up to time t, $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$, and let a
    denoiser bring them back.

    - `denoise`: a function; `denoise(noisy, t)` returns denoised images
    - `x0`: clean images (B, C, H, W);  `eps`: standard normal noise of the same shape
    - `t`: one time for all images, an integer
    - `alpha_bar`: a tensor (T + 1,)

    Return the denoised images, (B, C, H, W)."""
    a = alpha_bar[t]
    noisy = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return denoise(noisy, t)                                   # made from the noisy images alone


def denoised(start):
    """A wrong partial_denoise that starts from start(x0, eps, a)."""
    return lambda denoise, x0, t, eps, alpha_bar: denoise(start(x0, eps, alpha_bar[t]), t)


def denoised_at(time):
    """A wrong partial_denoise that tells the denoiser another time, time(t, T)."""
    def answer(denoise, x0, t, eps, alpha_bar):
        return denoise(mixed(x0, eps, alpha_bar[t]), time(t, len(alpha_bar) - 1))
    return answer


def many_times(denoise, x0, t, eps, alpha_bar):
    """Wrong: the denoiser is called once for each time."""
    x = mixed(x0, eps, alpha_bar[t])
    for k in range(t, 0, -1):
        x = denoise(x, k)
    return x


def removed(denoise, x0, t, eps, alpha_bar):
    """Wrong: what the denoiser takes away."""
    noisy = mixed(x0, eps, alpha_bar[t])
    return noisy - denoise(noisy, t)


def averaged(denoise, x0, t, eps, alpha_bar):
    """Wrong: the mean of the noisy and the denoised images."""
    noisy = mixed(x0, eps, alpha_bar[t])
    return (noisy + denoise(noisy, t)) / 2


partial_denoise.mistakes = {
    "original": (denoised(lambda x, e, a: x),
                 "You hand over the clean image, so there is no noise to remove. The result must be made from the "
                 "noisy image alone."),
    "pure noise": (denoised(lambda x, e, a: e),
                   "You start from noise alone, so nothing of the image can come back."),
    "from T": (denoised_at(lambda t, T: T),
               "The image is noised up to t, but the denoiser is told that it is at T. Tell it the true time."),
    "noised to T": (lambda denoise, x0, t, eps, alpha_bar: denoise(mixed(x0, eps, alpha_bar[-1]), t),
                    "The denoiser is told t, but the image is noised up to T. Noise it up to t."),
    "a step late": (denoised_at(lambda t, T: t - 1),
                    "The image is noised up to t, but the denoiser is told one step below."),
    "from 0": (denoised_at(lambda t, T: 0), "The image is noised up to t, but the denoiser is told that it is clean."),
    "no roots": (denoised(lambda x, e, a: a * x + (1 - a) * e),
                 "The way back is right, but the image is noised with variances for weights."),
    "weights sum to 1": (denoised(lambda x, e, a: a**0.5 * x + (1 - a**0.5) * e),
                         "The way back is right, but the weights with which the image is noised sum to 1. Their "
                         "squares should."),
    "noise added": (denoised(lambda x, e, a: x + (1 - a)**0.5 * e),
                    "You add the noise but do not scale the image down: such an x_t the network has never seen."),
    "noisy": (lambda denoise, x0, t, eps, alpha_bar: mixed(x0, eps, alpha_bar[t]),
              "This is the noisy image. Now hand it to the denoiser."),
    "swapped": (denoised(lambda x, e, a: mixed(e, x, a)),
                "Image and noise have each other's weight when you noise the image."),
    "added in full": (denoised(lambda x, e, a: x + e),
                      "You just add the noise, the same at every t. Jump to t instead: both parts have weights."),
    "many times": (many_times,
                   "You call the denoiser for every t. It goes the whole way back itself: call it once, with t."),
    "averaged": (averaged, "You average the noisy and the denoised image. Return the denoised one."),
    "difference": (removed, "This is what the denoiser removed. Return what it makes."),
}
