"""The tensors of one run of a cell over a sequence, in one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from elman.cells import Spec


class Misfit(ValueError):
    """A tensor of another number format, device or shape than the run needs; the message names it."""


def misfit(name: str, tensor: Tensor, shape: Sequence[int], x: Tensor) -> Misfit:
    """The error for a tensor that is not of this shape or not of the format and device of x."""
    wanted, got = (tuple(shape), x.dtype, x.device), (tuple(tensor.shape), tensor.dtype, tensor.device)
    said = [", ".join(map(str, values)).replace("torch.", "") for values in (wanted, got)]
    return Misfit(f"{name} must be {said[0]}, as x and the sizes are; got {said[1]}")


Inner = dict[str, Tensor]


@dataclass(eq=False)
class Record:
    """What is wanted of a run beside its results, and what was found, pass by pass.

    Attributes:
        values: every state after each step and every tap, by name, each (B, T, width); 0 beyond a row's length.
        gradients: dL/ds_t, the total derivative of the loss by each state after step t, by name, each
            (B, T, width); found by the backward run.
    """

    values: list[Inner] | None = None
    gradients: list[Inner] | None = None

    def one(self, index: int) -> Record:
        """The same for a single pass."""
        values = None if self.values is None else [self.values[index]]
        return Record(values, None if self.gradients is None else [self.gradients[index]])


@dataclass(frozen=True, eq=False)
class Operands:
    """What a cell is run over; B rows, T steps.

    Attributes:
        x: inputs, (B, T, inputs).
        state: the states before the first step, by name, each (B, width).
        fresh: what a reset puts in their place, by name, each (width,).
        params: the cell's parameters by name.
        lengths: steps that belong to each row, (B,), from 0 to T; None means all T.
        resets: (B, T), true where a row starts afresh before that step; None means nowhere.
        noise: what random numbers depend on, as `elman.engine.noise.key` makes it; None: none are drawn.
        record: what else is wanted of the run, of one pass.
    """

    x: Tensor
    state: Mapping[str, Tensor]
    fresh: Mapping[str, Tensor]
    params: Mapping[str, Tensor]
    lengths: Tensor | None = None
    resets: Tensor | None = None
    noise: Tensor | None = None
    record: Record | None = None

    def part(self, name: str, row: int, width: int) -> Tensor:
        """Some numbers of a vector among the parameters."""
        return self.params[name].narrow(0, row, width)

    def check(self, spec: Spec) -> None:
        """Refuses what does not fit: torch's kernels may read past the end of a tensor that is too small.

        Raises:
            Misfit: a state or parameter is not of the format and device of `x`, or not of its shape in `spec`.
        """
        x = self.x
        if x.shape[2] != spec.inputs:
            raise Misfit(f"x has {x.shape[2]} numbers a step, the cell reads {spec.inputs}")
        expected: list[tuple[str, Tensor, tuple[int, ...]]] = [
            (name, self.params[name], param.run_shape) for name, param in spec.params.items()
        ]
        for name, width in spec.states.items():
            expected.append((f"state {name}", self.state[name], (x.shape[0], width)))
            expected.append((f"fresh state {name}", self.fresh[name], (width,)))
        for name, tensor, shape in expected:
            if tensor.dtype is not x.dtype or tensor.shape != shape or tensor.device != x.device:
                raise misfit(name, tensor, shape, x)

    def active(self) -> Tensor | None:
        """(B, T), true where a step belongs to its row; None when all do."""
        if self.lengths is None:
            return None
        steps = torch.arange(self.x.shape[1], device=self.x.device)
        return steps < self.lengths[:, None]

    def without_padding(self) -> Operands:
        """The same with zeros for the padding of `x`, whatever it held, and no resets there."""
        active = self.active()
        if active is None:
            return self
        resets = None if self.resets is None else self.resets & active
        return replace(self, x=self.x.masked_fill(~active[..., None], 0.0), resets=resets)

    def leaves(self) -> list[Tensor]:
        """Every tensor that can have a gradient: x, states, fresh states, parameters, in this order."""
        return [self.x, *self.state.values(), *self.fresh.values(), *self.params.values()]

    @classmethod
    def from_leaves(
        cls,
        spec: Spec,
        leaves: Sequence[Tensor],
        lengths: Tensor | None,
        resets: Tensor | None,
        noise: Tensor | None = None,
    ) -> Self:
        """What `leaves` took apart, put together again."""
        names = [*spec.states, *spec.states, *spec.params]
        named, states = list(zip(names, leaves[1:], strict=True)), len(spec.states)
        state, fresh, params = named[:states], named[states : 2 * states], named[2 * states :]
        return cls(leaves[0], dict(state), dict(fresh), dict(params), lengths, resets, noise)
