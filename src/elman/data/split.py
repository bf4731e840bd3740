"""Rows into training, validation and test parts, by seed, by group, and evenly over the classes."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from elman.errors import UserError


class Split(NamedTuple):
    """The row numbers of each part, ascending; each row is in exactly one."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split(
    count: int,
    *,
    seed: int,
    parts: tuple[float, float, float] = (0.8, 0.1, 0.1),
    groups: Sequence[Hashable] | None = None,
    labels: Sequence[Hashable] | None = None,
) -> Split:
    """Deal rows out to training, validation and test.

    Rows (or whole groups) are put in the order of BLAKE2b hashes of the seed and their number (or name): the
    same on every platform and with every version of anything. The order is then cut by the shares, so that
    sizes are right to within one row, or one group, and a group's size does not decide where it goes.

    Args:
        count: the number of rows.
        seed: another seed, another split.
        parts: the shares of training, validation and test; a share of 0 leaves that part empty.
        groups: the group of each row; a group is never cut in two.
        labels: the class of each row; each class is cut by itself, as evenly as its count allows. With groups,
            a group counts as the class of its first row.

    Raises:
        UserError: the shares are no shares, the lengths differ, or there are fewer rows (or groups) than
            parts; the number needed is said.

    Example:
        >>> [len(part) for part in split(1000, seed=0)]
        [800, 100, 100]
    """
    _check_shares(parts)
    _check_length("groups", groups, count)
    _check_length("labels", labels, count)
    units = _units(range(count) if groups is None else groups)
    needed = sum(share > 0 for share in parts)
    if len(units) < needed:
        kind = "rows" if groups is None else "groups"
        fix = f"at least {needed} {kind} are needed, one for each part"
        raise UserError("every part of the data must get some of it", found=f"{len(units)} {kind}", fix=fix)
    order = sorted(units, key=lambda name: _hash(seed, name))
    dealt: tuple[list[list[int]], ...] = ([], [], [])
    for stratum in _strata(order, labels, units):
        _deal([units[name] for name in stratum], parts, dealt)
    _fill_empty(dealt, parts)
    return Split(*(sorted(row for unit in part for row in unit) for part in dealt))


def split_in_order(groups: Sequence[Hashable], parts: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> Split:
    """Cut rows where they stand: the first groups to training, the next to validation, the last to test.

    For rows whose order says something, such as who wrote them or when; nothing is drawn. A group counts as one,
    however many rows it has, and stands where its first row stands.

    Args:
        groups: the group of each row; a group is never cut in two.
        parts: the shares of training, validation and test in the number of groups, rounded, at least one group
            each.

    Raises:
        UserError: the shares are no shares, or there are fewer than three groups.

    Example:
        >>> split_in_order(["a", "a", "b", "b", "b", "c"], (0.4, 0.3, 0.3))
        Split(train=[0, 1], validation=[2, 3, 4], test=[5])
    """
    _check_shares(parts)
    units = list(_units(groups).values())
    if len(units) < len(parts):
        fix = "at least 3 groups are needed, one for each part"
        raise UserError("every part of the data must get some of it", found=f"{len(units)} groups", fix=fix)
    test = min(max(1, round(parts[2] * len(units))), len(units) - 2)
    validation = min(max(1, round(parts[1] * len(units))), len(units) - test - 1)
    borders = (0, len(units) - test - validation, len(units) - test, len(units))
    cuts = (units[start:end] for start, end in itertools.pairwise(borders))
    return Split(*(sorted(row for unit in cut for row in unit) for cut in cuts))


def _units(names: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    units: dict[Hashable, list[int]] = {}
    for row, name in enumerate(names):
        units.setdefault(name, []).append(row)
    return units


def _hash(seed: int, name: Hashable) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()


def _strata(
    order: list[Hashable], labels: Sequence[Hashable] | None, units: dict[Hashable, list[int]]
) -> Iterable[list[Hashable]]:
    strata: dict[Hashable, list[Hashable]] = {}
    for name in order:
        strata.setdefault(None if labels is None else labels[units[name][0]], []).append(name)
    return strata.values()


def _deal(units: list[list[int]], shares: Sequence[float], dealt: Sequence[list[list[int]]]) -> None:
    """Lay the units end to end, cut the line by the shares, and give each unit to the part its middle is in."""
    # Not to the part that is furthest behind: that would send every large group to the largest part.
    borders = [border / sum(shares) for border in itertools.accumulate(shares[:-1])]
    total, start = sum(map(len, units)), 0
    for unit in units:
        middle = (start + len(unit) / 2) / total
        dealt[bisect.bisect(borders, middle)].append(unit)
        start += len(unit)


def _fill_empty(dealt: Sequence[list[list[int]]], shares: Sequence[float]) -> None:
    for part, share in zip(dealt, shares, strict=True):
        if share > 0 and not part:
            part.append(max(dealt, key=len).pop())


def _check_shares(parts: Sequence[float]) -> None:
    proper = len(parts) == 3 and all(math.isfinite(share) and share >= 0 for share in parts)
    if not proper or abs(sum(parts) - 1) > 1e-6:
        what = "the shares of training, validation and test must be three numbers from 0 that add up to 1"
        raise UserError(what, found=parts)


def _check_length(name: str, values: Sequence[Hashable] | None, count: int) -> None:
    if values is not None and len(values) != count:
        raise UserError(f"there must be as many {name} as rows, {count}", found=len(values))
