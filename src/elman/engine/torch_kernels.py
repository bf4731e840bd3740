"""PyTorch's own kernels for the cells it has: RNN, LSTM (projected or not) and GRU, one layer and direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.cells import Cell, Spec
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.rnn import RNN
from elman.engine.operands import Operands
from elman.engine.unit import under_vmap

Kernel: TypeAlias = Callable[..., tuple[Tensor, ...]]
_VF = torch._VF  # where torch.nn itself finds these kernels


def kernel(cell: Cell) -> Kernel | None:
    """PyTorch's function for exactly this cell, or None."""
    if type(cell) is RNN:
        function: Kernel = _VF.rnn_tanh if cell.nonlinearity == "tanh" else _VF.rnn_relu
        return function
    functions: dict[type[Cell], Kernel] = {
        LSTM: _VF.lstm,
        ProjectedLSTM: _VF.lstm,
        GRU: _VF.gru,
    }
    return functions.get(type(cell))


def refusal(cell: Cell, x: Tensor, resets: Tensor | None, recorded: bool = False) -> str | None:
    """Why these kernels cannot run this, or None when they can."""
    if kernel(cell) is None:
        return f"torch has no kernel for {type(cell).__name__}"
    if recorded:
        return "torch's kernels keep their inner states to themselves"
    if resets is not None:
        return "torch's kernels know no resets inside a sequence"
    if torch.autograd.forward_ad._current_level >= 0:
        return "torch's kernels know no forward-mode differentiation"
    if under_vmap():
        return "torch's kernels would run row by row under vmap"
    if x.is_meta:
        return "meta tensors hold nothing for a kernel to read"
    if 0 in x.shape[:2]:
        return "torch's kernels take no empty sequence"
    return None


def run(cell: Cell, spec: Spec, operands: Operands, reverse: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, by PyTorch's kernels."""
    operands = operands.without_padding()
    flip = None if not reverse else reversal(operands)
    x = operands.x if flip is None else flip(operands.x)
    initial = tuple(s[None].contiguous() for s in operands.state.values())
    flat = [operands.params[name] for name in spec.params]
    bias = spec.blocks["ih"].bias is not None
    run_kernel = kernel(cell)
    if run_kernel is None:
        raise ValueError(f"torch has no kernel for {cell!r}")
    if operands.lengths is None:
        y, final = whole(run_kernel, x, initial, flat, bias)
    else:
        y, final = packed(run_kernel, x, initial, flat, bias, operands.lengths)
    states = dict(zip(spec.states, (f[0] for f in final), strict=True))
    return (y if flip is None else flip(y)), states


def reversal(operands: Operands) -> Callable[[Tensor], Tensor]:
    """A function that reverses each row within its own length; applied twice it does nothing."""
    if operands.lengths is None:
        return lambda v: v.flip(1)
    lengths = operands.lengths[:, None]
    steps = torch.arange(operands.x.shape[1], device=operands.x.device).expand(operands.x.shape[:2])
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)[..., None]
    return lambda v: v.gather(1, index.expand_as(v))


def whole(
    run_kernel: Kernel, x: Tensor, initial: tuple[Tensor, ...], flat: list[Tensor], bias: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Rows that all have T steps."""
    states = initial if len(initial) > 1 else initial[0]
    y, *final = run_kernel(x, states, flat, bias, 1, 0.0, torch.is_grad_enabled(), False, True)
    return y, tuple(final)


def packed(
    run_kernel: Kernel, x: Tensor, initial: tuple[Tensor, ...], flat: list[Tensor], bias: bool, lengths: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Rows of their own lengths; a row of length 0 takes a step on zeros that is then discarded."""
    pack = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    ordered = tuple(s.index_select(1, cast(Tensor, pack.sorted_indices)) for s in initial)
    states = ordered if len(ordered) > 1 else ordered[0]
    training = torch.is_grad_enabled()
    data, *final = run_kernel(pack.data, pack.batch_sizes, states, flat, bias, 1, 0.0, training, False)
    result = PackedSequence(data, pack.batch_sizes, pack.sorted_indices, pack.unsorted_indices)
    y, _ = pad_packed_sequence(result, batch_first=True, total_length=x.shape[1])
    empty = (lengths == 0)[:, None]
    back = (f.index_select(1, cast(Tensor, pack.unsorted_indices)) for f in final)
    finals = tuple(torch.where(empty, s, f) for s, f in zip(initial, back, strict=True))
    return y.masked_fill(empty[..., None], 0.0), finals
