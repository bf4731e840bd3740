"""Sequences of unequal length laid end to end in one tensor, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from elman.errors import UserError

_Filled: TypeAlias = list[tuple[int, np.ndarray[Any, Any]]]


class Sequences:
    """Sequences of ids `(T,)`, or of several ids or features a step `(T, D)`, cut out and padded with 0 on demand.

    Args:
        sequences: lists, arrays or CPU tensors: whole numbers from 0, or rows of D numbers; whole ones stay whole.

    Raises:
        UserError: no sequence, another number of dimensions, mixed widths, a negative id, NaN or infinity;
            the row, step and column are named, each from 0.

    Example:
        >>> inputs, lengths = Sequences([[5, 6, 7], [8]]).pad(torch.tensor([1, 0]))
        >>> inputs.tolist(), lengths.tolist()
        ([[8, 0, 0], [5, 6, 7]], [1, 3])
    """

    def __init__(self, sequences: Sequence[Any]) -> None:
        arrays = [_array(sequence, row) for row, sequence in enumerate(sequences)]
        if not arrays:
            raise UserError("there must be at least one sequence", found="none")
        self.lengths = torch.tensor([len(array) for array in arrays])
        self._starts = self.lengths.cumsum(0) - self.lengths
        filled = [(row, array) for row, array in enumerate(arrays) if len(array)]
        self._flat = torch.from_numpy(_join(filled)) if filled else torch.zeros(arrays[0].shape, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def whole(self) -> bool:
        """Whether they hold whole numbers."""
        return not self._flat.is_floating_point()

    def pad(self, rows: Tensor, value: int = 0) -> tuple[Tensor, Tensor]:
        """The sequences of these rows `(B,)`, as `(B, T)` or `(B, T, D)`, and their lengths `(B,)`.

        T is the greatest of the lengths, and at least 1; what lies beyond a length holds `value`.
        """
        lengths = self.lengths[rows]
        steps = torch.arange(max(1, int(lengths.max())))
        valid = steps < lengths[:, None]
        inputs = self._flat.new_full((*valid.shape, *self._flat.shape[1:]), value)
        inputs[valid] = self._flat[(self._starts[rows][:, None] + steps)[valid]]
        return inputs, lengths


def _array(sequence: Any, row: int) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(sequence)
    except ValueError as error:
        raise UserError("all steps of a sequence must be of one width", where=f"row {row}", found=error) from error
    if array.size and array.dtype.kind not in "iuf":
        raise UserError("a sequence must hold numbers", where=f"row {row}", found=f"values of type {array.dtype}")
    if array.ndim not in (1, 2):
        what = "a sequence must be token ids (steps,) or features (steps, width)"
        raise UserError(what, where=f"row {row}", found=f"shape {array.shape}")
    return array


def _join(filled: _Filled) -> np.ndarray[Any, Any]:
    """The sequences end to end: whole numbers as int64, of one dimension or two, others as float32 of two."""
    shape = filled[0][1].shape[1:]
    for row, array in filled:
        if array.shape[1:] != shape or 0 in shape:
            what = f"every sequence must have the shape {('steps', *shape)} of the first, and a width of 1 or more"
            raise UserError(what, where=f"row {row}", found=f"shape {array.shape}")
    if not shape:
        return _tokens(filled)
    if all(array.dtype.kind in "iu" for _, array in filled):
        return np.concatenate([array for _, array in filled], dtype=np.int64, casting="unsafe")
    return _features(filled)


def _tokens(filled: _Filled) -> np.ndarray[Any, Any]:
    for row, array in filled:
        if array.dtype.kind == "f":
            fix = "give features as (steps, width), width 1 where there is one value a step"
            raise UserError("token ids are whole numbers", where=f"row {row}", found="floats", fix=fix)
    flat = np.concatenate([array for _, array in filled], dtype=np.int64, casting="unsafe")
    if flat.min() < 0:
        where, value = _place(int(flat.argmin()), filled)
        raise UserError("token ids start at 0", where=where, found=value)
    return flat


def _features(filled: _Filled) -> np.ndarray[Any, Any]:
    # Judged as they will be used: a float64 beyond the range of float32 is infinite there.
    with np.errstate(over="ignore"):
        features = np.concatenate([array for _, array in filled], dtype=np.float32, casting="unsafe")
    if not np.isfinite(features).all():
        step, column = np.argwhere(~np.isfinite(features))[0].tolist()
        where, values = _place(step, filled)
        fix = "fill in or remove what is missing"
        raise UserError(
            "features must be finite", where=f"{where}, column {column}", found=values[column], fix=fix
        )
    return features


def _place(step: int, filled: _Filled) -> tuple[str, Any]:
    """Which row and step a step of the joined sequences is, and what stands there."""
    for row, array in filled:
        if step < len(array):
            return f"row {row}, step {step}", array[step]
        step -= len(array)
    raise IndexError(step)
