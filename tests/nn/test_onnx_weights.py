"""Weights from ONNX and back: ONNX's own node tests, every option beside ONNX Runtime, and what is refused."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

import elman
from backends import FASTEST
from elman.cells.rnn import RNN
from elman.errors import UserError
from elman.nn import Recurrent, foreign, onnx_weights
from elman.nn.onnx_weights import GATES, from_onnx, to_onnx
from elman.nn.operator_cells import Activation, OperatorGRU, OperatorLSTM, OperatorRNN
from tolerances import assert_equal

pytestmark = pytest.mark.needs("onnx", "onnxruntime")
KINDS = ("RNN", "GRU", "LSTM")
B, T, D, H = 3, 5, 4, 2


def node_tests() -> list:
    """The cases that ONNX brings for the three operators; each adds itself when its module is imported."""
    from onnx.backend.test.case import node

    for kind in KINDS:
        importlib.import_module(f"onnx.backend.test.case.node.{kind.lower()}")
    return [case for case in node._NodeTestCases if case.model.graph.node[0].op_type in KINDS]


def with_initializers(model, arrays: dict[str, np.ndarray]):
    """The node test's model with its weights as constants: there they are inputs."""
    from onnx import numpy_helper

    weights = {name: a for name, a in arrays.items() if name in ("W", "R", "B", "P")}
    kept = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in weights.items())
    return model


def test_onnx_own_node_tests() -> None:
    cases = node_tests()
    assert len(cases) == 18
    passed = []
    for case in cases:
        ((inputs, outputs),) = case.data_sets
        names = [i.name for i in case.model.graph.input]
        arrays = dict(zip(names, inputs, strict=True))
        made = from_onnx(with_initializers(case.model, arrays))
        given = {name: torch.from_numpy(a) for name, a in arrays.items() if name not in ("W", "R", "B", "P")}
        found = dict(zip(("Y", "Y_h", "Y_c"), made(**given), strict=False))
        for output, wanted in zip(case.model.graph.output, outputs, strict=True):
            np.testing.assert_allclose(
                found[output.name].detach(), wanted, rtol=case.rtol, atol=case.atol, err_msg=case.name
            )
        passed.append(case.name)
    assert len(passed) == 18


def node_model(kind: str, names=("B",), dtype=np.float32, seed: int = 0, **options):
    """A model of one node with random weights, and what the node reads besides X."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(seed)
    directions, gates = 2 if options.get("direction") == "bidirectional" else 1, len(GATES[kind])
    number = TensorProto.DOUBLE if dtype is np.float64 else TensorProto.FLOAT
    shapes = {
        "W": (directions, gates * H, D), "R": (directions, gates * H, H), "B": (directions, 2 * gates * H),
        "P": (directions, 3 * H),
    }  # fmt: skip
    constants = {n: draw.normal(size=s).astype(dtype) for n, s in shapes.items() if n in ("W", "R", *names)}
    every = onnx_weights._inputs(kind)
    used = [n if n in ("X", "W", "R", *names) else "" for n in every]
    open_inputs = [n for n in used if n and n not in constants]
    types = {"sequence_lens": TensorProto.INT32}
    graph = helper.make_graph(
        [
            helper.make_node(
                kind, used, ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2], hidden_size=H, **options
            )
        ],
        "g",
        [helper.make_tensor_value_info(n, types.get(n, number), None) for n in open_inputs],
        [helper.make_tensor_value_info("Y", number, None)],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


DIRECTIONS = ("forward", "reverse", "bidirectional")
SINGLE = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Softsign"], "LSTM": ["HardSigmoid", "ScaledTanh", "Elu"]}
NUMBERS = {
    "RNN": {},
    "GRU": {"activation_alpha": [0.3], "activation_beta": [0.4]},
    "LSTM": {"activation_alpha": [0.3, 1.7, 0.9], "activation_beta": [0.4, 0.6]},
}


def options_of(kind: str, direction: str) -> list[dict]:
    """Every option of the operator, alone and together."""
    twice = 2 if direction == "bidirectional" else 1
    given = {"activations": SINGLE[kind] * twice, **{k: v * twice for k, v in NUMBERS[kind].items()}}
    options: list[dict] = [{}, {"clip": 0.7}, given, {**given, "clip": 0.5}]
    more = {"RNN": "", "GRU": "linear_before_reset", "LSTM": "input_forget"}[kind]
    return options + [{**o, more: 1} for o in options if more]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_computes_what_onnx_runtime_computes(kind: str, direction: str, monkeypatch) -> None:
    compared = []
    monkeypatch.setattr(
        onnx_weights, "refuse_difference", lambda *a: compared.append(a) or foreign.refuse_difference(*a)
    )
    states = ("initial_h", "initial_c") if kind == "LSTM" else ("initial_h",)
    inputs = [(), ("B", "sequence_lens", *states)] + [("B", "P", *states)] * (kind == "LSTM")
    for options, names in itertools.product(options_of(kind, direction), inputs):
        made = from_onnx(node_model(kind, names, direction=direction, **options))
        assert made.layer.stack.bias == ("B" in names)
        given = {name: torch.zeros(made.layer.stack.directions, B, H) for name in states if name in names}
        given |= {"sequence_lens": torch.tensor([5, 1, 2])} if "sequence_lens" in names else {}
        if FASTEST == "native":
            assert elman.explain(made, torch.zeros(B, T, D)).count(": native (") == made.layer.stack.directions
        assert made(torch.zeros(T, B, D), **given)[0].shape == (T, made.layer.stack.directions, B, H)
    assert len(compared) == len(options_of(kind, direction)) * len(inputs)


@pytest.mark.parametrize("name", ["Tanh", "Sigmoid", "Relu", "Softsign", "Softplus", "LeakyRelu", "Elu",
                                  "ThresholdedRelu", "HardSigmoid", "ScaledTanh", "Affine"])  # fmt: skip
def test_every_activation(name: str) -> None:
    numbers = {"activation_alpha": [0.6], "activation_beta": [0.7]}
    made = from_onnx(node_model("RNN", ("B",), activations=[name], **numbers))
    wanted = {"ThresholdedRelu": (0.6,), "LeakyRelu": (0.6,), "Elu": (0.6,), "HardSigmoid": (0.6, 0.7),
              "ScaledTanh": (0.6, 0.7), "Affine": (0.6, 0.7)}.get(name, ())  # fmt: skip
    if name not in ("Tanh", "Relu"):
        assert made.layer.cell.f.numbers == pytest.approx(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_and_rows_first(kind: str) -> None:
    names = ("B", "sequence_lens", "initial_h")
    wide = from_onnx(node_model(kind, names, np.float64, direction="bidirectional"))
    assert next(wide.parameters()).dtype is torch.float64
    made = from_onnx(node_model(kind, names, layout=1, direction="bidirectional"))
    plain = from_onnx(node_model(kind, names, direction="bidirectional"))
    x, h, lengths = torch.randn(T, B, D), torch.randn(2, B, H), torch.tensor([5, 0, 3])
    y, last, *_ = plain(x, lengths, h)
    again, end, *_ = made(x.transpose(0, 1), lengths, h.transpose(0, 1))
    assert_equal(again, y.permute(2, 0, 1, 3))
    assert_equal(end, last.transpose(0, 1))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", ["rnn", RNN("relu"), "gru", "resetbeforegru", "lstm", "peepholelstm"])
def test_there_and_back(cell, both: bool) -> None:
    for bias, dtype in itertools.product((True, False), (torch.float32, torch.float64)):
        layer = Recurrent(cell, D, H, bias=bias, bidirectional=both, dtype=dtype)
        made = from_onnx(to_onnx(layer))
        assert made.layer.cell == layer.cell
        assert list(made.layer.state_dict()) == list(layer.state_dict())
        for name, value in layer.state_dict().items():
            assert torch.equal(made.layer.state_dict()[name], value), name


def test_a_model_of_torch_with_computed_constants(tmp_path) -> None:
    """Weights that the graph makes of others, one of several nodes, from a file."""
    import onnx
    from onnx import helper

    model = node_model("GRU", ("B",))
    first = model.graph.node[0]
    first.name, first.input[1] = "rnn1", "W2"
    model.graph.node.insert(0, helper.make_node("Neg", ["W"], ["W2"]))
    onnx.save(model, tmp_path / "a.onnx")
    plain, made = from_onnx(node_model("GRU", ("B",))), from_onnx(tmp_path / "a.onnx", "rnn1")
    assert torch.equal(made.layer.weight_ih_l0, -plain.layer.weight_ih_l0)
    with pytest.raises(UserError, match="no such RNN, GRU or LSTM node; found: rnn2; did you mean 'rnn1'"):
        from_onnx(str(tmp_path / "a.onnx"), "rnn2")
    (tmp_path / "b.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"b\.onnx: this is no ONNX model that can be read"):
        from_onnx(tmp_path / "b.onnx")


def test_a_state_that_the_model_feeds_must_be_given() -> None:
    made = from_onnx(node_model("LSTM", ("initial_h", "initial_c")))
    with pytest.raises(ValueError, match="the model feeds initial_h, initial_c into this node: give them"):
        made(torch.zeros(T, B, D))


@pytest.mark.parametrize("number", [0.0, 0.5])
@pytest.mark.parametrize("maker", ["Expand", "ConstantOfShape"])
def test_a_state_of_zeros_need_not_be_given(maker: str, number: float) -> None:
    """As PyTorch's exporter writes it: a constant, expanded to the number of rows."""
    from onnx import helper, numpy_helper

    model, shape = node_model("GRU", ("initial_h",)), ["shape"]
    if maker == "Expand":
        shape = ["start", "shape"]
        model.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, H), number, np.float32), "start"))
        given = {}
    else:
        given = {"value": helper.make_tensor("value", 1, [1], [number])}
    model.graph.node.insert(0, helper.make_node(maker, shape, ["made"], **given))
    model.graph.node.insert(1, helper.make_node("Identity", ["made"], ["initial_h"]))
    model.graph.input[1].name = "shape"
    made, x = from_onnx(model), torch.randn(T, B, D)
    if number:
        with pytest.raises(ValueError, match="the model feeds initial_h into this node"):
            made(x)
    else:
        assert_equal(made(x)[0], made(x, initial_h=torch.zeros(1, B, H))[0])


def test_a_constant_state_is_kept() -> None:
    from onnx import numpy_helper

    model = node_model("RNN", ("initial_h",))
    h = torch.randn(1, B, H)
    model.graph.initializer.append(numpy_helper.from_array(h.numpy(), "initial_h"))
    made, x = from_onnx(model), torch.randn(T, B, D)
    assert_equal(made(x)[0], made(x, initial_h=h)[0])
    assert not torch.equal(made(x)[0], made(x, initial_h=0 * h)[0])


def test_what_cannot_be_is_refused() -> None:
    model = node_model("GRU", ("B",))
    model.graph.node[0].input[2] = "elsewhere"
    with pytest.raises(UserError, match="the weights of a node must be constants; found: elsewhere"):
        from_onnx(model)
    both = node_model("RNN", ("B",), direction="bidirectional", activations=["Tanh", "Relu"])
    with pytest.raises(UserError, match="the same 1 activations in all of its 2 directions; found: Tanh, Relu"):
        from_onnx(both)
    with pytest.raises(UserError, match="ScaledTanh has no usual numbers"):
        from_onnx(node_model("RNN", activations=["ScaledTanh"]))
    with pytest.raises(UserError, match="no such activation function; found: Swish"):
        from_onnx(node_model("RNN", activations=["Swish"]))
    with pytest.raises(UserError, match=r"ONNX has no operator for this cell; found: MGU\(\); it has: RNN, GRU"):
        to_onnx(Recurrent("mgu", D, H))
    with pytest.raises(UserError, match="one layer in each; found: num_layers=2"):
        to_onnx(Recurrent("gru", D, H, 2))
    with pytest.raises(UserError, match="no trainable initial state"):
        to_onnx(Recurrent("gru", D, H, initial_state="trainable"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversion_that_computes_something_else_is_refused(kind: str, monkeypatch) -> None:
    wrong = {**GATES, "GRU": "rzn", "LSTM": "ifgo"}
    if kind == "RNN":
        monkeypatch.setattr(onnx_weights, "load", lambda layer, tensors: None)
    monkeypatch.setattr(onnx_weights, "GATES", wrong)
    with pytest.raises(UserError, match=f"{kind} Y: both sides must compute the same, and Y differs by up to "):
        from_onnx(node_model(kind))
    monkeypatch.undo()
    from_onnx(node_model(kind))


def test_a_missing_library_is_one_message(monkeypatch) -> None:
    real = importlib.import_module

    def missing(name: str):
        def import_module(wanted: str):
            if wanted.partition(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(wanted)

        return import_module

    model = node_model("LSTM", ("sequence_lens",), clip=1.0)
    monkeypatch.setattr(foreign.importlib, "import_module", missing("onnxruntime"))
    from_onnx(node_model("LSTM", ("B",)))  # ONNX's reference knows that one
    with pytest.raises(UserError, match=r"^onnxruntime is not installed; pip install 'elman\[onnx\]'$"):
        from_onnx(model)
    monkeypatch.setattr(foreign.importlib, "import_module", missing("onnx"))
    with pytest.raises(UserError, match=r"^onnx is not installed; pip install 'elman\[onnx\]'$"):
        from_onnx(model)


def test_the_cells_have_gradients_that_agree_with_differences() -> None:
    f, g, h = Activation("HardSigmoid", (0.3, 0.4)), Activation("Elu", (0.9,)), Activation("Tanh", (), 0.8)
    for cell in (OperatorRNN(g), OperatorGRU(f, g, True), OperatorGRU(f, g, False), OperatorLSTM(f, g, h, True),
                 OperatorLSTM(f, g, h, True, True)):  # fmt: skip
        torch.manual_seed(0)
        layer = Recurrent(cell, D, H, dtype=torch.float64)
        names = [n for n, _ in layer.named_parameters()]

        def run(x: Tensor, *params: Tensor, layer=layer, names=names) -> Tensor:
            return torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))[0]

        x = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(run, (x, *(p.detach().requires_grad_() for p in layer.parameters())))
