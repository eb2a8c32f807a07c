"""The learning rate over the length of a training."""
import pytest
import torch

from helpers.span import learning_rate


def test_learning_rate_rises_and_falls_to_zero():
    assert learning_rate(1, 10_000, 1e-3) == learning_rate(1.5, 10_000, 1e-3) == 0
    assert learning_rate(0, 0, 1e-3) == pytest.approx(1e-5) and learning_rate(0, 99, 1e-3) == pytest.approx(1e-3)
    assert learning_rate(0.05, 10, 1e-3) > 0.99e-3 > learning_rate(0.02, 10, 1e-3)     # of few steps, a twentieth
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.7)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(51):
        assert learning_rate(step / 50, 1000, 0.7) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step(), theirs.step()
