"""`torch.nn`'s RNNCell, LSTMCell and GRUCell, argument for argument: one step, for loops written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import _VF, Tensor, nn

from elman.engine import NAMES
from elman.engine.unit import transformed
from elman.nn.drop_in_engine import engine_step, refuse_backend

_KERNELS: dict[str, Callable[..., Any]] = {
    "RNN_TANH": _VF.rnn_tanh_cell,
    "RNN_RELU": _VF.rnn_relu_cell,
    "GRU": _VF.gru_cell,
    "LSTM": _VF.lstm_cell,
}
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class DropInCell(nn.RNNCellBase):
    """What the three cells share: parameters read by name, the kernel called.

    Attributes:
        backend: as at `elman.nn.drop_in.DropIn`.
    """

    backend: str = "auto"

    def _step(self, mode: str, x: Tensor, hx: Any) -> Any:
        # By name and at every call, so that functional_call, parametrizations and assigned tensors are seen.
        stored = self._parameters
        try:
            weights = [stored[name] for name in _NAMES]
        except KeyError:
            weights = [getattr(self, name) for name in _NAMES]
        if self.backend not in NAMES:
            raise refuse_backend(self.backend)
        kernel = self.backend == "torch" or (
            self.backend == "auto" and (torch.compiler.is_compiling() or not transformed())
        )
        return _KERNELS[mode](x, hx, *weights) if kernel else engine_step(self, mode, x, hx, weights)

    def _single(self, name: str, mode: str, x: Tensor, hx: Tensor | None) -> Tensor:
        # RNNCell and GRUCell: hx is one tensor.
        dimensions = _dimensions(name, x)
        if hx is None:
            hx = self._zeros(x)
        elif hx.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected hidden to be 1D or 2D, got {hx.dim()}D instead")
        elif dimensions == 1:
            hx = hx.unsqueeze(0)
        if dimensions == 2:
            return self._step(mode, x, hx)  # type: ignore[no-any-return]
        return self._step(mode, x.unsqueeze(0), hx).squeeze(0)  # type: ignore[no-any-return]

    def _zeros(self, x: Tensor) -> Tensor:
        rows = x.size(0) if x.dim() == 2 else 1
        return torch.zeros(rows, self.hidden_size, dtype=x.dtype, device=x.device)


def _dimensions(name: str, x: Tensor) -> int:
    dimensions = x.dim()
    if dimensions not in (1, 2):
        raise ValueError(f"{name}: Expected input to be 1D or 2D, got {dimensions}D instead")
    return dimensions


class RNNCell(DropInCell):
    """One step of Elman's network in place of `torch.nn.RNNCell`: `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`.

    Arguments, shapes, parameter names, initial values, errors and results are `torch.nn.RNNCell`'s; a
    `state_dict` loads both ways with `strict=True`. It adds `backend`.

    Shapes: input (B, D) or (D,); hx and the result (B, H) or (H,).

    Raises:
        ValueError: an input or state of another number of dimensions; an unknown backend.
        RuntimeError: an input or state of another size; an unknown nonlinearity, when called.

    Example:
        >>> import torch
        >>> tuple(RNNCell(3, 5)(torch.zeros(2, 3)).shape)
        (2, 5)
    """

    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state; zeros before it when `hx` is not given."""
        if self.nonlinearity == "tanh":
            return self._single("RNNCell", "RNN_TANH", input, hx)
        if self.nonlinearity == "relu":
            return self._single("RNNCell", "RNN_RELU", input, hx)
        raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")


class GRUCell(DropInCell):
    """One step of the gated recurrent unit in place of `torch.nn.GRUCell`.

    The reset comes after the matrix product; rows of the weights in the order r, z, n.

    Shapes, errors and the rest as said at `RNNCell`.

    Raises:
        ValueError: an input or state of another number of dimensions; an unknown backend.
        RuntimeError: an input or state of another size.

    Example:
        >>> import torch
        >>> tuple(GRUCell(3, 5)(torch.zeros(3)).shape)
        (5,)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state; zeros before it when `hx` is not given."""
        return self._single("GRUCell", "GRU", input, hx)


class LSTMCell(DropInCell):
    """One step of long short-term memory in place of `torch.nn.LSTMCell`; the state is the pair (h, c).

    Rows of the weights in the order i, f, g, o.

    Shapes, errors and the rest as said at `RNNCell`, h and c alike.

    Raises:
        ValueError: an input or state of another number of dimensions; an unknown backend.
        RuntimeError: an input or state of another size.

    Example:
        >>> import torch
        >>> h, c = LSTMCell(3, 5)(torch.zeros(2, 3))
        >>> tuple(h.shape), tuple(c.shape)
        ((2, 5), (2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next (h, c); zeros before them when `hx` is not given."""
        dimensions = _dimensions("LSTMCell", input)
        if hx is None:
            zeros = self._zeros(input)
            hx = (zeros, zeros)
        else:
            _check_pair(hx)
            if dimensions == 1:
                hx = (hx[0].unsqueeze(0), hx[1].unsqueeze(0))
        if dimensions == 2:
            return self._step("LSTM", input, hx)  # type: ignore[no-any-return]
        h, c = self._step("LSTM", input.unsqueeze(0), hx)
        return h.squeeze(0), c.squeeze(0)


def _check_pair(hx: Sequence[Tensor]) -> None:
    for index, state in enumerate(hx):
        if state.dim() not in (1, 2):
            raise ValueError(f"LSTMCell: Expected hx[{index}] to be 1D or 2D, got {state.dim()}D instead")
