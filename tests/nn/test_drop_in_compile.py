"""The drop-ins under torch.compile and torch.export: whole graphs whose size does not depend on the length."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch.export import Dim, export
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._pytree import tree_leaves

from elman.nn import drop_in, drop_in_cells, drop_in_ops

LAYERS = ["RNN", "LSTM", "GRU"]
CELLS = ["RNNCell", "LSTMCell", "GRUCell"]
pytestmark = [
    # Said once a process by torch, by whichever call with a projection comes first.
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def make(name, **kwargs):
    torch.manual_seed(7)
    return getattr(drop_in_cells if name.endswith("Cell") else drop_in, name)(3, 4, **kwargs)


def example(name, steps=5):
    shape = (2, 3) if name.endswith("Cell") else (steps, 2, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(steps)).requires_grad_()


def outcome(call, module, x):
    values = tree_leaves(call(x))
    loss = sum((value.float() * value.float().cos()).sum() for value in values)
    return values + list(torch.autograd.grad(loss, [x, *module.parameters()]))


def assert_close(expected, found):
    assert [e.dtype for e in expected] == [f.dtype for f in found]
    for e, f in zip(expected, found, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS + CELLS)
def test_fullgraph_forward_and_backward_with_a_changed_length(name):
    module = make(name)
    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend="aot_eager")
    for steps in (5, 9):
        x = example(name, steps)
        assert_close(outcome(module, module, x), outcome(compiled, module, x))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "options", [{"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False, "proj_size": 2}]
)
def test_options_and_states_compile(name, options):
    options = {key: value for key, value in options.items() if key != "proj_size" or name == "LSTM"}
    module = make(name, **options)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = example(name)
    final = module(x)[1]
    hx = tuple(s.detach() + 1 for s in final) if name == "LSTM" else final.detach() + 1
    assert_close(outcome(module, module, x), outcome(compiled, module, x))
    assert_close(
        outcome(lambda x: module(x, hx), module, x),
        outcome(lambda x: compiled(x, hx), module, x),
    )
    with torch.no_grad():
        assert_close(tree_leaves(module(x[:, 0])), tree_leaves(compiled(x[:, 0])))


@pytest.mark.parametrize("name", LAYERS)
def test_the_graph_does_not_grow_with_the_length(name):
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph

    for steps in (4, 64):
        torch._dynamo.reset()
        torch.compile(make(name), fullgraph=True, dynamic=False, backend=count)(example(name, steps))
    assert sizes[0] == sizes[1] < 30


def test_with_the_default_compiler():
    module = make("LSTM", num_layers=2)
    compiled = torch.compile(module, fullgraph=True)
    for steps in (5, 9, 11):
        x = example("LSTM", steps)
        assert_close(outcome(module, module, x), outcome(compiled, module, x))


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_compiles_and_its_gradient_uses_the_same_mask(name):
    module = make(name, num_layers=2, dropout=0.5, bias=False)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = example(name)
    found = []
    for call in (module, compiled):
        torch.manual_seed(11)
        found.append(outcome(call, module, x))
    assert_close(*found)
    module.eval()
    assert_close(outcome(module, module, x), outcome(compiled, module, x))


@pytest.mark.parametrize(
    ("name", "packed"), [*itertools.product([*LAYERS, "projected"], [False, True]), *((c, False) for c in CELLS)]
)
def test_autocast_compiles(name, packed):
    module = make("LSTM", proj_size=2) if name == "projected" else make(name)
    x = example("LSTM" if name == "projected" else name)

    def whole(x):
        if packed:
            sizes = torch.tensor([2, 2, 2, 1, 1])
            output, final = module(torch.nn.utils.rnn.PackedSequence(x.flatten(0, 1)[:8], sizes))
            return output.data, final
        return module(x)

    compiled = torch.compile(whole, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = tree_leaves(whole(x)), tree_leaves(compiled(x))
    for e, f in zip(expected, found, strict=True):
        assert e.dtype == f.dtype
        torch.testing.assert_close(f, e, rtol=2e-2, atol=2e-2)
    loss = sum(f.float().sum() for f in found)
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(loss, [x, *module.parameters()]))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_export_keeps_the_length_and_the_batch_open(name, batch_first):
    module = make(name, batch_first=batch_first, bidirectional=True)
    example_input = torch.randn(5, 2, 3)
    free = {0: Dim("first", min=2, max=99), 1: Dim("second", min=2, max=99)}
    with warnings.catch_warnings():
        # torch's own remark that the compiler does not see RNNBase's list of weights, which is not used here
        warnings.filterwarnings("ignore", message=".*_flat_weights.*")
        program = export(module, (example_input,), dynamic_shapes=({**free},))
    again = program.module()
    for shape in ((5, 2, 3), (17, 6, 3)):
        x = torch.randn(shape)
        assert_close(tree_leaves(module(x)), tree_leaves(again(x)))
    operations = [node for node in program.graph.nodes if "torch_sequence" in str(node.target)]
    assert len(operations) == 1


@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_inside_a_compiled_function(name):
    module = make(name)

    def packed_mean(data, batch_sizes, hx):
        output, _ = module(torch.nn.utils.rnn.PackedSequence(data, batch_sizes), hx)
        return output.data.mean(0)

    packed = pack_padded_sequence(example(name).detach(), [5, 3])
    state = torch.zeros(1, 2, 4)
    hx = (state, state) if name == "LSTM" else state
    compiled = torch.compile(packed_mean, fullgraph=True, backend="aot_eager")
    expected = packed_mean(packed.data, packed.batch_sizes, hx)
    torch.testing.assert_close(compiled(packed.data, packed.batch_sizes, hx), expected)


@pytest.mark.parametrize("name", ["GRU", "LSTMCell"])
def test_the_eager_definition_compiles(name):
    module = make(name, bias=False)
    module.backend = "eager"
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = example(name)
    found = outcome(compiled, module, x)
    assert_close(outcome(module, module, x), found)


@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "GRU", "LSTM"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_operation_passes_opcheck(mode, packed):
    name = "RNN" if mode.startswith("RNN") else mode
    module = make(name, num_layers=2, bidirectional=True)
    x, sizes = torch.randn(5, 2, 3), None
    if packed:
        x, sizes, _, _ = pack_padded_sequence(x, [5, 3])
    hx = [torch.randn(4, 2, 4, requires_grad=True) for _ in range(2 if mode == "LSTM" else 1)]
    weights = [w.detach().clone().requires_grad_() for w in module.parameters()]
    arguments = (mode, x.detach().requires_grad_(), sizes, hx, weights, True, 2, True, True, None)
    torch.library.opcheck(torch.ops.elman.torch_sequence, arguments)
    half = (*arguments[:-1], torch.bfloat16)
    torch.library.opcheck(torch.ops.elman.torch_sequence, half, test_utils="test_faketensor")
    results = torch.ops.elman.torch_sequence(*arguments)
    gradients = [torch.randn_like(result) for result in results]
    plain = [t.detach() if isinstance(t, torch.Tensor) else t for t in arguments]
    plain[3:5] = [[t.detach() for t in hx], [t.detach() for t in weights]]
    # The second derivative is for uncompiled calls, which never come to the operation.
    torch.library.opcheck(
        torch.ops.elman.torch_sequence_backward,
        (gradients, *plain),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


def test_results_of_the_operation_share_no_memory():
    buffer = torch.arange(12.0).view(4, 3)
    pieces = [buffer[:2], buffer[2:], buffer[2:], buffer.t()]
    separate = drop_in_ops._own_memory(pieces)
    assert all(map(torch.equal, pieces, separate))
    assert all(piece.is_contiguous() for piece in separate)
    assert len({piece.untyped_storage().data_ptr() for piece in separate}) == 4
