"""Several models of one kind, trained side by side, that decide or write together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from elman.models.writing import Memory


class Committee(nn.Module):
    """Models with their own first weights, whose answers are averaged: what one sees by chance, the others do not.

    Args:
        members: models that take the same arguments and give outputs of the same shape.

    Shapes:
        Returns the outputs of all members, (members, B, ...): each is trained on its own. The decision is the
        mean over them: of probabilities for classes, of the outputs for numbers.

    Raises:
        ValueError: there is no member.

    Source:
        L. K. Hansen and P. Salamon, Neural network ensembles, IEEE PAMI 12 (1990); B. Lakshminarayanan, A. Pritzel
        and C. Blundell, arXiv:1612.01474v3.

    Example:
        >>> Committee(nn.Linear(3, 2) for _ in range(5))(torch.zeros(4, 3)).shape
        torch.Size([5, 4, 2])
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not self.members:
            raise ValueError("a committee needs at least one member")

    def forward(self, *arguments: Tensor, **options: Any) -> Tensor:
        """The output of each member."""
        return torch.stack([member(*arguments, **options) for member in self.members])


class WritingCommittee(Committee):
    """Models that write one sequence together: the probability of a token is the mean over the members.

    p(token) = 1/M sum_m p_m(token);  each member remembers the common sequence in its own way.

    Args:
        members: models with `begin` and `advance`, such as `OneToMany`.

    Example:
        >>> from elman import Recurrent
        >>> from elman.models import OneToMany, beam_search
        >>> members = (OneToMany(Recurrent("gru", 4, 8), 9, context_size=3, embedding_size=4) for _ in range(2))
        >>> committee = WritingCommittee(members).eval()
        >>> memory, first = committee.begin(torch.zeros(5, 3)), torch.zeros(5, dtype=torch.int64)
        >>> len(beam_search(committee, memory, first, end=1, steps=4))
        5
    """

    def begin(self, *context: Any) -> Memories:
        """What each member remembers before the first step."""
        return Memories([cast(Any, member).begin(*context) for member in self.members])

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each token after `previous`, (B, V)."""
        if not isinstance(memory, Memories):
            raise TypeError(f"the memory of a committee comes from its begin, got {type(memory).__name__}")
        pairs = zip(self.members, memory.each, strict=True)
        scores = torch.stack([cast(Any, member).advance(previous, one) for member, one in pairs])
        return scores.logsumexp(0) - math.log(len(scores))


class Memories(Memory):
    """What the members of a committee remember.

    Attributes:
        each: the memory of each member.
    """

    def __init__(self, each: Sequence[Memory]) -> None:
        self.each = each

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows in this order, in every memory."""
        for memory in self.each:
            memory.select(rows)
