"""ONNX Runtime: the operators RNN, GRU and LSTM, inference alone, the fastest of its options on each case."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import Arrays, states
from benchmarks.engine.worker import Absent, Prepared, fastest, serve_library
from onnx import TensorProto, helper, numpy_helper

# The order of ONNX's gates among torch's: LSTM i o f c of i f g o; GRU z r h of r z n.
ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
OPSET, IR_VERSION = 14, 8


def model(case: Case, arrays: Arrays) -> bytes:
    """One operator with its weights as constants."""

    def ordered(name: str) -> np.ndarray:
        parts = np.split(arrays[name], case.gates)
        return np.concatenate([parts[gate] for gate in ORDER[case.cell]])

    bias = np.concatenate([ordered("bias_ih"), ordered("bias_hh")])
    constants = {"W": ordered("weight_ih"), "R": ordered("weight_hh"), "B": bias}
    names = states(case.cell)
    initial = [f"{s}0" for s in names]
    options = {"linear_before_reset": 1} if case.cell == "gru" else {}
    inputs = ["x", "W", "R", "B", "", *initial]
    node = helper.make_node(case.cell.upper(), inputs, ["y", *names], hidden_size=case.units, **options)
    full, one = (case.steps, case.rows, case.units), (1, case.rows, case.units)
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(n, kind, full if n == "x" else one) for n in ("x", *initial)],
        [
            helper.make_tensor_value_info("y", kind, (case.steps, 1, *full[1:])),
            *(helper.make_tensor_value_info(n, kind, one) for n in names),
        ],
        [numpy_helper.from_array(value[None], name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """A session a setting of the threads' spinning, inputs and outputs bound."""
    if case.training:
        raise Absent("ONNX Runtime runs inference alone")
    made = model(case, arrays)
    return fastest({spin: _bound(case, arrays, made, spin) for spin in ("1", "0")})


def _bound(case: Case, arrays: Arrays, made: bytes, spin: str) -> Prepared:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    session = onnxruntime.InferenceSession(made, options, ["CPUExecutionProvider"])
    names = states(case.cell)
    binding = session.io_binding()
    binding.bind_cpu_input("x", arrays["x"])
    for state in names:
        binding.bind_cpu_input(f"{state}0", arrays[f"{state}0"][None])
    full = (case.steps, 1, case.rows, case.units)
    outputs = {"y": np.empty(full, np.float32)}
    outputs |= {state: np.empty((1, case.rows, case.units), np.float32) for state in names}
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def results() -> Arrays:
        session.run_with_iobinding(binding)
        return {"y": outputs["y"][:, 0]} | {state: outputs[state][0] for state in names}

    return Prepared(lambda: session.run_with_iobinding(binding), results, note=f"spinning {spin}")


if __name__ == "__main__":
    serve_library(prepare, ("onnxruntime", "onnx"))
