"""Small random distortions of pictures: shifted, turned, larger or smaller, and still what they show."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def distorted(pictures: Tensor, shift: float, turn: float, zoom: float) -> Tensor:
    """Each picture moved by its own random shift, turn and zoom, each uniform up to its bound.

    x' = (1 + z) R(a) x + s, the place that a pixel x of the result is read from, with z in ±zoom, a in ±turn
    degrees and s in ±shift pixels across and down; between pixels linearly, 0 outside.

    Args:
        pictures: (B, H, W), or (B, C, H, W), whose channels move together.
        shift: pixels.
        turn: degrees.
        zoom: share of the size.

    Returns:
        As `pictures`.

    Example:
        >>> distorted(torch.ones(2, 8, 8), 0.0, 0.0, 0.0).sum().item()
        128.0
    """
    count, height, width = len(pictures), *pictures.shape[-2:]
    random = 2 * torch.rand(4, count, dtype=pictures.dtype, device=pictures.device) - 1
    angle, size = random[0] * math.radians(turn), 1 + random[1] * zoom
    # In affine_grid's units a side is 2, whatever its pixels: a turn must know the sides.
    cos, sin = size * angle.cos(), size * angle.sin()
    across, down = 2 * shift / width * random[2], 2 * shift / height * random[3]
    rows = [cos, -sin * height / width, across, sin * width / height, cos, down]
    grid = affine_grid(torch.stack(rows, -1).reshape(count, 2, 3), [count, 1, height, width], align_corners=False)
    channels = pictures.reshape(count, -1, height, width)
    moved: Tensor = grid_sample(channels, grid, align_corners=False)
    return moved.reshape(pictures.shape)
