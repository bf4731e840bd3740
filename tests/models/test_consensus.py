"""The sequence that the others agree with: against the definition, at random."""

from __future__ import annotations

import random

import numpy as np
import pytest

from elman.models import consensus


def common(one: str, other: str) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return 1 + common(one[:-1], other[:-1])
    return max(common(one[:-1], other), common(one, other[:-1]))


def agreement(one: str, other: str) -> float:
    return 2 * common(one, other) / (len(one) + len(other)) if one or other else 1.0


def test_is_the_one_with_the_greatest_expected_agreement() -> None:
    draw = random.Random(0)
    for _ in range(200):
        texts = ["".join(draw.choices("abc", k=draw.randrange(7))) for _ in range(draw.randrange(1, 6))]
        weights = [draw.random() for _ in texts]
        pairs = list(zip(weights, texts, strict=True))
        expected = [sum(weight * agreement(one, other) for weight, other in pairs) for one in texts]
        assert expected[consensus(texts, weights)] == pytest.approx(max(expected))


def test_long_sequences_and_tokens_of_any_kind() -> None:
    numbers = np.random.default_rng(0).integers(0, 50, (3, 200)).tolist()
    assert consensus([numbers[0], numbers[1], numbers[1] + [7]], [1.0, 1.0, 1.0]) in (1, 2)
    assert consensus([[]], [0.0]) == 0


@pytest.mark.parametrize(("texts", "weights"), [([], []), (["a"], [1.0, 2.0])])
def test_a_weight_for_each(texts: list[str], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="a weight each"):
        consensus(texts, weights)
