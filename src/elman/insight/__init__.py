"""What happens inside a network: gradients through time, and pictures of it."""

from __future__ import annotations

from elman.insight.arrangements import draw
from elman.insight.gradient import gradient_by_distance
from elman.insight.pictures import plot_gradient
from elman.insight.unrolled import draw_unrolled

__all__ = ["draw", "draw_unrolled", "gradient_by_distance", "plot_gradient"]
