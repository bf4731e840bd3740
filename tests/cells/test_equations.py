"""Each cell against its equations written another way: other libraries' arrangements, closed forms over time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, sigmoid, tanh
from torch.nn.functional import linear, softplus

from elman.cells import Cell, get
from elman.cells.ind_rnn import IndRNN
from elman.cells.rg_lru import RGLRU
from elman.cells.slstm import SLSTM
from elman.nn import Recurrent
from tolerances import assert_equal

HIDDEN = 5
Named = dict[str, Tensor]


def of_x(p: Named, x: Tensor, gates: int) -> tuple[Tensor, ...]:
    """U x_t + b for all steps, by gate."""
    return linear(x, p["weight_ih"], p["bias_ih"]).chunk(gates, -1)


def by_steps(step: Callable[..., tuple[Tensor, ...]], states: int, *inputs: Tensor) -> Tensor:
    """The first of what `step` returns, for each step; the others and it are the states of the next."""
    s = (torch.zeros(len(inputs[0]), HIDDEN, dtype=torch.float64),) * states
    found = []
    for now in zip(*(i.unbind(1) for i in inputs), strict=True):
        s = step(*now, *s)
        found.append(s[0])
    return torch.stack(found, 1)


def decayed(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t in closed form: the sum over k of a_{k+1} ... a_t b_k."""
    steps = range(a.shape[1])
    return torch.stack([sum(a[:, k + 1 : t + 1].prod(1) * b[:, k] for k in range(t + 1)) for t in steps], 1)


def skipped(p: Named, x: Tensor) -> Tensor:
    return linear(x, p["weight_skip"]) if "weight_skip" in p else x


def as_torch_lstm(p: Named, x: Tensor) -> Tensor:
    """1 - sigmoid(v) is sigmoid(-v): a coupled gate is a forget gate with the input gate's rows negated."""
    module = torch.nn.LSTM(3, HIDDEN, batch_first=True, dtype=torch.float64)

    def negated(v: Tensor) -> Tensor:
        i, g, o = v.chunk(3)
        return torch.cat([i, -i, g, o])

    full = {f"{name}_l0": negated(v) for name, v in p.items()}
    return torch.func.functional_call(module, full, (x,))[0]


def peephole(p: Named, x: Tensor) -> Tensor:
    def step(u: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = (u + linear(h, p["weight_hh"], p["bias_hh"])).chunk(4, -1)
        new = sigmoid(f + p["weight_cf"] * c) * c + sigmoid(i + p["weight_ci"] * c) * g.tanh()
        return sigmoid(o + p["weight_co"] * new) * new.tanh(), new

    return by_steps(step, 2, torch.cat(of_x(p, x, 4), -1))


def keras_gru(p: Named, x: Tensor) -> Tensor:
    """Keras, reset_after=False: separate kernels, z weighs the old state."""
    (w_r, w_z, w_n), (b_r, b_z, b_n) = p["weight_hh"].chunk(3), p["bias_hh"].chunk(3)

    def step(x_r: Tensor, x_z: Tensor, x_n: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        z, r = sigmoid(x_z + linear(h, w_z, b_z)), sigmoid(x_r + linear(h, w_r, b_r))
        return (z * h + (1 - z) * tanh(x_n + linear(r * h, w_n, b_n)),)

    return by_steps(step, 1, *of_x(p, x, 3))


def mgu(p: Named, x: Tensor) -> Tensor:
    (w_f, w_n), (b_f, b_n) = p["weight_hh"].chunk(2), p["bias_hh"].chunk(2)

    def step(x_f: Tensor, x_n: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        f = sigmoid(x_f + linear(h, w_f, b_f))
        return (torch.lerp(h, tanh(x_n + linear(f * h, w_n, b_n)), f),)

    return by_steps(step, 1, *of_x(p, x, 2))


def light_gru(p: Named, x: Tensor) -> Tensor:
    def step(u: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        z, n = (u + linear(h, p["weight_hh"], p["bias_hh"])).chunk(2, -1)
        return (torch.lerp(n.clamp(min=0), h, sigmoid(z)),)

    return by_steps(step, 1, torch.cat(of_x(p, x, 2), -1))


def independent(p: Named, x: Tensor) -> Tensor:
    """As torch.nn's network with a diagonal matrix."""
    module = torch.nn.RNN(3, HIDDEN, batch_first=True, dtype=torch.float64)
    zero = torch.zeros_like(p["bias_ih"])
    weights = (p["weight_ih"], p["weight_u"].diag(), p["bias_ih"], zero)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))[0]


def simple(p: Named, x: Tensor) -> Tensor:
    def step(n: Tensor, f: Tensor, r: Tensor, v: Tensor, _: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        highway = sigmoid(r + p["weight_cr"] * c)
        c = torch.lerp(n, c, sigmoid(f + p["weight_cf"] * c))
        return torch.lerp(v, c, highway), c

    return by_steps(step, 2, *of_x(p, x, 3), skipped(p, x))


def unstabilised(forget: Callable[[Tensor], Tensor]) -> Callable[[Named, Tensor], Tensor]:
    """The sLSTM before its gates are divided by the largest: equations 8 to 14 of the paper."""

    def run(p: Named, x: Tensor) -> Tensor:
        def step(u: Tensor, h: Tensor, c: Tensor, n: Tensor) -> tuple[Tensor, ...]:
            i, f, z, o = (u + linear(h, p["weight_hh"], p["bias_hh"])).chunk(4, -1)
            c, n = forget(f) * c + i.exp() * z.tanh(), forget(f) * n + i.exp()
            return sigmoid(o) * c / n, c, n

        return by_steps(step, 3, torch.cat(of_x(p, x, 4), -1))

    return run


def minimal_gru(p: Named, x: Tensor) -> Tensor:
    z, n = of_x(p, x, 2)
    return decayed(1 - sigmoid(z), sigmoid(z) * n)


def minimal_lstm(p: Named, x: Tensor) -> Tensor:
    i, f, n = of_x(p, x, 3)
    i, f = sigmoid(i), sigmoid(f)
    return decayed(f / (f + i), i / (f + i) * n)


def real_gated(p: Named, x: Tensor) -> Tensor:
    r, i = of_x(p, x, 2)
    exponent = -8 * softplus(p["decay"]) * sigmoid(r)
    return decayed(exponent.exp(), (1 - (2 * exponent).exp()).sqrt() * sigmoid(i) * skipped(p, x))


def complex_numbers(p: Named, x: Tensor) -> Tensor:
    re, im, d = of_x(p, x, 3)
    factor = torch.exp(torch.complex(-p["nu_log"].exp(), p["theta_log"].exp()))
    s = decayed(factor.expand(*re.shape), p["gamma_log"].exp() * torch.complex(re, im))
    return linear(s, torch.complex(p["weight_c_re"], p["weight_c_im"])).real + d


CASES: dict[str, tuple[Cell, Callable[[Named, Tensor], Tensor], int]] = {
    "peephole": (get("peepholelstm"), peephole, 3),
    "coupled": (get("coupledlstm"), as_torch_lstm, 3),
    "reset before": (get("resetbeforegru"), keras_gru, 3),
    "mgu": (get("mgu"), mgu, 3),
    "ligru": (get("ligru"), light_gru, 3),
    "indrnn": (IndRNN("tanh"), independent, 3),
    "sru": (get("sru"), simple, 3),
    "sru, inputs as wide as the state": (get("sru"), simple, HIDDEN),
    "slstm": (SLSTM(), unstabilised(sigmoid), 3),
    "slstm, exponential forget gate": (SLSTM("exp"), unstabilised(torch.exp), 3),
    "mingru": (get("mingru"), minimal_gru, 3),
    "minlstm": (get("minlstm"), minimal_lstm, 3),
    "rglru": (RGLRU(), real_gated, 3),
    "rglru, inputs as wide as the state": (RGLRU(), real_gated, HIDDEN),
    "lru": (get("lru"), complex_numbers, 3),
}


@pytest.mark.parametrize(("cell", "written", "inputs"), CASES.values(), ids=CASES)
def test_values_and_gradients(cell: Cell, written: Callable[[Named, Tensor], Tensor], inputs: int) -> None:
    torch.manual_seed(0)
    layer, x = Recurrent(cell, inputs, HIDDEN, dtype=torch.float64), torch.randn(2, 6, inputs).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    named = {name.removesuffix("_l0"): p for name, p in layer.named_parameters()}
    leaves = [x.requires_grad_(), *named.values()]
    y, wanted = layer(x)[0], written(named, x)
    assert_equal(y, wanted)
    dy = torch.randn_like(y)
    found = torch.autograd.grad(y, leaves, dy)
    for name, a, b in zip(("x", *named), found, torch.autograd.grad(wanted, leaves, dy), strict=True):
        assert_equal(a, b, name)


def test_a_layer_normalised_lstm_by_hand() -> None:
    """Two opposite units: their mean is 0 and their variance their square."""
    torch.manual_seed(1)
    layer = Recurrent("layernormlstm", 1, 2, dtype=torch.float64, backend="eager")
    x = torch.randn(1, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[1.0], [-1.0]]).repeat(4, 1))
        h = 0.6 * torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
        layer.weight_hh_l0.copy_(torch.eye(2).repeat(4, 1))
        for gate in "ifgoc":
            getattr(layer, f"shift_{gate}_l0").uniform_(-1, 1)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def normal(size: Tensor) -> Tensor:
        return sign * size / torch.sqrt(size * size + 1e-5)

    shifts = {gate: getattr(layer, f"shift_{gate}_l0") for gate in "ifgoc"}
    a = {gate: normal(x[0, 0]) + normal(h[0, 0, 0]) + shifts[gate] for gate in "ifgo"}
    c = sigmoid(a["i"]) * tanh(a["g"])
    n = (c - c.mean()) / torch.sqrt(c.var(correction=0) + 1e-5)
    y, state = layer(x, (h, torch.zeros_like(h)))
    assert_equal(state.c[0, 0], c)
    assert_equal(y[0, 0], sigmoid(a["o"]) * tanh(n + shifts["c"]))


@pytest.mark.parametrize("cell", ["minlstm", "rglru", "slstm", "lru", "mingru", "sru"])
@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_values_and_gradients_stay_finite(cell: str, scale: float) -> None:
    torch.manual_seed(2)
    layer, x = Recurrent(cell, 4, 6), scale * torch.randn(2, 300, 4)
    y, state = layer(x.requires_grad_())
    gradients = torch.autograd.grad(y.sum() + sum(s.sum() for s in state[:1]), [x, *layer.parameters()])
    assert all(v.isfinite().all() for v in (y, *state, *gradients))


def test_the_gates_of_an_slstm_overflow_nothing() -> None:
    """Preactivations of hundreds, whose exponentials single precision does not have."""
    layer = Recurrent("slstm", 1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0[0] = 500.0  # the input gate
        layer.bias_ih_l0[2] = 1.0  # the candidate
    y, state = layer(torch.tensor([[[1.0], [-1.0], [2.0]]]))
    assert_equal(y[0, :, 0], torch.full((3,), 0.5) * tanh(torch.tensor(1.0)))
    assert state.m.item() == 1000.0 and state.n.item() == 1.0


def test_an_slstm_goes_on_from_a_state_of_zeros() -> None:
    """Which is no state of a run: nothing was let in, and c / n would be 0 / 0."""
    layer, zeros = Recurrent("slstm", 2, 3), torch.zeros(1, 2, 3)
    with torch.no_grad():
        layer.bias_ih_l0[:3] = -200.0
    y, _ = layer(torch.randn(2, 4, 2), (zeros, zeros, zeros, zeros))
    assert y.eq(0).all()


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        ("indrnn", {"nonlinearity": "gelu"}, "nonlinearity must be 'relu' or 'tanh', got 'gelu'"),
        ("slstm", {"forget": "tanh"}, "forget must be 'sigmoid' or 'exp', got 'tanh'"),
        ("rglru", {"power": 0.0}, "power must be more than 0, got 0.0"),
        ("lru", {"least": 0.9, "most": 0.5}, "least <= most"),
        ("lru", {"most": 1.5}, "most <= 1"),
        ("lru", {"angle": 0.0}, "angle must be more than 0, got 0.0"),
    ],
)
def test_options_that_cannot_be_are_refused(cell: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        get(cell, **options)


@pytest.mark.parametrize("cell", ["sru", "lru", "mingru"])
def test_the_last_output_is_that_of_the_last_step(cell: str) -> None:
    torch.manual_seed(3)
    layer, x = Recurrent(cell, 3, 4, 2, bidirectional=True), torch.randn(3, 5, 3)
    last = Recurrent(cell, 3, 4, 2, bidirectional=True, outputs="last")
    last.load_state_dict(layer.state_dict())
    lengths = torch.tensor([5, 2, 4])
    (y, _), (found, _) = layer(x, lengths=lengths), last(x, lengths=lengths)
    forward = y[torch.arange(3), lengths - 1, :4]
    assert_equal(found, torch.cat([forward, y[:, 0, 4:]], -1))


def test_heads_are_networks_side_by_side() -> None:
    torch.manual_seed(0)
    layer, x = Recurrent(SLSTM(heads=3), 4, 6, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    assert layer.weight_hh_l0.shape == (24, 2)
    y, _ = layer(x)
    for head in range(3):
        alone = Recurrent(SLSTM(), 4, 2, dtype=torch.float64)
        mine = slice(2 * head, 2 * head + 2)
        alone.load_state_dict(
            {name: p.unflatten(0, (4, 6))[:, mine].flatten(0, 1) for name, p in layer.state_dict().items()}
        )
        assert_equal(alone(x)[0], y[..., mine])
    with pytest.raises(ValueError, match="7 units cannot be shared out to 3 heads"):
        Recurrent(SLSTM(heads=3), 4, 7)


def test_blocks_are_networks_side_by_side() -> None:
    torch.manual_seed(0)
    layer, x = Recurrent(RGLRU(blocks=2), 6, 6, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    y, _ = layer(x)
    for block in range(2):
        alone, mine = Recurrent(RGLRU(), 3, 3, dtype=torch.float64), slice(3 * block, 3 * block + 3)
        stored = layer.state_dict()
        alone.load_state_dict(
            {
                "decay_l0": stored["decay_l0"][mine],
                **{
                    name: stored[name].unflatten(0, (2, 6))[:, mine].flatten(0, 1)
                    for name in ("weight_ih_l0", "bias_ih_l0")
                },
            }
        )
        assert_equal(alone(x[..., mine])[0], y[..., mine])
