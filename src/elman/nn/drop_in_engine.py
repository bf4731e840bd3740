"""A drop-in's arguments given to Elman's engine, its results in torch's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.cells.gru import GRU
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.rnn import RNN
from elman.engine import NAMES, Choice, Misfit, choose, single_step
from elman.engine.unit import transformed
from elman.errors import UserError, did_you_mean
from elman.nn.recurrent import Recurrent
from elman.nn.stack import Stack, Variation, run, run_natively


def refuse_backend(name: str) -> UserError:
    """The error for a backend asked for by a name that none has.

    Example:
        >>> print(refuse_backend("egaer"))
        backend: no backend 'egaer' for this layer; did you mean 'eager'?
    """
    return UserError(f"no backend {name!r} for this layer", where="backend", fix=did_you_mean(name, NAMES))


def cell_of(mode: str, proj_size: int) -> RNN | GRU | LSTM | ProjectedLSTM:
    """The cell that a module of torch.nn with this `mode` computes."""
    if mode == "LSTM":
        return ProjectedLSTM(proj_size) if proj_size else LSTM()
    return GRU() if mode == "GRU" else RNN("tanh" if mode == "RNN_TANH" else "relu")


_KERNEL = Choice("torch", "torch has kernels for this cell")
_STACKS: dict[tuple[Any, ...], Stack] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _made(key: tuple[Any, ...]) -> bool:
    # Made while a graph is being compiled, not by the graph: it is looked up there, among those already made.
    if key not in _STACKS:
        mode, proj_size, *settings = key
        _STACKS[key] = Stack(cell_of(mode, proj_size), *settings)
    return True


def _stack(*key: Any) -> Stack:
    _made(key)
    return _STACKS[key]


def native_sequence(
    module: nn.RNNBase,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...] | None:
    """As `engine_sequence`, for a drop-in that leaves the choice to Elman.

    None where torch's kernel is to run, or to refuse in its own words what is given.
    """
    steps = x.shape[1 if module.batch_first else 0] if batch_sizes is None else len(batch_sizes)
    if not steps or (hx is not None and len(hx) != (2 if module.mode == "LSTM" else 1)):
        return None
    backend = chosen(module, x, (*(hx or ()), *weights)).backend
    try:
        if backend == "native":
            return engine_sequence(module, x, batch_sizes, hx, weights, "native", run_natively)
        return engine_sequence(module, x, batch_sizes, hx, weights, "auto") if transformed() else None
    except Misfit:
        return None


def single_sequence(
    module: nn.RNNBase, x: Tensor, hx: Sequence[Tensor] | None, weights: Sequence[Tensor]
) -> tuple[Tensor, ...] | None:
    """As `native_sequence`, for one step without gradients; None for everything else."""
    time = 1 if module.batch_first else 0
    if x.shape[time] != 1 or module.num_layers > 1 or module.bidirectional or torch.is_grad_enabled():
        return None
    network = _stack_of(module).single
    if network is None:
        return None
    found = single_step(network, x if time else x.transpose(0, 1), weights, hx)
    return None if found is None else (found[0] if time else found[0].transpose(0, 1), *found[1])


def chosen(module: nn.RNNBase, x: Tensor, others: Sequence[Tensor] = ()) -> Choice:
    """The backend for a drop-in over inputs like x, and the reason; torch's kernels where the engine cannot."""
    asked: Any = module.backend
    if asked == "torch" or (asked == "auto" and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        named = asked == "torch"
        return Choice("torch", "asked for by name" if named else "under autocast the formats are torch's")
    stack = _stack_of(module)
    choice = choose(stack.cell, stack.resting[0], x, asked=asked, others=others)
    return choice if asked != "auto" or choice.backend != "eager" or transformed() else _KERNEL


def as_recurrent(module: nn.RNNBase, weights: Sequence[Tensor]) -> Recurrent:
    """A `Recurrent` with a drop-in's own weights, not copies."""
    stack = _stack_of(module)
    layer = Recurrent(
        stack.cell,
        stack.input_size,
        stack.hidden_size,
        stack.num_layers,
        bias=stack.bias,
        bidirectional=stack.bidirectional,
        backend=str(module.backend),
        device="meta",
    )
    named = zip(stack.names, weights, strict=True)
    layer.load_state_dict({name: weight.detach() for name, weight in named}, assign=True)
    return layer


def _stack_of(module: nn.RNNBase, weights: Sequence[Tensor] = ()) -> Stack:
    projection, inputs, hidden, layers = module.proj_size, module.input_size, module.hidden_size, module.num_layers
    if torch.compiler.is_compiling():
        # With dynamic shapes a module's numbers are symbols then, its weights' sizes are not.
        directions = 2 if module.bidirectional else 1
        each = 2 + (2 if module.bias else 0) + (1 if projection else 0)
        projection = weights[each - 1].shape[0] if projection else 0
        inputs, layers = weights[0].shape[1], len(weights) // (each * directions)
        hidden = weights[0].shape[0] // {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    dropout = module.dropout or 0.0
    return _stack(module.mode, projection, inputs, hidden, layers, module.bidirectional, module.bias, dropout)


def engine_sequence(
    module: nn.RNNBase,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor] | None,
    weights: Sequence[Tensor],
    backend: str,
    execute: Callable[..., tuple[Tensor, tuple[Tensor, ...]]] = run,
) -> tuple[Tensor, ...]:
    """What torch's kernel would compute, from Elman's definition.

    Args:
        module: whose sizes, directions, dropout and mode apply.
        x: (T, B, D), or (B, T, D) with `batch_first`, or the packed rows (N, D).
        batch_sizes: how many rows each packed step has, None when `x` is not packed.
        hx: the initial states, (layers*directions, B, width) each, rows in the order of `x`; None: zeros.
        weights: all layers' weights, in torch's order.
        backend: which execution of it.
        execute: what runs the stack; `run` looks first whether that backend can.

    Returns:
        The output in the layout of `x`, then the final states.
    """
    stack = _stack_of(module, weights)
    lengths = None
    if batch_sizes is not None:
        x, lengths = pad_packed_sequence(PackedSequence(x, batch_sizes), batch_first=True)
    elif not module.batch_first:
        x = x.transpose(0, 1)
    on_device = None if lengths is None else lengths.to(x.device)
    output, final = execute(
        stack,
        weights,
        x,
        None if hx is None else dict(zip(("h", "c"), hx, strict=False)),
        Variation(on_device, training=module.training, backend=backend, packed=lengths is not None),
    )
    if lengths is not None:
        output = pack_padded_sequence(output, lengths, batch_first=True).data
    else:
        # Step after step in memory, as torch's layers have it with `batch_first` too: a dropout that follows
        # draws in the order of memory.
        output = output.transpose(0, 1).contiguous()
        output = output.transpose(0, 1) if module.batch_first else output
    return (output, *final)


def engine_step(
    cell: Any,
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
    _, final = run(
        _stack(mode, 0, cell.input_size, cell.hidden_size, 1, False, cell.bias, 0.0),
        [weight for weight in weights if weight is not None],
        x.unsqueeze(1),
        {name: state.unsqueeze(0) for name, state in zip(("h", "c"), states, strict=False)},
        Variation(backend=cell.backend),
    )
    return (final[0][0], final[1][0]) if mode == "LSTM" else final[0][0]
