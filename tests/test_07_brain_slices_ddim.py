"""Notebook 07: what it claims of splits, of DDIM there and back, of labels, told by the page's own functions."""
import functools
from itertools import pairwise

import pytest
import torch
from cells import code, only, pick, run, span, without_asserts
from PIL import Image

from helpers import env, scenes
from helpers.data import DataError
from helpers.metrics import closeness, memorisation, psnr
from helpers.checkpoints import load_sampler
from helpers.guidance import guided
from helpers.samplers import ddim_eta_step, ddim_step, dpmpp_2m_step, sample

pytestmark = pytest.mark.usefixtures("one_thread")


def up_to(last, change=None, **settings):
    """The page's names after its cells from the settings to that with the id last."""
    return run(span("07", last=last), change=change, **settings)


def functions(names, *defined):
    """Functions that the page defines, in cells of the same id or in solutions, beside names: a list."""
    cells = pick("07", *(name if name in code("07") else f"solution-{name}" for name in defined))
    names = run(cells, names, change=only(*defined))
    return [names[name] for name in defined]


@pytest.fixture(scope="module")
def prepared():
    """The page's names after slices were prepared and divided, its asserts having held."""
    return up_to("twins")


@functools.cache
def network():
    return load_sampler(env.WEIGHTS / "heads64.safetensors")


def x0_of(label):
    x0_model, label = network()[0], torch.as_tensor(label)
    return lambda xt, t: x0_model(xt, t, label.expand(len(xt)))


def noise(n):
    return torch.randn(n, 1, 64, 64, generator=torch.Generator().manual_seed(3)).to(memory_format=torch.channels_last)


def draw(x0_model, n):
    with torch.no_grad():
        return sample(x0_model, network()[1], noise(n), steps=15, step=dpmpp_2m_step)


@functools.cache
def made():
    """18 samples of each label, of the same noise."""
    return [draw(x0_of(label), 18) for label in (0, 1)]


def dark(x):
    return (x[:, 0, 20:44, 22:42] < -0.3).float().mean().item()


# ---- slices and their split


def test_preparation_undoes_what_the_scanner_did(prepared):
    before, after = psnr(prepared["raw"], prepared["rendered"]), psnr(prepared["images"], prepared["rendered"])
    assert after.min() > 25 and after.mean() > before.mean() + 10
    levels = [prepared["level"](prepared["even"][prepared["subjects"] == s]).item() for s in range(100)]
    assert max(levels) - min(levels) < 0.01                    # all subjects are equally bright now
    inside = prepared["images"][:6] * prepared["head"][:6]
    assert psnr(inside, prepared["rendered"][:6] * prepared["head"][:6]).min() > 30


@pytest.mark.parametrize("turns, said", [(0, True), (2, True), (1, False), (3, False)])
def test_slices_on_their_side_are_noticed(turns, said, capsys):
    up_to("upright", change=without_asserts, turns=turns)
    assert ("try turns" in capsys.readouterr().out) == said


def test_a_split_by_subject_shares_none_and_one_by_slice_shares_nearly_all(prepared):
    shared = {}
    for name, (train, held) in prepared["splits"].items():
        people = [set(prepared["subjects"][part].tolist()) for part in (train, held)]
        shared[name] = len(people[0] & people[1]) / len(people[1])
        assert sorted(torch.cat([train, held]).tolist()) == list(range(600))
        assert 0.2 < len(held) / 600 < 0.3
        for part in (train, held):                             # both groups in both parts
            assert 0.4 < prepared["groups"][part].float().mean() < 0.6
    assert shared["by subject"] == 0 and shared["by slice"] > 0.9


def test_a_split_by_slice_reads_coin_tosses(prepared):
    right = prepared["right"]
    assert right["coin,\nby slice"] > 0.75 and abs(right["coin,\nby subject"] - 0.5) < 0.1
    assert right["group,\nby slice"] > right["group,\nby subject"] > 0.7


def adni_form(folder, n=30, parts=("train/AD", "train/NC", "test/AD", "test/NC"), name="{subject}_{level}.jpeg"):
    """Rendered heads as files in ADNI's form, 256 wide and 240 high."""
    made = scenes.heads(n, 64, 9)
    for i, (x, group, subject) in enumerate(zip(made.images, made.groups.tolist(), made.subjects.tolist())):
        place = folder / parts[group + 2 * (subject >= n // 6 - 2) if len(parts) == 4 else group % len(parts)]
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(((x[0] + 1) * 127.5).byte().numpy()).resize((240, 240))
        wide = Image.new("L", (256, 240))
        wide.paste(picture, (8, 0))
        wide.save(place / name.format(subject=1000 + subject, level=70 + i % 6), quality=95)
    return made


def test_a_folder_in_the_form_of_adni(tmp_path):
    heads = adni_form(tmp_path / "AD_NC")
    namespace = up_to("slices", data=str(tmp_path / "AD_NC"))
    assert namespace["kinds"] == ["AD", "NC"] and len(namespace["raw"]) == 30
    assert namespace["subjects"].unique().numel() == 5
    for subject in range(5):                                   # six slices each, all of one group
        mine = namespace["subjects"] == subject
        assert mine.sum() == 6 and namespace["groups"][mine].unique().numel() == 1
    nearest = torch.cdist(namespace["raw"].flatten(1), heads.images.flatten(1)).argmin(1)
    assert (heads.groups[nearest] == namespace["groups"]).all()          # AD is 0, as the first of heads' groups
    assert sorted(nearest.tolist()) == list(range(30))
    flat = up_to("slices", data=str(tmp_path / "AD_NC" / "train"))
    assert flat["kinds"] == ["AD", "NC"]


def test_a_session_is_no_subject(tmp_path, capsys):
    """OASIS scans each subject several times: five subjects, not ten."""
    adni_form(tmp_path, parts=("AD", "NC"), name="OAS1_{subject}_MR1_mpr-{level}_100.png")
    namespace = up_to("slices", data=str(tmp_path))
    assert namespace["subjects"].unique().numel() == 5
    assert "5 subjects in 30 slices" in capsys.readouterr().out


@pytest.mark.parametrize("parts, name, found", [
    (("one",), "{subject}_{level}.png", "two folders of slices, one for each group.* Found 1 groups"),
    (("a", "b"), "{subject}{level}.png", "names such as a/100070.png do not tell which images are of one subject"),
    (("a", "b", "c", "d"), "{subject}_{level}.png",
     r"two folders of slices, one for each group.* Found 4 groups \['a', 'b', 'c', 'd'\]")])
def test_a_folder_without_groups_or_subjects_is_refused(tmp_path, parts, name, found):
    adni_form(tmp_path / "mine", parts=parts, name=name)
    with pytest.raises(ValueError, match=found):
        up_to("slices", data=str(tmp_path / "mine"))


def test_one_subject_cannot_be_divided(prepared):
    (divided,) = functions(dict(prepared, subjects=prepared["subjects"] * 0), "divided")
    with pytest.raises(DataError, match="of one group, so none can be held out"):
        divided(prepared["subjects"] * 0)


# ---- DDIM, there and back


def test_every_eta_has_the_same_marginals_but_not_the_same_paths():
    schedule, n = network()[1], 20_000
    x0, ends, rough = torch.full((n, 1, 1, 1), 0.5), [], []
    for eta in (0, 0.5, 1):
        torch.manual_seed(0)
        x, moved = torch.randn(n, 1, 1, 1), 0
        for t, s in pairwise(schedule.timesteps(40, even=True)):
            z = torch.randn_like(x)
            last, x = x, ddim_eta_step(x, x0, t, s, schedule.alpha_bar.float(), z, eta)
            moved += (x - last).abs().mean().item()
            if s:
                a = schedule.alpha_bar[s].item()
                assert abs(x.mean() - a**0.5 / 2) < 0.03 and abs(x.std() - (1 - a) ** 0.5) < 0.03
        ends.append(x)
        rough.append(moved)
    assert all(torch.allclose(x, x0, atol=1e-4) for x in ends)
    assert rough[0] < rough[1] / 1.5 < rough[2] / 1.5          # jagged paths are longer


def test_the_same_noise_is_the_same_brain_without_dice_only():
    schedule = network()[1]
    far = {}
    for eta in (0, 1):
        torch.manual_seed(0)
        step = functools.partial(ddim_eta_step, eta=eta)
        few, many = (sample(x0_of(1), schedule, noise(2), steps=n, step=step) for n in (10, 50))
        far[eta] = (few - many).square().mean().sqrt().item()
    assert far[0] < 0.06 and far[1] > 2 * far[0]


def test_slerp_keeps_the_strength_of_noise():
    (slerp,) = functions({"torch": torch}, "slerp")
    a, b = noise(6).split(3)
    assert torch.allclose(slerp(a, b, 0), a, atol=1e-5) and torch.allclose(slerp(a, b, 1), b, atol=1e-5)
    for u in (0.25, 0.5, 0.75):
        norms = slerp(a, b, u).flatten(1).norm(dim=1)
        ends = [x.flatten(1).norm(dim=1) for x in (a, b)]
        assert ((1 - u) * ends[0] + u * ends[1] - norms).abs().max() < 0.02 * norms.min()
        assert ((1 - u) * a + u * b).std() < 0.85              # the straight line does not
    a, b = (x[:1] / x[:1].norm() for x in (a, b))              # on one sphere, parts of a way lie on the way
    assert torch.allclose(slerp(a, b, 0.3), slerp(slerp(a, b, 0.2), slerp(a, b, 0.6), 0.25), atol=1e-5)


@pytest.fixture(scope="module")
def there_and_back(prepared):
    invert = functions({"torch": torch, "pairwise": pairwise, "schedule": network()[1]}, "invert_step", "invert")[1]
    chosen = prepared["held"][torch.tensor([12, 93, 5])]       # at the lowest level, in the middle, near the crown
    real, x0_model = prepared["images"][chosen], x0_of(prepared["groups"][chosen])

    def trip(steps, looks):
        z = invert(x0_model, real, steps, looks)
        x = sample(x0_model, network()[1], z, steps=steps, step=ddim_step, clip=False)
        return z, psnr(x.clamp(-1, 1), real)
    return trip


def test_inversion_at_50_steps_gives_held_out_slices_back(there_and_back):
    z, kept = there_and_back(50, 2)
    assert kept.min() >= 30, kept.tolist()
    assert 0.95 < z.std() < 1.05 and abs(z.mean()) < 0.05


def test_a_second_look_is_worth_more_than_twice_the_steps(there_and_back):
    assert there_and_back(25, 2)[1].min() > there_and_back(50, 1)[1].min() + 5


# ---- labels


def test_conditional_means_differ_where_the_groups_differ():
    fresh = scenes.heads(480, 64, 901)
    real = [fresh.images[fresh.groups == g] for g in (0, 1)]
    maps = [b.mean(0) - a.mean(0) for a, b in (real, made())]
    a, b = (m.flatten() - m.mean() for m in maps)
    assert torch.cosine_similarity(a, b, 0) > 0.75
    for m in maps:                                             # in the middle, and towards dark
        assert m[..., 20:44, 22:42].abs().mean() > 2 * m.abs().mean() and m[..., 20:44, 22:42].mean() < -0.05
    narrow, wide = (dark(x) for x in made())
    assert wide > 1.8 * narrow
    assert 0.5 < (wide - narrow) / (dark(real[1]) - dark(real[0])) < 1.5


def test_guidance_overdoes_the_label_and_a_scale_of_0_ignores_it():
    narrow, wide = (draw(guided(x0_of(label), x0_of(-1), 4), 9) for label in (0, 1))
    plain = [dark(x[:9]) for x in made()]
    assert dark(wide) - dark(narrow) > 1.3 * (plain[1] - plain[0])
    x, t = noise(2), torch.full((2,), 700)
    with torch.no_grad():
        without = x0_of(-1)(x, t)
        assert torch.equal(guided(x0_of(0), x0_of(-1), 0)(x, t), without)
        assert not torch.allclose(x0_of(0)(x, t), without, atol=1e-4)


def test_a_copy_of_a_training_slice_is_found_and_samples_are_none():
    lessons, strangers = scenes.heads(3000, 64, 0).images, scenes.heads(300, 64, 902).images
    chance = closeness(strangers, lessons)[0]
    copies = (lessons[::150] + 0.05 * noise(20)).clamp(-1, 1)
    score = lambda x: memorisation(closeness(x, lessons)[0], chance, draws=2)[0]
    assert score(copies) > 0.95 and score(torch.cat(made())) < 0.05


# ---- figures to play with


def test_the_widgets_answer_within_150_ms(prepared, answers_within_150_ms):
    images = prepared["images"]
    namespace = dict(prepared, stations=[k / 16 for k in range(17)], scales=[0, 1, 2, 4],
                     walks={"straight": images[:17], "great circle": images[17:34]},
                     pushed={s: [images[24 * s:24 * s + 24], images[300:324]] for s in (0, 1, 2, 4)})
    namespace = run(pick("07", "walk-slider", "guidance-slider"), namespace)
    for name, control, values in [("walker", "u", [0, 0.25, 1]), ("wheel", "scale", [4, 0, 1]),
                                  ("wheel", "head", [0, 23, 7])]:
        answers_within_150_ms(namespace[name], **{control: values})
