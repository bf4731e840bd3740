"""Weights from ONNX models and back: one RNN, GRU or LSTM node as a layer, a layer as a model of one node.

Both sides are run on random input before anything is returned; where they differ, the conversion is refused.
ONNX's blocks of rows are z, r, h (GRU) and i, o, f, c (LSTM); `B` holds both biases in one row, `P` the peepholes
of i, o and f.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.cells import Cell
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM
from elman.cells.peephole_lstm import PeepholeLSTM
from elman.cells.reset_before_gru import ResetBeforeGRU
from elman.cells.rnn import RNN
from elman.errors import UserError, did_you_mean
from elman.nn.foreign import ROWS, STEPS, library, load, refuse_difference, reordered, single_layer
from elman.nn.operator_cells import Activation, OperatorGRU, OperatorLSTM, OperatorRNN, defaults
from elman.nn.recurrent import Recurrent

GATES = {"RNN": "h", "GRU": "zrn", "LSTM": "iofg"}  # ONNX's order, in Elman's letters
PEEPHOLES = ("weight_ci", "weight_co", "weight_cf")
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")
USUAL = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
OPSET, IR = 17, 8
RESHAPING = ("Cast", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")


class OnnxRecurrent(nn.Module):
    """A layer that is called as the node of an ONNX model is.

    Args:
        layer: what computes it.
        direction: "forward", "reverse" or "bidirectional".
        batchwise: whether rows come before time (`layout` 1).
        given: states and lengths that the model holds as constants, by ONNX's names.
        wanted: those which the model computes or is given, and every call must bring.

    Shapes, with `layout` 1 in brackets:
        X: (T, B, D) [(B, T, D)]. sequence_lens: (B,). initial_h, initial_c, Y_h, Y_c: (directions, B, H)
        [(B, directions, H)]. Y: (T, directions, B, H) [(B, T, directions, H)].
    """

    def __init__(
        self,
        layer: Recurrent,
        direction: str = "forward",
        batchwise: bool = False,
        given: Mapping[str, Tensor] | None = None,
        wanted: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.layer, self.direction, self.batchwise, self.wanted = layer, direction, batchwise, tuple(wanted)
        for name in ("sequence_lens", "initial_h", "initial_c"):
            self.register_buffer(name, (given or {}).get(name))

    def forward(
        self,
        X: Tensor,
        sequence_lens: Tensor | None = None,
        initial_h: Tensor | None = None,
        initial_c: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Y and Y_h, for an LSTM also Y_c.

        Raises:
            ValueError: the model feeds a state or lengths into the node, and they are not given here.
        """
        given = {"sequence_lens": sequence_lens, "initial_h": initial_h, "initial_c": initial_c}
        given = {name: getattr(self, name) if value is None else value for name, value in given.items()}
        if missing := [name for name in self.wanted if given[name] is None]:
            raise ValueError(f"the model feeds {', '.join(missing)} into this node: give them with the call")
        turn: Callable[[Tensor], Tensor] = (lambda v: v) if self.batchwise else (lambda v: v.transpose(0, 1))
        x, lengths = turn(X), given["sequence_lens"]
        x = _flipped(x, lengths) if self.direction == "reverse" else x
        y, state = self.layer(x, self._state(given, x), lengths=lengths)
        y = _flipped(y, lengths) if self.direction == "reverse" else y
        y = y.unflatten(-1, (self.layer.stack.directions, -1))
        if self.batchwise:
            return y, *(s.transpose(0, 1) for s in state)
        return y.permute(1, 2, 0, 3), *state

    def _state(self, given: Mapping[str, Tensor | None], x: Tensor) -> list[Tensor] | None:
        names = [f"initial_{name}" for name in self.layer.stack.specs[0].states]
        if all(given[name] is None for name in names):
            return None
        found = []
        for name, zero in zip(names, self.layer.fresh_state(x.shape[0]), strict=True):
            state = given[name]
            found.append(zero if state is None else state.transpose(0, 1) if self.batchwise else state)
        return found


def _flipped(v: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, width) with each row's own steps in reverse order."""
    if lengths is None:
        return v.flip(1)
    ends, steps = lengths.to(v.device, torch.int64)[:, None], torch.arange(v.shape[1], device=v.device)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return v.gather(1, index[..., None].expand_as(v))


def from_onnx(model: Any, node: str | None = None) -> OnnxRecurrent:
    """The RNN, GRU or LSTM node of an ONNX model as a layer of Elman, with the node's weights and meaning.

    Reset after or before the product, peepholes, any activations, clip, coupled gates, all directions, both
    layouts, lengths and initial states. The layer is then run beside ONNX Runtime or ONNX's reference on random
    input.

    Args:
        model: an `onnx.ModelProto`, or the path of one.
        node: the name of the node, or of one of its outputs, where the model has several.

    Returns:
        A module that is called as the node is; its `layer` is a `Recurrent`.

    Raises:
        UserError: onnx (or what can run the node) is not installed; there is no such node, or several; its
            weights are no constants; its options cannot be; or both sides differ, and by how much.

    Source:
        ONNX, operators RNN, GRU and LSTM, version 22.

    Example:
        >>> made = from_onnx(to_onnx(Recurrent("gru", 3, 5, bidirectional=True)))
        >>> y, last = made(torch.zeros(7, 2, 3))
        >>> y.shape, last.shape
        (torch.Size([7, 2, 2, 5]), torch.Size([2, 2, 5]))
    """
    onnx = library("onnx", "onnx")
    if isinstance(model, str | Path):
        model = _read(onnx, Path(model))
    found = _the_node(model, node)
    where = f"{found.op_type} {found.name or found.output[0] or found.output[1]}"
    names = {name: source for name, source in zip(_inputs(found.op_type), found.input, strict=False) if source}
    values = {name: _constant(onnx, model, source) for name, source in names.items() if name != "X"}
    if missing := [names.get(name, name) for name in WEIGHTS[:2] if values.get(name) is None] + [
        names[name] for name in WEIGHTS[2:] if name in names and values[name] is None
    ]:
        fix = "make it an initializer of the model"
        raise UserError("the weights of a node must be constants", where=where, found=", ".join(missing), fix=fix)
    constants = {name: value for name, value in values.items() if value is not None}
    options = {a.name: onnx.helper.get_attribute_value(a) for a in found.attribute}
    direction = options.get("direction", b"forward").decode()
    layer = _layer(found.op_type, constants, options, direction == "bidirectional")
    made = OnnxRecurrent(
        layer,
        direction,
        bool(options.get("layout", 0)),
        {name: value for name, value in constants.items() if name not in WEIGHTS},
        [name for name, value in values.items() if value is None and not _is_zero(onnx, model, names[name])],
    )
    _compare(made, found.op_type, constants, options, [*names], where)
    return made


def to_onnx(layer: Recurrent) -> Any:
    """A layer as an ONNX model of one node, its weights as initializers; X (T, B, D) in, Y, Y_h (and Y_c) out.

    The model is run beside the layer on random input.

    Args:
        layer: of one of the cells rnn, gru, resetbeforegru, lstm, peepholelstm; one layer, one or two directions.

    Returns:
        An `onnx.ModelProto`.

    Raises:
        UserError: onnx (or what can run the node) is not installed, ONNX has no such cell, the layer is a stack
            or has trainable initial states, or both sides differ, and by how much.

    Example:
        >>> model = to_onnx(Recurrent("lstm", 3, 5))
        >>> [tensor.name for tensor in model.graph.initializer]
        ['W', 'R', 'B']
    """
    onnx = library("onnx", "onnx")
    single_layer(layer, "a node of ONNX")
    kind, options = _node_of(layer.cell, layer.stack.directions)
    options |= {"hidden_size": layer.stack.hidden_size}
    options |= {"direction": "bidirectional"} if layer.stack.bidirectional else {}
    constants = _tensors(kind, layer)
    _compare(
        OnnxRecurrent(layer, options.get("direction", "forward")), kind, constants, options, [*constants], kind
    )
    return _model(onnx, kind, constants, {}, options)


def _inputs(kind: str) -> tuple[str, ...]:
    return INPUTS if kind == "LSTM" else INPUTS[:6]


def _read(onnx: Any, path: Path) -> Any:
    try:
        return onnx.load(path)
    except (OSError, library("google.protobuf.message", "onnx").DecodeError) as error:
        raise UserError("this is no ONNX model that can be read", where=path, found=str(error)) from error


def _the_node(model: Any, name: str | None) -> Any:
    nodes = [n for n in model.graph.node if n.op_type in GATES and n.domain in ("", "ai.onnx")]
    known = [n.name or n.output[0] or n.output[1] for n in nodes]
    if name is None:
        if len(nodes) != 1:
            found = ", ".join(known) or ", ".join(sorted({n.op_type for n in model.graph.node}))
            raise UserError("the model must have one RNN, GRU or LSTM node", found=found, fix="give node=NAME")
        return nodes[0]
    if chosen := [n for n in nodes if name == n.name or name in n.output]:
        return chosen[0]
    raise UserError("no such RNN, GRU or LSTM node", where="node", found=name, fix=did_you_mean(name, known))


def _constant(onnx: Any, model: Any, name: str) -> Tensor | None:
    """What a name of the graph stands for, in float32, float64 or integers; None where it depends on an input."""
    makers = {output: n for n in model.graph.node for output in n.output}
    initializers = {t.name: t for t in model.graph.initializer}
    needed: dict[int, Any] = {}

    def depends(source: str) -> bool:
        if not source or source in initializers:
            return False
        if source not in makers:
            return True
        maker = makers[source]
        needed[id(maker)] = maker
        return max(map(depends, maker.input), default=False)  # not `any`: all of them are needed

    if depends(name):
        return None
    if name in initializers:
        array = onnx.numpy_helper.to_array(initializers[name])
    else:
        nodes = [n for n in model.graph.node if id(n) in needed]
        output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)
        graph = onnx.helper.make_graph(nodes, "constant", [], [output], [*initializers.values()])
        small = onnx.helper.make_model(graph, opset_imports=model.opset_import)
        array = library("onnx.reference", "onnx").ReferenceEvaluator(small).run(None, {})[0]
    exact = array.dtype == np.float64 or np.issubdtype(array.dtype, np.integer)
    return torch.from_numpy(np.array(array if exact else array.astype(np.float32)))


def _is_zero(onnx: Any, model: Any, name: str) -> bool:
    """Whether a name stands for zeros of whatever shape: exporters write states that nobody gave so."""
    value = _constant(onnx, model, name)
    maker = next((n for n in model.graph.node if name in n.output), None)
    if value is not None or maker is None:
        return value is not None and not value.any()
    if maker.op_type == "ConstantOfShape":
        return not any(onnx.numpy_helper.to_array(a.t).any() for a in maker.attribute)
    return maker.op_type in RESHAPING and _is_zero(onnx, model, maker.input[0])


def _activations(kind: str, options: Mapping[str, Any], directions: int) -> list[Activation]:
    """Of one direction; the numbers are dealt to the functions that have such, in turn.

    The clip is for what comes of products: the cell state, which the third function of an LSTM reads, is not
    bounded by ONNX Runtime.
    """
    names = [name.decode() for name in options.get("activations", [])] or [*USUAL[kind]] * directions
    given = [iter(options.get(f"activation_{letter}", ())) for letter in ("alpha", "beta")]
    found: list[Activation] = []
    for name in names:
        clip = None if len(found) % 3 == 2 and kind == "LSTM" else options.get("clip")
        usual = defaults(name)
        numbers = [next(rest, number) for rest, number in zip(given, usual, strict=False)]
        known = tuple(number for number in numbers if number is not None)
        if len(known) < len(usual):
            fix = "give activation_alpha and activation_beta"
            raise UserError(f"{name} has no usual numbers", where=kind, found=numbers, fix=fix)
        found.append(Activation(name.capitalize(), known, clip))
    each = len(USUAL[kind])
    if len(found) != each * directions or found[:each] * directions != found:
        raise UserError(
            f"an Elman layer has the same {each} activations in all of its {directions} directions",
            where=kind,
            found=", ".join(names),
        )
    return found[:each]


def _cell(kind: str, options: Mapping[str, Any], directions: int, peepholes: bool) -> Cell:
    """A cell of the papers where the options are the usual ones."""
    chosen = _activations(kind, options, directions)
    usual = chosen == [Activation(name) for name in USUAL[kind]]
    if kind == "RNN":
        f = chosen[0]
        return RNN(f.name.lower()) if f in (Activation("Tanh"), Activation("Relu")) else OperatorRNN(f)  # type: ignore[arg-type]
    if kind == "GRU":
        after = bool(options.get("linear_before_reset", 0))
        f, g = chosen
        return (GRU() if after else ResetBeforeGRU()) if usual else OperatorGRU(f, g, after)
    coupled = bool(options.get("input_forget", 0))
    if usual and not coupled:
        return PeepholeLSTM() if peepholes else LSTM()
    f, g, h = chosen
    return OperatorLSTM(f, g, h, peepholes, coupled)


def _node_of(cell: Cell, directions: int) -> tuple[str, dict[str, Any]]:
    """The operator that computes a cell, and its attributes."""
    if type(cell) is RNN:
        return "RNN", {"activations": [cell.nonlinearity.capitalize()] * directions}
    kinds: dict[type[Cell], tuple[str, dict[str, Any]]] = {
        GRU: ("GRU", {"linear_before_reset": 1}),
        ResetBeforeGRU: ("GRU", {"linear_before_reset": 0}),
        LSTM: ("LSTM", {}),
        PeepholeLSTM: ("LSTM", {}),
    }
    if type(cell) not in kinds:
        known = ", ".join(["RNN", *(kind.__name__ for kind in kinds)])
        raise UserError("ONNX has no operator for this cell", found=repr(cell), fix=f"it has: {known}")
    kind, options = kinds[type(cell)]
    return kind, dict(options)


def _layer(kind: str, constants: Mapping[str, Tensor], options: Mapping[str, Any], both: bool) -> Recurrent:
    """The weights in Elman's order."""
    w, r = constants["W"], constants["R"]
    directions, hidden, inputs = w.shape[0], r.shape[-1], w.shape[-1]
    cell = _cell(kind, options, directions, "P" in constants)
    layer = Recurrent(cell, inputs, hidden, bias="B" in constants, bidirectional=both, dtype=w.dtype)
    if directions != layer.stack.directions:
        raise UserError(f"W must be of {layer.stack.directions} directions", where=kind, found=tuple(w.shape))
    gates = cell.gates
    tensors = {}
    for _, direction, suffix in layer.stack.passes():
        tensors["weight_ih" + suffix] = reordered(w[direction], GATES[kind], gates)
        tensors["weight_hh" + suffix] = reordered(r[direction], GATES[kind], gates)
        if "B" in constants:
            for side, rows in zip(("ih", "hh"), constants["B"][direction].chunk(2), strict=True):
                tensors[f"bias_{side}{suffix}"] = reordered(rows, GATES[kind], gates)
        if "P" in constants:
            found = zip(PEEPHOLES, constants["P"][direction].chunk(3), strict=True)
            tensors |= {name + suffix: vector for name, vector in found}
    load(layer, tensors)
    return layer


def _tensors(kind: str, layer: Recurrent) -> dict[str, Tensor]:
    """The weights in ONNX's order."""
    gates, suffixes = layer.cell.gates, [suffix for *_, suffix in layer.stack.passes()]

    def stacked(*names: str) -> Tensor:
        rows = [[layer.get_parameter(n + suffix).detach() for n in names] for suffix in suffixes]
        whole = names == PEEPHOLES
        return torch.stack(
            [torch.cat([t if whole else reordered(t, gates, GATES[kind]) for t in r]) for r in rows]
        )

    found = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
    found |= {"B": stacked("bias_ih", "bias_hh")} if layer.stack.bias else {}
    found |= {"P": stacked(*PEEPHOLES)} if type(layer.cell) is PeepholeLSTM else {}
    return found


def _model(
    onnx: Any, kind: str, constants: Mapping[str, Tensor], inputs: Mapping[str, Tensor], options: Mapping[str, Any]
) -> Any:
    """A model of one node; the sizes of X that are no widths are open."""
    helper, types = onnx.helper, onnx.TensorProto
    names = [name if name in {"X", *constants, *inputs} else "" for name in _inputs(kind)]
    outputs = ["Y", "Y_h", "Y_c"] if kind == "LSTM" else ["Y", "Y_h"]
    number = types.DOUBLE if constants["W"].dtype is torch.float64 else types.FLOAT
    shapes: dict[str, tuple[int, list[Any]]] = {"X": (number, ["T", "B", constants["W"].shape[-1]])}
    shapes |= {name: (number, [*tensor.shape]) for name, tensor in inputs.items() if name != "X"}
    if options.get("layout"):
        shapes["X"] = number, ["B", "T", constants["W"].shape[-1]]
    if "sequence_lens" in inputs:
        shapes["sequence_lens"] = types.INT32, [*inputs["sequence_lens"].shape]
    while not names[-1]:
        names.pop()
    graph = helper.make_graph(
        [helper.make_node(kind, names, outputs, name=kind.lower(), **options)],
        kind.lower(),
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, number, None) for name in outputs],
        [onnx.numpy_helper.from_array(tensor.cpu().numpy(), name) for name, tensor in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _compare(
    made: OnnxRecurrent,
    kind: str,
    constants: Mapping[str, Tensor],
    options: Mapping[str, Any],
    named: Sequence[str],
    where: str,
) -> None:
    """Runs both sides on random input.

    ONNX's reference leaves out lengths, clips, activations and coupled gates; ONNX Runtime `layout` 1 and double
    precision. So the reference runs what it knows where the runtime cannot or is not there.
    """
    onnx = library("onnx", "onnx")
    wide = constants["W"].dtype is torch.float64
    layer = copy.deepcopy(made.layer).cpu()
    simple = type(layer.cell) in (GRU, ResetBeforeGRU, LSTM, PeepholeLSTM) or layer.cell == RNN("tanh")
    options = dict(options)
    by_reference = simple and (wide or bool(options.get("layout")) or not _runtime())
    if not by_reference:
        layer, wide = layer.float(), False
        options.pop("layout", None)
    batchwise = bool(options.get("layout"))
    weights = {n: t.to(torch.float64 if wide else torch.float32) for n, t in constants.items() if n in WEIGHTS}
    given = _random_inputs(layer, named, batchwise, ragged=not by_reference)
    model = _model(onnx, kind, weights, given, options)
    feeds = {name: tensor.numpy() for name, tensor in given.items()}
    if by_reference:
        theirs = library("onnx.reference", "onnx").ReferenceEvaluator(model).run(None, feeds)
    else:
        runtime = library("onnxruntime", "onnx")
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        theirs = session.run(None, feeds)
    with torch.no_grad():
        ours = OnnxRecurrent(layer, made.direction, batchwise)(**given)
    refuse_difference(ours, theirs, ("Y", "Y_h", "Y_c")[: len(ours)], where, next(layer.parameters()).dtype)


def _runtime() -> bool:
    try:
        library("onnxruntime", "onnx")
    except UserError:
        return False
    return True


def _random_inputs(layer: Recurrent, named: Sequence[str], batchwise: bool, ragged: bool) -> dict[str, Tensor]:
    """What the node reads besides its weights: X, and those of lengths and states that it names."""
    g = torch.Generator().manual_seed(0)
    stack, dtype = layer.stack, next(layer.parameters()).dtype
    shape = (ROWS, STEPS, stack.input_size) if batchwise else (STEPS, ROWS, stack.input_size)
    found = {"X": torch.randn(shape, generator=g, dtype=dtype)}
    for name in ("initial_h", "initial_c"):
        if name in named:
            shape = (stack.directions, ROWS, stack.hidden_size)
            state = torch.randn(shape, generator=g, dtype=dtype)
            found[name] = state.transpose(0, 1).contiguous() if batchwise else state
    if "sequence_lens" in named:
        lengths = [STEPS, 1, STEPS // 2] if ragged else [STEPS] * ROWS
        found["sequence_lens"] = torch.tensor(lengths, dtype=torch.int32)
    return found
