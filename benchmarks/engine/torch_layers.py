"""What torch.nn and Elman share: a layer with given weights, called, differentiated and changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import CHANGE, Arrays, differentiated
from benchmarks.engine.worker import Prepared
from torch import Tensor, nn

Forward = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]


def set_threads() -> None:
    """As many threads as all workers are given."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def load(module: nn.Module, arrays: Arrays) -> dict[str, Tensor]:
    """Gives the module's parameters the case's values; returns them by the case's names."""
    parameters = {name.removesuffix("_l0"): p for name, p in module.named_parameters()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(arrays[name]))
    return dict(parameters)


def prepared(case: Case, arrays: Arrays, parameters: dict[str, Tensor], forward: Forward, **more: Any) -> Prepared:
    """The call of a case.

    Args:
        case: the case.
        arrays: its numbers; x and dy as `forward` wants and gives them.
        parameters: what `forward` reads, by the case's names.
        forward: from x and the states to the outputs and the final states.
        more: fields of `Prepared`.
    """
    dtype = next(iter(parameters.values())).dtype
    names = differentiated(arrays)
    given = {name: torch.from_numpy(arrays[name]).to(dtype) for name in names if name not in parameters}
    leaves = {name: parameters.get(name, given.get(name)) for name in names}
    states = [given[name] for name in given if name != "x"]
    dy = torch.from_numpy(arrays["dy"]).to(dtype)

    def infer() -> list[Tensor]:
        with torch.no_grad():
            y, final = forward(given["x"], states)
        return [y, *final]

    def train() -> list[Tensor]:
        y, final = forward(given["x"], states)
        return [y.detach(), *(s.detach() for s in final), *torch.autograd.grad(y, list(leaves.values()), dy)]

    sign = [1.0]

    def change() -> None:
        sign[0] = -sign[0]
        with torch.no_grad():
            torch._foreach_add_(list(parameters.values()), sign[0] * CHANGE)

    keys = ["y", *(name.removesuffix("0") for name in given if name != "x")]
    if not case.training:
        return Prepared(infer, lambda: _named(keys, infer()), **more)
    for tensor in leaves.values():
        tensor.requires_grad_()
    keys += [f"d {name}" for name in leaves]
    return Prepared(train, lambda: _named(keys, train()), change, **more)


def _named(keys: list[str], tensors: list[Tensor]) -> Arrays:
    return {key: tensor.detach().double().numpy() for key, tensor in zip(keys, tensors, strict=True)}
