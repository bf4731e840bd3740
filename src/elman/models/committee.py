"""Several models of one kind, trained side by side, that decide together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


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
