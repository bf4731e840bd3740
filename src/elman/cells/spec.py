"""What a cell declares besides its equations: the widths of its states and the parameters it multiplies by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Param:
    """One parameter tensor. `init` fills it in place; None is uniform in ±1/sqrt(hidden), as in torch.nn.

    `prepared` is its shape after the cell's `prepare`, where that changes it.
    """

    shape: tuple[int, ...]
    init: Callable[[Tensor], object] | None = None
    prepared: tuple[int, ...] | None = None

    @property
    def run_shape(self) -> tuple[int, ...]:
        """The shape that a step reads."""
        return self.shape if self.prepared is None else self.prepared


@dataclass(frozen=True)
class Block:
    """A matrix whose rows belong to named gates, with the bias that is added to its product.

    `weight` has shape (sum of the gates' widths, `columns`), its rows in the order of `gates`;
    `bias`, where there is one, has one number a row.
    """

    weight: str
    bias: str | None
    gates: Mapping[str, int]
    columns: int


@dataclass(frozen=True)
class Noise:
    """Random numbers that enter a step while training: `hit` with probability `p`, else `miss`.

    They are a function of a seed, drawn once a call, and of where they stand (row, step, unit), so that they are
    the same on every backend and for any order of computing them. In evaluation `rest` stands in their place.

    Attributes:
        width: numbers a row.
        p: probability of `hit`.
        hit, miss: the two values.
        rest: what stands for them in evaluation, commonly their mean.
        per: whether they are drawn anew at every step, or once for all steps of a call.
    """

    width: int
    p: float
    hit: float
    miss: float
    rest: float
    per: Literal["step", "sequence"] = "step"

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, got {self.p}")

    @property
    def known(self) -> float | None:
        """The only value it can take, if there is but one."""
        return self.miss if self.p == 0 else self.hit if self.p == 1 else None


@dataclass(frozen=True)
class Spec:
    """All of a cell that is not an equation, at given sizes.

    Attributes:
        inputs: width of x_t.
        hidden: number of units.
        output: width of y_t.
        states: width of each state, in order.
        initial: the value a state starts from, where that is not 0.
        blocks: the matrices, by the name `step` calls them.
        vectors: the parameters that enter the equations elementwise, and their widths.
        params: every parameter, in the order of registration.
        noise: the random numbers that enter while training.
    """

    inputs: int
    hidden: int
    output: int
    states: Mapping[str, int]
    initial: Mapping[str, float]
    blocks: Mapping[str, Block]
    vectors: Mapping[str, int]
    params: Mapping[str, Param]
    noise: Mapping[str, Noise] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gates = self.blocks["ih"].gates if "ih" in self.blocks else {}
        for names in (["raw", "ih", *gates, *self.noise], [*self.blocks, *self.vectors], [*self.states, "y"]):
            if len(set(names)) < len(names):
                raise ValueError(f"a step would have two meanings for one name among {names}")

    def with_skip(self) -> Spec:
        """This spec with `weight_skip`, which takes x_t past the gates, unless x_t has the width of the units.

        Example:
            >>> from elman.cells.min_gru import MinGRU
            >>> [[*MinGRU().spec(inputs, 5, bias=False).with_skip().params] for inputs in (3, 5)]
            [['weight_ih', 'weight_skip'], ['weight_ih']]
        """
        if self.inputs == self.hidden:
            return self
        block = Block("weight_skip", None, {"x": self.hidden}, self.inputs)
        return self.extend(blocks={"skip": block}, params={block.weight: Param((self.hidden, self.inputs))})

    def resting(self) -> Spec:
        """This spec in evaluation: every random number is at rest."""
        if not self.noise:
            return self
        rest = {name: replace(n, p=0.0, miss=n.rest) for name, n in self.noise.items()}
        return replace(self, noise=rest)

    def drawn(self) -> dict[str, int]:
        """The noise that is left to chance, numbered in order."""
        return {name: k for k, name in enumerate(n for n, noise in self.noise.items() if noise.known is None)}

    def extend(self, **more: Mapping[str, Any]) -> Spec:
        """This spec with entries added to some of its mappings; an entry cannot be declared twice.

        Raises:
            ValueError: a name is there already.
        """
        for kind, new in more.items():
            if clash := set(new) & set(getattr(self, kind)):
                raise ValueError(f"{kind} {sorted(clash)} declared twice")
        merged: dict[str, Any] = {kind: {**getattr(self, kind), **new} for kind, new in more.items()}
        return replace(self, **merged)


def on_diagonal(weight: Tensor, gates: int, blocks: int) -> Tensor:
    """For each gate a matrix whose blocks on the diagonal are given, zero elsewhere.

    Args:
        weight: (gates * n, m / blocks), gate by gate, block under block.
        gates: how many matrices.
        blocks: how many blocks each has; n and m are multiples of it.

    Returns:
        (gates * n, m).

    Example:
        >>> import torch
        >>> on_diagonal(torch.tensor([[1.0], [2.0]]), gates=1, blocks=2).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    eye = torch.eye(blocks, dtype=weight.dtype, device=weight.device)
    each = weight.reshape(gates, blocks, -1, 1, weight.shape[1])
    return (each * eye[:, None, :, None]).reshape(weight.shape[0], -1)
