"""What the loop needs of data: batches in an order that follows from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor


class Batch(Protocol):
    """Rows of sequences, padded to one length.

    Attributes:
        lengths: (B,) int64, steps of each row that are not padding.
        rows: B numbers of the rows in the data, named when something goes wrong with them.
        tokens: steps that are not padding, of all rows together.
    """

    @property
    def lengths(self) -> Tensor: ...  # noqa: D102 - described with the class

    @property
    def rows(self) -> Any: ...  # noqa: D102

    @property
    def tokens(self) -> int: ...  # noqa: D102

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""


B = TypeVar("B", bound=Batch)
B_co = TypeVar("B_co", bound=Batch, covariant=True)


class Batches(Protocol[B_co]):
    """The training part, cut into batches; a pure function of its seed and the epoch's number."""

    def __len__(self) -> int:
        """Batches in an epoch, on this process; the same on every process."""

    def epoch(self, number: int, start: int = 0) -> Iterator[B_co]:
        """The batches of an epoch (from 0), the first `start` left out."""
