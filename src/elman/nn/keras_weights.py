"""Weights from Keras and back: LSTM, GRU and SimpleRNN, alone or in a Bidirectional.

Both sides are run on random input before anything is returned; where they differ, the conversion is refused.
Keras's kernels are (inputs, gates * units), in the order z, r, h (GRU) and i, f, c, o (LSTM). There is one bias,
but for a GRU that resets after the product, which has two rows of them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.cells import Cell
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.cells.reset_before_gru import ResetBeforeGRU
from elman.cells.rnn import RNN
from elman.errors import UserError
from elman.nn.foreign import ROWS, STEPS, library, load, refuse_difference, reordered, single_layer
from elman.nn.operator_cells import Activation, OperatorGRU, OperatorLSTM, OperatorRNN
from elman.nn.recurrent import Recurrent

GATES = {"SimpleRNN": "h", "GRU": "zrn", "LSTM": "ifgo"}  # Keras's order, in Elman's letters
KINDS: Mapping[type[Cell], str] = {RNN: "SimpleRNN", GRU: "GRU", ResetBeforeGRU: "GRU", LSTM: "LSTM"}
ACTIVATIONS = {
    "linear": Activation("Affine", (1.0, 0.0)),
    "hard_sigmoid": Activation("HardSigmoid", (1 / 6, 0.5)),
    **{name: Activation(name.capitalize()) for name in ("tanh", "sigmoid", "relu", "softsign", "softplus")},
    "elu": Activation("Elu", (1.0,)),
}


def from_keras(layer: Any) -> Recurrent:
    """A recurrent layer of Keras as a layer of Elman, with its weights.

    It returns all outputs where Keras's layer has `return_sequences`, else the last; and always the state, which
    Keras leaves out unless asked. Keras's dropout, of inputs and states, is not taken over; a warning says so.

    Args:
        layer: a built `keras.layers.LSTM`, `GRU` (either `reset_after`), `SimpleRNN`, or a `Bidirectional` of one
            that joins its directions by "concat".

    Raises:
        UserError: it is another layer, is not built, has an option that Elman has not, or both sides differ, and
            by how much.

    Source:
        Keras 3, keras.layers.

    Example:
        >>> made = from_keras(to_keras(Recurrent("gru", 3, 5)))  # doctest: +SKIP
        >>> made.cell  # doctest: +SKIP
        GRU()
    """
    keras = library("keras", "keras")
    wrapped = isinstance(layer, keras.layers.Bidirectional)
    parts = [layer.forward_layer, layer.backward_layer] if wrapped else [layer]
    kind = next((k for k in GATES if all(type(part) is getattr(keras.layers, k) for part in parts)), None)
    where = type(layer).__name__
    if kind is None:
        found = ", ".join(type(part).__name__ for part in parts)
        raise UserError("a recurrent layer must be one of Keras's own", found=found, fix=f"there are {[*GATES]}")
    _check_options(layer, parts, wrapped, where)
    first = parts[0]
    kernel = _tensor(first.cell.kernel)
    made = Recurrent(
        _cell(kind, first, where),
        kernel.shape[0],
        first.units,
        bias=first.use_bias,
        bidirectional=wrapped,
        outputs="all" if first.return_sequences else "last",
        dtype=kernel.dtype,
    )
    tensors: dict[str, Tensor] = {}
    for part, (_, _, suffix) in zip(parts, made.stack.passes(), strict=True):
        tensors |= {name + suffix: t for name, t in _from(part.cell, GATES[kind], made.cell.gates).items()}
    load(made, tensors)
    _compare(made, layer, where)
    return made


def to_keras(layer: Recurrent) -> Any:
    """A layer of Elman as a built layer of Keras, which returns outputs and states: LSTM, GRU or SimpleRNN.

    Two biases become one, their sum, where Keras has one.

    Args:
        layer: of one of the cells rnn, lstm, gru, resetbeforegru; one layer, one or two directions.

    Raises:
        UserError: Keras is not installed or has no such layer, or both sides differ, and by how much.

    Example:
        >>> made = to_keras(Recurrent("lstm", 3, 5))  # doctest: +SKIP
        >>> [tuple(weight.shape) for weight in made.weights]  # doctest: +SKIP
        [(3, 20), (5, 20), (20,)]
    """
    keras = library("keras", "keras")
    single_layer(layer, "a recurrent layer of Keras")
    cell, dtype = layer.cell, next(layer.parameters()).dtype
    kind = KINDS.get(type(cell))
    if kind is None:
        fix = f"it has: {', '.join(known.__name__ for known in KINDS)}"
        raise UserError("Keras has no layer for this cell", found=repr(cell), fix=fix)
    options: dict[str, Any] = {"use_bias": layer.stack.bias, "dtype": str(dtype).removeprefix("torch.")}
    options |= {"activation": cell.nonlinearity} if isinstance(cell, RNN) else {}
    options |= {"reset_after": type(cell) is GRU} if kind == "GRU" else {}
    made = getattr(keras.layers, kind)(
        layer.stack.hidden_size, return_sequences=layer.outputs == "all", return_state=True, **options
    )
    if layer.stack.bidirectional:
        made = keras.layers.Bidirectional(made, dtype=options["dtype"])
    made.build((None, None, layer.stack.input_size))
    weights = [array for *_, suffix in layer.stack.passes() for array in _to(layer, kind, suffix)]
    made.set_weights(weights)
    _compare(layer, made, kind)
    return made


def _check_options(layer: Any, parts: Sequence[Any], wrapped: bool, where: str) -> None:
    """Refuses what Elman has not; warns of dropout."""
    if not layer.built:
        raise UserError("the layer must have weights", where=where, fix="call it once, or layer.build(shape)")
    if wrapped and layer.merge_mode != "concat":
        found = f"merge_mode={layer.merge_mode!r}"
        raise UserError("both directions lie side by side in Elman", where=where, found=found)
    if any(part.stateful for part in parts):
        fix = "make it with stateful=False, and hand each call the last state: y, state = layer(x, state)"
        raise UserError("a layer keeps nothing between calls", where=where, found="stateful", fix=fix)
    if not wrapped and layer.go_backwards:
        fix = "flip the input, and convert a layer without go_backwards"
        raise UserError("a layer in one direction runs forwards", where=where, found="go_backwards", fix=fix)
    if any(part.dropout or part.recurrent_dropout for part in parts):
        warnings.warn(f"{where}: its dropout is not taken over: none is applied in training", stacklevel=3)


def _activation(function: Any, where: str) -> Activation:
    name = library("keras.activations", "keras").serialize(function)
    if name not in ACTIVATIONS:
        fix = f"there are {', '.join(ACTIVATIONS)}"
        raise UserError("an activation that Elman has not", where=where, found=str(name), fix=fix)
    return ACTIVATIONS[name]


def _cell(kind: str, layer: Any, where: str) -> Cell:
    """A cell of the papers where the activations are the usual ones."""
    f = _activation(layer.activation, where)
    if kind == "SimpleRNN":
        usual = f.name in ("Tanh", "Relu")
        return RNN(f.name.lower()) if usual else OperatorRNN(f)  # type: ignore[arg-type]
    gate = _activation(layer.recurrent_activation, where)
    usual = (gate, f) == (Activation("Sigmoid"), Activation("Tanh"))
    if kind == "LSTM":
        return LSTM() if usual else OperatorLSTM(gate, f, f)
    if usual:
        return GRU() if layer.reset_after else ResetBeforeGRU()
    return OperatorGRU(gate, f, layer.reset_after)


def _tensor(variable: Any) -> Tensor:
    array = np.array(library("keras.ops", "keras").convert_to_numpy(variable))
    return torch.from_numpy(array if array.dtype == np.float64 else array.astype(np.float32))


def _from(cell: Any, given: str, wanted: Sequence[str]) -> dict[str, Tensor]:
    """One direction's weights in Elman's order."""
    found = {
        "weight_ih": reordered(_tensor(cell.kernel).T, given, wanted),
        "weight_hh": reordered(_tensor(cell.recurrent_kernel).T, given, wanted),
    }
    if cell.use_bias:
        bias = _tensor(cell.bias)
        first, second = bias if bias.dim() == 2 else (bias, torch.zeros_like(bias))
        found |= {"bias_ih": reordered(first, given, wanted), "bias_hh": reordered(second, given, wanted)}
    return found


def _to(layer: Recurrent, kind: str, suffix: str) -> list[np.ndarray[Any, Any]]:
    """One direction's weights in Keras's order."""

    def rows(name: str) -> Tensor:
        return reordered(layer.get_parameter(name + suffix).detach().cpu(), layer.cell.gates, GATES[kind])

    found = [rows("weight_ih").T, rows("weight_hh").T]
    if layer.stack.bias:
        biases = torch.stack([rows("bias_ih"), rows("bias_hh")])
        found.append(biases if type(layer.cell) is GRU else biases.sum(0))
    return [tensor.numpy() for tensor in found]


def _compare(layer: Recurrent, other: Any, where: str) -> None:
    """Runs both on random input and states; Keras's as a copy that has no state of its own and drops nothing.

    Keras's loop over steps computes in single precision in some of its backends, whatever the format.
    """
    keras = library("keras", "keras")
    ours = copy.deepcopy(layer).cpu()
    stack, dtype, g = ours.stack, next(ours.parameters()).dtype, torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, STEPS, stack.input_size, generator=g, dtype=dtype)
    shape = (stack.directions, ROWS, stack.hidden_size)
    state = [torch.randn(shape, generator=g, dtype=dtype) for _ in stack.specs[0].states]
    settings = {"stateful": False, "return_state": True, "dropout": 0.0, "recurrent_dropout": 0.0}
    inner = other.forward_layer if stack.bidirectional else other
    copied = type(inner).from_config({**inner.get_config(), **settings})
    if stack.bidirectional:
        copied = keras.layers.Bidirectional(copied, dtype=str(dtype).removeprefix("torch."))
    copied.build((None, None, stack.input_size))
    copied.set_weights(other.get_weights())
    initial = [keras.ops.convert_to_tensor(s[d].numpy()) for d in range(stack.directions) for s in state]
    theirs = copied(keras.ops.convert_to_tensor(x.numpy()), initial_state=initial)
    with torch.no_grad():
        y, final = ours(x, state)
    names = [f"the final {name}" for _ in range(stack.directions) for name in stack.specs[0].states]
    mine = [y, *(s[d] for d in range(stack.directions) for s in final)]
    arrays = [np.array(keras.ops.convert_to_numpy(t)) for t in theirs]
    refuse_difference(mine, arrays, ["the output", *names], where, torch.float32)
