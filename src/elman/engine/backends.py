"""Which execution runs a cell over a sequence, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import eager, extension, native, torch_kernels
from elman.engine.operands import Operands
from elman.engine.unit import say_once, transformed

Run = Callable[[Cell, Spec, Operands, bool], tuple[Tensor, dict[str, Tensor]]]
RUNS: dict[str, Run] = {"native": native.run, "torch": torch_kernels.run, "eager": eager.run}
NAMES = ("auto", *RUNS)


@dataclass(frozen=True)
class Choice:
    """The backend that runs, and the reason in words."""

    backend: str
    reason: str


def choose(
    cell: Cell,
    spec: Spec,
    x: Tensor,
    resets: Tensor | None = None,
    asked: str = "auto",
    others: Iterable[Tensor] = (),
    recorded: bool = False,
) -> Choice:
    """The backend for this cell over inputs like x: the native engine, else torch's kernels, else the definition.

    Args:
        cell: the cell.
        spec: its sizes.
        x: inputs; their values do not matter.
        resets: as given to the run.
        asked: one of `NAMES`.
        others: states and parameters, where they are known: those that are no plain tensors keep the engine out.
        recorded: whether inner states or their gradients are wanted.

    Raises:
        ValueError: the backend asked for by name cannot run this, with the reason.

    Example:
        >>> import torch
        >>> from elman.cells.gru import GRU
        >>> x = torch.zeros(1, 2, 3, dtype=torch.bfloat16)
        >>> choose(GRU(), GRU().spec(3, 5), x, resets=torch.zeros(1, 2, dtype=torch.bool))
        Choice(backend='eager', reason="torch's kernels know no resets inside a sequence")
    """
    if asked == "eager":
        return _BY_NAME[asked]
    if asked not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(NAMES)}, got {asked!r}")
    chosen = _CHOSEN if asked == "auto" else _BY_NAME
    refusals: list[str] = []
    if asked != "torch":
        refusal = native.refusal(cell, spec, x, others)
        if refusal is None:
            return chosen["native"]
        refusals.append(refusal)
    missed = refusals == [native.absent()]
    if asked != "native":
        refusal = torch_kernels.refusal(cell, x, resets, recorded)
        if refusal is None:
            return _missing(chosen["torch"]) if missed else chosen["torch"]
        refusals.append(refusal)
    if asked != "auto":
        raise ValueError(f"backend {asked!r} cannot run {cell!r} here: {refusals[0]}; use backend='auto'")
    if missed:
        return _missing(Choice("eager", refusals[-1]))
    alone = torch_kernels.kernel(cell) is not None and transformed() is None
    return Choice("eager", refusals[-1] if alone else "; ".join(refusals))


def _missing(choice: Choice) -> Choice:
    """What runs where the engine would if it were there: what that costs, and what to do about it."""
    gain = extension.GAIN[choice.backend]
    return Choice(choice.backend, f"{choice.reason}; the native engine, {gain}, is {extension.why_not()}")


def run(
    cell: Cell, spec: Spec, operands: Operands, reverse: bool = False, asked: str = "auto"
) -> tuple[Tensor, dict[str, Tensor]]:
    """As `elman.engine.eager.run`, by the backend that `choose` names.

    Warns once for each class of cells that the engine leaves to another backend because its step is no step
    program, or because of the derivative that is being taken, and says why.

    Raises:
        ValueError: as `choose`.
        Misfit: a state or parameter is not of the format and device of x, or not of its shape in `spec`.
    """
    others = (*operands.state.values(), *operands.fresh.values(), *operands.params.values())
    choice = choose(cell, spec, operands.x, operands.resets, asked, others, operands.record is not None)
    if choice.backend != "native":  # which looks itself
        operands.check(spec)
    results = RUNS[choice.backend](cell, spec, operands, reverse)
    if choice.backend != "native" and asked == "auto" and (reason := _fallen_back(cell, spec, choice)):
        how = "runs eagerly, step by step" if choice.backend == "eager" else "runs by torch's kernels"
        say_once(cell, f"{how}: {reason}; backend={choice.backend!r} asks for that")
    return results


def _fallen_back(cell: Cell, spec: Spec, choice: Choice) -> str | None:
    """Why the engine does not run what it would have run, or another cell in its place."""
    if extension.native() is None:
        return None
    if (reason := transformed()) is not None:
        return reason
    reason = native.untraceable(cell, spec)
    return reason if reason is not None and reason in choice.reason else None


_BY_NAME = {name: Choice(name, "asked for by name") for name in RUNS}
_CHOSEN = {
    "native": Choice("native", "the native engine runs the step program of any cell"),
    "torch": Choice("torch", "torch has kernels for this cell"),
}
