"""torch's sequence kernels as one registered operation, so that `torch.compile` does not unroll time.

Traced directly, `_VF.lstm` becomes one small graph per time step: compile time grows with the length and
every new length compiles again. As an operation it is one node whatever the length, in `torch.compile` and
`torch.export`. Calls that are not being compiled never come here: they go to the kernel itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import _VF, Tensor
from torch.nn import functional

KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "RNN_TANH": _VF.rnn_tanh,
    "RNN_RELU": _VF.rnn_relu,
    "GRU": _VF.gru,
    "LSTM": _VF.lstm,
}

# Time-major, without dropout: both are added around the operation, where the compiler sees them.
# hx holds one tensor, or two for LSTM; the result is [output, *final states].
_ARGUMENTS = (
    "str mode, Tensor x, Tensor? batch_sizes, Tensor[] hx, Tensor[] weights, "
    "bool bias, int layers, bool bidirectional, bool train, ScalarType? autocast"
)
_library: Any = torch.library.Library("elman", "FRAGMENT")
_library.define(f"torch_sequence({_ARGUMENTS}) -> Tensor[]")
_library.define(f"torch_sequence_backward(Tensor[] gradients, {_ARGUMENTS}) -> Tensor[]")


def _autocast(x: Tensor, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    # Compiled code runs outside the autocast region it was traced in: the operation carries the dtype along.
    return nullcontext() if dtype is None else torch.autocast(x.device.type, dtype=dtype)


def _kernel(
    mode: str,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
    *settings: Any,
) -> list[Tensor]:
    bias, layers, bidirectional, train, autocast = settings
    state = tuple(hx) if mode == "LSTM" else hx[0]
    numbers = (bias, layers, 0.0, train, bidirectional)
    with _autocast(x, autocast):
        if batch_sizes is None:
            results = KERNELS[mode](x, state, list(weights), *numbers, False)
        else:
            results = KERNELS[mode](x, batch_sizes, state, list(weights), *numbers)
    dtypes = _dtypes(mode, x, batch_sizes is not None, hx, autocast)
    return [result.to(dtype) for result, dtype in zip(results, dtypes, strict=True)]


def _dtypes(
    mode: str, x: Tensor, packed: bool, hx: Sequence[Tensor], autocast: torch.dtype | None
) -> list[torch.dtype]:
    # Of the output and the final states. On the CPU torch's autocast covers every step of the RNN, of the GRU only
    # the products, of the LSTM what its kernel does; which kernel may depend on the processor and on the lengths,
    # which a graph cannot know, so that the results are brought to these.
    if autocast is None or x.dtype == torch.float64:
        return [x.dtype] * (1 + len(hx))
    if x.device.type != "cpu" or mode.startswith("RNN"):
        return [autocast] * (1 + len(hx))
    if mode == "LSTM" and hx[0].shape[-1] != hx[1].shape[-1]:
        return [autocast, autocast, x.dtype]
    return [x.dtype if packed or mode == "GRU" else autocast] * (1 + len(hx))


def _own_memory(tensors: Sequence[Tensor]) -> list[Tensor]:
    # An operation's results must not share memory, and a kernel may return pieces of one buffer (cuDNN does).
    seen: set[int] = set()
    separate = []
    for tensor in tensors:
        laid_out = tensor.contiguous()
        address = laid_out.untyped_storage().data_ptr()
        separate.append(laid_out.clone() if address in seen else laid_out)
        seen.add(address)
    return separate


def _sequence(*arguments: Any) -> list[Tensor]:
    return _own_memory(_kernel(*arguments))


def _sequence_shapes(
    mode: str,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
    *settings: Any,
) -> list[Tensor]:
    _, _, bidirectional, _, autocast = settings
    width = hx[0].shape[-1] * (2 if bidirectional else 1)
    output, *finals = _dtypes(mode, x, batch_sizes is not None, hx, autocast)
    return [
        x.new_empty((*x.shape[:-1], width), dtype=output),
        *(state.new_empty(state.shape, dtype=dtype) for state, dtype in zip(hx, finals, strict=True)),
    ]


def _sequence_backward(
    gradients: Sequence[Tensor],
    mode: str,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
    *settings: Any,
) -> list[Tensor]:
    # The forward pass runs again, recorded, in training mode: cuDNN has no backward pass in evaluation mode.
    bias, layers, bidirectional, _, autocast = settings
    # Recorded even below a dispatch mode (a profiler's, a checker's), where autograd is switched off.
    recording = torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False)
    with recording, torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in (x, *hx, *weights)]
        first, states, rest = leaves[0], leaves[1 : 1 + len(hx)], leaves[1 + len(hx) :]
        results = _kernel(mode, first, batch_sizes, states, rest, bias, layers, bidirectional, True, autocast)
    return _own_memory(torch.autograd.grad(results, leaves, list(gradients)))


def _sequence_backward_shapes(
    gradients: Sequence[Tensor],
    mode: str,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
    *settings: Any,
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (x, *hx, *weights)]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    mode, x, batch_sizes, hx, weights, *settings = inputs
    ctx.save_for_backward(x, batch_sizes, *hx, *weights)
    ctx.mode, ctx.states, ctx.settings = mode, len(hx), settings


def _backward(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:
    x, batch_sizes, *rest = ctx.saved_tensors
    hx, weights = rest[: ctx.states], rest[ctx.states :]
    operation = torch.ops.elman.torch_sequence_backward
    found = operation(list(gradients), ctx.mode, x, batch_sizes, hx, weights, *ctx.settings)
    by_state, by_weight = found[1 : 1 + ctx.states], found[1 + ctx.states :]
    return (None, found[0], None, by_state, by_weight, *(None for _ in ctx.settings))


_library.impl("torch_sequence", _sequence, "CompositeExplicitAutograd")
_library.impl("torch_sequence_backward", _sequence_backward, "CompositeExplicitAutograd")
torch.library.register_fake("elman::torch_sequence", _sequence_shapes, lib=_library)
torch.library.register_fake("elman::torch_sequence_backward", _sequence_backward_shapes, lib=_library)
torch.library.register_autograd("elman::torch_sequence", _backward, setup_context=_setup_context, lib=_library)


def compiled_sequence(
    module: torch.nn.RNNBase,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """What torch's kernel computes, as nodes of a compiled graph: one, or one per layer with dropout between.

    Args:
        module: whose sizes, directions, dropout and mode apply.
        x: (T, B, D), or (B, T, D) with `batch_first`, or the packed rows (N, D).
        batch_sizes: how many rows each packed step has, None when `x` is not packed.
        hx: the initial states, (layers*directions, B, width) each, one or (LSTM) two.
        weights: all layers' weights in torch's order.

    Returns:
        The output in the layout of `x`, then the final states.
    """
    turned = module.batch_first and batch_sizes is None
    device = x.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    settings = (module.bidirectional, module.training, autocast)
    x = x.transpose(0, 1) if turned else x
    if module.training and module.dropout and module.num_layers > 1:
        output, *states = _layer_by_layer(module, x, batch_sizes, hx, weights, *settings)
    else:
        operation = torch.ops.elman.torch_sequence
        numbers = (module.bias, module.num_layers, *settings)
        output, *states = operation(module.mode, x, batch_sizes, list(hx), list(weights), *numbers)
    return (output.transpose(0, 1) if turned else output, *states)


def _layer_by_layer(
    module: torch.nn.RNNBase,
    x: Tensor,
    batch_sizes: Tensor | None,
    hx: Sequence[Tensor],
    weights: Sequence[Tensor],
    *settings: Any,
) -> tuple[Tensor, ...]:
    # Dropout stays outside the operation: its backward pass runs the forward pass again, and the same units
    # must be dropped then; the compiler knows how to keep a mask.
    directions = 2 if module.bidirectional else 1
    per_layer = len(weights) // module.num_layers
    finals: list[Sequence[Tensor]] = []
    for layer in range(module.num_layers):
        if layer:
            x = functional.dropout(x, module.dropout)
        own = list(weights[layer * per_layer : (layer + 1) * per_layer])
        states = [state[layer * directions : (layer + 1) * directions] for state in hx]
        operation = torch.ops.elman.torch_sequence
        x, *final = operation(module.mode, x, batch_sizes, states, own, module.bias, 1, *settings)
        finals.append(final)
    return (x, *(torch.cat(states) for states in zip(*finals, strict=True)))
