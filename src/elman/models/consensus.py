"""Of several sequences for one source, the one that the others agree with most."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def consensus(sequences: Sequence[Sequence[Hashable]], weights: Sequence[float]) -> int:
    """The number of the sequence with the greatest expected agreement: argmax_a sum_b w_b f(a, b).

    where f(a, b) = 2 |lcs(a, b)| / (|a| + |b|), lcs is the longest common subsequence, and two empty sequences
    agree. A likeliest sequence is often a short one of its own kind; this one stands for many.

    Args:
        sequences: at least one.
        weights: how much each counts, such as its probability.

    Raises:
        ValueError: there is no sequence, or not a weight for each.

    Source:
        Minimum Bayes risk decoding over the n best: S. Kumar and W. Byrne, HLT-NAACL 2004; why: B. Eikema and
        W. Aziz, arXiv:2005.10283v2. The subsequence is found by bits: H. Hyyro, Bit-parallel LCS-length
        computation revisited (2004).

    Example:
        >>> consensus(["abcd", "xyz", "abd"], [0.25, 0.4, 0.35])
        2
    """
    if not sequences or len(sequences) != len(weights):
        raise ValueError(f"sequences need a weight each, got {len(sequences)} and {len(weights)}")
    places = [_places(sequence) for sequence in sequences]
    best, most = 0, -1.0
    for number, one in enumerate(sequences):
        pairs = zip(weights, sequences, places, strict=True)
        agreed = sum(weight * _agreement(one, other, where) for weight, other, where in pairs)
        if agreed > most:
            best, most = number, agreed
    return best


def _agreement(one: Sequence[Hashable], other: Sequence[Hashable], places: dict[Hashable, int]) -> float:
    both = len(one) + len(other)
    return 2 * _common(one, places, len(other)) / both if both else 1.0


def _places(sequence: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each token stands in a sequence, a bit for each place."""
    places: dict[Hashable, int] = {}
    for place, token in enumerate(sequence):
        places[token] = places.get(token, 0) | 1 << place
    return places


def _common(one: Sequence[Hashable], places: dict[Hashable, int], length: int) -> int:
    """The length of the longest common subsequence with a sequence of that length and those places."""
    every = (1 << length) - 1
    row = every  # a bit is 0 where the length grows at that place
    for token in one:
        kept = row & places.get(token, 0)
        row = (row + kept | row - kept) & every
    return length - row.bit_count()
