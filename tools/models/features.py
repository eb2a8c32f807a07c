"""Train the feature network: it reads craters and light off rendered images, where both are known.

    python -m tools.models.features --out data/weights/features.safetensors
"""
import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from helpers import scenes
from helpers.features import FeatureNet, features
from helpers.checkpoints import save_weights
from helpers.train import fit


def squares(moon, size):
    """FeatureNet's target for each 8×8 square: (n, 6, size / 8, size / 8); log-odds are 1 for a crater, else 0."""
    n = len(moon.images)
    side = size // 8
    wanted = torch.zeros(n, 6, side, side)
    for k in reversed(range(moon.radii.shape[1])):             # small to large: of two in one square the larger counts
        place = (moon.centres[:, k] + 0.5) / 8
        r = moon.radii[:, k]
        i = torch.nonzero((r > 0) & (place >= 0).all(1) & (place < side).all(1)).flatten()
        column, row = place[i].long().unbind(1)
        wanted[i, 0, row, column] = 1.0
        wanted[i, 1:3, row, column] = place[i] % 1
        wanted[i, 3, row, column] = r[i].log2()
    angle = torch.deg2rad(moon.light)[:, None, None].expand(n, side, side)
    wanted[:, 4] = angle.cos()
    wanted[:, 5] = angle.sin()
    return wanted


def rotated(moon, size):
    """The same scenes, a quarter of them as they are, the others rotated by 90, 180 and 270 degrees."""
    parts = []
    for k in range(4):
        image, centres, radii, light = (part[k::4] for part in moon)
        for _ in range(k):                                     # against the clock: the top row becomes the left column
            image = image.rot90(1, (2, 3))
            light = (light + 90) % 360
            centres = torch.stack([centres[..., 1], size - 1 - centres[..., 0]], dim=-1)
        parts.append(scenes.Craters(image, centres, radii, light))
    return scenes.Craters(*(torch.cat(part) for part in zip(*parts)))


def quilted(x, generator):
    """Images, or their targets (n, ..., size), each with the right half of another, whose light differs."""
    other = x[torch.randperm(len(x), generator=generator)]
    return torch.cat([x[..., :x.shape[-1] // 2], other[..., x.shape[-1] // 2:]], dim=-1)


def loss(feature_net, batch):
    """The training loss of a FeatureNet on a batch (images, targets): a scalar."""
    x, wanted = batch
    out = feature_net(x).float()
    there = wanted[:, 0]
    near = (out[:, 1:4] - wanted[:, 1:4]).abs().sum(1)
    return (F.binary_cross_entropy_with_logits(out[:, 0], there) + (near * there).sum() / there.sum().clamp(min=1) / 4
            + F.mse_loss(out[:, 4:6], wanted[:, 4:6]) / 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("tools.models.features", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/weights/features.safetensors"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--examples", type=int, default=8000, help="how many images of each of the four kinds")
    o = parser.parse_args()
    torch.manual_seed(0)
    sets = [scene for varied in (False, True) for scene in (scenes.craters(o.examples, 64, 1, varied),
                                                            rotated(scenes.craters(o.examples, 64, 2, varied), 64))]
    images = torch.cat([moon.images for moon in sets])
    wanted = torch.cat([squares(moon, 64) for moon in sets])
    for k in (1, 3):                                           # the rotated ones once more, in halves
        some = slice(k * o.examples, (k + 1) * o.examples)
        images, wanted = (torch.cat([x, quilted(x[some], torch.Generator().manual_seed(k))])
                            for x in (images, wanted))
    feature_net, _ = fit(FeatureNet(), TensorDataset(images, wanted), loss,
                   steps=o.steps, batch_size=32, lr=2e-3)
    seen = features(feature_net, images[:4 * o.examples:8])
    feature_net.mean.copy_(seen.mean(0))
    feature_net.std.copy_(seen.std(0))
    save_weights(o.out, feature_net, data="craters, plain and varied", examples=len(images), size=64, steps=o.steps,
                 batch=32, lr=2e-3, seed=0)
    o.out.chmod(0o644)
    print(f"The weights are in {o.out}.")
