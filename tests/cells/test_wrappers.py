"""Cells around cells: what each does, alone and together, in training and evaluation, on every backend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backends import NATIVE
from elman import UserError, cells
from elman.cells import Clip, LayerNorm, Projection, RecurrentDropout, Residual, WeightDrop, Zoneout
from elman.nn import Recurrent, Stream
from every_cell import EVERY_CELL, WRAPPED
from tolerances import assert_equal

LSTM, GRU, RNN = (EVERY_CELL[name] for name in ("lstm", "gru", "rnn"))
wrapped = pytest.mark.parametrize("cell", WRAPPED.values(), ids=WRAPPED)


def everything(cell: cells.Cell, backend: str, training: bool, hidden: int) -> dict[str, Tensor]:
    """Outputs, states, inner values and all gradients of a deep layer over ragged rows with resets."""
    torch.manual_seed(0)
    layer = Recurrent(cell, 3, hidden, 2, bidirectional=True, backend=backend, dtype=torch.float64).train(training)
    x = torch.randn(6, 7, 3, dtype=torch.float64, requires_grad=True)
    lengths, resets = torch.tensor([7, 4, 0, 2, 7, 3]), torch.rand(6, 7) < 0.2
    torch.manual_seed(1)
    with layer.state_gradients() as gradients:
        y, state, inner = layer(x, lengths=lengths, resets=resets, return_all=True)
        loss = y.square().sum() + sum(v.sin().sum() for v in inner.values())
        (loss + sum(s.square().sum() for s in state)).backward()
    found = {"y": y, **state._asdict(), **inner, "x": x.grad}
    found |= {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
    return found | {f"gradient of {name}, step by step": g for name, g in gradients.items()}


@pytest.mark.native
@wrapped
@pytest.mark.parametrize("hidden", [5, 70])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_engine_computes_the_definition(cell, hidden, training):
    got, wanted = (everything(cell, backend, training, hidden) for backend in ("native", "eager"))
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        scale = max(1.0, float(value.detach().abs().max()))
        assert_equal(got[name].detach() / scale, value.detach() / scale, name)


@pytest.mark.native
@wrapped
def test_pieces_give_the_bits_of_one_call(cell):
    layer, x = Recurrent(cell, 3, 20, 2), torch.randn(4, 9, 3)
    with torch.no_grad():
        whole, state = layer.eval()(x)
        stream = Stream(layer, 4)
        pieces = [stream.push(x[:, :4]), *(stream.step(x[:, t])[:, None] for t in range(4, 9))]
    assert torch.equal(torch.cat(pieces, 1), whole)
    assert all(map(torch.equal, stream.state, state))


@wrapped
@pytest.mark.parametrize("backend", ["eager", NATIVE])
def test_training_differs_from_evaluation_where_there_is_chance(cell, backend):
    layer, x = Recurrent(cell, 3, 20, backend=backend), torch.randn(4, 9, 3)
    torch.manual_seed(0)
    first, second, rest = layer(x)[0], layer(x)[0], layer.eval()(x)[0]
    random = "WeightDrop" in repr(cell) or bool(cell.spec(3, 20).drawn())
    assert torch.equal(first, second) is not random and torch.equal(first, rest) is not random


def step(cell: cells.Cell, training: bool = False, hidden: int = 6) -> tuple[Recurrent, Tensor, Tensor, tuple]:
    """A layer, two steps of input, its outputs and its inner values."""
    torch.manual_seed(0)
    layer = Recurrent(cell, 3, hidden, dtype=torch.float64).train(training)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    y, _, inner = layer(x, noise=(5, 0) if training else None, return_all=True)
    return layer, x, y, inner


def test_layer_norm_is_that_of_torch():
    for joint in (False, True):
        layer, x, y, _ = step(LayerNorm(RNN if not joint else GRU, joint=joint))
        p = {name.removesuffix("_l0"): value for name, value in layer.named_parameters()}
        gates = ("h",) if not joint else ("r", "z", "n")

        def normal(v: Tensor, which: str, p=p, joint=joint, gates=gates) -> list[Tensor]:
            parts = v.split(6, -1)
            whole = torch.nn.functional.layer_norm(v, v.shape[-1:]).split(6, -1)
            own = [torch.nn.functional.layer_norm(part, (6,)) for part in parts]
            return [n * p[f"gain_{which}_{g}"] for n, g in zip(whole if joint else own, gates, strict=True)]

        h = torch.zeros(4, 6, dtype=torch.float64)
        u = [a + b for a, b in zip(normal(x[:, 0] @ p["weight_ih"].T, "ih"), p["bias_ih"].split(6), strict=True)]
        r = [a + b for a, b in zip(normal(h @ p["weight_hh"].T, "hh"), p["bias_hh"].split(6), strict=True)]
        if joint:
            reset, update = torch.sigmoid(u[0] + r[0]), torch.sigmoid(u[1] + r[1])
            h = (1 - update) * torch.tanh(u[2] + reset * r[2])
        else:
            h = torch.tanh(u[0] + r[0])
        assert_equal(y[:, 0], h)


def test_zoneout_keeps_units_in_every_bit_and_their_mean_in_evaluation():
    _, _, plain, _ = step(RNN)
    _, _, y, _ = step(Zoneout(RNN, p=0.4), training=True)
    kept = y[:, 0] == 0  # the state before the first step
    assert 0 < kept.sum() < kept.numel() and torch.equal(y[:, 0][~kept], plain[:, 0][~kept])
    stays = y[:, 1] == y[:, 0]
    assert 0 < stays.sum() < stays.numel()
    _, _, rest, _ = step(Zoneout(RNN, p=0.4))
    assert_equal(rest[:, 0], 0.6 * plain[:, 0])


def test_zoneout_takes_a_rate_for_each_state():
    _, _, _, inner = step(Zoneout(LSTM, p=(0.0, 1.0)), training=True)
    assert (inner["c_l0"] == 0).all() and (inner["h_l0"] != 0).all()
    with pytest.raises(ValueError, match=r"one for each state \['h', 'c'\]"):
        Recurrent(Zoneout(LSTM, p=(0.1, 0.2, 0.3)), 3, 5)


def test_recurrent_dropout_drops_the_same_units_of_the_operand_at_every_step():
    layer, x, y, _ = step(RecurrentDropout(RNN, p=0.5), training=True, hidden=64)
    p = {name.removesuffix("_l0"): value.detach() for name, value in layer.named_parameters()}
    reached = torch.atanh(y[:, 1]) - x[:, 1] @ p["weight_ih"].T - p["bias_ih"] - p["bias_hh"]
    operand = torch.linalg.solve(p["weight_hh"], reached.T).T  # the dropped h
    share = (operand / y[:, 0]).detach()
    assert_equal(share.round(), 2.0 * (share > 1).double())
    assert 0.3 < (share.round() == 0).double().mean() < 0.7


def test_weight_drop_scales_what_it_leaves_and_learns_through_it():
    layer, _, y, _ = step(WeightDrop(RNN, p=0.5), training=True)
    weight = dict(layer.named_parameters())["weight_hh_l0"]
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    untouched = gradient == 0
    assert 0 < untouched.sum() < untouched.numel()
    _, _, rest, _ = step(WeightDrop(RNN, p=0.5))
    assert torch.equal(rest, step(RNN)[2])


def test_residual_adds_the_input():
    inner, layer = Recurrent(GRU, 6, 6, dtype=torch.float64), Recurrent(Residual(GRU), 6, 6, dtype=torch.float64)
    layer.load_state_dict(inner.state_dict())
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    assert_equal(layer(x)[0], inner(x)[0] + x)
    layer, x, y, inner = step(Residual(GRU))
    assert_equal(y, inner["h_l0"] + x @ layer.weight_residual_l0.T)


def test_projection_is_the_projected_lstm():
    ours, theirs = Recurrent(Projection(LSTM, size=2), 3, 6), Recurrent(cells.ProjectedLSTM(size=2), 3, 6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 5, 3)
    assert_equal(ours(x)[0], theirs(x)[0])


def test_clip_bounds_the_states_and_their_gradients():
    _, _, y, inner = step(Clip(LSTM, limit=0.05, only=("c",)))
    assert inner["c_l0"].abs().max() == 0.05 and y.abs().max() > 0.05
    layer, x = Recurrent(Clip(RNN, limit=1e-3), 3, 6), torch.randn(2, 1, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Recurrent(RecurrentDropout(EVERY_CELL["mingru"]), 3, 5), "MinGRU() has none"),
        (lambda: Recurrent(Clip(LSTM, only=("n",)), 3, 5), "there are ['h', 'c']"),
        (lambda: Recurrent(LayerNorm(LayerNorm(LSTM)), 3, 5), "declared twice"),
        (lambda: WeightDrop(LSTM, p=1.0), "from 0 to below 1, got 1.0"),
        (lambda: Clip(LSTM, limit=0.0), "above 0"),
        (lambda: Projection(LSTM, size=0), "at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(ValueError) as error:
        make()
    assert said in str(error.value)


def test_a_cell_is_wrapped_not_its_name():
    with pytest.raises(TypeError, match="wraps a cell, not 'lstm'"):
        Zoneout("lstm")


def test_a_gru_cannot_be_projected_and_the_place_is_named():
    layer = Recurrent(Projection(GRU, size=2), 3, 6, backend="native")
    with pytest.raises(ValueError, match=r"rows of widths \[2, 6\].*gru\.py:\d+"):
        layer(torch.zeros(1, 1, 3))


def test_cells_are_spelled_as_in_python():
    assert cells.get("Zoneout(LayerNorm(LSTM), p=0.2)") == Zoneout(LayerNorm(LSTM), p=0.2)
    assert cells.get("rnn(nonlinearity='relu')") == cells.get("rnn", nonlinearity="relu")
    assert cells.get("clip(gru(), limit=3)") == Clip(GRU, limit=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zoneout(lstmm)", "no such cell"),
        ("zoneut(lstm)", "zoneout"),
        ("zoneout(lstm", "cannot be read"),
        ("zoneout(lstm, q=1)", "unexpected keyword argument 'q'"),
        ("__import__('os').getcwd()", "cannot be read"),
        ("zoneout(lstm, p=print(1))", "no such cell"),
        ("zoneout(lstm, p=7)", "from 0 to 1"),
        ("zoneout(lstm, p=0.1, p=0.2)", "cannot be read"),
        ("lstm()()", "cannot be read"),
        ("(" * 5000, "cannot be read"),
    ],
)
def test_a_spelling_that_is_wrong_is_refused(text, said):
    with pytest.raises(UserError) as error:
        Recurrent(text, 3, 5)
    assert said in str(error.value)


def test_the_costs_on_the_page_are_those_measured():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "wrappers.md").read_text("utf-8")
    ratios: dict[str, list[str]] = {}
    for row in json.loads((root / "benchmarks" / "results" / "wrappers.json").read_text("utf-8"))["found"]:
        ratios.setdefault(row["cell"], []).append(f"{row['over plain']:.2f}")
    assert len(ratios) == 10
    for name, values in ratios.items():
        assert name == "LSTM" or f"| {name} | {' | '.join(values)} |" in page


def test_putting_weights_together_is_not_chance():
    layer, x = Recurrent(cells.get("slstm(heads=2)"), 3, 4), torch.randn(2, 5, 3)
    before = torch.random.get_rng_state()
    assert torch.equal(layer(x)[0], layer.eval()(x)[0])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert Recurrent(Residual(WeightDrop(LSTM)), 3, 4).stack.random
