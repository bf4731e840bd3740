"""The picture of each arrangement: what is drawn is what the model does."""

from __future__ import annotations

import re

import pytest
from torch import nn

import elman
from elman import models
from elman.nn import Recurrent


def layers(width: int = 4, **options) -> Recurrent:
    return Recurrent("rnn", width, 3, **options)


MODELS = {
    "one to one": (models.OneToOne(4, 2), {"V": 1}),
    "one to one with a step": (models.OneToOne(4, 2, recurrent=layers()), {"U": 1, "W": 1, "V": 1}),
    "one to many": (
        models.OneToMany(layers(), 5, context_size=3, embedding_size=4),
        {"U": 3, "W": 3, "V": 3, "B": 1, "": 2},
    ),
    "one to many without feedback": (
        models.OneToMany(layers(3), 5, context_size=3, context="every step", feedback=False),
        {"U": 3, "W": 3, "V": 3},
    ),
    "many to one": (models.ManyToOne(layers(), 2), {"U": 3, "W": 3, "V": 1}),
    "many to one, both directions": (
        models.ManyToOne(layers(bidirectional=True), 2),
        {"U": 3, "W": 3, "U'": 3, "W'": 2, "V": 2},
    ),
    "many to one, pooled": (models.ManyToOne(layers(), 2, pooling="mean"), {"U": 3, "W": 3, "V": 3}),
    "many to many": (
        models.ManyToMany(layers(bidirectional=True), 2),
        {"U": 3, "W": 3, "U'": 3, "W'": 2, "V": 6},
    ),
    "language model": (models.LanguageModel(layers(), 2), {"U": 3, "W": 3, "V": 3, "": 2}),
    "encoder and decoder": (
        models.EncoderDecoder(layers(bidirectional=True), layers(), 9),
        {"U": 3, "W": 3, "U_w": 3, "W_w": 3, "U'": 3, "W'": 2, "V": 3, "B": 1, "A": 3, "": 2},
    ),
    "encoder and decoder without attention": (
        models.EncoderDecoder(layers(), layers(), 9, attention=None),
        {"U": 3, "W": 3, "U_w": 3, "W_w": 3, "V": 3, "B": 1, "": 2},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_arrows_are_those_of_the_model(name, tmp_path, monkeypatch):
    from elman.insight import pen

    drawn: dict[str, int] = {}
    for shape in ("arrow", "curve"):
        original = getattr(pen.Pen, shape)

        def counted(self, start, end, letter, *, _original=original, **options):
            drawn[letter] = drawn.get(letter, 0) + 1
            _original(self, start, end, letter, **options)

        monkeypatch.setattr(pen.Pen, shape, counted)
    model, expected = MODELS[name]
    path = elman.draw(model, tmp_path / "model.svg")
    assert drawn == expected
    assert len(re.findall("<path", path.read_text())) > 10


def test_a_model_without_arrangement_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Linear"):
        elman.draw(nn.Linear(2, 3), tmp_path / "model.png")
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        elman.draw(models.OneToOne(2, 3), tmp_path / "model.jpg")
