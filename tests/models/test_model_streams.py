"""A model's stream: its scores as the steps come, and who has none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from elman.models import EncoderDecoder, LanguageModel, ManyToMany, ManyToOne, OneToMany, OneToOne
from elman.nn import Layers, Recurrent
from tolerances import assert_equal

NOISY = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Dropout(0.5))


@pytest.mark.parametrize(
    "recurrent", [Recurrent("lstm", 3, 5, 2), Layers(Recurrent("gru", 3, 4), Recurrent("lru", 4, 5))]
)
@pytest.mark.parametrize("encoder", [None, NOISY])
def test_many_to_many_gives_its_scores_step_by_step(recurrent: nn.Module, encoder: nn.Module | None) -> None:
    model = ManyToMany(recurrent, 4, encoder=encoder, dropout=0.5).eval()
    x = torch.randn(2, 7, 3) if encoder is None else torch.randn(2, 7, 2, 3)
    scores = model(x)[0]
    stream = model.train().stream(rows=2)  # dropout is off all the same
    found = [stream.push(x[:, :2]), *(stream.step(x[:, t])[:, None] for t in range(2, 5)), stream.push(x[:, 5:])]
    assert_equal(torch.cat(found, 1), scores.detach())
    assert not any(piece.requires_grad for piece in found)
    stream.reset()
    out = torch.empty(2, 4)
    assert stream.step(x[:, 0], out) is out
    twin = stream.fork()
    assert_equal(out, scores[:, 0].detach())
    assert_equal(twin.push(x[:, 1:]), stream.push(x[:, 1:]))


def test_a_language_model_streams_tokens() -> None:
    model, tokens = LanguageModel(Recurrent("gru", 4, 8), 10).eval(), torch.randint(10, (3, 6))
    stream = model.stream(rows=3)
    found = torch.stack([stream.step(tokens[:, t]) for t in range(6)], 1)
    assert_equal(found, model(tokens)[0].detach())
    onwards = model.stream(state=model(tokens)[1])
    assert_equal(onwards.step(tokens[:, 0]), stream.step(tokens[:, 0]))


def test_many_to_one_answers_after_every_step() -> None:
    model, x = ManyToOne(Recurrent("gru", 3, 5), 4, dropout=0.5).eval(), torch.randn(2, 6, 3)
    stream = model.stream(rows=2)
    answers = torch.cat([stream.push(x[:, :4]), stream.step(x[:, 4])[:, None], stream.step(x[:, 5])[:, None]], 1)
    for t in range(6):
        assert_equal(answers[:, t], model(x[:, : t + 1]).detach())


def test_a_stream_has_the_weights_of_its_moment() -> None:
    model, x = ManyToMany(Recurrent("gru", 3, 5), 4).eval(), torch.randn(2, 6, 3)
    wanted, stream = model(x)[0].detach(), model.stream(rows=2)
    stream.push(x[:, :0])
    with torch.no_grad():
        model.head.weight.add_(1.0)
    assert_equal(stream.push(x), wanted)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (ManyToMany(Recurrent("gru", 3, 5, bidirectional=True), 4), "both directions"),
        (ManyToOne(Recurrent("gru", 3, 5), 4, pooling="last+attention"), "outputs of all steps"),
        (ManyToOne(Recurrent("gru", 3, 5), 4, pooling="mean"), "pools by 'mean'"),
        (OneToOne(3, 4), "no time"),
        (OneToMany(Recurrent("gru", 3, 5), 9, context_size=4, embedding_size=3), "begin"),
        (EncoderDecoder(Recurrent("gru", 3, 5), Recurrent("gru", 3, 5), 9), "read whole"),
    ],
)
def test_a_model_that_cannot_stream_says_why(model: nn.Module, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        model.stream()
