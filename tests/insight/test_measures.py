"""Every measure against a closed form."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from elman.cells import RNN, Cell, Step
from elman.insight import (
    by_distance,
    clip_shares,
    dead_units,
    effective_memory,
    gradient_norms,
    input_reach,
    lag_curve,
    lyapunov_exponent,
    parameter_contributions,
    saturation,
    singular_values,
    state_norms,
    step_jacobians,
    trace_run,
)
from elman.insight.gradient import step_terms
from elman.models import ManyToMany
from elman.nn import Recurrent, initialise
from every_cell import EVERY_CELL
from tolerances import assert_equal


@dataclass(frozen=True)
class Linear(Cell):
    """h' = U x + W h"""

    gates = ("h",)

    def step(self, x, s, w):
        return Step(h=x.h + w(s.h).h)


@dataclass(frozen=True)
class Logistic(Cell):
    """h' = r h (1 - h)"""

    r: float = 4.0

    def step(self, x, s, w):
        return Step(h=self.r * s.h * (1 - s.h))


@dataclass(frozen=True)
class Henon(Cell):
    """a' = 1 - 1.4 a² + b;  b' = 0.3 a"""

    states = ("a", "b")

    def step(self, x, s, w):
        return Step(a=1 - 1.4 * s.a * s.a + s.b, b=0.3 * s.a)


SPECTRUM = torch.tensor([0.9, -0.7, 0.4, 0.1], dtype=torch.float64)
CLOSE = {"rtol": 1e-4, "atol": 1e-9}


def linear_layer(**options):
    """h_t = x_t + W h_{t-1}, W symmetric with a known spectrum; also its eigenvectors, in columns."""
    layer = Recurrent(Linear(), 4, 4, bias=False, **options).double()
    vectors = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    with torch.no_grad():
        for name, param in layer.named_parameters():
            param.copy_(vectors @ SPECTRUM.diag() @ vectors.T if "hh" in name else torch.eye(4))
    return layer, vectors


def last(direction):
    return lambda returned: (returned[0][:, -1] @ direction).sum()


def test_gradient_norms_of_a_linear_recurrence_are_powers_of_its_spectrum():
    layer, vectors = linear_layer()
    direction = vectors @ torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    run = trace_run(layer, torch.randn(3, 8, 4, dtype=torch.float64), loss=last(direction))
    k = torch.arange(8)[:, None]
    wanted = (SPECTRUM**k * torch.tensor([1.0, 2.0, 0.5, 3.0])).norm(dim=1)
    torch.testing.assert_close(by_distance(run, gradient_norms(run))[0], wanted, **CLOSE)
    torch.testing.assert_close(lag_curve(run)[0], wanted, **CLOSE)


def test_lag_curve_of_a_loss_at_every_step_is_the_same_in_both_directions():
    layer, vectors = linear_layer(bidirectional=True)
    direction = torch.cat([vectors[:, 0], vectors[:, 1]])
    lengths = torch.tensor([8, 5])
    run = trace_run(
        layer, torch.randn(2, 8, 4, dtype=torch.float64), lengths, loss=lambda r: (r[0] @ direction).sum()
    )
    k = torch.arange(8)
    torch.testing.assert_close(lag_curve(run), torch.stack([0.9**k, 0.7**k]).double(), **CLOSE)
    totals = (1 - 0.9 ** (torch.arange(8) + 1.0)) / (1 - 0.9)  # a step's state is read by all after it
    torch.testing.assert_close(by_distance(run, gradient_norms(run))[0], totals.double(), **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "gru", "lru", "sru"])
def test_of_a_loss_at_one_step_the_lag_curve_is_the_gradient(name):
    layer = Recurrent(EVERY_CELL[name], 3, 4, 2).double()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    run = trace_run(layer, x, loss=lambda returned: returned[0][:, 4].square().sum())
    norms = torch.cat([run.arriving[state][1] for state in run.states], -1).norm(dim=-1)[0, :5].flip(0)
    found = lag_curve(run)[1]
    torch.testing.assert_close(found[1:5], norms[1:])
    assert found[5:].isnan().all()


def test_memory_of_powers():
    k = torch.arange(200, dtype=torch.float64)
    curves = torch.stack([0.9**k, 1.1**k, torch.where(k < 4, 1.0, 0.0), torch.full_like(k, math.nan)])
    wanted = torch.tensor([-1 / math.log(0.9), math.inf, 3.0, math.nan], dtype=torch.float64)
    torch.testing.assert_close(effective_memory(curves), wanted, equal_nan=True, **CLOSE)
    assert float(effective_memory(0.82**k, 0.01)) == pytest.approx(math.log(0.01) / math.log(0.82))
    with pytest.raises(ValueError, match="needs lags 0, 1, 2"):
        effective_memory(k[:2])


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize("name", ["rnn", "lstm", "lru", "sru"])
def test_contributions_add_up_to_the_gradient(name, options):
    model = ManyToMany(Recurrent(EVERY_CELL[name], 3, 4, **options), 2).double()
    x, lengths = torch.randn(3, 5, 3, dtype=torch.float64), torch.tensor([5, 2, 4])

    def loss(returned):
        scores = returned[0]
        return (scores * (torch.arange(5) < lengths[:, None])[..., None]).square().sum()

    run = trace_run(model, x, lengths, loss=loss)
    terms, norms = step_terms(run), parameter_contributions(run)
    loss(model(x, lengths=lengths)).backward()
    for parameter, wanted in model.named_parameters():
        key = parameter.removeprefix("recurrent.")
        assert_equal(sum(term[key] for term in terms), wanted.grad, key)
        assert_equal(norms[key], torch.stack([term[key].norm() for term in terms]), key)


def test_jacobians_and_singular_values_of_a_linear_recurrence():
    layer, _ = linear_layer()
    run = trace_run(layer, torch.randn(2, 5, 4, dtype=torch.float64), torch.tensor([5, 3]))
    jacobians = step_jacobians(run)
    assert jacobians.shape == (8, 4, 4)
    torch.testing.assert_close(jacobians, layer.weight_hh_l0.detach().expand(8, -1, -1), **CLOSE)
    torch.testing.assert_close(singular_values(run)[0], SPECTRUM.abs(), **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "slstm", "lru"])
def test_jacobians_of_several_states_equal_differences(name):
    layer = Recurrent(EVERY_CELL[name], 3, 4).double()
    run = trace_run(layer, torch.randn(1, 4, 3, dtype=torch.float64))
    found = step_jacobians(run)[2]
    start, x = {n: v[0, :, 2] for n, v in run.before.items()}, run.inputs[0][:, 2:3]
    columns = []
    for state in start:
        for unit in range(start[state].shape[1]):
            ends = []
            for sign in (1, -1):
                moved = {n: v.clone() for n, v in start.items()}
                moved[state][0, unit] += sign * 1e-5
                _, after = layer(x, {n: v[None] for n, v in moved.items()})
                ends.append(torch.cat([s[0, 0] for s in after]))
            columns.append((ends[0] - ends[1]) / 2e-5)
    torch.testing.assert_close(found, torch.stack(columns, 1).detach(), rtol=1e-5, atol=1e-6)


def test_lyapunov_exponents_of_known_maps():
    layer, _ = linear_layer()
    run = trace_run(layer, torch.randn(2, 200, 4, dtype=torch.float64))
    assert float(lyapunov_exponent(run)) == pytest.approx(math.log(0.9), abs=1e-4)
    rows, steps = 50, 300
    x = torch.zeros(rows, steps, 1, dtype=torch.float64)
    logistic = Recurrent(Logistic(), 1, 1, backend="eager").double()
    start = torch.rand(1, rows, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert exponent(logistic, x, [start]) == pytest.approx(math.log(2), rel=0.01)
    henon = Recurrent(Henon(), 1, 1, backend="eager").double()
    small = [0.1 * start, 0.1 * start]
    assert exponent(henon, x, small) == pytest.approx(
        0.4192, rel=0.01
    )  # of the usual parameters, a = 1.4, b = 0.3


def exponent(layer, x, start):
    from elman.insight import trace_call

    with torch.no_grad():
        return float(lyapunov_exponent(trace_call(layer, lambda: layer(x, start))[""]))


def test_a_forgotten_state_has_no_rate():
    layer = initialise(Recurrent("rnn", 2, 3), weight_hh="zeros")
    assert float(lyapunov_exponent(trace_run(layer, torch.randn(1, 5, 2)))) == -math.inf


def test_reach_of_a_linear_recurrence_and_of_both_directions():
    layer, vectors = linear_layer(bidirectional=True)
    x = torch.zeros(1, 7, 4, dtype=torch.float64)
    reach = input_reach(layer, x, step=2, seed=4)
    noise = torch.randn(4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    parts = vectors.T @ (noise / noise.norm())
    wanted = torch.stack([(SPECTRUM**k * parts).norm() for k in range(5)])
    torch.testing.assert_close(reach[0, :5], wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(reach[1, :3], wanted[:3], rtol=1e-4, atol=1e-6)
    assert reach[0, 5:].isnan().all()
    assert reach[1, 3:].isnan().all()
    with pytest.raises(ValueError, match="from 0 to 6, got 7"):
        input_reach(layer, x, step=7)
    with pytest.raises(ValueError, match="must be numbers"):
        input_reach(layer, x.long())


def test_state_norms_are_means_over_the_rows_that_are_so_long():
    layer, _ = linear_layer()
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    x = torch.ones(2, 3, 4, dtype=torch.float64) * torch.tensor([1.0, 3.0]).double()[:, None, None]
    norms = state_norms(trace_run(layer, x, torch.tensor([3, 1])))["h"]
    torch.testing.assert_close(norms, torch.tensor([[4.0, 2.0, 2.0]]).double())


def test_saturation_is_the_share_of_steps_at_the_bounds():
    layer = Recurrent("rnn", 2, 2, bias=False).double()
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0.copy_(torch.eye(2))
    x = torch.tensor([[[0.1, 9.0], [-9.0, 9.0], [0.0, 9.0], [9.0, 0.0]]]).double()
    run = trace_run(layer, x, torch.tensor([3]))
    torch.testing.assert_close(saturation(run)["h"], torch.tensor([[1 / 3, 1.0]]))
    assert not dead_units(run)
    lstm = initialise(Recurrent("lstm", 2, 2, 2), bias_hh={"o": -50.0})
    shares = saturation(trace_run(lstm, torch.randn(2, 4, 2)))
    assert shares["o"].tolist() == [[1.0, 1.0]] * 2
    assert float(shares["i"].max()) < 1
    with pytest.raises(ValueError, match="margin"):
        saturation(run, 0.5)


def test_dead_units_are_zero_at_every_step_of_every_row():
    layer = Recurrent(RNN("relu"), 2, 2, bias=False)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0.copy_(torch.eye(2))
    x = torch.tensor([[[1.0, -1.0], [-1.0, -1.0]], [[-1.0, -2.0], [-1.0, 5.0]]])
    assert dead_units(trace_run(layer, x, torch.tensor([2, 1])))["h"].tolist() == [[False, True]]
    assert dead_units(trace_run(layer, x))["h"].tolist() == [[False, False]]


def test_clip_shares_are_of_the_squared_norm():
    layer = nn.Linear(2, 1)
    layer(torch.randn(3, 2)).sum().backward()
    shares = clip_shares({name: p.grad for name, p in layer.named_parameters()})
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["bias"] == pytest.approx(9 / (9 + float(layer.weight.grad.square().sum())))
    assert clip_shares({"W": torch.zeros(2)}) == {"W": 0.0}
