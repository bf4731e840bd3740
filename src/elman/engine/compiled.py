"""A cell, compiled for the native engine: the texts it executes, and what PyTorch does around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from torch import Tensor

from elman.cells import Cell, Spec
from elman.engine import replay
from elman.engine.differentiate import Wanted, differentiate, inner_values
from elman.engine.fold import fuse
from elman.engine.lower import lower
from elman.engine.plan import plan
from elman.engine.program import Program, prune
from elman.engine.replay import Replay
from elman.engine.trace import Untraceable, trace

_EVERYTHING = Wanted()

__all__ = ["Programs", "Untraceable", "programs"]


@dataclass(frozen=True, eq=False)
class Programs:
    """The texts of one cell at given sizes, and what the core needs to know about them.

    Attributes:
        inference: the forward text, with nothing kept.
        inner: names and widths of the states and taps that the texts give out step by step, where that is wanted.
        forward: the forward text that keeps what `backward` reads.
        backward: the text of the backward step.
        kept: widths of the kept arrays, in the order of their numbers in the texts.
        params: names of the parameters in the order of the texts' `param` lines.
        replay: the step in tensors, for derivatives of derivatives and for comparison.
        spec: the sizes `replay` runs with, as `Replay.spec` says; its parameters are `params`.
    """

    inference: str
    forward: str
    backward: str
    kept: tuple[int, ...]
    params: tuple[str, ...]
    inner: tuple[tuple[str, int], ...]
    replay: Replay
    spec: Spec

    def derived(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The vectors computed from the parameters alone, once a call; differentiable."""
        return replay.derived(self.replay.program.prologue, params)


@dataclass(frozen=True)
class _Request:
    """What decides the texts. Two specs of one cell with the same sizes are the same."""

    cell: Cell
    sizes: tuple[object, ...]
    y_given: bool
    wanted: Wanted
    spec: Spec = field(compare=False)


def programs(cell: Cell, spec: Spec, *, y_given: bool = True, wanted: Wanted = _EVERYTHING) -> Programs:
    """The texts of a cell for the sizes of `spec`.

    Args:
        cell: the cell; equal cells share what was compiled for them.
        spec: its sizes and parameters.
        y_given: whether a gradient arrives at y, or at the final states only.
        wanted: what is asked for.

    Raises:
        Untraceable: the cell's step cannot be written as a program; the message says why and where.

    Example:
        >>> from elman.cells.lstm import LSTM
        >>> programs(LSTM(), LSTM().spec(3, 5)).kept
        (5, 5, 5, 5)
    """
    shapes = tuple((name, p.run_shape) for name, p in spec.params.items())
    widths = *spec.states.items(), *spec.initial.items(), *spec.noise.items()
    sizes = (spec.inputs, spec.hidden, spec.output, *widths, *shapes)
    try:
        found = _compiled(_Request(cell, sizes, y_given, wanted, spec))
    except TypeError as error:
        raise Untraceable(f"{cell!r} must be hashable, as a frozen dataclass is: {error}") from error
    if isinstance(found, str):
        raise Untraceable(found)
    return found


@lru_cache(maxsize=256)
def _compiled(request: _Request) -> Programs | str:
    """The texts, or why there are none."""
    try:
        step = _traced(replace(request, y_given=True, wanted=_EVERYTHING))
    except Untraceable as error:
        return str(error)
    decided = plan(step, differentiate(step, request.wanted, request.y_given))
    results = {key: i for key, i in step.outputs.items() if key[0] != "tap"}
    replayed = Replay(step)
    inner = inner_values(step)
    if request.wanted.inner:
        results |= {("tap", j): i for j, (_, i) in enumerate(inner)}
    keep = {("keep", j): i for j, i in enumerate(decided.kept)}
    return Programs(
        inference=_text(prune(replace(step, outputs=results)), "forward"),
        inner=tuple((name, step.nodes[i].width) for name, i in inner),
        forward=_text(prune(replace(step, outputs={**results, **keep})), "forward"),
        backward=_text(decided.backward, "backward"),
        kept=tuple(step.nodes[i].width for i in decided.kept),
        params=tuple(step.spec.params),
        replay=replayed,
        spec=replayed.spec(),
    )


@lru_cache(maxsize=64)
def _traced(request: _Request) -> Program:
    return trace(request.cell, request.spec)


def _text(program: Program, direction: str) -> str:
    return lower(fuse(program), direction)
