"""Live sequences: a layer that is given its input as it comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.nn.recurrent import Recurrent, States


class Stream:
    """One or many sequences that a one-directional layer reads piece by piece, with the states between.

    Whatever the pieces, outputs and states are those of one call over the whole sequence: bit for bit by the
    native engine, up to rounding by torch's kernels and by the definition. Nothing is differentiated. The weights
    are those of the moment the stream was made.

    Args:
        layer: the layers; `outputs` does not matter here.
        rows: sequences side by side.
        state: the states before the first step, as the layer takes them; None: fresh ones.

    Attributes:
        state: the states after the last step, a named tuple of (layers, B, width).

    Raises:
        ValueError: the layer also reads backwards, and would need the end of the sequence first.

    Example:
        >>> layer = Recurrent("lstm", 3, 5)
        >>> stream, x = Stream(layer, rows=2), torch.randn(2, 4, 3)
        >>> pieces = [stream.push(x[:, :3]), stream.step(x[:, 3])[:, None]]
        >>> bool(torch.allclose(torch.cat(pieces, 1), layer(x)[0], atol=1e-6))
        True
    """

    def __init__(self, layer: Recurrent, rows: int = 1, state: States | None = None) -> None:
        if layer.stack.bidirectional:
            raise ValueError("a layer that reads in both directions cannot stream: it needs the end first")
        self._layer = layer
        self._run = layer.streaming()
        self.state: Any = layer.fresh_state(rows) if state is None else layer.given_state(state)

    @property
    def rows(self) -> int:
        """How many sequences are live."""
        return int(self.state[0].shape[1])

    def push(self, x: Tensor) -> Tensor:
        """The outputs for a piece of each sequence, (B, T, D) -> (B, T, output)."""
        with torch.no_grad():
            y, self.state = self._run(x, self.state)
        return y

    def step(self, x: Tensor) -> Tensor:
        """The output for one step of each sequence, (B, D) -> (B, output)."""
        return self.push(x[:, None])[:, 0]

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows in this order; a row may come several times, or not at all."""
        self.state = type(self.state)(*(s.index_select(1, rows) for s in self.state))

    def reset(self, rows: Tensor | None = None) -> None:
        """Starts these rows afresh, (n,) numbers; None: all."""
        fresh = self._layer.fresh_state(self.rows)
        if rows is None:
            self.state = fresh
        else:
            self.state = type(self.state)(
                *(s.index_copy(1, rows, f.index_select(1, rows)) for s, f in zip(self.state, fresh, strict=True))
            )

    def fork(self) -> Stream:
        """Another stream that goes on from here; neither changes the other."""
        twin = object.__new__(Stream)
        twin.__dict__.update(self.__dict__)
        return twin
