"""Muon: its steps against torch's own, and a step whose gradients overflow."""
import pytest
import torch
from test_train import loss_fn, pictures
from torch import nn

from helpers import optim
from helpers.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("clipped", [True, False])
def test_an_overflow_skips_exactly_one_step_of_muon(clipped):
    torch.manual_seed(0)
    net = UNet(channels=(8,), attend=False)
    optimizer = optim.Muon(net.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(4):
        before = [p.detach().clone() for p in net.parameters()]
        scaler.scale(loss_fn(net, pictures(4))).backward()
        if step == 2:
            next(net.parameters()).grad[0, 0] = float("inf")
        if clipped:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        same = [torch.equal(a, b) for a, b in zip(before, net.parameters())]
        assert all(same) if step == 2 else not all(same)
        assert all(p.isfinite().all() for p in net.parameters())
        assert scaler.get_scale() == (2.0 if step >= 2 else 4.0)
    assert all(value.isfinite().all() for state in optimizer.state.values() for value in state.values())


def test_orthogonal_moves_all_singular_values_near_1():
    torch.manual_seed(0)
    for shape in ((8, 30), (30, 8), (16, 40)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        moved = optim.orthogonal(matrix)
        assert moved.shape == shape
        values = torch.linalg.svdvals(moved)
        assert values.min() > 0.4 and values.max() < 1.3       # the published coefficients trade exactness for speed
        assert (u.T @ moved @ v.T).fill_diagonal_(0).abs().max() < 1e-4      # the directions stay


def test_muon_is_torchs_for_matrices_and_adamw_for_the_rest():
    """Two outside authorities: torch.optim.Muon, which computes in half precision, and torch.optim.AdamW."""
    torch.manual_seed(0)
    layers = [nn.Linear(12, 20), nn.Conv2d(4, 8, 3)]
    ours = nn.ModuleList(layers)
    start = [p.detach().clone() for p in ours.parameters()]
    theirs = [nn.Parameter((p.flatten(1) if p.ndim > 1 else p).clone()) for p in start]
    one = optim.Muon(ours.parameters(), lr=0.01)
    others = (torch.optim.Muon([p for p in theirs if p.ndim == 2], lr=0.01, weight_decay=0.01,
                               adjust_lr_fn="match_rms_adamw"),
              torch.optim.AdamW([p for p in theirs if p.ndim == 1], lr=0.01))
    for _ in range(3):
        for a, b in zip(ours.parameters(), theirs):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.reshape(b.shape).clone()
        one.step(), [other.step() for other in others]
    for first, a, b in zip(start, ours.parameters(), theirs):
        moved, wanted = (a - first).flatten(), b.flatten() - first.flatten()
        exact = a.ndim == 1                                    # half precision turns the matrices' way by a few degrees
        if exact:
            torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-6)
        else:
            assert torch.cosine_similarity(moved, wanted, 0) > 0.99
        assert 0.98 < moved.norm() / wanted.norm() < 1.02
