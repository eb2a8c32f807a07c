"""What is wrong with a diffusion model: diagnose(model, images, …) looks for the usual faults and says what it found.

    check.diagnose(model, images, schedule, "v")               # the least; more arguments, more questions

The answer is a table of words, the same on every machine; what was measured stands in .figure() and in .curve.
"""
import copy
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape

import torch
import torch.nn.functional as F

from exercises.result import LOOKS
from exercises.sandbox import unchanged
from helpers.metrics import closeness

SAYS = {True: "fine", False: "look here", None: "not asked"}
TIMES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)               # where the loss is measured, in parts of T
STEADY = 2.0                                                             # batches may vary so much more than that


@dataclass(frozen=True)
class Row:
    """One question: .name, .ok (True, False, or None: not asked), .found, .expected, and where to .look."""
    name: str
    ok: bool | None
    found: str
    expected: str = ""
    look: str = ""


@dataclass
class Diagnosis:
    """What diagnose found: .rows, .wrong (the names of those that are not fine), .curve (the loss by t and its band).

    Iterating gives the rows; diagnosis["loss at each t"] is the row of that name, and `in` asks whether there is one.
    curve: {"t", "loss", "low", "high"}, four lists of the same length, empty where the loss could not be measured
    """
    rows: list = field(default_factory=list)
    curve: dict = field(default_factory=lambda: {name: [] for name in ("t", "loss", "low", "high")})

    @property
    def wrong(self):
        """The names of what is wrong, a list."""
        return [row.name for row in self.rows if row.ok is False]

    def __iter__(self):
        return iter(self.rows)

    def __contains__(self, name):
        return name in [row.name for row in self.rows]

    def __getitem__(self, name):
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"No question is called {name!r}; there are {', '.join(row.name for row in self.rows)}.")

    def __repr__(self):
        lines = [f"{row.name}: {SAYS[row.ok]}. Found: {row.found}." + f" Expected: {row.expected}." * (row.ok is False)
                 + f" {row.look}" * (row.ok is False) for row in self.rows]
        return "\n".join([self.summary(), *lines])

    def summary(self):
        """The whole in one sentence."""
        asked = sum(row.ok is not None for row in self.rows)
        return (f"Diagnosis: {asked} questions asked, " + (f"{len(self.wrong)} of them to look at: "
                f"{', '.join(self.wrong)}." if self.wrong else "nothing found."))

    def _repr_html_(self):
        cell = 'style="text-align: left; vertical-align: top; padding: 0.2em 0.6em"'
        lines = []
        for row in self.rows:
            sign, colour = LOOKS[row.ok]
            words = [row.found, row.expected, row.look if row.ok is False else ""]
            lines.append(f'<tr><th scope="row" {cell}>{escape(row.name)}</th><td {cell}><span aria-hidden="true" '
                         f'style="color: {colour}">{sign}</span> <strong>{SAYS[row.ok]}</strong></td>' +
                         "".join(f"<td {cell}>{escape(word)}</td>" for word in words) + "</tr>")
        heads = "".join(f'<th scope="col" {cell}>{head}</th>'
                        for head in ("question", "verdict", "found", "expected", "where to look"))
        return (f'<div role="status"><table><caption style="text-align: left">{escape(self.summary())}</caption>'
                f'<thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>')

    def figure(self, axes=None):
        """The loss by t in its band: a plot.Png, or drawn into axes."""
        from matplotlib.figure import Figure

        from helpers import plot
        figure = None
        if axes is None:
            figure = Figure(figsize=(5, 2.8), layout="constrained")
            axes = figure.subplots()
        curve = self.curve
        axes.fill_between(curve["t"], [max(x, 1e-4) for x in curve["low"]], [max(x, 1e-4) for x in curve["high"]],
                          color="#009E73", alpha=0.2, lw=0, label="the band")
        axes.plot(curve["t"], curve["loss"], "o-", color="#D55E00", ms=4, label="this network")
        axes.set(xlabel="t", ylabel="loss", yscale="log", title="loss by t")
        plot.finish(axes, legend=True)
        if figure is not None:
            return plot.Png(figure, "The loss of the network by t, and the band it should lie in.", colours=256)


@contextmanager
def in_eval_mode(*networks):
    """Random states are as before when it is left, and so are the networks' modes; inside, they are in eval mode."""
    modules = [m for net in networks if isinstance(net, torch.nn.Module) for m in net.modules()]
    modes = [m.training for m in modules]
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    state = torch.cuda.get_rng_state_all() if device is not None and device.type == "cuda" else None
    try:
        for net in networks:
            if isinstance(net, torch.nn.Module):
                net.eval()
        with unchanged():
            yield
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode
        if state is not None:
            torch.cuda.set_rng_state_all(state)


def some(x, n):
    """At most n of x, evenly spaced."""
    return x[torch.linspace(0, len(x) - 1, min(n, len(x))).round().long()]


def handful(images):
    """As many images as can be compared with each other in a moment."""
    return some(images, min(512, max(32, 2**20 // images[0].numel())))


def per_target(error, a, target):
    """A mean squared error of the estimated image, as that of what the network predicts; a: alpha_bar, (K,), or number.

    The three differ by a factor: x_t = sqrt(a) x0 + sqrt(1 - a) eps ties the errors together (Salimans & Ho 2022).
    """
    return error * {"x0": 1 + 0 * a, "eps": a / (1 - a), "v": 1 / (1 - a)}[target]


def ceiling(images, a, target):
    """The loss of the best filter at each alpha_bar a (K,): mean squared error of Wiener's, (K,).

    It is the best affine estimate that treats every place alike (up to the edges): at each frequency of power p it
    keeps what lies above the noise, and errs by p (1 - a) / (a p + 1 - a) (Wiener 1949; here for x_t).
    """
    x = images.double()
    spectrum = torch.fft.fft2(x - x.mean(0), norm="ortho").abs().square().sum(0) / (len(x) - 1)
    noise = (1 - a).reshape(-1, 1)
    power = spectrum.flatten()
    return per_target((power * noise / (a.reshape(-1, 1) * power + noise)).mean(1), a, target)


def floor(images, a, target, generator):
    """The least loss on these images that any estimate from x_t and t can have, at each alpha_bar a (K,): (K,).

    It is that of the exact posterior mean when x_0 is one of them, all equally likely: a denoiser that has memorised
    every image and sees only x_t can do no better on them.  Estimated with one draw of noise for each image.
    """
    x = images.flatten(1).double()
    losses = []
    for weight in a.tolist():
        eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        xt = weight**0.5 * x + (1 - weight) ** 0.5 * eps
        likely = (-torch.cdist(xt, weight**0.5 * x).square() / (2 * (1 - weight))).softmax(1)
        losses.append((likely @ x - x).square().mean())
    return per_target(torch.stack(losses), a, target)


class Subject:
    """A network, and how it is called: on its own device, in pieces that fit a cache, without gradients."""

    def __init__(self, model, schedule, target):
        self.model = model
        self.schedule = schedule
        self.target = target
        first = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
        self.device = first.device if first is not None else torch.device("cpu")

    def __call__(self, xt, t):
        with torch.no_grad():
            parts = [self.model(x.to(self.device), k.to(self.device)) for x, k in zip(xt.split(32), t.split(32))]
        out = torch.cat(parts).float().cpu()
        if out.shape != xt.shape:
            raise ValueError(f"images of shape {tuple(xt.shape)} gave an answer of shape {tuple(out.shape)}")
        return out

    def wanted(self, x0, t, eps):
        """What the network should predict for images x0 (B, C, H, W) with noise eps at times t (B,)."""
        return {"x0": x0, "eps": eps, "v": self.schedule.velocity(x0, t, eps)}[self.target]

    def loss(self, x0, t, seed=0):
        """Mean squared error at one t (a whole number), on noisy images made here."""
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed + t))
        t = torch.full((len(x0),), t)
        return (self(self.schedule.q_sample(x0, t, eps), t) - self.wanted(x0, t, eps)).square().mean().item()

# ------------------------------------------------------------------------------------------- the questions, one by one


def see_range(images, **_):
    """Whether the images lie in [-1, 1], on both sides of 0."""
    name = "range of the images"
    expected = "from -1, black, to 1, white"
    low = images.min().item()
    high = images.max().item()
    if not bool(torch.isfinite(images).all()):
        return Row(name, False, "numbers that are not finite", expected, "Look at how the files were read.")
    if low >= -1.01 and high <= 1.01 and low < -0.2 and high > 0.2:
        return Row(name, True, "inside [-1, 1], on both sides of 0", expected)
    found = ("from 0 up to about 1" if -0.01 <= low and 0.2 < high <= 1.01 else "values beyond 1 or below -1"
             if low < -1.01 or high > 1.01 else "only a part of [-1, 1]")
    return Row(name, False, found, expected, "Look at the line that turns files into tensors. Noise, clipping and "
                                             "sampler all assume that images are centred on 0.")


def see_loss(subject, images, result, seed, **_):
    """Whether the loss at each t lies in its band: see ceiling() and floor()."""
    name = "loss at each t"
    expected = "below what the best filter reaches (Wiener's), with some room"
    if len(images) < 2:
        return Row(name, None, "two images or more are needed for the band", expected)
    schedule = subject.schedule
    target = subject.target
    times = sorted({max(1, round(share * schedule.T)) for share in TIMES})
    a = schedule.alpha_bar[times]
    few = handful(images)
    silent = per_target(few.double().var(0).mean(), a, target) if target != "eps" else torch.ones_like(a)
    high = 1.25 * ceiling(few, a, target) + 0.03 * silent
    low = floor(few, a, target, torch.Generator().manual_seed(seed))
    asked = some(images, min(256, max(8, 65536 // images[0].numel())))
    found = torch.tensor([subject.loss(asked, t, seed) for t in times], dtype=torch.float64)
    result.curve.update(t=times, loss=found.tolist(), low=low.tolist(), high=high.tolist())
    if not bool(torch.isfinite(found).all()):
        return Row(name, False, "a loss that is not finite", expected, "Look for a division by 0 or a rate too large.")
    over = found > high
    if not over.any():
        return Row(name, True, "inside the band at every t", expected)
    where = "at every t" if over.all() else "at some t"
    return Row(name, False, f"above the band {where}", expected,
               "The network does worse than a filter without any learning. Look at what it was given in training, at "
               "its target and at the schedule: are they those that were handed over here?")


def see_time(subject, images, seed, **_):
    """Whether the answer changes with t."""
    name = "depends on t"
    expected = "another t, another answer"
    T = subject.schedule.T
    x0 = some(images, 8)
    xt = subject.schedule.q_sample(x0, T // 2, torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)))
    answers = [subject(xt, torch.full((len(xt),), max(1, T * k // 10))) for k in (1, 5, 9)]
    scale = answers[1].square().mean().sqrt()
    apart = max((x - answers[1]).square().mean().sqrt() for x in (answers[0], answers[2]))
    if apart > 0.01 * scale:
        return Row(name, True, "the answer changes with t", expected)
    return Row(name, False, "the same answer at every t", expected,
               "Look at the time embedding, and at where it enters the network.")


def see_batch(subject, images, seed, **_):
    """Whether an image gets the same answer alone and in a batch."""
    name = "independent of the batch"
    expected = "alone or in a batch, the same answer"
    T = subject.schedule.T
    x0 = some(images, 8)
    if len(x0) < 2:
        return Row(name, None, "two images or more are needed", expected)
    t = torch.linspace(max(1, T // 10), T, len(x0)).long()
    xt = subject.schedule.q_sample(x0, t, torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)))
    together = subject(xt, t)[-1:]
    alone = subject(xt[-1:], t[-1:])
    if (together - alone).abs().max() <= 1e-3 * (1 + alone.abs().max()):
        return Row(name, True, "the same answer alone and in a batch", expected)
    return Row(name, False, "the answer depends on the place in the batch, or on the other images", expected,
               "Something mixes the images of a batch: a wrong axis, a reshape, a norm over the batch.")


def see_one_batch(subject, images, seed, steps=40, **_):
    """Whether a copy of the network can overfit one batch."""
    name = "overfits one batch"
    expected = f"half the loss, or less, after {steps} steps on one batch"
    model = subject.model
    schedule = subject.schedule
    if not isinstance(model, torch.nn.Module):
        return Row(name, None, "only a network can be trained, and this is another function", expected)
    learner = copy.deepcopy(model).train()
    x0 = some(images, 8 if images[0].numel() <= 2048 else 4)
    t = torch.linspace(max(1, schedule.T // 10), schedule.T * 9 // 10, len(x0)).round().long()
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    xt, t, wanted = (v.to(subject.device) for v in (schedule.q_sample(x0, t, eps), t, subject.wanted(x0, t, eps)))
    losses = []
    weights = [p for p in learner.parameters() if p.requires_grad]
    look = ("No gradient reaches the weights, or too few of them: look for detach(), no_grad, frozen weights, an "
            "optimiser that holds those of another network.")
    with torch.enable_grad():
        optimizer = torch.optim.Adam(weights, lr=1e-3) if weights else None
        for _ in range(steps + 1):
            loss = F.mse_loss(learner(xt, t).float(), wanted)
            losses.append(loss.item())
            if optimizer is None or not loss.requires_grad:
                return Row(name, False, "nothing that could learn", expected, look)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if min(losses[-5:]) <= 0.5 * losses[0]:
        return Row(name, True, "the loss falls by half, or more", expected)
    return Row(name, False, "the loss of one batch hardly falls", expected, look)


def see_average(subject, images, average, seed, **_):
    """Whether the running average is about as good as the raw weights."""
    name = "average and raw weights"
    expected = "the running average is about as good as the raw weights, or better"
    if average is None:
        return Row(name, None, "hand over average=", expected)
    other = Subject(getattr(average, "module", average), subject.schedule, subject.target)
    times = [max(1, round(share * subject.schedule.T)) for share in TIMES[2::2]]
    few = some(images, min(128, max(8, 65536 // images[0].numel())))
    raw, smooth = (sum(who.loss(few, t, seed) for t in times) for who in (subject, other))
    if smooth <= 1.5 * raw:
        return Row(name, True, "about as good, or better", expected)
    return Row(name, False, "the average is much worse than the raw weights", expected,
               "Is it updated after every step? Does it remember longer than the training was?")


def draws(loss, model, images, size, times, generator):
    """What a learner's loss gives for so many batches of that size: (times,)."""
    first = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    images = images if first is None else images.to(first.device)
    values = []
    with torch.no_grad():
        for _ in range(times):
            batch = images[torch.randint(len(images), (size,), generator=generator).to(images.device)]
            values.append(float(loss(model, batch)))
    return torch.tensor(values, dtype=torch.float64)


def see_training(subject, images, loss, seed, **_):
    """Whether the author's own loss is no lower than any denoiser can get."""
    name = "loss in training"
    expected = "no lower than any denoiser can get"
    if loss is None:
        return Row(name, None, "hand over loss=, as fit takes it", expected)
    torch.manual_seed(seed)
    found = draws(loss, subject.model, images, 16, 16, torch.Generator().manual_seed(seed)).mean()
    a = subject.schedule.alpha_bar[torch.linspace(1, subject.schedule.T, 24).round().long()]
    least = floor(handful(images), a, subject.target, torch.Generator().manual_seed(seed)).mean()
    if not bool(torch.isfinite(found)):
        return Row(name, False, "a loss that is not finite", expected, "Look for a division by 0 or a rate too large.")
    if found >= least / 2:
        return Row(name, True, "no lower than is possible", expected)
    return Row(name, False, "too good to be true", expected,
               "A denoiser that has memorised all these images and sees x_t alone does worse. So the network sees more "
               "than x_t: what does the loss hand to it?")


def see_steady(subject, images, loss, seed, **_):
    """Whether the loss of larger batches varies less, as it does where each image has its own time."""
    name = "steady across batches"
    expected = "the loss of sixteen images varies a quarter as much as that of one"
    if loss is None:
        return Row(name, None, "hand over loss=, as fit takes it", expected)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    one, many = (draws(loss, subject.model, images, size, times, generator).std()
                 for size, times in ((1, 128), (16, 48)))
    if 4 * many <= STEADY * one:
        return Row(name, True, "larger batches vary less", expected)
    return Row(name, False, "larger batches vary hardly less", expected,
               "The images of a batch have something in common that they should not. What is drawn once, and should be "
               "drawn for each?")


def fine_texture(x):
    """The standard deviation of the mixed second difference of neighbouring pixels."""
    return (x[..., 1:, 1:] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., :-1, :-1]).std()


def see_samples(images, samples, **_):
    """Whether samples have the contrast, fine texture, variety and range of the images: several rows."""
    questions = {                                              # measure; what is too little and too much, in parts
        "samples: contrast": (lambda x: x.std(), 0.6, 1.4,
                              "Is the network that made them trained, and are images and samples of the same range?"),
        "samples: fine texture": (fine_texture, 0.5, 1.4, "Too much: noise is left. Too little: all is smooth, so is "
                                  "there too little noise on the way, or a network that knows nothing?"),
        "samples: variety": (lambda x: x.std(0).mean(), 0.55, 1.4, "Do they resemble each other too much? A sampler "
                             "that draws too little noise drifts to a few typical images.")}
    first = "samples: range"
    expected = ("inside [-1, 1] to the last pixel", "about as in the images")
    if samples is None:
        return [Row(name, None, "hand over samples=", expected[name != first]) for name in (first, *questions)]
    samples = samples.detach().cpu().float()
    few = some(images, 512)
    if samples.ndim != 4 or len(samples) < 2 or not bool(torch.isfinite(samples).all()):
        return [Row(first, False, "not two or more images (N, C, H, W) of finite numbers", expected[0])]
    inside = bool((samples.abs() > 1.01).float().mean() < 0.01)
    rows = [Row(first, inside, "inside" if inside else "many pixels beyond -1 or 1", expected[0],
                "A last step that ends on a clipped estimate cannot leave the range. What is added after it?")]
    for name, (measure, low, high, look) in questions.items():
        ratio = (measure(samples.clamp(-1, 1)) / measure(few)).item()
        found = "too little" if ratio < low else "too much" if ratio > high else expected[1]
        rows.append(Row(name, low <= ratio <= high, found, expected[1], look))
    return rows


def see_held_out(images, held_out, **_):
    """Whether held-out images are among the training images."""
    name = "held-out images"
    expected = "none of them among the training images"
    if held_out is None:
        return Row(name, None, "hand over held_out=", expected)
    near, _ = closeness(some(held_out.detach().cpu().float(), 256), images)
    share = (near < 0.2).float().mean()
    if share <= 0.01:
        return Row(name, True, "no image is in both sets", expected)
    found = "most of them are training images" if share > 0.5 else "some are training images"
    return Row(name, False, found, expected, "Look at the split: by what is it made, and is it made once?")


QUESTIONS = {"range of the images": see_range, "loss at each t": see_loss, "depends on t": see_time,
             "independent of the batch": see_batch, "overfits one batch": see_one_batch,
             "average and raw weights": see_average, "loss in training": see_training,
             "steady across batches": see_steady, "samples": see_samples, "held-out images": see_held_out}


def diagnose(model, images, schedule=None, target="eps", *, average=None, loss=None, samples=None, held_out=None,
             seed=0):
    """Ask about the usual faults of a diffusion model: a Diagnosis, shown as a table; it never raises.

    model: a network or any callable (x_t (B, C, H, W), t (B,)) -> what it predicts;  target: "eps", "v" or "x0"
    images: what it was trained on, as it was given them, (N, C, H, W);  schedule: its Schedule, or alpha_bar (T + 1,)
    average: its running average;  loss: (model, batch) -> scalar, as fit takes it;  samples: what it made (M, C, H, W)
    held_out: held-out images (K, C, H, W), not in the training set
    What is not handed over is not asked about.  Random states, weights and modes are afterwards as they were before.
    The band of the loss at t: above, 1.25 times that of the best linear filter plus 3 % of that of a constant
    prediction; below, drawn only, that of a denoiser that has memorised all images (see ceiling and floor).
    """
    result = Diagnosis()
    problem = handed_over(images, schedule, target)
    if problem:
        result.rows.append(Row("what was handed over", False, problem, "see help(check.diagnose)", ""))
        return result
    with in_eval_mode(model, average):
        images = images.detach().cpu().float()
        try:
            subject = Subject(model, schedule if hasattr(schedule, "q_sample") else known(schedule), target)
        except Exception as error:
            result.rows.append(Row("what was handed over", False, says(error), "see help(check.diagnose)", ""))
            return result
        given = dict(subject=subject, images=images, result=result, average=average, loss=loss, samples=samples,
                     held_out=held_out, seed=seed)
        for name, question in QUESTIONS.items():
            try:
                rows = question(**given)
            except Exception as error:                         # a strange model is a finding, and no reason to stop
                rows = Row(name, False, f"it could not be asked: {says(error)}", "an answer",
                           "Try the same by hand: noisy images and their times in, something of the same shape out.")
            result.rows += rows if isinstance(rows, list) else [rows]
    return result


def known(alpha_bar):
    """The Schedule that has this alpha_bar (T + 1,)."""
    from exercises.common import known
    return known(torch.as_tensor(alpha_bar))


def says(error):
    """An error in one line."""
    return f"{type(error).__name__}: {str(error)[:160]}".split("\n")[0].rstrip(".: ")


def handed_over(images, schedule, target):
    """What is wrong with the arguments, in words, or nothing."""
    if not torch.is_tensor(images) or images.ndim != 4 or images.numel() == 0:
        shape = f"shape {tuple(images.shape)}" if torch.is_tensor(images) else type(images).__name__
        return f"images must be a tensor (N, C, H, W), and this is {shape}"
    if schedule is None:
        return "a schedule is needed: the one that it was trained with"
    return "" if target in ("eps", "v", "x0") else f"a network predicts eps, v or x0, not {target!r}"
