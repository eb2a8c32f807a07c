"""Images rendered here, offline, with their ground truth: `craters`, `cells`, `heads`.

    from helpers import scenes
    ground = scenes.craters(500)                  # ground.images (500, 1, 64, 64), ground.radii, ground.light, …

Each chunk of images has a generator of its own: the same seed gives the same images, the first k of n are those
that k alone would give, and the global random state is never touched. A setting that makes no sense raises ValueError.
"""
from helpers.scenes.draw_cells import Cells, cells
from helpers.scenes.draw_craters import Craters, craters
from helpers.scenes.draw_heads import Heads, heads

__all__ = ["Cells", "Craters", "Heads", "cells", "craters", "heads"]
