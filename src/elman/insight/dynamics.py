"""The recurrence as a map from state to state: how it stretches, forgets and spreads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from elman.insight.tracing import TracedRun, left, local_step, trace_run


def step_jacobians(run: TracedRun, index: int = 0, most: int | None = None) -> Tensor:
    """J_t = ds_t/ds_{t-1} of steps along the data, of all states side by side, in the cell's order.

    Args:
        run: with or without a loss.
        index: the pass.
        most: so many steps, evenly spread over rows and time; None: all.

    Returns:
        (N, S, S), row by row and then by time; S is the width of all states together.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 2, 3, bias=False)
        >>> jacobians = step_jacobians(trace_run(layer, torch.zeros(1, 4, 2)))
        >>> torch.allclose(jacobians[2], layer.weight_hh_l0)  # at h = 0 the derivative of tanh is 1
        True
    """
    chosen = run.active.flatten().nonzero()[:, 0]
    if most is not None and most < len(chosen):
        chosen = chosen[torch.linspace(0, len(chosen) - 1, most).round().long().to(chosen.device)]
    before = {name: v[index].flatten(0, 1)[chosen].requires_grad_() for name, v in run.before.items()}
    with torch.enable_grad():
        out = left(local_step(run, index, run.x(index).flatten(0, 1)[chosen], before), run)
        after = torch.cat([out[name] for name in run.states], -1)
    basis = torch.eye(after.shape[1], dtype=after.dtype, device=after.device)[:, None].expand(-1, *after.shape)
    if not after.requires_grad:
        return after.new_zeros(len(chosen), after.shape[1], after.shape[1])
    rows = torch.autograd.grad(
        after, [*before.values()], basis, is_grads_batched=True, materialize_grads=True, allow_unused=True
    )
    return torch.cat(rows, -1).transpose(0, 1)


def singular_values(run: TracedRun, most: int = 64) -> Tensor:
    """The singular values of the step's Jacobian along the data, largest first, the mean over steps.

    J_t = U diag(values) V^T: each is what a gradient's part along one direction is multiplied by at that step. All
    below 1: it must vanish; one above 1: it can explode.

    Args:
        run: with or without a loss.
        most: steps to take the mean of, evenly spread over rows and time.

    Returns:
        (P, S), S the width of all states together.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 2, 3, bias=False)
        >>> values = singular_values(trace_run(layer, torch.zeros(1, 4, 2)))[0]
        >>> torch.allclose(values, torch.linalg.svdvals(layer.weight_hh_l0), atol=1e-6)
        True
    """
    passes = range(len(run.outputs))
    return torch.stack([torch.linalg.svdvals(step_jacobians(run, p, most)).mean(0) for p in passes])


def lyapunov_exponent(run: TracedRun, skip: int | None = None, seed: int = 0) -> Tensor:
    """The largest Lyapunov exponent along the data: the mean rate at which a small change of the state grows.

        λ = 1/n sum_t ln ||J_t^T v_t||,   v_{t-1} = J_t^T v_t / ||J_t^T v_t||,   J_t = ds_t/ds_{t-1}

    taken backwards, as a gradient goes: J^T has the same exponent as J. Negative: changes die out, and so do
    gradients; positive: the states are chaotic and gradients explode. For a linear recurrence
    h_t = W h_{t-1} + U x_t it is the logarithm of the spectral radius of W.

    Args:
        run: with or without a loss.
        skip: last steps of each row that are not counted, in which v turns into the growing direction; None: a
            tenth of T.
        seed: of the first v.

    Returns:
        (P,): the mean over rows and steps, in 1/step; -inf where a change is forgotten altogether.

    Raises:
        ValueError: no row has two steps more than are skipped.

    Source:
        G. Benettin et al., Meccanica 15 (1980); for recurrent networks: R. Engelken, F. Wolf and L. F. Abbott,
        arXiv:2006.02427.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight_hh_l0, 0.5)
        >>> round(float(lyapunov_exponent(trace_run(layer, torch.zeros(1, 9, 1)))), 4)  # ln 0.5
        -0.6931
    """
    skip = run.steps // 10 if skip is None else skip
    run.need_steps(skip + 2)
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([_lyapunov(run, index, skip, generator) for index in range(len(run.outputs))])


def _lyapunov(run: TracedRun, index: int, skip: int, generator: torch.Generator) -> Tensor:
    like, rows = run.outputs, len(run.lengths)
    width = sum(value.shape[-1] for value in run.states.values())
    v = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(like)
    v /= v.norm(dim=1, keepdim=True)
    grown, counted, taken = torch.zeros(3, rows, dtype=torch.float64, device=like.device)
    for t in range(run.steps) if run.reversed(index) else reversed(range(run.steps)):
        on = run.active[:, t]
        new = _transposed(run, index, t, v)
        size = new.norm(dim=1)
        v = torch.where((on & (size > 0))[:, None], new / size.where(size > 0, 1.0)[:, None], v)
        count = on & (taken >= skip)
        grown += size.double().log().where(count, 0.0)
        counted += count
        taken += on
    rate: Tensor = grown.sum() / counted.sum()
    return rate.to(like.dtype)


def _transposed(run: TracedRun, index: int, t: int, v: Tensor) -> Tensor:
    """J_t^T v for every row."""
    before = {name: value[index, :, t].requires_grad_() for name, value in run.before.items()}
    with torch.enable_grad():
        out = left(local_step(run, index, run.x(index)[:, t], before), run)
        after = torch.cat([out[name] for name in run.states], -1)
    if not after.requires_grad:
        return torch.zeros_like(v)
    return torch.cat(torch.autograd.grad(after, [*before.values()], v, materialize_grads=True), -1)


def state_norms(run: TracedRun) -> dict[str, Tensor]:
    """||s_t|| of each state over time, the mean over the rows that are so long.

    Returns:
        By state, (P, T); NaN where no row is so long.

    Example:
        >>> from elman.nn import Recurrent
        >>> run = trace_run(Recurrent("lstm", 3, 4), torch.randn(2, 6, 3))
        >>> {name: tuple(norms.shape) for name, norms in state_norms(run).items()}
        {'h': (1, 6), 'c': (1, 6)}
    """
    count = run.active.sum(0)
    return {name: value.norm(dim=-1).sum(1) / count for name, value in run.states.items()}


def input_reach(
    model: nn.Module,
    x: Tensor,
    lengths: Tensor | None = None,
    *,
    step: int = 0,
    size: float = 1e-3,
    layer: str | None = None,
    seed: int = 0,
) -> Tensor:
    """How far an input reaches: the change of the states k steps after one input was changed, per unit of change.

        reach(k) = mean over rows of ||s_{t+k}(x + e) - s_{t+k}(x)|| / ||e||,   e at step t alone

    for all states together; e is a random direction of length `size` times the norm of x_t (or 1, where that is
    0). A reversed pass reads step t before the steps that stand before it: there k counts down from t.

    Args:
        model: a layer or a model, as for `trace_run`; x must be numbers, not tokens. A model that trains with
            dropout is put into eval mode first: else its own noise is measured.
        x: inputs, (B, T, ...).
        lengths: (B,), or None.
        step: t, which every row must have.
        size: of the change; small ones give the derivative, large ones show what saturates.
        layer: as for `trace_run`.
        seed: of the direction.

    Returns:
        (P, T): column k; NaN where no row has such a step.

    Raises:
        ValueError: x holds tokens, or a row has no such step.

    Example:
        >>> from elman.nn import Recurrent
        >>> layer = Recurrent("rnn", 1, 1, bias=False).double()
        >>> _ = nn.init.constant_(layer.weight_hh_l0, 0.5), nn.init.constant_(layer.weight_ih_l0, 1.0)
        >>> [round(v, 4) for v in input_reach(layer, torch.zeros(1, 4, 1).double())[0].tolist()]
        [1.0, 0.5, 0.25, 0.125]
    """
    if not x.is_floating_point():
        raise ValueError(f"an input is changed by a little: x must be numbers, got {x.dtype}")
    shortest = x.shape[1] if lengths is None else int(torch.as_tensor(lengths).min())
    if not 0 <= step < shortest:
        raise ValueError(f"step must be one that every row has, from 0 to {shortest - 1}, got {step}")
    noise = torch.randn(x[:, step].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = noise.to(x).flatten(1)
    length = x[:, step].flatten(1).norm(dim=1)
    wanted = size * length.where(length > 0, 1.0)
    changed = x.clone()
    changed[:, step] += (noise * (wanted / noise.norm(dim=1))[:, None]).view_as(x[:, step])
    plain, moved = (trace_run(model, given, lengths, layer=layer) for given in (x, changed))
    apart = torch.cat([moved.states[name] - plain.states[name] for name in plain.states], -1).norm(dim=-1)
    return _from(plain, apart / wanted[:, None], step)


def _from(run: TracedRun, values: Tensor, step: int) -> Tensor:
    """(P, B, T) as the mean over rows by how many steps of its pass lie behind `step`."""
    found = values.new_full((len(values), run.steps), math.nan)
    count = run.active.sum(0)
    for index, value in enumerate(values):
        means = value.where(run.active, 0.0).sum(0) / count
        after = means[: step + 1].flip(0) if run.reversed(index) else means[step:]
        found[index, : len(after)] = after
    return found
