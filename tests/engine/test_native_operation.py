"""A run as a registered operation: what PyTorch asks of one, and compiled and exported models.

With the native engine, or an error, where it is built; else with what `auto` takes.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.utils._pytree import tree_leaves

from backends import FASTEST
from elman.cells import Cell, Zoneout
from elman.engine import register
from elman.nn import LSTM, Recurrent
from engine.agreement import Case
from engine.native_runs import given
from every_cell import EVERY_CELL
from tolerances import assert_equal

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    # Said once a process by torch, by whichever call of its kernel with a projection comes first.
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]
# The operation knows nothing of equations: cells of one and of more states, whose output is no state, with a
# state that does not start from 0, with vectors that are derived from parameters.
OF_EACH_KIND = ("gru", "lstm", "projectedlstm", "layernormlstm", "sru", "slstm", "lru")
KINDS = {**{name: EVERY_CELL[name] for name in OF_EACH_KIND}, "zoneout": Zoneout(EVERY_CELL["gru"], p=0.5)}
cells = pytest.mark.parametrize("cell", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def call(cell: Cell, case: Case, dtype: torch.dtype, requires_grad: bool = False) -> tuple:
    """Arguments of the operation."""
    o = given(cell, case, dtype)
    key = register(cell, cell.spec(case.inputs, case.hidden, case.bias))
    leaves = [leaf.requires_grad_(requires_grad) for leaf in o.without_padding().leaves()]
    return key, FASTEST, case.reverse, leaves, o.lengths, o.resets, o.noise


@cells
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("ragged", [False, True])
def test_the_operations_pass_opcheck(cell, dtype, ragged):
    case = Case(rows=3, steps=4, lengths=ragged, resets=ragged, reverse=ragged)
    # The operation itself has no gradient: `RunSequence` gives it one, by calling the other operation.
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    arguments = call(cell, case, dtype)
    torch.library.opcheck(torch.ops.elman.sequence.default, arguments, test_utils=tests)
    results = torch.ops.elman.sequence(*arguments)
    gradients = [torch.randn_like(result) for result in results]
    torch.library.opcheck(torch.ops.elman.sequence_backward.default, (gradients, *arguments), test_utils=tests)


class Tagger(nn.Module):
    """A layer as models have it, with something before and something after."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embed, self.layer, self.head = nn.Linear(4, 3), layer, nn.Linear(10, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.layer(torch.tanh(self.embed(x)))
        return self.head(y), state[0]


def tagger(kind: str) -> Tagger:
    torch.manual_seed(0)
    if kind == "Recurrent":
        layer = Recurrent("lstm", 3, 5, 2, bidirectional=True)
    else:
        layer = LSTM(3, 5, 2, bidirectional=True, batch_first=True)
    layer.backend = FASTEST
    return Tagger(layer)


kinds = pytest.mark.parametrize("kind", ["Recurrent", "drop-in"])


def example(steps: int) -> Tensor:
    return torch.randn(3, steps, 4, generator=torch.Generator().manual_seed(steps)).requires_grad_()


def outcome(function, model: nn.Module, x: Tensor) -> list[Tensor]:
    """Results, and the gradients of x and of every parameter."""
    values = tree_leaves(function(x))
    loss = sum((v * v.cos()).sum() for v in values)
    return [*(v.detach() for v in values), *torch.autograd.grad(loss, [x, *model.parameters()])]


def assert_agree(got: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        scale = max(1.0, float(b.detach().abs().max()))
        assert_equal(a / scale, b / scale)


@kinds
@pytest.mark.parametrize(("backend", "dynamic"), [("aot_eager", True), ("aot_eager", None), ("inductor", None)])
def test_compiled_models_give_the_same_results_and_gradients_at_any_length(kind, backend, dynamic):
    model = tagger(kind)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend=backend)
    for steps in (5, 9, 2):
        x = example(steps)
        assert_agree(outcome(compiled, model, x), outcome(model, model, x))


@kinds
def test_the_graph_is_one_of_one_size_whose_operation_runs_natively(kind):
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    for steps in (4, 64):
        torch._dynamo.reset()
        torch.compile(tagger(kind), fullgraph=True, dynamic=False, backend=keep)(example(steps))
    assert len(graphs) == 2
    assert len(graphs[0].graph.nodes) == len(graphs[1].graph.nodes) < 100
    assert torch._dynamo.explain(tagger(kind))(example(4)).graph_break_count == 0


@kinds
def test_compiled_training_follows_eager_training(kind):
    losses = []
    for compile_it in (False, True):
        model = tagger(kind)
        function = torch.compile(model, fullgraph=True, backend="aot_eager") if compile_it else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        of_this = []
        for step in range(8):
            y, state = function(example(5 + step % 3).detach())
            loss = (y - 1).square().mean() + state.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_this.append(loss.detach())
        losses.append(torch.stack(of_this))
    assert losses[0][-1] < losses[0][0] / 2
    assert_equal(losses[1], losses[0])


@kinds
def test_an_exported_model_holds_the_operation_and_runs_at_any_length(kind):
    model = tagger(kind).eval()
    program = export(model, (example(6).detach(),), dynamic_shapes={"x": {1: Dim("steps", min=2, max=4096)}})
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    held = [target for target in targets if target.startswith("elman.")]
    if kind == "drop-in" and FASTEST != "native":
        assert held == ["elman.torch_sequence.default"]  # torch's kernel, all layers and directions at once
    else:
        assert held == ["elman.sequence.default"] * 4  # two layers in two directions
    for steps in (6, 2, 70):
        x = example(steps).detach()
        assert_agree(tree_leaves(program.module()(x)), tree_leaves(model(x)))


def test_lengths_and_resets_compile():
    torch.manual_seed(0)
    layer = Recurrent("lstm", 4, 5, bidirectional=True, initial_state="trainable", backend=FASTEST)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for steps in (6, 11):
        x, lengths = example(steps), torch.tensor([steps, 0, 1])
        resets = torch.rand(3, steps, generator=torch.Generator().manual_seed(0)) < 0.3
        options = {"lengths": lengths, "resets": resets}
        assert_agree(
            outcome(lambda x, o=options: compiled(x, **o), layer, x),
            outcome(lambda x, o=options: layer(x, **o), layer, x),
        )
