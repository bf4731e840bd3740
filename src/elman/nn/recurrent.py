"""`Recurrent`: any cell over sequences, in layers and directions."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elman import cells
from elman.cells import Cell
from elman.engine import (
    NAMES,
    Choice,
    LiveNetwork,
    Record,
    choose,
    noise_key,
    pack_weights,
    run_network,
    single_step,
)
from elman.engine.unit import transformed, under_vmap
from elman.nn.pooling import last_step
from elman.nn.stack import Stack, Variation, prepared, run
from elman.nn.stream import States, Stream, Streaming, Tensors


class StateGradients(Mapping[str, Tensor]):
    """dL/ds_t of every state by its name and the suffix of its parameters; `backward` fills it."""

    def __init__(self, suffixes: Sequence[str]) -> None:
        self._suffixes = suffixes
        self._found: list[dict[str, Tensor]] = []

    def begin(self) -> list[dict[str, Tensor]]:
        """Room for another run's, pass by pass."""
        self._found = [{} for _ in self._suffixes]
        return self._found

    def _all(self) -> dict[str, Tensor]:
        return _suffixed(self._suffixes[: len(self._found)], self._found)

    def __getitem__(self, name: str) -> Tensor:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Recurrent(nn.Module):
    """A cell run over sequences: y_t, s_t = cell(x_t, s_{t-1}), with the same weights at every step.

    Parameters are named as in torch.nn (`weight_ih_l0`, `weight_hh_l0_reverse`, ...), so that for the cells
    that torch.nn has, a `state_dict` loads both ways.

    Args:
        cell: a cell, or the name of one (`elman.cells.registered()`).
        input_size: width of x_t.
        hidden_size: number of units in each layer and direction.
        num_layers: layers; each reads the outputs of the one before.
        bias: whether products have biases.
        bidirectional: run a second set of weights from each row's end to its start; outputs side by side.
        dropout: probability of zeroing an output between layers, while training.
        outputs: "all" outputs, or the "last" of each row and direction.
        initial_state: "zero" (the cell's own initial values), or "trainable": one vector a layer, direction and
            state. It is what rows start from where no state is given, and after a reset.
        backend: "auto", "native", "torch" or "eager"; a backend asked for by name that cannot run raises an error.
        device: of the parameters.
        dtype: of the parameters.

    Shapes:
        x: (B, T, input_size). y: (B, T, output), or (B, output) for "last".
        state: a named tuple of (num_layers * directions, B, width), one entry a state of the cell.
        lengths: (B,) integers from 0 to T, in any order, on any device.
        resets: (B, T) booleans: true where a row starts afresh before that step.

    Outputs beyond a row's length are 0 and its final state is the one at its own end; what the padding holds,
    NaN included, reaches nothing. The padding is read as zeros: a cell's step must be finite there, as all of
    Elman's are. Under autocast everything is computed and returned in the region's format, as by torch.nn.

    Raises:
        ValueError: sizes, shapes or values that cannot be; the message names them.
        elman.UserError: there is no cell of that name.

    Example:
        >>> layer = Recurrent("lstm", input_size=3, hidden_size=5, bidirectional=True)
        >>> y, state = layer(torch.randn(2, 7, 3), lengths=torch.tensor([7, 4]))
        >>> y.shape, state.c.shape
        (torch.Size([2, 7, 10]), torch.Size([2, 2, 5]))
    """

    _watching: StateGradients | None = None  # of `state_gradients`

    def __init__(  # noqa: PLR0913 - the sizes and options of a layer
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        outputs: Literal["all", "last"] = "all",
        initial_state: Literal["zero", "trainable"] = "zero",
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability from 0 to 1, got {dropout}")
        for name, value, known in (
            ("outputs", outputs, ("all", "last")),
            ("initial_state", initial_state, ("zero", "trainable")),
            ("backend", backend, NAMES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.stack = Stack(cells.get(cell), input_size, hidden_size, num_layers, bidirectional, bias, dropout)
        self.outputs, self.backend = outputs, backend
        for layer, _, suffix in self.stack.passes():
            for name, param in self.stack.specs[layer].params.items():
                empty = torch.empty(param.shape, device=device, dtype=dtype)
                self.register_parameter(name + suffix, nn.Parameter(empty))
        self.trainable_states: dict[str, str] = {}
        if initial_state == "trainable":
            passes = num_layers * self.stack.directions
            for name, width in self.stack.specs[0].states.items():
                self.trainable_states[name] = f"initial_{name}"
                empty = torch.empty((passes, width), device=device, dtype=dtype)
                self.register_parameter(f"initial_{name}", nn.Parameter(empty))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew: as the cell says, else uniform in ±1/sqrt(hidden_size)."""
        bound = self.stack.hidden_size**-0.5
        for layer, _, suffix in self.stack.passes():
            params = self.stack.specs[layer].params
            tensors = {name: self.get_parameter(name + suffix) for name in params}
            with torch.no_grad():
                for name, tensor in tensors.items():
                    if (fill := params[name].init) is None:
                        tensor.uniform_(-bound, bound)
                    else:
                        fill(tensor)
                self.cell.initialise(tensors)
        for state, name in self.trainable_states.items():
            nn.init.constant_(self.get_parameter(name), self.stack.specs[0].initial.get(state, 0.0))

    @property
    def cell(self) -> Cell:
        """The cell that runs."""
        return self.stack.cell

    @property
    def directions(self) -> int:
        """1 or 2."""
        return self.stack.directions

    @property
    def bidirectional(self) -> bool:
        """Whether a second set of weights reads from the end to the start."""
        return self.stack.bidirectional

    @property
    def input_size(self) -> int:
        """Width of the inputs."""
        return self.stack.input_size

    @property
    def output_size(self) -> int:
        """Width of the outputs, both directions side by side."""
        return self.stack.output_size

    def forward(
        self,
        x: Tensor,
        state: States | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        noise: tuple[int, int] | None = None,
        return_all: bool = False,
    ) -> Any:
        """Outputs and the states after each row's last step; see the class for shapes.

        Args:
            x: inputs.
            state: before the first step; None: fresh ones.
            lengths: steps that belong to each row.
            resets: where a row starts afresh.
            noise: for a cell with random numbers, the seed that they depend on and the number of the first step:
                the same pair gives the same numbers on every backend, and a sequence in pieces those of the whole.
                None: while training a seed from torch's generator, in evaluation no random numbers.
            return_all: whether every state and gate is returned too.

        Returns:
            y and the state; with `return_all` also a dictionary of every state and every inner value that the
            cell names, by that name and the suffix of its parameters (`"c_l0"`, `"i_l0_reverse"`), each
            (B, T, width), from the same run; 0 beyond a row's length. They can be differentiated.
        """
        drawn = self._noise(noise)
        if lengths is None and resets is None and not (torch.is_grad_enabled() or return_all) and drawn is None:
            found = self._single(x, state)
            if found is not None:
                return found
        if lengths is not None:
            lengths = torch.as_tensor(lengths)
        self._check(x, lengths, resets)
        if lengths is not None:
            lengths = lengths.to(x.device, torch.int64)
        if resets is not None:
            resets = resets.to(x.device, torch.bool)
        fresh: Mapping[str, Tensor] | None = None
        if self.trainable_states:
            fresh = {state: getattr(self, name) for state, name in self.trainable_states.items()}
        given = None if state is None else self._named(state, x.shape[0])
        wanted = self.outputs == "all" or x.shape[1] == 0
        record = self._record(return_all)
        if record is not None and record.gradients is not None and _can_be_leaf(x):
            x = x.detach().requires_grad_()  # else no gradient comes to states of passes whose weights are frozen
        variation = Variation(
            lengths, resets, fresh, self.training, self.backend, y_wanted=wanted, noise=drawn, record=record
        )
        y, final = run(self.stack, self._weights(), x, given, variation)
        if self.outputs == "last":
            y = self._last(final, lengths) if y is None else last_step(y, lengths, self.stack.specs[0].output)
        if record is None or record.values is None:
            return y, self.state_type(*final)
        return y, self.state_type(*final), self._by_name(record.values)

    @contextmanager
    def state_gradients(self) -> Iterator[StateGradients]:
        """Records, in the runs of this layer within it, the gradients of the loss by every state.

        Yields:
            A mapping that `backward` fills: dL/ds_t, the total derivative by each state after step t, under the
            state's name and the suffix of its parameters (`"h_l0"`), (B, T, width); of the last run.

        Raises:
            RuntimeError: `backward` is asked for derivatives of derivatives.

        Example:
            >>> layer = Recurrent("lstm", 3, 5)
            >>> with layer.state_gradients() as found:
            ...     layer(torch.randn(2, 7, 3))[0].sum().backward()
            >>> found["c_l0"].shape
            torch.Size([2, 7, 5])
        """
        outer, own = self._watching, StateGradients(tuple(suffix for _, _, suffix in self.stack.passes()))
        self._watching = own
        try:
            yield own
        finally:
            self._watching = outer

    def _record(self, values: bool) -> Record | None:
        if not values and self._watching is None:
            return None
        if torch.compiler.is_compiling():
            raise ValueError("inner states and their gradients cannot be had from a compiled layer")
        passes = self.stack.num_layers * self.stack.directions
        return Record(
            values=[{} for _ in range(passes)] if values else None,
            gradients=None if self._watching is None else self._watching.begin(),
        )

    def _by_name(self, values: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return _suffixed([suffix for _, _, suffix in self.stack.passes()], values)

    def _noise(self, given: tuple[int, int] | None) -> Tensor | None:
        """What the cell's random numbers of a call depend on; None: they are at rest."""
        if given is not None:
            if not (
                isinstance(given, tuple) and len(given) == 2 and all(type(n) is int and n >= 0 for n in given)
            ):
                raise ValueError(f"noise must be (seed, first step), two whole numbers from 0 on; got {given!r}")
            if given[0] >> 63 or given[1] >> 32:
                raise ValueError(f"noise: a seed is below 2^63 and a step below 2^32; got {given!r}")
            return noise_key(*given)
        return noise_key() if self.training and self.stack.random else None

    def _single(self, x: Tensor, state: States | None) -> tuple[Tensor, Any] | None:
        """One step of one pass, with as little around it as can be; None for everything else."""
        if (
            x.dim() != 3
            or x.shape[1] != 1
            or self.trainable_states
            or self.outputs != "all"
            or self.backend not in ("auto", "native")
            or torch.compiler.is_compiling()
            or not (state is None or isinstance(state, tuple))
            or (network := self.stack.single) is None
        ):
            return None
        found = single_step(network, x, self._weights(), state)
        return None if found is None else (found[0], self.state_type(*found[1]))

    def _weights(self) -> list[Tensor]:
        # The dictionary first, because Module.__getattr__ is slow; a parametrized weight is not in it.
        stored = self._parameters
        try:
            found: list[Any] = [stored[name] for name in self.stack.names]
        except KeyError:
            return [getattr(self, name) for name in self.stack.names]
        return found

    def _last(self, final: tuple[Tensor, ...], lengths: Tensor | None) -> Tensor:
        """The last layer's output after each row's last step, where the output is a state."""
        state = final[0][-self.stack.directions :]
        y = state.transpose(0, 1).flatten(1)
        return y if lengths is None else y.masked_fill((lengths == 0)[:, None], 0.0)

    @property
    def state_type(self) -> Callable[..., Any]:
        """The named tuple in which states are returned, a field a state of the cell."""
        return _state_type(tuple(self.stack.specs[0].states))

    def fresh_state(self, rows: int) -> Any:
        """The states a row starts with, for so many rows."""
        stack, like = self.stack, self._weights()[0]
        found = []
        for name, width in stack.specs[0].states.items():
            if self.trainable_states:
                start = (
                    getattr(self, self.trainable_states[name]).detach()[:, None].expand(-1, rows, -1).contiguous()
                )
            else:
                passes = stack.num_layers * stack.directions
                start = like.new_full((passes, rows, width), stack.specs[0].initial.get(name, 0.0))
            found.append(start)
        return self.state_type(*found)

    def given_state(self, state: States) -> Any:
        """A state as the layer takes it, as it returns it, detached."""
        rows = next(iter(state.values() if isinstance(state, Mapping) else state)).shape[-2]
        return self.state_type(*(s.detach() for s in self._named(state, rows).values()))

    def named_state(self, state: Any) -> dict[str, Tensor]:
        """The tensors of a state by the cell's names."""
        return dict(zip(self.stack.specs[0].states, state, strict=True))

    def state_of(self, tensors: Iterable[Tensor]) -> Any:
        """The state of these tensors, in the cell's order."""
        return self.state_type(*tensors)

    def identity(self) -> str:
        """The cell and the sizes in one line: a state of another layer is none of this one."""
        s = self.stack
        return f"{s.cell!r} of {s.input_size} inputs, {s.hidden_size} units and {s.num_layers} layers"

    def stream(self, rows: int = 1, state: States | None = None) -> Stream:
        """Sequences that are read as they come; see `elman.nn.Stream`.

        Raises:
            ValueError: the layer also reads backwards.
        """
        return Stream(self, rows, state)

    def streaming(self) -> Streaming:
        """What a `Stream` runs; the parameters are read once.

        Raises:
            ValueError: the layer also reads backwards.
        """
        if self.bidirectional:
            raise ValueError("a layer that reads in both directions cannot stream: it needs the end first")
        stored = [weight.detach().clone() for weight in self._weights()]
        weights = [w.detach() for w in prepared(self.stack, stored, None)] if self.cell.prepares else stored
        stack, names = self.stack, tuple(self.stack.specs[0].states)
        packed: list[Any] = []

        def natively(x: Tensor, state: Tensors) -> bool:
            chosen = choose(self.cell, self.stack.resting[0], x, None, self.backend, (*weights, *state))
            if chosen.backend == "native" and not packed:
                packed.extend(pack_weights(stack.network, weights))
            return chosen.backend == "native"

        def run_piece(x: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
            if natively(x, state):
                y, final = run_network(stack.network, x, weights, state, None, packed=packed)
                return y, final  # type: ignore[return-value]
            return run(
                self.stack, stored, x, dict(zip(names, state, strict=True)), Variation(backend=self.backend)
            )

        def settle(x: Tensor, state: Tensors) -> LiveNetwork | None:
            return LiveNetwork(stack.network, weights, packed, state) if natively(x[:, None], state) else None

        return Streaming(run_piece, settle)

    def explain(self, x: Tensor, *, resets: Tensor | None = None) -> list[tuple[str, Choice]]:
        """Which backend runs each layer and direction for inputs like x, and why."""
        return [
            (
                f"layer {layer}" + (" reversed" if direction else ""),
                choose(self.cell, self.stack.resting[layer], x, resets, self.backend),
            )
            for layer, direction, _ in self.stack.passes()
        ]

    def extra_repr(self) -> str:
        """The cell and what differs from the defaults."""
        s = self.stack
        shown = [repr(s.cell), str(s.input_size), str(s.hidden_size)]
        options = {
            "num_layers": (s.num_layers, 1),
            "bias": (s.bias, True),
            "bidirectional": (s.bidirectional, False),
            "dropout": (s.dropout, 0.0),
            "outputs": (self.outputs, "all"),
            "initial_state": ("trainable" if self.trainable_states else "zero", "zero"),
            "backend": (self.backend, "auto"),
        }
        return ", ".join(shown + [f"{k}={v!r}" for k, (v, default) in options.items() if v != default])

    def _check(self, x: Tensor, lengths: Tensor | None, resets: Tensor | None) -> None:
        if x.dim() != 3 or x.shape[-1] != self.stack.input_size:
            raise ValueError(
                f"x must have shape (B, T, {self.stack.input_size}), got {tuple(x.shape)}"
                + ("; add a row dimension: x[None]" if x.dim() == 2 else "")
            )
        rows, steps = x.shape[:2]
        if lengths is not None:
            if lengths.shape != (rows,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
                raise ValueError(
                    f"lengths must be ({rows},) integers, got {tuple(lengths.shape)} of {lengths.dtype}"
                )
            unseen = torch.compiler.is_compiling() or lengths.is_meta or under_vmap()
            if rows and not unseen:
                low, high = int(lengths.min()), int(lengths.max())
                if low < 0 or high > steps:
                    raise ValueError(f"lengths must be from 0 to T = {steps}, got {low} to {high}")
        if resets is not None and resets.shape != (rows, steps):
            raise ValueError(f"resets must have shape {(rows, steps)}, got {tuple(resets.shape)}")

    def _named(self, state: States, rows: int) -> dict[str, Tensor]:
        spec, passes = self.stack.specs[0], self.stack.num_layers * self.stack.directions
        if isinstance(state, Tensor):
            state = (state,)
        if isinstance(state, Mapping):
            if set(state) != set(spec.states):
                raise ValueError(f"state must name {[*spec.states]}, got {[*state]}")
            state = [state[name] for name in spec.states]
        values = list(state)
        shapes = [(passes, rows, width) for width in spec.states.values()]
        if [tuple(v.shape) for v in values] != shapes:
            wanted = ", ".join(f"{n}: {s}" for n, s in zip(spec.states, shapes, strict=True))
            raise ValueError(f"state must be ({wanted}), got shapes {[tuple(v.shape) for v in values]}")
        return dict(zip(spec.states, values, strict=True))


def _can_be_leaf(x: Tensor) -> bool:
    plain = x.is_floating_point() and transformed() is None
    return plain and torch.is_grad_enabled() and not x.requires_grad


def _suffixed(suffixes: Sequence[str], found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What was found in each pass, by its name and the suffix of the pass's parameters."""
    both = zip(suffixes, found, strict=True)
    return {name + suffix: value for suffix, own in both for name, value in own.items()}


_STATE_TYPES: dict[tuple[str, ...], Callable[..., Any]] = {}


def _state_type(names: tuple[str, ...]) -> Callable[..., Any]:
    if names in _STATE_TYPES:
        return _STATE_TYPES[names]
    fields = namedtuple("State", names)  # type: ignore[misc]
    # A class made here cannot be found by name, so a pickled state is put together from its fields.
    reduce = {"__slots__": (), "__reduce__": lambda self: (_restore_state, (names, tuple(self)))}
    return _STATE_TYPES.setdefault(names, type("State", (fields,), reduce))


def _restore_state(names: tuple[str, ...], values: tuple[Tensor, ...]) -> Any:
    return _state_type(names)(*values)
