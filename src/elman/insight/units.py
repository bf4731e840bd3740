"""What single units and states as a whole tell of what is read."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from elman.insight.tracing import TracedRun

LEAST = 5  # times that a group of steps must come: a mean over fewer says nothing


def active_states(run: TracedRun, index: int = 0) -> Tensor:
    """The first state of a pass at every step that belongs to a row, (N, width), row by row.

    Example:
        >>> from elman.insight.tracing import trace_run
        >>> from elman.nn import Recurrent
        >>> run = trace_run(Recurrent("gru", 3, 4), torch.randn(2, 6, 3), torch.tensor([6, 1]))
        >>> active_states(run).shape
        torch.Size([7, 4])
    """
    return next(iter(run.states.values()))[index][run.active]


def state_portrait(states: Tensor) -> tuple[Tensor, Tensor]:
    """States seen from where they differ most: their first two principal components.

        p = (s - mean s) [v_1 v_2],   v_k the directions of largest variance

    Args:
        states: (N, width).

    Returns:
        The points (N, 2), and the share of the variance that each axis holds, (2,).

    Raises:
        ValueError: fewer than two states or units, or all states are the same.

    Example:
        >>> points, shares = state_portrait(torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
        >>> [round(share, 4) for share in shares.tolist()]
        [1.0, 0.0]
    """
    if min(states.shape) < 2:
        raise ValueError(f"a portrait needs two states of two units or more, got {tuple(states.shape)}")
    moved = states.double() - states.double().mean(0)
    if not float(moved.abs().max()) > 0:
        raise ValueError("all states are the same: there is nothing to see")
    u, values, v = torch.linalg.svd(moved, full_matrices=False)
    # Which way an axis points is of no account: the largest number of each is made positive.
    signs = v[:2].gather(1, v[:2].abs().argmax(1, keepdim=True)).sign().T
    shares = values.square() / values.square().sum()
    return (u[:, :2] * values[:2] * signs).to(states.dtype), shares[:2].to(states.dtype)


def explained(states: Tensor, groups: Sequence[str]) -> Tensor:
    """How much of what each unit says follows from the group that a step is of.

        eta^2 = sum_g n_g (mean_g - mean)^2 / sum_n (s_n - mean)^2

    Groups of fewer than 5 steps are taken together.

    Args:
        states: (N, width).
        groups: of each step.

    Returns:
        (width,) from 0 to 1; 0 for a unit that never changes.

    Raises:
        ValueError: not one group for each state.

    Example:
        >>> explained(torch.tensor([[1.0, 1.0], [0.0, 1.0]]).repeat(5, 1), ["a", "b"] * 5)
        tensor([1., 0.])
    """
    if len(groups) != len(states):
        raise ValueError(f"one group is wanted for each of {len(states)} states, got {len(groups)}")
    counts = Counter(groups)
    names = {name: k for k, name in enumerate(name for name, count in counts.items() if count >= LEAST)}
    member = torch.tensor([names.get(group, len(names)) for group in groups], device=states.device)
    moved = states.double() - states.double().mean(0)
    sums = torch.zeros(len(names) + 1, states.shape[1], dtype=moved.dtype, device=moved.device)
    sums.index_add_(0, member, moved)
    between = (sums.square() / member.bincount(minlength=len(names) + 1).clamp(min=1)[:, None]).sum(0)
    whole = moved.square().sum(0)
    return torch.where(whole > 0, between / whole.clamp(min=1e-30), 0.0).to(states.dtype)


def holding(run: TracedRun, index: int = 0) -> Tensor:
    """How much each unit of the first state keeps from a step to the next: its correlation with itself.

    Returns:
        (width,) from -1 to 1; 0 for a unit that never changes.

    Raises:
        ValueError: no row has two steps.

    Example:
        >>> from elman.insight.tracing import trace_run
        >>> from elman.nn import Recurrent
        >>> holding(trace_run(Recurrent("gru", 3, 4), torch.randn(2, 6, 3))).shape
        torch.Size([4])
    """
    run.need_steps()
    states = next(iter(run.states.values()))[index].double()
    both = run.active[:, 1:]
    one, other = states[:, :-1][both], states[:, 1:][both]
    one, other = one - one.mean(0), other - other.mean(0)
    scale = (one.square().sum(0) * other.square().sum(0)).sqrt()
    return torch.where(scale > 0, (one * other).sum(0) / scale.clamp(min=1e-30), 0.0).to(run.outputs.dtype)


def kind_of(piece: str, of_words: bool = False) -> str:
    """What a piece of text is, for a legend: a character's kind, or that of a word's beginning.

    Args:
        piece: a character, or with `of_words` a word or what stands between words.
        of_words: whether a letter alone is a word.

    Example:
        >>> [kind_of(piece) for piece in ("e", "t", "T", " ", "7", ",")]
        ['vowel', 'consonant', 'capital', 'space', 'number', 'mark']
        >>> [kind_of(piece, of_words=True) for piece in ("a", "film", "Film", "...")]
        ['word', 'word', 'capital', 'mark']
    """
    if not piece.strip():
        return "space"
    first = piece[0]
    if first.isupper():
        return "capital"
    if first.isalpha():
        if of_words:
            return "word"
        return "vowel" if unicodedata.normalize("NFD", first)[0] in "aeiou" else "consonant"
    return "number" if first.isdigit() else "mark"
