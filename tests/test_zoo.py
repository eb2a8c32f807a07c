"""The bug zoo: each broken model shows its own symptoms and no others, and each mend is told from its bug."""
import ast
import copy
import functools
import re
import sys

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import check, env, scenes
from helpers.check import diagnose, zoo
from helpers.check.diagnose import Row, ceiling, floor
from helpers.check.engine import EXERCISES
from helpers.check.zoo import SCHEDULE, ZOO
from helpers.schedule import BETAS, Schedule, cosine_beta
from helpers.checkpoints import load_weights
from helpers.unet import UNet, time_embedding

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = env.ROOT / "notebooks" / "09_bug_zoo.ipynb"
MISTAKES = [(name, mistake) for name, mend in ZOO.items() for mistake in mend.mistakes]
exhibit = functools.cache(zoo.exhibit)
SYMPTOMS = {0: [], 1: ["range of the pictures"],
            2: ["average against raw", "samples: contrast", "samples: fine grain", "samples: variety"],
            3: ["samples: range"],
            4: ["loss at each t", "loss in training", "samples: fine grain", "samples: variety"],
            5: ["samples: variety"], 6: ["loss at each t", "knows the time", "minds its own picture"],
            7: ["steady from batch to batch"], 8: ["held-out pictures"]}

# ------------------------------------------------------------------------------------------------- the broken models


@pytest.mark.parametrize("number", SYMPTOMS)
def test_each_bug_lights_its_own_rows(number):
    found = exhibit(number).found
    assert found.wrong == SYMPTOMS[number], found
    assert [row.name for row in found.rows if row.ok is None] == ["held-out pictures"] * (number != 8)


def test_what_the_page_says_of_the_exhibits():
    healthy, proud, nervous, leaky = (exhibit(n) for n in (0, 4, 7, 8))
    assert sum(proud.losses[-100:]) < sum(healthy.losses[-100:]) / 20
    assert torch.tensor(nervous.losses[-150:]).std() > 2.5 * torch.tensor(healthy.losses[-150:]).std()
    lessons = {tuple(x.flatten().tolist()) for x in leaky.pictures}
    assert sum(tuple(x.flatten().tolist()) in lessons for x in leaky.held_out) > 14
    assert torch.equal(exhibit(2).network.last.weight, healthy.network.last.weight), "raw, it is the healthy network"
    assert not torch.equal(exhibit(2).average.last.weight, healthy.average.last.weight)
    assert torch.equal(exhibit(3).network.last.weight, healthy.network.last.weight)


def test_the_same_noise_at_several_places():
    x = torch.randn(1, 1, 8, 8).expand(4, 1, 8, 8)
    t, networks = torch.full((4,), 150), (exhibit(0).network, exhibit(6).network)
    with torch.no_grad():
        apart = [(net(x, t) - net(x, t)[:1]).abs().max().item() for net in networks]
    assert apart[0] < 1e-5 and apart[1] > 0.05


def test_only_nine_exhibits():
    with pytest.raises(ValueError, match="1 to 8.*found 9"):
        zoo.exhibit(9)

# ------------------------------------------------------------------------------------------------------- diagnose


class Blind(nn.Module):
    """A strange network, by a function of (x, t)."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.scale = answer, nn.Parameter(torch.ones(1))

    def forward(self, x, t):
        return self.scale * self.answer(x, t)


@pytest.fixture(scope="module")
def moons():
    return scenes.craters(32, 32, 9).images


def shipped(name):
    network, about = load_weights(env.WEIGHTS / f"{name}.safetensors", UNet)
    return network, Schedule(BETAS[about["schedule"]](about["T"])), about["target"]


def test_a_shipped_network_is_fine_and_untouched(moons):
    network, schedule, target = shipped("few8000")
    network.train()
    network.middle.eval()                                      # mixed modes have to come back as they were
    modes, weights = [m.training for m in network.modules()], copy.deepcopy(network.state_dict())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    found = diagnose(network, moons, schedule, target)
    assert found.wrong == [] and sum(row.ok is True for row in found.rows) == 5, found
    assert all(low < loss < high for low, loss, high in zip(*(found.curve[k] for k in ("low", "loss", "high"))))
    assert torch.equal(torch.get_rng_state(), state) and [m.training for m in network.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), network.state_dict().values()))
    assert all(p.grad is None for p in network.parameters())


def test_the_wrong_target_or_schedule_is_seen(moons):
    network, schedule, _ = shipped("few8000")
    assert "loss at each t" in diagnose(network, moons, schedule, "eps").wrong


GOOD = lambda: exhibit(0).network
TINY = zoo.prepare(zoo.digits())[:200]


@pytest.mark.parametrize(("answer", "rows"), [
    (lambda x, t: GOOD()(x, t).detach() + 0 * x, []),                                   # its own scale still learns
    (lambda x, t: GOOD()(x, t).mean(0, keepdim=True).expand_as(x), ["loss at each t", "minds its own picture"]),
    (lambda x, t: 0 * x, ["knows the time", "loss at each t"]),
    (lambda x, t: x, ["knows the time", "loss at each t"]),
    (lambda x, t: x / 0, ["loss at each t"]),
], ids=["detached but good", "mixes the batch", "silent", "says what it sees", "not finite"])
def test_strange_networks_are_seen(answer, rows):
    assert set(rows) <= set(diagnose(Blind(answer), TINY, SCHEDULE, "x0").wrong)


def test_weights_that_cannot_learn_are_seen():
    frozen = copy.deepcopy(GOOD()).requires_grad_(False)
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(GOOD())
        def forward(self, x, t):
            return self.inner(x, t).detach()
    for network in (frozen, Cut()):
        assert diagnose(network, TINY, SCHEDULE, "x0").wrong == ["one batch by heart"]


@pytest.mark.parametrize("model", [lambda x, t: 1 / 0, lambda x: x, lambda x, t: x[:, :, :4], lambda x, t: None, None,
                                   Blind(lambda x, t: x.reshape(3, 5))], ids=range(6))
def test_no_model_makes_it_raise(model):
    found = diagnose(model, TINY[:9], SCHEDULE, "x0", average=model, loss=lambda model, x: 1 / 0, samples=TINY[:1],
                     held_out=TINY[:0])
    assert "could not be asked" in repr(found) and len(found.wrong) > 4 and found._repr_html_()


@pytest.mark.parametrize(("given", "words"), [
    (("pictures", SCHEDULE), "must be a tensor"), ((TINY[0], SCHEDULE), "shape (1, 8, 8)"),
    ((TINY[:0], SCHEDULE), "must be a tensor"), ((TINY, None), "schedule is needed"),
    ((TINY, SCHEDULE, "noise"), "'noise'"),
    ((TINY, "cosine"), "Error")])
def test_wrong_arguments_are_told(given, words):
    found = diagnose(GOOD(), *given)
    assert found.wrong == ["what was handed over"] and words in repr(found)


def test_alpha_bar_will_do_for_a_schedule_and_a_closure_for_a_network():
    good = GOOD()                                              # trained before it is asked
    found = diagnose(lambda x, t: good(x, t), TINY, SCHEDULE.alpha_bar, "x0")
    assert found.wrong == [] and found["one batch by heart"].ok is None


def test_a_diagnosis_is_iterated_by_rows_and_asked_by_name():
    found = diagnose(GOOD(), "images", SCHEDULE)
    assert list(found) == found.rows and len(found.rows) == 1
    assert "what was handed over" in found and "samples" not in found
    with pytest.raises(KeyError, match="'samples'; there are what was handed over"):
        found["samples"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda x: x / 2 + 0.5, "from 0 up to about 1"), (lambda x: 127.5 * x + 127.5, "beyond 1"),
    (lambda x: x / 10, "only a part"), (lambda x: x / 0 * 0, "not finite"), (lambda x: 0.99 * x, "inside")])
def test_ranges_have_words(change, words):
    row = range_of(change(TINY))
    assert words in row.found and row.ok is (words == "inside")


def range_of(pictures):                                        # the function of the same name hides the module
    return sys.modules["helpers.check.diagnose"].see_range(pictures)


def test_the_table_says_the_same_in_words_colours_and_text():
    found = diagnose(Blind(lambda x, t: 0 * x), TINY, SCHEDULE, "x0")
    html, text = found._repr_html_(), repr(found)
    for row in found.rows:
        verdict = {True: "fine", False: "look here", None: "not asked"}[row.ok]
        assert f"{row.name}: {verdict}" in text and f">{verdict}</strong>" in html
        assert row.look in text if row.ok is False else True
    assert 'role="status"' in html and 'scope="row"' in html and 'aria-hidden="true"' in html and "#D55E00" in html
    assert "<strong style" not in html                          # pale colours are for signs, words are black
    assert not re.search(r"\d\.\d", text), "measured numbers differ from machine to machine"
    found.rows.append(Row("<b>", False, "<i>"))
    assert "<b>" not in found._repr_html_() and "&lt;i&gt;" in found._repr_html_()
    assert found.figure().png[:4] == b"\x89PNG"

# ------------------------------------------------------------------------------------------------------- the band


def test_the_ceiling_is_wieners():
    """For pictures whose spectrum is known, white ones, the best filter has a loss in closed form."""
    torch.manual_seed(0)
    white, a = 0.7 * torch.randn(4000, 1, 8, 8), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    power = 0.49
    assert torch.allclose(ceiling(white, a, "x0"), power * (1 - a) / (a * power + 1 - a), rtol=0.02)
    assert torch.allclose(ceiling(white, a, "eps"), power * a / (a * power + 1 - a), rtol=0.02)
    smooth = F.avg_pool2d(F.pad(white, (1, 1, 1, 1), "circular"), 3, 1)
    assert (ceiling(smooth, a, "x0") < smooth.var() * (1 - a) / (a * smooth.var() + 1 - a)).all()


def by_heart(pictures, schedule):
    """Who knows the pictures and sees only x_t: the exact mean of all that x_t may have come from."""
    flat = pictures.flatten(1).double()

    def guess(xt, t):
        a = schedule.alpha_bar[t][:, None]
        far = torch.cdist(xt.flatten(1).double()[:, None], (a.sqrt()[..., None] * flat[None])).squeeze(1).square()
        return ((-far / (2 * (1 - a))).softmax(1) @ flat).view_as(xt).float()
    return guess


def test_no_guess_beats_the_floor_and_memory_reaches_it():
    few, schedule = TINY[:40], Schedule(cosine_beta(100))
    many = few.repeat(20, 1, 1, 1)                             # twenty draws of noise for each
    t = torch.full((len(many),), 60)
    a, generator = schedule.alpha_bar[[60]], torch.Generator().manual_seed(0)
    low = floor(many, a, "x0", generator).item()
    eps = torch.randn(many.shape, generator=generator)
    best = F.mse_loss(by_heart(few, schedule)(schedule.q_sample(many, t, eps), t), many).item()
    assert best == pytest.approx(low, rel=0.2) and low < ceiling(few, a, "x0").item()
    assert F.mse_loss(GOOD()(schedule.q_sample(many, t, eps), 2 * t), many) > low / 1.25


@pytest.mark.parametrize("target", ["x0", "v", "eps"])
def test_the_band_holds_for_every_target(target):
    """Who knows all pictures lies in the band of each target, and a network that says nothing above it."""
    def asked(xt, t):
        x0 = by_heart(TINY, SCHEDULE)(xt, t)
        eps = SCHEDULE.predict_eps(xt, t, x0)
        return {"x0": x0, "eps": eps, "v": SCHEDULE.velocity(x0, t, eps)}[target]
    assert diagnose(asked, TINY, SCHEDULE, target)["loss at each t"].ok
    silent = diagnose(lambda xt, t: torch.zeros_like(xt), TINY, SCHEDULE, target)["loss at each t"]
    assert silent.ok is False and silent.found.startswith("above the band")

# ------------------------------------------------------------------------------------------------------- the mends


def in_place(average, model, decay):
    with torch.no_grad():
        for name, w in model.named_parameters():
            average.get_parameter(name).mul_(decay).add_(w, alpha=1 - decay)
    return average


def by_state(average, model, decay):
    new = model.state_dict()
    average.load_state_dict({k: decay * v + (1 - decay) * new[k] for k, v in average.state_dict().items()})
    return average


def by_hand(schedule, xt, x0, t, s):
    a = schedule.alpha_bar.float()
    alpha, z = a[t] / a[s], torch.randn(xt.shape)
    mean = (a[s] ** 0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a[s]) * xt) / (1 - a[t])
    return mean if s == 0 else mean + ((1 - a[s]) / (1 - a[t]) * (1 - alpha)) ** 0.5 * z


def as_ho(schedule, xt, x0, t, s):
    a_t, a_s = schedule.at(t, xt), schedule.at(s, xt)
    alpha = a_t / a_s
    mean = (a_s.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - a_s) * xt) / (1 - a_t)
    return mean + (1 - alpha).sqrt() * torch.randn_like(xt) if s > 0 else mean


def other_order(model, schedule, x0):
    eps, t = torch.randn_like(x0), 1 + torch.randint(schedule.T, (x0.shape[0],))
    a = schedule.alpha_bar.float()[t].reshape(-1, 1, 1, 1)
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - x0).pow(2).mean()


OTHERS = {"prepare": [lambda grey: 2 * (grey / 16) - 1, lambda grey: (grey - 8) / 8], "follow": [in_place, by_state],
          "end": [by_hand, as_ho], "step": [by_hand, as_ho], "loss": [other_order], "times": [other_order],
          "embedding": [lambda t, dim: time_embedding(t.clone(), dim)],
          "split": [lambda pictures, held: (pictures[held:], pictures[:held]),
                    lambda pictures, held: pictures.split([len(pictures) - held, held])]}


def test_there_are_eight_and_no_name_is_taken():
    assert list(ZOO) == ["prepare", "follow", "end", "step", "loss", "embedding", "times", "split"]
    assert not set(ZOO) & set(EXERCISES) and all(getattr(check, name) is mend for name, mend in ZOO.items())


@pytest.mark.parametrize("name", ZOO)
def test_right_mends_pass(name):
    for right in (ZOO[name].truth, *OTHERS[name]):
        assert ZOO[name](right).ok is True, ZOO[name](right)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_wrong_mend_gets_its_own_hint(name, mistake):
    mend = ZOO[name]
    result = mend(mend.mistakes[mistake][0])
    if mistake in mend.right:
        assert result.ok is True
    else:
        assert result.ok is False and result.mistake == mistake and mend.mistakes[mistake][1] in result.hint
        assert ("still the bug" in result.hint) is (mistake == "the bug")


BUGS = {"prepare": zoo.broken_prepare, "follow": zoo.broken_follow, "end": zoo.broken_end, "loss": zoo.broken_loss,
        "step": zoo.broken_step, "embedding": zoo.broken_embedding, "times": zoo.broken_times,
        "split": zoo.broken_split}


@pytest.mark.parametrize("name", ZOO)
def test_the_bug_pasted_back_is_still_the_bug(name):
    assert ZOO[name](BUGS[name]).mistake == "the bug"
    space = {}
    exec(ZOO[name].stub, space)
    assert ZOO[name](space[f"my_{name}"]).ok is None and "not done yet" in repr(ZOO[name](space[f"my_{name}"]))
    assert ZOO[name]().ok is None


@pytest.mark.parametrize("name", ZOO)
def test_anything_else_is_no_pass_and_no_error(name):
    for odd in (lambda *args: 1 / 0, lambda *args: "done", lambda *args: torch.zeros(3), lambda *args: args[0], 7):
        assert ZOO[name](odd).ok is False


def test_hints_are_sentences_and_differ():
    for name, mend in ZOO.items():
        hints = [hint for _, hint in mend.mistakes.values()]
        assert len(set(hints)) == len(hints) >= 5 and all(h[0].isupper() and h[-1] in ".?" for h in hints), name

# ------------------------------------------------------------------------------------------------------- the page


def test_the_page_shows_the_bugs_as_they_are():
    notebook = nbformat.read(PAGE, as_version=4)
    code = {node.name: ast.dump(node) for cell in notebook.cells if cell.cell_type == "code"
            for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)}
    source = ast.parse((env.ROOT / "helpers" / "check" / "zoo.py").read_text(encoding="utf8"))
    broken = {node.name: ast.dump(node) for node in source.body
              if isinstance(node, ast.FunctionDef) and node.name.startswith("broken_")}
    assert len(broken) == 8 and {name: code.get(name) for name in broken} == broken
    headings = [line.lstrip("# ") for cell in notebook.cells if cell.cell_type == "markdown"
                for line in cell.source.splitlines() if line.startswith("#")]
    assert sorted(mend.after for mend in ZOO.values()) == [h for h in headings if h.startswith("Exhibit")]
    exercises = [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])]
    assert len(exercises) == 8 and all("not done yet" in str(cell.outputs) for cell in exercises)
    assert sum("solution" in cell.metadata.get("tags", []) for cell in notebook.cells) == 8
