"""What conversions between Elman's layers and other libraries' share: the library, gate orders, the comparison."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.errors import UserError
from elman.nn.recurrent import Recurrent

# Relative to the largest number of an output, at least 1.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
ROWS, STEPS = 3, 6


def library(name: str, extra: str) -> Any:
    """A module of an optional library.

    Raises:
        UserError: it is not installed, or does not load; says what to do.

    Example:
        >>> library("onyx", "onnx")
        Traceback (most recent call last):
            ...
        elman.errors.UserError: onyx is not installed; pip install 'elman[onnx]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0]:
            raise UserError(f"{error.name} is not installed", fix=f"pip install 'elman[{extra}]'") from error
        fix = "for Keras, set KERAS_BACKEND=torch before its first import" if extra == "keras" else None
        raise UserError(f"{name} does not load", found=str(error), fix=fix) from error


def reordered(rows: Tensor, given: Iterable[str], wanted: Iterable[str]) -> Tensor:
    """Rows in blocks of gates, in another order of the gates.

    Example:
        >>> reordered(torch.arange(6), given="zrn", wanted="rzn").tolist()
        [2, 3, 0, 1, 4, 5]
    """
    names = [*given]
    parts = dict(zip(names, rows.chunk(len(names)), strict=True))
    return torch.cat([parts[gate] for gate in wanted])


def load(layer: Recurrent, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors into the layer's parameters, by name.

    Raises:
        UserError: one is not of the parameter's shape.
    """
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameter = layer.get_parameter(name)
            if parameter.shape != tensor.shape:
                raise UserError(f"{name} must be {tuple(parameter.shape)}", found=tuple(tensor.shape))
            parameter.copy_(tensor)


def single_layer(layer: Recurrent, to: str) -> None:
    """Refuses a stack, which the other library writes as several layers.

    Raises:
        UserError: there is more than one layer, or trainable initial states.
    """
    if layer.stack.num_layers > 1:
        fix = "convert `Recurrent`s of one layer each"
        raise UserError(f"{to} has one layer in each", found=f"num_layers={layer.stack.num_layers}", fix=fix)
    if layer.trainable_states:
        fix = "give the states with the input"
        raise UserError(f"{to} knows no trainable initial state", found="initial_state='trainable'", fix=fix)


def refuse_difference(
    ours: Sequence[Tensor],
    theirs: Sequence[np.ndarray[Any, Any]],
    names: Sequence[str],
    what: str,
    precision: torch.dtype,
) -> None:
    """Compares what both sides computed from the same random input, at least one of them in that precision.

    Raises:
        UserError: they differ, or are of different shapes; says where and by how much at most.

    Example:
        >>> refuse_difference([torch.zeros(2)], [np.array([0.0, 0.5])], ["Y"], "LSTM of ONNX", torch.float32)
        Traceback (most recent call last):
            ...
        elman.errors.UserError: LSTM of ONNX: both sides must compute the same, and Y differs by up to 0.5
    """
    for name, mine, other in zip(names, ours, theirs, strict=True):
        wanted = torch.from_numpy(np.array(other, dtype=str(mine.dtype).removeprefix("torch.")))
        if mine.shape != wanted.shape:
            shapes = f"{tuple(mine.shape)} here, {tuple(wanted.shape)} there"
            raise UserError(f"{name} must be of one shape on both sides", where=what, found=shapes)
        scale = max(1.0, float(wanted.abs().max()))
        difference = float((mine.detach() - wanted).abs().max())
        if not difference <= TOLERANCE[precision] * scale:  # NaN is a difference too
            said = f"both sides must compute the same, and {name} differs by up to {difference:.3g}"
            raise UserError(said, where=what)
