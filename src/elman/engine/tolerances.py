"""The one table of tolerances: how far two computations of the same equations may differ, by number format."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

# Absolute and relative. fp64: what the definition must agree to with torch.nn. fp32: a few hundred roundings.
TOLERANCES: Mapping[torch.dtype, float] = MappingProxyType(
    {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 5e-2}
)
