"""A model's answers as JSON has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elman.recipes.text_model import TextModel


def answers(model: TextModel, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each text its `prediction`, and for classes the `probabilities` by name."""
    if model.labels.kind == "numbers":
        return [{"prediction": number} for number in model.predict(texts)]
    found = model.probabilities(texts)
    return [{"prediction": max(row, key=row.__getitem__), "probabilities": _rounded(row)} for row in found]


def moves(model: TextModel, text: str) -> list[dict[str, Any]]:
    """For each piece of a text the answer to the text up to it."""
    found = model.over_words(text)
    if model.labels.kind == "numbers":
        return [{"word": piece, "prediction": scores[0]} for piece, scores in found]
    names = model.labels.names
    rows = [_rounded(dict(zip(names, scores, strict=True))) for _, scores in found]
    return [{"word": piece, "probabilities": row} for (piece, _), row in zip(found, rows, strict=True)]


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in row.items()}
