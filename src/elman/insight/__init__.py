"""What happens inside a network: gradients through time, its states as a map, gates, and pictures of it."""

from __future__ import annotations

from elman.insight.activity import dead_units, saturation, taps
from elman.insight.arrangements import draw
from elman.insight.dynamics import (
    input_reach,
    lyapunov_exponent,
    singular_values,
    state_norms,
    step_jacobians,
)
from elman.insight.gradient import (
    by_distance,
    clip_shares,
    effective_memory,
    gradient_by_distance,
    gradient_norms,
    lag_curve,
    parameter_contributions,
)
from elman.insight.pictures import plot_gradient
from elman.insight.tracing import TracedRun, trace_call, trace_run
from elman.insight.unrolled import draw_unrolled
from elman.insight.verdicts import Finding, Remedy, Verdict, verdict

__all__ = [
    "Finding",
    "Remedy",
    "TracedRun",
    "Verdict",
    "by_distance",
    "clip_shares",
    "dead_units",
    "draw",
    "draw_unrolled",
    "effective_memory",
    "gradient_by_distance",
    "gradient_norms",
    "input_reach",
    "lag_curve",
    "lyapunov_exponent",
    "parameter_contributions",
    "plot_gradient",
    "saturation",
    "singular_values",
    "state_norms",
    "step_jacobians",
    "taps",
    "trace_call",
    "trace_run",
    "verdict",
]
