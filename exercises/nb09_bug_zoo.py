"""The exercises of notebook 09: the fixes of eight bugs.  The bugs themselves are in zoo/broken.py."""
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from exercises import nb03_training, nb04_reverse_sampling
from exercises.common import ALPHA_BAR, ROUND, row
from exercises.exercise import exercise
from exercises.zoo import broken
from helpers.schedule import Schedule

STILL = "This is still the bug. "


def bug(function, hint):
    """The entry of a table of mistakes for the bug itself."""
    return {"the bug": (function, STILL + hint)}


GREY = torch.arange(17.0).reshape(1, 1, 1, 17)


def prepare_inputs(draw):
    """What prepare is tried with, besides the example."""
    return [(GREY,), (GREY[..., 3:9],),
            (torch.stack([GREY[0, ..., 2:8], GREY[0, ..., 6:12], GREY[0, ..., 11:17]]),)]


@exercise("Exhibit 1: fog", example=(torch.tensor([[[[0.0, 4, 8, 16]]]]),),
          inputs=prepare_inputs)
def prepare(grey):
    r"""Fix `broken_prepare`: map whole numbers from 0 (black) to 16 (white) to the range that noise, clipping and
    sampler expect, from −1 to 1.

    - `grey`: images (N, 1, H, W)

    Return the images in that range, (N, 1, H, W)."""
    return grey / 8 - 1                                        # from 0 … 16 to -1 … 1


def each_stretched(grey):
    """Wrong: from the darkest to the brightest pixel of each image."""
    low = grey.amin((1, 2, 3), keepdim=True)
    high = grey.amax((1, 2, 3), keepdim=True)
    return 2 * (grey - low) / (high - low) - 1


prepare.mistakes = bug(broken.broken_prepare, "Black comes out as 0. Where should it lie, so that grey is 0?") | {
    "half as wide": (lambda grey: grey / 16 - 0.5, "It is centred now, but only half as wide as it should be."),
    "up to 2": (lambda grey: grey / 8, "It is as wide as it should be, but begins at 0. Shift it."),
    "below 0": (lambda grey: grey / 16 - 1, "White comes out as 0. The range is half as wide as it should be."),
    "to minus 2": (lambda grey: grey / 8 - 2, "It is as wide as it should be, but ends at 0. Shift it by less."),
    "not scaled": (lambda grey: grey.clamp(-1, 1), "You clip without scaling, so almost everything becomes white."),
    "inverted": (lambda grey: 1 - grey / 8, "Black and white have changed places."),
    "by 255": (lambda grey: grey / 127.5 - 1, "Here white is 16, and not 255 as in most files."),
    "by 15": (lambda grey: grey / 7.5 - 1, "You take 15 for white. The numbers run from 0 to 16."),
    "centred only": (lambda grey: grey - 8, "It is centred now, but from minus 8 to 8. Divide by half the range."),
    "by the maximum": (lambda grey: 2 * grey / grey.max() - 1,
                       "White is what is brightest in this batch, so the same grey comes out differently in another "
                       "one. Divide by what white is."),
    "by each maximum": (lambda grey: 2 * grey / grey.amax((1, 2, 3), keepdim=True) - 1,
                        "White is what is brightest in each image, so the same grey comes out differently in another "
                        "one. Divide by what white is."),
    "stretched": (lambda grey: 2 * (grey - grey.min()) / (grey.max() - grey.min()) - 1,
                  "You stretch the batch from its darkest to its brightest pixel, so the same grey comes out "
                  "differently in another one. Black is 0 and white is 16."),
    "each stretched": (each_stretched, "You stretch each image from its darkest to its brightest pixel, so the same "
                                       "grey comes out differently in another one. Black is 0 and white is 16."),
    "standardised": (lambda grey: (grey - grey.mean()) / grey.std(),
                     "You gave the batch mean 0 and standard deviation 1. That depends on the batch, and does not end "
                     "at minus 1 and 1."),
    "mean subtracted": (lambda grey: (grey - grey.mean()) / 8,
                        "You subtract the mean of the batch. Subtract the middle of the range, the same for all."),
}


def small(seed):
    """A network to be averaged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallNetwork()


class SmallNetwork(nn.Sequential):
    """Two layers with weights and biases."""

    def __init__(self):
        super().__init__(nn.Linear(2, 3), nn.Linear(3, 2))

    def __repr__(self):
        return "a small network"


def weights(network):
    """All weights of a network in a row."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def averaged(answer, case):
    """What a call of follow leaves behind: the weights of average and model, and whether it returns the first."""
    average, model, _ = case
    if not isinstance(answer, nn.Module):
        return answer
    return torch.cat([weights(average), weights(model), torch.tensor([float(answer is average)])])


ENTRIES = ["a weight of `average`"] * 17 + ["a weight of `model`"] * 17 + ["1 if `average` itself is returned, else 0,"]


@exercise("Exhibit 2: nothing but grey", read=averaged, entries=ENTRIES, example=(small(1), small(2), 0.9),
          inputs=lambda draw: [(small(3), small(4), 0.75)],
          for_example="with `decay = 0.9`, a weight of 1 in the average and of 0 in the model gives `0.9`.")
@torch.no_grad()
def follow(average, model, decay):
    r"""Fix `broken_follow`: move every weight of `average` to `decay` · average + (1 − `decay`) · model, in place.

    - `average`, `model`: two networks with the same layers
    - `decay`: a number between 0 and 1

    Return `average`, the same network with its weights changed; `model` stays as it is."""
    for a, w in zip(average.parameters(), model.parameters()):
        a.copy_(decay * a + (1 - decay) * w)                   # in place: a = … would only move the name
    return average


def moved(formula, only=lambda name: True):
    """A wrong follow from a formula of (a, w, decay), for the weights whose name is chosen."""
    @torch.no_grad()
    def answer(average, model, decay):
        for (name, a), w in zip(average.named_parameters(), model.parameters()):
            if only(name):
                a.copy_(formula(a, w, decay))
        return average
    return answer


def mean(a, w, d):
    """The right formula."""
    return d * a + (1 - d) * w


def new_network(average, model, decay):
    """Wrong: a new network is returned, and the average stays as it was."""
    return follow.solution(copy.deepcopy(average), model, decay)


def in_the_model(average, model, decay):
    """Wrong: the weights of the model are changed."""
    return moved(lambda w, a, d: mean(a, w, d))(model, average, decay)


@torch.no_grad()
def both(average, model, decay):
    """Wrong: the model's weights become the average's."""
    moved(mean)(average, model, decay)
    moved(lambda w, a, d: a)(model, average, decay)
    return average


follow.mistakes = bug(broken.broken_follow, "After the call the average holds what it held before. In a loop, an "
                                            "assignment only gives a new tensor the name a, as a new entry in a "
                                            "state_dict only changes the dictionary; the weights do not notice.") | {
    "swapped": (moved(lambda a, w, d: (1 - d) * a + d * w),
                "The two factors are swapped: the average should move slowly."),
    "copied": (moved(lambda a, w, d: w), "The average gets the very weights of the model. It should remember."),
    "half": (moved(lambda a, w, d: (a + w) / 2), "You take half of each, whatever decay says."),
    "added": (moved(lambda a, w, d: d * a + w), "The weights are added in full, so the average grows."),
    "faded": (moved(lambda a, w, d: d * a), "The average fades to nothing: something has to be added."),
    "average in full": (moved(lambda a, w, d: a + (1 - d) * w), "The old average is kept in full, so it grows."),
    "away": (moved(lambda a, w, d: a - (1 - d) * (w - a)), "The average moves away from the model. A sign is wrong."),
    "no biases": (moved(mean, lambda name: "weight" in name), "The biases stay as they were. Every parameter counts."),
    "first layer": (moved(mean, lambda name: name.startswith("0")),
                    "Only the first layer is averaged. Every parameter counts."),
    "last layer": (moved(mean, lambda name: name.startswith("1")),
                   "Only the last layer is averaged. Every parameter counts."),
    "a new network": (new_network, "You return a new network, and the one that you were given stays as it was. Change "
                                   "it in place: the training loop keeps using it."),
    "model instead": (lambda average, model, decay: (in_the_model(average, model, decay), average)[1],
                      "You change the weights of the model, and the average stays as it was. It is the other way "
                      "round."),
    "in the model": (in_the_model,
                     "You change the weights of the model, and return it. The average is what should change."),
    "both": (both, "The average is right, but the model's weights become the same. The training goes on with these: "
                   "leave them as they are."),
    "model returned": (lambda average, model, decay: (follow.solution(average, model, decay), model)[1],
                       "The average is changed as it should be, but you return the model."),
}

LARGER = ("Right: the noise of the forward step, and none in the last step, is the larger variance of Ho et al. 2020. "
          "The posterior's own standard deviation would vanish by itself.")


def with_std(formula):
    """A step whose noise is scaled by formula(a_t, a_s, alpha, s, t, T)."""
    def step(xt, x0, t, s, alpha_bar, z):
        parts = alpha_bar[t], alpha_bar[s], alpha_bar[t] / alpha_bar[s]
        return nb04_reverse_sampling.posterior_mean(xt, x0, *parts) + formula(*parts, s, t, len(alpha_bar) - 1) * z
    return step


OTHER_STEPS = {
    "none in the first": (with_std(lambda a_t, a_s, alpha, s, t, T: (1 - alpha)**0.5 * (s > 0) * (t < T)),
                          "The end is right now, but some other step has lost its noise."),
    "from where it begins": (with_std(lambda a_t, a_s, alpha, s, t, T: (1 - alpha)**0.5 * (t > 1)),
                             "The step from 1 to 0 adds no noise now. But with steps left out, the last one begins at "
                             "a larger t: ask where a step arrives, not where it begins."),
    "none before 1": (with_std(lambda a_t, a_s, alpha, s, t, T: (1 - alpha)**0.5 * (s > 1)),
                      "The end is right now, but a step that arrives at 1 has lost its noise, too."),
    "twice rooted": (with_std(lambda a_t, a_s, alpha, *_: ((1 - a_s) / (1 - a_t) * (1 - alpha))**0.25),
                     "There is one root too many: this is the root of the standard deviation."),
    "variance, but for the end": (with_std(lambda a_t, a_s, alpha, s, t, T: (1 - alpha) * (s > 0)),
                                  "At the end it is right, but elsewhere the noise is multiplied by a variance."),
    "forward variance": (with_std(lambda a_t, a_s, alpha, *_: 1 - alpha),
                         "The noise is multiplied by a variance, that of the forward step."),
}


def wrong_steps(first):
    """The mistakes of a step: the bug first, then those of notebook 04 and others; the larger variance is none."""
    known = nb04_reverse_sampling.ddpm_step.mistakes
    return bug(*first) | {name: wrong for name, wrong in (known | OTHER_STEPS).items()
                          if name not in ("larger variance", SAME_AS[first[0]])}


SAME_AS = {broken.broken_end: "noise at the end", broken.broken_step: "variance"}
LARGER_VARIANCE = nb04_reverse_sampling.ddpm_step.mistakes["larger variance"][0]


@exercise("Exhibit 3: grain", noise=["z"], inputs=nb04_reverse_sampling.steps_down,
          example=(row(1, -0.5), row(0.5, -1), 2, 1, ROUND, row(1, 0)))
def end(xt, x0, t, s, alpha_bar, z):
    r"""Fix `broken_end`: a step of DDPM from $x_t$ to $x_s$ whose last step, at s = 0, adds no noise.

    - `xt`: noisy images (B, C, H, W);  `x0`: the estimate of the clean images, the same shape
    - `t`, `s`: integers, T ≥ t > s ≥ 0
    - `alpha_bar`: a tensor (T + 1,)
    - `z`: standard normal noise of the shape of `xt`

    Return $x_s$, (B, C, H, W). The noise may be that of the posterior, or, but for the last step, that of the forward
    step."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)             # of the posterior: it is 0 at s = 0
    return mean + variance.sqrt() * z


end.accepted = {"larger variance": (LARGER_VARIANCE, LARGER)}
end.mistakes = wrong_steps((broken.broken_end, "The step that arrives at s of 0 still adds noise, and nothing removes "
                                               "it again."))


@exercise("Exhibit 5: always the same few", noise=["z"], inputs=nb04_reverse_sampling.steps_down,
          example=(row(1, -0.5), row(0.5, -1), 2, 1, ROUND, row(1, 0)))
def step(xt, x0, t, s, alpha_bar, z):
    r"""Fix `broken_step`: a step of DDPM from $x_t$ to $x_s$ with as much noise as it should have.

    - `xt`: noisy images (B, C, H, W);  `x0`: the estimate of the clean images, the same shape
    - `t`, `s`: integers, T ≥ t > s ≥ 0
    - `alpha_bar`: a tensor (T + 1,)
    - `z`: standard normal noise of the shape of `xt`

    Return $x_s$, (B, C, H, W). The noise may be that of the posterior, or, but for the last step, that of the forward
    step."""
    a_t = alpha_bar[t]
    a_s = alpha_bar[s]
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    variance = (1 - a_s) / (1 - a_t) * (1 - alpha)
    return mean + variance.sqrt() * z                          # the root: a standard deviation


step.accepted = {"larger variance": (LARGER_VARIANCE, LARGER)}
step.mistakes = wrong_steps((broken.broken_step, "The noise is multiplied by a variance. What scales noise is its "
                                                 "standard deviation."))


class SmallSchedule(Schedule):
    """A Schedule that equals its copies, since arguments are compared with what they were."""

    def __eq__(self, other):
        return isinstance(other, Schedule) and torch.equal(self.alpha_bar, other.alpha_bar)

    __hash__ = None

    def __call__(self):                                        # so that it is shown by its words
        raise TypeError("a schedule is no function")

    def __repr__(self):
        return f"a Schedule with T = {self.T}"


SIX = SmallSchedule(1 - ALPHA_BAR[1:].double() / ALPHA_BAR[:-1])
IMAGES = torch.rand(512, 1, 2, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1


class Witness(nn.Module):
    """A network with one weight that remembers what it was called with."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.seen = []

    def forward(self, xt, t):
        t = torch.as_tensor(t)
        told = t.detach().round().long().flatten()
        self.seen.append((xt.detach().clone(), told.expand(len(xt)) if len(told) == 1 else told))
        return self.weight * xt - 0.1

    def __repr__(self):
        return "a network that predicts the clean images"


def of_the_calls(xt, t, T):
    """What is wrong with what the network was called with, or None."""
    t = t.flatten()
    if len(xt) != len(IMAGES):
        return "called twice" if len(xt) > len(IMAGES) else "never called"
    if xt.shape == IMAGES.shape and torch.allclose(xt, IMAGES, atol=1e-4):
        return "clean input"
    if len(t) != len(IMAGES) or len(t.unique()) == 1:
        return "one time"
    if t.min() < 1 or t.max() > T:
        return "time out of range"
    if t.max() < T:
        return "last time missing"
    if t.min() > 1:
        return "first time missing"
    if torch.equal(t, t.sort().values) or torch.equal(t[T:], t[:-T]):
        return "not random"
    if min((t == k).sum() for k in range(1, T + 1)) < 40:      # 85 are expected
        return "not uniform"
    eps = noise_in(xt, t)
    if eps.std(0).min() < 0.2 or eps.flatten(1).std(1).median() < 0.2:
        return "one noise"
    half = len(eps) // 2
    parts = [slice(half), slice(half, None), slice(0, None, 2), slice(1, None, 2)]
    noisy = all(is_noise(eps[part], IMAGES[part]) for part in parts)
    right = all((eps[t == k].std() - 1).abs() < 0.25 for k in range(1, T + 1))
    return None if noisy and right else "not the noise of t"


def is_noise(eps, images):
    """Whether eps looks like standard normal noise that has nothing to do with the images."""
    return bool((eps.std() - 1).abs() < 0.15 and eps.mean().abs() < 0.15 and (eps * images).mean().abs() < 0.1)


def noise_in(xt, t):
    """The noise that, with the images, makes up xt."""
    a = SIX.at(t, IMAGES)
    return (xt - a.sqrt() * IMAGES) / (1 - a).sqrt()


def of_the_number(loss, model, xt, t):
    """What is wrong with the loss, or "right"."""
    if not torch.is_tensor(loss) or not loss.is_floating_point():
        return "no number"
    if loss.numel() != 1:
        return "per image" if len(loss) == len(IMAGES) and loss.numel() == len(IMAGES) else "per pixel"
    out = model.weight.detach() * xt - 0.1
    targets = {"right": IMAGES, "noise as target": noise_in(xt, t), "noisy as target": xt}
    name = next((name for name, target in targets.items() if math.isclose(
        loss.item(), F.mse_loss(out, target).item(), rel_tol=1e-3)), "another number")
    if name != "right":
        return name
    if not loss.requires_grad:
        return "detached"
    loss.backward()
    slope = 2 * ((out - IMAGES) * xt).mean().item()
    found = 0.0 if model.weight.grad is None else model.weight.grad.item()
    return "right" if math.isclose(found, slope, rel_tol=1e-2) else "detached"


def testimony(bug):
    """examine for a loss; bug: the mistake that is the exhibit's own."""
    def examine(loss, case):
        model, schedule, _ = case
        if not model.seen:
            return "never called"
        xt = torch.cat([x for x, _ in model.seen])
        t = torch.cat([t for _, t in model.seen])
        found = of_the_calls(xt, t, schedule.T) or of_the_number(loss, model, xt, t)
        return "the bug" if found == bug else found
    return examine


def loss_of(times=lambda T, n: torch.randint(1, T + 1, (n,)), noisy=lambda schedule, x0, t: schedule.q_sample(x0, t),
            target=lambda schedule, xt, x0, t: x0, score=F.mse_loss):
    """A wrong loss, by its parts."""
    def loss(model, schedule, x0):
        t = times(schedule.T, len(x0))
        xt = noisy(schedule, x0, t)
        return score(model(xt, t), target(schedule, xt, x0, t))
    return loss


def called_twice(model, schedule, x0):
    """Wrong: the batch goes through the network twice."""
    return loss.solution(model, schedule, x0) + loss.solution(model, schedule, x0)


def never_called(model, schedule, x0):
    """Wrong: the noisy images themselves are compared."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    return F.mse_loss(schedule.q_sample(x0, t), x0)


def in_turn(T, n):
    """Times that are not drawn."""
    return torch.arange(n) % T + 1


def one_noise(schedule, x0, t):
    """Noisy images that share one noise."""
    return schedule.q_sample(x0, t, torch.randn_like(x0[:1]).expand_as(x0))


def uneven(T, n):
    """Times that are drawn, but not uniformly."""
    return (T * torch.rand(n)**6).long() + 1


WRONG_LOSSES = {
    "clean input": (broken.broken_loss, "The network is given the clean image, and has only to return it."),
    "one time": (broken.broken_times, "All images of the batch share one t. Draw as many as there are images."),
    "never called": (never_called, "The network was not called with every image of the batch. Let it predict the clean "
                                   "images from the noisy ones."),
    "called twice": (called_twice, "Each image goes through the network more than once. Once is enough."),
    "time out of range": (loss_of(times=lambda T, n: torch.randint(0, T + 1, (n,))),
                          "Some of the times that the network is told lie outside of 1 … T. At 0 there is no noise to "
                          "remove."),
    "last time missing": (loss_of(times=lambda T, n: torch.randint(1, T, (n,))),
                          "Your times never reach T, where sampling begins. The upper end of randint is left out."),
    "first time missing": (loss_of(times=lambda T, n: torch.randint(2, T + 1, (n,))),
                           "Your times never are 1, where sampling ends. The lower end of randint is included."),
    "not uniform": (loss_of(times=uneven), "Some times are much rarer than others. Draw them uniformly from 1 to T."),
    "not random": (loss_of(times=in_turn), "Your times follow a fixed order. Draw them at random."),
    "one noise": (loss_of(noisy=one_noise),
                  "The noise is the same in all images, or in all pixels. Each pixel of each image has its own."),
    "not the noise of t": (loss_of(noisy=lambda schedule, x0, t: x0 + schedule.q_sample(0 * x0, t)),
                           "What the network is given does not look like x_t at the times that it is told. Draw the "
                           "times at random, give the same ones to q_sample and to the network, and noise each pixel "
                           "on its own."),
    "noise as target": (loss_of(target=lambda schedule, xt, x0, t: schedule.predict_eps(xt, t, x0)),
                        "You compare the prediction with the noise. This network predicts the clean image."),
    "noisy as target": (loss_of(target=lambda schedule, xt, x0, t: xt),
                        "You compare the prediction with the noisy image, which the network is given."),
    "per image": (loss_of(score=lambda out, x0: (out - x0).square().mean((1, 2, 3))),
                  "You have one number for each image. Training minimises a single number, in a tensor."),
    "per pixel": (loss_of(score=lambda out, x0: (out - x0).square()),
                  "You have one number for each pixel. Training minimises a single number, in a tensor."),
    "no number": (lambda *case: loss.solution(*case).item(),
                  "Leave the loss in a tensor: gradients reach the network through it."),
    "detached": (lambda *case: loss.solution(*case).detach(),
                 "The number is right, but no gradient reaches the network through it. Look for a detach, an item or a "
                 "no_grad on the way."),
    "another number": (loss_of(score=F.l1_loss),
                       "What the network is given is right, but the number is not the mean of the squared errors."),
}


LOSS_EXAMPLE = "where all pixels are 0.5 or −0.5, a network that predicts 0 everywhere has a loss of `0.25`."


def wrong_losses(name):
    """The table of wrong losses, the bug first."""
    return bug(*WRONG_LOSSES[name]) | {other: wrong for other, wrong in WRONG_LOSSES.items() if other != name}


@exercise("Exhibit 4: the best loss of all", examine=testimony("clean input"), example=(Witness(), SIX, IMAGES),
          inputs=lambda draw: [], for_example=LOSS_EXAMPLE)
def loss(model, schedule, x0):
    r"""Fix `broken_loss`: the training loss of a network that predicts the clean image. Draw a time for each image,
    uniformly from 1 to T, and noise of its own for each pixel; let the network predict the clean images from the noisy
    ones, and return the mean squared error.

    - `model`: the network, called as `model(xt, t)`, predicts the clean images (B, C, H, W)
    - `schedule`: has `T` and `q_sample(x0, t)`, which draws the noise itself
    - `x0`: clean images (B, C, H, W)

    Return the loss, a tensor with one number through which gradients reach the network."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))           # (B,)
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)                        # the network sees x_t, never x_0


@exercise("Exhibit 6: a healthy sheet", example=(torch.tensor([2]), 4),
          inputs=nb03_training.time_embedding.inputs)
def embedding(t, dim):
    r"""Fix `broken_embedding`: the row of a time t is $\cos(t f_0), \dots, \cos(t f_{d/2-1}), \sin(t f_0), \dots,
    \sin(t f_{d/2-1})$ with $f_k = 10000^{-2k/d}$, where d is `dim`. The same time gives the same row.

    - `t`: times, a tensor (B,) of integers
    - `dim`: the length of a row, an even integer

    Return a tensor (B, dim): first all cosines, then all sines."""
    k = torch.arange(dim // 2)                                 # (dim / 2,)
    angle = t[:, None] * torch.exp(-math.log(10_000) * k / (dim // 2))     # (B, dim / 2): of t, not of the place
    return torch.cat([angle.cos(), angle.sin()], dim=1)        # (B, dim)


@exercise("Exhibit 7: a nervous curve", examine=testimony("one time"), example=(Witness(), SIX, IMAGES),
          inputs=lambda draw: [], for_example=LOSS_EXAMPLE)
def times(model, schedule, x0):
    r"""Fix `broken_times`: the training loss of a network that predicts the clean image. Draw a time for each image,
    uniformly from 1 to T, and noise of its own for each pixel; let the network predict the clean images from the noisy
    ones, and return the mean squared error.

    - `model`: the network, called as `model(xt, t)`, predicts the clean images (B, C, H, W)
    - `schedule`: has `T` and `q_sample(x0, t)`, which draws the noise itself
    - `x0`: clean images (B, C, H, W)

    Return the loss, a tensor with one number through which gradients reach the network."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))           # (B,): a time for each image
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


loss.mistakes = wrong_losses("clean input")
times.mistakes = wrong_losses("one time")
OTHER_EMBEDDINGS = {
    "one time": (lambda t, dim: embedding.solution(t[:1].expand(len(t)), dim),
                 "All rows are those of the first time. Each time has its own."),
    "place added": (lambda t, dim: embedding.solution(t + torch.arange(len(t)), dim),
                    "The place in the batch is added to the time. The same time should give the same row."),
    "sorted": (lambda t, dim: embedding.solution(t.sort().values, dim),
               "You sort the times, so the rows stand at other places than their times."),
    "scaled": (lambda t, dim: embedding.solution(t / t.max(), dim),
               "You divide by the largest time of the batch, so a row depends on which others are in the batch."),
}
embedding.mistakes = bug(broken.broken_embedding, "The rows depend on the place in the batch. Where is t?")
embedding.mistakes |= OTHER_EMBEDDINGS | nb03_training.time_embedding.mistakes
del embedding.mistakes["batch"]                                # which is the bug

def numbered(n):
    """So many different images (n, 1, 2, 2), no value of which says their place."""
    return torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(n)).mul(2).sub(1)


def divided(answer, case):
    """examine for a split: what is wrong with (training images, held-out images)."""
    images, held = case
    if not isinstance(answer, (tuple, list)) or len(answer) != 2 or not all(map(torch.is_tensor, answer)):
        return "not two tensors"
    if any(part.ndim != 4 or part.shape[1:] != images.shape[1:] for part in answer):
        return "not images"
    places = {tuple(x.flatten().tolist()): i for i, x in enumerate(images)}
    train, kept = ([places.get(tuple(x.flatten().tolist())) for x in part] for part in answer)
    if None in train + kept:
        return "changed"
    if len(set(train)) < len(train) or len(set(kept)) < len(kept):
        return "twice"
    if set(train) & set(kept):
        return "the bug"
    if len(kept) != held:
        return "swapped" if len(train) == held else "wrong size"
    return "right" if len(train) + len(kept) == len(images) else "lost"


@exercise("Exhibit 8: top marks", examine=divided, example=(numbered(60), 12),
          inputs=lambda draw: [(numbered(41), 7), (numbered(30), 11)],
          for_example="of 60 images with `held = 12`, 48 are for training and the 12 others are held out.")
def split(images, held):
    r"""Fix `broken_split`: hold out `held` of the images; the others are for training. No image is in both sets, and
    none is lost.

    - `images`: a tensor (N, C, H, W)
    - `held`: how many images to hold out, an integer

    Return two tensors: the training images (N − held, C, H, W) and the held-out images (held, C, H, W)."""
    shuffled = images[torch.randperm(len(images))]             # shuffle once, cut once
    return shuffled[held:], shuffled[:held]


def cut(parts):
    """A wrong split from a function of (shuffled images, held)."""
    return lambda images, held: parts(images[torch.randperm(len(images))], held)


def drawn_with_repeats(images, held):
    """Wrong: images are drawn with replacement."""
    rest = images[held:]
    return rest[torch.arange(len(rest)) // 2], images[:held]


def two_orders(images, held):
    """Wrong: each set is cut from an order of its own."""
    return images[torch.randperm(len(images))][held:], images[torch.randperm(len(images))][-held:]


split.mistakes = bug(two_orders, "Some images are in both sets: the two are not cut from one order, or not at one "
                                 "place.") | {
    "swapped": (cut(lambda x, held: (x[:held], x[held:])),
                "The two sets have changed places: first the training images, then those held out."),
    "wrong size": (cut(lambda x, held: (x[held // 2:], x[:held // 2])),
                   "No image is in both sets now, but `held` says how many are to be held out."),
    "twice": (drawn_with_repeats, "Some images occur twice in one set. A permutation takes each once."),
    "lost": (cut(lambda x, held: (x[2 * held:], x[:held])), "Some images are in neither set."),
    "changed": (cut(lambda x, held: (x[held:].flip(3), x[:held])),
                "What you return holds images that were not there before. Divide them, and leave them as they are."),
    "not two tensors": (lambda images, held: images[torch.randperm(len(images))],
                        "Return two tensors: first the training images, then the held-out ones."),
    "not images": (cut(lambda x, held: (x[held:].flatten(1), x[:held].flatten(1))),
                   "What you return are not images any more. Return two tensors with the shape of images."),
}
