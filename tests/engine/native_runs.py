"""One run by any backend with all its results by name, for comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell
from elman.engine import Operands
from engine.agreement import Case, names, operands
from tolerances import assert_equal

Results = dict[str, Tensor]


def given(cell: Cell, case: Case, dtype: torch.dtype = torch.float64) -> Operands:
    """The case's random tensors, rounded to `dtype`."""
    return cast(operands(cell, case), dtype)


def cast(o: Operands, dtype: torch.dtype) -> Operands:
    def all_of(tensors: Any) -> dict[str, Tensor]:
        return {name: t.to(dtype) for name, t in tensors.items()}

    return replace(o, x=o.x.to(dtype), state=all_of(o.state), fresh=all_of(o.fresh), params=all_of(o.params))


def weights_of_loss(shapes: list[torch.Size], dtype: torch.dtype, seed: int = 1) -> list[Tensor]:
    """Gradients that arrive at the output and the final states: random, equal for equal seeds in both formats."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g).to(dtype) for shape in shapes]


def results(
    run: Callable[..., tuple[Tensor, dict[str, Tensor]]],
    cell: Cell,
    case: Case,
    o: Operands,
    arriving: list[Tensor] | None = None,
) -> Results:
    """Output, final states and the gradient of every leaf, by name."""
    spec = cell.spec(case.inputs, case.hidden, case.bias)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in o.leaves()]
    live = Operands.from_leaves(spec, leaves, o.lengths, o.resets, o.noise)
    y, final = run(cell, spec, live, case.reverse)
    values = [y, *final.values()]
    arriving = arriving or weights_of_loss([v.shape for v in values], y.dtype)
    pairs = [(v, d) for v, d in zip(values, arriving, strict=True) if v.requires_grad]
    found = torch.autograd.grad(
        [v for v, _ in pairs], leaves, [d for _, d in pairs], allow_unused=True, materialize_grads=True
    )
    named = dict(zip(names(live), found, strict=True))
    return {
        "y": y.detach(),
        **{f"final {k}": v.detach() for k, v in final.items()},
        **{f"gradient of {name}": gradient for name, gradient in named.items()},
    }


def assert_agree(got: Results, wanted: Results) -> None:
    """Equal within the tolerance of the format, each relative to its own largest entry."""
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        scale = largest(value)
        assert_equal(got[name] / scale, value / scale, name)


def largest(value: Tensor) -> float:
    """The largest magnitude, at least 1."""
    return max(1.0, float(value.abs().max())) if value.numel() else 1.0


def assert_same_bits(got: Results, wanted: Results, only: Callable[[str], bool] = lambda name: True) -> None:
    """Equal in every bit; a NaN equals itself."""
    assert list(got) == list(wanted)
    different = [name for name in wanted if only(name) and not same_bits(got[name], wanted[name])]
    assert not different, f"bits differ in {', '.join(different)}"


def same_bits(a: Tensor, b: Tensor) -> bool:
    kind = torch.int64 if a.dtype == torch.float64 else torch.int32
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(kind), b.contiguous().view(kind))
