"""The numbers of a case, drawn from a seed: every worker makes the same ones for itself."""

from __future__ import annotations

import zlib

import numpy as np
from benchmarks.engine.grid import Case

Arrays = dict[str, np.ndarray]
DENORMAL = 1e-40
GAIN = 0.5  # of a normalised gate: at 1 gradients over 128 steps explode, and with them any rounding
CHANGE = 1e-6  # of every weight between two training steps, there and back


def states(cell: str) -> tuple[str, ...]:
    """The names of a cell's states."""
    return ("h", "c") if cell.lower().endswith("lstm") else ("h",)


def parameter_shapes(cell: str, units: int, gates: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a cell by the names that Elman and torch.nn give them, without the layer's suffix."""
    rows = gates * units
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, units), "weight_hh": (rows, units)}
    if cell == "LayerNormLSTM":
        names = [f"gain_{part}_{gate}" for part in ("ih", "hh") for gate in "ifgo"] + ["gain_c"]
        return shapes | dict.fromkeys([*names, *(f"shift_{gate}" for gate in "ifgoc")], (units,))
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if cell == "PeepholeLSTM":
        shapes |= dict.fromkeys(("weight_ci", "weight_cf", "weight_co"), (units,))
    return shapes


def draw(case: Case) -> Arrays:
    """Time-major fp32 arrays: x, h0 (and c0), the parameters, dy, and lengths where the case is ragged."""
    source = np.random.default_rng(zlib.crc32(f"{case.cell} {case.rows} {case.units} {case.steps}".encode()))

    def uniform(shape: tuple[int, ...], bound: float) -> np.ndarray:
        return source.uniform(-bound, bound, shape).astype(np.float32)

    rows, units, steps = case.rows, case.units, case.steps
    found = {"x": source.standard_normal((steps, rows, units), np.float32)}
    found |= {f"{state}0": uniform((rows, units), 0.5) for state in states(case.cell)}
    for name, shape in parameter_shapes(case.cell, units, case.gates).items():
        found[name] = uniform(shape, units**-0.5) + np.float32(GAIN if name.startswith("gain") else 0)
    found["dy"] = source.standard_normal((steps, rows, units), np.float32)
    lengths = source.integers(1, steps + 1, rows)
    lengths[0] = steps
    if case.ragged:
        found["lengths"] = lengths
    if case.denormal:
        for name in found.keys() - {"weight_ih", "weight_hh", "dy"}:
            found[name] = found[name] * np.float32(DENORMAL)
    return found


def differentiated(arrays: Arrays) -> list[str]:
    """What a training step gives gradients of: the input, the states and the parameters."""
    return [name for name in arrays if name not in ("dy", "lengths")]
