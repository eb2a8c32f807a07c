"""The benchmarks' logic: verdicts, ratios, the peers' conventions, what is written and read again; never a figure."""
import itertools
import json
import os
import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import ablation, bench, common, denoising, figures, peers, photographs, quality, speed
from benchmarks.common import Settings, at_least, at_most, unjudged, verdict
from helpers import env, scenes
from tools.models import train
from helpers.schedule import Schedule, cosine_beta
from helpers.checkpoints import load_weights
from helpers.train import fit
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
on_processor = pytest.mark.skipif(torch.accelerator.is_available(), reason="fit trains on the GPU here")
SMALL = Settings(real=24, samples=6, evaluations=3, duel_samples=7, duel_evaluations=4, chain_samples=12, sweep=(2,),
                 rounds=2, steps=2, step_seconds=0.05, images=3, tuning=2)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def measure():
    return common.Measure(24)


@pytest.fixture
def small_recipe(monkeypatch):
    """tools.models.train with a small network on small images, whatever else it is told."""
    options, small = train.options, "--widths 8 16 --batch 2 --examples 8 --size 16".split()
    monkeypatch.setattr(train, "options", lambda line=None: options([*(line or []), *small]))


def ticking(by):
    """A clock that goes on by so much whenever it is read: the same on busy cores as on free ones."""
    clock = itertools.count()
    return SimpleNamespace(monotonic=lambda: by * next(clock))


# ---- verdicts and exit code

@pytest.mark.parametrize("value, most, least", [(0.5, True, False), (1, True, True), (2, False, True),
                                                (None, False, False)])
def test_a_check_compares_with_its_threshold(value, most, least):
    assert at_most("x", value, 1)["passed"] is most and at_least("x", value, 1)["passed"] is least


def test_one_miss_is_a_miss_and_what_is_not_judged_is_none():
    good, bad = at_most("x", 0, 1), at_most("x", 2, 1)
    void = unjudged(bad, "no time")
    assert verdict([good, good]) is True and verdict([good, bad, void]) is False and verdict([good, void]) is True
    assert verdict([void]) is verdict([]) is None


@pytest.fixture
def three(monkeypatch):
    """Benchmarks that only say what they are told to: {name: passed}, an error where it is an Exception."""
    found = {}

    def benchmark(name):
        def run(settings, measure):
            if isinstance(found[name], Exception):
                raise found[name]
            why = {"why": "no ladder"} if found[name] is None else {}
            return dict(name=name, title=name, claim="claim", passed=found[name], checks=[], **why)
        return run

    monkeypatch.setattr(bench, "BENCHMARKS", {name: benchmark(name) for name in bench.BENCHMARKS})
    monkeypatch.setattr(bench, "MEASURED", ())
    monkeypatch.setattr(bench.psutil, "cpu_percent", lambda seconds: 0)
    return found


@pytest.mark.parametrize("found, code", [([True, None], 0), ([True, False, None], 1), ([None], 0)])
def test_exit_code(found, code, results, three, capsys):
    three |= dict(zip(bench.BENCHMARKS, found))
    assert bench.main(["--quick", *three, "--results", str(results)]) == code
    said = capsys.readouterr().out
    assert ("MISSED" in said) is (False in found) and ("not run: no ladder" in said) is (None in found)
    assert bench.main(["--quick", "--show", *three, "--results", str(results)]) == code


def test_one_that_breaks_is_a_miss_that_keeps_the_stored_result(results, three, capsys):
    three |= dict(use_of_the_machine=RuntimeError("out of paint"), growth=True)
    (results / "use_of_the_machine.quick.json").write_text("before")
    assert bench.main(["--quick", "use_of_the_machine", "growth", "--results", str(results)]) == 1
    assert "out of paint" in capsys.readouterr().err
    assert (results / "use_of_the_machine.quick.json").read_text() == "before"
    assert common.read("growth", quick=True)["passed"] is True


def test_what_is_not_run_leaves_the_stored_result(results, three):
    common.write(dict(name="growth", passed=True), Settings(), 0)
    three["growth"] = None
    bench.run_one("growth", Settings(), None)
    assert common.read("growth")["passed"] is True


def test_results_come_back_as_they_went(results):
    check = at_most("of x is y", 1 / 3, 0.5, interval=[0.1, 0.4])
    result = dict(name="growth", title="Growth", claim="c", passed=True, checks=[check], says=["A sentence."],
                  rows=[{"a": 1, "b": None, "c": [0.5, 12345.6]}, {"a": 12_000, "b": "x", "c": [1.0, 2.0]}])
    common.write(result, Settings(), busy=3.0)
    again = common.read("growth")
    assert {key: again[key] for key in result} == result and bench.report(again) == bench.report(result)
    assert again["versions"]["torch"].startswith(torch.__version__.split("+")[0]) and again["machine"]["cores"] >= 1
    assert again["settings"]["samples"] == 256 and again["date"] and again["quick"] is False
    assert common.read("growth", quick=True) is None and [p.name for p in results.iterdir()] == ["growth.json"]
    lines = "\n".join(bench.report(result))
    assert "0.333 [0.1, 0.4] of x is y (at most 0.5)  PASSED" in lines and "| 12,000 | x | [1, 2]" in lines
    with pytest.raises(ValueError):                            # no figure is a number that JSON does not have
        common.write(result | dict(passed=math.inf), Settings(), busy=0)


def test_the_page_holds_what_the_results_hold():
    """benchmarks/README.md quotes the stored results and nothing else."""
    page = (common.RESULTS.parent / "README.md").read_text(encoding="utf8")
    part = lambda name: page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->\n")[0]
    stored = bench.stored_results()
    assert part("results") == bench.summary(stored), "run: .venv/bin/python -m benchmarks.bench --show"
    assert part("ablation") == ablation.table(ablation.stored()), "run: .venv/bin/python -m benchmarks.ablation --table"
    rows = {entry["row"] for entry in ablation.stored()}
    assert rows - set(ablation.ROWS) == ablation.NO_LONGER and set(ablation.ROWS) - rows <= set(ablation.ADDED)
    assert all(f"`{name}`" in page for name in bench.BENCHMARKS) and "BAR=" not in page
    assert all((common.RESULTS / f"{name}.png").exists() for name in ("time_to_quality", "sampling", "denoising"))
    check = at_most("of x is y", 1 / 3, 0.5, interval=[0.1, 0.4])
    result = dict(name="growth", title="Growth", checks=[check], date="2026-11-25T10", claim="c",
                  machine=dict(processor="P", cores=2, gpu=None))
    line = bench.summary([result]).splitlines()[3]
    assert [word.strip() for word in line.split("|")[1:-1]] == [
        "Growth", "0.333", "[0.1, 0.4]", "of x is y", "at most 0.5", "PASSED", "2026-11-25, P, 2 cores"]


def test_a_place_in_the_page_is_filled_and_a_missing_one_is_said(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    common.fill("x", "new\n", page)
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="has no place for y"):
        common.fill("y", "new", page)
    assert "new" in page.read_text()


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    common.write_result(path, {"a": 1})
    names = []
    replace = common.Path.replace
    monkeypatch.setattr(common.Path, "replace", lambda part, to: (names.append(part.name), replace(part, to)))
    common.write_result(path, {"a": 2})
    common.write_result(path, {"a": 3})
    assert len(set(names)) == 2 and json.loads(path.read_text()) == {"a": 3}       # no two writers share a name

    def full(part, to):
        raise OSError("disk full")

    monkeypatch.setattr(common.Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        common.write_result(path, {"a": 4})
    assert json.loads(path.read_text()) == {"a": 3} and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_settings_and_names_from_the_command_line(capsys):
    o = bench.options(["--quick", "--set", '{"samples": 32, "sweep": [3, 4], "seconds": 2.5}'])
    assert o.names == ("time_to_quality", "sampling", "use_of_the_machine", "growth")
    assert o.settings.quick and not o.show and o.settings.chain_samples == 256
    assert (o.settings.samples, list(o.settings.sweep), o.settings.seconds) == (32, [3, 4], 2.5)
    assert bench.options([]).names == tuple(bench.BENCHMARKS) and bench.options([]).settings == Settings()
    assert bench.options(["growth", "gpu"]).names == ["growth", "gpu"]
    for wrong in (["--set", '{"colour": 3}'], ["--set", "samples"], ["2"]):
        with pytest.raises(SystemExit):
            bench.options(wrong)
    assert "there is no benchmark '2': choose from time_to_quality, sampling" in capsys.readouterr().err


def test_make_hands_on_names_and_quick():
    """What make would run; without NAME all of them, whatever `make weights` takes NAME for."""
    for words, wanted in (([], ""), (["NAME=sampling growth", "QUICK=1"], "sampling growth --quick"),
                          (["QUICK=0"], "")):
        end = subprocess.run(["make", "-n", "bench", *words], cwd=env.ROOT, capture_output=True, text=True,
                             env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")})
        assert end.stdout.splitlines()[-1].split("benchmarks.bench")[1].strip() == wanted


def test_what_is_not_at_hand_is_not_run(monkeypatch, measure):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for function, why in ((photographs.photographs, "COURSE_DATA is not set"), (speed.gpu, "no GPU")):
        result = function(SMALL, measure)
        assert result["passed"] is None and bench.report(result)[1] == f"   not run: {why}"


# ---- the measure

def test_measure_knows_its_floor_and_orders_what_is_worse(measure):
    assert measure.fresh["above"] is not None and measure.floor == measure.fresh["kid"]
    fresh = scenes.craters(24, seed=5).images
    near, far = measure(fresh), measure(fresh + 0.3 * torch.randn(fresh.shape))
    assert near["kid"] < far["kid"] and near["above"] == pytest.approx(near["kid"] - measure.floor)
    assert near["interval"][0] < near["kid"] < near["interval"][1] and (near["samples"], near["real"]) == (24, 24)
    ratio, (low, high) = measure.ratio(measure.resampled(fresh + 0.3), measure.resampled(fresh + 0.6))
    assert 0 < low < ratio < high < 1


def test_recipe_is_that_of_helpers_run(tmp_path):
    line = "--examples 20 --size 16 --widths 8 16 --patch 2 --steps 3 --batch 4 --T 20 --seed 3".split()
    train.main([*line, "--out", str(tmp_path / "x.safetensors")])
    o = train.options(line)
    model, _, loss = common.recipe(o)
    average, _ = fit(model, scenes.craters(20, 16, 3).images, loss, steps=3, batch_size=4, lr=o.lr, seed=o.seed)
    shipped, _ = load_weights(tmp_path / "x.safetensors", UNet)
    pairs = zip(average.parameters(), shipped.parameters(), strict=True)
    assert all(torch.equal(a.half().float().cpu(), b) for a, b in pairs)


# ---- time_to_quality: the peers

def tiny(beta_schedule="linear", small=False):
    return peers._diffusers("tiny", "", (32, 32), ("DownBlock2D",) * 2, ("UpBlock2D",) * 2, beta_schedule, small, 0)


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
def test_the_time_of_diffusers_is_ours_minus_one(beta_schedule):
    peer = tiny(beta_schedule)
    x0, eps = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    t, asked = torch.tensor([1, 2, 500, 1000]), []
    theirs = peer.scheduler.add_noise(x0, eps, t - 1)
    torch.testing.assert_close(peer.schedule.q_sample(x0, t, eps), theirs, rtol=1e-4, atol=1e-4)
    spy = lambda x, t: asked.append(t) or SimpleNamespace(sample=x)
    peer.asked(spy)(x0, t)
    assert asked[0].tolist() == [0, 1, 499, 999] and peer.schedule.T == 1000


def oracle(x0, alphas_cumprod):
    """A network of diffusers that knows the pictures: it gives exactly the noise in x_t, for their t."""
    def net(xt, t):
        a = alphas_cumprod[t].double().view(-1, 1, 1, 1)
        return SimpleNamespace(sample=((xt.double() - a.sqrt() * x0[:len(xt)]) / (1 - a).sqrt()).float())
    return net


def test_samplers_bring_an_oracle_of_diffusers_to_the_picture():
    peer, x0 = tiny(), scenes.craters(3, seed=9).images
    x0_model = peer.asked(oracle(x0, peer.scheduler.alphas_cumprod))
    for images in (common.draw(x0_model, peer.schedule, 3, 6),
                   peers.draw_by_its_own(peer.scheduler, x0_model, peer.schedule, common.noise(3), 6)):
        torch.testing.assert_close(images, x0, rtol=0, atol=0.02)


def test_the_time_of_denoising_diffusion_pytorch_is_ours_minus_one():
    package = pytest.importorskip("denoising_diffusion_pytorch")
    net = package.GaussianDiffusion(package.Unet(dim=8, dim_mults=(1, 2), channels=1), image_size=16)
    schedule = Schedule(net.betas)
    x0, eps, t = torch.randn(3, 1, 16, 16), torch.randn(3, 1, 16, 16), torch.tensor([1, 400, 1000])
    torch.testing.assert_close(schedule.q_sample(x0, t, eps), net.q_sample(x0, t - 1, eps), rtol=1e-3, atol=1e-3)
    x0, asked = x0.clamp(-1, 1), []

    def forward(x, t, cond):                                   # the v of one who knows the picture
        asked.append(t)
        return net.predict_v(x0, t, net.predict_noise_from_start(x, t, x0))

    net.model.forward = forward
    x0_model = lambda xt, t: net.model_predictions(xt, t - 1).pred_x_start       # as peers.lucidrains has it
    torch.testing.assert_close(common.draw(x0_model, schedule, 3, 6, size=16), x0, rtol=0, atol=0.02)
    assert asked[0].tolist() == [999] * 3


@pytest.mark.parametrize("small", [False, True])
def test_a_peer_learns_and_what_was_kept_stays(small, monkeypatch):
    monkeypatch.setattr(peers, "time", ticking(0.1))
    peer, pictures = tiny(small=small), scenes.craters(8, 16).images
    peer.batch = 2
    before = [p.clone() for p in peer.net.parameters()]
    first, x, t = peer.frozen(), torch.randn(1, 1, 16, 16), torch.tensor([500])
    was = first(x, t)
    steps, kept = peers.train(peer, pictures, seconds=0.35, moments=(0.15,))
    assert steps == 4 and [moment for moment, _ in kept] == pytest.approx([0.2, 0.4])
    with torch.no_grad():
        assert torch.equal(first(x, t), was) and not torch.equal(kept[1][1](x, t), kept[0][1](x, t))
        now = peer.schedule.predict_x0(x, t, peer.net(x, t - 1).sample)
        assert torch.equal(kept[1][1](x, t), now) is not small                   # the small one's average samples
    assert not any(torch.equal(a, b) for a, b in zip(before, peer.net.parameters()))


def test_the_customary_peers_are_what_the_claim_names():
    for key, parameters in (("course", 18_534_017), ("shrunk", 3_939_393)):
        peer = getattr(peers, key)()
        assert sum(p.numel() for p in peer.net.parameters()) == parameters
        assert peer.optimizer.param_groups[0]["lr"] == 4e-4 and peer.net.config.layers_per_block == 2
    assert peer.net.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    cosine = Schedule(cosine_beta(1000)).alpha_bar[500].item()
    assert peer.schedule.alpha_bar[500].item() == pytest.approx(cosine, rel=1e-3)


def test_lucidrains_has_the_defaults_of_its_trainer():
    package = pytest.importorskip("denoising_diffusion_pytorch")
    import inspect
    trainer = {k: p.default for k, p in inspect.signature(package.Trainer.__init__).parameters.items()}
    peer = peers.lucidrains()
    group = peer.optimizer.param_groups[0]
    assert (group["lr"], group["betas"], peer.batch) == (trainer["train_lr"], trainer["adam_betas"],
                                                         trainer["train_batch_size"])
    average = peer.average.__self__
    assert (average.beta, average.update_every) == (trainer["ema_decay"], trainer["ema_update_every"])
    assert peer.clip == trainer["max_grad_norm"] and peer.net.objective == "pred_v"


# ---- time_to_quality

def figures_of_time_to_quality(ours=1.0, course=12.0, lucidrains=30.0, early=11.0, duel=0.4):
    made = lambda name, above: dict(name=name, above=above, kid=above, seconds=300.0)
    networks = dict(ours=made("ours", ours), course=made("course", course), lucidrains=made("lucidrains", lucidrains))
    points = dict(ours=[dict(seconds=9.4, kid=40.0), dict(seconds=18.75, kid=5.0), dict(seconds=300.0, kid=ours)],
                  short=[dict(seconds=15.0, kid=early)])
    return networks, points, dict(ratio=duel, interval=None)


@pytest.mark.parametrize("change, passed", [
    ({}, [True, True, True]), (dict(ours=1.3), [False, True, True]),
    (dict(lucidrains=9.0, early=8), [False, True, True]), (dict(early=13.0), [True, False, True]),
    (dict(duel=0.6), [True, True, False])])
def test_verdicts_of_time_to_quality(change, passed):
    checks, best, reached = quality.quality_checks(*figures_of_time_to_quality(**change))
    assert [check["passed"] for check in checks] == passed
    assert best == ("lucidrains" if "lucidrains" in change else "course")
    assert checks[0]["value"] == pytest.approx(change.get("ours", 1) / min(12, change.get("lucidrains", 30)))
    assert reached == (18.75 if change.get("early") == 13 else 15) and checks[1]["value"] == reached / 300


def test_ours_that_never_gets_there_is_a_miss():
    networks, points, small = figures_of_time_to_quality(ours=20.0, early=25.0)
    points["ours"] = [dict(seconds=300.0, kid=20.0)]
    checks, _, reached = quality.quality_checks(networks, points, small)
    assert reached is None and checks[1]["value"] is None and checks[1]["passed"] is False
    assert quality.quality_checks(networks, points, small, quick=True)[0][1]["passed"] is None


def blurred(amount, schedule=None):
    """A trained network that knows eight pictures, up to grain of so much."""
    x0 = scenes.craters(8, seed=4).images
    grain = amount * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    x0_model = lambda xt, t: (x0 + grain)[torch.arange(len(xt)) % 8].clamp(-1, 1)
    return x0_model, schedule or Schedule(cosine_beta(50))


def networks_trained(seconds, snapshots):
    peer = tiny()
    made = {"ours": [0.5, 0.05], "short": [0.2], "course": [0.7], "lucidrains": [0.9], "shrunk": [0.6, 0.4]}
    facts = dict(setting="", parameters=1, steps=1, seconds=seconds, images_per_second=1.0)
    found = {}
    for key, noises in made.items():
        snapshots = [(seconds * (k + 1) / len(noises), *blurred(n, peer.schedule)) for k, n in enumerate(noises)]
        found[key] = facts | dict(name=key), snapshots
    return found, peer.scheduler


def test_time_to_quality_from_end_to_end(results, measure, monkeypatch):
    monkeypatch.setattr(quality, "all_trained", networks_trained)
    result = quality.time_to_quality(SMALL, measure)
    assert result["passed"] is not None and result["samples_figure"].png
    assert set(result["points"]) == {"ours", "short", "course", "lucidrains", "shrunk"}
    assert result["duel"]["samples"] == 7 and result["duel"]["evaluations"] == 4
    assert result["duel"]["shrunk"]["kid"] == min(result["duel"]["shrunk"]["by"].values())
    assert result["networks"]["ours"]["kid"] < result["networks"]["shrunk"]["kid"] < result["networks"]["course"]["kid"]
    assert result["checks"][0]["interval"] and "course" in result["checks"][0]["what"]
    result.pop("samples_figure")
    common.write(result, SMALL, 0)
    common.write(result, replace(SMALL, quick=True), 0)                            # beside, not in its place
    assert common.read("time_to_quality")["quick"] is False and common.read("time_to_quality", quick=True)["quick"]
    figures.main()
    assert (results / "time_to_quality.png").stat().st_size > 10_000


def test_networks_are_trained_as_learners_train_them(small_recipe, monkeypatch):
    """Ours by the training command, the others by their own loop; each snapshot samples."""
    peer = tiny(small=True)
    for key in (*quality.CUSTOMARY, "shrunk"):
        monkeypatch.setattr(peers, key, lambda: tiny(small=True))
    monkeypatch.setattr(peers, "time", ticking(0.1))
    found, scheduler = quality.all_trained(0.6, snapshots=1)
    assert set(found) == {"ours", "short", "course", "lucidrains", "shrunk"} and found["short"][0]["seconds"] == 0.03
    assert [len(snapshots) for _, snapshots in found.values()] == [2, 1, 1, 1, 3]
    for facts, snapshots in found.values():
        assert facts["steps"] >= 1 and facts["parameters"] > 1000 and facts["images_per_second"] > 0
        assert common.draw(*snapshots[-1][1:], 1, 2, size=16).shape == (1, 1, 16, 16)
    assert scheduler.config == peer.scheduler.config


# ---- sampling

def points_of_sampling(**shift):
    spread = torch.linspace(-0.01, 0.01, 101)
    made = [("DPM-Solver++", 8, 0.2), ("DPM-Solver++", 15, 0.02), ("DDIM", 50, 0.0), ("DDPM", 1024, 0.0)]
    value = lambda sampler, n, usual: 0.1 + shift.get(f"{sampler[:3]}{n}", usual)
    return [dict(sampler=p[0], evaluations=p[1], resampled=(value(*p) + spread).tolist()) for p in made]


def test_verdicts_of_sampling():
    points = points_of_sampling()
    checks = quality.sampling_checks(points, 1024)
    assert [check["passed"] for check in checks] == [True, True, True] and checks[1]["value"] == 1024 / 15
    assert [point["equal"] for point in points] == [False, True, True, True]
    assert checks[0]["value"] == pytest.approx(0.02)               # paired: the spread they share is no doubt
    assert quality.sampling_checks(points_of_sampling(DPM8=0.03), 1024)[1]["value"] == 128
    missed = quality.sampling_checks(points_of_sampling(DPM15=0.08, DDI50=0.09), 1024)
    assert [check["passed"] for check in missed] == [False, False, False] and missed[1]["value"] is None
    short = quality.sampling_checks(points_of_sampling(), 4096)
    assert short[1]["passed"] is None and "1024 of its 4096" in short[1]["why"]


def test_sampling_from_end_to_end(results, measure, monkeypatch):
    monkeypatch.setattr(quality, "load_sampler", lambda path: (*blurred(0.1), dict(steps=1)))
    result = quality.sampling(replace(SMALL, chain=20), measure)
    plan = [(p["sampler"], p["evaluations"]) for p in result["points"]]
    assert plan == [("DPM-Solver++", 2), ("DPM-Solver++", 15), ("DDIM", 2), ("DDIM", 50), ("DDPM", 2), ("DDPM", 20)]
    assert result["checks"][1]["passed"] is None                   # 20 of 50 steps are not the whole chain
    common.write(quality.sampling(SMALL, measure), SMALL, 0)
    assert common.read("sampling")["points"][-1]["evaluations"] == 50
    figures.main()
    assert (results / "sampling.png").stat().st_size > 10_000


# ---- use_of_the_machine, growth, gpu

@on_processor
def test_steps_of_fit_are_counted_and_timed(small_recipe, monkeypatch):
    monkeypatch.setattr("helpers.train.time", ticking(0.001))
    monkeypatch.setattr(speed, "matmul_rate", lambda seconds: (1e9, 64))
    result = speed.use_of_the_machine(SMALL)
    assert 0.5 < result["flops_of_passes"] / result["flops_per_step"] <= 1
    assert sum(result["flops_by_operation"].values()) == pytest.approx(result["flops_per_step"], abs=20)
    assert all(r["ratio"] == r["step"] / r["matmul"] and r["steps"] > 0 for r in result["rounds"])
    assert sum(result["profile"].values()) == pytest.approx(1)
    assert sum(share for name, share in result["profile"].items() if "conv" in name) > 0.05
    assert result["convolution_rate"] > 0
    assert result["checks"][0]["value"] == pytest.approx(sum(r["ratio"] for r in result["rounds"]) / 2)


def test_the_rate_of_matrices_is_that_of_the_best_size():
    rate, n = speed.matmul_rate(0.01, sizes=(8, 64))
    assert n == 64 and 1e7 < rate < 1e14


@on_processor
def test_flops_are_those_one_counts_by_hand():
    net = torch.nn.Conv2d(1, 4, 3, padding=1, bias=False)
    net.config = {}
    loss = lambda model, x: model(x).square().mean()
    _, passes, _ = speed.step_flops(net, torch.randn(2, 1, 8, 8), loss, 2, 1e-3)
    assert passes == 2 * (2 * 2 * 4 * 64 * 9)                  # forward, and the weights' gradient: x0 needs none


def test_too_few_steps_get_a_sentence(small_recipe):
    model, _, loss = common.recipe(train.options([]))
    with pytest.raises(ValueError, match="1 training steps in .* are too few to time"):
        speed.step_seconds(model, scenes.craters(4, 16).images, loss, 2, 1e-3, steps=1)


def test_verdicts_of_growth():
    even = {32: 1.0, 64: 4.0, 128: 16.0}
    checks = speed.growth_checks(even, even, [1.7, 1.8, 2.0])
    assert [c["passed"] for c in checks] == [True] * 3 and checks[0]["value"] == 1
    assert checks[2]["value"] == 1.8 and checks[2]["interval"] == [1.7, 2.0]
    steep = {32: 1.0, 64: 4.0, 128: 19.0}
    checks = speed.growth_checks(steep, even | {64: 4.6}, [1.5])
    assert [c["passed"] for c in checks] == [False] * 3 and checks[0]["value"] == 19 / 16
    assert speed.growth_checks(even, even, [])[2]["passed"] is None


def test_a_child_says_what_it_found(small_recipe, monkeypatch):
    monkeypatch.setattr("helpers.train.time", ticking(0.01))
    assert speed.memory_child(16, 4)["peak"] > 2**26
    assert speed.rate_child(0.2)["images_per_second"] > 0
    wanted = SimpleNamespace(returncode=0, stdout='a word of a launcher\n{"peak": 5}\n', stderr="")
    monkeypatch.setattr(speed.subprocess, "run", lambda command, **more: wanted)
    assert speed.child("memory", 16, 4) == {"peak": 5}
    wanted.returncode, wanted.stderr = 1, "no memory"
    with pytest.raises(RuntimeError, match="benchmarks.speed memory 16 4` ended with code 1:\nno memory"):
        speed.child("memory", 16, 4)


def test_growth_from_end_to_end(small_recipe, monkeypatch):
    monkeypatch.setattr(speed, "SIZES", (16, 32))
    monkeypatch.setattr(speed.os, "cpu_count", lambda: 2)
    peak = lambda n, batch: dict(peak=10**8 + 1000 * n**2 * batch)
    monkeypatch.setattr(speed, "child", lambda what, *numbers, processes=0: peak(*numbers) if what == "memory" else
                        dict(images_per_second=10.0 * processes))
    result = speed.growth(SMALL)
    assert result["rows"][1]["memory / pixels"] == pytest.approx(1) and result["checks"][2]["value"] == 2
    assert [row["size"] for row in result["rows"]] == ["16×16", "32×32"]


def test_networks_are_compared_at_their_best(small_recipe, monkeypatch):
    monkeypatch.setattr("helpers.train.time", ticking(0.01))
    ours, theirs = speed.compare_networks((8, 16), 4, 0.4, batches=(2, 3))
    assert [row["network"] for row in (ours, theirs)] == ["ours", "diffusers"]
    assert all(row["batch"] in (2, 3) and row["images_per_second"] > 0 for row in (ours, theirs))
    assert ours["parameters"] != theirs["parameters"]


def test_the_time_until_the_shipped_weights_are_reached(monkeypatch):
    kids = iter([0.5, 2.0, 0.9, 0.4, 0.3])                     # the shipped ones first, then four snapshots
    row = dict(parameters=1, images_per_second=2.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(speed, "compare_networks", lambda widths, w, seconds: [row, row])
    monkeypatch.setattr(speed, "draw", lambda *words: None)
    monkeypatch.setattr(speed, "ours", lambda seconds, snapshots: (None, [(k, None, None) for k in (1, 2, 3, 4)]))
    result = speed.gpu(SMALL, lambda images: {"kid": next(kids)})
    assert result["shipped"] == {"kid": 0.5} and [p["kid"] for p in result["curve"]] == [2.0, 0.9, 0.4, 0.3]
    assert result["seconds_to_shipped"] == 3 and result["passed"] is True


def test_the_peers_of_the_gpu_are_as_large_as_ours():
    assert next(iter(speed.PEERS)) == tuple(train.options([]).widths)
    for widths, w in speed.PEERS.items():
        with torch.device("meta"):
            ours, theirs, *others = (speed.size_of(net) for net in (
                UNet(1, 1, widths), *(speed.Plain(v) for v in (w, w - 4, w + 4))))
        assert abs(theirs - ours) == min(abs(other - ours) for other in (theirs, *others))     # the nearest there is
    net = speed.Plain(12)
    with torch.no_grad():
        assert net(torch.randn(1, 1, 16, 16), torch.tensor([1])).shape == (1, 1, 16, 16)


# ---- denoising

def test_levels_of_noise_are_found():
    schedule = Schedule(cosine_beta(1000))
    for wanted in denoising.SIGMAS:
        t, sigma = denoising.level(schedule, wanted)
        assert sigma == pytest.approx(wanted, rel=0.05) and 0 < t < 1000


def test_filters_denoise_and_are_tuned_inside_their_grids():
    clean = scenes.craters(2, seed=7).images
    noisy = clean + 0.4 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    rough = denoising.quality(noisy, clean)["psnr"]
    for name in ("Gaussian", "total variation"):
        strength, other, inside = denoising.tuned(name, noisy, clean, 0.4)["psnr"]
        better = denoising.quality(denoising.filtered(name, noisy, strength, 0.4, other), clean)["psnr"]
        assert inside and better > rough + 3


def test_ours_sees_only_the_noisy_picture_and_an_oracle_is_perfect():
    x0_model, schedule = blurred(0)
    clean = scenes.craters(3, seed=4).images
    noisy, one, full = denoising.ours(x0_model, schedule, clean, 30, seed=1)
    root = schedule.alpha_bar[30].sqrt()
    assert (noisy - clean).std() == pytest.approx(((1 - root**2).sqrt() / root).item(), rel=0.05)
    torch.testing.assert_close(one, clean, rtol=0, atol=1e-4)
    torch.testing.assert_close(full, clean, rtol=0, atol=1e-4)


def test_denoising_from_end_to_end(results, monkeypatch):
    monkeypatch.setattr(denoising, "load_sampler", lambda path: (*blurred(0.1), dict(seed=0)))
    monkeypatch.setattr(denoising, "SIGMAS", (0.2, 0.8))
    monkeypatch.setattr(denoising, "FILTERS", {"Gaussian": ([0.5, 1, 2], *denoising.FILTERS["Gaussian"][1:])})
    result = denoising.denoising(SMALL)
    assert [level["sigma"] for level in result["levels"]] == pytest.approx([0.2, 0.8], rel=0.1)
    assert len(result["checks"]) == 2
    assert set(result["rows"][0]) == {"sigma", "t", "noisy", "one step", "partial denoise", "Gaussian"}
    common.write(result, SMALL, 0)
    figures.main()
    assert (results / "denoising.png").stat().st_size > 10_000


def test_verdicts_of_denoising():
    row = lambda sigma, ours, best: dict(sigma=sigma, ours={"one step": dict(psnr=ours, ssim=0.5)}, filters={
        "a": dict(psnr=best, ssim=0.4), "b": dict(psnr=best - 3, ssim=0.45)})
    levels = [row(0.05, 30, 40), row(0.2, 28, 26), row(1.6, 20, 18.5)]        # little noise is not judged
    checks = denoising.denoising_checks(levels)
    assert [c["passed"] for c in checks] == [True, True]
    assert checks[0]["value"] == pytest.approx(1.5) and checks[1]["value"] == pytest.approx(0.05)
    assert not denoising.denoising_checks([*levels, row(3.2, 15, 14.6)])[0]["passed"]
