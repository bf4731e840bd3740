"""Layers: any cell over sequences, and what goes around it."""

from __future__ import annotations

from elman.nn.conversion import convert, revert
from elman.nn.drop_in import GRU, LSTM, RNN
from elman.nn.drop_in_cells import GRUCell, LSTMCell, RNNCell
from elman.nn.explanation import explain
from elman.nn.initialisation import initialise
from elman.nn.keras_weights import from_keras, to_keras
from elman.nn.layers import Layers
from elman.nn.onnx_weights import from_onnx, to_onnx
from elman.nn.pooling import Pooling
from elman.nn.recurrent import Recurrent
from elman.nn.stream import Stream

__all__ = [
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "Layers",
    "Pooling",
    "RNN",
    "RNNCell",
    "Recurrent",
    "Stream",
    "convert",
    "explain",
    "from_keras",
    "from_onnx",
    "initialise",
    "revert",
    "to_keras",
    "to_onnx",
]
