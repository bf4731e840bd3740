"""How close the engine comes to the definition, beside torch.nn; and numbers at the edge of the format.

`make grid` runs the whole grid and the benchmarks' shapes (ELMAN_FULL_GRID=1): minutes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from elman.cells import Cell, Spec, get
from elman.cells.lstm import ProjectedLSTM
from elman.cells.rnn import RNN
from elman.engine import Operands, eager, native
from elman.nn import Recurrent
from engine.agreement import Case
from engine.native_runs import Results, assert_agree, cast, given, largest, results
from tolerances import assert_equal

FULL = os.environ.get("ELMAN_FULL_GRID") == "1"
NAMES = ("rnn", "gru", "lstm")
EPS = torch.finfo(torch.float32).eps
TINY = torch.finfo(torch.float32).tiny
pytestmark = [pytest.mark.native, pytest.mark.usefixtures("poison")]

GRID = [
    Case(rows, steps, (1, 5, 20, 70)[n % 4], hidden, seed=100 * n)
    for n, (rows, steps, hidden) in enumerate(
        product((1, 2, 3, 5, 8, 16, 17), (1, 2, 7, 33, 65), (1, 3, 15, 17, 63, 65, 100))
    )
]
# As in the benchmarks: T = 128, as many inputs as units.
BENCHMARKS = [
    Case(rows, 128, hidden, hidden)
    for rows, hidden in (
        *((1, 64), (1, 256), (1, 1024), (8, 128), (32, 64), (32, 256), (32, 512), (128, 256), (64, 1024)),
    )
]


def shape(case: Case) -> str:
    return f"B{case.rows}-T{case.steps}-I{case.inputs}-H{case.hidden}"


@pytest.mark.parametrize("case", GRID if FULL else GRID[::9], ids=shape)  # 9 meets every size of every kind
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_as_accurate_as_torchs(name, case):
    assert_as_accurate_as_torch(get(name), case, draws=5)


@pytest.mark.parametrize("case", BENCHMARKS if FULL else BENCHMARKS[3:5], ids=shape)
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_as_accurate_as_torchs_where_speed_is_measured(name, case):
    assert_as_accurate_as_torch(get(name), case, draws=1)


def assert_as_accurate_as_torch(cell: Cell, case: Case, draws: int) -> None:
    """Errors against the definition in double precision: at most twice those of torch.nn in single precision.

    An error is the largest of a tensor's, relative to its largest entry, and of several draws the middle one:
    where tensors are small and units saturated, one draw is mostly luck. The floor is four roundings (4 eps),
    added to twice torch's error, which itself is often less than one.
    """
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for draw in range(draws):
        drawn = replace(case, seed=case.seed + draw)
        o = as_initialised(given(cell, drawn), drawn)
        wanted = results(eager.run, cell, drawn, cast(o, torch.float64))
        for errors, run in ((ours, native.run), (theirs, by_torch_nn)):
            for name, error in errors_of(results(run, cell, drawn, o), wanted).items():
                errors.setdefault(name, []).append(error)
    too_large = {
        name: f"{median(error) / EPS:.1f} eps, torch.nn {median(theirs[name]) / EPS:.1f}"
        for name, error in ours.items()
        if not median(error) <= 2 * median(theirs[name]) + 4 * EPS
    }
    assert not too_large, too_large


def as_initialised(o: Operands, case: Case) -> Operands:
    """With parameters as large as torch.nn starts with, and all in single precision."""
    g, bound = torch.Generator().manual_seed(case.seed), case.hidden**-0.5
    params = {name: torch.empty_like(p).uniform_(-bound, bound, generator=g) for name, p in o.params.items()}
    return cast(replace(o, params=params), torch.float32)


def errors_of(got: Results, wanted: Results) -> dict[str, float]:
    """Largest error of each result relative to its largest entry."""
    return {
        name: float((got[name].double() - value).abs().max() / (value.abs().max() or 1.0))
        for name, value in wanted.items()
    }


def by_torch_nn(cell: Cell, spec: Spec, o: Operands, reverse: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, by the class of torch.nn of the cell's name; without lengths and resets."""
    options = {"nonlinearity": cell.nonlinearity} if isinstance(cell, RNN) else {}
    module = getattr(nn, type(cell).__name__)(spec.inputs, spec.hidden, batch_first=True, **options).to(o.x.dtype)
    state = tuple(s[None] for s in o.state.values())
    params = {f"{name}_l0": p for name, p in o.params.items()}
    y, final = torch.func.functional_call(module, params, (o.x, state if len(state) > 1 else state[0]))
    final = final if isinstance(final, tuple) else (final,)
    return y, dict(zip(spec.states, (s[0] for s in final), strict=True))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reversed"])
@pytest.mark.parametrize("ragged", ["lengths", "resets", "both", "neither"])
@pytest.mark.parametrize(
    "cell",
    [RNN(), RNN("relu"), get("gru"), get("lstm"), ProjectedLSTM(size=1), ProjectedLSTM(size=64)],
    ids=["rnn", "relu", "gru", "lstm", "projected to 1", "projected to 64"],
)
def test_double_precision_agrees_with_the_definition(cell, ragged, reverse):
    lengths, resets = ragged in ("lengths", "both"), ragged in ("resets", "both")
    for rows, steps, inputs, hidden in (
        (1, 1, 1, 2),
        (2, 5, 3, 7),
        (5, 9, 70, 65),
        (17, 4, 5, 100),
        (3, 40, 2, 130),
    ):
        if isinstance(cell, ProjectedLSTM) and cell.size >= hidden:
            continue
        for bias in (True, False):
            case = Case(rows, steps, inputs, hidden, bias, lengths, resets, reverse)
            o = given(cell, case)
            assert_agree(results(native.run, cell, case, o), results(eager.run, cell, case, o))


@pytest.mark.parametrize("cell", [get("rnn"), get("gru"), get("lstm"), ProjectedLSTM(size=6)], ids=repr)
@pytest.mark.parametrize("outputs", ["all", "last"])
def test_layers_and_directions_agree_with_the_definition(cell, outputs):
    torch.manual_seed(0)
    layer = Recurrent(
        cell, 5, 17, 3, bidirectional=True, outputs=outputs, initial_state="trainable", dtype=torch.float64
    )
    for name in layer.trainable_states.values():
        nn.init.normal_(layer.get_parameter(name))
    x = torch.randn(6, 11, 5, dtype=torch.float64, requires_grad=True)
    lengths, resets = torch.tensor([11, 0, 1, 5, 11, 10]), torch.rand(6, 11) < 0.2
    found = {}
    for layer.backend in ("native", "eager"):
        y, state = layer(x, lengths=lengths, resets=resets)
        loss = sum((v * torch.linspace(-1, 2, v.numel(), dtype=v.dtype).view(v.shape)).sum() for v in (y, *state))
        leaves = {"x": x, **dict(layer.named_parameters())}
        gradients = torch.autograd.grad(loss, [*leaves.values()])
        values = {"y": y.detach(), **{k: s.detach() for k, s in state._asdict().items()}}
        found[layer.backend] = values | dict(zip(leaves, gradients, strict=True))
    assert_agree(found["native"], found["eager"])


@pytest.mark.parametrize("name", ["x", "state", "weight_ih", "weight_hh", "bias_ih"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("cell", [RNN(), RNN("relu"), get("gru"), get("lstm")], ids=["rnn", "relu", "gru", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_nan_and_infinity_come_out_where_torchs_do(cell, value, name, dtype):
    case = Case(rows=4, steps=6, inputs=5, hidden=20, seed=3)
    o = given(cell, case, dtype)
    if name == "x":
        o.x[1, 3, 2] = o.x[2, 0, 0] = value
    elif name == "state":
        o.state[cell.states[-1]][2, 7] = value
    else:
        o.params[name][3] = value
    assert_same_kinds(results(native.run, cell, case, o), results(by_torch_nn, cell, case, o))


def assert_same_kinds(got: Results, wanted: Results) -> None:
    """NaN and infinities at the same places, gradients finite at the same places, and what is finite equal."""
    for name, value in wanted.items():
        other, finite = got[name], value.isfinite()
        assert torch.equal(other.isfinite(), finite), f"{name} is finite elsewhere"
        if not name.startswith("gradient"):
            assert torch.equal(other.isnan(), value.isnan()), f"{name} is NaN elsewhere"
            assert torch.equal(other[~finite].nan_to_num(0.0), value[~finite].nan_to_num(0.0)), name
        scale = largest(value[finite])
        assert_equal(other[finite] / scale, value[finite] / scale, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_nan_reaches_its_own_row_alone(name):
    cell, case = get(name), Case(rows=4, steps=6, inputs=5, hidden=20)
    o = given(cell, case, torch.float32)
    arriving = [torch.ones(4, 6, 20), *(torch.ones(4, 20) for _ in cell.states)]
    arriving[0][1, 3, 2] = float("nan")
    got, wanted = (results(run, cell, case, o, arriving) for run in (native.run, by_torch_nn))
    assert_same_kinds(got, wanted)
    assert got["gradient of x"].isnan().any((1, 2)).tolist() == [False, True, False, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e-39, 1e-42], ids=["1e-39", "1e-42"])
def test_denormal_numbers_are_right_but_for_being_flushed_to_zero(name, size):
    cell, case = get(name), Case(rows=4, steps=6, inputs=5, hidden=20)
    o = given(cell, case, torch.float32)
    zero = {k: torch.zeros_like(p) if "bias" in k else p for k, p in o.params.items()}
    o = replace(o, x=o.x * size, state={k: s * size for k, s in o.state.items()}, params=zero)
    arriving = [d * size for d in (torch.randn(4, 6, 20), *(torch.randn(4, 20) for _ in cell.states))]
    assert denormal(o.x) and denormal(arriving[0])
    got = results(native.run, cell, case, o, arriving)
    wanted = results(eager.run, cell, case, cast(o, torch.float64), [d.double() for d in arriving])
    for key, value in wanted.items():
        error = (got[key].double() - value).abs().max()
        assert error <= 100 * TINY + 2e-5 * value.abs().max(), key


def test_a_state_that_decays_into_denormal_numbers():
    cell, case = RNN("relu"), Case(rows=3, steps=200, inputs=2, hidden=20)
    o = given(cell, case, torch.float32)
    params = {k: torch.zeros_like(p) for k, p in o.params.items()} | {"weight_hh": torch.eye(20) / 2}
    o = replace(o, params=params, state={"h": torch.ones(3, 20)})
    y = results(native.run, cell, case, o)["y"]
    wanted = 0.5 ** torch.arange(1, 201, dtype=torch.float64)[None, :, None].expand(3, 200, 20)
    normal = wanted >= TINY
    assert torch.equal(y.double()[normal], wanted[normal])
    assert (y.double() - wanted)[~normal].abs().max() <= TINY


@pytest.mark.parametrize("threads", [1, 2])
def test_denormal_numbers_are_torchs_again_after_a_call(threads, core):
    torch.set_num_threads(threads)
    cell, case = get("lstm"), Case(rows=33, steps=60, inputs=64, hidden=64)  # enough work for two threads
    o = given(cell, case, torch.float32)
    small = torch.full((1 << 20,), 1e-20)  # enough for two threads of torch
    wanted = small * small
    assert denormal(wanted)
    results(native.run, cell, case, o)
    assert torch.equal(small * small, wanted)


def denormal(tensor: Tensor) -> bool:
    """Whether most of the numbers are less than the smallest normal one, and not zero."""
    return bool(((tensor != 0) & (tensor.abs() < TINY)).float().mean() > 0.5)
