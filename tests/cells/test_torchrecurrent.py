"""Cells of torchrecurrent said again as Elman's compute the same, values and gradients, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import elman
from backends import FASTEST
from cells.torchrecurrent_cells import PAIRS, ours_from_theirs, pair
from tolerances import assert_equal

pytestmark = pytest.mark.needs("torchrecurrent")
B, T, D, H = 3, 7, 4, 5


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_theirs(name: str) -> None:
    torch.manual_seed(0)
    theirs, ours = pair(name, D, H, torch.float64)
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    widths = range(len(ours.stack.specs[0].states))
    initial = [torch.randn(1, B, H, dtype=torch.float64, requires_grad=True) for _ in widths]
    params = dict(theirs.named_parameters())
    leaves = [x, *initial, *params.values()]
    loss_weights = torch.randn(B, T, H, dtype=torch.float64)

    def results(y: Tensor, final: list[Tensor]) -> list[Tensor]:
        loss = (y * loss_weights).sum() + sum(s.sin().sum() for s in final)
        return [y, *final, *torch.autograd.grad(loss, leaves)]

    y, final = theirs(x, tuple(initial) if len(initial) > 1 else initial[0])
    wanted = results(y, list(final) if len(initial) > 1 else [final])
    y, state = functional_call(ours, ours_from_theirs(name, params), (x, initial))
    found = results(y, list(state))
    labels = ["y", *ours.stack.specs[0].states, "x", *ours.stack.specs[0].states, *params]
    for label, a, b in zip(labels, found, wanted, strict=True):
        assert_equal(a, b, label)
    if FASTEST == "native":
        assert ": native (" in elman.explain(ours, x)


def test_there_are_at_least_ten_and_most_are_not_among_elmans_own() -> None:
    assert len(PAIRS) >= 10
    assert sum(type(cell).__module__ == "cells.torchrecurrent_cells" for cell, _ in PAIRS.values()) == 8
