"""A drop-in's arguments given to Elman's own definition of its cell, the results in torch's layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.cells.gru import GRU
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.rnn import RNN
from elman.engine import NAMES
from elman.errors import UserError, did_you_mean
from elman.nn.stack import Stack, Variation, run


def refuse_backend(name: str) -> UserError:
    """The error for a backend asked for by a name that none has.

    Example:
        >>> print(refuse_backend("egaer"))
        backend: no backend 'egaer' for this layer; did you mean 'eager'?
    """
    return UserError(f"no backend {name!r} for this layer", where="backend", fix=did_you_mean(name, NAMES))


def _cell(mode: str, proj_size: int) -> RNN | GRU | LSTM | ProjectedLSTM:
    if mode == "LSTM":
        return ProjectedLSTM(proj_size) if proj_size else LSTM()
    return GRU() if mode == "GRU" else RNN("tanh" if mode == "RNN_TANH" else "relu")


_STACKS: dict[tuple[Any, ...], Stack] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _made(key: tuple[Any, ...]) -> bool:
    # Made while a graph is being compiled, not by the graph: it is looked up there, among those already made.
    if key not in _STACKS:
        mode, proj_size, *settings = key
        _STACKS[key] = Stack(_cell(mode, proj_size), *settings)
    return True


def _stack(*key: Any) -> Stack:
    _made(key)
    return _STACKS[key]


def eager_sequence(
    module: nn.RNNBase,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """What torch's kernel would compute, from Elman's definition run step by step.

    Args:
        module: whose sizes, directions, dropout and mode apply.
        x: (T, B, D), or (B, T, D) with `batch_first`, or the packed rows (N, D).
        batch_sizes: how many rows each packed step has, None when `x` is not packed.
        hx: the initial states, (layers*directions, B, width) each, rows in the order of `x`.
        weights: all layers' weights, in torch's order.

    Returns:
        The output in the layout of `x`, then the final states.
    """
    stack = _stack(
        module.mode, module.proj_size, module.input_size, module.hidden_size, module.num_layers,
        module.bidirectional, module.bias, module.dropout,
    )  # fmt: skip
    lengths = None
    turned = batch_sizes is None and not module.batch_first
    if batch_sizes is not None:
        x, lengths = pad_packed_sequence(PackedSequence(x, batch_sizes), batch_first=True)
    elif turned:
        x = x.transpose(0, 1)
    on_device = None if lengths is None else lengths.to(x.device)
    output, final = run(
        stack,
        dict(zip(module._flat_weights_names, weights, strict=True)),
        x,
        dict(zip(("h", "c"), hx, strict=False)),
        Variation(lengths=on_device, training=module.training, backend="eager"),
    )
    if lengths is not None:
        output = pack_padded_sequence(output, lengths, batch_first=True).data
    elif turned:
        output = output.transpose(0, 1)
    return (output, *(final[name] for name in ("h", "c")[: len(hx)]))


def eager_step(
    cell: nn.RNNCellBase,
    mode: str,
    x: Tensor,
    hx: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor | None],
) -> Tensor | tuple[Tensor, ...]:
    """What torch's cell kernel would compute, as a sequence of length one through Elman's definition.

    Args:
        cell: whose sizes apply.
        mode: which cell: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        x: (B, D).
        hx: (B, H), for LSTM a pair of them.
        weights: `weight_ih`, `weight_hh` and the biases, None without.

    Returns:
        The next state, a pair for LSTM.
    """
    states = (hx,) if isinstance(hx, Tensor) else hx
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    _, final = run(
        _stack(mode, 0, cell.input_size, cell.hidden_size, 1, False, cell.bias, 0.0),
        {name: weight for name, weight in zip(names, weights, strict=True) if weight is not None},
        x.unsqueeze(1),
        {name: state.unsqueeze(0) for name, state in zip(("h", "c"), states, strict=False)},
        Variation(backend="eager"),
    )
    return tuple(final[name][0] for name in ("h", "c")) if mode == "LSTM" else final["h"][0]
