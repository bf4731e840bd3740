"""Truncated backpropagation through time over endless streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from elman.data import Streams
from elman.errors import UserError
from elman.models import CarriedState, LanguageModel
from elman.nn import Recurrent
from tolerances import assert_equal

TEXT = np.random.default_rng(0).integers(0, 7, 61).astype(np.int32)
DOCUMENTS = [TEXT[:20], TEXT[20:23], TEXT[23:]]


def network(cell: str = "lstm", rows: int = 3) -> CarriedState:
    torch.manual_seed(0)
    return CarriedState(LanguageModel(Recurrent(cell, 4, 5, 2), 7), rows=rows)


def loss(model: CarriedState, window) -> torch.Tensor:
    scores = model(window.inputs, window.resets, window.advance)[:, -window.counted :]
    return cross_entropy(scores.flatten(0, 1), window.targets[:, -window.counted :].flatten(), reduction="sum")


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (3, 7), (1, 2), (20, 20), (50, 90), (1000, 1000)])
def test_windows_say_what_one_call_over_the_whole_stream_says(cell, k1, k2):
    model, whole = network(cell), next(iter(Streams(DOCUMENTS, rows=3, k1=1000).epoch(0)))
    offline, _ = model.model(whole.inputs, resets=whole.resets)
    streams = Streams(DOCUMENTS, rows=3, k1=k1, k2=k2)
    found = []
    for window in streams.epoch(0):
        found.append(model(window.inputs, window.resets, window.advance)[:, -window.counted :])
    assert len(found) == len(streams)
    assert_equal(torch.cat(found, 1), offline)
    if k1 >= 1000:
        assert torch.equal(found[0], offline)


def test_a_window_as_long_as_the_text_has_the_gradient_of_full_backpropagation_and_a_short_one_has_not():
    def gradients(k1: int, k2: int) -> list[torch.Tensor]:
        model = network()
        sum(loss(model, window) for window in Streams(DOCUMENTS, rows=3, k1=k1, k2=k2).epoch(0)).backward()
        return [p.grad for p in model.parameters()]

    full = gradients(20, 20)
    for got, wanted in zip(gradients(5, 20), full, strict=True):
        assert_equal(got, wanted)
    assert any(not torch.allclose(a, b) for a, b in zip(gradients(5, 5), full, strict=True))


def test_every_token_is_counted_once_and_documents_stay_apart():
    seen = []
    for window in Streams(DOCUMENTS, rows=2, k1=7, k2=9, shuffle=False).epoch(0):
        seen.append(window.targets[:, -window.counted :])
        assert window.tokens == 2 * window.counted
    row_0, row_1 = torch.cat(seen, 1)
    assert row_0.tolist() == TEXT[1:31].tolist()
    assert row_1.tolist() == TEXT[31:61].tolist()
    (whole,) = Streams(DOCUMENTS, rows=2, k1=100, shuffle=False).epoch(0)
    assert whole.resets.nonzero().tolist() == [[0, 0], [0, 20], [0, 23], [1, 0]]


def test_an_epoch_follows_from_its_number_and_can_be_taken_up_anywhere():
    streams = Streams(DOCUMENTS, rows=2, k1=4, k2=6, seed=3)
    orders = {
        tuple(torch.cat([w.inputs for w in Streams(DOCUMENTS, rows=1, k1=60, seed=3).epoch(e)]).flatten().tolist())
        for e in range(6)
    }
    assert 1 < len(orders) <= 6
    for start in range(len(streams) + 1):
        rest = list(streams.epoch(1, start))
        assert len(rest) == len(streams) - start
        for got, wanted in zip(rest, [*streams.epoch(1)][start:], strict=True):
            assert torch.equal(got.inputs, wanted.inputs)
            assert (got.counted, got.advance) == (wanted.counted, wanted.advance)


def test_processes_have_streams_of_their_own():
    one = next(iter(Streams(DOCUMENTS, rows=4, k1=50).epoch(0)))
    two = [next(iter(Streams(DOCUMENTS, rows=2, k1=50, rank=rank, processes=2).epoch(0))) for rank in range(2)]
    assert torch.equal(torch.cat([w.inputs for w in two]), one.inputs)
    assert torch.cat([w.rows for w in two]).tolist() == [0, 1, 2, 3]


def test_what_cannot_be_streamed_is_refused():
    with pytest.raises(UserError, match="too short"):
        Streams([TEXT[:4]], rows=4, k1=2)
    with pytest.raises(UserError, match="k1 <= k2"):
        Streams([TEXT], rows=1, k1=5, k2=3)
    with pytest.raises(ValueError, match="one direction"):
        CarriedState(LanguageModel.__mro__[1](Recurrent("gru", 3, 4, bidirectional=True), 2), rows=1)
