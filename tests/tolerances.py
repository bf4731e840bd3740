"""Equality within the one table of tolerances, which is the engine's own."""

from __future__ import annotations

import torch
from torch import Tensor

from elman.engine.tolerances import TOLERANCES


def assert_equal(got: Tensor, wanted: Tensor, what: str = "") -> None:
    """Equal in shape and number format, and in value up to the tolerance of the format; NaN equals nothing."""
    tolerance = TOLERANCES[wanted.dtype]
    torch.testing.assert_close(
        got, wanted, rtol=tolerance, atol=tolerance, msg=(lambda m: f"{what}: {m}") if what else None
    )
