"""Gradients through time: how much reaches a state, how far back, and what each step gives to each weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from elman.insight.tracing import TracedRun, left, local_step, trace_run


def gradient_norms(run: TracedRun, state: str | None = None) -> Tensor:
    """||dL/ds_t|| of every pass, row and step.

    dL/ds_t is the total derivative: s_t acts on the loss through all later steps, through the layers above and
    through what stands over them. In one layer whose last output alone is read it is, by the chain rule,

        dL/ds_{T-k} = dL/ds_T · J_T · J_{T-1} ··· J_{T-k+1},   J_t = ds_t/ds_{t-1},

    where J_t = diag(1 - h_t²) W for the RNN. These k factors are why it vanishes or explodes with k.

    Args:
        run: traced with a loss.
        state: one of the cell's states; None: all of them as one vector.

    Returns:
        (P, B, T), P = layers x directions; NaN beyond a row's length. The unit is that of the loss for one unit of
        the state.

    Raises:
        ValueError: the run has no loss, or the cell no such state.

    Source:
        Y. Bengio, P. Simard and P. Frasconi, Learning long-term dependencies with gradient descent is
        difficult, IEEE Transactions on Neural Networks 5 (1994); R. Pascanu, T. Mikolov and Y. Bengio,
        arXiv:1211.5063v2.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight_hh_l0, 0.5)
        >>> run = trace_run(layer, torch.zeros(1, 3, 1), loss=lambda returned: returned[0][:, -1].sum())
        >>> gradient_norms(run).tolist()
        [[[0.25, 0.5, 1.0]]]
    """
    run.need_gradients()
    if state is not None and state not in run.gradients:
        raise ValueError(f"no state {state!r}; there are: {', '.join(run.gradients)}")
    chosen = run.gradients.values() if state is None else [run.gradients[state]]
    norms: Tensor = torch.cat([*chosen], -1).norm(dim=-1)
    return norms.masked_fill(~run.active, math.nan)


def by_distance(run: TracedRun, values: Tensor) -> Tensor:
    """From (P, B, T) by time to (P, T) by distance from the last step of a pass: the mean over the rows.

    A pass forwards ends with its row's last step, a reversed one with the first step. NaN where no row is so long.
    """
    return mean_by_distance(values, run.lengths, [run.reversed(p) for p in range(len(values))])


def mean_by_distance(values: Tensor, lengths: Tensor, backwards: Sequence[bool]) -> Tensor:
    """`by_distance` of passes, for each of which `backwards` says whether it runs from the end to the start."""
    steps = torch.arange(values.shape[2], device=values.device)
    exists = steps < lengths[:, None]  # a row of n steps has the distances 0 to n - 1, in either direction
    from_end = (lengths[:, None] - 1 - steps).clamp(min=0)
    time = torch.stack([steps.expand_as(from_end) if back else from_end for back in backwards])
    aligned = values.gather(2, time).where(exists, 0.0)
    return aligned.sum(1) / exists.sum(0)


def gradient_by_distance(
    model: nn.Module, x: Tensor, lengths: Tensor | None, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """The mean over rows of ||dL/dh_{T-k}||: `gradient_norms` of the first state, k steps before a pass's end.

    Args:
        model: a layer or a model, as for `trace_run`.
        x: inputs as the model takes them, (B, T) or (B, T, ...).
        lengths: (B,) integers from 0 to T; None means all T.
        loss: the loss of each row, (B,), from what the model returns.

    Returns:
        (P, T): in column k the mean over the rows with more than k steps, NaN where there is none.

    Raises:
        ValueError: as `trace_run`, or the loss is not one number a row.

    Example:
        >>> from elman.models import ManyToOne
        >>> from elman.nn import Recurrent
        >>> model = ManyToOne(Recurrent("lstm", 4, 8, num_layers=2), 3)
        >>> x, lengths, labels = torch.randn(5, 6, 4), torch.tensor([6, 2, 5, 3, 5]), torch.ones(5).long()
        >>> rows = lambda scores: nn.functional.cross_entropy(scores, labels, reduction="none")
        >>> gradient_by_distance(model, x, lengths, rows).shape
        torch.Size([2, 6])
    """

    def checked(returned: Tensor) -> Tensor:
        rows = loss(returned)
        if rows.shape != x.shape[:1]:
            raise ValueError(f"loss must return one number a row, ({len(x)},); got {tuple(rows.shape)}")
        return rows

    run = trace_run(model, x, lengths, loss=checked)
    return by_distance(run, gradient_norms(run, next(iter(run.states))))


def lag_curve(run: TracedRun, lags: int | None = None) -> Tensor:
    """The gradient of the loss at step t with respect to the state k steps back, the mean over t and rows.

        g_{t,0} = what enters at step t: from its output, and at a row's last step from the final state
        g_{t,k} = g_{t,k-1} J_{t-k+1};   curve(k) = mean of ||g_{t,k}|| over all t with g_{t,0} != 0 and t >= k

    where J_t = ds_t/ds_{t-1} is the step's Jacobian, of all states together. In the last layer this is the
    gradient of the loss at step t; in a layer below, of what it receives from above at step t. A reversed pass
    looks back in its own order, towards the end of the row. Where the output is no state, lag 0 is what the output
    alone is given, and the state from lag 1 on.

    Args:
        run: traced with a loss.
        lags: the largest k; None: T - 1.

    Returns:
        (P, lags + 1), NaN where no row is so long.

    Raises:
        ValueError: the run has no loss, no row has two steps, or lags is not from 1 to T - 1.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight_hh_l0, 0.5)
        >>> run = trace_run(layer, torch.zeros(1, 4, 1), loss=lambda returned: returned[0].sum())
        >>> lag_curve(run).tolist()
        [[1.0, 0.5, 0.25, 0.125]]
    """
    run.need_gradients()
    run.need_steps()
    lags = run.steps - 1 if lags is None else lags
    if not 1 <= lags < run.steps:
        raise ValueError(f"lags must be from 1 to T - 1 = {run.steps - 1}, got {lags}")
    return torch.stack([_lag_curve(run, index, lags) for index in range(len(run.outputs))])


def _lag_curve(run: TracedRun, index: int, lags: int) -> Tensor:
    before = {name: value[index].flatten(0, 1).requires_grad_() for name, value in run.before.items()}
    with torch.enable_grad():
        out = left(local_step(run, index, run.x(index).flatten(0, 1), before), run)
    out = {name: value for name, value in out.items() if value.requires_grad}
    g = {name: value[index] for name, value in run.entering.items()}
    # Row (b, t) of g holds what has come to s_t; `begun` is whether that set out from a step with a loss.
    begun = torch.cat([*g.values()], -1).abs().amax(-1) > 0
    connected = _connected(run, index)
    found = []
    for lag in range(lags + 1):
        norms = torch.cat([*g.values()], -1).norm(dim=-1)
        found.append(norms.where(begun, 0.0).sum() / begun.sum())
        if lag < lags:
            given = [g[name].flatten(0, 1).to(value.dtype) for name, value in out.items()]
            back = torch.autograd.grad(
                [*out.values()], [*before.values()], given, retain_graph=True, materialize_grads=True
            )
            passed = dict(zip(before, (b.unflatten(0, begun.shape) for b in back), strict=True))
            g = {name: _earlier(passed[name] * connected[..., None], run, index) for name in before}
            begun = _earlier(begun & run.active, run, index)
            if not run.output_is_state:
                g["y"] = torch.zeros_like(run.outputs[index])
    return torch.stack(found)


def _connected(run: TracedRun, index: int) -> Tensor:
    """(B, T), whether a step goes on from the pass's step before: not after a reset."""
    resets = torch.zeros_like(run.active) if run.resets is None else run.resets
    if run.reversed(index):  # which meets a reset at t + 1 before step t
        resets = torch.cat([resets[:, 1:], torch.zeros_like(resets[:, :1])], 1)
    return run.active & ~resets


def _earlier(values: Tensor, run: TracedRun, index: int) -> Tensor:
    """What step t had, at the step of the pass before it; nothing reaches the pass's last step."""
    empty = torch.zeros_like(values[:, :1])
    return torch.cat([empty, values[:, :-1]] if run.reversed(index) else [values[:, 1:], empty], 1)


def effective_memory(curve: Tensor, part: float = 1 / math.e) -> Tensor:
    """The lag beyond which a curve stays below a part of what it is at lag 1, counted from lag 1.

    Lag 1 and not 0: between these two lies how the output reads the state, from 1 on the recurrence alone. Between
    two lags the curve is taken to fall by a constant factor; for curve(k) = a^k the memory is ln(part) / ln(a).

    Args:
        curve: (..., K), as from `lag_curve`.
        part: between 0 and 1; 1/e and 0.01 are usual.

    Returns:
        (...): inf where the curve is not below that part at its last lag, NaN for a curve without a number.

    Raises:
        ValueError: fewer than three lags, or `part` is not between 0 and 1.

    Example:
        >>> effective_memory(0.5 ** torch.arange(20.0), 0.25)
        tensor(2.)
    """
    if curve.shape[-1] < 3 or not 0 < part < 1:
        raise ValueError(f"needs lags 0, 1, 2 and a part between 0 and 1, got {curve.shape[-1]} lags and {part}")
    rows = [_memory(one, part) for one in curve.double().reshape(-1, curve.shape[-1])]
    return torch.tensor(rows, dtype=curve.dtype).reshape(curve.shape[:-1])


def _memory(curve: Tensor, part: float) -> float:
    known = curve[1:][curve[1:].isfinite()].tolist()
    if not known or known[0] <= 0:
        return math.nan
    limit = part * known[0]
    last = max(k for k, value in enumerate(known) if value > limit)
    if last == len(known) - 1:
        return math.inf
    high, low = known[last], known[last + 1]
    return last + (math.log(high / limit) / math.log(high / low) if low > 0 else 1.0)


def parameter_contributions(run: TracedRun) -> dict[str, Tensor]:
    """What each time step gives to the gradient of each weight: the norm of its term of dL/dW = sum over t.

        dL/dW = sum_t dL/ds_t · (ds_t/dW, with s_{t-1} held)

    and the same for U, the biases, and V: `nn.Linear`s that stand over, or before, every step. A V that reads
    only a pooled state acts once, at no step, and is left out.

    Args:
        run: traced with a loss.

    Returns:
        By the parameter's name (`weight_ih_l0` is U, `weight_hh_l0` W, `head.weight` V), (T,): the norm of the
        step's term, summed over the rows.

    Raises:
        ValueError: the run has no loss.

    Example:
        >>> from elman.nn import Recurrent
        >>> run = trace_run(Recurrent("gru", 3, 4), torch.randn(2, 6, 3), loss=lambda returned: returned[0].sum())
        >>> parameter_contributions(run)["weight_hh_l0"][0]  # the state before the first step is zero
        tensor(0.)
    """
    terms = [{name: term.norm() for name, term in one.items()} for one in step_terms(run)]
    return {name: torch.stack([term[name] for term in terms]) for name in terms[0]}


def step_terms(run: TracedRun) -> list[dict[str, Tensor]]:
    """The terms themselves, of each time step and by name; their sum over the steps is the gradient."""
    run.need_gradients()
    return [_term(run, t) for t in range(run.steps)]


def _term(run: TracedRun, t: int) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    for index, (_, _, suffix) in enumerate(run.stack.passes()):
        params = {name: p.detach().requires_grad_() for name, p in run.parameters[index].items()}
        before = {name: value[index, :, t] for name, value in run.before.items()}
        with torch.enable_grad():
            out = left(local_step(run, index, run.x(index)[:, t], before, params), run)
        out = {name: value for name, value in out.items() if value.requires_grad}
        given = [run.arriving[name][index, :, t] for name in out]
        found = torch.autograd.grad([*out.values()], [*params.values()], given, materialize_grads=True)
        terms |= {name + suffix: gradient for name, gradient in zip(params, found, strict=True)}
    for name, (x, gradient) in run.projections.items():
        terms[f"{name}.weight"] = gradient[:, t].T @ x[:, t]
        terms[f"{name}.bias"] = gradient[:, t].sum(0)
    return terms


def clip_shares(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """The share of each parameter in the squared norm that clipping compares with its limit.

        share_p = ||g_p||² / sum_q ||g_q||²

    Args:
        gradients: by the parameter's name.

    Example:
        >>> clip_shares({"W": torch.tensor([3.0]), "U": torch.tensor([4.0])})
        {'W': 0.36, 'U': 0.64}
    """
    squares = {name: float(g.double().square().sum()) for name, g in gradients.items()}
    whole = sum(squares.values())
    return {name: round(square / whole, 12) if whole else 0.0 for name, square in squares.items()}
