"""How much of the loss reaches a state, by its distance in time from the end of the sequence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from elman.cells import Cell, Inputs, Spec, State, Step, Weights
from elman.models import ManyToOne
from elman.nn import Layers


def gradient_by_distance(
    model: ManyToOne, x: Tensor, lengths: Tensor | None, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """The mean over rows of ||dL/dh_{T-k}||: the norm of the gradient, k steps before a row's last step T.

    dL/dh_t is the total derivative: h_t acts on the loss through all later steps, through the layers above
    and through the pooling. In one layer pooled by its last step it is, by the chain rule,

        dL/dh_{T-k} = dL/dh_T · J_T · J_{T-1} ··· J_{T-k+1},   J_t = dh_t/dh_{t-1},

    where J_t = diag(1 - h_t²) W for the RNN. These k factors are why it vanishes or explodes with k.

    Args:
        model: a many-to-one model in one direction. It runs as it stands: call `model.eval()` first to leave
            dropout out. Neither the model nor its gradients are changed.
        x: inputs as the model takes them, (B, T) or (B, T, ...).
        lengths: (B,) integers from 0 to T; None means all T.
        loss: the loss of each row, (B,), from the model's output (B, output_size).

    Returns:
        (layers, T): in column k the mean over the rows with more than k steps, NaN where there is none. The
        unit is that of the loss for one unit of the cell's first state h.

    Raises:
        ValueError: the model reads in both directions or with `Layers`, x has no steps, or the loss is not one
            number a row.

    Source:
        Y. Bengio, P. Simard and P. Frasconi, Learning long-term dependencies with gradient descent is
        difficult, IEEE Transactions on Neural Networks 5 (1994); R. Pascanu, T. Mikolov and Y. Bengio,
        arXiv:1211.5063v2.

    Example:
        >>> from elman.nn import Recurrent
        >>> model = ManyToOne(Recurrent("lstm", 4, 8, num_layers=2), 3)
        >>> x, lengths, labels = torch.randn(5, 6, 4), torch.tensor([6, 2, 5, 3, 5]), torch.ones(5).long()
        >>> rows = lambda scores: torch.nn.functional.cross_entropy(scores, labels, reduction="none")
        >>> gradient_by_distance(model, x, lengths, rows).shape
        torch.Size([2, 6])
    """
    if isinstance(model.recurrent, Layers):
        raise ValueError("gradient by distance is drawn for equal layers: a model with one Recurrent")
    stack = model.recurrent.stack
    if stack.bidirectional:
        raise ValueError(
            "gradient by distance is defined for one direction: reversed states are reached from the first "
            "step, so that one step has two distances; got a bidirectional model"
        )
    if x.shape[1] == 0:
        raise ValueError(f"x must have at least one step, got shape {tuple(x.shape)}")
    recorder = StateRecorder(stack.cell)
    try:
        with torch.enable_grad():
            rows = loss(_scores(model, recorder, x, lengths))
            if rows.shape != x.shape[:1]:
                raise ValueError(f"loss must return one number a row, ({len(x)},); got {tuple(rows.shape)}")
            # A row's loss depends on its own states only, so that the sum differentiates every row at once.
            found = torch.autograd.grad(rows.sum(), recorder.seen, materialize_grads=True)
    finally:
        # The engine keeps the cells it has run; the states of this run shall not stay with them.
        recorder.seen.clear()
    norms = torch.stack(found).norm(dim=-1).unflatten(0, (stack.num_layers, x.shape[1]))
    return _mean_by_distance(norms, lengths)


@dataclass(frozen=True)
class StateRecorder(Cell):
    """A cell that computes what another does and keeps the first state of every step, (B, width), in order."""

    cell: Cell
    seen: list[Tensor] = field(default_factory=list, compare=False, repr=False)

    def spec(self, inputs: int, hidden: int, bias: bool = True) -> Spec:
        """The other cell's own."""
        return self.cell.spec(inputs, hidden, bias)

    def step(self, x: Inputs, s: State, w: Weights) -> Step:
        """The other cell's own."""
        step = self.cell.step(x, s, w)
        _, first = next(step.items())
        self.seen.append(first)
        return step


def _scores(model: ManyToOne, recorder: StateRecorder, x: Tensor, lengths: Tensor | None) -> Tensor:
    """What the model's forward returns, its recurrent layers run by the recorder, first layer first."""
    recurrent: Any = copy.copy(model.recurrent)  # a second view of the same parameters
    recurrent.stack = replace(recurrent.stack, cell=recorder)
    recurrent.backend = "eager"  # the only one that runs `step` itself
    # Asking for the inputs' gradient keeps the states differentiable in a model whose parameters are frozen.
    encoded = model.encode(x, lengths).detach().requires_grad_()
    lengths = None if lengths is None else lengths.to(x.device)
    y, _ = recurrent(model.dropout(encoded), lengths=lengths)
    scores: Tensor = model.head(model.dropout(model.pooling(y, lengths)))
    return scores


def _mean_by_distance(norms: Tensor, lengths: Tensor | None) -> Tensor:
    """From (layers, T, B) by time to (layers, T) by distance from each row's last step."""
    steps, rows = norms.shape[1:]
    ends = norms.new_full((rows,), steps) if lengths is None else lengths.to(norms.device)
    time = ends.long() - 1 - torch.arange(steps, device=norms.device)[:, None]
    exists = time >= 0
    aligned = norms.gather(1, time.clamp(min=0).expand_as(norms)).where(exists, 0.0)
    return aligned.sum(-1) / exists.sum(-1)
