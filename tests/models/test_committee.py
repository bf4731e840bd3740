"""A committee that writes: the mean of its members' probabilities, one common sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from elman import Recurrent
from elman.models import OneToMany, WritingCommittee, beam_search


def member(seed: int) -> OneToMany:
    torch.manual_seed(seed)
    return OneToMany(Recurrent("gru", 4, 8), 7, context_size=3, embedding_size=4).eval()


def test_the_probabilities_are_the_mean_over_the_members() -> None:
    members, context = [member(0), member(1)], torch.randn(5, 3)
    committee = WritingCommittee(members)
    first, then = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([6, 5, 4, 3, 2])
    alone = [(one, one.begin(context)) for one in members]
    memory = committee.begin(context)
    for token in (first, then):
        wanted = torch.stack([one.advance(token, own).exp() for one, own in alone]).mean(0)
        torch.testing.assert_close(committee.advance(token, memory).exp(), wanted)


def test_beams_of_a_committee_of_equals_are_those_of_one() -> None:
    context, first = torch.randn(5, 3), torch.zeros(5, dtype=torch.int64)
    writers: list[Any] = [member(0), WritingCommittee([member(0), member(0)])]
    one, two = (beam_search(w, w.begin(context), first, end=1, beams=3, steps=4) for w in writers)
    for expected, found in zip(one, two, strict=True):
        assert [h.tokens for h in found] == [h.tokens for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)


def test_a_memory_of_one_is_not_one_of_many() -> None:
    committee = WritingCommittee([member(0)])
    with pytest.raises(TypeError, match="memory of a committee"):
        committee.advance(torch.tensor([0]), member(0).begin(torch.randn(1, 3)))
