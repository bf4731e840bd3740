"""What a validation has found: the same on every process, and better or not than the best before."""

from __future__ import annotations

import math
from collections.abc import Mapping

from accelerate import Accelerator

from elman.errors import UserError, did_you_mean
from elman.training.accelerator import from_first

_LOWER_IS_BETTER = ("bits_per_character", "bits_per_sample", "loss", "mae", "mase", "mse", "pinball", "rmse")


def checked(
    accelerator: Accelerator, measured: Mapping[str, float], watch: str, epoch: int
) -> dict[str, float | None]:
    """The first process's numbers, fit for JSON, which has no word for NaN: a metric that is not defined is None.

    Args:
        accelerator: holds the processes.
        measured: what the validation gave on this process.
        watch: the metric that tells which epoch is best.
        epoch: named in errors, from 1.

    Raises:
        UserError: the watched metric is not there or not finite.
    """
    values = from_first(accelerator, {name: float(value) for name, value in measured.items()})
    if watch not in values:
        what, fix = f"the validation gives no metric {watch!r}", did_you_mean(watch, values)
        raise UserError(what, where="train.watch", found=", ".join(values) or "none", fix=fix)
    if not math.isfinite(values[watch]):
        what = f"{watch} must be finite to tell which epoch is best"
        fix = "lower train.learning_rate, or look for NaN in the validation part"
        raise UserError(what, where=f"epoch {epoch}", found=values[watch], fix=fix)
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def better(metrics: Mapping[str, float | None], best: Mapping[str, float | None], watch: str) -> bool:
    """Whether the watched metric, which `checked` found finite, has improved on the best.

    Example:
        >>> better({"macro_f1": 0.6}, {"macro_f1": 0.5}, "macro_f1"), better({"mse": 2.0}, {"mse": 1.0}, "mse")
        (True, False)
    """
    new, old = float(metrics[watch] or 0.0), float(best[watch] or 0.0)
    return new < old if watch in _LOWER_IS_BETTER else new > old
