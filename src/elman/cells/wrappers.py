"""Cells around cells: each changes one thing of the step that it wraps, and is a cell itself.

They compose, from the inside out: cell, Projection, RecurrentDropout or WeightDrop, LayerNorm, Zoneout or Clip,
Residual. In another order some pairs do not fit, and say so: Projection(Zoneout(cell)) would mix two widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, rsqrt
from torch.nn.functional import layer_norm
from torch.nn.init import ones_

from elman.cells.contract import Cell, Draw, Inputs, State, Step, Value, Weights
from elman.cells.spec import Block, Noise, Param, Spec


@dataclass(frozen=True)
class Wrapper(Cell):
    """A cell that is another one but for what it overrides.

    Args:
        cell: the cell inside.
    """

    cell: Cell

    def __post_init__(self) -> None:
        if not isinstance(self.cell, Cell):
            raise TypeError(f"{type(self).__name__} wraps a cell, not {self.cell!r}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The spec of the cell inside."""
        return self.cell.spec(inputs, hidden, bias)

    def initialise(self, params: Mapping[str, Tensor]) -> None:
        """As the cell inside does."""
        self.cell.initialise(params)

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """As the cell inside does."""
        return self.cell.prepare(params, draw)

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything, here or inside."""
        return type(self).prepare is not Wrapper.prepare or self.cell.prepares

    @property
    def draws(self) -> bool:
        """Whether `prepare` draws random numbers, here or inside."""
        return self.cell.draws

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The step of the cell inside."""
        return self.cell.step(x, s, w)


@dataclass(frozen=True)
class LayerNorm(Wrapper):
    """Normalises what comes out of the products with weight_hh and weight_ih, before the biases are added.

    k N(W h_{t-1}) + l N(U x_t) + b   in place of   W h_{t-1} + U x_t + b

    with N(v) = (v - mean(v)) / sqrt(var(v) + eps), for each gate by itself, or jointly over the units of all
    gates. The gains k (`gain_hh_i`, ...) and l (`gain_ih_i`, ...) start from 1; the biases are the shifts. To
    normalise the cell state of an LSTM before its output too, which no wrapper can reach, take LayerNormLSTM.

    Args:
        cell: the cell inside.
        inputs: whether the product with x_t is normalised too.
        joint: whether mean and variance are over all gates of a product together.
        eps: added to the variance.

    Source:
        J. Ba, J. Kiros and G. Hinton, arXiv:1607.06450 (2016).

    Example:
        >>> from elman.cells.gru import GRU
        >>> [*LayerNorm(GRU(), inputs=False).spec(3, 5).vectors]
        ['gain_hh_r', 'gain_hh_z', 'gain_hh_n']
    """

    inputs: bool = True
    joint: bool = False
    eps: float = 1e-5

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With a gain for each gate of each product."""
        spec = super().spec(inputs, hidden, bias)
        gains = {
            f"gain_{name}_{gate}": width
            for name in ("ih", "hh")[not self.inputs :]
            if name in spec.blocks
            for gate, width in spec.blocks[name].gates.items()
        }
        return spec.extend(vectors=gains, params={name: Param((width,), ones_) for name, width in gains.items()})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, with other products."""
        blocks = dict(w.items())
        if self.inputs and "ih" in blocks:
            x = x.with_(ih=x.ih.after(lambda rows: self._normal(rows, "ih", blocks)))
        if "hh" in blocks:
            w = w.with_(hh=w.hh.after(lambda rows: self._normal(rows, "hh", blocks)))
        return self.cell.step(x, s, w)

    def _normal(self, rows: Mapping[str, Value], block: str, gains: Mapping[str, Value]) -> dict[str, Value]:
        if self.joint:
            normal = self._together(rows)
        else:
            normal = {gate: layer_norm(v, v.shape[-1:], eps=self.eps) for gate, v in rows.items()}
        return {gate: v * gains[f"gain_{block}_{gate}"] for gate, v in normal.items()}

    def _together(self, rows: Mapping[str, Value]) -> dict[str, Value]:
        share = {gate: v.shape[-1] / sum(r.shape[-1] for r in rows.values()) for gate, v in rows.items()}

        def mean(values: Mapping[str, Value]) -> Value:
            parts: list[Any] = [v.mean(-1, keepdim=True) * share[gate] for gate, v in values.items()]
            return sum(parts[1:], parts[0])

        middle = mean(rows)
        centred = {gate: v - middle for gate, v in rows.items()}
        scale = rsqrt(mean({gate: v * v for gate, v in centred.items()}) + self.eps)
        return {gate: v * scale for gate, v in centred.items()}


@dataclass(frozen=True)
class Zoneout(Wrapper):
    """While training, units keep their state of before the step with probability p.

    s_t = m s_{t-1} + (1 - m) s'_t,   m = 1 with probability p, else 0, for each unit of each state s

    where s'_t is what the cell inside computes. In evaluation m is p, its mean.

    Args:
        cell: the cell inside.
        p: probability of keeping a unit; or one for each state, in their order.

    Source:
        D. Krueger et al., arXiv:1606.01305v4 (2017).

    Example:
        >>> from elman.cells.lstm import LSTM
        >>> [*Zoneout(LSTM(), p=(0.05, 0.5)).spec(3, 5).noise]
        ['zoneout_h', 'zoneout_c']
    """

    p: float | tuple[float, ...] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for p in self.p if isinstance(self.p, tuple) else (self.p,):
            if not 0 <= p <= 1:
                raise ValueError(f"p must be a probability from 0 to 1, got {p}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With a noise for each state."""
        spec = super().spec(inputs, hidden, bias)
        rates = self.p if isinstance(self.p, tuple) else (self.p,) * len(spec.states)
        if len(rates) != len(spec.states):
            raise ValueError(f"p must be one number, or one for each state {[*spec.states]}; got {self.p}")
        noise = {
            f"zoneout_{name}": Noise(width, p, hit=1.0, miss=0.0, rest=p)
            for (name, width), p in zip(spec.states.items(), rates, strict=True)
        }
        return spec.extend(noise=noise)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, then for each unit the old state or the new one."""
        new = self.cell.step(x, s, w)
        states = {}
        for name, old in s.items():
            keep = x[f"zoneout_{name}"]
            states[name] = keep * old + (1 - keep) * getattr(new, name)  # of m = 1 the old one in every bit
        return new.with_(**states)


@dataclass(frozen=True)
class RecurrentDropout(Wrapper):
    """While training, drops units of what weight_hh multiplies: the same ones at every step of a sequence.

    W (m h_{t-1})   in place of   W h_{t-1},   m = 0 with probability p, else 1 / (1 - p)

    The state itself is carried on whole.

    Args:
        cell: the cell inside; it must have a product with weight_hh.
        p: probability of dropping a unit, below 1.

    Source:
        Y. Gal and Z. Ghahramani, arXiv:1512.05287v5 (2016).

    Example:
        >>> from elman.cells.gru import GRU
        >>> RecurrentDropout(GRU(), p=0.2).spec(3, 5).noise["recurrent_dropout"].per
        'sequence'
    """

    p: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        _below_one(self.p)

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With one noise a sequence."""
        spec = super().spec(inputs, hidden, bias)
        width = _recurrent(self, spec).columns
        noise = Noise(width, self.p, hit=0.0, miss=1 / (1 - self.p), rest=1.0, per="sequence")
        return spec.extend(noise={"recurrent_dropout": noise})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, with another operand of weight_hh."""
        return self.cell.step(x, s, w.with_(hh=w.hh.before(lambda v: v * x.recurrent_dropout)))


@dataclass(frozen=True)
class WeightDrop(Wrapper):
    """While training, drops entries of weight_hh: the same ones at every step and for all rows of a call.

    (M * W) h_{t-1}   in place of   W h_{t-1},   M_ij = 0 with probability p, else 1 / (1 - p)

    Args:
        cell: the cell inside; it must have a product with weight_hh.
        p: probability of dropping an entry, below 1.

    Source:
        S. Merity, N. Keskar and R. Socher, arXiv:1708.02182 (2017); after L. Wan et al., Regularization of neural
        networks using DropConnect, ICML (2013).

    Example:
        >>> from elman.cells.lstm import LSTM
        >>> WeightDrop(LSTM(), p=0.5).prepares
        True
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _below_one(self.p)

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """That of the cell inside, once it is seen to have a recurrent matrix."""
        spec = super().spec(inputs, hidden, bias)
        _recurrent(self, spec)
        return spec

    @property
    def draws(self) -> bool:
        """It does."""
        return True

    def prepare(self, params: dict[str, Tensor], draw: Draw | None) -> dict[str, Tensor]:
        """With another weight_hh while training."""
        params = super().prepare(params, draw)
        if draw is None:
            return params
        weight = params["weight_hh"]
        noise = Noise(weight.shape[1], self.p, hit=0.0, miss=1 / (1 - self.p), rest=1.0)
        return {**params, "weight_hh": weight * draw(noise, weight.shape[0])}


@dataclass(frozen=True)
class Residual(Wrapper):
    """Adds the input to the output: y_t = y'_t + x_t, where y'_t is the output of the cell inside.

    Where x_t has another width than y_t, it is brought there by `weight_residual`: y_t = y'_t + R x_t.

    Source:
        K. He et al., arXiv:1512.03385 (2015); between recurrent layers Y. Wu et al., arXiv:1609.08144v2 (2016).

    Example:
        >>> from elman.cells.gru import GRU
        >>> [["weight_residual" in Residual(GRU()).spec(n, 5).params] for n in (5, 3)]
        [[False], [True]]
    """

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With a matrix where the widths differ."""
        spec = super().spec(inputs, hidden, bias)
        if spec.output == inputs:
            return spec
        block = Block("weight_residual", None, {"y": spec.output}, inputs)
        param = Param((spec.output, inputs))
        return spec.extend(blocks={"residual": block}, params={block.weight: param})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, then the sum."""
        new, blocks = self.cell.step(x, s, w), dict(w.items())
        return new.with_(y=new.y + (blocks["residual"](x.raw).y if "residual" in blocks else x.raw))


@dataclass(frozen=True)
class Projection(Wrapper):
    """Projects the first state, which is the output, to fewer units: h_t = P h'_t, `size` of them.

    h'_t is what the cell inside computes from the projected h_{t-1}: weight_hh has `size` columns. The cell must
    use h_{t-1} in products alone: an LSTM does, a GRU adds it to h_t and does not fit.

    Args:
        cell: the cell inside.
        size: units of h_t.

    Source:
        H. Sak, A. Senior and F. Beaufays, arXiv:1402.1128v1 (2014).

    Example:
        >>> from elman.cells.lstm import LSTM
        >>> Projection(LSTM(), size=2).spec(3, 5).states
        {'h': 2, 'c': 5}
    """

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """With other widths of the first state and of the output, and the matrix weight_hr."""
        spec = super().spec(inputs, hidden, bias)
        first, recurrent = next(iter(spec.states)), _recurrent(self, spec)
        weight = replace(spec.params["weight_hh"], shape=(sum(recurrent.gates.values()), self.size))
        spec = replace(
            spec,
            output=self.size,
            states={**spec.states, first: self.size},
            blocks={**spec.blocks, "hh": replace(recurrent, columns=self.size)},
            params={**spec.params, "weight_hh": weight},
        )
        block = Block("weight_hr", None, {first: self.size}, hidden)
        return spec.extend(blocks={"hr": block}, params={"weight_hr": Param((self.size, hidden))})

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, then the product."""
        new = self.cell.step(x, s, w)
        first, value = next(new.items())
        return new.with_(**{first: w.hr(value)[first]})


@dataclass(frozen=True)
class Clip(Wrapper):
    """Keeps every unit of every state within ±limit after each step. Where it is cut off, no gradient passes.

    The equations of a step run first: h_t of an LSTM is made from c_t before c_t is clipped.

    Args:
        cell: the cell inside.
        limit: the largest absolute value.
        only: the names of the states that are clipped; none: all.

    Source:
        The option `cell_clip` of H. Sak, A. Senior and F. Beaufays, arXiv:1402.1128v1 (2014), for any state.

    Example:
        >>> from elman.cells.rnn import RNN
        >>> Clip(RNN(nonlinearity="relu"), limit=5.0).spec(3, 5).states
        {'h': 5}
    """

    limit: float = 1.0
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.limit > 0:
            raise ValueError(f"limit must be above 0, got {self.limit}")

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """That of the cell inside, once the states are seen to be there."""
        spec = super().spec(inputs, hidden, bias)
        if unknown := set(self.only) - set(spec.states):
            raise ValueError(f"{self.cell!r} has no states {sorted(unknown)}; there are {[*spec.states]}")
        return spec

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The cell's own step, then the bounds."""
        new = self.cell.step(x, s, w)
        names = self.only or tuple(name for name, _ in s.items())
        return new.with_(**{name: getattr(new, name).clamp(-self.limit, self.limit) for name in names})


def _below_one(p: float) -> None:
    if not 0 <= p < 1:
        raise ValueError(f"p must be a probability from 0 to below 1, got {p}")


def _recurrent(wrapper: Wrapper, spec: Spec) -> Block:
    """The recurrent matrix."""
    if "hh" not in spec.blocks:
        raise ValueError(f"{type(wrapper).__name__} changes the product with weight_hh, {wrapper.cell!r} has none")
    return spec.blocks["hh"]
