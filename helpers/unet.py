"""The UNet of the course: a segmentation network at t = 0, a denoising network at t > 0."""
import math

import torch
from torch import nn
import torch.nn.functional as F


def time_embedding(t, dim, max_period=10_000):
    """Sinusoids of t at geometrically spaced frequencies: (B,) -> (B, dim) (Vaswani et al. 2017, section 3.5)."""
    freq = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angle = t[:, None].float() * freq                          # (B, dim / 2): a row knows only its own t
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class ResBlock(nn.Module):
    """norm, act, conv, + time, norm, act, conv, + input: (B, c_in, H, W) -> (B, c_out, H, W)."""

    def __init__(self, c_in, c_out, c_time, groups=8):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.time = nn.Linear(c_time, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x)))                  # (B, c_out, H, W)
        h = h + self.time(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip(x)


class Attention(nn.Module):
    """Self-attention over the H * W positions, + input: (B, c, H, W) -> (B, c, H, W)."""

    def __init__(self, c, heads=4, groups=8):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, c)
        self.qkv = nn.Conv2d(c, 3 * c, 1)
        self.out = nn.Conv2d(c, c, 1)

    def forward(self, x):
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).reshape(B, 3, self.heads, C // self.heads, H * W)
        q, k, v = qkv.transpose(-1, -2).unbind(1)              # (B, heads, HW, C / heads)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(B, C, H, W))


class Level(nn.Module):
    """Two ResBlocks at one resolution, with attention between them if asked."""

    def __init__(self, c_in, c_out, c_time, attend=False):
        super().__init__()
        self.res1 = ResBlock(c_in, c_out, c_time)
        self.attn = Attention(c_out) if attend else nn.Identity()
        self.res2 = ResBlock(c_out, c_out, c_time)

    def forward(self, x, emb):
        return self.res2(self.attn(self.res1(x, emb)), emb)


class UNet(nn.Module):
    """x (B, in_channels, H, W), t (B,) or None, y (B,) or None -> (B, out_channels, H, W).

    channels: width of each level, halving the resolution from one to the next; multiples of 8
    patch: side of the square that pixel_unshuffle folds into channels before the first level (1: none)
    attend: self-attention in the middle, at the lowest resolution
    skips: join each level on the way up with its twin on the way down
    num_classes: how many labels y there are, from 0; an image whose y is -1 has none, nor have all where y is None
    ValueError where a width is no multiple of 8, or H or W not divisible by patch * 2^(levels - 1).
    """

    def __init__(self, in_channels=1, out_channels=1, channels=(64, 128), patch=1, attend=True, skips=True,
                 num_classes=0):
        super().__init__()
        if not channels or any(c <= 0 or c % 8 for c in channels):
            raise ValueError(f"the widths {list(channels)} do not fit this network: choose multiples of 8.")
        c = channels
        c_time = 4 * channels[0]
        self.config = dict(in_channels=in_channels, out_channels=out_channels, channels=list(channels), patch=patch,
                           attend=attend, skips=skips, num_classes=num_classes)
        self.divisor = patch * 2 ** (len(c) - 1)
        self.time = nn.Sequential(nn.Linear(c[0], c_time), nn.SiLU(), nn.Linear(c_time, c_time))
        self.label = nn.Embedding(num_classes + 1, c_time, padding_idx=0) if num_classes else None   # row 0 stays 0

        self.stem = nn.Conv2d(in_channels * patch**2, c[0], 3, padding=1)
        self.down = nn.ModuleList(Level(a, b, c_time) for a, b in zip((c[0], *c), c))
        self.pool = nn.ModuleList(nn.Conv2d(b, b, 3, stride=2, padding=1) for b in c[:-1])
        self.middle = Level(c[-1], c[-1], c_time, attend)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in zip(c, c[1:]))
        self.up = nn.ModuleList(Level(2 * b if skips else b, b, c_time) for b in c)
        last = nn.Conv2d(c[0], out_channels * patch**2, 3, padding=1)
        self.head = nn.Sequential(nn.GroupNorm(8, c[0]), nn.SiLU(), last)
        nn.init.zeros_(last.weight)                            # the first prediction is 0 everywhere: a calm start
        nn.init.zeros_(last.bias)

    def forward(self, x, t=None, y=None):
        config = self.config
        height, width = x.shape[-2:]
        if height % self.divisor or width % self.divisor:
            raise ValueError(f"images of {height}×{width} do not fit this network: choose a size divisible by "
                             f"{self.divisor}.")
        t = x.new_zeros(len(x)) if t is None else t            # a clean image is an image at t = 0
        emb = self.time(time_embedding(t, config["channels"][0]).to(x.dtype))
        emb = emb if y is None else emb + self.label(y + 1)    # no label, -1, adds nothing
        x = self.stem(F.pixel_unshuffle(x, config["patch"]))
        skips = []
        for i, level in enumerate(self.down):                  # down: more channels, fewer pixels
            x = level(x, emb)
            skips.append(x)
            x = self.pool[i](x) if i < len(self.pool) else x
        x = self.middle(x, emb)
        for i in reversed(range(len(self.up))):                # up: the same way back, each level with its skip
            x = torch.cat([x, skips[i]], dim=1) if config["skips"] else x
            x = self.up[i](x, emb)
            x = self.grow[i - 1](F.interpolate(x, scale_factor=2)) if i > 0 else x
        return F.pixel_shuffle(self.head(x), config["patch"])
