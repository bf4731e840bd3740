"""PyTorch's own module tests, with Elman's classes in the place of torch.nn's.

`module_db` comes with every installation of PyTorch: how to make each module, what to call it with, what it must
refuse. The checks that PyTorch generates from it are not installed; they are written out here anew, one function
each, and run for the same modules, dtypes and modes: 174 on a CPU.
"""

from __future__ import annotations

import copy
import importlib
import io
import itertools
import pickle
from unittest import mock

import hypothesis
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.testing import assert_close
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from backends import FALLS_BACK
from elman.nn import drop_in, drop_in_cells
from tolerances import assert_equal

# Said once a process by torch, by whichever call with a projection comes first.
pytestmark = [FALLS_BACK, pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")]


def database():
    """PyTorch's database, without what importing it changes for the whole process."""
    profile, settings = hypothesis.settings.get_current_profile_name(), hypothesis.settings()
    with mock.patch.object(torch.backends, "disable_global_flags"):
        module = importlib.import_module("torch.testing._internal.common_modules")
    hypothesis.settings.register_profile(profile, settings)
    hypothesis.settings.load_profile(profile)
    return module


SETTINGS = hypothesis.settings()
DATABASE = database()
OURS = {
    nn.RNN: drop_in.RNN,
    nn.GRU: drop_in.GRU,
    nn.LSTM: drop_in.LSTM,
    nn.RNNCell: drop_in_cells.RNNCell,
    nn.GRUCell: drop_in_cells.GRUCell,
    nn.LSTMCell: drop_in_cells.LSTMCell,
}
ENTRIES = {entry.module_cls: entry for entry in DATABASE.module_db if entry.module_cls in OURS}


def substituted(cls):
    """PyTorch's entry for a module with Elman's class in it."""
    entry = copy.copy(ENTRIES[cls])
    entry.module_cls = OURS[cls]
    return entry


def inputs(cls, dtype, training, *, requires_grad=False, **kwargs):
    entry = substituted(cls)
    return list(
        entry.module_inputs_func(
            entry, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training, **kwargs
        )
    )


def errors(cls, dtype, training):
    entry = substituted(cls)
    return list(
        entry.module_error_inputs_func(entry, device="cpu", dtype=dtype, requires_grad=False, training=training)
    )


def build(cls, given, dtype, training):
    made = cls(*given.constructor_input.args, **given.constructor_input.kwargs)
    return made.to("cpu").to(dtype).train(training)


def call(module, given):
    return module(*given.forward_input.args, **given.forward_input.kwargs)


def leaves(values):
    # A PackedSequence is a tuple with numbers of rows in it, which have no gradient.
    plain = tree_map(lambda v: v.data if isinstance(v, PackedSequence) else v, values,
                     is_leaf=lambda v: isinstance(v, PackedSequence))  # fmt: skip
    return [leaf for leaf in tree_leaves(plain) if isinstance(leaf, torch.Tensor)]


def modes(cls):
    return (True, False) if ENTRIES[cls].train_and_eval_differ else (True,)


# --- every input and every error case of the database ------------------------------------------------------------

INPUTS = [
    pytest.param(cls, index, id=f"{cls.__name__}-{index}")
    for cls in ENTRIES
    for index in range(len(inputs(cls, torch.float32, True, with_packed_sequence=True)))
]
ERRORS = [
    pytest.param(cls, index, id=f"{cls.__name__}-{index}")
    for cls in ENTRIES
    for index in range(len(errors(cls, torch.float32, True)))
]


def test_the_import_leaves_no_mark():
    assert not torch.backends.flags_frozen()
    assert hypothesis.settings().derandomize == SETTINGS.derandomize
    assert hypothesis.settings().max_examples == SETTINGS.max_examples


def test_nothing_of_the_database_is_missed():
    assert set(ENTRIES) == set(OURS)
    assert len(INPUTS) >= 135
    assert len(ERRORS) >= 58
    assert len(CHECKS) >= 174


@pytest.mark.parametrize(("cls", "index"), INPUTS)
def test_every_input_gives_the_numbers_of_the_original(cls, index):
    # To the bit from torch's kernels. The native engine, which "auto" runs, rounds otherwise: it is held against
    # the original in float64, because in float32 torch's own error reaches the tolerance where terms cancel.
    for dtype, training in itertools.product((torch.float32, torch.float64), modes(cls)):
        torch.manual_seed(index)
        given = inputs(cls, dtype, training, requires_grad=True, with_packed_sequence=True)[index]
        assert not given.forward_input.kwargs
        arguments = given.forward_input.args
        theirs, ours = build(cls, given, dtype, training), build(OURS[cls], given, dtype, training)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        assert ours.backend == "auto"
        found = results(ours, arguments)
        ours.backend = "torch"
        for e, f in zip(results(theirs, arguments), results(ours, arguments), strict=True):
            assert torch.equal(e, f)
        for e, f in zip(results(theirs.double(), tree_map(in_double, arguments)), found, strict=True):
            assert_equal(f, e.to(dtype))


def in_double(value):
    # Numbers of rows, and the orders that a PackedSequence may lack, stay as they are.
    if value is None or not value.is_floating_point():
        return value
    return value.detach().double().requires_grad_(value.requires_grad)


def results(module, arguments):
    """Outputs, final states, and the gradients of inputs, states and parameters."""
    values = leaves(module(*arguments))
    sources = [leaf for leaf in leaves(arguments) if leaf.requires_grad]
    assert values
    assert sources
    loss = sum(value.cos().sum() for value in values)
    return [*values, *torch.autograd.grad(loss, [*sources, *module.parameters()])]


@pytest.mark.parametrize(("cls", "index"), ERRORS)
def test_every_error_case_is_refused(cls, index):
    check_one_error(OURS[cls], errors(cls, torch.float32, True)[index], torch.float32, True)


def check_one_error(cls, case, dtype, training):
    given = case.module_error_input
    if case.error_on is DATABASE.ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(case.error_type, match=case.error_regex):
            build(cls, given, dtype, training)
        return
    module = build(cls, given, dtype, training)
    with pytest.raises(case.error_type, match=case.error_regex):
        call(module, given)


# --- the checks PyTorch generates --------------------------------------------------------------------------------


def check_forward(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        with torch.random.fork_rng(devices=[]):
            module = build(OURS[cls], given, dtype, training)
            outputs = call(module, given)
            assert given.reference_fn is not None
            arguments = given.forward_input
            assert_close(outputs, given.reference_fn(module, *arguments.args, **arguments.kwargs))
            module = module.float() if dtype is torch.float32 else module.double()
            call(module, given)
            assert {(p.device.type, p.dtype) for p in module.parameters()} == {("cpu", dtype)}


def check_factory_kwargs(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        made = given.constructor_input
        module = OURS[cls](*made.args, **made.kwargs, device="cpu", dtype=dtype).train(training)
        assert {(p.device.type, p.dtype) for p in module.parameters()} == {("cpu", dtype)}
        assert not list(module.buffers())
        meta = OURS[cls](*made.args, **made.kwargs, device="meta", dtype=dtype)
        assert {(p.device.type, p.dtype) for p in meta.parameters()} == {("meta", dtype)}


def check_repr(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        theirs, ours = build(cls, given, dtype, training), build(OURS[cls], given, dtype, training)
        assert repr(ours) == str(ours) == repr(theirs)


def check_pickle(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        with torch.random.fork_rng(devices=[]):
            module = build(OURS[cls], given, dtype, training)
            again = pickle.load(io.BytesIO(pickle.dumps(module)))
            assert_close(call(again, given), call(module, given), rtol=0, atol=0)


def check_non_contiguous(cls, dtype, training):
    def spread(tensor):
        wide = torch.repeat_interleave(tensor.detach(), 2, dim=-1)[..., ::2]
        return wide.requires_grad_(tensor.requires_grad)

    for given in inputs(cls, dtype, training, requires_grad=True):
        module = build(OURS[cls], given, dtype, training)
        plain = given.forward_input.args
        strided = tree_map(spread, plain)
        assert not any(t.is_contiguous() for t in tree_leaves(strided))
        expected = None
        for arguments, turn in itertools.product((plain, strided), (lambda t: t, spread)):
            results = tree_leaves(module(*arguments))
            cotangents = [turn(torch.linspace(-1, 1, r.numel(), dtype=dtype).view_as(r)) for r in results]
            found = torch.autograd.grad(results, [*tree_leaves(arguments), *module.parameters()], cotangents)
            expected = expected or [*results, *found]
            assert_close([*results, *found], expected, rtol=1e-5, atol=1e-5)


def check_gradients(cls, dtype, training, check):
    for given in inputs(cls, dtype, training, requires_grad=True):
        module = build(OURS[cls], given, dtype, training)
        # The parameters are moved too, in place: the module need not be given them.
        assert not given.forward_input.kwargs
        flat, spec = tree_flatten((given.forward_input.args, list(module.parameters())))

        def function(*flat, spec=spec, module=module):
            return tuple(tree_leaves(module(*tree_unflatten(flat, spec)[0])))

        assert check(function, flat, fast_mode=True, check_undefined_grad=False)


def check_grad(cls, dtype, training):
    check_gradients(cls, dtype, training, torch.autograd.gradcheck)


def check_gradgrad(cls, dtype, training):
    check_gradients(cls, dtype, training, torch.autograd.gradgradcheck)


def check_memory_format(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        with torch.random.fork_rng(devices=[]):
            module = build(OURS[cls], given, dtype, training)
            expected = call(module, given)
            for wanted in (torch.preserve_format, torch.contiguous_format):
                found = call(module.to(memory_format=wanted), given)
                assert_close(found, expected, rtol=0, atol=0)
                assert all(leaf.is_contiguous() for leaf in tree_leaves(found))


def check_train_and_eval_differ(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        module = build(OURS[cls], given, dtype, training)
        del module.training
        if ENTRIES[cls].train_and_eval_differ:
            with pytest.raises(AttributeError, match="'training'"):
                call(module, given)
        else:
            call(module, given)


def check_device_context(cls, dtype, training):
    for given in inputs(cls, dtype, training):
        made = given.constructor_input
        with torch.device("meta"):
            inside = OURS[cls](*made.args, **made.kwargs)
        outside = OURS[cls](*made.args, **made.kwargs, device="meta")
        assert [(n, p.shape, p.device) for n, p in inside.named_parameters()] == [
            (n, p.shape, p.device) for n, p in outside.named_parameters()
        ]
        assert all(p.is_meta for p in inside.parameters())


def check_errors(cls, dtype, training):
    for case in errors(cls, dtype, training):
        check_one_error(OURS[cls], case, dtype, training)


EVERYWHERE = (
    check_forward, check_factory_kwargs, check_repr, check_pickle, check_non_contiguous, check_memory_format,
    check_device_context, check_errors,
)  # fmt: skip
IN_DOUBLE = (check_grad, check_gradgrad)
IN_TRAINING = (check_train_and_eval_differ,)


def generated():
    for check, cls in itertools.product((*EVERYWHERE, *IN_DOUBLE, *IN_TRAINING), ENTRIES):
        dtypes = (torch.float64,) if check in IN_DOUBLE else ENTRIES[cls].dtypes
        flags = (True,) if check in IN_TRAINING else modes(cls)
        for dtype, training in itertools.product(dtypes, flags):
            mode = "training" if training else "evaluation"
            name = f"{check.__name__}-{cls.__name__}-{str(dtype).removeprefix('torch.')}-{mode}"
            yield pytest.param(check, cls, dtype, training, id=name)


CHECKS = list(generated())


@pytest.mark.parametrize(("check", "cls", "dtype", "training"), CHECKS)
def test_generated(check, cls, dtype, training):
    check(cls, dtype, training)
