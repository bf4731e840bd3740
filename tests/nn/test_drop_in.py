"""The drop-ins are torch.nn's layers and cells in everything a caller can see.

To the bit with backend "torch"; up to rounding with "auto", where the native engine, if it is there, runs the
layers.
"""

from __future__ import annotations

import copy
import doctest
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_leaves

from backends import FALLS_BACK, FASTEST
from elman.nn import drop_in, drop_in_cells, drop_in_engine
from tolerances import assert_equal

# Said once a process by torch, by whichever call with a projection comes first.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

LAYERS = ["RNN", "LSTM", "GRU"]
CELLS = ["RNNCell", "LSTMCell", "GRUCell"]
ALL = LAYERS + CELLS
BACKENDS = ["torch", "auto"]


def pair(name, *args, backend="auto", **kwargs):
    """torch's module and Elman's, made from the same seed."""
    ours = getattr(drop_in_cells if name.endswith("Cell") else drop_in, name)
    torch.manual_seed(5)
    theirs_made = getattr(nn, name)(*args, **kwargs)
    torch.manual_seed(5)
    made = ours(*args, **kwargs)
    assert made.backend == "auto"
    made.backend = backend
    return theirs_made, made


def example(name, dtype=None):
    shape = (4, 3) if name.endswith("Cell") else (6, 4, 3)
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def gradients(module, result):
    total = sum((leaf.double() * leaf.double().cos()).sum() for leaf in tree_leaves(result))
    return torch.autograd.grad(total, list(module.parameters()))


def assert_same(first, second):
    left, right = tree_leaves(first), tree_leaves(second)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)


def assert_agree(backend, expected, found):
    """The same bits from torch's kernels, the same numbers from the engine."""
    if backend == "torch":
        assert_same(expected, found)
    left, right = tree_leaves(expected), tree_leaves(found)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert_equal(b, a)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bias", [True, False])
def test_same_seed_same_weights_and_state_dict_both_ways(name, bias, backend):
    theirs, ours = pair(name, 3, 5, bias=bias, backend=backend)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert_same(theirs.state_dict(), ours.state_dict())
    with torch.no_grad():
        ours.weight_ih_l0.mul_(2) if name in LAYERS else ours.weight_ih.mul_(2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_agree(backend, theirs(example(name)), ours(example(name)))


@pytest.mark.parametrize("name", ALL)
def test_repr_and_class_family(name):
    options = {"bias": False} if name in CELLS else {"num_layers": 2, "bidirectional": True, "dropout": 0.1}
    theirs, ours = pair(name, 3, 5, **options)
    assert repr(theirs) == repr(ours)
    assert isinstance(ours, nn.RNNBase | nn.RNNCellBase)
    assert not isinstance(ours, nn.RNN | nn.LSTM | nn.GRU)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "proj_size": 2}]
)
def test_layers_equal_torchs(name, batch_first, options, backend):
    if name != "LSTM" and "proj_size" in options:
        options = {"bias": False, "num_layers": 3}
    theirs, ours = pair(name, 3, 5, batch_first=batch_first, backend=backend, **options)
    x = example(name)
    states = [torch.randn_like(s) for s in tree_leaves(theirs(x)[1])]
    hx = tuple(states) if name == "LSTM" else states[0]
    # Results whole, with a given state, of one sequence alone.
    one = [s[:, 0].contiguous() for s in states]
    calls = [(x,), (x, hx), (x[:, 0],), (x[:, 0], tuple(one) if name == "LSTM" else one[0])]
    for call in calls:
        expected, found = theirs(*call), ours(*call)
        assert_agree(backend, expected, found)
        assert_agree(backend, gradients(theirs, expected), gradients(ours, found))
        # Whoever calls `view` on torch's output can call it on ours, and a dropout after it draws the same.
        assert found[0].stride() == expected[0].stride()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("ordered", [True, False])
def test_packed_sequences(name, ordered, backend):
    theirs, ours = pair(name, 3, 5, num_layers=2, bidirectional=True, backend=backend)
    lengths = [6, 4, 4, 1] if ordered else [4, 1, 6, 4]
    packed = pack_padded_sequence(example(name), lengths, enforce_sorted=ordered)
    states = [torch.randn_like(s) for s in tree_leaves(theirs(packed)[1])]
    hx = tuple(states) if name == "LSTM" else states[0]
    for call in [(packed,), (packed, hx)]:
        expected, found = theirs(*call), ours(*call)
        assert isinstance(found[0], PackedSequence)
        assert_same(list(expected[0])[1 : 2 if ordered else 4], list(found[0])[1 : 2 if ordered else 4])
        assert (found[0].sorted_indices is None) == ordered
        expected, found = (expected[0].data, expected[1]), (found[0].data, found[1])
        assert_agree(backend, expected, found)
        assert_agree(backend, gradients(theirs, expected), gradients(ours, found))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", ["time first", "batch first", "packed"])
def test_dropout_draws_the_same_masks(name, layout, backend):
    theirs, ours = pair(
        name,
        3,
        5,
        num_layers=3,
        dropout=0.5,
        batch_first=layout == "batch first",
        bidirectional=True,
        backend=backend,
    )
    x = example(name)
    given = pack_padded_sequence(x, [2, 6, 1, 6], enforce_sorted=False) if layout == "packed" else x
    results, following = [], []
    for module in (theirs, ours):
        torch.manual_seed(3)
        y, final = module(given)
        results.append((y.data if layout == "packed" else y, final))
        following.append(torch.rand(3))
    assert_agree(backend, *results)
    assert_same(*following)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    assert_agree(backend, theirs.eval()(x), ours.eval()(x))


@pytest.mark.parametrize("name", CELLS)
def test_cells_equal_torchs_to_the_bit(name):
    for options in [{}, {"bias": False}, *([{"nonlinearity": "relu"}] if name == "RNNCell" else [])]:
        theirs, ours = pair(name, 3, 5, **options)
        x, h, c = example(name), torch.randn(4, 5), torch.randn(4, 5)
        hx, one = ((h, c), (h[0], c[0])) if name == "LSTMCell" else (h, h[0])
        for call in [(x,), (x, hx), (x[0],), (x[0], one)]:
            expected, found = theirs(*call), ours(*call)
            assert_same(expected, found)
            assert_same(gradients(theirs, expected), gradients(ours, found))


BAD_CONSTRUCTIONS = [
    ((3, 5), {"dropout": 2.0}), ((3, 5), {"dropout": True}), ((3, 5), {"num_layers": 0}), ((3, 5), {"bias": 1}),
    ((3, 5), {"batch_first": "no"}), ((3.0, 5), {}), ((0, 5), {}), ((3, 0), {}), ((3, "5"), {}),
    ((3, 5), {"proj_size": 5}), ((3, 5), {"proj_size": -1}), ((3, 5), {"nonlinearity": "sine"}),
    ((3, 5), {"colour": 1}),
]  # fmt: skip


def error_of(call):
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("args", "kwargs"), BAD_CONSTRUCTIONS)
def test_constructors_refuse_alike(name, args, kwargs):
    expected = error_of(lambda: getattr(nn, name)(*args, **kwargs))
    assert expected is not None
    assert issubclass(expected[0], (ValueError, TypeError))
    assert error_of(lambda: getattr(drop_in, name)(*args, **kwargs)) == expected


@pytest.mark.parametrize("name", LAYERS)
def test_a_useless_dropout_warns_alike(name):
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        getattr(drop_in, name)(3, 5, dropout=0.5)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("proj_size", [0, 2])
def test_calls_refuse_alike(name, proj_size):
    theirs, ours = pair(name, 3, 5, **({"proj_size": proj_size} if name == "LSTM" else {}))
    x, h, c = torch.zeros(6, 4, 3), torch.zeros(1, 4, proj_size or 5), torch.zeros(1, 4, 5)
    if name != "LSTM":
        h = c
    packed = pack_padded_sequence(x, [6, 4, 3, 1])
    bad_h = [h[0], h[:, :2], h[..., :1], torch.cat([h, h])]
    calls = [(x[0, 0],), (x[None],), (x.double(),), (x[..., :2],), (x[0], h), (x[:, 0], h)]
    if name == "LSTM":
        calls = [call if len(call) == 1 else (call[0], (call[1], c)) for call in calls]
        calls += [(x, (bad, c)) for bad in bad_h] + [(x, (h, bad)) for bad in (c[0], c[:, :2], c[..., :1])]
        calls += [(x, h), (x, (h, c, c)), (x, (h.double(), c)), (x, (h, c.double())), (x[:0], (h, c))]
    else:
        calls += [(y, bad) for bad in bad_h for y in (x, packed)] + [(x, (h, h)), (x, h.double()), (x[:0], h)]
        calls += [(pack_padded_sequence(x[..., :2], [6, 4, 3, 1]),)]
        calls += [(packed._replace(data=packed.data[None]),)]
    refused = 0
    for call in calls:
        expected = error_of(lambda call=call: theirs(*call))
        assert error_of(lambda call=call: ours(*call)) == expected
        refused += expected is not None
    assert refused >= len(calls) - 1
    # Weights that do not belong together. oneDNN, which runs an LSTM without projection, looks at no shapes.
    bads = [ours.weight_hh_l0.double(), ours.weight_hh_l0[:-1], ours.weight_hh_l0[:, :-1]]
    for bad in bads[: 1 if name == "LSTM" and not proj_size else 3]:
        for module in (theirs, ours):
            module.weight_hh_l0 = nn.Parameter(bad.detach())
        expected = error_of(lambda: theirs(x))
        assert expected is not None
        assert error_of(lambda: ours(x)) == expected


@pytest.mark.parametrize("proj_size", [0, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_a_packed_lstm_refuses_a_state_of_another_shape(proj_size, which):
    # torch.nn.LSTM does not look: more layers than its own end the process, other widths are broadcast.
    ours = drop_in.LSTM(3, 5, proj_size=proj_size)
    packed = pack_padded_sequence(torch.zeros(6, 4, 3), [6, 4, 3, 1])
    good = [torch.zeros(1, 4, proj_size or 5), torch.zeros(1, 4, 5)]
    assert ours(packed, tuple(good))[1][0].shape == good[0].shape
    for bad in (torch.zeros(2, 4, 5 - which), torch.zeros(1, 4, 1), torch.zeros(1, 2, 5), torch.zeros(4, 5)):
        states = [bad if index == which else state for index, state in enumerate(good)]
        with pytest.raises(RuntimeError, match=rf"Expected hidden\[{which}\] size"):
            ours(packed, tuple(states))
    with pytest.raises(ValueError, match=r"RNN input dtype \(torch.float64\) does not match"):
        ours(packed.to(torch.float64))


@pytest.mark.parametrize("name", CELLS)
def test_cells_refuse_alike(name):
    theirs, ours = pair(name, 3, 5)
    x, h = torch.zeros(4, 3), torch.zeros(4, 5)
    hx = (lambda s: (s, s)) if name == "LSTMCell" else (lambda s: s)
    calls = [(x[None],), (x, hx(h[None])), (x, hx(h[:2])), (x, hx(h[:, :2])), (x[:, :2],), (torch.tensor(1.0),)]
    for call in calls:
        expected = error_of(lambda call=call: theirs(*call))
        assert expected is not None
        assert error_of(lambda call=call: ours(*call)) == expected
    if name == "RNNCell":
        theirs.nonlinearity = ours.nonlinearity = "sine"
        assert (
            error_of(lambda: ours(x))
            == error_of(lambda: theirs(x))
            == (RuntimeError, "Unknown nonlinearity: sine")
        )


@pytest.mark.parametrize("name", ALL)
def test_copies_keep_their_class_and_results(name):
    _, ours = pair(name, 3, 5)
    ours.backend = "torch"
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(again) is type(ours)
        assert again.backend == "torch"
        assert_same(ours(example(name)), again(example(name)))
        assert {p.data_ptr() for p in again.parameters()}.isdisjoint(p.data_ptr() for p in ours.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ALL)
def test_parameters_are_read_by_name(name, backend):
    theirs, ours = pair(name, 3, 5, backend=backend)
    x = example(name)
    # functional_call, also in another dtype
    double = {key: value.double() * 2 for key, value in theirs.state_dict().items()}
    results = [functional_call(module, double, (x.double(),)) for module in (theirs, ours)]
    assert_agree(backend, *results)
    # an assigned parameter
    weight = "weight_ih" if name in CELLS else "weight_hh_l0"
    for module in (theirs, ours):
        torch.manual_seed(2)
        setattr(module, weight, nn.Parameter(torch.randn_like(getattr(module, weight))))
    assert_agree(backend, theirs(x), ours(x))
    # a parametrization, then none again
    plain = ours(x)
    for module in (theirs, ours):
        parametrizations.weight_norm(module, weight)
        with torch.no_grad():
            module.parametrizations[weight].original0.mul_(3)
    assert_agree(backend, theirs(x), ours(x))
    assert not torch.equal(tree_leaves(plain)[0], tree_leaves(ours(x))[0])
    parametrize.remove_parametrizations(ours, weight)
    assert_agree(backend, theirs(x), ours(x))
    # pruning puts a plain tensor where the parameter was
    prune.l1_unstructured(ours, weight, amount=0.5)
    assert not torch.equal(tree_leaves(theirs(x))[0], tree_leaves(ours(x))[0])


def test_parametrized_weights_are_computed_once_a_call():
    class Counted(nn.Module):
        calls = 0

        def forward(self, weight):
            Counted.calls += 1
            return weight

    layer = drop_in.LSTM(3, 5)
    parametrize.register_parametrization(layer, "weight_ih_l0", Counted())
    Counted.calls = 0
    layer(example("LSTM"))
    assert Counted.calls == 1


@FALLS_BACK
@pytest.mark.parametrize("name", ALL)
def test_meta_device_double_backward_and_autocast(name):
    module = getattr(drop_in_cells if name in CELLS else drop_in, name)
    ours = module(3, 5, device="meta")
    assert all(p.is_meta for p in ours.parameters())
    assert all(leaf.is_meta for leaf in tree_leaves(ours(example(name).to("meta"))))

    theirs, ours = pair(name, 3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = theirs(example(name)), ours(example(name))
    assert [leaf.dtype for leaf in tree_leaves(found)] == [leaf.dtype for leaf in tree_leaves(expected)]
    assert_same(expected, found)

    ours = module(2, 2, dtype=torch.float64)
    x = torch.randn(*((2, 2) if name in CELLS else (3, 2, 2)), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: tuple(tree_leaves(ours(x))), (x,))


@pytest.mark.parametrize("name", ALL)
def test_backends_by_name(name):
    _, ours = pair(name, 3, 5)
    assert ours.backend == "auto"
    plain = ours(example(name))
    ours.backend = "native" if name in LAYERS and FASTEST == "native" else "torch"
    assert_same(plain, ours(example(name)))
    ours.backend = "eager"
    assert_agree("eager", plain, ours(example(name)))
    ours.backend = "egaer"
    with pytest.raises(ValueError, match="no backend 'egaer' for this layer; did you mean 'eager'"):
        ours(example(name))


def test_examples_in_the_docstrings_run():
    for module in (drop_in, drop_in_cells, drop_in_engine):
        outcome = doctest.testmod(module, extraglobs={"torch": torch})
        assert outcome.attempted > 0
        assert outcome.failed == 0
