"""Muon, steps along orthogonal matrices, with AdamW for what is no matrix; and a running average of weights."""
import torch
from torch.optim.swa_utils import AveragedModel


def orthogonal(matrix, rounds=5):
    """The matrix with all its singular values moved to about 1, by Newton-Schulz (Jordan et al. 2024): same shape."""
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if len(matrix) > matrix.shape[1] else x            # the products below are as small as they can be
    for _ in range(rounds):
        square = x @ x.T                                       # x <- 3.4445 x + (2.0315 square^2 - 4.7750 square) x
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if len(matrix) > matrix.shape[1] else x


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for matrices, a convolution being one of (out, in * k * k); AdamW for biases and norms.

    A step goes along the average gradient made orthogonal, so that no direction is drowned by a louder one. Its length
    is that of AdamW's usual steps (Liu et al. 2025, section 2.2): one learning rate suits both.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        # A fused AdamW tells torch's GradScaler that it leaves out a step itself where fp16 gradients overflowed. Only
        # its own kernel does so, the matrices would become NaN: let the scaler leave out the whole step.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure=None):
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2 or p.grad is None:
                    continue
                if not self.state[p]:                          # AdamW asks every state for its step
                    self.state[p].update(step=torch.tensor(0.0), average=torch.zeros_like(p))
                average = self.state[p]["average"].lerp_(p.grad, 0.05)
                move = orthogonal(p.grad.lerp(average, 0.95).flatten(1).float())
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(move.reshape(p.shape), alpha=-0.2 * group["lr"] * max(move.shape) ** 0.5)
                p.grad = None                                  # AdamW leaves alone what has no gradient
        return super().step(closure)


class RunningAverage(AveragedModel):
    """torch's running average of a model's weights, in .module, updated without waiting for a GPU.

    torch moves the number of updates to the GPU and asks for it again, at every step; here it stays on the CPU.
    """

    @torch.no_grad()
    def update_parameters(self, model):
        """Move the average towards model's weights, by multi_avg_fn; the first time, copy them.  Buffers are copied."""
        ours = list(self.module.parameters())
        theirs = list(model.parameters())
        n = int(self.n_averaged)
        if n == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            self.multi_avg_fn(ours, theirs, n)
        for mine, its in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(its)
        self.n_averaged += 1
