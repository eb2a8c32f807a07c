"""What people use today, as its own pages set it up, trained on the same images and sampled by the same sampler.

Their t counts from 0 where ours counts from 1: their t = 0 is the first, slightly noisy level, our t = 1. So a peer's
schedule is ours made of its own betas, and its network is asked about t - 1.
"""
import copy
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from helpers.guidance import as_x0
from helpers.schedule import Schedule
from helpers.train import ema_update


@dataclass
class Peer:
    """A network in training, with all that its library says of how."""
    name: str
    setting: str                                  # in words
    net: torch.nn.Module
    schedule: Schedule                            # ours, of the peer's betas
    loss: Any                                     # x0 (B, 1, H, W) in [-1, 1] -> scalar
    optimizer: torch.optim.Optimizer
    average: Any                                  # called after each step
    best: Any                                     # () -> the network that samples
    asked: Any                                    # network -> x0_model with our t
    scheduler: Any = None                         # diffusers' own
    batch: int = 8                                # as ours
    clip: float = 1.0

    def frozen(self):
        """Its x0_model as it is now, untouched by further training."""
        return self.asked(copy.deepcopy(self.best()).eval().requires_grad_(False))


def _diffusers(name, setting, widths, down, up, beta_schedule, small, seed):
    from diffusers import DDPMScheduler, UNet2DModel
    torch.manual_seed(seed)
    scheduler = DDPMScheduler(1000, beta_schedule=beta_schedule)
    net = UNet2DModel(sample_size=64, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=widths,
                      down_block_types=down, up_block_types=up)
    averaged = None
    if small:
        net = net.to(memory_format=torch.channels_last)
        averaged = AveragedModel(net, multi_avg_fn=ema_update(0.999), use_buffers=False)

    def loss(x0):
        eps, t = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        return F.mse_loss(net(scheduler.add_noise(x0, eps, t), t).sample, eps)

    schedule = Schedule(scheduler.betas)
    return Peer(name, setting, net, schedule, loss, torch.optim.AdamW(net.parameters(), lr=4e-4),
                average=lambda: averaged.update_parameters(net) if averaged else None,
                best=lambda: averaged.module if averaged else net,
                asked=lambda net: as_x0(lambda xt, t: net(xt, t - 1).sample, schedule, "eps"), scheduler=scheduler)


def course(seed=0):
    """diffusers as courses set it up: 18.5 million parameters, widths 64-128-128-256, AdamW 4e-4, linear schedule."""
    return _diffusers("diffusers, as courses use it", "UNet2DModel 64-128-128-256, two layers a block, attention at 16 "
                      "and 8 pixels; DDPMScheduler, linear, 1000 levels; predicts the noise; AdamW 4e-4; batch 8 "
                      "(courses take 64: too few steps here)", (64, 128, 128, 256),
                      ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
                      ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), "linear", False, seed)


def shrunk(seed=0):
    """diffusers shrunk to two cores: widths 32-64-128, channels_last, a running average, cosine schedule."""
    return _diffusers("diffusers, shrunk", "UNet2DModel 32-64-128, two layers a block, attention at 16 pixels, "
                      "channels_last; DDPMScheduler, squaredcos_cap_v2, 1000 levels; predicts the noise; AdamW 4e-4; "
                      "the same running average as ours; batch 8", (32, 64, 128),
                      ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                      ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), "squaredcos_cap_v2", True, seed)


def lucidrains(seed=0):
    """denoising-diffusion-pytorch with its defaults and those of its Trainer, save the flips: the light has a side."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA
    torch.manual_seed(seed)
    net = GaussianDiffusion(Unet(dim=64, dim_mults=(1, 2, 4, 8), channels=1), image_size=64)
    average = EMA(net, beta=0.995, update_every=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.99))
    return Peer("denoising-diffusion-pytorch", "Unet 64, (1, 2, 4, 8); GaussianDiffusion, sigmoid, 1000 "
                "levels; predicts v; Adam 1e-4, (0.9, 0.99); EMA 0.995 every 10 steps; batch 16; no flips", net,
                Schedule(net.betas), lambda x0: net((x0 + 1) / 2), optimizer, average.update,
                best=lambda: average.ema_model,
                asked=lambda net: lambda xt, t: net.model_predictions(xt, t - 1).pred_x_start, batch=16)


def train(peer, images, seconds, moments=(), seed=0):
    """Train for so many seconds of the clock: (steps, [(seconds passed, x0_model)]), the last when time was up.

    moments: seconds after which a snapshot of the network is kept, too
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    peer.net.train()
    kept, steps, waiting, start = [], 0, sorted({*moments, seconds}), time.monotonic()
    while waiting:
        loss = peer.loss(images[torch.randint(len(images), (peer.batch,), generator=generator)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.net.parameters(), peer.clip)
        peer.optimizer.step()
        peer.optimizer.zero_grad()
        peer.average()
        steps, passed = steps + 1, time.monotonic() - start
        if passed >= waiting[0]:
            waiting = [moment for moment in waiting if moment > passed]
            kept.append((passed, peer.frozen()))
    return steps, kept


@torch.no_grad()
def draw_by_its_own(scheduler, x0_model, schedule, noise, evaluations):
    """Samples made of noise (N, 1, H, W) by diffusers' own DDIM scheduler, with its own choice of steps, in [-1, 1]."""
    from diffusers import DDIMScheduler
    scheduler, drawn = DDIMScheduler.from_config(scheduler.config), []
    scheduler.set_timesteps(evaluations)
    for x in noise.split(64):
        for t in scheduler.timesteps:
            ours = torch.full((len(x),), t + 1)
            eps_hat = schedule.predict_eps(x, ours, x0_model(x, ours))
            x = scheduler.step(eps_hat, t, x).prev_sample
        drawn.append(x.clamp(-1, 1))
    return torch.cat(drawn)
