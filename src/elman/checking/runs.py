"""Layers with given weights, what they are run over, and the definition: a row from its first step to its last."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elman.engine.tolerances import TOLERANCES
from elman.nn import Recurrent
from elman.nn.stack import Stack, Variation, run

Results = Mapping[str, Tensor]
_HOPELESS = 0.3  # of the largest value: a difference that nothing can be told from
ROUNDINGS = 16  # what a run in some format may differ by, in roundings of everything it reads
Call = Callable[[Any, Tensor, Sequence[Tensor], "Data"], tuple[Tensor, Sequence[Tensor]]]


@dataclass(frozen=True, eq=False)
class Data:
    """What a layer is run over.

    Attributes:
        x: (B, T, inputs); NaN beyond a row's length.
        state: each (passes, B, width); none: fresh ones.
        lengths: (B,), or None.
        resets: (B, T), or None.
        noise: seed and first step of what the cell draws; None: it is at rest.
    """

    x: Tensor
    state: tuple[Tensor, ...] = ()
    lengths: Tensor | None = None
    resets: Tensor | None = None
    noise: tuple[int, int] | None = None

    def to(self, dtype: torch.dtype) -> Data:
        """The same, rounded to a number format."""
        return replace(self, x=self.x.to(dtype), state=tuple(s.to(dtype) for s in self.state))


@dataclass(frozen=True, eq=False)
class Subject:
    """A recurrent network with its weights, to be made again for any backend and number format.

    Attributes:
        name: what a report calls it.
        stack: cell, sizes, layers and directions.
        weights: by the names of `Recurrent`; those of its trainable initial states too.
    """

    name: str
    stack: Stack
    weights: Mapping[str, Tensor]

    def layer(self, backend: str, dtype: torch.dtype, rounded: torch.dtype | None = None) -> Recurrent:
        """The network by a backend in a number format, its weights rounded to another one first."""
        s = self.stack
        trainable = any(name.startswith("initial_") for name in self.weights)
        layer = Recurrent(
            s.cell, s.input_size, s.hidden_size, s.num_layers, bias=s.bias, bidirectional=s.bidirectional,
            initial_state="trainable" if trainable else "zero", backend=backend, dtype=dtype,
        )  # fmt: skip
        layer.load_state_dict({name: w.to(rounded or dtype) for name, w in self.weights.items()})
        return layer.eval()

    def both_ways(self) -> Subject:
        """The first layer, forwards and from each row's end with the same weights."""
        own = {name: w for name, w in self.weights.items() if name.endswith("_l0")}
        weights = {**own, **{f"{name}_reverse": w for name, w in own.items()}}
        s = self.stack
        return Subject(self.name, Stack(s.cell, s.input_size, s.hidden_size, 1, True, s.bias), weights)


def drawn(name: str, stack: Stack, seed: int, *, starts: bool = False) -> Subject:
    """A network with random weights: as the cell draws them, and moved a little where it leaves them constant.

    Args:
        name: what a report calls it.
        stack: cell, sizes, layers and directions.
        seed: of the weights.
        starts: whether it has trainable initial states.
    """
    torch.manual_seed(seed)  # whoever calls has forked the generator
    layer = Recurrent(
        stack.cell, stack.input_size, stack.hidden_size, stack.num_layers, bias=stack.bias,
        bidirectional=stack.bidirectional, initial_state="trainable" if starts else "zero", dtype=torch.float64,
    )  # fmt: skip
    weights = {n: w + 0.1 * torch.randn(w.shape, dtype=w.dtype) for n, w in layer.state_dict().items()}
    return Subject(name, stack, weights)


def data_for(stack: Stack, rows: int, steps: int, seed: int) -> dict[str, Data]:
    """What a network is run over, by the way: whole rows, lengths from 0 on before NaN, resets, noise."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x, passes = normal(rows, steps, stack.input_size), stack.num_layers * stack.directions
    state = tuple(0.5 * normal(passes, rows, width) for width in stack.specs[0].states.values())
    lengths = torch.randint(0, steps + 1, (rows,), generator=g)
    lengths[: min(3, rows)] = torch.tensor([steps, 0, steps // 2])[:rows]
    padded = x.masked_fill((torch.arange(steps) >= lengths[:, None])[..., None], torch.nan)
    resets = torch.rand(rows, steps, generator=g) < 0.3
    resets[0, steps // 2] = True
    found = {
        "full": Data(x, state),
        "lengths": Data(padded, state, lengths),
        "resets": Data(x, resets=resets),
    }
    return found | {"noise": replace(found["lengths"], noise=(seed, 0))} if stack.random else found


def results(layer: nn.Module, data: Data, call: Call) -> Results:
    """Output, final states and the gradient of x, of the states and of every parameter, by name.

    What arrives at the outputs is random, and equal for equal shapes in every number format.
    """
    x, state = data.x.detach().clone().requires_grad_(), [s.detach().clone().requires_grad_() for s in data.state]
    y, final = call(layer, x, state, data)
    g, values = torch.Generator().manual_seed(1), [y, *final]
    arriving = [torch.randn(v.shape, generator=g).to(v.dtype) for v in values]
    pairs = [(v, d) for v, d in zip(values, arriving, strict=True) if v.requires_grad]
    params = dict(layer.named_parameters())
    leaves = [x, *state, *params.values()]
    found = torch.autograd.grad(
        [v for v, _ in pairs], leaves, [d for _, d in pairs], allow_unused=True, materialize_grads=True
    )
    names = ["x", *(f"state {k}" for k in range(len(state))), *params]
    return {
        "y": y.detach(),
        **{f"final state {k}": v.detach() for k, v in enumerate(final)},
        **{f"gradient of {name}": gradient for name, gradient in zip(names, found, strict=True)},
    }


class Reference(NamedTuple):
    """What the definition says.

    Attributes:
        exact: in fp64, of what was rounded to the format of a run.
        moved: how far that moves, by name, where weights, inputs and states move by one rounding of the format.
    """

    exact: Results
    moved: Mapping[str, float]

    def only(self, kept: Callable[[str], bool]) -> Reference:
        """The same of some tensors."""
        return Reference({name: v for name, v in self.exact.items() if kept(name)}, self.moved)


def reference(subject: Subject, data: Data, call: Call, dtype: torch.dtype) -> Reference:
    """The definition's results in fp64 for a run in a number format; a sensitive cell moves them far."""
    layer, data = subject.layer("eager", torch.float64, dtype), data.to(dtype).to(torch.float64)
    exact = results(layer, data, call)
    moved = dict.fromkeys(exact, 0.0)
    weights = layer.state_dict()
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)

        def rounded(v: Tensor, g: torch.Generator = g) -> Tensor:
            return v * (1 + torch.finfo(dtype).eps / 2 * torch.randn(v.shape, generator=g, dtype=v.dtype))

        layer.load_state_dict({name: rounded(w) for name, w in weights.items()})
        near = replace(data, x=rounded(data.x), state=tuple(map(rounded, data.state)))
        for name, value in results(layer, near, call).items():
            if value.numel():
                moved[name] = max(moved[name], float((value - exact[name]).abs().max()))
    return Reference(exact, moved)


def compared(got: Results, wanted: Reference, dtype: torch.dtype) -> tuple[bool | None, str]:
    """Whether all agree, and the largest difference; or the first tensor that does not, where, and both values.

    A difference is relative to the largest number of its tensor where that is above 1. It may be as large as the
    table says or, of a sensitive cell, as `ROUNDINGS` roundings of everything that was read make it; where these
    alone make it as large as the values, nothing is judged (None).

    Example:
        >>> exact = {"y": torch.tensor([1.0, 2.0])}
        >>> compared({"y": torch.tensor([1.0, 2.5])}, Reference(exact, {"y": 0.0}), torch.float32)
        (False, 'y[1] is 2.5, by the definition 2')
    """
    largest = 0.0
    for name, exact in wanted.exact.items():
        found = got[name].to(exact.dtype)
        if found.shape != exact.shape:
            return False, f"{name} has shape {tuple(found.shape)}, by the definition {tuple(exact.shape)}"
        if not exact.numel():
            continue
        scale = float(exact.abs().max().clamp(min=1.0))
        apart = ((found - exact).abs() / scale).nan_to_num(nan=torch.inf, posinf=torch.inf)
        worst = int(apart.argmax())
        difference = float(apart.flatten()[worst])
        if not difference <= max(TOLERANCES[dtype], ROUNDINGS * wanted.moved[name] / scale):
            place = ", ".join(str(int(i)) for i in torch.unravel_index(torch.tensor(worst), exact.shape))
            values = float(found.flatten()[worst]), float(exact.flatten()[worst])
            return False, f"{name}[{place}] is {values[0]:.6g}, by the definition {values[1]:.6g}"
        if difference > _HOPELESS:
            return None, f"not judged: the roundings of this format alone move {name} by {difference:.0e}"
        largest = max(largest, difference)
    return True, f"{largest:.0e}"


def called(layer: Recurrent, x: Tensor, state: Sequence[Tensor], data: Data) -> tuple[Tensor, Sequence[Tensor]]:
    """The layer, called as everybody calls it."""
    y, final = layer(x, tuple(state) or None, lengths=data.lengths, resets=data.resets, noise=data.noise)
    return y, final


def by_definition(
    layer: Recurrent, x: Tensor, state: Sequence[Tensor], data: Data
) -> tuple[Tensor, Sequence[Tensor]]:
    """The same without lengths and resets: each row alone, cut where it ends and starts afresh.

    With noise all rows run together: what is drawn depends on the number of the row.
    """
    if data.noise is not None or (data.lengths is None and data.resets is None):
        return called(layer, x, state, data)
    directions, ys, finals = layer.stack.directions, [], []
    for row, end in enumerate(_ends(data)):
        resets = [] if data.resets is None else [t for t in range(1, end) if data.resets[row, t]]
        before = tuple(s[:, row : row + 1] for s in state) or None
        pieces = [layer(x[row : row + 1, a:b], before) for a, b in itertools.pairwise([0, *resets, end])]
        pieces = pieces or [layer(x[row : row + 1, :0], before)]
        y = torch.cat([piece for piece, _ in pieces], 1)
        ys.append(_padded(y, x.shape[1]))
        first, last = pieces[0][1], pieces[-1][1]  # backwards a row ends where it begins
        finals.append([_by_direction(a, b, directions) for a, b in zip(last, first, strict=True)])
    return torch.cat(ys), [torch.cat(values, 1) for values in zip(*finals, strict=True)]


def both_ways(layer: Recurrent, x: Tensor, state: Sequence[Tensor], data: Data) -> tuple[Tensor, Sequence[Tensor]]:
    """A layer of two directions, each row alone and turned round for the second."""
    s, ys, finals = layer.stack, [], []
    stack = Stack(s.cell, s.input_size, s.hidden_size, 1, False, s.bias)
    for direction, suffix in enumerate(("_l0", "_l0_reverse")):
        params = [layer.get_parameter(name + suffix) for name in stack.specs[0].params]
        rows = []
        for row, end in enumerate(_ends(data)):
            piece = x[row : row + 1, :end]
            before = {
                name: v[direction : direction + 1, row : row + 1]
                for name, v in zip(stack.specs[0].states, state, strict=True)
            }
            y, final = run(stack, params, _turned(piece, direction), before, Variation(backend="eager"))
            rows.append((_padded(_turned(y, direction), x.shape[1]), final))
        ys.append(torch.cat([y for y, _ in rows]))
        finals.append([torch.cat(values, 1) for values in zip(*(final for _, final in rows), strict=True)])
    return torch.cat(ys, -1), [torch.cat(values) for values in zip(*finals, strict=True)]


def _ends(data: Data) -> list[int]:
    rows, steps = data.x.shape[:2]
    return [steps] * rows if data.lengths is None else [int(n) for n in data.lengths]


def _padded(y: Tensor, steps: int) -> Tensor:
    return nn.functional.pad(y, (0, 0, 0, steps - y.shape[1]))


def _turned(v: Tensor, direction: int) -> Tensor:
    return v.flip(1) if direction else v


def _by_direction(forwards: Tensor, backwards: Tensor, directions: int) -> Tensor:
    if directions == 1:
        return forwards
    reverse = torch.arange(len(forwards)) % 2 == 1
    return torch.where(reverse[:, None, None], backwards, forwards)
