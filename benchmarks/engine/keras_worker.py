"""Keras on TensorFlow, where it is installed: its layers in a graph, time-major inside as Keras decides."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import CHANGE, Arrays, states
from benchmarks.engine.worker import Prepared, fastest, serve_library

ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}  # Keras's gates among torch's
LAYERS = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """The faster of a plain graph and one that XLA compiles."""
    return fastest({str(xla): _prepared(case, arrays, xla) for xla in (False, True)})


def _prepared(case: Case, arrays: Arrays, xla: bool) -> Prepared:
    options = {"reset_after": True} if case.cell == "gru" else {}
    layer = getattr(tf.keras.layers, LAYERS[case.cell])(
        case.units, return_sequences=True, return_state=True, **options
    )
    x, dy = (tf.Variable(arrays[name].swapaxes(0, 1).copy()) for name in ("x", "dy"))
    initial = [tf.Variable(arrays[f"{state}0"]) for state in states(case.cell)]
    layer(x, initial_state=initial)
    layer.set_weights(_weights(case, arrays))
    weights = [weight.value for weight in layer.trainable_variables]

    def infer() -> Any:
        return layer(x, initial_state=initial)

    def train() -> Any:
        with tf.GradientTape() as tape:
            y, *final = layer(x, initial_state=initial)
        return [y, *final], tape.gradient(y, [x, *initial, *weights], output_gradients=dy)

    graph = tf.function(train if case.training else infer, jit_compile=xla)
    sign = [1.0]

    def change() -> None:
        sign[0] = -sign[0]
        for weight in weights:
            weight.assign_add(tf.fill(weight.shape, sign[0] * CHANGE))

    def results() -> Arrays:
        return _results(case, graph())

    return Prepared(graph, results, change if case.training else lambda: None, f"XLA {xla}")


def _weights(case: Case, arrays: Arrays) -> list[np.ndarray]:
    """Kernel, recurrent kernel and bias; the GRU has both biases, the others their sum."""

    def ordered(name: str) -> np.ndarray:
        parts = np.split(arrays[name], case.gates)
        return np.concatenate([parts[gate] for gate in ORDER[case.cell]])

    biases = [ordered("bias_ih"), ordered("bias_hh")]
    bias = np.stack(biases) if case.cell == "gru" else biases[0] + biases[1]
    return [ordered("weight_ih").T, ordered("weight_hh").T, bias]


def _results(case: Case, given: Any) -> Arrays:
    (y, *final), gradients = given if case.training else (given, None)
    names = states(case.cell)
    found = {"y": y.numpy().swapaxes(0, 1)} | {s: v.numpy() for s, v in zip(names, final, strict=True)}
    if gradients is None:
        return found
    x, *more = (g.numpy() for g in gradients)
    found |= {"d x": x.swapaxes(0, 1)} | {f"d {s}0": g for s, g in zip(names, more, strict=False)}
    kernel, recurrent, bias = more[len(names) :]
    biases = bias if case.cell == "gru" else (bias, bias)
    rows = zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), (kernel.T, recurrent.T, *biases), strict=True)
    back = np.argsort(ORDER[case.cell])
    for name, value in rows:
        parts = np.split(value, case.gates)
        found[f"d {name}"] = np.concatenate([parts[gate] for gate in back])
    return found


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    serve_library(prepare, ("tensorflow", "keras"))
