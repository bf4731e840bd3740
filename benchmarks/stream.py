"""One step of a live LSTM, one row, 64 inputs: Elman's stream beside `nn.LSTMCell` and ONNX Runtime.

Writes benchmarks/results/stream.json. On one thread and on two, turn by turn, the best and the median of several
rounds of each; the outputs of the three are compared first. Elman writes into a buffer that is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from machine import machine
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from elman.nn import Recurrent, Stream

INPUTS, UNITS, THREADS, ROUNDS, CALLS = 64, (64, 256, 512), (1, 2), 15, 400
RESULTS = Path(__file__).parent / "results" / "stream.json"
Step = Callable[[], Any]


def elman_step(layer: Recurrent, x: Tensor, threads: int) -> Step:
    """A stream's step into a buffer that is there."""
    stream, out = Stream(layer), torch.empty(1, layer.output_size)

    return lambda: stream.step(x, out)


def cell_step(layer: Recurrent, x: Tensor, threads: int) -> Step:
    """`nn.LSTMCell` with the same weights."""
    cell = nn.LSTMCell(INPUTS, layer.output_size)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    state = [torch.zeros(1, layer.output_size)] * 2

    def step() -> Tensor:
        state[:] = cell(x, tuple(state))
        return state[0]

    return step


def onnx_step(layer: Recurrent, x: Tensor, threads: int) -> Step:
    """ONNX Runtime's LSTM over one step, the states in and out."""
    units, weights = layer.output_size, layer.state_dict()
    order = np.r_[0:units, 3 * units : 4 * units, units : 3 * units]  # i, o, f, g of i, f, g, o
    tensors = {
        "W": weights["weight_ih_l0"].numpy()[order][None],
        "R": weights["weight_hh_l0"].numpy()[order][None],
        "B": np.concatenate([weights[f"bias_{kind}_l0"].numpy()[order] for kind in ("ih", "hh")])[None],
    }
    names = ["X", "W", "R", "B", "", "h", "c"]
    node = helper.make_node("LSTM", names, ["Y", "h_out", "c_out"], hidden_size=units)
    shapes = {"X": [1, 1, INPUTS], "h": [1, 1, units], "c": [1, 1, units]}
    ends = {"h_out": [1, 1, units], "c_out": [1, 1, units]}
    graph = helper.make_graph(
        [node],
        "step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {
        "X": x.numpy()[None],
        "h": np.zeros((1, 1, units), np.float32),
        "c": np.zeros((1, 1, units), np.float32),
    }

    def step() -> np.ndarray:
        given["h"], given["c"] = session.run(None, given)
        return given["h"][0]

    return step


def microseconds(step: Step) -> float:
    """The time of one call, over many, once the threads of the one before are asleep and its own awake."""
    time.sleep(0.05)
    for _ in range(CALLS // 4):
        step()
    start = time.perf_counter()
    for _ in range(CALLS):
        step()
    return (time.perf_counter() - start) / CALLS * 1e6


def compared(units: int, threads: int) -> dict[str, dict[str, float]]:
    """Best and median microseconds of each, once they are seen to give the same."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    layer, x = Recurrent("lstm", INPUTS, units), torch.randn(1, INPUTS)
    make = {"elman": elman_step, "torch.nn.LSTMCell": cell_step, "onnxruntime": onnx_step}
    steps = {name: maker(layer, x, threads) for name, maker in make.items()}
    for _ in range(5):
        found = {name: np.asarray(step()).copy() for name, step in steps.items()}
        for name, y in found.items():
            np.testing.assert_allclose(y, found["elman"], atol=1e-5, err_msg=name)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(microseconds(step))
    return {name: {"best": round(min(one), 2), "median": round(median(one), 2)} for name, one in times.items()}


def main() -> None:
    """Compare, measure, print and write."""
    result: dict[str, Any] = {"machine": machine(), "inputs": INPUTS, "microseconds": {}}
    del result["machine"]["threads"]
    with torch.no_grad():
        for threads in THREADS:
            of_threads = result["microseconds"][f"{threads} threads"] = {}
            for units in UNITS:
                of_threads[units] = compared(units, threads)
                print(threads, units, of_threads[units])
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
