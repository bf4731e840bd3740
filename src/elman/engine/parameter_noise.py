"""Random numbers for parameters that are prepared once a call: by the core where it can be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from elman.cells import Noise
from elman.cells.contract import Draw
from elman.engine.extension import native
from elman.engine.noise import draw, threshold
from elman.engine.unit import observed

FIRST = 128  # noises of a pass are numbered from 0 in its step, and from here on where parameters are prepared


def parameter_noise(key: Tensor, like: Tensor) -> Draw:
    """What a cell draws from while its parameters are prepared: each call gives another (rows, width)."""
    numbers = itertools.count(FIRST)

    def draw_rows(noise: Noise, rows: int) -> Tensor:
        number = next(numbers)
        core = None if torch.compiler.is_compiling() or observed() else native()
        if core is None or like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
            return draw(replace(noise, per="sequence"), number, key, rows, 1, like)[0]
        found, plain = like.new_empty((rows, noise.width)), key.contiguous()
        where = number, plain.data_ptr(), rows, noise.width, found.data_ptr()
        core.draw(like.dtype is torch.float64, (noise.hit, noise.miss), threshold(noise), where)
        return found

    return draw_rows
