"""The native engine behind the layers: when it runs, what it refuses, and that it survives what PyTorch allows."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from backends import FALLS_BACK, FASTEST, NATIVE, assert_engine_bits
from elman.cells import Cell, Inputs, State, Step, Weights
from elman.engine import Misfit, choose
from elman.engine.native import memory_budget, set_memory_budget
from elman.nn import GRU, LSTM, RNN, Recurrent, explain
from tolerances import assert_equal

NAMES = ["rnn", "gru", "lstm"]


@dataclass(frozen=True)
class Accumulating(Cell):
    """A cell with an operation outside the engine's set."""

    gates = ("n",)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        return Step(h=torch.tanh(torch.cumsum(x.n + w(s.h).n, -1)))


@dataclass(frozen=True)
class AlsoAccumulating(Accumulating):
    """Another class of the same kind, to be warned of by itself."""


def gradients(layer, x, **options):
    """Outputs, final states, and the gradients of x and of every parameter."""
    x = x.detach().requires_grad_()
    y, final = layer(x, **options)
    values = [y, *(final if isinstance(final, tuple) else (final,))]
    loss = sum((v * torch.linspace(-1, 1, v.numel(), dtype=v.dtype).view(v.shape)).sum() for v in values)
    return [*values, *torch.autograd.grad(loss, [x, *layer.parameters()])]


def assert_same(left, right):
    left, right = tree_leaves(left), tree_leaves(right)
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)


def assert_close(found, expected):
    found, expected = tree_leaves(found), tree_leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert_equal(a, b)


def by(layer, backend, call):
    kept, layer.backend = layer.backend, backend
    try:
        return call()
    finally:
        layer.backend = kept


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.native
@pytest.mark.parametrize("name", NAMES)
def test_native_is_what_auto_runs_on_the_cpu(name):
    torch.manual_seed(0)
    layer, x = Recurrent(name, 3, 5, 2, bidirectional=True), torch.randn(4, 6, 3)
    assert {choice.backend for _, choice in layer.explain(x)} == {"native"}
    found = gradients(layer, x)
    assert_same(found, by(layer, "native", lambda: gradients(layer, x)))
    expected = by(layer, "torch", lambda: gradients(layer, x))
    assert not all(map(torch.equal, found, expected))  # the engine rounds otherwise: this was not torch's kernel
    assert_close(found, expected)


@pytest.mark.native
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_native_is_what_auto_runs_in_a_drop_in(kind):
    torch.manual_seed(0)
    layer, x = kind(7, 33, 2, bidirectional=True), torch.randn(20, 6, 7)
    assert explain(layer, x).startswith(f"{kind.__name__}: native")
    assert_same(gradients(layer, x), by(layer, "native", lambda: gradients(layer, x)))
    assert not torch.equal(layer(x)[0], by(layer, "torch", lambda: layer(x))[0])


@pytest.mark.native
@pytest.mark.parametrize("name", NAMES)
def test_resets_and_lengths_run_natively(name):
    torch.manual_seed(0)
    layer = Recurrent(name, 3, 5, bidirectional=True, initial_state="trainable", dtype=torch.float64)
    x, lengths = torch.randn(4, 6, 3, dtype=torch.float64), torch.tensor([3, 6, 0, 1])
    resets = torch.rand(4, 6) < 0.3
    assert resets.any()
    assert {choice.backend for _, choice in layer.explain(x, resets=resets)} == {"native"}
    options = {"lengths": lengths, "resets": resets}
    expected = by(layer, "eager", lambda: gradients(layer, x, **options))
    assert_close(gradients(layer, x, **options), expected)


def test_bfloat16_runs_torchs_kernels_and_is_refused_by_name():
    x = torch.randn(2, 4, 3, dtype=torch.bfloat16)
    for layer in (Recurrent("gru", 3, 5, dtype=torch.bfloat16), GRU(3, 5, dtype=torch.bfloat16, batch_first=True)):
        assert_same(layer(x), by(layer, "torch", lambda layer=layer: layer(x)))
        assert ": torch (torch has kernels for this cell)" in explain(layer, x)
        layer.backend = "native"
        for call in (layer, lambda x, layer=layer: explain(layer, x)):
            with pytest.raises(ValueError, match="computes in float32 and float64, not in bfloat16"):
                call(x)


@pytest.mark.native
def test_an_operation_outside_the_set_runs_eagerly_is_told_and_warned_of_once():
    said = r"operation 'cumsum' is not in the engine's set \(.*test_native.py:\d+\)"
    x = torch.randn(2, 4, 3)
    for cell in (Accumulating(), AlsoAccumulating()):
        name = type(cell).__name__
        layer, again = Recurrent(cell, 3, 5), Recurrent(cell, 3, 6)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert explain(layer, x).startswith("Recurrent layer 0: eager (the cell's step is no step program")
            expected = by(layer, "eager", lambda layer=layer: layer(x))
        with pytest.warns(UserWarning, match=f"^{name} runs eagerly, step by step: .*{said}"):
            found = layer(x)
        assert_same(found, expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            layer(x)
            again(x)
        layer.backend = "native"
        with pytest.raises(ValueError, match=f"backend 'native' cannot run {name}.*{said}"):
            layer(x)


@pytest.mark.native
def test_one_and_two_threads_give_the_same_bits():
    torch.manual_seed(0)
    layer, x = Recurrent("lstm", 40, 130, bidirectional=True), torch.randn(33, 12, 40)
    results = []
    for number in (1, 2):
        with threads(number):
            results.append(gradients(layer, x, lengths=torch.arange(33) % 13))
    assert_same(*results)


def test_four_threads_of_python_call_one_layer_at_once():
    torch.manual_seed(0)
    inputs = [torch.randn(5 + k, 9, 17) for k in range(4)] * 3
    # Sizes that no other test has, so that the programs are made by all four at once.
    layer = Recurrent("gru", 17, 71, 2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: gradients(layer, x), inputs))
    for x, results in zip(inputs, found, strict=True):
        assert_same(results, gradients(layer, x))


FORKS = """
import os, signal
import torch
from elman.nn import Recurrent

torch.set_num_threads(2)
layer, x = Recurrent("lstm", 40, 130), torch.randn(33, 12, 40)
ones = torch.ones(33, 12, 130)
assert layer.explain(x)[0][1].backend == "native"

def run():
    y, _ = layer(x)
    return [y, *torch.autograd.grad(y, list(layer.parameters()), ones)]

before = run()
child = os.fork()
if not child:
    signal.alarm(60)
    found = run()
    torch.set_num_threads(1)  # the comparison is torch's, and torch's own pool does not outlive a fork
    os._exit(0 if all(map(torch.equal, before, found)) else 1)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status), "parent", all(map(torch.equal, before, run())))
"""


@pytest.mark.native
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_a_forked_child_of_a_parent_that_has_used_the_engine():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "child 0 parent True\n", done.stderr


@pytest.mark.native
@pytest.mark.parametrize("name", NAMES)
def test_the_memory_budget_changes_no_bit(name):
    torch.manual_seed(0)
    layer, x, before = Recurrent(name, 6, 20), torch.randn(3, 50, 6), memory_budget()
    lengths = torch.tensor([50, 31, 7])

    def kept():
        return sum(tensor.numel() for tensor in layer(x, lengths=lengths)[0].grad_fn.saved_tensors)

    expected, much = gradients(layer, x, lengths=lengths), kept()
    try:
        set_memory_budget(0)
        assert memory_budget() == 0
        found = gradients(layer, x, lengths=lengths)
        assert kept() < much
    finally:
        set_memory_budget(before / 2**20)
    assert memory_budget() == before
    assert_same(found, expected)
    with pytest.raises(ValueError, match="a memory budget is a number of megabytes from 0 on, got -1"):
        set_memory_budget(-1)


@FALLS_BACK
@pytest.mark.parametrize("name", NAMES)
def test_double_backward(name):
    torch.manual_seed(0)
    layer = Recurrent(name, 2, 2, initial_state="trainable", backend=FASTEST, dtype=torch.float64)
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    lengths, resets = torch.tensor([3, 2]), torch.tensor([[False, False, True], [False, True, False]])

    def run(x, *params):
        named = dict(zip(dict(layer.named_parameters()), params, strict=True))
        y, final = torch.func.functional_call(layer, named, (x,), {"lengths": lengths, "resets": resets})
        return (y, *final)

    inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@FALLS_BACK
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_transforms_and_forward_mode_fall_back(name, dtype):
    torch.manual_seed(0)
    layer, x = Recurrent(name, 2, 3, dtype=dtype), torch.randn(4, 5, 2, dtype=dtype)
    params = {n: p.detach() for n, p in layer.named_parameters()}

    def loss(params, row):
        return torch.func.functional_call(layer, params, (row[None],))[0].sum()

    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for i in range(4):
        layer.zero_grad()
        layer(x[i][None])[0].sum().backward()
        for key, p in layer.named_parameters():
            assert_equal(rows[key][i], p.grad, key)

    def tangent():
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x)))[0]).tangent

    assert_equal(tangent(), by(layer, "eager", tangent))


def test_a_dispatch_mode_sees_the_operations_of_the_definition():
    layer, x, seen = Recurrent("gru", 2, 3, dtype=torch.float64), torch.randn(2, 4, 2).double(), []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Watching():
        found = gradients(layer, x)
    assert any("mm" in function for function in seen)
    assert_close(found, gradients(layer, x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_drop_in_computes_and_repeats_no_constant():
    layer = GRU(3, 5)
    traced = torch.jit.trace(layer, (torch.randn(4, 2, 3),))
    x = torch.randn(6, 3, 3)
    assert_close(traced(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_any_strides_give_the_same_results(name, dtype):
    torch.manual_seed(0)
    layer = Recurrent(name, 3, 5, bidirectional=True, dtype=dtype)
    g = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    for strided in (
        normal(6, 4, 3).transpose(0, 1),  # time-major
        normal(1, 6, 3).expand(4, -1, -1),  # every row the same memory
        normal(4, 1, 3).expand(-1, 6, -1),  # every step
        normal(4, 6, 1).expand(-1, -1, 3),  # every column
        normal(4, 6, 6)[..., ::2],  # every second column
        normal(4, 12, 3)[:, 1::2],  # every second step
        normal(8, 7, 5)[::2, 1:, 1:4],  # a window
        normal(3, 6, 4).permute(2, 1, 0),  # columns first
    ):
        assert strided.shape == (4, 6, 3) and not strided.is_contiguous()
        wanted = layer(strided.contiguous())
        assert_engine_bits(layer(strided)[0], wanted[0])
        weight = normal(4, 6, 1)
        results = []
        for dy in (weight.expand(-1, -1, 10), weight.expand(-1, -1, 10).contiguous()):
            for x in (strided, strided.contiguous()):
                x = x.detach().requires_grad_()
                y, _ = layer(x)
                results.append(torch.autograd.grad(y, [x, *layer.parameters()], dy))
        for other in results[1:]:
            for got, expected in zip(other, results[0], strict=True):
                assert_engine_bits(got, expected)


@pytest.mark.native
def test_what_is_kept_for_the_backward_pass_is_given_back_with_the_graph():
    layer, x = Recurrent("gru", 3, 5), torch.randn(2, 4, 3)
    y, _ = layer(x)
    sizes = [tensor.numel() for tensor in y.grad_fn.saved_tensors]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):  # as when they are moved away
        copied, _ = layer(x)
    assert [t.numel() for t in copied.grad_fn.saved_tensors] == sizes
    y.sum().backward()
    assert_same(torch.autograd.grad(copied.sum(), list(layer.parameters())), [p.grad for p in layer.parameters()])
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        _ = y.grad_fn.saved_tensors


def test_a_view_that_negates_is_read_as_it_reads():
    x = torch.randn(2, 4, 1, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    layer = Recurrent("gru", 1, 5)
    assert_equal(layer(x)[0], layer(x.clone())[0])


@pytest.mark.parametrize("steps", [1, 4])
def test_states_weights_and_gradients_that_negate_are_read_as_they_read(steps):
    layer, x = Recurrent("lstm", 3, 5), torch.randn(2, steps, 3)
    state = torch._neg_view(torch.randn(1, 2, 5)), torch.randn(1, 2, 5)
    y = layer(x, state)[0]
    assert_equal(y, layer(x, tuple(s.clone() for s in state))[0])
    with torch.no_grad():
        assert_equal(layer(x, state)[0], y)
    down = torch._neg_view(torch.randn_like(y))
    found = [torch.autograd.grad(y, [*layer.parameters()], g, retain_graph=True) for g in (down, down.clone())]
    assert_same(*found)
    layer.weight_hh_l0.data = torch._neg_view(layer.weight_hh_l0.data)
    negated = layer(x, state)[0]
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.clone()
    assert_equal(negated, layer(x, state)[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "steps"), [(0, 3), (2, 0), (0, 0)])
def test_no_rows_and_no_steps(name, rows, steps):
    layer = Recurrent(name, 3, 5, 2, bidirectional=True, initial_state="trainable", backend=FASTEST)
    for parameter in ("initial_h", "initial_c")[: 1 + (name == "lstm")]:
        nn.init.normal_(layer.get_parameter(parameter))
    x = torch.zeros(rows, steps, 3, requires_grad=True)
    y, final = layer(x)
    assert y.shape == (rows, steps, 10)
    for state, kept in zip(final, layer.trainable_states.values(), strict=True):
        assert torch.equal(state, layer.get_parameter(kept)[:, None].expand(-1, rows, -1))
    # Of the definition, where nothing ran, these are part of no graph: that is a gradient of zero as well.
    found = torch.autograd.grad(y.sum() + final[0].sum(), [x, *layer.parameters()], materialize_grads=True)
    for (key, p), gradient in zip([("x", x), *layer.named_parameters()], found, strict=True):
        assert torch.equal(gradient, torch.full_like(p, rows if key == "initial_h" else 0)), key


@pytest.mark.parametrize("name", NAMES)
def test_one_unit_one_input_one_row_one_step(name):
    torch.manual_seed(0)
    for inputs, hidden, rows, steps in [(1, 1, 1, 1), (1, 1, 3, 4), (3, 1, 1, 4), (1, 5, 3, 1)]:
        layer = Recurrent(name, inputs, hidden, 2, bidirectional=True, dtype=torch.float64)
        x = torch.randn(rows, steps, inputs, dtype=torch.float64)
        assert_close(gradients(layer, x), by(layer, "eager", lambda layer=layer, x=x: gradients(layer, x)))


@pytest.mark.parametrize("backend", ["eager", "torch", NATIVE])
@pytest.mark.parametrize(("name", "rows"), [("gru", 15), ("lstm", 20)])
def test_tensors_that_do_not_fit_are_refused_before_memory_is_read(name, rows, backend):
    x, state = torch.zeros(2, 4, 3), torch.zeros(1, 2, 5)
    layer = Recurrent(name, 3, 5, backend=backend)
    with pytest.raises(Misfit, match=rf"weight_ih must be \({rows}, 3\), float64, cpu.*got .* float32, cpu"):
        layer(x.double())
    shape = r"\((1, )?2, 5\)"  # of all passes or of one
    with pytest.raises(Misfit, match=rf"state h must be {shape}, float32.*got {shape}, float64"):
        layer(x, [state.double()] * len(layer.stack.specs[0].states))
    for weight in (torch.zeros(rows - 1, 5), torch.zeros(rows, 4), torch.zeros(rows, 5).double(), torch.zeros(0)):
        with pytest.raises(Misfit, match="weight_hh must be"):
            torch.func.functional_call(layer, {"weight_hh_l0": weight}, (x,))
    with pytest.raises(Misfit, match=rf"weight_hh must be \({rows}, 5\), float32, cpu.*got .* meta"):
        torch.func.functional_call(layer, {"weight_hh_l0": torch.zeros(rows, 5, device="meta")}, (x,))


def test_a_parameter_that_is_no_plain_tensor_keeps_the_engine_out():
    class Other(torch.Tensor):
        pass

    layer, x = Recurrent("gru", 3, 5), torch.randn(2, 4, 3)
    expected = by(layer, "torch", lambda: layer(x))
    other = layer.weight_hh_l0.detach().as_subclass(Other)
    found = torch.func.functional_call(layer, {"weight_hh_l0": other}, (x,))
    assert torch.equal(found[0].as_subclass(torch.Tensor), expected[0])
    layer.backend = "native"
    with pytest.raises(ValueError, match="takes plain tensors, not Other"):
        torch.func.functional_call(layer, {"weight_hh_l0": other}, (x,))
    spec = layer.stack.specs[0]
    assert choose(layer.cell, spec, x.to_sparse()).reason == "torch has kernels for this cell"


def test_lengths_and_resets_may_be_written_over_before_the_backward_pass():
    torch.manual_seed(0)
    layer, x = Recurrent("gru", 3, 5), torch.randn(2, 6, 3)
    lengths, resets = torch.tensor([4, 2]), torch.tensor([[False, True] * 3] * 2)
    expected = torch.autograd.grad(layer(x, lengths=lengths, resets=resets)[0].sum(), list(layer.parameters()))
    y, _ = layer(x, lengths=lengths, resets=resets)
    lengths.fill_(6)
    resets.fill_(False)
    assert_same(torch.autograd.grad(y.sum(), list(layer.parameters())), expected)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_run_has_the_gradients_of_a_plain_one(reentrant):
    layer, x = Recurrent("Zoneout(gru)", 3, 5, 2, bidirectional=True), torch.randn(2, 4, 3).requires_grad_()
    params = list(layer.parameters())

    def gradients(y):
        layer.zero_grad()
        y.sum().backward()
        return [p.grad for p in params]

    torch.manual_seed(0)
    expected = gradients(layer(x)[0])
    torch.manual_seed(0)
    assert_same(gradients(checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant)), expected)


def test_a_graph_that_is_kept_gives_its_gradients_twice_and_a_changed_weight_is_noticed():
    layer, x = Recurrent("lstm", 3, 5), torch.randn(2, 4, 3)
    y, final = layer(x)
    params = list(layer.parameters())
    first = torch.autograd.grad(y.sum(), params, retain_graph=True)
    assert_same(torch.autograd.grad(y.sum(), params, retain_graph=True), first)
    # Of one state alone: no gradient arrives at the output.
    assert torch.autograd.grad(final.c.sum(), params, retain_graph=True)[0].any()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(y.sum(), params)
