"""States that go on from batch to batch while a network is trained on endless sequences."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from elman.models.many_to_many import ManyToMany


class CarriedState(nn.Module):
    """Truncated backpropagation through time: each window starts from the states the one before left, detached.

    The states are buffers, so that a checkpoint holds them and a resumed run ends with the same bits. Of several
    processes each has its own rows; every one holds the states of all, so the first one's checkpoint is whole.

    Args:
        model: what is trained, in one direction.
        rows: sequences side by side in this process.
        rank: which of the processes this is, from 0.
        processes: how many there are; `torch.distributed` must be set up for more than one.

    Raises:
        ValueError: the model also reads backwards.

    Source:
        R. J. Williams and J. Peng, Neural Computation 2 (1990): updates every k1 steps, gradients over k2.

    Example:
        >>> from elman.nn import Recurrent
        >>> network = CarriedState(ManyToMany(Recurrent("gru", 3, 4), 2), rows=2)
        >>> first, second = torch.randn(2, 2, 5, 3)
        >>> whole, _ = network.model(torch.cat([first, second], 1))
        >>> bool(torch.allclose(torch.cat([network(first), network(second)], 1), whole, atol=1e-6))
        True
    """

    def __init__(self, model: ManyToMany, rows: int, rank: int = 0, processes: int = 1) -> None:
        super().__init__()
        if model.recurrent.bidirectional:
            raise ValueError("a state is carried forwards: the layers must run in one direction")
        self.model, self.rank, self.processes = model, rank, processes
        fresh = model.recurrent.named_state(model.recurrent.fresh_state(rows))
        self.names = tuple(fresh)
        for name, state in fresh.items():
            self.register_buffer(f"carried_{name}", state[None].repeat(processes, 1, 1, 1))

    def forward(self, x: Tensor, resets: Tensor | None = None, advance: int | None = None) -> Tensor:
        """Scores of each step of a window, (B, T, output_size).

        Args:
            x: the window, as the model takes it.
            resets: (B, T), where a row starts afresh.
            advance: the next window begins so many steps later; all of them by default.
        """
        steps = x.shape[1]
        advance = steps if advance is None else advance
        # Copies: the buffers change before the gradient is taken.
        state = self.model.recurrent.state_of(self._carried(name)[self.rank].clone() for name in self.names)
        if not advance:
            return cast(Tensor, self.model(x, state, resets=resets)[0])
        first, after = self.model(x[:, :advance], state, resets=None if resets is None else resets[:, :advance])
        self._carry(after)
        if advance == steps:
            return cast(Tensor, first)
        rest, _ = self.model(x[:, advance:], after, resets=None if resets is None else resets[:, advance:])
        return torch.cat([first, rest], 1)

    def _carried(self, name: str) -> Tensor:
        buffer: Tensor = getattr(self, f"carried_{name}")
        return buffer

    @torch.no_grad()
    def _carry(self, states: Any) -> None:
        for name, state in self.model.recurrent.named_state(states).items():
            every = [state.detach()]
            if self.processes > 1:
                every = [torch.empty_like(state) for _ in range(self.processes)]
                torch.distributed.all_gather(every, state.detach().contiguous())
            self._carried(name).copy_(torch.stack(every))
