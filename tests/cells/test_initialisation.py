"""What parameters begin with: the cells' own, and by name."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus

from elman.cells.lru import LRU
from elman.cells.rnn import RNN
from elman.errors import UserError
from elman.nn import Recurrent, initialise
from tolerances import assert_equal


def test_rules_by_name_reach_every_layer_and_direction_gate_by_gate() -> None:
    layer = Recurrent("lstm", 3, 4, 2, bidirectional=True, dtype=torch.float64)
    before = {name: p.clone() for name, p in layer.named_parameters()}
    assert initialise(layer, weight_hh="orthogonal", bias_hh={"f": 1.0}, bias_ih="zeros") is layer
    for name, p in layer.named_parameters():
        if name.startswith("weight_hh"):
            for gate in p.detach().chunk(4):
                assert_equal(gate @ gate.T, torch.eye(4, dtype=torch.float64))
        elif name.startswith("bias_hh"):
            i, f, g, o = p.detach().chunk(4)
            assert f.eq(1).all()
            assert torch.equal(torch.cat([i, g, o]), torch.cat([before[name][:4], before[name][8:]]))
        elif name.startswith("bias_ih"):
            assert p.eq(0).all()
        else:
            assert torch.equal(p, before[name])
        assert p.requires_grad and p.is_leaf


def test_a_network_with_relu_and_the_identity_counts() -> None:
    counting = Recurrent(RNN("relu"), 1, 1, bias=False)
    initialise(counting, weight_hh="identity", weight_ih="ones")
    y, _ = counting(torch.ones(1, 4, 1))
    assert y.flatten().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_vector_takes_a_number() -> None:
    layer = initialise(Recurrent("indrnn", 2, 3), weight_u=1.0, weight_ih="glorot")
    assert layer.weight_u_l0.eq(1).all() and layer.weight_ih_l0.abs().max() <= (6 / 5) ** 0.5


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"weight_hhh": "zeros"}, "no such parameter.*weight_hhh.*did you mean 'weight_hh'"),
        ({"bias_hh": {"forget": 1.0}}, "bias_hh: no such gate; found: forget; choose one of: i, f, g, o"),
        (
            {"weight_hh": "orthogonl"},
            "weight_hh: no such initialisation; found: orthogonl; did you mean 'orthogonal'",
        ),
        ({"bias_hh": "orthogonal"}, "bias_hh: this initialisation is for matrices; found: orthogonal"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        initialise(Recurrent("lstm", 2, 3), **rules)


def test_what_the_cells_begin_with() -> None:
    torch.manual_seed(0)
    u = Recurrent("indrnn", 4, 500).weight_u_l0.detach()
    assert 0 <= u.min() < 0.02 and 0.98 < u.max() <= 1
    decay = torch.exp(-8 * softplus(Recurrent("rglru", 4, 500, dtype=torch.float64).decay_l0.detach()))
    assert 0.9 <= decay.min() < 0.902 and 0.997 < decay.max() <= 0.999
    normed = Recurrent("layernormlstm", 4, 5)
    assert all(p.eq(0).all() for n, p in normed.named_parameters() if n.startswith("shift"))
    assert all(p.eq(1).all() for n, p in normed.named_parameters() if n.startswith("gain"))


@pytest.mark.parametrize(("least", "most"), [(0.0, 1.0), (0.9, 0.99), (1.0, 1.0)])
def test_a_linear_recurrent_unit_begins_on_its_ring_with_the_variance_of_its_input(
    least: float, most: float
) -> None:
    torch.manual_seed(1)
    layer = Recurrent(LRU(least, most, angle=0.5), 64, 2000, bidirectional=True, dtype=torch.float64)
    for suffix in ("_l0", "_l0_reverse"):
        p = {name: layer.get_parameter(name + suffix).detach() for name in ("nu_log", "theta_log", "gamma_log")}
        size, angle = torch.exp(-torch.exp(p["nu_log"])), torch.exp(p["theta_log"])
        assert size.min() >= least - 1e-6 and size.max() <= most
        middle = ((least**2 + most**2) / 2) ** 0.5  # as much of the ring inside as outside
        assert least == most or 0.45 < (size < middle).double().mean() < 0.55
        assert angle.max() <= 0.5 and 0.2 < angle.mean() < 0.3
        assert_equal(torch.exp(2 * p["gamma_log"]) + size * size, torch.ones_like(size))
    assert layer.bias_ih_l0.eq(0).all()
    b, d = layer.weight_ih_l0.detach().split([4000, 2000])
    assert 0.98 < b.std() * (2 * 64) ** 0.5 < 1.02 and 0.98 < d.std() * 64**0.5 < 1.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cells_begin_without_biases_and_in_low_precision(dtype: torch.dtype) -> None:
    for cell in ("lru", "rglru", "indrnn", "layernormlstm"):
        layer = Recurrent(cell, 2, 400, bias=False, dtype=dtype)
        assert all(p.isfinite().all() for p in layer.parameters())
