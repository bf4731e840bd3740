"""`Recurrent`: equal to torch.nn, its options, its refusals, and life under PyTorch's tools."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from backends import FASTEST, NATIVE, SAID
from elman.cells.gru import GRU
from elman.cells.lstm import LSTM, ProjectedLSTM
from elman.cells.rnn import RNN
from elman.engine.extension import why_not
from elman.nn import LSTM as LSTMDropIn
from elman.nn import GRUCell as GRUCellDropIn
from elman.nn import Recurrent, explain
from tolerances import assert_equal

PAIRS = {
    "tanh": (RNN(), nn.RNN, {}),
    "relu": (RNN("relu"), nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM(), nn.LSTM, {}),
    "projected": (ProjectedLSTM(2), nn.LSTM, {"proj_size": 2}),
    "gru": (GRU(), nn.GRU, {}),
}


def pair(name: str, layers: int, both: bool, bias: bool, backend: str) -> tuple[Recurrent, nn.RNNBase]:
    cell, reference, options = PAIRS[name]
    torch.manual_seed(7)
    ours = Recurrent(cell, 3, 4, layers, bidirectional=both, bias=bias, backend=backend, dtype=torch.float64)
    torch.manual_seed(7)
    theirs = reference(
        3, 4, layers, bidirectional=both, bias=bias, batch_first=True, dtype=torch.float64, **options
    )
    return ours, theirs


def states_of(result) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("backend", ["eager", "torch", NATIVE])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch_in_weights_outputs_states_and_gradients(name, layers, both, bias, ragged, backend) -> None:
    ours, theirs = pair(name, layers, both, bias, backend)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([2, 5, 1]) if ragged else None
    hx = [torch.randn(s.shape, dtype=torch.float64, requires_grad=True) for s in states_of(theirs(x)[1])]
    y, final = ours(x, hx, lengths=lengths)
    given = tuple(hx) if len(hx) > 1 else hx[0]
    if ragged:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        z, other = theirs(packed, given)
        z, _ = nn.utils.rnn.pad_packed_sequence(z, batch_first=True)
    else:
        z, other = theirs(x, given)
    assert_equal(y, z, "outputs")
    for a, b in zip(final, states_of(other), strict=True):
        assert_equal(a, b, "states")
    weights = [torch.randn_like(v) for v in (y, *final)]
    mine = torch.autograd.grad((y, *final), [x, *hx, *ours.parameters()], weights)
    yours = torch.autograd.grad((z, *states_of(other)), [x, *hx, *theirs.parameters()], weights)
    for a, b in zip(mine, yours, strict=True):
        assert_equal(a, b, "gradients")


def test_last_outputs_are_those_at_each_rows_own_end() -> None:
    torch.manual_seed(0)
    every = Recurrent("lstm", 3, 4, 2, bidirectional=True)
    last = Recurrent("lstm", 3, 4, 2, bidirectional=True, outputs="last")
    last.load_state_dict(every.state_dict())
    x, lengths = torch.randn(3, 5, 3), torch.tensor([3, 5, 0])
    y, state = every(x, lengths=lengths)
    z, _ = last(x, lengths=lengths)
    assert torch.equal(z[0], torch.cat([y[0, 2, :4], y[0, 0, 4:]]))
    assert torch.equal(z[2], torch.zeros(8))
    assert torch.equal(z[:2], torch.cat([state.h[2], state.h[3]], -1)[:2])


def test_a_trainable_initial_state_is_used_restored_by_resets_and_learns() -> None:
    torch.manual_seed(0)
    layer = Recurrent("gru", 2, 3, initial_state="trainable", dtype=torch.float64)
    nn.init.normal_(layer.initial_h)
    x = torch.randn(1, 4, 2, dtype=torch.float64)
    resets = torch.tensor([[False, False, True, False]])
    y, _ = layer(x, resets=resets)
    first, _ = layer(x[:, :2])
    second, _ = layer(x[:, 2:])
    assert_equal(y, torch.cat([first, second], 1))
    y.sum().backward()
    assert layer.initial_h.grad.abs().sum() > 0


def test_a_reset_puts_the_initial_value_and_not_the_state_that_was_passed() -> None:
    layer = Recurrent("rnn", 2, 3)
    x, resets = torch.randn(1, 3, 2), torch.tensor([[True, False, False]])
    assert torch.equal(layer(x, torch.ones(1, 1, 3), resets=resets)[0], layer(x, resets=resets * False)[0])


def test_states_pickle_and_are_named() -> None:
    _, state = Recurrent("lstm", 2, 3)(torch.zeros(1, 1, 2))
    again = pickle.loads(pickle.dumps(state))
    assert again._fields == ("h", "c") and torch.equal(again.c, state.c)


def test_deepcopy_pickle_and_state_dict_keep_the_layer() -> None:
    layer = Recurrent("lstm", 2, 3, 2, bidirectional=True, initial_state="trainable")
    x = torch.randn(2, 4, 2)
    buffer = io.BytesIO()
    pickle.dump(layer, buffer)
    for other in (copy.deepcopy(layer), pickle.loads(buffer.getvalue())):
        assert torch.equal(other(x)[0], layer(x)[0])
        assert repr(other) == repr(layer)


def test_dropout_acts_between_layers_in_training_alone() -> None:
    layer = Recurrent("rnn", 2, 3, 2, dropout=1.0)
    x = torch.randn(1, 3, 2)
    zeros = torch.zeros(1, 3, 3)
    inner = Recurrent("rnn", 3, 3)
    inner.load_state_dict({k[:-1] + "0": v for k, v in layer.state_dict().items() if k.endswith("l1")})
    assert_equal(layer(x)[0], inner(zeros)[0])
    assert not torch.allclose(layer.eval()(x)[0], layer.train()(x)[0])


# Dynamo itself makes an autograd.Function to trace one.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_compiles_without_unrolling_time_and_with_its_gradients(backend: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm", 2, 3, bidirectional=True, backend=backend, initial_state="trainable")
    x, lengths = torch.randn(2, 5, 2, requires_grad=True), torch.tensor([5, 2])
    y, state = layer(x, lengths=lengths)
    wanted = torch.autograd.grad(y.sum() + state.c.sum(), [x, *layer.parameters()])
    graphs = []

    def counting(graph, example):
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    z, other = compiled(x, lengths=lengths)
    got = torch.autograd.grad(z.sum() + other.c.sum(), [x, *layer.parameters()])
    torch.compile(layer, fullgraph=True, backend=counting)(x, lengths=lengths)
    torch.compile(layer, fullgraph=True, backend=counting, dynamic=False)(torch.randn(2, 50, 2), lengths=lengths)
    assert_equal(z, y)
    assert_equal(other.c, state.c)
    for a, b in zip(got, wanted, strict=True):
        assert_equal(a, b)
    assert abs(graphs[0] - graphs[-1]) <= 2, "ten times the steps must not be ten times the graph"


def test_the_registered_operation_passes_opcheck() -> None:
    layer = Recurrent("gru", 2, 3, dtype=torch.float64)
    spec, key = layer.stack.specs[0], layer.stack.keys[False][0]
    leaves = [torch.randn(2, 4, 2, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)]
    leaves += [torch.zeros(3, dtype=torch.float64), *(p.detach() for p in layer.parameters())]
    assert len(leaves) == 3 + len(spec.params)
    arguments = (key, "eager", False, leaves, torch.tensor([4, 2]), None, None)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.elman.sequence.default, arguments, test_utils=tests)
    gradients = [torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)]
    torch.library.opcheck(torch.ops.elman.sequence_backward.default, (gradients, *arguments), test_utils=tests)


def test_exports_with_a_graph_that_does_not_grow_with_time() -> None:
    layer = Recurrent("gru", 2, 3, backend="eager").eval()
    x = torch.randn(2, 6, 2)
    program = torch.export.export(layer, (x,))
    assert_equal(program.module()(x)[0], layer(x)[0])
    assert sum("elman.sequence" in str(node.target) for node in program.graph.nodes) == 1


def test_per_sample_gradients_by_vmap_of_the_definition() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm", 2, 3, backend="eager", dtype=torch.float64)
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    params = {n: p.detach() for n, p in layer.named_parameters()}

    def loss(params, row):
        return torch.func.functional_call(layer, params, (row[None],))[0].sum()

    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for i in range(4):
        alone = torch.func.grad(loss)(params, x[i])
        for name in params:
            assert_equal(rows[name][i], alone[name], name)


@pytest.mark.parametrize("backend", ["eager", "torch", "auto"])
def test_autocast_gives_its_format_compiled_or_not(backend: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), Recurrent("lstm", 2, 3, backend=backend, initial_state="trainable"))
    x = torch.randn(2, 4, 2)
    exact, _ = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = model(x)
        z, other = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    assert {t.dtype for t in (y, z, *state, *other)} == {torch.bfloat16}
    torch.testing.assert_close(y, z)
    torch.testing.assert_close(y.float(), exact, atol=0.02, rtol=0.02)
    z.sum().backward()
    assert model[1].weight_hh_l0.grad.abs().sum() > 0


def test_the_operations_gradients_survive_a_dispatch_mode() -> None:
    layer = Recurrent("gru", 2, 3)
    leaves = [torch.randn(2, 4, 2), torch.zeros(2, 3), torch.zeros(3), *(p.detach() for p in layer.parameters())]
    gradients = [torch.ones(2, 4, 3), torch.ones(2, 3)]
    arguments = (gradients, layer.stack.keys[False][0], "eager", False, leaves, None, None, None)
    wanted = torch.ops.elman.sequence_backward(*arguments)

    class Watching(TorchDispatchMode):  # as a profiler or a counter of operations does
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    with Watching():
        got = torch.ops.elman.sequence_backward(*arguments)
    assert wanted[0].any()
    for a, b in zip(got, wanted, strict=True):
        assert_equal(a, b)


def test_functional_call_replaces_every_parameter_the_initial_state_too() -> None:
    layer = Recurrent("gru", 2, 3, initial_state="trainable")
    zeros = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    ones = {**zeros, "initial_h": torch.ones(1, 3)}
    y, _ = torch.func.functional_call(layer, ones, (torch.zeros(1, 1, 2),))
    assert_equal(y, torch.full((1, 1, 3), 0.5))


def test_lengths_may_be_a_list_or_any_whole_numbers() -> None:
    layer, x = Recurrent("gru", 2, 3, outputs="last"), torch.randn(2, 4, 2)
    wanted, _ = layer(x, lengths=torch.tensor([4, 2]))
    for lengths in ([4, 2], torch.tensor([4, 2], dtype=torch.uint8), torch.tensor([4, 2], dtype=torch.int32)):
        assert torch.equal(layer(x, lengths=lengths)[0], wanted)


def test_meta_and_half_precision() -> None:
    layer = Recurrent("lstm", 2, 3, device="meta")
    assert layer(torch.empty(2, 4, 2, device="meta"), lengths=torch.empty(2, device="meta").long())[0].is_meta
    assert Recurrent("gru", 2, 3, device="meta")(torch.empty(2, 4, 2, device="meta"))[0].shape == (2, 4, 3)
    half = Recurrent("gru", 2, 3, backend="eager", dtype=torch.bfloat16)
    assert half(torch.randn(2, 4, 2, dtype=torch.bfloat16))[0].dtype == torch.bfloat16


def test_explain_says_what_runs_and_why() -> None:
    model = nn.Sequential(Recurrent("lstm", 2, 3, bidirectional=True))
    x = torch.zeros(1, 4, 2)
    assert explain(model, x).splitlines() == [
        f"0 layer 0: {SAID}",
        f"0 layer 0 reversed: {SAID}",
    ]
    low, resets = x.bfloat16(), torch.zeros(1, 4, dtype=torch.bool)
    assert explain(model, low).splitlines()[0] == "0 layer 0: torch (torch has kernels for this cell)"
    assert "eager (torch's kernels know no resets inside a sequence)" in explain(model, low, resets=resets)
    said = explain(model, x, resets=resets)
    if FASTEST == "native":
        assert "0 layer 0: native" in said
    else:
        assert "0 layer 0: eager (torch's kernels know no resets inside a sequence; the native engine" in said
        assert f"is {why_not()})" in said
    with pytest.raises(TypeError, match=r"Linear holds no recurrent layer"):
        explain(nn.Linear(1, 1), x)


def test_explain_covers_the_drop_ins_and_what_is_not_converted() -> None:
    chosen = LSTMDropIn(2, 3)
    chosen.backend = "eager"
    model = nn.ModuleDict({"a": LSTMDropIn(2, 3), "b": chosen, "c": nn.GRUCell(2, 3)})
    a, b, c = explain(model, torch.zeros(1, 4, 2)).splitlines()
    assert a == f"a: {SAID}"
    assert b == "b: eager (asked for by name)"
    assert c.startswith("c: not Elman's but torch.nn.modules.rnn.GRUCell")
    a, b, _ = explain(model, torch.zeros(1, 4, 2, dtype=torch.bfloat16)).splitlines()
    assert (a, b) == ("a: torch (torch has kernels for this cell)", "b: eager (asked for by name)")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "a: torch (under autocast" in explain(model, torch.zeros(1, 4, 2))
    assert (
        explain(GRUCellDropIn(2, 3), torch.zeros(1, 2)) == "GRUCell: torch (one step alone runs in torch's kernel)"
    )
    chosen.backend = "native"
    with pytest.raises(ValueError, match="computes in float32 and float64, not in bfloat16"):
        explain(model, torch.zeros(1, 4, 2, dtype=torch.bfloat16))
    chosen.backend = "egaer"
    with pytest.raises(ValueError, match="did you mean 'eager'"):
        explain(model, torch.zeros(1, 4, 2))


def test_a_backend_asked_for_by_name_that_cannot_run_says_why() -> None:
    layer = Recurrent("gru", 2, 3, backend="torch")
    with pytest.raises(ValueError, match="torch's kernels know no resets"):
        layer(torch.zeros(1, 2, 2), resets=torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"dropout": 1.5}, "dropout must be a probability"),
        ({"outputs": "first"}, "outputs must be one of all, last, got 'first'"),
        ({"initial_state": "ones"}, "initial_state must be one of zero, trainable"),
        ({"backend": "cuda"}, "backend must be one of auto, native, torch, eager"),
        ({"cell": ProjectedLSTM(4)}, "size must be between 1 and hidden - 1 = 2, got 4"),
    ],
)
def test_wrong_options_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recurrent(**{"cell": "lstm", "input_size": 2, "hidden_size": 3, **change})


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((torch.zeros(4, 2),), {}, r"must have shape \(B, T, 2\), got \(4, 2\); add a row dimension"),
        ((torch.zeros(1, 4, 3),), {}, r"must have shape \(B, T, 2\)"),
        ((torch.zeros(2, 4, 2),), {"lengths": torch.tensor([1])}, r"lengths must be \(2,\) integers"),
        ((torch.zeros(2, 4, 2),), {"lengths": torch.tensor([1.0, 2.0])}, "of torch.float32"),
        ((torch.zeros(2, 4, 2),), {"lengths": torch.tensor([1, 5])}, "from 0 to T = 4, got 1 to 5"),
        ((torch.zeros(2, 4, 2),), {"lengths": torch.tensor([-1, 4])}, "got -1 to 4"),
        ((torch.zeros(2, 4, 2),), {"resets": torch.zeros(2, 3)}, r"resets must have shape \(2, 4\)"),
        ((torch.zeros(2, 4, 2), {"h": torch.zeros(1, 2, 3)}), {}, r"state must name \['h', 'c'\], got \['h'\]"),
        ((torch.zeros(2, 4, 2), (torch.zeros(1, 2, 3),)), {}, r"state must be \(h: \(1, 2, 3\), c: \(1, 2, 3\)\)"),
    ],
)
def test_wrong_tensors_are_named(arguments, options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recurrent("lstm", 2, 3)(*arguments, **options)
