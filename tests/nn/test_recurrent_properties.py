"""What must hold for every cell, length, reset and direction: searched by hypothesis, 2,400 examples in all."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman.nn import Recurrent
from every_cell import EVERY_CELL
from tolerances import assert_equal

INPUTS, HIDDEN = 2, 3
BOTH = st.booleans()


@dataclass
class Case:
    """A layer and ragged rows for it, padded with NaN, perhaps with resets."""

    layer: Recurrent
    x: Tensor
    lengths: Tensor
    resets: Tensor | None
    state: tuple[Tensor, ...]

    def alone(self, row: int) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """One row without its padding."""
        end = int(self.lengths[row])
        resets = None if self.resets is None else self.resets[row : row + 1, :end]
        return self.x[row : row + 1, :end], resets, tuple(s[:, row : row + 1] for s in self.state)


@st.composite
def cases(draw, directions=BOTH, max_layers: int = 2, resets=BOTH) -> Case:
    torch.manual_seed(draw(st.integers(0, 2**32)))
    lengths = torch.tensor(draw(st.lists(st.integers(0, 6), min_size=1, max_size=4)))
    steps = int(lengths.max()) + draw(st.integers(0, 2))
    marks = draw(resets)
    layer = Recurrent(
        draw(st.sampled_from([*EVERY_CELL.values()])),
        INPUTS,
        HIDDEN,
        draw(st.integers(1, max_layers)),
        bidirectional=draw(directions),
        bias=draw(st.booleans()),
        initial_state=draw(st.sampled_from(["zero", "trainable"])),
        backend="eager" if marks else draw(st.sampled_from(["eager", "auto"])),
        dtype=torch.float64,
    )
    for p in layer.parameters():
        torch.nn.init.uniform_(p, -1.0, 1.0)
    rows = len(lengths)
    x = torch.randn(rows, steps, INPUTS, dtype=torch.float64)
    x[torch.arange(steps) >= lengths[:, None]] = torch.nan
    passes = layer.stack.num_layers * layer.stack.directions
    widths = layer.stack.specs[0].states.values()
    state = tuple(torch.randn(passes, rows, w, dtype=torch.float64, requires_grad=True) for w in widths)
    chosen = torch.rand(rows, steps) < draw(st.sampled_from([0.1, 0.5])) if marks else None
    return Case(layer, x, lengths, chosen, state)


def weighted(*tensors: Tensor) -> Tensor:
    """A scalar in which every element counts differently."""
    return sum((t * torch.linspace(0.5, 1.5, t.numel(), dtype=t.dtype).view(t.shape)).sum() for t in tensors)


def gradients(result: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Gradients of a scalar, zeros for what it does not depend on."""
    found = torch.autograd.grad(result, leaves, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, found, strict=True)]


@settings(max_examples=1000)
@given(case=cases())
def test_a_ragged_batch_is_each_row_alone_in_values_and_gradients(case: Case) -> None:
    x, params = case.x.requires_grad_(), [*case.layer.parameters()]
    y, final = case.layer(x, case.state, lengths=case.lengths, resets=case.resets)
    assert y.isfinite().all(), "NaN in the padding reached an output"
    loss = sum(weighted(y[r, : int(n)], *(s[:, r] for s in final)) for r, n in enumerate(case.lengths))
    dx, *together = gradients(loss, [x, *case.state, *params])
    summed = [torch.zeros_like(t) for t in together]
    for row, length in enumerate(case.lengths.tolist()):
        own, resets, state = case.alone(row)
        z, last = case.layer(own, state, resets=resets)
        assert_equal(y[row, :length], z[0])
        assert not y[row, length:].any(), "an output beyond the row's length is not 0"
        for a, b in zip(final, last, strict=True):
            assert_equal(a[:, row], b[:, 0])
        d_own, *alone = gradients(weighted(z[0], *(s[:, 0] for s in last)), [x, *case.state, *params])
        assert_equal(dx[row], d_own[row])
        assert not dx[row, length:].any(), "the padding has a gradient"
        summed = [a + b for a, b in zip(summed, alone, strict=True)]
    for a, b in zip(together, summed, strict=True):
        assert_equal(a, b)


@settings(max_examples=400)
@given(case=cases())
def test_what_the_padding_holds_changes_no_bit(case: Case) -> None:
    leaves, results = [*case.state, *case.layer.parameters()], []
    for x in (case.x, case.x.nan_to_num(7.0)):
        y, final = case.layer(x, case.state, lengths=case.lengths, resets=case.resets)
        results.append([y, *final, *gradients(weighted(y, *final), leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@settings(max_examples=500)
@given(case=cases(directions=st.just(False)), cuts=st.sets(st.integers(0, 8)))
def test_chunks_with_the_state_carried_are_the_whole(case: Case, cuts: set[int]) -> None:
    steps = case.x.shape[1]
    whole, final = case.layer(case.x, case.state, lengths=case.lengths, resets=case.resets)
    borders = [0, *sorted(c for c in cuts if 0 < c < steps), steps]
    state, parts = case.state, []
    for start, end in itertools.pairwise(borders):
        part = slice(start, end)
        y, state = case.layer(
            case.x[:, part],
            state,
            lengths=(case.lengths - start).clamp(0, end - start),
            resets=None if case.resets is None else case.resets[:, part],
        )
        parts.append(y)
    assert_equal(torch.cat(parts, 1), whole)
    for a, b in zip(state, final, strict=True):
        assert_equal(a, b)


@settings(max_examples=500)
@given(case=cases(max_layers=1, resets=st.just(True)))
def test_resets_cut_both_directions_at_the_same_borders(case: Case) -> None:
    y, final = case.layer(case.x, case.state, lengths=case.lengths, resets=case.resets)
    for row in range(len(case.lengths)):
        x, resets, state = case.alone(row)
        steps = x.shape[1]
        borders = [0, *(t for t in range(1, steps) if resets[0, t]), steps]
        pieces, ends = [], []
        for start, end in itertools.pairwise(borders):
            given_state = piece_state(case.layer, state, start == 0 and not resets[0, :1].any(), end == steps)
            piece, ended = case.layer(x[:, start:end], given_state)
            pieces.append(piece)
            ends.append(ended)
        if steps:
            assert_equal(y[row, :steps], torch.cat(pieces, 1)[0])
            for k, s in enumerate(final):
                assert_equal(s[0, row], ends[-1][k][0, 0])
                if case.layer.stack.bidirectional:
                    assert_equal(s[1, row], ends[0][k][1, 0])


def piece_state(layer: Recurrent, state, first: bool, last: bool) -> tuple[Tensor, ...]:
    """What a piece starts from: the state that was passed at the outer ends, the initial value at inner ones."""
    _, fresh = layer(torch.zeros(1, 0, INPUTS, dtype=torch.float64))
    keep = torch.tensor([first, last][: layer.stack.directions])[:, None, None]
    return tuple(torch.where(keep, s, f) for s, f in zip(state, fresh, strict=True))
