"""What predictions are worth: accuracy, macro-F1 and confusion for classes; errors for numbers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
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


def measure_tags(names: Mapping[str, Sequence[str]], truth: Any, predicted: Any) -> Measures:
    """What tags of words are worth, of one kind or of several.

    accuracy: the share of words all of whose tags are right. macro_f1: the mean over the kinds of the mean F1
    over the kind's tags that are there, in truth or prediction; so a rare tag counts as much as a frequent one.
    kinds: for each its accuracy, its macro_f1, and of each tag precision, recall, f1 and how often it is there.

    Args:
        names: the tags of each kind, in the order of their numbers.
        truth: (words, kinds) numbers of tags.
        predicted: (words, kinds) numbers of tags.

    Example:
        >>> measure_tags({"tag": ("A", "B")}, [[0], [0], [1]], [[0], [1], [1]])["kinds"]["tag"]["tags"]["A"]
        {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'words': 2}
    """
    true, guess = np.asarray(truth), np.asarray(predicted)
    kinds = {kind: _measure_kind(tags, true[:, k], guess[:, k]) for k, (kind, tags) in enumerate(names.items())}
    return {
        "accuracy": float((true == guess).all(1).mean()),
        "macro_f1": float(np.mean([one["macro_f1"] for one in kinds.values()])),
        "words": len(true),
        "kinds": kinds,
    }


def _measure_kind(tags: Sequence[str], truth: Any, predicted: Any) -> Measures:
    pairs = np.bincount(truth * len(tags) + predicted, minlength=len(tags) ** 2).reshape(len(tags), -1)
    right, there, said = pairs.diagonal(), pairs.sum(1), pairs.sum(0)
    table = {
        tag: {
            "precision": _share(right[number], said[number]),
            "recall": _share(right[number], there[number]),
            "f1": _share(2 * right[number], said[number] + there[number]),
            "words": int(there[number]),
        }
        for number, tag in enumerate(tags)
        if there[number] + said[number]
    }
    return {
        "accuracy": float((truth == predicted).mean()),
        "macro_f1": float(np.mean([one["f1"] for one in table.values()])),
        "tags": table,
    }


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0
