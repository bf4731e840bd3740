"""ManyToOne and its poolings: padding has no part in them, and each learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elman.models import ManyToOne
from elman.nn import Pooling, Recurrent
from tolerances import assert_equal

KINDS = ["last", "mean", "max", "attention", "last+mean+max"]


def model(pooling: str, encoder: nn.Module | None, inputs: int) -> ManyToOne:
    torch.manual_seed(0)
    recurrent = Recurrent("gru", inputs, 3, bidirectional=True, dtype=torch.float64)
    return ManyToOne(recurrent, 2, encoder=encoder, pooling=pooling).double()


@pytest.mark.parametrize("pooling", KINDS)
@pytest.mark.parametrize("kind", ["features", "tokens", "network"])
def test_a_padded_row_gives_what_it_gives_alone(pooling: str, kind: str) -> None:
    torch.manual_seed(1)
    encoder = {
        "features": None,
        "tokens": nn.Embedding(9, 4),
        "network": nn.Sequential(nn.Flatten(), nn.Linear(6, 4)),
    }
    net = model(pooling, encoder[kind], 4)
    lengths = torch.tensor([2, 5, 0])
    x = {
        "features": torch.randn(3, 5, 4, dtype=torch.float64),
        "tokens": torch.randint(9, (3, 5)),
        "network": torch.randn(3, 5, 2, 3, dtype=torch.float64),
    }[kind]
    if kind != "tokens":
        x[0, 2:], x[2] = torch.nan, torch.nan
    scores = net(x, lengths)
    for row, length in enumerate(lengths.tolist()[:2]):
        assert_equal(scores[row], net(x[row : row + 1, :length])[0])
        assert_equal(scores[row], net(x[row : row + 1, :length], torch.tensor([length]))[0])
    assert_equal(scores[2], net.head.bias)
    scores.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_an_encoder_network_never_sees_the_padding() -> None:
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    ManyToOne(Recurrent("rnn", 2, 3), 2, encoder=Spy(2, 2))(torch.zeros(2, 5, 2), torch.tensor([4, 1]))
    assert seen == [5]


def test_attention_weighs_the_valid_steps_to_one() -> None:
    pooling = Pooling("attention", 4)
    weights = pooling.attention(torch.randn(2, 3, 4), torch.tensor([[True, True, False], [False] * 3]))
    assert_equal(weights.sum(1), torch.tensor([1.0, 0.0]))
    assert weights[0, 2] == 0


def test_unknown_poolings_and_layers_with_one_output_are_refused() -> None:
    with pytest.raises(ValueError, match="pooling must be made of last, mean, max, attention, got 'sum'"):
        Pooling("mean+sum", 3)
    with pytest.raises(ValueError, match="outputs='all'"):
        ManyToOne(Recurrent("rnn", 2, 3, outputs="last"), 2)


@pytest.mark.parametrize("pooling", KINDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_learns_whether_a_mark_was_seen(cell: str, pooling: str) -> None:
    torch.manual_seed(0)
    x = torch.randint(1, 6, (64, 6))
    y = (x == 5).any(1).long()
    net = ManyToOne(Recurrent(cell, 8, 16), 2, encoder=nn.Embedding(6, 8), pooling=pooling)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert (net(x).argmax(1) == y).float().mean() > 0.95
