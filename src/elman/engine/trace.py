"""From equations to a program: a cell's step is run once on symbols, which write down what is done to them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from elman.cells import Block, Cell, Inputs, Product, Spec, State, Step, contract
from elman.cells.contract import bias_by_gate, bind_weights
from elman.engine.fold import fold_sums, hoist
from elman.engine.program import CONDITIONS, MEANING, Operand, Program, Tape, Value, prune


class Untraceable(Exception):
    """A step that cannot be written as a program; the message says which operation, and where."""


RANDOM = ("rand", "dropout", "bernoulli", "normal", "poisson", "multinomial", "exponential")
EXPECTED = (Untraceable, TypeError, ValueError, AttributeError)  # their messages speak for themselves


class Sym(Value):
    """A value that is not there yet: operators, methods and torch functions on it append to the tape."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[None, int]:
        """The number of rows is not a cell's business."""
        return (None, self.node.width)

    def __lt__(self, other: Operand) -> Any:
        return self.tape.emit("lt", self, other)

    def __le__(self, other: Operand) -> Any:
        return self.tape.emit("le", self, other)

    def __gt__(self, other: Operand) -> Any:
        return self.tape.emit("lt", other, self)

    def __ge__(self, other: Operand) -> Any:
        return self.tape.emit("le", other, self)

    def __eq__(self, other: Any) -> Any:
        return self.tape.emit("eq", self, other)

    def __ne__(self, other: Any) -> Any:
        return self.tape.emit("eq", self == other, 0.0)

    def __hash__(self) -> int:
        return hash((id(self.tape), self.id))

    def __pow__(self, exponent: float) -> Any:
        return call("pow", self, exponent)

    def __bool__(self) -> bool:
        raise Untraceable("a step cannot branch on a value: use torch.where")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not callable(getattr(torch.Tensor, name, None)):
            raise Untraceable(f"{name!r} of a value is not in the engine's set")
        return lambda *args, **options: call(name, self, *args, **options)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return call(function, *args, **(kwargs or {}))


def call(function: str | Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A torch function or method, by its spelling."""
    name = function if isinstance(function, str) else function.__name__
    symbols = [a for a in (*args, *options.values()) if isinstance(a, Sym)]
    if not symbols:
        raise Untraceable(f"operation {name!r} of several values is not in the engine's set")
    tape = symbols[0].tape
    of_rows = any(s.node.rows for s in symbols)
    if name in SPELLINGS:
        try:
            return SPELLINGS[name](tape, *args, **options)
        except (TypeError, Untraceable) as error:
            if of_rows:
                called = f"operation {name!r}, called like this, is not in the engine's set: {error}"
                raise error if isinstance(error, Untraceable) else Untraceable(called) from error
    if of_rows or name.endswith("_") or any(word in name for word in RANDOM):
        raise Untraceable(f"operation {name!r} is not in the engine's set")
    return of_parameters(
        tape, getattr(torch.Tensor, name) if isinstance(function, str) else function, args, options
    )


def of_parameters(
    tape: Tape, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]
) -> Any:
    """Any function of parameters alone: PyTorch computes it once a call, and differentiates it."""
    values = [a for a in args if isinstance(a, Sym)]
    example = function(*(torch.ones(a.node.width) if isinstance(a, Sym) else a for a in args), **options)
    if not isinstance(example, torch.Tensor) or example.ndim > 1:
        raise Untraceable(f"operation {function.__name__!r} of a parameter must give one number a unit")
    attr = function, tuple(... if isinstance(a, Sym) else a for a in args), tuple(options.items())
    return tape.node("torch", *values, attr=attr, width=example.numel(), rows=False)


def over_units(op: str) -> Callable[..., Any]:
    """A mean or sum over the units of a row."""

    def spelling(tape: Tape, v: Sym, dim: Any = None, keepdim: bool = False) -> Any:
        if dim not in (-1, (-1,), [-1]) or not keepdim:  # anything else would mix the rows of a batch
            raise Untraceable(f"{op} in a step is over the units of a row: {op}(-1, keepdim=True)")
        return v if v.node.width == 1 else tape.node(op, v, width=1)

    return spelling


def layer_norm(tape: Tape, v: Sym, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(v - mean) / sqrt(variance + eps) over the units of a row, as one operation with its own derivative."""
    if list(shape) != [v.node.width]:
        raise Untraceable(f"layer_norm over {list(shape)} of rows of width {v.node.width}")
    if v.node.width == 1:
        normal = v * 0.0
    else:
        statistics = tape.node("mean", v, width=1), tape.node("rstd", v, attr=eps, width=1)
        normal = tape.node("normal", v, *statistics)
    scaled = normal if weight is None else normal * weight
    return scaled if bias is None else scaled + bias


def where(tape: Tape, condition: Any, a: Operand, b: Operand) -> Any:
    """The condition must be a comparison."""
    if not isinstance(condition, Sym) or condition.node.op not in (*CONDITIONS, "const"):
        raise Untraceable("torch.where in a step takes a comparison as its condition")
    return tape.emit("where", condition, a, b)


def clamp(tape: Tape, v: Sym, min: Operand | None = None, max: Operand | None = None) -> Any:
    """By `where`: a value on the bound passes its whole gradient, as in PyTorch."""
    v = v if min is None else tape.emit("where", v < min, min, v)
    return v if max is None else tape.emit("where", v > max, max, v)


def softplus(tape: Tape, v: Sym, beta: float = 1, threshold: float = 20) -> Any:
    """log(1 + exp(beta v)) / beta."""
    if threshold != 20:
        raise Untraceable("softplus in a step has the threshold 20")
    return tape.emit("softplus", v) if beta == 1 else tape.emit("softplus", v * beta) / beta


def power(tape: Tape, v: Sym, exponent: float) -> Any:
    """The powers that need no logarithm."""
    if exponent == 2:
        return v * v
    if exponent == 3:
        return v * v * v
    if exponent == -1:
        return 1.0 / v
    if exponent in (0.5, -0.5):
        return tape.emit("sqrt" if exponent > 0 else "rsqrt", v)
    raise Untraceable(f"the power {exponent}: a step may use 2, 3, 0.5, -0.5 and -1")


def plain(op: str, flip: bool = False) -> Callable[..., Any]:
    """An operation of the engine's set under a name of PyTorch's."""
    if flip:
        return lambda tape, a, b: tape.emit(op, b, a)
    arity = {"where": 3, "normal": 3}.get(op, 2 if op in BINARY else 1)

    def spelling(tape: Tape, *args: Operand) -> Any:
        if len(args) != arity:
            raise TypeError(f"{len(args)} arguments")
        return tape.emit(op, *args)

    return spelling


BINARY = ("add", "sub", "mul", "div", "max", "min", *CONDITIONS)
SPELLINGS: Mapping[str, Callable[..., Any]] = {
    **{op: plain(op) for op in MEANING if op not in ("max", "min", "normal", "softplus", "where")},
    "maximum": plain("max"),
    "minimum": plain("min"),
    "multiply": plain("mul"),
    "subtract": plain("sub"),
    "divide": plain("div"),
    "true_divide": plain("div"),
    "negative": plain("neg"),
    "less": plain("lt"),
    "less_equal": plain("le"),
    "gt": plain("lt", flip=True),
    "ge": plain("le", flip=True),
    "greater": plain("lt", flip=True),
    "greater_equal": plain("le", flip=True),
    "rsub": plain("sub", flip=True),
    "ne": lambda tape, a, b: a != b,
    "absolute": plain("abs"),
    "relu": lambda tape, v, inplace=False: tape.emit("relu", v),
    "mean": over_units("mean"),
    "sum": over_units("sum"),
    "layer_norm": layer_norm,
    "where": where,
    "clamp": clamp,
    "clip": clamp,
    "softplus": softplus,
    "pow": power,
    "square": lambda tape, v: v * v,
    "reciprocal": lambda tape, v: 1.0 / v,
    "silu": lambda tape, v, inplace=False: v * tape.emit("sigmoid", v),
    "logsigmoid": lambda tape, v: -tape.emit("softplus", -v),
    "log_sigmoid": lambda tape, v: -tape.emit("softplus", -v),
    "leaky_relu": lambda tape, v, negative_slope=0.01, inplace=False: tape.emit(
        "where", v > 0, v, v * negative_slope
    ),
    "lerp": lambda tape, a, b, weight: a + weight * (b - a),
    "addcmul": lambda tape, a, b, c, value=1: a + value * (b * c),
}


def trace(cell: Cell, spec: Spec) -> Program:
    """The step of a cell as a program, for the sizes of `spec`.

    Raises:
        Untraceable: the step does something a program cannot express; the message names the operation, the file
            and the line.

    Example:
        >>> from elman.cells.rnn import RNN
        >>> [n.op for n in trace(RNN(), RNN().spec(3, 5)).nodes if n.args]
        ['product', 'product', 'tanh']
    """
    return hoist(fold_sums(prune(record(Tape(Sym), cell, spec))))


def record(tape: Tape, cell: Cell, spec: Spec) -> Program:
    """The step as it stands, operation by operation, on a tape of `Sym`: nothing is folded, hoisted or left out.

    Raises:
        Untraceable: as `trace`.
    """
    try:
        step = cell.step(*arguments(tape, spec))
        outputs = results(tape, cell, spec, step)
    except Exception as error:
        said = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
        raise Untraceable(f"{said}{position(error)}") from error
    return Program(spec, tuple(tape.nodes), outputs)


def arguments(tape: Tape, spec: Spec) -> tuple[Inputs, State, Any]:
    """The three arguments of a step, as symbols."""

    def multiply(block: Block, gates: tuple[str, ...], operand: Any) -> Mapping[str, Any]:
        v = tape.lift(operand)
        if v.node.width != block.columns:
            raise Untraceable(f"{block.weight} takes rows of width {block.columns}, not {v.node.width}")
        row, found = 0, {}
        for gate, width in block.gates.items():
            if gate in gates:
                linear = tape.node("product", v, attr=(block.weight, row), width=width)
                bias = (block.bias, row)
                found[gate] = linear + vector(*bias, width) if block.bias else linear
            row += width
        return found

    def vector(name: str | None, row: int, width: int) -> Any:
        return tape.node("vector", attr=(name, row), width=width, rows=False)

    raw = tape.node("raw", width=spec.inputs, rows=True)
    states = {name: tape.node("state", attr=name, width=width, rows=True) for name, width in spec.states.items()}
    noise = {
        name: tape.node("noise", attr=name, width=n.width, rows=True) if n.known is None else tape.const(n.known)
        for name, n in spec.noise.items()
    }
    vectors = {name: vector(name, 0, width) for name, width in spec.vectors.items()}
    weights = bind_weights(spec, vectors, multiply, vector)
    block = spec.blocks.get("ih")
    ih = {} if block is None else {"ih": Product(block, multiply, bias_by_gate(block, vector))}
    return Inputs(raw=raw, **ih, **noise), State(**states), weights


def results(tape: Tape, cell: Cell, spec: Spec, step: Step) -> dict[tuple[Any, ...], int]:
    """What the step returned, by name, after checking that it is what the cell declares."""
    values = {name: tape.lift(value) for name, value in step.items()}
    if list(values)[: len(spec.states)] != list(spec.states):
        raise Untraceable(
            f"{cell!r} must return its states {[*spec.states]} first and in that order; it returned {[*values]}"
        )
    values["y"] = tape.lift(step.y)
    for name, width in {**spec.states, "y": spec.output}.items():
        node = values[name].node
        if node.width != width or not node.rows:
            raise Untraceable(
                f"{name} of {cell!r} must have {width} units after a step, got {node.width}"
                + ("" if node.rows else ", the same for every row")
            )
    taps = {("tap", name): v.id for name, v in values.items() if name not in spec.states and name != "y"}
    return {**{("state", name): values[name].id for name in spec.states}, ("y",): values["y"].id, **taps}


def position(error: BaseException) -> str:
    """Where in the author's own code an error arose: the innermost line outside of PyTorch and of the engine."""
    ours = (str(Path(__file__).parent), str(Path(torch.__file__).parent), str(Path(contract.__file__)))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
