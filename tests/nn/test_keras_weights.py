"""Weights from Keras and back, each run on both sides, and what is refused."""

from __future__ import annotations

import importlib
import itertools
import os
from types import ModuleType

import pytest
import torch

from elman.cells.rnn import RNN
from elman.errors import UserError
from elman.nn import Recurrent, foreign, keras_weights
from elman.nn.keras_weights import from_keras, to_keras
from tolerances import assert_equal

pytestmark = [
    pytest.mark.needs("keras"),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),  # in Keras
]
B, T, D, H = 3, 5, 4, 2
KINDS = {
    "SimpleRNN": [{}, {"activation": "relu"}, {"activation": "softsign"}],
    "GRU": [{}, {"reset_after": False}, {"recurrent_activation": "hard_sigmoid", "activation": "elu"},
            {"reset_after": False, "activation": "linear"}],
    "LSTM": [{}, {"recurrent_activation": "hard_sigmoid"}, {"activation": "relu"}],
}  # fmt: skip
CELLS = ("rnn", RNN("relu"), "gru", "resetbeforegru", "lstm")


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return importlib.import_module("keras")


def built(keras, kind, both: bool = False, seed: int = 0, **options):
    """A layer with random weights and biases."""
    layer = getattr(keras.layers, kind)(H, bias_initializer="random_normal", **options)
    layer = keras.layers.Bidirectional(layer) if both else layer
    keras.utils.set_random_seed(seed)
    layer.build((None, None, D))
    return layer


@pytest.mark.parametrize("kind", KINDS)
def test_from_keras(keras, kind: str) -> None:
    for options, both, bias, every in itertools.product(KINDS[kind], *[(False, True)] * 3):
        theirs = built(keras, kind, both, use_bias=bias, return_sequences=every, **options)
        ours = from_keras(theirs)
        assert ours.stack.bias == bias
        x = torch.randn(B, T, D)
        assert_equal(ours(x)[0], torch.from_numpy(keras.ops.convert_to_numpy(theirs(x.numpy()))))


@pytest.mark.parametrize("cell", CELLS)
def test_there_and_back(keras, cell) -> None:
    for both, bias, dtype in itertools.product((False, True), (False, True), (torch.float32, torch.float64)):
        layer = Recurrent(cell, D, H, bidirectional=both, bias=bias, dtype=dtype)
        again = from_keras(to_keras(layer))
        assert again.cell == layer.cell
        x = torch.randn(B, T, D, dtype=dtype)
        assert_equal(again(x)[0], layer(x)[0])
        for name, value in layer.state_dict().items():
            if name.startswith("weight") or layer.cell == Recurrent("gru", 1, 1).cell:
                assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversion_that_computes_something_else_is_refused(keras, kind: str, monkeypatch) -> None:
    layer = built(keras, kind, return_sequences=True)
    if kind == "SimpleRNN":
        monkeypatch.setattr(keras_weights, "load", lambda layer, tensors: None)
    monkeypatch.setattr(keras_weights, "GATES", {**keras_weights.GATES, "GRU": "rzn", "LSTM": "ifog"})
    with pytest.raises(
        UserError, match=f"^{kind}: both sides must compute the same, and the output differs by up"
    ):
        from_keras(layer)


def test_what_cannot_be_is_refused(keras) -> None:
    with pytest.raises(UserError, match="must be one of Keras's own; found: Dense"):
        from_keras(keras.layers.Dense(2))
    with pytest.raises(UserError, match="LSTM: the layer must have weights; call it once"):
        from_keras(keras.layers.LSTM(2))
    with pytest.raises(UserError, match="GRU: a layer in one direction runs forwards; found: go_backwards"):
        from_keras(built(keras, "GRU", go_backwards=True))
    with pytest.raises(UserError, match="LSTM: a layer keeps nothing between calls; found: stateful"):
        stateful = keras.layers.LSTM(4, stateful=True)
        stateful.build((2, 5, 3))
        from_keras(stateful)
    with pytest.raises(UserError, match="an activation that Elman has not; found: gelu; there are linear"):
        from_keras(built(keras, "LSTM", activation="gelu"))
    joined = keras.layers.Bidirectional(keras.layers.LSTM(2), merge_mode="sum")
    joined.build((None, None, D))
    with pytest.raises(UserError, match="lie side by side in Elman; found: merge_mode='sum'"):
        from_keras(joined)
    with pytest.raises(UserError, match=r"Keras has no layer for this cell; found: MGU\(\); it has: RNN, GRU"):
        to_keras(Recurrent("mgu", D, H))
    with pytest.raises(UserError, match="has one layer in each; found: num_layers=2"):
        to_keras(Recurrent("gru", D, H, 2))


def test_dropout_and_a_kept_state_are_no_part_of_the_comparison(keras) -> None:
    with pytest.warns(UserWarning, match="^LSTM: its dropout is not taken over"):
        from_keras(built(keras, "LSTM", dropout=0.3))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("keras", r"^keras is not installed; pip install 'elman\[keras\]'$"),
        ("tensorflow", "^keras does not load; found: No module named 'tensorflow'; for Keras, set KERAS_BACKEND="),
    ],
)
def test_a_missing_library_is_one_message(missing: str, said: str, monkeypatch) -> None:
    def import_module(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    layer = Recurrent("gru", D, H)
    with monkeypatch.context() as patch:
        patch.setattr(foreign.importlib, "import_module", import_module)
        with pytest.raises(UserError, match=said):
            to_keras(layer)
