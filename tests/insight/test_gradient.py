import gc

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from elman.cells import RNN
from elman.insight import gradient_by_distance
from elman.insight.recorder import Recorder
from elman.models import ManyToOne
from elman.nn import Recurrent
from every_cell import EVERY_CELL

LENGTHS = torch.tensor([7, 0, 3, 5])
LABELS = torch.tensor([0, 2, 1, 1])


def row_losses(scores):
    return cross_entropy(scores, LABELS, reduction="none")


def random_model(cell="lstm", layers=2, pooling="last", **options):
    model = ManyToOne(Recurrent(cell, 3, 4, layers, **options), 3, pooling=pooling).double()
    return model, torch.randn(4, 7, 3, dtype=torch.float64)


def linear_model(weight):
    """relu with identity inputs and positive numbers only: h_t = x_t + weight h_{t-1}, O = (3, 4) . h_T."""
    model = ManyToOne(Recurrent(RNN("relu"), 2, 2, bias=False), 1).double()
    with torch.no_grad():
        model.recurrent.weight_ih_l0.copy_(torch.eye(2))
        model.recurrent.weight_hh_l0.copy_(weight * torch.eye(2))
        model.head.weight.copy_(torch.tensor([[3.0, 4.0]]))
    return model


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_linear_recurrence_has_the_powers_of_its_weight(weight):
    x = torch.rand(3, 6, 2, dtype=torch.float64) + 0.1
    norms = gradient_by_distance(linear_model(weight), x, None, lambda scores: scores[:, 0])
    torch.testing.assert_close(norms, 5.0 * weight ** torch.arange(6.0, dtype=torch.float64)[None])


def test_distance_counts_from_each_rows_own_end_and_means_over_the_rows_that_are_long_enough():
    x = torch.rand(4, 6, 2, dtype=torch.float64) + 0.1
    scale = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    norms = gradient_by_distance(
        linear_model(0.5), x, torch.tensor([3, 1, 5, 0]), lambda scores: scores[:, 0] * scale
    )
    means = torch.tensor([111 / 3, 101 / 2, 101 / 2, 100, 100, torch.nan], dtype=torch.float64)
    expected = 5.0 * means * 0.5 ** torch.arange(6.0, dtype=torch.float64)
    torch.testing.assert_close(norms, expected[None], equal_nan=True)


def test_scalar_tanh_network_by_hand():
    u, w, v, x = 0.8, 1.3, 2.0, [0.5, -1.0, 0.3, 0.9]
    model = ManyToOne(Recurrent("rnn", 1, 1, bias=False), 1).double()
    with torch.no_grad():
        model.recurrent.weight_ih_l0.fill_(u)
        model.recurrent.weight_hh_l0.fill_(w)
        model.head.weight.fill_(v)
    states, state = [], torch.tensor(0.0, dtype=torch.float64)
    for value in x:
        state = torch.tanh(u * value + w * state)
        states.append(state)
    expected = [torch.tensor(v, dtype=torch.float64)]
    for later in reversed(states[1:]):
        expected.append(expected[-1] * w * (1 - later**2))
    inputs = torch.tensor(x, dtype=torch.float64)[None, :, None]
    norms = gradient_by_distance(model, inputs, None, lambda scores: scores[:, 0])
    torch.testing.assert_close(norms, torch.stack(expected)[None])


def test_two_layers_with_mean_pooling_equal_autograd_over_torch_cells():
    model, x = random_model("lstm", 2, "mean")
    found = gradient_by_distance(model, x, LENGTHS, row_losses)
    cells = [nn.LSTMCell(3, 4).double(), nn.LSTMCell(4, 4).double()]
    for layer, cell in enumerate(cells):
        cell.load_state_dict({n: model.recurrent.get_parameter(f"{n}_l{layer}") for n in cell.state_dict()})
    sums, counts = torch.zeros(2, 7, dtype=torch.float64), torch.zeros(7)
    for row, length in enumerate(LENGTHS.tolist()):
        states = run_cells(cells, x[row, :length])
        if not length:
            continue
        pooled = torch.stack([h for _, h in states]).mean(0)
        row_loss = cross_entropy(model.head(pooled), LABELS[row])
        row_loss.backward()
        for t, pair in enumerate(states):
            sums[:, length - 1 - t] += torch.stack([h.grad.norm() for h in pair])
            counts[length - 1 - t] += 1
    torch.testing.assert_close(found, sums / counts, rtol=1e-10, atol=1e-14)


def run_cells(cells, x):
    """Both layers' h at every step of one row, their gradients to be kept."""
    carried, states = [None, None], []
    for value in x:
        for layer, cell in enumerate(cells):
            carried[layer] = cell(value, carried[layer])
            value = carried[layer][0]
            value.retain_grad()
        states.append([h for h, _ in carried])
    return states


@pytest.mark.parametrize("pooling", ["last", "max+attention"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "projectedlstm"])
def test_scores_are_those_of_the_model(cell, pooling):
    chosen = RNN("relu") if cell == "rnn" else EVERY_CELL[cell]
    model, x = random_model(chosen, 2, pooling, initial_state="trainable")
    seen = []
    gradient_by_distance(model, x, LENGTHS, lambda scores: [seen.append(scores), row_losses(scores)][1])
    torch.testing.assert_close(seen[0], model(x, LENGTHS), rtol=1e-10, atol=1e-12)


def test_embedded_tokens_and_dropout_as_the_model_stands():
    model = ManyToOne(Recurrent("gru", 5, 4, 2, dropout=0.5), 3, encoder=nn.Embedding(9, 5), dropout=0.5)
    tokens, seen = torch.randint(9, (4, 7)), []
    for mode in (True, False):
        model.train(mode)
        torch.manual_seed(3)
        gradient_by_distance(model, tokens, LENGTHS, lambda scores: [seen.append(scores), row_losses(scores)][1])
        torch.manual_seed(3)
        torch.testing.assert_close(seen[-1], model(tokens, LENGTHS))


def test_a_model_bound_to_another_backend_is_measured_by_its_definition():
    model, x = random_model(backend="torch")
    expected = gradient_by_distance(model, x, LENGTHS, row_losses)
    model.recurrent.backend = "auto"
    assert torch.equal(gradient_by_distance(model, x, LENGTHS, row_losses), expected)


def test_model_is_left_as_it_was_and_no_state_is_kept():
    model, x = random_model()
    stack, backend = model.recurrent.stack, model.recurrent.backend
    gradient_by_distance(model, x, LENGTHS, row_losses)
    assert model.recurrent.stack is stack
    assert model.recurrent.backend == backend
    assert all(p.grad is None for p in model.parameters())
    recorders = [o for o in gc.get_objects() if type(o) is Recorder]
    assert not any(recorder.seen for recorder in recorders)


def test_frozen_model_without_gradients_gives_the_same():
    model, x = random_model()
    expected = gradient_by_distance(model, x, LENGTHS, row_losses)
    with torch.no_grad():
        found = gradient_by_distance(model.requires_grad_(False), x, LENGTHS, row_losses)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert (expected > 0).all()


def test_padding_reaches_nothing():
    model, x = random_model()
    expected = gradient_by_distance(model, x, LENGTHS, row_losses)
    for row, length in enumerate(LENGTHS.tolist()):
        x[row, length:] = torch.nan
    assert torch.equal(gradient_by_distance(model, x, LENGTHS, row_losses), expected)


def test_what_cannot_be_measured_is_said():
    model, x = random_model()
    with pytest.raises(ValueError, match=r"one number a row, \(4,\); got \(\)"):
        gradient_by_distance(model, x, LENGTHS, lambda scores: row_losses(scores).mean())
    with pytest.raises(ValueError, match="took a step: x has none"):
        gradient_by_distance(model, x[:, :0], None, row_losses)
