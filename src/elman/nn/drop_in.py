"""`torch.nn`'s RNN, LSTM and GRU, argument for argument, with Elman's choice of backend behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from elman.engine import NAMES
from elman.nn.drop_in_engine import as_recurrent, engine_sequence, native_sequence, refuse_backend, single_sequence
from elman.nn.drop_in_ops import KERNELS, compiled_sequence
from elman.nn.stream import States, StepsFirst, Stream


class DropIn(nn.RNNBase):
    """What the three layers share: arguments checked, states made, parameters read by name, one call.

    A subclass of `nn.RNNBase` and not of `nn.LSTM`: `torch.compile` refuses every instance of the latter.

    Attributes:
        backend: "auto" (the native engine where it runs, else torch's kernels), "native", "torch", or "eager"
            (Elman's own definition of the cell, step by step). Set it on an instance; an unknown name raises
            ValueError when the layer is called.
    """

    backend: str = "auto"

    def stream(self, rows: int = 1, state: States | None = None) -> Stream:
        """Sequences that are read as they come; see `elman.nn.Stream`. Pieces are laid out as the layer's inputs.

        Raises:
            ValueError: the layer also reads backwards.

        Example:
            >>> stream = LSTM(3, 5).stream(rows=2)
            >>> stream.push(torch.zeros(7, 2, 3)).shape, stream.step(torch.zeros(2, 3)).shape
            (torch.Size([7, 2, 5]), torch.Size([2, 5]))
        """
        if self.backend not in NAMES:
            raise refuse_backend(self.backend)
        kind = Stream if self.batch_first else StepsFirst
        return kind(as_recurrent(self, self._weights()), rows, state)

    def _weights(self) -> list[Tensor]:
        # By name and at every call, so that functional_call, parametrizations, pruning and assigned tensors
        # are seen; the dictionary first, because Module.__getattr__ is slow.
        stored = self._parameters
        try:
            weights: list[Any] = [stored[name] for name in self._flat_weights_names]
        except KeyError:
            return [getattr(self, name) for name in self._flat_weights_names]
        if weights[0].is_cuda and not torch.compiler.is_compiling():
            self._update_flat_weights()  # cuDNN wants one piece of memory again after weights were replaced
        return weights

    def _tensor(self, x: Tensor, hx: Sequence[Tensor] | None, batched: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        # A sequence in a tensor, its states' dimensions already checked.
        if batched:
            return self._run(x, None, hx)
        batch_dim = 0 if self.batch_first else 1
        hx = None if hx is None else [state.unsqueeze(1) for state in hx]
        output, final = self._run(x.unsqueeze(batch_dim), None, hx)
        return output.squeeze(batch_dim), tuple(state.squeeze(1) for state in final)

    def _packed(
        self, packed: PackedSequence, hx: Sequence[Tensor] | None
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        # The caller's order outside, the order of descending lengths inside.
        data, batch_sizes, order, back = packed
        if hx is not None and order is not None:
            hx = [state.index_select(1, order) for state in hx]
        output, final = self._run(data, batch_sizes, hx)
        if back is not None:
            final = tuple(state.index_select(1, back) for state in final)
        return PackedSequence(output, batch_sizes, order, back), final

    def _run(
        self, x: Tensor, batch_sizes: Tensor | None, hx: Sequence[Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights = self._weights()
        self._check(x, batch_sizes, hx, weights[0].dtype)
        if self.backend not in NAMES:
            raise refuse_backend(self.backend)
        compiling = torch.compiler.is_compiling()
        result = None
        if self.backend in ("native", "eager"):
            result = engine_sequence(self, x, batch_sizes, hx, weights, self.backend)
        elif compiling:
            hx = self._zeros(x, batch_sizes) if hx is None else hx
            result = compiled_sequence(self, x, batch_sizes, hx, weights)
        elif self.backend == "auto":
            result = single_sequence(self, x, hx, weights) if batch_sizes is None else None
            if result is None:
                result = native_sequence(self, x, batch_sizes, hx, weights)
        if result is None:
            hx = self._zeros(x, batch_sizes) if hx is None else hx
            state = hx if self.mode == "LSTM" else hx[0]
            numbers = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
            if batch_sizes is None:
                result = KERNELS[self.mode](x, state, weights, *numbers, self.batch_first)
            else:
                result = KERNELS[self.mode](x, batch_sizes, state, weights, *numbers)
        return result[0], result[1:]

    def _check(
        self, x: Tensor, batch_sizes: Tensor | None, hx: Sequence[Tensor] | None, dtype: torch.dtype
    ) -> None:
        # torch's checks in torch's order and words. torch.nn.LSTM checks nothing of a packed sequence, and a state
        # of another shape can then end the process or be broadcast.
        packed = batch_sizes is not None
        self._check_x(x, 2 if packed else 3, dtype)
        if hx is None:
            return
        if packed:  # a graph cannot look at the number while it is being compiled
            rows = hx[0].size(1) if torch.compiler.is_compiling() else int(self._rows(x, batch_sizes))
        else:
            rows = self._rows(x, None)
        self._check_hx(hx, self.num_layers * (2 if self.bidirectional else 1), rows)

    def _rows(self, x: Tensor, batch_sizes: Tensor | None) -> Any:
        return batch_sizes[0] if batch_sizes is not None else x.size(0 if self.batch_first else 1)

    def _zeros(self, x: Tensor, batch_sizes: Tensor | None) -> Sequence[Tensor]:
        rows = self._rows(x, batch_sizes)
        stacked = self.num_layers * (2 if self.bidirectional else 1)
        h = torch.zeros(stacked, rows, self.proj_size or self.hidden_size, dtype=x.dtype, device=x.device)
        if self.mode != "LSTM":
            return (h,)
        if not self.proj_size:
            return (h, h)
        return (h, torch.zeros(stacked, rows, self.hidden_size, dtype=x.dtype, device=x.device))

    def _check_x(self, x: Tensor, dimensions: int, dtype: torch.dtype) -> None:
        if x.dtype != dtype and not torch._C._is_any_autocast_enabled():
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({x.dtype})"
            )
        if x.dim() != dimensions:
            raise RuntimeError(f"input must have {dimensions} dimensions, got {x.dim()}")
        if x.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.size(-1)}"
            )

    def _check_hx(self, hx: Sequence[Tensor], stacked: int, rows: int) -> None:
        for index, state in enumerate(hx):
            width = self.hidden_size if index else self.proj_size or self.hidden_size
            expected = (stacked, rows, width)
            if state.size() != expected:
                which = f" hidden[{index}]" if self.mode == "LSTM" else " hidden"
                raise RuntimeError(f"Expected{which} size {expected}, got {list(state.size())}")


def _check_single(name: str, x: Tensor, hx: Tensor | None) -> bool:
    # True for a batch; raises what nn.RNN and nn.GRU raise.
    dimensions = x.dim()
    if dimensions not in (2, 3):
        # The RNN's sentence has one word more.
        instead = "D tensor instead" if name == "RNN" else "D instead"
        raise ValueError(f"{name}: Expected input to be 2D or 3D, got {dimensions}{instead}")
    if hx is not None and hx.dim() != dimensions:
        kind = "batched 3-D" if dimensions == 3 else "unbatched 2-D"
        raise RuntimeError(f"For {kind} input, hx should also be {dimensions}-D but got {hx.dim()}-D tensor")
    return dimensions == 3


def _refuse_projection(arguments: dict[str, Any]) -> None:
    if "proj_size" in arguments:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class _OneState(DropIn):
    # RNN and GRU: hx is one tensor.
    _name: str

    @overload
    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """The sequence's output and final state; shapes, arguments and errors as in `torch.nn`."""
        states = None if hx is None else (hx,)
        if isinstance(input, PackedSequence):
            packed, final = self._packed(input, states)
            return packed, final[0]
        output, final = self._tensor(input, states, _check_single(self._name, input, hx))
        return output, final[0]


class RNN(_OneState):
    """Elman's network of 1990, in place of `torch.nn.RNN`.

    `h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, or relu.

    Arguments, shapes, parameter names and order, initial values (same seed, same weights), errors and results
    are `torch.nn.RNN`'s; a `state_dict` loads both ways with `strict=True`. It adds `backend` (see `DropIn`)
    and compiles with `torch.compile(fullgraph=True)`.

    Shapes: input (T, B, D), (B, T, D) with `batch_first`, (T, D), or a PackedSequence; output the same with
    directions*H in place of D; hx and the final state (layers*directions, B, H), without B for (T, D).

    Raises:
        ValueError: a size, dropout, nonlinearity, dtype or number of dimensions that cannot be; an unknown
            backend.
        TypeError: `bias`, `batch_first` or a size of another type.
        RuntimeError: an input or state of another shape.

    Source: J. L. Elman, "Finding Structure in Time", Cognitive Science 14 (1990).

    Example:
        >>> import torch
        >>> output, state = RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 2, 3))
        >>> tuple(output.shape), tuple(state.shape)
        ((7, 2, 5), (1, 2, 5))
    """

    _name = "RNN"
    nonlinearity: str

    @overload
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

    @overload
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse_projection(kwargs)
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{self.nonlinearity.upper()}", *args, **kwargs)


class GRU(_OneState):
    """The gated recurrent unit in place of `torch.nn.GRU`, reset after the matrix product.

    `r, z = sigmoid(W_i x_t + b_i + W_h h_{t-1} + b_h)` (each its own rows),
    `n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))`, `h_t = (1 - z) * n + z * h_{t-1}`.

    Rows of the weights in the order r, z, n. Everything else as said at `RNN`.

    Raises:
        ValueError: a size, dropout, dtype or number of dimensions that cannot be; an unknown backend.
        TypeError: `bias`, `batch_first` or a size of another type.
        RuntimeError: an input or state of another shape.

    Source: K. Cho et al., 2014 (arXiv:1406.1078), in the version of cuDNN and torch.

    Example:
        >>> import torch
        >>> output, state = GRU(3, 5, bidirectional=True, batch_first=True)(torch.zeros(2, 7, 3))
        >>> tuple(output.shape), tuple(state.shape)
        ((2, 7, 10), (2, 2, 5))
    """

    _name = "GRU"

    @overload
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

    @overload
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class LSTM(DropIn):
    """Long short-term memory in place of `torch.nn.LSTM`, with `proj_size`.

    `i, f, o = sigmoid(W_i x_t + b_i + W_h h_{t-1} + b_h)` and `g = tanh(...)` alike (each its own rows),
    `c_t = f * c_{t-1} + i * g`, `h_t = o * tanh(c_t)`, with `proj_size` then `h_t = W_hr h_t`.

    Rows of the weights in the order i, f, g, o. Everything else as said at `RNN`, with a pair (h, c) for the
    state: h is (layers*directions, B, proj_size or H), c is (layers*directions, B, H).

    Raises:
        ValueError: a size, dropout, dtype or number of dimensions that cannot be; an unknown backend.
        TypeError: `bias`, `batch_first` or a size of another type.
        RuntimeError: an input or state of another shape.

    Source: S. Hochreiter and J. Schmidhuber, 1997; forget gate: F. Gers et al., 2000; projection: H. Sak et
    al., 2014.

    Example:
        >>> import torch
        >>> output, (h, c) = LSTM(3, 5, proj_size=2)(torch.zeros(7, 1, 3))
        >>> tuple(output.shape), tuple(h.shape), tuple(c.shape)
        ((7, 1, 2), (1, 1, 2), (1, 1, 5))
    """

    @overload
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...

    @overload
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    # The public methods that torch.nn.LSTM overrides, its own.
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]

    @overload
    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, ...]]:
        """The sequence's output and final (h, c); shapes, arguments and errors as in `torch.nn.LSTM`."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        return self._tensor(input, hx, _check_pair(input, hx))


def _check_pair(x: Tensor, hx: tuple[Tensor, Tensor] | None) -> bool:
    # True for a batch; raises what nn.LSTM raises.
    dimensions = x.dim()
    if dimensions not in (2, 3):
        raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {dimensions}D instead")
    if hx is not None and (hx[0].dim() != dimensions or hx[1].dim() != dimensions):
        kind = "batched 3-D" if dimensions == 3 else "unbatched 2-D"
        raise RuntimeError(
            f"For {kind} input, hx and cx should also be {dimensions}-D "
            f"but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
        )
    return dimensions == 3
