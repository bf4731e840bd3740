"""Elman's own definition of each cell, behind the drop-ins, gives torch's numbers, eagerly and natively."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._pytree import tree_leaves

from backends import NATIVE
from elman.nn import drop_in, drop_in_cells
from tolerances import assert_equal

# Said once a process by torch, by whichever call with a projection comes first.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

STEPS, ROWS, WIDTH, HIDDEN = 5, 4, 3, 4
KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("LSTM", {"proj_size": 2}), ("GRU", {})]
INPUTS = {
    "full": None,
    "sorted": ([5, 3, 3, 1], True),
    "unsorted": ([3, 1, 5, 3], False),
}


def results(module, x, lengths, hx):
    """Outputs, final states and the gradients of the input, the states and every parameter."""
    leaves = [t.clone().requires_grad_() for t in (x, *hx)]
    given, states = leaves[0], leaves[1:]
    state = tuple(states) if module.mode == "LSTM" else states[0]
    if lengths is not None:
        sizes, ordered = lengths
        given = pack_padded_sequence(given, sizes, batch_first=module.batch_first, enforce_sorted=ordered)
    output, final = module(given, state)
    values = [output if lengths is None else output.data, *tree_leaves(final)]
    loss = sum((value * torch.linspace(-1, 1, value.numel()).double().view_as(value)).sum() for value in values)
    return values + list(torch.autograd.grad(loss, [*leaves, *module.parameters()]))


def assert_close(expected, found):
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert_equal(b, a)


BACKENDS = pytest.mark.parametrize("backend", ["eager", NATIVE])


@BACKENDS
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join([kind[0], *map(str, kind[1].values())]))
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given", INPUTS)
def test_layers_equal_torchs(kind, layers, bidirectional, given, backend):
    name, options = kind
    generator = torch.Generator().manual_seed(4)
    for bias, batch_first in product([True, False], repeat=2):
        arguments = {
            "num_layers": layers,
            "bidirectional": bidirectional,
            "bias": bias,
            "batch_first": batch_first,
            **options,
        }
        theirs = getattr(nn, name)(WIDTH, HIDDEN, dtype=torch.float64, **arguments)
        ours = getattr(drop_in, name)(WIDTH, HIDDEN, dtype=torch.float64, **arguments)
        ours.load_state_dict(theirs.state_dict())
        ours.backend = backend
        x = torch.randn(STEPS, ROWS, WIDTH, dtype=torch.float64, generator=generator)
        x = x.transpose(0, 1) if batch_first else x
        widths = [options.get("proj_size", HIDDEN), HIDDEN][: 2 if name == "LSTM" else 1]
        stacked = layers * (1 + bidirectional)
        hx = [torch.randn(stacked, ROWS, w, dtype=torch.float64, generator=generator) for w in widths]
        assert_close(results(theirs, x, INPUTS[given], hx), results(ours, x, INPUTS[given], hx))


@BACKENDS
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_alone_without_a_state(name, batch_first, backend):
    theirs = getattr(nn, name)(WIDTH, HIDDEN, batch_first=batch_first, dtype=torch.float64)
    ours = getattr(drop_in, name)(WIDTH, HIDDEN, batch_first=batch_first, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    ours.backend = backend
    x = torch.randn(STEPS, WIDTH, dtype=torch.float64)
    assert_close(tree_leaves(theirs(x)), tree_leaves(ours(x)))


@BACKENDS
@pytest.mark.parametrize(
    ("name", "options"),
    [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})],
)
@pytest.mark.parametrize("bias", [True, False])
def test_cells(name, options, bias, backend):
    theirs = getattr(nn, name)(WIDTH, HIDDEN, bias=bias, dtype=torch.float64, **options)
    ours = getattr(drop_in_cells, name)(WIDTH, HIDDEN, bias=bias, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    ours.backend = backend
    x, h, c = (torch.randn(ROWS, w, dtype=torch.float64, requires_grad=True) for w in (WIDTH, HIDDEN, HIDDEN))
    hx, one = ((h, c), (h[0], c[0])) if name == "LSTMCell" else (h, h[0])
    for call in [(x,), (x, hx), (x[0],), (x[0], one)]:
        expected, found = tree_leaves(theirs(*call)), tree_leaves(ours(*call))
        assert_close(expected, found)
        leaves = [x, *([h, c][: len(expected)] if len(call) == 2 else [])]
        assert_close(
            torch.autograd.grad(sum(e.sum() for e in expected), [*leaves, *theirs.parameters()]),
            torch.autograd.grad(sum(f.sum() for f in found), [*leaves, *ours.parameters()]),
        )


@BACKENDS
def test_dropout_acts_in_training_only(backend):
    ours = drop_in.GRU(WIDTH, HIDDEN, num_layers=2, dropout=0.5)
    ours.backend = backend
    x = torch.randn(STEPS, ROWS, WIDTH)
    torch.manual_seed(0)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])
