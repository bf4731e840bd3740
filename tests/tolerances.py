"""The one table of tolerances: how far two computations of the same equations may differ, by number format."""

from __future__ import annotations

import torch
from torch import Tensor

# Absolute and relative. fp64: what the definition must agree to with torch.nn. fp32: a few hundred roundings.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5}


def assert_equal(got: Tensor, wanted: Tensor, what: str = "") -> None:
    """Equal in shape and number format, and in value up to the tolerance of the format; NaN equals nothing."""
    tolerance = TOLERANCES[wanted.dtype]
    torch.testing.assert_close(
        got, wanted, rtol=tolerance, atol=tolerance, msg=(lambda m: f"{what}: {m}") if what else None
    )
