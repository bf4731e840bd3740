"""Single steps without gradients: by a network whose memory in the core is laid out once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elman.engine.native import Network
from elman.engine.unit import KINDS, observed


def single_step(
    network: Network, x: Tensor, params: Sequence[Tensor], states: Sequence[Tensor] | None
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """One step of one pass, as `run_network` would make it; None where it is for that to run, or to refuse.

    Args:
        network: the pass.
        x: (B, 1, width).
        params: as its spec lists them.
        states: before the step, each (1, B, width); None: the cell's initial values.
    """
    dtype, (rows, steps, width) = x.dtype, x.shape
    unit = network.units[0]
    if (
        steps != 1
        or not rows
        or not network.simple
        or width != unit.spec.inputs
        or (dtype is not torch.float32 and dtype is not torch.float64)
        or not _is_plain(x, dtype)
        or observed() is not None
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    for tensor, (_, shape) in zip(params, network.shapes, strict=True):
        if tensor.shape != shape or not _is_plain(tensor, dtype):
            return None
    if states is None:
        before = network.none
    elif len(states) != network.states:
        return None
    else:
        for tensor, (_, wide) in zip(states, network.widths, strict=True):
            if tensor.shape != (1, rows, wide) or not _is_plain(tensor, dtype):
                return None
        before = [s.data_ptr() for s in states]
    y = torch.empty_like(x) if width == network.output else x.new_empty((rows, 1, network.output))
    alike = rows == 1  # cheaper than by numbers
    final = tuple(
        [
            torch.empty_like(y) if alike and wide == network.output else x.new_empty((1, rows, wide))
            for _, wide in network.widths
        ]
    )
    after, weights = [f.data_ptr() for f in final], [p.data_ptr() for p in params]
    key = rows, dtype, torch.get_num_threads()
    pool = network.live.setdefault(key, [])
    try:
        live = pool.pop()  # nobody else's while it runs
    except IndexError:
        live = _live(network, 0, dtype, rows, key[2], (weights, before, after))
    live.run((x.data_ptr(), y.data_ptr(), *weights, *before, *after))
    if len(network.live) > _MOST_SHAPES:
        network.live.clear()
    pool.append(live)
    return y, final


_MOST_SHAPES = 8
_NOWHERE = 64  # x and y of a run whose steps say where they are: not null, and never read


def _live(
    network: Network,
    index: int,
    dtype: torch.dtype,
    rows: int,
    threads: int,
    addresses: tuple[Sequence[int], Sequence[int], Sequence[int]],
    packed: int = 0,
) -> Any:
    """A run of one step of a pass; `addresses` are those of the weights and of the states before and after."""
    weights, before, after = addresses
    unit = network.units[index]
    width = unit.spec.inputs
    numbers = (
        *(rows, 1, 0, 0, 0, _NOWHERE, width, width, width),
        *(*weights, *before, *network.none, 0, 0),
        *(_NOWHERE, network.output, network.output, *after, 0),
        *(0, 0, threads, packed),
    )
    return unit.core.Live(unit.inference, dtype is torch.float64, numbers)


def _is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    return (
        type(tensor) in KINDS
        and tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )


class LiveNetwork:
    """All passes of a one-directional network for some rows, one step a call.

    Args:
        network: the passes; each runs forwards.
        params: of every pass, detached; they must not change from here on.
        packed: from `pack_weights`.
        state: each (passes, B, width), contiguous; a step changes them in place.

    Example:
        >>> from elman.nn import Recurrent, Stream
        >>> stream = Stream(Recurrent("gru", 3, 5), rows=2)
        >>> [stream.step(torch.zeros(2, 3)).shape for _ in range(2)]
        [torch.Size([2, 5]), torch.Size([2, 5])]
    """

    def __init__(
        self, network: Network, params: Sequence[Tensor], packed: Sequence[Any], state: Sequence[Tensor]
    ) -> None:
        params = [p.contiguous() for p in (params if network.plain else network.with_derived(params))]
        first, rows = state[0], state[0].shape[1]
        self.threads = torch.get_num_threads()
        self._kept = params, packed, state  # the core knows their addresses
        self._dtype, self._shape = first.dtype, torch.Size((rows, network.units[0].spec.inputs))
        self._out_shape = torch.Size((rows, network.output))
        self._between = [first.new_empty(self._out_shape) for _ in network.units[1:]]
        self._steps = []
        for index in range(len(network.units)):
            states = [s[index].data_ptr() for s in state]
            weights = [p.data_ptr() for p in params[network.spans[index]]]
            addresses = weights, states, states
            live = _live(network, index, self._dtype, rows, self.threads, addresses, packed[index].address)
            self._steps.append(live.step)
        self._only = self._steps[0] if len(self._steps) == 1 else None

    def step(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The output for one step of each row, (B, width) -> (B, output), in `out` where it is given.

        Raises:
            ValueError: a tensor is not of this shape, format and device.
        """
        if not self._fits(x, self._shape) or x.is_neg():
            x = self._checked(x, "x", self._shape).resolve_neg().contiguous()
        if out is None:
            out = torch.empty(self._out_shape, dtype=self._dtype)
        elif (
            not self._fits(out, self._out_shape) and not self._checked(out, "out", self._out_shape).is_contiguous()
        ):
            raise ValueError("out must be contiguous")
        if self._only is not None:
            self._only(x.data_ptr(), out.data_ptr())
            return out
        for run, y in zip(self._steps, (*self._between, out), strict=True):
            run(x.data_ptr(), y.data_ptr())
            x = y
        return out

    def _fits(self, tensor: Tensor, shape: torch.Size) -> bool:
        return tensor.shape == shape and tensor.dtype is self._dtype and tensor.is_contiguous() and tensor.is_cpu

    def _checked(self, tensor: Tensor, name: str, shape: torch.Size) -> Tensor:
        if tensor.shape != shape or tensor.dtype is not self._dtype or not tensor.is_cpu:
            wanted = f"{tuple(shape)} of {self._dtype} on the CPU"
            found = f"{tuple(tensor.shape)} of {tensor.dtype} on {tensor.device}"
            raise ValueError(f"{name} must be {wanted}, got {found}")
        return tensor


class LiveChain:
    """Networks one after the other, one step a call: each reads what the one before gives.

    Args:
        lives: at least one; their states are changed in place.

    Attributes:
        threads: torch's number of threads when they were made.
    """

    def __init__(self, lives: Sequence[LiveNetwork]) -> None:
        self.threads = lives[0].threads
        *self._first, self._last = lives

    def step(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The output for one step of each row, (B, width) -> (B, output), in `out` where it is given."""
        for live in self._first:
            x = live.step(x)
        return self._last.step(x, out)
