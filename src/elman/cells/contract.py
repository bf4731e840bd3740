"""The contract of a recurrent cell: `step` computes one time step, everything else is derived from it.

A step is written in ordinary tensor operations and receives three arguments:

- `x`, what comes from outside at this step: `x.i` is the input's part of gate `i`, that is
  U_i x_t + b_i; `x.raw` is x_t itself; `x.ih` is the product by `weight_ih`, for other operands; `x.<noise>` are
  random numbers that the cell declares.
- `s`, the states before the step: `s.h`, `s.c`.
- `w`, the weights: `w(v)` multiplies by `weight_hh`, and `w(v).i` is W_i v + b_i; `w["r", "z"](v)`
  multiplies by the rows of those gates alone; `w.<block>(v)` by another matrix, and `w.<vector>` is a
  parameter with one number a unit.

It returns `Step(...)`: every state after the step, in the declared order, then `y` where the output is not
the first state; any further name is a tap, an inner value that can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

from torch import Tensor

from elman.cells.spec import Block, Noise, Param, Spec

Value = Any  # a tensor when a definition is run: a step only combines values, it never looks inside them
# A block's rows for some gates times a value, by gate, plus the block's bias where it has one.
Multiply = Callable[[Block, tuple[str, ...], Value], Mapping[str, Value]]
Draw = Callable[[Noise, int], Tensor]
Change = Callable[[Mapping[str, Value]], Mapping[str, Value]]


class Scope:
    """A read-only namespace of values."""

    def __init__(self, **values: Value) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Value:
        raise AttributeError(f"{type(self).__name__} has no {name!r}; there are {sorted(self.__dict__)}")

    def items(self) -> Iterator[tuple[str, Value]]:
        """Names and values, in the order in which they were given."""
        return iter(self.__dict__.items())

    def with_(self, **values: Value) -> Self:
        """A copy in which these names have other values; a wrapper gives it to the step that it wraps."""
        return type(self)(**{**self.__dict__, **values})


class State(Scope):
    """`s.h`, `s.c`: the states before the step."""


class Gates(Scope):
    """The rows of one product by gate: `r.i` is W_i v + b_i."""

    def __getitem__(self, gate: str) -> Value:
        return getattr(self, gate)


class Inputs(Gates):
    """`x.i`: U_i x_t + b_i; `x.raw`: x_t; `x.ih(v)`: the same matrix times another operand; `x.<noise>`."""

    def __getattr__(self, name: str) -> Value:
        own = self.__dict__
        gates = own["ih"].gates if "ih" in own else ()
        if name in gates:
            return own["ih"](own["raw"])[name]
        raise AttributeError(f"Inputs has no {name!r}; there are {sorted([*own, *gates])}")


class Product:
    """A matrix of gates: `p(v).i` is its rows for gate i times v, plus their bias; `p["r", "z"]` a part of it.

    `before` and `after` are for wrappers: they change what enters the product, or what comes out of it.
    """

    def __init__(
        self, block: Block, multiply: Multiply, bias: Mapping[str, Value], gates: tuple[str, ...] | None = None
    ) -> None:
        self.block, self.multiply, self.bias, self.gates = block, multiply, bias, gates or tuple(block.gates)

    def __call__(self, v: Value) -> Gates:
        """The product with v, by gate."""
        return Gates(**self.multiply(self.block, self.gates, v))

    def __getitem__(self, gates: str | tuple[str, ...]) -> Product:
        chosen = (gates,) if isinstance(gates, str) else gates
        if missing := set(chosen) - set(self.block.gates):
            raise AttributeError(
                f"{self.block.weight} has no gates {sorted(missing)}; there are {[*self.block.gates]}"
            )
        return Product(self.block, self.multiply, self.bias, chosen)

    def before(self, change: Callable[[Value], Value]) -> Product:
        """The product with change(v) in place of v."""

        def multiply(block: Block, gates: tuple[str, ...], v: Value) -> Mapping[str, Value]:
            return self.multiply(block, gates, change(v))

        return Product(self.block, multiply, self.bias, self.gates)

    def after(self, change: Change) -> Product:
        """The product whose linear parts W_i v, by gate, are changed before the biases are added."""

        def multiply(block: Block, gates: tuple[str, ...], v: Value) -> Mapping[str, Value]:
            changed = change(self.multiply(replace(block, bias=None), gates, v))
            return changed if block.bias is None else {g: changed[g] + self.bias[g] for g in gates}

        return Product(self.block, multiply, self.bias, self.gates)


class Weights(Scope):
    """`w(v)`: by weight_hh; `w.<block>(v)`: by another matrix; `w.<vector>`: one number a unit."""

    def __call__(self, v: Value) -> Gates:
        """The product of weight_hh with v, by gate."""
        gates: Gates = self.hh(v)
        return gates

    def __getitem__(self, gates: str | tuple[str, ...]) -> Product:
        product: Product = self.hh[gates]
        return product


class Step(Scope):
    """What a step returns: all states in the declared order, `y` unless the first state is it, then taps."""

    @property
    def y(self) -> Value:
        """The output: `y` where it was given, else the first state."""
        return self.__dict__.get("y", next(iter(self.__dict__.values())))


class Cell:
    """One recurrent cell: subclass it as a frozen dataclass, name the gates and states, write `step`.

    The class attributes suffice for a cell whose gates and states are all `hidden` wide; any other cell
    overrides `spec`. Options of a cell are the dataclass's fields, so that equal cells compare and hash equal.

    Attributes:
        gates: the rows of weight_ih, each `hidden` wide, in order.
        recurrent: the rows of weight_hh; None means the same gates.
        states: the names of the states; the first is the output unless `step` returns `y`.
        vectors: parameters of one number a unit.
        initial: the values states start from, where not 0.

    Example:
        >>> from dataclasses import dataclass
        >>> from torch import tanh
        >>> @dataclass(frozen=True)
        ... class Elman(Cell):
        ...     gates = ("h",)
        ...
        ...     def step(self, x, s, w):
        ...         return Step(h=tanh(x.h + w(s.h).h))
        >>> [*Elman().spec(3, 5).params]
        ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh']
    """

    gates: ClassVar[tuple[str, ...]] = ()
    recurrent: ClassVar[tuple[str, ...] | None] = None
    states: ClassVar[tuple[str, ...]] = ("h",)
    vectors: ClassVar[tuple[str, ...]] = ()
    initial: ClassVar[Mapping[str, float]] = MappingProxyType({})

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The sizes and parameters of this cell for x_t of width `inputs` and `hidden` units."""
        rows = {
            "ih": (self.gates, inputs),
            "hh": (self.gates if self.recurrent is None else self.recurrent, hidden),
        }
        blocks = {
            name: Block(f"weight_{name}", f"bias_{name}" if bias else None, dict.fromkeys(gates, hidden), columns)
            for name, (gates, columns) in rows.items()
            if gates
        }
        params = {b.weight: Param((len(b.gates) * hidden, b.columns)) for b in blocks.values()}
        params |= {b.bias: Param((len(b.gates) * hidden,)) for b in blocks.values() if b.bias}
        params |= {v: Param((hidden,)) for v in self.vectors}
        return Spec(
            inputs=inputs,
            hidden=hidden,
            output=hidden,
            states=dict.fromkeys(self.states, hidden),
            initial=dict(self.initial),
            blocks=blocks,
            vectors=dict.fromkeys(self.vectors, hidden),
            params=params,
        )

    def initialise(self, params: Mapping[str, Tensor]) -> None:
        """Changes freshly drawn parameters, in place: where they depend on options or on one another."""

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """The parameters as a call's steps read them, computed from the stored ones by PyTorch, once a call.

        Args:
            params: the parameters by name.
            draw: while training, random numbers: `draw(noise, rows)` is a tensor (rows, noise.width); else None.
        """
        return params

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything."""
        return type(self).prepare is not Cell.prepare

    @property
    def draws(self) -> bool:
        """Whether `prepare` draws random numbers while training."""
        return False

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """One time step; see the head of this module for the three arguments."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")


def bind_weights(
    spec: Spec, params: Mapping[str, Tensor], multiply: Multiply, part: Callable[[str, int, int], Value]
) -> Weights:
    """The third argument of `step`, made once for a whole sequence.

    Args:
        spec: the cell's sizes.
        params: every vector by name.
        multiply: what products do.
        part: of a bias, its first row and width -> these numbers of it.
    """
    products = {name: Product(b, multiply, bias_by_gate(b, part)) for name, b in spec.blocks.items()}
    return Weights(**products, **{name: params[name] for name in spec.vectors})


def bias_by_gate(block: Block, part: Callable[[str, int, int], Value]) -> dict[str, Value]:
    """A block's bias by gate."""
    found: dict[str, Value] = {}
    row = 0
    for gate, width in block.gates.items():
        if block.bias is not None:
            found[gate] = part(block.bias, row, width)
        row += width
    return found
