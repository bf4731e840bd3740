"""How an answer moves from piece to piece, as JSON has it."""

from __future__ import annotations

from typing import Any

from elman.recipes.text_model import TextModel, rounded


def moves(model: TextModel, text: str) -> list[dict[str, Any]]:
    """For each piece of a text the answer to the text up to it."""
    found = model.over_words(text)
    if model.labels.kind == "numbers":
        return [{"word": piece, "prediction": scores[0]} for piece, scores in found]
    names = model.labels.names
    rows = [rounded(dict(zip(names, scores, strict=True))) for _, scores in found]
    return [{"word": piece, "probabilities": row} for (piece, _), row in zip(found, rows, strict=True)]
