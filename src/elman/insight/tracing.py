"""A run of a recurrent layer, taken down step by step: the one source that every measure reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from elman.cells import Cell, Spec, Step
from elman.cells.contract import State, bind_weights
from elman.engine import Operands
from elman.engine.eager import inputs_by_step, multiplication
from elman.insight.recorder import Projection, Recording, Seen, recording
from elman.nn import Recurrent
from elman.nn.stack import Stack


@dataclass(frozen=True, eq=False)
class TracedRun:
    """States and gradients of one layer over one batch of sequences.

    P = layers x directions passes, in the order layer 0, layer 0 reversed, layer 1, ...; everything stands at the
    step t that it belongs to, also in a reversed pass, whose step t comes after its step t + 1. What lies beyond a
    row's length is 0.

    Attributes:
        cell: what was run.
        stack: layers, directions and sizes.
        parameters: of each pass, by the cell's names.
        inputs: of each layer, what it read, (B, T, width).
        before: by state, what each step began with, (P, B, T, width).
        states: by state, as it left the step, (P, B, T, width).
        outputs: y, (P, B, T, output).
        lengths: (B,) steps of each row.
        resets: (B, T), true where a row starts afresh before that step, or None.
        gradients: by state, dL/ds_t: the total derivative by the state that step t makes, (P, B, T, width); empty
            for a run without a loss.
        arriving: by state, and under "y" where the output is no state, the part of it that does not come through
            the step itself, as that by c_t of an LSTM through h_t does: what a step's Jacobian is multiplied by.
        entering: the same keys, the part of that which does not come through later steps of its own pass: from the
            output, and at a row's last step from the final state.
        projections: of each `nn.Linear` that was applied at every step, by name, what it read and dL/d of what it
            returned, both (B, T, width).
    """

    cell: Cell
    stack: Stack
    parameters: Sequence[Mapping[str, Tensor]]
    inputs: Sequence[Tensor]
    before: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    outputs: Tensor
    lengths: Tensor
    resets: Tensor | None
    gradients: Mapping[str, Tensor]
    arriving: Mapping[str, Tensor]
    entering: Mapping[str, Tensor]
    projections: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def steps(self) -> int:
        """T."""
        return self.outputs.shape[2]

    @property
    def active(self) -> Tensor:
        """(B, T), true where a step belongs to its row."""
        return torch.arange(self.steps, device=self.lengths.device) < self.lengths[:, None]

    @property
    def names(self) -> list[str]:
        """Of the passes: "layer 0", "layer 0 reversed", ..."""
        return [f"layer {layer}" + " reversed" * way for layer, way, _ in self.stack.passes()]

    @property
    def output_is_state(self) -> bool:
        """Whether y is the first state."""
        return "y" not in self.entering

    def reversed(self, index: int) -> bool:
        """Whether a pass runs from the end to the start."""
        return index % self.stack.directions == 1

    def spec(self, index: int) -> Spec:
        """The cell's spec in a pass, its random numbers at rest."""
        return self.stack.resting[index // self.stack.directions]

    def x(self, index: int) -> Tensor:
        """What a pass read, (B, T, width)."""
        return self.inputs[index // self.stack.directions]

    def need_gradients(self) -> None:
        """Raises ValueError where the run had no loss."""
        if not self.gradients:
            raise ValueError("this measure needs gradients: trace the run with a loss")

    def need_steps(self, least: int = 2) -> None:
        """Raises ValueError where no row is long enough to look back in time."""
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        if longest < least:
            raise ValueError(f"this measure needs a sequence of {least} steps or more, the longest has {longest}")


def trace_run(
    model: nn.Module,
    x: Tensor,
    lengths: Tensor | None = None,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    layer: str | None = None,
) -> TracedRun:
    """Runs a layer or a model over a batch and takes down its states and gradients.

    Args:
        model: an `elman.Recurrent`, or a model with one inside that is called as model(x, lengths=lengths). It
            runs as it stands: call `model.eval()` first to leave dropout out. Neither it nor its gradients are
            changed.
        x: inputs as the model takes them.
        lengths: (B,) integers from 0 to T; None means all T.
        loss: from what the model returns to a number, or to one a row; of more than one the sum is
            differentiated. None: states alone.
        layer: the name of the recurrent layer, as in `model.named_modules()`, where the model has several.

    Raises:
        ValueError: no recurrent layer, or several and none is named; parameters or states that are not finite; no
            steps; a loss that does not depend on the layer.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("lstm", 3, 4, num_layers=2)
        >>> run = trace_run(layer, torch.randn(5, 7, 3), loss=lambda returned: returned[0][:, -1].sum())
        >>> run.gradients["c"].shape
        torch.Size([2, 5, 7, 4])
    """
    named = {} if lengths is None else {"lengths": lengths}
    with torch.set_grad_enabled(loss is not None):
        runs = trace_call(model, lambda: model(x, **named) if loss is None else loss(model(x, **named)))
    if layer is None and len(runs) > 1:
        raise ValueError(f"the model has several recurrent layers, name one by layer=: {', '.join(runs)}")
    if layer is not None and layer not in runs:
        raise ValueError(f"no recurrent layer {layer!r} was run; there are: {', '.join(runs)}")
    return runs[next(iter(runs)) if layer is None else layer]


def trace_call(model: nn.Module, compute: Callable[[], Any]) -> dict[str, TracedRun]:
    """Every recurrent layer of a model that runs in a computation, by its name in the model.

    Calls of a layer that go on with the state of the call before are one sequence.

    Args:
        model: as for `trace_run`.
        compute: calls the model, in any way; returns the loss. Under `torch.no_grad` states alone are taken down.

    Raises:
        ValueError: as `trace_run`; a layer that is called on several sequences.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("gru", 3, 4)
        >>> runs = trace_call(layer, lambda: layer(torch.randn(2, 6, 3))[0].square().mean())
        >>> [*runs], runs[""].states["h"].shape
        ([''], torch.Size([1, 2, 6, 4]))
    """
    for name, param in model.named_parameters():
        if not bool(param.isfinite().all()):
            raise ValueError(f"parameter {name} holds numbers that are not finite: there is nothing to measure")
    drawing = [
        name for name, m in model.named_modules() if isinstance(m, Recurrent) and m.training and m.stack.random
    ]
    if drawing:
        raise ValueError(
            f"the cell of layer {drawing[0]!r} draws random numbers in training: call model.eval() first"
        )
    with_loss = torch.is_grad_enabled()
    with recording(model) as (recordings, linear):
        loss = compute()
        found = {
            name: _Assembled(name, one, linear if with_loss else {})
            for name, one in recordings.items()
            if one.recorder.seen
        }
        if not found:
            raise ValueError("no recurrent layer of the model took a step: x has none, or they were not called")
        nodes = [node for one in found.values() for node in one.nodes()]
        if not with_loss:
            return {name: one.run([]) for name, one in found.items()}
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ValueError("the loss does not depend on a recurrent layer of the model")
        gradients = torch.autograd.grad(loss.sum(), nodes, materialize_grads=True)
    runs, first = {}, 0
    for name, one in found.items():
        count = len(one.nodes())
        runs[name] = one.run(gradients[first : first + count])
        first += count
    return runs


class _Assembled:
    """The notes of one layer, put in the order of passes and time."""

    def __init__(self, name: str, notes: Recording, linear: Mapping[str, Projection]) -> None:
        self.layer, self.cell = notes.layer, notes.cell
        self.stack = notes.layer.stack
        self.passes: list[list[Seen]] = [[] for _ in self.stack.passes()]
        ends = [call.first for call in notes.calls[1:]] + [len(notes.recorder.seen)]
        for call, end in zip(notes.calls, ends, strict=True):
            seen = notes.recorder.seen[call.first : end]
            steps = len(seen) // len(self.passes)
            for index, mine in enumerate(self.passes):
                part = seen[index * steps : (index + 1) * steps]
                mine += part[::-1] if index % self.stack.directions else part
        rows, steps = len(self.passes[0][0].y), len(self.passes[0])
        device = self.passes[0][0].y.device
        lengths, resets = notes.calls[0].lengths, notes.calls[0].resets
        if len(notes.calls) > 1:
            self._check_sequence(name, notes)
            resets = _joined_resets(notes, rows, steps)
        whole = torch.full((rows,), steps)
        self.lengths = (whole if lengths is None else torch.as_tensor(lengths)).to(device, torch.int64)
        self.resets = None if resets is None else torch.as_tensor(resets).to(device, torch.bool)
        self.linear = {n: p.calls for n, p in linear.items() if _at_every_step(p.calls, rows, steps)}
        self.separate = self.passes[0][0].separate

    def nodes(self) -> list[Tensor]:
        """What the loss is differentiated by, in the order in which `run` wants it."""
        steps = [node for mine in self.passes for s in mine for node in (*s.made.values(), *s.after.values(), s.y)]
        return steps + [y for calls in self.linear.values() for _, y in calls]

    def run(self, gradients: Sequence[Tensor]) -> TracedRun:
        """The run, with the gradients of `nodes`; without them, its states alone."""
        stack, like = self.stack, next(self.layer.parameters(), self.passes[0][0].y)
        active = (torch.arange(len(self.passes[0]), device=like.device) < self.lengths[:, None])[..., None]

        def taken(value: Callable[[Seen], Tensor], passes: Sequence[Sequence[Seen]] = self.passes) -> Tensor:
            # Under autocast the states are in another format than the parameters.
            found = torch.stack([torch.stack([value(s).detach() for s in mine], 1) for mine in passes])
            return found.to(like.dtype).masked_fill(~active, 0.0)

        names = list(stack.specs[0].states)
        states = {name: taken(lambda s, name=name: s.after[name]) for name in names}  # type: ignore[misc]
        outputs = taken(lambda s: s.y)
        for name, value in {**states, "y": outputs}.items():
            if not bool(value.isfinite().all()):
                raise ValueError(f"state {name} is not finite in this run: there is nothing to measure")
        found = self._gradients(names, gradients) if gradients else ({}, {}, {}, {})
        weights = dict(zip(stack.names, self.layer._weights(), strict=True))
        return TracedRun(
            cell=self.cell,
            stack=replace(stack, cell=self.cell),
            parameters=[
                {name: weights[name + suffix].detach() for name in stack.specs[layer].params}
                for layer, _, suffix in stack.passes()
            ],
            inputs=[taken(lambda s: s.x, [mine])[0] for mine in self.passes[:: stack.directions]],
            before={name: taken(lambda s, name=name: s.before[name]) for name in names},  # type: ignore[misc]
            states=states,
            outputs=outputs,
            lengths=self.lengths,
            resets=self.resets,
            gradients=found[0],
            arriving=found[1],
            entering=found[2],
            projections=found[3],
        )

    def _gradients(self, names: Sequence[str], gradients: Sequence[Tensor]) -> tuple[Any, Any, Any, Any]:
        """The four fields of `TracedRun` that are gradients."""
        steps, keys = len(self.passes[0]), [*names, *(f"after {name}" for name in names), "y"]
        split = len(self.passes) * steps * len(keys)
        by_key = {
            key: torch.stack([*gradients[k:split:][:: len(keys)]])
            .unflatten(0, (len(self.passes), steps))
            .transpose(1, 2)
            for k, key in enumerate(keys)
        }
        total, y = {name: by_key[name] for name in names}, by_key["y"]
        arriving = {name: by_key[f"after {name}"] for name in names}
        entering = {name: at_ends(value, self.lengths, self.stack.directions) for name, value in arriving.items()}
        key = "y" if self.separate else names[0]
        for part in (arriving, entering):
            part[key] = part[key] + y if key in part else y
        rest = iter(gradients[split:])
        projections = {
            name: (torch.cat([x for x, _ in calls], 1), torch.cat([next(rest) for _ in calls], 1))
            for name, calls in self.linear.items()
        }
        return total, arriving, entering, projections

    def _check_sequence(self, name: str, notes: Recording) -> None:
        """Several calls are one sequence only where each began with the state that the one before left."""
        mine = self.passes[0]
        starts = [(call.first - notes.calls[0].first) // len(self.passes) for call in notes.calls[1:]]
        joined = not self.stack.bidirectional and all(call.lengths is None for call in notes.calls)
        for start in starts if joined else ():
            before, after = mine[start].before, mine[start - 1].after
            joined = joined and all(
                before[k].shape == after[k].shape and torch.equal(before[k], after[k]) for k in after
            )
        if not joined:
            raise ValueError(f"layer {name!r} was called {len(notes.calls)} times, not on one sequence: trace one")


def at_ends(values: Tensor, lengths: Tensor, directions: int) -> Tensor:
    """(P, B, T, width) with all but each row's last step of its pass put to 0."""
    steps = torch.arange(values.shape[2], device=values.device)
    forwards, backwards = steps == lengths[:, None] - 1, (steps == 0).expand(len(lengths), -1)
    last = torch.stack([backwards if p % directions else forwards for p in range(len(values))])
    return values.masked_fill(~last[..., None], 0.0)


def local_step(
    run: TracedRun,
    index: int,
    x: Tensor,
    before: Mapping[str, Tensor],
    params: Mapping[str, Tensor] | None = None,
) -> Step:
    """The step of a pass on rows of their own: x (N, width) and states (N, width) by name."""
    spec, stored = run.spec(index), dict(run.parameters[index] if params is None else params)
    prepared = run.cell.prepare(stored, None)
    operands, multiply = Operands(x[:, None], before, {}, prepared), multiplication(prepared)
    (inputs,) = inputs_by_step(spec, operands, multiply)
    return run.cell.step(inputs, State(**before), bind_weights(spec, prepared, multiply, operands.part))


def left(step: Step, run: TracedRun) -> dict[str, Tensor]:
    """What leaves a step: its states, and its output under "y" where that is no state."""
    values = dict(step.items())
    return {name: values[name] for name in (*run.states, "y") if name in values}


def _at_every_step(calls: Sequence[tuple[Tensor, Tensor]], rows: int, steps: int) -> bool:
    whole = [x for x, _ in calls if x.dim() == 3 and len(x) == rows]
    return bool(calls) and len(whole) == len(calls) and sum(x.shape[1] for x in whole) == steps


def _joined_resets(notes: Recording, rows: int, steps: int) -> Tensor | None:
    """The resets of all calls side by side."""
    if all(call.resets is None for call in notes.calls):
        return None
    passes = notes.layer.stack.num_layers
    ends = [call.first for call in notes.calls[1:]] + [len(notes.recorder.seen)]
    parts = [
        torch.zeros(rows, (end - call.first) // passes, dtype=torch.bool) if call.resets is None else call.resets
        for call, end in zip(notes.calls, ends, strict=True)
    ]
    return torch.cat([part.cpu().bool() for part in parts], 1)
