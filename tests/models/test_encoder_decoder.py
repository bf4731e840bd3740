"""Encoder and decoder: weights shared by what is read and written, and several side by side."""

from __future__ import annotations

import pytest
import torch

from elman import Recurrent
from elman.models import Committee, EncoderDecoder


def network(hidden: int = 6, *, tied: bool = True) -> EncoderDecoder:
    reader = Recurrent("gru", 6, hidden, bidirectional=True)
    return EncoderDecoder(reader, Recurrent("gru", 6, hidden), 12, copying=True, tied=tied)


def test_tied_weights_are_one_tensor_that_both_ends_teach() -> None:
    tied, apart = network(), network(tied=False)
    assert tied.head.weight is tied.embedding.weight
    saved = sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in tied.parameters())
    assert saved == 12 * 6
    source, lengths, previous = torch.tensor([[3, 4]]), torch.tensor([2]), torch.tensor([[2]])
    tied(source, lengths, previous)[0, 0, 7].backward()
    taught = tied.embedding.weight.grad.abs().sum(1) > 0
    assert taught[[2, 3, 4, 7]].all()  # what was read, and what was to be written


def test_tied_weights_need_one_width() -> None:
    with pytest.raises(ValueError, match="as wide as its input, got 5"):
        network(5)


def test_a_committee_hands_options_on_to_its_members() -> None:
    committee = Committee(network() for _ in range(2)).eval()
    arguments = torch.tensor([[3, 12, 13]]), torch.tensor([3]), torch.tensor([[2, 5]])
    both = committee(*arguments, extra=2)
    assert both.shape == (2, 1, 2, 14)
    assert torch.equal(both[1], committee.members[1](*arguments, extra=2))
