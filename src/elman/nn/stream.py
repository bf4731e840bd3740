"""Live sequences: a layer that is given its input as it comes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.engine import LiveNetwork
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
        self._layer, self._streaming = layer, layer.streaming()
        self._state: Any = layer.fresh_state(rows) if state is None else layer.given_state(state)
        self._live: LiveNetwork | None = None  # takes single steps, in the memory of `_state`
        self._stepped = False

    @property
    def state(self) -> Any:
        """The states after the last step."""
        return self._state if self._live is None else type(self._state)(*(s.clone() for s in self._state))

    @property
    def rows(self) -> int:
        """How many sequences are live."""
        return int(self._state[0].shape[1])

    def push(self, x: Tensor) -> Tensor:
        """The outputs for a piece of each sequence, (B, T, D) -> (B, T, output)."""
        with torch.no_grad():
            y, state = self._streaming.run(x, self._state)
        self._go_on(state)
        return y

    def step(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The output for one step of each sequence, (B, D) -> (B, output); in `out`, where it is given.

        From the second of several steps on, a native run keeps its memory between them: no `push` is as fast.

        Raises:
            ValueError: a tensor is of another shape, format or device than those before.
        """
        live = self._live
        if live is None or live.threads != torch.get_num_threads():
            live, self._stepped = (self._settled(x) if self._stepped else None), True
        if live is not None:
            return live.step(x, out)
        y = self.push(x[:, None])[:, 0]
        return y if out is None else out.copy_(y)

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows in this order; a row may come several times, or not at all."""
        self._go_on(type(self._state)(*(s.index_select(1, rows) for s in self._state)))

    def reset(self, rows: Tensor | None = None) -> None:
        """Starts these rows afresh, (n,) numbers; None: all."""
        fresh = self._layer.fresh_state(self.rows)
        if rows is not None:
            both = zip(self._state, fresh, strict=True)
            fresh = type(self._state)(*(s.index_copy(1, rows, f.index_select(1, rows)) for s, f in both))
        self._go_on(fresh)

    def fork(self) -> Stream:
        """Another stream that goes on from here; neither changes the other."""
        twin = object.__new__(Stream)
        twin.__dict__.update(self.__dict__)
        twin._state, twin._live, twin._stepped = self.state, None, False
        return twin

    def _go_on(self, state: Any) -> None:
        """From other states: in the memory that a native run has, where as many rows go on."""
        if self._live is not None and state[0].shape == self._state[0].shape:
            for mine, other in zip(self._state, state, strict=True):
                mine.copy_(other)
        else:
            self._state, self._live = state, None

    def _settled(self, x: Tensor) -> LiveNetwork | None:
        with torch.inference_mode(False), torch.no_grad():  # `_go_on` may write there outside of that mode
            state = type(self._state)(*(s.clone(memory_format=torch.contiguous_format) for s in self._state))
        self._live = self._streaming.settle(x, state)
        if self._live is not None:
            self._state = state
        return self._live
