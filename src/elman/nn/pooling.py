"""From the outputs of all steps to one vector a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("last", "mean", "max", "attention")


def active_steps(y: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T), true where a step belongs to its row."""
    steps = torch.arange(y.shape[1], device=y.device)
    full = y.new_full((y.shape[0],), y.shape[1], dtype=torch.int64) if lengths is None else lengths
    return steps < full[:, None]


def last_step(y: Tensor, lengths: Tensor | None, width: int) -> Tensor:
    """Each direction's output after its last step: (B, D), zeros for a row of length 0.

    The first `width` columns ran forwards and end at the row's length; the others ran backwards and end at 0.
    """
    if y.shape[1] == 0:
        return y.new_zeros(y.shape[0], y.shape[2])
    forward, backward = y[..., :width], y[:, 0, width:]
    if lengths is None:
        return torch.cat([forward[:, -1], backward], -1)
    index = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, width)
    return torch.cat([forward.gather(1, index)[:, 0], backward], -1)


class Pooling(nn.Module):
    """One vector a row from the outputs of its steps; padding has no part in it.

    last: the last valid step (of each direction). mean, max: over the valid steps. attention:
    sum_t a_t y_t with a = softmax_t(v . tanh(A y_t + b)), the additive attention of Bahdanau et al.,
    arXiv:1409.0473v7, without a query. Several joined by "+" are put side by side.

    Args:
        kind: one of last, mean, max, attention, or several such as "mean+max".
        size: width of the outputs.
        forward_size: how many of them ran forwards (for `last`); all by default.

    Shapes:
        y: (B, T, size), zero beyond each length; lengths: (B,). Returns (B, output_size), 0 for an empty row.

    Raises:
        ValueError: there is no pooling of that name.

    Example:
        >>> Pooling("mean+max", 4)(torch.ones(2, 3, 4), torch.tensor([3, 0])).shape
        torch.Size([2, 8])
    """

    def __init__(self, kind: str, size: int, forward_size: int | None = None) -> None:
        super().__init__()
        self.kinds = tuple(kind.split("+"))
        if unknown := [k for k in self.kinds if k not in KINDS]:
            raise ValueError(f"pooling must be made of {', '.join(KINDS)}, got {unknown[0]!r}")
        self.forward_size = size if forward_size is None else forward_size
        self.output_size = size * len(self.kinds)
        if "attention" in self.kinds:
            self.hidden = nn.Linear(size, size)
            self.score = nn.Linear(size, 1, bias=False)

    def forward(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, output_size)."""
        active = active_steps(y, lengths)
        return torch.cat([self._pool(kind, y, lengths, active) for kind in self.kinds], -1)

    def _pool(self, kind: str, y: Tensor, lengths: Tensor | None, active: Tensor) -> Tensor:
        if kind == "last":
            return last_step(y, lengths, self.forward_size)
        if kind == "mean":
            return y.sum(1) / active.sum(1, keepdim=True).clamp(min=1)
        if y.shape[1] == 0:
            return y.new_zeros(y.shape[0], y.shape[2])
        if kind == "max":
            highest = y.masked_fill(~active[..., None], -torch.inf).amax(1)
            return highest.masked_fill(~active.any(1, keepdim=True), 0.0)
        weights = self.attention(y, active)
        return (weights[..., None] * y).sum(1)

    def attention(self, y: Tensor, active: Tensor) -> Tensor:
        """The weights a_t, (B, T); they sum to 1 over the valid steps of a row that has any."""
        scores: Tensor = self.score(torch.tanh(self.hidden(y)))[..., 0]
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~active, lowest).softmax(1).masked_fill(~active, 0.0)
