"""Rows into training, validation and test parts, by seed, by group, and evenly over the classes."""

from __future__ import annotations

import hashlib
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
    same on every platform and with every version of anything. Each then goes to the part that is furthest
    behind its share, so that sizes are right to within one row, or one group.

    Args:
        count: the number of rows.
        seed: another seed, another split.
        parts: the shares of training, validation and test; a share of 0 leaves that part empty.
        groups: the group of each row; a group is never cut in two. Labels are then not looked at.
        labels: the class of each row; each class is dealt out by itself, its first row to the largest share.

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
    for stratum in _strata(order, None if groups is not None else labels, units):
        _deal([units[name] for name in stratum], parts, dealt)
    _fill_empty(dealt, parts)
    return Split(*(sorted(row for unit in part for row in unit) for part in dealt))


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
    """Give each unit to the part whose size is furthest below its share of what has been dealt."""
    sizes, total = [0] * len(shares), 0
    for unit in units:
        total += len(unit)
        behind = max(range(len(shares)), key=lambda part: shares[part] * total - sizes[part])
        dealt[behind].append(unit)
        sizes[behind] += len(unit)


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
