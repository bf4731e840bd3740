"""`Layers`: recurrent layers of different cells and sizes, one reading the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from elman.engine import LiveChain
from elman.nn.recurrent import Recurrent
from elman.nn.stream import Live, States, Stream, Streaming, Tensors


class Layers(nn.Module):
    """Recurrent layers of any cells and sizes, each reading the outputs of the one before.

    y^1 = layer_1(x);  y^k = layer_k(dropout(y^{k-1}))

    A `Recurrent` has equal cells and sizes in all its layers; here each has its own, and its own directions,
    backend and initial states. Where a `Recurrent` is taken as the reader of a model, so are these.

    Args:
        layers: in the order in which they read; all but the last with outputs="all".
        dropout: probability of zeroing an output between two of them, while training.

    Shapes:
        x: (B, T, input_size). y: (B, T, output_size), or (B, output_size) where the last gives its "last" outputs.
        state: a tuple of the layers' states, each a named tuple of (num_layers * directions, B, width).
        lengths: (B,), resets: (B, T), for every layer; see `Recurrent`.

    Raises:
        ValueError: there is no layer, one does not read as many numbers as the one before gives, or gives only its
            last output to the next.

    Example:
        >>> import torch
        >>> layers = Layers(Recurrent("gru", 3, 8, bidirectional=True), Recurrent("lstm", 16, 5), dropout=0.1)
        >>> y, (first, second) = layers(torch.randn(2, 7, 3), lengths=torch.tensor([7, 4]))
        >>> y.shape, first.h.shape, second.c.shape
        (torch.Size([2, 7, 5]), torch.Size([2, 2, 8]), torch.Size([1, 2, 5]))
    """

    def __init__(self, *layers: Recurrent, dropout: float = 0.0) -> None:
        super().__init__()
        if not layers:
            raise ValueError("there must be at least one layer")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability from 0 to 1, got {dropout}")
        for number, layer in enumerate(layers):
            if not isinstance(layer, Recurrent):
                raise ValueError(f"layer {number} must be a Recurrent, got {type(layer).__name__}")
        for number, (before, layer) in enumerate(pairwise(layers)):
            if before.outputs != "all":
                raise ValueError(f"layer {number} must give all outputs to layer {number + 1}: {before}")
            if before.output_size != layer.input_size:
                gives, reads = before.output_size, layer.input_size
                raise ValueError(f"layer {number} gives {gives} numbers, layer {number + 1} reads {reads}")
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)

    @property
    def parts(self) -> list[Recurrent]:
        """The layers in the order in which they read."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def input_size(self) -> int:
        """Width of the inputs."""
        return self.parts[0].input_size

    @property
    def output_size(self) -> int:
        """Width of the outputs, both directions of the last layer side by side."""
        return self.parts[-1].output_size

    @property
    def outputs(self) -> str:
        """As the last layer gives them: "all" or "last"."""
        return self.parts[-1].outputs

    @property
    def directions(self) -> int:
        """1 or 2: in how many directions the last layer reads."""
        return self.parts[-1].directions

    @property
    def bidirectional(self) -> bool:
        """Whether a layer also reads from the end to the start."""
        return any(layer.bidirectional for layer in self.parts)

    def forward(
        self,
        x: Tensor,
        state: Sequence[States] | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        noise: tuple[int, int] | None = None,
        return_all: bool = False,
    ) -> Any:
        """Outputs and the states of each layer; see the class for shapes.

        `noise` and `return_all` are as `Recurrent` has them: each layer draws by a seed one higher than the one
        below, and the inner values are a tuple of dictionaries, one a layer.

        Raises:
            ValueError: as `Recurrent`, or there is not one state a layer.
        """
        finals, inner = [], []
        each = [None] * len(self.layers) if state is None else self._checked(state)
        for number, (layer, given) in enumerate(zip(self.layers, each, strict=True)):
            own = None if noise is None else (noise[0] + number, noise[1])
            x = self.dropout(x) if number else x
            x, final, *rest = layer(x, given, lengths=lengths, resets=resets, noise=own, return_all=return_all)
            finals.append(final)
            inner += rest
        return (x, tuple(finals), tuple(inner)) if return_all else (x, tuple(finals))

    def fresh_state(self, rows: int) -> tuple[Any, ...]:
        """The states a row starts with, for so many rows."""
        return tuple(layer.fresh_state(rows) for layer in self.parts)

    def given_state(self, state: Sequence[States]) -> tuple[Any, ...]:
        """A state as the layers take it, as they return it, detached."""
        return tuple(layer.given_state(s) for layer, s in zip(self.parts, self._checked(state), strict=True))

    def named_state(self, state: Sequence[Any]) -> dict[str, Tensor]:
        """The tensors of a state by the layer's number and the cell's names."""
        every = enumerate(zip(self.parts, state, strict=True))
        return {f"{k}_{name}": s for k, (layer, own) in every for name, s in layer.named_state(own).items()}

    def state_of(self, tensors: Iterable[Tensor]) -> tuple[Any, ...]:
        """The state of these tensors, layer by layer."""
        return tuple(layer.state_of(own) for layer, own in zip(self.parts, self._shared_out(tensors), strict=True))

    def identity(self) -> str:
        """The cells and sizes in one line: a state of other layers is none of these."""
        return "; ".join(layer.identity() for layer in self.parts)

    def stream(self, rows: int = 1, state: Sequence[States] | None = None) -> Stream:
        """Sequences that are read as they come; see `elman.nn.Stream`.

        Raises:
            ValueError: a layer also reads backwards.
        """
        return Stream(self, rows, state)

    def streaming(self) -> Streaming:
        """What a `Stream` runs; the parameters are read once.

        Raises:
            ValueError: a layer also reads backwards.
        """
        every = [layer.streaming() for layer in self.parts]
        inputs = [layer.input_size for layer in self.parts]

        def run_piece(x: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
            finals: list[Tensor] = []
            for one, own in zip(every, self._shared_out(state), strict=True):
                x, final = one.run(x, own)
                finals.extend(final)
            return x, tuple(finals)

        def settle(x: Tensor, state: Tensors) -> Live | None:
            shares = zip(every, inputs, self._shared_out(state), strict=True)
            lives: list[Any] = [one.settle(x.new_empty(len(x), width), own) for one, width, own in shares]
            return None if None in lives else LiveChain(lives)

        return Streaming(run_piece, settle)

    def _checked(self, state: Sequence[States]) -> Sequence[States]:
        if not isinstance(state, Sequence) or len(state) != len(self.layers):
            found = len(state) if isinstance(state, Sequence) else type(state).__name__
            raise ValueError(f"state must have one entry a layer, {len(self.layers)}, got {found}")
        return state

    def _shared_out(self, tensors: Iterable[Tensor]) -> list[Tensors]:
        """The tensors of every layer's state."""
        left = list(tensors)
        return [tuple(left.pop(0) for _ in layer.stack.specs[0].states) for layer in self.parts]
