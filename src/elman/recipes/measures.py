"""What predictions are worth: accuracy, macro-F1 and confusion for classes; errors for numbers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from elman.data import Labels
from elman.errors import UserError

Measures = dict[str, Any]


def scikit_learn(module: str) -> Any:
    """A module of scikit-learn, which measures and baselines come from.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        fix = "pip install 'elman[sentiment]'"
        raise UserError("measures and baselines need scikit-learn, which is not installed", fix=fix) from error


def measure(labels: Labels, truth: Sequence[float], predicted: Sequence[float]) -> Measures:
    """accuracy, macro_f1 and confusion[true][predicted] for classes; rmse, mae and r2 for numbers.

    macro_f1 is the mean over the classes that are there, in truth or prediction, of 2 p r / (p + r), 0 where
    a class was never predicted.

    Example:
        >>> measure(Labels("classes", ("bad", "good")), [0, 1, 1], [0, 1, 0])["confusion"]
        [[1, 0], [1, 1]]
    """
    metrics = scikit_learn("metrics")
    if labels.kind == "numbers":
        true, guess = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
        error = guess - true
        spread = float(((true - true.mean()) ** 2).sum())
        return {
            "rmse": float(np.sqrt((error**2).mean())),
            "mae": float(np.abs(error).mean()),
            "r2": 1 - float((error**2).sum()) / spread if spread else None,
            "rows": len(true),
        }
    numbers = list(range(len(labels.names)))
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "macro_f1": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0)),
        "confusion": metrics.confusion_matrix(truth, predicted, labels=numbers).tolist(),
        "rows": len(truth),
    }
