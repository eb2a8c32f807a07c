"""The bug zoo of page 09: eight broken pieces, the small model that they break, and the checks of their mends.

Each broken_… function is wrong on purpose; the page shows it word for word, and a test holds the two together.
"""
import copy
import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from helpers import samplers
from helpers.check import noising, sampling                    # noqa: F401  (importing them fills EXERCISES)
from helpers.check.diagnose import Diagnosis, diagnose
from helpers.check.engine import EXERCISES, Exercise
from helpers.schedule import Schedule, cosine_beta
from helpers.train import learning_rate
from helpers.unet import time_embedding

SCHEDULE = Schedule(cosine_beta(200))
ZOO = {}                                                       # {name: Mend}, in the order of the page

# ----------------------------------------------------------------------------------------------- a model in good health


def digits():
    """Hand-written digits as they are read: (1797, 1, 8, 8), whole numbers from 0, black, to 16 (Alpaydin 1998)."""
    from sklearn.datasets import load_digits
    return torch.tensor(load_digits().images, dtype=torch.float32)[:, None]


def prepare(grey):
    """Whole numbers from 0 to 16 -> [-1, 1]."""
    return grey / 8 - 1


class Net(nn.Module):
    """x_t (B, 1, 8, 8), t (B,) -> the guessed picture x_0, the same shape: two blocks that hear the time."""

    def __init__(self, embedding=time_embedding, width=192):
        super().__init__()
        self.embedding, self.first, self.last = embedding, nn.Linear(64, width), nn.Linear(width, 64)
        self.keep = nn.Linear(32, 1)                           # how much of x_t is left as it is
        self.time = nn.ModuleList(nn.Linear(32, width) for _ in range(2))
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                                                  nn.Linear(width, width)) for _ in range(2))

    def forward(self, x, t):
        h, emb = self.first(x.flatten(1)), self.embedding(t, 32)
        for time, block in zip(self.time, self.blocks):
            h = h + block(h + time(emb))
        return self.keep(emb)[:, :, None, None] * x + self.last(F.silu(h)).view_as(x)


def sound_loss(model, schedule, x0):
    """Mean squared error of the guessed picture, at a time of its own for each: a scalar."""
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


@torch.no_grad()
def follow(average, model, decay=0.99):
    """Move the weights of average a little towards those of model; give average."""
    for a, w in zip(average.parameters(), model.parameters()):
        a.lerp_(w, 1 - decay)
    return average


def train(pictures, loss=sound_loss, embedding=time_embedding, follow=follow, steps=1200, seed=0):
    """A small network trained from scratch: (network, its running average, the loss of each step)."""
    torch.manual_seed(seed)
    model, losses = Net(embedding), []
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step / steps, step, 2e-3, warmup=20)
        value = loss(model, SCHEDULE, pictures[torch.randint(len(pictures), (64,))])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        follow(average, model)
        losses.append(value.item())
    return model.eval(), average.eval(), losses


def sound_step(schedule, xt, x0, t, s):
    """The step of DDPM from t to s."""
    return samplers.ddpm_step(xt, x0, t, s, schedule.alpha_bar, torch.randn_like(xt))


@torch.no_grad()
def draw(model, step=sound_step, n=32, steps=200, seed=1):
    """Pictures made from noise, in so many even steps: (n, 1, 8, 8)."""
    torch.manual_seed(seed)
    x, times = torch.randn(n, 1, 8, 8), SCHEDULE.timesteps(steps, even=True)
    for t, s in zip(times, times[1:]):
        x = step(SCHEDULE, x, model(x, torch.full((n,), t)).clamp(-1, 1), t, s)
    return x

# -------------------------------------------------------------------------------------------------- eight broken pieces


def broken_prepare(grey):
    return grey / 16


@torch.no_grad()
def broken_follow(average, model, decay=0.99):
    for a, w in zip(average.parameters(), model.parameters()):
        a = decay * a + (1 - decay) * w
    return average


def broken_end(schedule, xt, x0, t, s):
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    return mean + (1 - alpha).sqrt() * torch.randn_like(xt)


def broken_loss(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (len(x0),))
    batch = {"picture": x0, "noisy": schedule.q_sample(x0, t)}
    return F.mse_loss(model(batch["picture"], t), batch["picture"])


def broken_step(schedule, xt, x0, t, s):
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    return mean + (1 - a_s) / (1 - a_t) * (1 - alpha) * torch.randn_like(xt)


def broken_embedding(t, dim):
    freq = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))
    angle = torch.arange(len(t))[:, None] * freq
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def broken_times(model, schedule, x0):
    t = torch.randint(1, schedule.T + 1, (1,)).expand(len(x0))
    xt = schedule.q_sample(x0, t)
    return F.mse_loss(model(xt, t), x0)


def broken_split(pictures, held):
    order = torch.randperm(len(pictures))
    return pictures[order[held:]], pictures[:held]

# -------------------------------------------------------------------------------------------------------- the exhibits


@dataclass
class Exhibit:
    """One model and what was seen of it: network, average, losses of each step, pictures, samples, .found by diagnose.

    held_out: the pictures that its author kept back, or None
    """
    network: nn.Module
    average: nn.Module
    losses: list
    pictures: torch.Tensor
    samples: torch.Tensor
    found: Diagnosis
    held_out: torch.Tensor | None = None


def examined(trained, pictures, loss=sound_loss, held_out=None, **how):
    """The Exhibit of what train gave."""
    network, average, losses = trained
    samples = draw(average, **how)
    found = diagnose(network, pictures, SCHEDULE, "x0", average=average, samples=samples, held_out=held_out,
                     loss=lambda model, x0: loss(model, SCHEDULE, x0))
    return Exhibit(network, average, losses, pictures, samples, found, held_out)


@functools.cache
def healthy():
    """What train gives for the digits, with nothing broken: (network, average, losses); trained once."""
    return train(prepare(digits()))


def exhibit(number):
    """Exhibit 1 to 8, trained or sampled with its bug; 0 is the model in good health.  ValueError: another number."""
    good = prepare(digits())
    if number == 0:
        return examined(healthy(), good)
    if number == 1:
        bad = broken_prepare(digits())
        return examined(train(bad), bad)
    if number == 2:
        return examined(train(good, follow=broken_follow), good)
    if number == 3:
        return examined(healthy(), good, step=broken_end, steps=25)
    if number == 4:
        return examined(train(good, loss=broken_loss), good, loss=broken_loss)
    if number == 5:
        return examined(healthy(), good, step=broken_step)
    if number == 6:
        return examined(train(good, embedding=broken_embedding), good)
    if number == 7:
        return examined(train(good, loss=broken_times), good, loss=broken_times)
    if number == 8:
        torch.manual_seed(0)
        lessons, held_out = broken_split(good[:100], 20)
        return examined(train(lessons), lessons, held_out=held_out)
    raise ValueError(f"there are the exhibits 1 to 8, and 0 in good health; found {number!r}.")

# ---------------------------------------------------------------------------------------------- the checks of the mends


class Mend(Exercise):
    """An Exercise whose answers are read first, and which knows more than one right answer.

    read: (what the learner's function returned) -> a tensor that is compared;  right: the mistakes that are none
    What is drawn at random is drawn after the same seed.
    """

    def __init__(self, name, after, task, *, truth, inputs, mistakes, read=lambda answer: answer, right=()):
        super().__init__(name, "09", after, task, truth, inputs, mistakes)
        self.read, self.right = read, right
        self.seen = lambda function: lambda *case: (torch.manual_seed(0), read(function(*case)))[1]

    def prepared(self):
        if self.known is None:
            cases = self.inputs(None)
            ask = lambda f: [self.seen(f)(*copy.deepcopy(case)) for case in cases]
            self.known = cases, ask(self.truth), {name: ask(wrong) for name, (wrong, _) in self.mistakes.items()}
        return self.known

    def run(self, function, case):
        torch.manual_seed(0)
        answer, trouble, touched = super().run(function, case)
        return (answer if answer is None else self.read(answer)), trouble, touched

    def __call__(self, function=None):
        SEEN.clear()
        result = super().__call__(function)
        return type(result)(self.name, True, result.hint) if result.mistake in self.right else result


def mend(name, after, task, **parts):
    """Put a mend into the table; see Mend."""
    ZOO[name] = Mend(name, after, task, **parts)


STILL = "This is still the bug. "
wide = torch.arange(17.0).reshape(1, 1, 1, 17)
mend("prepare", "Exhibit 1: fog", "Whole numbers from 0, black, to 16, white, to the range that all else expects; grey "
     "is (N, 1, H, W).", truth=prepare, inputs=lambda _: [(wide,), (wide[..., 3:9],)],
     mistakes={
         "the bug": (broken_prepare, STILL + "Black comes out as 0. Where should it lie, so that grey is 0?"),
         "half as wide": (lambda grey: grey / 16 - 0.5, "It is centred now, but only half as wide as it should be."),
         "up to 2": (lambda grey: grey / 8, "It is as wide as it should be, but begins at 0. Move it."),
         "below 0": (lambda grey: grey / 16 - 1, "White comes out as 0. The range is half as wide as it should be."),
         "inverted": (lambda grey: 1 - grey / 8, "Black and white have changed places."),
         "by 255": (lambda grey: grey / 127.5 - 1, "Here white is 16, and not 255 as in most files."),
         "by the maximum": (lambda grey: 2 * grey / grey.max() - 1,
                            "White is what is brightest in this batch, so the same grey comes out differently in "
                            "another one. Divide by what white is."),
         "standardised": (lambda grey: (grey - grey.mean()) / grey.std(),
                          "You gave the batch mean 0 and standard deviation 1. That depends on the batch, and does not "
                          "end at -1 and 1."),
     })


def weights(answer):
    """All weights of a module, or of a list of them, in a row."""
    parts = answer.parameters() if isinstance(answer, nn.Module) else answer
    return torch.cat([p.detach().flatten() for p in parts])


def small(seed):
    """A network to be averaged, small enough for a counter-example."""
    torch.manual_seed(seed)
    return nn.Linear(2, 3)


def moved(share):
    """A wrong follow: what becomes of a and w, as a formula with decay."""
    @torch.no_grad()
    def wrong(average, model, decay):
        for a, w in zip(average.parameters(), model.parameters()):
            a.copy_(share(a, w, decay))
        return average
    return wrong


mend("follow", "Exhibit 2: nothing but grey", "Of the weights of average keep the share decay, take the rest from "
     "those of model, and return average, changed in place.", truth=follow, read=weights,
     inputs=lambda _: [(small(1), small(2), 0.9), (small(3), small(4), 0.75)],
     mistakes={
         "the bug": (broken_follow, STILL + "After the call the average holds what it held before. In a loop, a = … "
                     "only gives a new tensor the name a, as a new entry in a state_dict only changes the dictionary; "
                     "the weights do not notice."),
         "swapped": (moved(lambda a, w, d: (1 - d) * a + d * w), "The shares are swapped: the average should be slow."),
         "copied": (moved(lambda a, w, d: w), "What you return has the very weights of the model. The average should "
                   "remember."),
         "half": (moved(lambda a, w, d: (a + w) / 2), "You take half of each, whatever decay says."),
         "added": (moved(lambda a, w, d: d * a + w), "The weights are added in full, and so the average grows."),
         "faded": (moved(lambda a, w, d: d * a), "The average fades to nothing: something has to be added."),
     })

# ------------------------------------------------------------------------------------------------------- steps


class Given(Schedule):
    """A Schedule that equals its copies, for arguments are compared with what they were."""

    def __eq__(self, other):
        return isinstance(other, Schedule) and torch.equal(self.alpha_bar, other.alpha_bar)

    __hash__ = None

    def __repr__(self):
        return f"a Schedule with T = {self.T}"


SIX = Given.from_alpha_bar(noising.ALPHA_BAR)


def steps(_):
    """What a step of DDPM is asked: (schedule, xt, x0, t, s), the last one among them."""
    torch.manual_seed(1)
    xt, x0 = torch.rand(2, 1, 1, 2, 3).mul(200).round().div(100) - 1
    return [(SIX, xt, x0, t, s) for t, s in ((5, 3), (6, 5), (2, 0), (1, 0))]


def with_noise(std):
    """A DDPM step whose noise has the standard deviation std(a_t, a_s, alpha)."""
    def step(schedule, xt, x0, t, s):
        a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
        alpha = a_t / a_s
        mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
        return mean + std(a_t, a_s, alpha) * torch.randn_like(xt)
    return step


posterior = lambda a_t, a_s, alpha: (1 - a_s) / (1 - a_t) * (1 - alpha)
WRONG_STEPS = {
    "posterior variance": (broken_step, "The noise is multiplied by a variance. What scales noise is its standard "
                                        "deviation."),
    "noise at the end": (broken_end, "The step that arrives at s = 0 still adds noise, and nobody takes it off again."),
    "first ones too": (lambda schedule, xt, x0, t, s: with_noise(lambda a_t, a_s, alpha: (1 - alpha) ** 0.5 * (s > 0) *
                                                                 (t < schedule.T))(schedule, xt, x0, t, s),
                       "The end is right now, but some other step has lost its noise."),
    "where it begins": (lambda schedule, xt, x0, t, s: with_noise(lambda a_t, a_s, alpha: (1 - alpha) ** 0.5 *
                                                                  (t > 1))(schedule, xt, x0, t, s),
                        "The step from 1 to 0 adds no noise now. But with steps left out, the last one begins at a "
                        "larger t: ask where a step arrives, not where it begins."),
    "no noise": (with_noise(lambda *a: 0), "Now no step adds any noise. DDPM needs it everywhere but at the very end."),
    "twice rooted": (with_noise(lambda *a: posterior(*a) ** 0.25), "One root too many."),
    "all the noise": (with_noise(lambda a_t, a_s, alpha: (1 - a_s) ** 0.5),
                      "This is all the noise that x_s contains. Most of it comes along with x_t already."),
    "the variance, but for the end": (lambda schedule, xt, x0, t, s: with_noise(lambda a_t, a_s, alpha: (1 - alpha) *
                                                                                (s > 0))(schedule, xt, x0, t, s),
                                      "At the end it is right, but elsewhere the noise is multiplied by a variance."),
    "the guess": (lambda schedule, xt, x0, t, s: x0 + 0 * torch.randn_like(xt),
                  "This returns the guess: one jump to the end. Go only as far as s."),
}
HO = (lambda schedule, xt, x0, t, s: with_noise(lambda a_t, a_s, alpha: (1 - alpha) ** 0.5 * (s > 0))(
    schedule, xt, x0, t, s), "Right: the noise of the forward step, and none in the last, as Ho et al. 2020 have it in "
    "algorithm 2. The posterior's own standard deviation would vanish by itself.")


def wrong_steps(bug):
    """The table of wrong steps, the bug first."""
    return {"the bug": (WRONG_STEPS[bug][0], STILL + WRONG_STEPS[bug][1]), "as Ho": HO,
            **{name: wrong for name, wrong in WRONG_STEPS.items() if name != bug}}


mend("end", "Exhibit 3: grain", "The step of DDPM from t to s, without what it does too much. schedule has alpha_bar "
     "and at(t, x); xt, x0 are (B, C, H, W), t and s whole numbers.",
     truth=sound_step, inputs=steps, right=["as Ho"],
     mistakes=wrong_steps("noise at the end"))
mend("step", "Exhibit 5: always the same few", "The step of DDPM from t to s, with as much noise as it should have. "
     "schedule has alpha_bar and at(t, x); xt, x0 are (B, C, H, W), t and s whole numbers.",
     truth=sound_step, inputs=steps, right=["as Ho"],
     mistakes=wrong_steps("posterior variance"))

# ------------------------------------------------------------------------------------------------------- losses

SEEN = []                                                      # what the witness was asked
CROWD = torch.rand(256, 1, 2, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1


class Witness:
    """In a network's place: it remembers what it was asked."""

    def __call__(self, xt, t):
        SEEN.append((xt.detach().clone(), torch.as_tensor(t)))
        return 0.5 * xt - 0.1

    def __deepcopy__(self, memo):
        return self


COMPLAINTS = ["right", "the bug", "not asked once", "clean input", "one time", "time out of range", "last time missing",
              "not the noise of t", "noise as target", "noisy as target", "per picture", "another number"]


def testify(bug):
    """read for a loss: the place of a complaint in COMPLAINTS, 0 for none; bug: the complaint that is the exhibit's."""
    def complaint(value):
        asked, SEEN[:] = SEEN[:], []
        if len(asked) != 1:
            return "not asked once"
        (xt, t), T = asked[0], SIX.T
        if xt.shape == CROWD.shape and torch.allclose(xt, CROWD, atol=1e-4):
            return "clean input"
        if t.numel() != len(CROWD) or len(t.unique()) == 1:
            return "one time"
        if t.min() < 1 or t.max() > T:
            return "time out of range"
        if t.max() < T:
            return "last time missing"
        a = SIX.at(t.flatten(), CROWD)
        eps = (xt - a.sqrt() * CROWD) / (1 - a).sqrt()
        each = torch.stack([eps[t.flatten() == k].std() for k in range(1, T + 1)])
        if (each - 1).abs().max() > 0.3 or (eps * CROWD).mean().abs() > 0.1:
            return "not the noise of t"
        if not torch.is_tensor(value) or value.numel() != 1:
            return "per picture"
        out = 0.5 * xt - 0.1
        for name, target in (("right", CROWD), ("noise as target", eps), ("noisy as target", xt)):
            if torch.allclose(value.detach().float().flatten(), F.mse_loss(out, target).flatten(), rtol=1e-3):
                return name
        return "another number"

    def read(value):
        found = complaint(value)
        return torch.tensor(COMPLAINTS.index("the bug" if found == bug else found))
    return read


def loss_of(times=lambda T, n: torch.randint(1, T + 1, (n,)), noisy=lambda schedule, x0, t: schedule.q_sample(x0, t),
            target=lambda schedule, xt, x0, t: x0, score=F.mse_loss):
    """A wrong loss, by its parts."""
    def loss(model, schedule, x0):
        t = times(schedule.T, len(x0))
        xt = noisy(schedule, x0, t)
        return score(model(xt, t), target(schedule, xt, x0, t))
    return loss


def asked_twice(model, schedule, x0):
    """A wrong loss: the batch goes through the network twice."""
    return sound_loss(model, schedule, x0) + sound_loss(model, schedule, x0)


WRONG_LOSSES = {
    "clean input": (broken_loss, "The network is shown the clean picture, and has only to hand it back."),
    "one time": (broken_times, "All pictures of the batch share one t. Draw as many as there are pictures."),
    "not asked once": (asked_twice, "Ask the network once for a batch, no more and no less."),
    "time out of range": (loss_of(times=lambda T, n: torch.randint(0, T + 1, (n,))),
                          "Some of the times that the network is told lie outside of 1 … T. At 0 there is nothing "
                          "to be guessed."),
    "last time missing": (loss_of(times=lambda T, n: torch.randint(1, T, (n,))),
                          "Your times never reach T, and there sampling begins. The upper end of randint is left out."),
    "not the noise of t": (loss_of(noisy=lambda schedule, x0, t: x0 + schedule.q_sample(0 * x0, t)),
                           "What the network is shown does not look like x_t at the times that it is told. Draw the "
                           "times at random, give the same ones to q_sample and to the network, and each pixel noise "
                           "of its own."),
    "noise as target": (loss_of(target=lambda schedule, xt, x0, t: schedule.predict_eps(xt, t, x0)),
                        "You compare the guess with the noise. This network guesses the picture."),
    "noisy as target": (loss_of(target=lambda schedule, xt, x0, t: xt),
                        "You compare the guess with the noisy picture, which the network has before its eyes."),
    "per picture": (loss_of(score=lambda guess, x0: (guess - x0).square().mean((1, 2, 3))),
                    "Return a single number for the whole batch, and leave it in a tensor: training goes downhill on "
                    "it."),
    "another number": (loss_of(score=F.l1_loss), "What is shown to the network is right, but the number is not the "
                       "mean of the squared errors."),
}


def wrong_losses(bug):
    """The table of wrong losses, the bug first."""
    return {"the bug": (WRONG_LOSSES[bug][0], STILL + WRONG_LOSSES[bug][1]),
            **{name: wrong for name, wrong in WRONG_LOSSES.items() if name != bug}}


TASK = ("The mean squared error of the picture that model(xt, t) guesses, one number in a tensor. x0 is (B, C, H, W), "
        "schedule has T and q_sample; the noise and the times you draw yourself.")
mend("loss", "Exhibit 4: the best loss of all", TASK, truth=sound_loss, read=testify("clean input"),
     inputs=lambda _: [(Witness(), SIX, CROWD)], mistakes=wrong_losses("clean input"))
EMBEDDING = EXERCISES["time_embedding"]
mend("embedding", "Exhibit 6: a healthy sheet", "The times t (B,) as rows (B, dim) of cosines and sines: the same t, "
     "the same row.", truth=lambda t, dim: time_embedding(t, dim), inputs=lambda _: EMBEDDING.prepared()[0],
     mistakes={"the bug": (broken_embedding, STILL + "The waves run over the place in the batch. Where is t?"),
               **{name: wrong for name, wrong in EMBEDDING.mistakes.items() if name != "batch"}})
mend("times", "Exhibit 7: a nervous curve", TASK, truth=sound_loss, read=testify("one time"),
     inputs=lambda _: [(Witness(), SIX, CROWD)], mistakes=wrong_losses("one time"))

# ------------------------------------------------------------------------------------------------------- splits

SPLITS = ["right", "the bug", "swapped", "wrong size", "twice", "lost"]


def divided(answer):
    """The place in SPLITS of what is wrong with (training pictures, held-out pictures), 0 for nothing."""
    train, held = ([round(v) for v in part.flatten().tolist()] for part in answer)
    if len(set(train)) < len(train) or len(set(held)) < len(held):
        return torch.tensor(SPLITS.index("twice"))
    if set(train) & set(held):
        return torch.tensor(SPLITS.index("the bug"))
    if len(held) != 12:
        return torch.tensor(SPLITS.index("swapped" if len(train) == 12 else "wrong size"))
    return torch.tensor(SPLITS.index("right" if len(train) == 48 else "lost"))


def cut(part):
    """A split from a function of (shuffled pictures, held)."""
    return lambda pictures, held: part(pictures[torch.randperm(len(pictures))], held)


mend("split", "Exhibit 8: top marks", "Of the pictures (N, C, H, W) held are kept back, the rest is for training; "
     "return (training pictures, held-out pictures).", truth=cut(lambda x, held: (x[held:], x[:held])), read=divided,
     inputs=lambda _: [(torch.arange(60.0).reshape(60, 1, 1, 1), 12)],
     mistakes={
         "the bug": (broken_split, STILL + "Some pictures are in both sets: the two are not cut from one and the same "
                     "order, or not at one and the same place."),
         "swapped": (cut(lambda x, held: (x[:held], x[held:])), "The two sets have changed places: first the training "
                     "pictures, then those held out."),
         "wrong size": (cut(lambda x, held: (x[held // 2:], x[:held // 2])), "No picture is in both sets now, but held "
                        "says how many are to be kept back."),
         "twice": (lambda pictures, held: (pictures[held:][torch.randint(48, (48,))], pictures[:held]),
                   "Some pictures occur twice in one set. A permutation takes each once."),
         "lost": (cut(lambda x, held: (x[2 * held:], x[:held])), "Some pictures are in neither set."),
     })
