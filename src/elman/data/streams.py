"""Endless sequences: a few rows of text that each go on from batch to batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import UserError

Ids = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class Window:
    """A window on B streams.

    Args:
        inputs: token ids, (B, T) int64.
        targets: the token after each, (B, T) int64.
        resets: where a document begins, or the epoch, (B, T) bool: what was remembered ends there.
        counted: the last so many steps are for the loss; those before are there for the gradient.
        advance: the next window begins so many steps later.
        rows: the numbers of the streams, (B,) int64.
        lengths: T for each row, (B,) int64.
    """

    inputs: Tensor
    targets: Tensor
    resets: Tensor
    counted: int
    advance: int
    rows: Tensor
    lengths: Tensor

    @property
    def tokens(self) -> int:
        """Steps that are counted, of all rows."""
        return self.counted * len(self.rows)

    def to(self, device: torch.device | str) -> Window:
        """The same window on another device."""
        names = ("inputs", "targets", "resets", "rows", "lengths")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class Streams:
    """Documents, one after the other in an order that follows from seed and epoch, cut into rows that never stop.

    Row r of the epoch is the r-th of as many equal pieces; batch i ends `k1` steps after batch i - 1 and reaches
    `k2` steps back. Where the states are carried from window to window (`elman.models.CarriedState`), nothing is
    forgotten at a border.

    Args:
        documents: token ids of each, (T,).
        rows: streams side by side in this process.
        k1: steps between updates.
        k2: steps that the gradient runs back; k1 by default.
        seed: another seed, another order.
        shuffle: False leaves the documents in their order, for evaluation.
        rank: which of the processes this is, from 0; each has streams of its own.
        processes: how many processes share the epoch.

    Raises:
        UserError: sizes that cannot be; documents too short for the rows, each of which needs two tokens.

    Example:
        >>> streams = Streams([np.arange(9, dtype=np.int32)], rows=2, k1=3, shuffle=False)
        >>> [window.inputs.tolist() for window in streams.epoch(0)]
        [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]
    """

    def __init__(
        self,
        documents: Sequence[Ids],
        *,
        rows: int,
        k1: int,
        k2: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.k1, self.k2 = k1, k1 if k2 is None else k2
        if rows < 1 or not 1 <= self.k1 <= self.k2:
            found = f"rows {rows}, k1 {k1}, k2 {self.k2}"
            raise UserError("streams need a row or more and 1 <= k1 <= k2", found=found)
        self._documents = [document for document in documents if len(document)]
        tokens = sum(len(document) for document in self._documents)
        self._rows, self._seed, self._shuffle = rows, seed, shuffle
        self._rank, self._processes = rank, processes
        self.steps = (tokens - 1) // (rows * processes)
        if self.steps < 1:
            found = f"{tokens} tokens for {rows * processes} rows"
            raise UserError(
                "the text is too short for so many rows", found=found, fix="use fewer rows or more text"
            )

    def __len__(self) -> int:
        """Windows in an epoch."""
        return -(-self.steps // self.k1)

    def epoch(self, number: int, start: int = 0) -> Iterator[Window]:
        """The windows of an epoch on this process, from the one with index `start` on."""
        order = np.arange(len(self._documents))
        if self._shuffle:
            order = np.random.Generator(np.random.PCG64([self._seed % 2**64, number])).permutation(order)
        text = np.concatenate([self._documents[i] for i in order])
        begins = np.zeros(len(text), dtype=bool)
        begins[np.cumsum([0, *(len(self._documents[i]) for i in order[:-1])])] = True
        first = self._rank * self._rows
        columns = np.arange(first, first + self._rows)[:, None] * self.steps + np.arange(self.steps)
        begins[columns[:, 0]] = True
        inputs, targets, resets = (
            torch.from_numpy(a) for a in (text[columns], text[columns + 1], begins[columns])
        )
        return (self._window(inputs, targets, resets, i) for i in range(start, len(self)))

    def _window(self, inputs: Tensor, targets: Tensor, resets: Tensor, index: int) -> Window:
        end = min((index + 1) * self.k1, self.steps)
        begin, following = self._begin(index), self._begin(index + 1)
        cut = slice(begin, end)
        rows = torch.arange(self._rows) + self._rank * self._rows
        return Window(
            inputs[:, cut].long(),
            targets[:, cut].long(),
            resets[:, cut],
            counted=end - index * self.k1,
            advance=min(following, end) - begin,
            rows=rows,
            lengths=torch.full((self._rows,), end - begin),
        )

    def _begin(self, index: int) -> int:
        return max(0, (index + 1) * self.k1 - self.k2)
