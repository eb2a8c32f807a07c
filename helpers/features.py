"""The network whose features the KID uses, and what it predicts from an image: craters and the direction of light."""
import torch
from torch import nn


class FeatureNet(nn.Module):
    """A small network that predicts craters and light from a grey image; its inner layers give the features.

    (B, 1, H, W), sides divisible by 8 -> what it says of each 8×8 square (B, 6, H / 8, W / 8): the log-odds of a crater
    centred there, its place inside the square (2, from 0 to 1), its log2 radius in pixels, the direction to light (2).
    """
    config = {}

    def __init__(self):
        super().__init__()
        def conv(a, b, stride=1):
            return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(8, b), nn.SiLU())
        self.levels = nn.ModuleList([
            nn.Sequential(conv(1, 32, 2), conv(32, 48)),
            nn.Sequential(conv(48, 64), conv(64, 96, 2)),
            nn.Sequential(conv(96, 96), conv(96, 128, 2)),
            conv(128, 128)])
        self.head = nn.Conv2d(128, 6, 1)
        self.register_buffer("mean", torch.zeros(544))         # of rendered images' features: see features()
        self.register_buffer("std", torch.ones(544))

    def feature_maps(self, x):
        """The outputs of levels 1, 2 and 4: (B, 48, H / 2, W / 2), (B, 96, H / 4, W / 4), (B, 128, H / 8, W / 8)."""
        seen = []
        for level in self.levels:
            x = level(x)
            seen.append(x)
        return seen[0], seen[1], seen[3]

    def forward(self, x):
        return self.head(self.feature_maps(x)[-1])


@torch.no_grad()
def features(feature_net, images):
    """Features of grey images (N, 1, H, W): (N, 544), mean and standard deviation of the channels, standardised."""
    rows = []
    for x in images.split(64):
        seen = [level.flatten(2) for level in feature_net.feature_maps(x)]
        rows.append(torch.cat([s.mean(2) for s in seen] + [s.std(2) for s in seen], dim=1))
    return (torch.cat(rows) - feature_net.mean) / feature_net.std


@torch.no_grad()
def find_craters(feature_net, images, threshold=0.5):
    """For each grey image (N, 1, H, W): (centres (k, 2) as column, row, radii (k,)), in pixels, of those detected."""
    found = []
    for x in images.split(64):
        out = feature_net(x)
        rows, columns = torch.meshgrid(torch.arange(out.shape[2]), torch.arange(out.shape[3]), indexing="ij")
        corner = torch.stack([columns, rows]).to(out)
        for square in out:
            there = square[0].sigmoid() > threshold
            centres = 8 * (corner + square[1:3])[:, there].T - 0.5
            found.append((centres, square[3][there].exp2()))
    return found


@torch.no_grad()
def find_light(feature_net, images):
    """(degrees, agreement), each (N,): where the light comes from, 90 = top; from 0 to 1, how far all parts agree."""
    out = torch.cat([feature_net(x)[:, 4:6].flatten(2) for x in images.split(64)])
    total = out.sum(2)
    return torch.rad2deg(torch.atan2(total[:, 1], total[:, 0])) % 360, total.norm(dim=1) / out.norm(dim=1).sum(1)
