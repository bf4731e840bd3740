"""N-grams: the fast tables say what the definitions say, one character at a time; probabilities add up to 1."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from elman.recipes.ngram import NGrams

BORDER, SIZE = 2, 7
SYMBOLS = (3, 4, 5, 6)
ORDER = 4
DRAW = np.random.default_rng(0)


def document(length: int) -> np.ndarray:
    """Characters 3 to 5, each likely to follow the one before by one; 6 is never seen in training."""
    steps = DRAW.choice([1, 1, 1, 2], length)
    return (3 + np.cumsum(steps) % 3).astype(np.int32)


TRAIN = [document(length) for length in (40, 1, 25, 0, 60)]
TEST = [document(30), np.array([3, 6, 4, 3, 6], dtype=np.int32)]
TABLES = NGrams(TRAIN, size=SIZE, border=BORDER, order=ORDER, symbols=len(SYMBOLS))


def padded(documents: list[np.ndarray]) -> list[tuple[int, ...]]:
    return [(BORDER,) * (ORDER - 1) + tuple(one.tolist()) for one in documents]


def grams(length: int) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for text in padded(TRAIN):
        found.update(text[end - length + 1 : end + 1] for end in range(ORDER - 1, len(text)))
    return found


def kneser_ney(history: tuple[int, ...], character: int, top: bool) -> float:
    """By the definition of Chen and Goodman, from counters of tuples."""
    length = len(history) + 1
    if length == 0:
        return 1 / len(SYMBOLS)
    counts = grams(length)
    if not top:
        counts = Counter(gram[1:] for gram in grams(length + 1))
    numbers = Counter(counts.values())
    once, twice, thrice, four = (max(1, numbers[n]) for n in (1, 2, 3, 4))
    y = once / (once + 2 * twice)
    taken = [0, 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice]
    taken = [min(max(0, d), n) for n, d in enumerate(taken)]
    lower = 1 / len(SYMBOLS) if not history else kneser_ney(history[1:], character, False)
    followers = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == history}
    if not followers:
        return lower
    total = sum(followers.values())
    back = sum(taken[min(count, 3)] for count in followers.values())
    count = followers.get(character, 0)
    return (count - taken[min(count, 3)] + back * lower) / total


def ppm(history: tuple[int, ...], character: int) -> float:
    """By the definition: the longest context first, what it has seen excluded from the shorter ones."""
    p, excluded = 1.0, set()
    for start in range(len(history) + 1):
        context = history[start:]
        counts = grams(len(context) + 1)
        seen = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        left = {one: count for one, count in seen.items() if one not in excluded}
        if not left:
            continue
        if character in left:
            return p * (2 * left[character] - 1) / (2 * sum(left.values()))
        p *= len(left) / (2 * sum(left.values()))
        excluded |= set(left)
    return p / (len(SYMBOLS) - len(excluded))


def mean_bits(method: str, order: int) -> float:
    bits = []
    for text in padded(TEST):
        for end in range(ORDER - 1, len(text)):
            history = text[end - order + 1 : end]
            p = kneser_ney(history, text[end], True) if method == "kneser_ney" else ppm(history, text[end])
            bits.append(-math.log2(p))
    return sum(bits) / len(bits)


@pytest.mark.parametrize("method", ["kneser_ney", "ppm"])
def test_the_tables_say_what_the_definition_says(method: str) -> None:
    found = TABLES.bits(TEST, method)
    assert sorted(found) == [1, 2, 3, 4]
    for order, bits in found.items():
        assert bits == pytest.approx(mean_bits(method, order), rel=1e-9), order


@pytest.mark.parametrize("method", ["kneser_ney", "ppm"])
@pytest.mark.parametrize("history", [(), (3,), (3, 4, 5), (6, 6, 6), (5, 3)])
def test_the_probabilities_of_what_can_come_next_add_up_to_one(method: str, history: tuple[int, ...]) -> None:
    before = sum(-TABLES.bits([np.array(history, np.int32)], method)[ORDER] for _ in history)
    total = 0.0
    for character in SYMBOLS:
        whole = np.array([*history, character], dtype=np.int32)
        total += 2 ** -(TABLES.bits([whole], method)[ORDER] * len(whole) + before)
    assert total == pytest.approx(1, abs=1e-9)
