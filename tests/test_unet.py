"""The network: shapes, what it may and may not depend on, and its parts against diffusers and torch."""
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn

from helpers.unet import Attention, ResBlock, UNet, time_embedding


pytestmark = pytest.mark.usefixtures("one_thread")


def awake(*args, **options):
    """A UNet whose last layer is not zero, as after training."""
    torch.manual_seed(0)
    model = UNet(*args, **options)
    nn.init.normal_(model.head[-1].weight, std=0.1)
    return model.eval()


@pytest.mark.parametrize("dim", [8, 64, 128])
def test_time_embedding_is_that_of_diffusers(dim):
    t = torch.tensor([0, 1, 2, 17, 500, 999, 1000])
    theirs = get_timestep_embedding(t, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(time_embedding(t, dim), theirs, rtol=1e-5, atol=1e-5)


def test_rows_of_the_time_embedding_know_only_their_own_t():
    t = torch.tensor([3, 1000, 0, 77])
    rows = time_embedding(t, 64)
    for i in range(4):
        assert torch.equal(rows[i], time_embedding(t[i:i + 1], 64)[0])
    assert torch.equal(rows, time_embedding(torch.cat([t, torch.tensor([5000])]), 64)[:4])


def test_every_t_has_an_embedding_of_its_own():
    every = time_embedding(torch.arange(1025), 64)
    apart = torch.cdist(every, every) + torch.eye(1025) * 9
    assert apart.min() > 0.1


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("attend", [True, False])
@pytest.mark.parametrize("patch, channels", [(1, (8,)), (1, (8, 16, 24)), (2, (8, 16)), (4, (16, 8))])
def test_shapes(patch, channels, attend, skips):
    model = awake(3, 2, channels, patch, attend, skips)
    assert model.divisor == patch * 2 ** (len(channels) - 1)
    for height, width in ((model.divisor * 2, model.divisor * 2), (model.divisor, model.divisor * 3)):
        assert model(torch.randn(2, 3, height, width), torch.tensor([1, 900])).shape == (2, 2, height, width)


def test_no_t_means_a_clean_picture():
    model, x = awake(channels=(8, 16)), torch.randn(2, 1, 8, 8)
    assert torch.equal(model(x), model(x, torch.zeros(2, dtype=torch.long)))


def test_the_first_guess_is_nothing():
    torch.manual_seed(0)
    assert (UNet(1, 2, (8, 16), 2)(torch.randn(2, 1, 8, 8), torch.tensor([1, 2])) == 0).all()


def test_what_the_output_depends_on():
    model, x = awake(channels=(8, 16), num_classes=3), torch.randn(1, 1, 8, 8)
    t, y = torch.tensor([500]), torch.tensor([1])
    out = model(x, t, y)
    for other in (model(x, t + 100, y), model(x, t, y + 1), model(x, t), model(x + 0.1, t, y)):
        assert (out - other).abs().max() > 1e-4
    assert not torch.allclose(awake(channels=(8, 16), num_classes=0)(x, t), out)


def test_no_label_is_minus_1_or_None_and_a_label_speaks_for_its_own_picture():
    model, x, t = awake(channels=(8, 16), num_classes=3), torch.randn(4, 1, 8, 8), torch.tensor([500] * 4)
    some = model(x, t, torch.tensor([-1, 0, 2, -1]))
    assert torch.equal(model(x, t), model(x, t, torch.full((4,), -1)))
    assert [torch.allclose(a, b, atol=1e-5) for a, b in zip(some, model(x, t))] == [True, False, False, True]
    model.train()(x, t, torch.tensor([-1, 0, 2, -1])).square().sum().backward()
    assert model.label.weight.grad.any(1).tolist() == [False, True, False, True]       # and no training changes that


def test_skips_carry_the_picture_up():
    x = torch.randn(1, 1, 8, 8)
    for skips in (True, False):
        model = awake(channels=(8, 16), skips=skips)
        nn.init.zeros_(model.middle.res2.conv2.weight), nn.init.zeros_(model.middle.res1.conv2.weight)
        model.middle.forward = lambda x, emb: torch.zeros_like(x)      # nothing comes through the middle
        assert torch.equal(model(x), model(2 * x)) is not skips


def test_pictures_of_a_batch_do_not_meet():
    model, x, t = awake(channels=(8, 16), num_classes=4), torch.randn(4, 1, 8, 8), torch.tensor([1, 50, 500, 1000])
    together = model(x, t, torch.arange(4))
    for i in range(4):
        alone = model(x[i:i + 1], t[i:i + 1], torch.arange(4)[i:i + 1])
        torch.testing.assert_close(together[i:i + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_are_a_rearrangement_that_loses_nothing(patch):
    model, seen = awake(3, 3, (8, 16), patch), {}
    model.stem.register_forward_pre_hook(lambda _, args: seen.update(stem=args[0]))
    model.head.register_forward_hook(lambda _, args, out: seen.update(head=out))
    x = torch.randn(2, 3, 16, 16)
    out = model(x, torch.tensor([1, 2]))
    assert seen["stem"].shape == seen["head"].shape == (2, 3 * patch**2, 16 // patch, 16 // patch)
    assert torch.equal(F.pixel_shuffle(seen["stem"], patch), x)
    for i in range(patch):                                             # each pixel goes out where it would have come in
        for j in range(patch):
            assert torch.equal(out[:, :, i::patch, j::patch], seen["head"][:, i * patch + j::patch**2])


@pytest.mark.parametrize("size, patch, divisor", [(20, 4, 8), (65, 1, 2), (7, 2, 4)])
def test_a_size_that_does_not_fit_gets_a_sentence(size, patch, divisor):
    model = UNet(channels=(8, 8), patch=patch)
    for height, width in ((size, size), (8 * divisor, size), (size, 8 * divisor)):
        with pytest.raises(ValueError, match=f"{height}×{width} do not fit .* divisible by {divisor}"):
            model(torch.zeros(1, 1, height, width))


@pytest.mark.parametrize("channels", [(9,), (8, 20), (), (0,)])
def test_widths_that_do_not_fit_get_a_sentence(channels):
    with pytest.raises(ValueError, match="choose multiples of 8"):
        UNet(channels=channels)


def test_config_makes_the_same_network_again():
    model = awake(3, 2, (8, 16), 2, False, False, 5)
    twin = UNet(**model.config)
    twin.load_state_dict(model.state_dict())
    x, t, y = torch.randn(2, 3, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 4])
    assert torch.equal(twin(x, t, y), model(x, t, y)) and twin.config == model.config


@pytest.mark.parametrize("num_classes", [0, 3])
def test_every_parameter_learns(num_classes):                  # one that did not would stop several processes
    model = awake(channels=(8, 16), patch=2, num_classes=num_classes).train()
    y = torch.tensor([0, 1]) if num_classes else None
    model(torch.randn(2, 1, 8, 8), torch.tensor([5, 6]), y).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(16, heads=4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.load_state_dict({"in_proj_weight": ours.qkv.weight[:, :, 0, 0], "in_proj_bias": ours.qkv.bias,
                            "out_proj.weight": ours.out.weight[:, :, 0, 0], "out_proj.bias": ours.out.bias})
    x = torch.randn(2, 16, 3, 5)
    tokens = ours.norm(x).flatten(2).transpose(1, 2)
    expected = x + theirs(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("c_in, c_out", [(8, 8), (8, 16)])
def test_a_block_that_adds_nothing_passes_its_input_on(c_in, c_out):
    block, x = ResBlock(c_in, c_out, 32), torch.randn(2, c_in, 4, 4)
    nn.init.zeros_(block.conv2.weight), nn.init.zeros_(block.conv2.bias)
    assert torch.equal(block(x, torch.randn(2, 32)), block.skip(x))
