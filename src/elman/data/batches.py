"""Batches of sequences of about the same length, a pure function of seed and epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.data.sequences import Sequences
from elman.errors import UserError

_POOL = 50  # batches that are sorted by length together
IGNORED = -100  # stands where a step has no target; torch's cross_entropy leaves it out by default


@dataclass(frozen=True)
class Batch:
    """Some sequences side by side, padded with 0 to the longest.

    Args:
        inputs: token ids `(B, T)` int64, or features `(B, T, D)` float32.
        lengths: the length of each sequence `(B,)` int64.
        targets: a class or a number for each sequence `(B,)`, int64 or float32; or the class of each step
            `(B, T)`, or several of each `(B, T, K)`, `IGNORED` beyond a row's length; or None.
        rows: the index of each sequence in the data `(B,)` int64.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor | None
    rows: Tensor

    @property
    def tokens(self) -> int:
        """The number of steps that are not padding."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        targets = None if self.targets is None else self.targets.to(device)
        return Batch(self.inputs.to(device), self.lengths.to(device), targets, self.rows.to(device))


class Batches:
    """Batches over sequences, bucketed by length; nobody needs to sort anything.

    An epoch shuffles all rows, sorts pools of about 50 batches by length, cuts them into batches and
    shuffles the batches, by a generator (numpy's PCG64) seeded with `seed` and the number of the epoch alone.

    The batches of an epoch are as few as `batch_size` allows, rounded up to a multiple of `processes`, and
    their sizes differ by at most one. So every row comes exactly once, every process gets equally many
    batches, and those of one step, which the processes take at the same time, are of about the same length.

    Args:
        sequences: token ids `(T,)` or features `(T, D)` each, of any length, 0 included; see `Sequences`.
        targets: a class (whole number) or a number for each sequence; or for each an array with the class of
            each of its steps `(T,)`, or several classes `(T, K)`.
        batch_size: the largest number of sequences in a batch of one process.
        seed: another seed, another order.
        shuffle: False goes through all rows by length, the same in every epoch: for evaluation.
        rank: which of the processes this is, from 0.
        processes: how many processes share the epoch.

    Raises:
        UserError: what `Sequences` refuses; targets of another number or not finite, or of the steps and not
            one for each, or no classes; fewer rows than processes, or batches of 1 that do not come out even
            over the processes.

    Example:
        >>> batches = Batches([[5, 6, 7], [8], [9, 9]], targets=[1, 0, 1], batch_size=2, shuffle=False)
        >>> [batch.inputs.tolist() for batch in batches.epoch(0)]
        [[[8]], [[9, 9, 0], [5, 6, 7]]]
    """

    def __init__(
        self,
        sequences: Sequence[Any],
        targets: Sequence[int] | Sequence[float] | Sequence[np.ndarray[Any, Any]] | Tensor | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if batch_size < 1:
            raise UserError("a batch must hold at least 1 sequence", where="batch_size", found=batch_size)
        if not 0 <= rank < processes:
            raise UserError("the rank must be from 0 to processes - 1", found=f"rank {rank} of {processes}")
        self._sequences = Sequences(sequences)
        rows = len(self._sequences)
        self._targets: Tensor | Sequences | None = None
        if targets is not None:
            of_steps = isinstance(targets[0], np.ndarray) and targets[0].ndim > 0
            self._targets = _step_targets(targets, self._sequences) if of_steps else _targets(targets, rows)
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._processes = rank, processes
        self._steps = -(-rows // (batch_size * processes))
        if rows < self._steps * processes:
            found = f"{rows} rows in batches of {batch_size} for {processes} processes"
            fix = "use fewer processes, or a batch size of 2 or more"
            raise UserError("every process needs a row for each of its batches", found=found, fix=fix)

    def __len__(self) -> int:
        """Batches in an epoch, on each process."""
        return self._steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch on this process, from the one with index `start` on.

        Args:
            number: which epoch, from 0.
            start: how many batches to leave out: what follows is exactly what followed them.

        Raises:
            UserError: there is no such epoch or batch.
        """
        if number < 0 or not 0 <= start <= len(self):
            what = f"epochs count from 0, batches from 0 to {len(self)}"
            raise UserError(what, found=f"epoch {number}, start {start}")
        return (self._batch(rows) for rows in self._order(number)[start:])

    def _batch(self, rows: Tensor) -> Batch:
        inputs, lengths = self._sequences.pad(rows)
        if isinstance(self._targets, Sequences):
            return Batch(inputs, lengths, self._targets.pad(rows, IGNORED)[0], rows)
        return Batch(inputs, lengths, None if self._targets is None else self._targets[rows], rows)

    def _order(self, epoch: int) -> list[Tensor]:
        """The rows of each batch of this process, in order."""
        count, lengths = len(self._sequences), self._sequences.lengths.numpy()
        random = np.random.Generator(np.random.PCG64([self._seed % 2**64, epoch]))
        rows = random.permutation(count) if self._shuffle else np.arange(count)
        # A step is one batch on each process; a pool is a whole number of steps.
        cuts = np.arange(self._steps * self._processes + 1) * count // (self._steps * self._processes)
        pool = (_POOL if self._shuffle else self._steps) * self._processes
        borders = [*cuts[:-1:pool], count]
        for start, end in itertools.pairwise(borders):
            part = rows[start:end]
            rows[start:end] = part[np.argsort(lengths[part], kind="stable")]
        steps = random.permutation(self._steps) if self._shuffle else np.arange(self._steps)
        mine = steps * self._processes + self._rank
        return [torch.from_numpy(rows[cuts[batch] : cuts[batch + 1]]) for batch in mine]


def _step_targets(values: Any, sequences: Sequences) -> Sequences:
    targets = Sequences(values)
    wanted, given = sequences.lengths.tolist(), targets.lengths.tolist()
    if len(given) != len(wanted):
        what = f"there must be targets for each of the {len(wanted)} sequences"
        raise UserError(what, where="targets", found=len(given))
    for row, (steps, length) in enumerate(zip(wanted, given, strict=True)):
        if steps != length:
            found = f"{length} targets for {steps} steps"
            raise UserError("every step must have its target", where=f"row {row}", found=found)
    if not targets.whole:
        raise UserError("targets of steps must be class numbers", where="targets", found="numbers with a point")
    return targets


def _targets(values: Any, rows: int) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.shape != (rows,):
        what = f"there must be one target for each of the {rows} sequences"
        raise UserError(what, where="targets", found=f"shape {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        return tensor.to(torch.int64)
    numbers = tensor.to(torch.float32)
    wrong = (~numbers.isfinite()).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise UserError("targets must be finite", where=f"row {row}", found=float(tensor[row]))
    return numbers
