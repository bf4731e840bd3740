"""Live sequences: layers that are given their input as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from elman.engine import LiveChain, LiveNetwork
from elman.errors import UserError

States = Sequence[Any] | Mapping[str, Tensor] | Tensor
Tensors = tuple[Tensor, ...]
Live = LiveNetwork | LiveChain


class Streaming(NamedTuple):
    """What goes on with sequences.

    Attributes:
        run: a piece of them, (B, T, D), and the states before it -> outputs and the states after it.
        settle: what takes single steps like (B, D) from states that it changes in place; None: `run` must do.
    """

    run: Callable[[Tensor, Tensors], tuple[Tensor, Tensors]]
    settle: Callable[[Tensor, Tensors], Live | None]


class Streamable(Protocol):
    """Layers that a stream can run: `Recurrent` and `Layers`."""

    def streaming(self) -> Streaming:
        """What a stream runs; the parameters are read once."""

    def fresh_state(self, rows: int) -> Any:
        """The states that so many rows start with."""

    def given_state(self, state: Any) -> Any:
        """A state in any form that the layers take, as they return it."""

    def named_state(self, state: Any) -> dict[str, Tensor]:
        """Every tensor of a state, (passes, B, width), by a name."""

    def state_of(self, tensors: Iterable[Tensor]) -> Any:
        """The state of these tensors, in the order of `named_state`."""

    def identity(self) -> str:
        """Cells and sizes: a state of other layers is none of these."""


class Stream:
    """One or many sequences that one-directional layers read piece by piece, with the states between.

    Whatever the pieces, outputs and states are those of one call over the whole sequence: bit for bit by the
    native engine, up to rounding by torch's kernels and by the definition. Dropout is off and nothing is
    differentiated. The weights are those of the moment the stream was made.

    Args:
        layer: the layers; `outputs` does not matter here.
        rows: sequences side by side.
        state: the states before the first step, as the layer takes them; None: fresh ones.

    Attributes:
        state: the states after the last step, as the layer returns them.

    Raises:
        ValueError: a layer also reads backwards, and would need the end of the sequence first.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("lstm", 3, 5)
        >>> stream, x = layer.stream(rows=2), torch.randn(2, 4, 3)
        >>> pieces = [stream.push(x[:, :3]), stream.step(x[:, 3])[:, None]]
        >>> bool(torch.allclose(torch.cat(pieces, 1), layer(x)[0], atol=1e-6))
        True
    """

    def __init__(self, layer: Streamable, rows: int = 1, state: States | None = None) -> None:
        self._layer, self._streaming = layer, layer.streaming()
        self._state = self._tensors(layer.fresh_state(rows) if state is None else layer.given_state(state))
        self._live: Live | None = None  # takes single steps, in the memory of `_state`
        self._stepped = False

    @property
    def state(self) -> Any:
        """The states after the last step."""
        return self._layer.state_of(self._state if self._live is None else [s.clone() for s in self._state])

    @property
    def rows(self) -> int:
        """How many sequences are live."""
        return int(self._state[0].shape[1])

    def push(self, x: Tensor) -> Tensor:
        """The outputs for a piece of each sequence, (B, T, D) -> (B, T, output).

        Raises:
            ValueError: x is of another shape than the layer's inputs for these rows.
        """
        return self._read(x)

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
        y = self._read(x[:, None])[:, 0]
        return y if out is None else out.copy_(y)

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows in this order; a row may come several times, or not at all."""
        self._go_on(tuple(s.index_select(1, rows) for s in self._state))

    def reset(self, rows: Tensor | None = None) -> None:
        """Starts these rows afresh, (n,) numbers; None: all."""
        fresh = self._tensors(self._layer.fresh_state(self.rows))
        if rows is not None:
            both = zip(self._state, fresh, strict=True)
            fresh = tuple(s.index_copy(1, rows, f.index_select(1, rows)) for s, f in both)
        self._go_on(fresh)

    def fork(self) -> Self:
        """Another stream that goes on from here; neither changes the other."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._state, twin._live, twin._stepped = self._tensors(self.state), None, False
        return twin

    def __copy__(self) -> Self:
        return self.fork()

    def __deepcopy__(self, _: Any) -> Self:
        return self.fork()

    def save(self, path: str | Path) -> None:
        """Writes the states to a file in the safetensors format, whole or not at all, even after a power cut.

        Raises:
            OSError: the disk refuses; an older file of that name is untouched.
        """
        path = Path(path)
        tensors = {name: s.contiguous() for name, s in self._layer.named_state(self.state).items()}
        new = path.with_name(f".{path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(save(tensors, {_IDENTITY: self._layer.identity()}))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)

    def load(self, path: str | Path) -> None:
        """Goes on from the states in a file that `save` wrote; there may be another number of rows.

        Raises:
            elman.UserError: it is no such file, or its states are of other cells, sizes or another format.

        Example:
            >>> from elman.nn import Recurrent
            >>> import tempfile
            >>> stream = Recurrent("gru", 3, 5).stream()
            >>> before = stream.push(torch.zeros(1, 4, 3))
            >>> file = Path(tempfile.mkdtemp()) / "live.safetensors"
            >>> stream.save(file)
            >>> stream.reset()
            >>> stream.load(file)
            >>> torch.equal(stream.state.h[-1], before[:, -1])
            True
        """
        wanted, found = self._layer.identity(), {}
        try:
            with safetensors.safe_open(path, "pt") as file:
                identity = (file.metadata() or {}).get(_IDENTITY, "nothing")
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError("no states can be read", where=path, found=str(error)) from error
        if identity != wanted:
            raise UserError(
                "the states of other layers", where=path, found=identity, fix=f"give those of {wanted}"
            )
        mine = self._layer.named_state(self._layer.state_of(self._state))
        rows = {s.shape[1] for s in found.values() if s.dim() == 3}
        shapes = {name: (s.shape[0], *rows, s.shape[2]) for name, s in mine.items()}
        if (
            len(rows) != 1
            or {name: tuple(s.shape) for name, s in found.items()} != shapes
            or any(s.dtype != self._state[0].dtype for s in found.values())
        ):
            said = ", ".join(f"{name} {tuple(s.shape)} of {s.dtype}" for name, s in sorted(found.items()))
            raise UserError("states of other sizes or another format", where=path, found=said)
        self._go_on(tuple(found[name].to(self._state[0].device) for name in mine))

    def _tensors(self, state: Any) -> Tensors:
        return tuple(self._layer.named_state(state).values())

    def _read(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[0] != self.rows:
            wanted = f"as many rows as the stream, {self.rows}, and three dimensions in a piece, two in a step"
            raise ValueError(f"x must have {wanted}; got {tuple(x.shape)} for a piece")
        with torch.no_grad():
            y, state = self._streaming.run(x, self._state)
        self._go_on(state)
        return y

    def _go_on(self, state: Tensors) -> None:
        """From other states: in the memory that a native run has, where as many rows go on."""
        if self._live is not None and state[0].shape == self._state[0].shape:
            for mine, other in zip(self._state, state, strict=True):
                mine.copy_(other)
        else:
            self._state, self._live = state, None

    def _settled(self, x: Tensor) -> Live | None:
        with torch.inference_mode(False), torch.no_grad():  # `_go_on` may write there outside of that mode
            state = tuple(s.clone(memory_format=torch.contiguous_format) for s in self._state)
        self._live = self._streaming.settle(x, state)
        if self._live is not None:
            self._state = state
        return self._live


class StepsFirst(Stream):
    """A stream whose pieces are (T, B, D), as torch.nn's layers have them by default."""

    def push(self, x: Tensor) -> Tensor:
        """The outputs for a piece of each sequence, (T, B, D) -> (T, B, output)."""
        return self._read(x.transpose(0, 1)).transpose(0, 1)


_IDENTITY = "layers"
