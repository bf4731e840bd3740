"""Text to one answer: the settings, the network they describe, and the trained model ready to use."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from elman.data import Batches, Labels, Vocabulary, subwords
from elman.data.subwords import MOST, MOST_ENDINGS, endings
from elman.errors import UserError
from elman.models import Committee, ManyToOne, WordEncoder
from elman.nn import Recurrent
from elman.recipes.job import JobModel
from elman.recipes.settings import STRICT, CellName, PoolingNames
from elman.training import TrainSettings

# (T,) piece numbers, or (T, 1 + n) with the numbers of each piece's subwords.
Pieces: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]


class DataSettings(BaseModel):
    """How texts become numbers, and rows become parts."""

    model_config = STRICT

    labels: Literal["auto", "classes", "numbers"] = Field(
        "auto", description="auto: whole numbers with up to 20 values are classes, other numbers a regression"
    )
    group: str | None = Field(None, description="column whose equal values never straddle the parts")
    test: float = Field(0.2, gt=0, lt=0.9, description="share of the rows kept for the final measure")
    validation: float = Field(0.1, gt=0, lt=0.9, description="share of the rows the best epoch is chosen by")
    seed: int = Field(0, ge=0, description="start of the split into parts")
    vocabulary: Literal["word", "bpe", "character"] = Field("word", description="what a text is cut into")
    vocabulary_size: int = Field(12_000, ge=5, le=10_000_000, description="entries of the vocabulary at most")
    lowercase: bool = Field(True, description="whether upper and lower case are the same")
    max_length: int = Field(
        256, ge=1, le=1_000_000, description="pieces of a text that are read; the rest is cut off"
    )


class ModelSettings(BaseModel):
    """The network: embedding, recurrent layers, pooling, head."""

    model_config = STRICT

    cell: CellName = Field("gru", description="the recurrent cell")
    embedding_size: int = Field(128, ge=1, le=65_536, description="width of a piece's vector")
    hidden_size: int = Field(128, ge=1, le=65_536, description="units in each layer and direction")
    num_layers: int = Field(1, ge=1, le=100, description="recurrent layers")
    bidirectional: bool = Field(True, description="read the text in both directions")
    pooling: PoolingNames = Field("mean+max", description="last, mean, max, attention, or several joined by +")
    subwords: int = Field(
        20_000, ge=0, le=10_000_000, description="hashes of n-grams: of a word, or up to a character; 0: none"
    )
    members: int = Field(3, ge=1, le=100, description="networks trained side by side whose answers are averaged")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of numbers zeroed in training")
    unknown: float = Field(0.1, ge=0, lt=1, description="share of pieces made unknown in training")


class Settings(BaseModel):
    """All choices of a text recipe."""

    model_config = STRICT

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


@dataclass(frozen=True)
class Scale:
    """Numbers to be predicted are learnt as (y - mean) / deviation."""

    mean: float = 0.0
    deviation: float = 1.0


def build_network(settings: ModelSettings, pieces: int, labels: Labels) -> Committee:
    """The networks for a vocabulary of so many pieces."""
    return Committee(_member(settings, pieces, labels) for _ in range(settings.members))


def _member(settings: ModelSettings, pieces: int, labels: Labels) -> ManyToOne:
    recurrent = Recurrent(
        settings.cell,
        settings.embedding_size,
        settings.hidden_size,
        settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
    )
    encoder: nn.Module
    if settings.subwords:
        encoder = WordEncoder(pieces, settings.subwords, settings.embedding_size)
    else:
        encoder = nn.Embedding(pieces, settings.embedding_size, padding_idx=0)
    outputs = len(labels.names) if labels.kind == "classes" else 1
    return ManyToOne(recurrent, outputs, encoder=encoder, pooling=settings.pooling, dropout=settings.dropout)


class TextModel(JobModel):
    """A trained text model: `predict`, `probabilities`, `over_words`, `evaluate`."""

    vocabulary: Vocabulary

    def __init__(
        self,
        network: Committee,
        vocabulary: Vocabulary,
        labels: Labels,
        settings: Settings,
        scale: Scale,
    ) -> None:
        self.network, self.vocabulary, self.labels = network, vocabulary, labels
        self.settings, self.scale = settings, scale

    def described(self) -> dict[str, Any]:
        """What `config.json` holds besides the settings and the data."""
        labels = {"kind": self.labels.kind, "names": list(self.labels.names)}
        return {"labels": labels, "scale": {"mean": self.scale.mean, "deviation": self.scale.deviation}}

    def shown(self) -> list[tuple[str, str]]:
        """The size of the vocabulary."""
        return [("vocabulary", f"{len(self.vocabulary)} entries")]

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """What the network reads of each text: the numbers of at most `data.max_length` pieces, with subwords."""
        if not isinstance(texts, list | tuple):
            found = "one text" if isinstance(texts, str) else type(texts).__name__
            raise UserError(
                "a list of texts is wanted", found=found, fix="write predict([text]), predict(list(column))"
            )
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise UserError("every text must be a string", where=f"text {row}", found=repr(text))
        buckets = self.settings.model.subwords
        encoded = self.vocabulary.encode(list(texts), self.settings.data.max_length)
        if not buckets:
            return [np.array(numbers, dtype=np.int32) for numbers in encoded]
        return [self._with_subwords(text, numbers) for text, numbers in zip(texts, encoded, strict=True)]

    def scores(self, sequences: Sequence[Pieces], batch_size: int = 256) -> Tensor:
        """(rows, classes) probabilities, or (rows, 1) numbers, in the order of the rows."""
        training = self.network.training
        outputs = len(self.labels.names) if self.labels.kind == "classes" else 1
        result = torch.zeros(len(sequences), outputs)
        if not len(sequences):
            return result
        device = next(self.network.parameters()).device
        self.network.eval()
        try:
            with torch.inference_mode():
                for batch in Batches(sequences, batch_size=batch_size, shuffle=False).epoch(0):
                    moved = batch.to(device)
                    result[batch.rows] = self._finished(self.network(moved.inputs, moved.lengths)).cpu()
        finally:
            self.network.train(training)
        return result

    def codes(self, sequences: Sequence[Pieces]) -> list[int] | list[float]:
        """The class number, or the number, for each sequence of pieces."""
        scores = self.scores(sequences)
        codes: list[int] | list[float] = (
            scores.argmax(-1).tolist() if self.labels.kind == "classes" else scores[:, 0].tolist()
        )
        return codes

    def predict(self, inputs: Sequence[str]) -> list[str] | list[float]:
        """The class of each text, or the number predicted for it.

        Raises:
            UserError: one text is given and not a list of texts.

        Example:
            >>> import elman
            >>> elman.load("runs/sentiment").predict(["What a lovely film!"])  # doctest: +SKIP
            ['positive']
        """
        return self.labels.decode(self.codes(self.encode(inputs)))

    def probabilities(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """The probability of each class, for each text.

        Raises:
            ValueError: the model predicts numbers.
        """
        if self.labels.kind != "classes":
            raise ValueError("probabilities are for classes; this model predicts numbers: use predict")
        rows = self.scores(self.encode(texts)).tolist()
        return [dict(zip(self.labels.names, row, strict=True)) for row in rows]

    def answers(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each text its `prediction`, and for classes the `probabilities` by name."""
        if self.labels.kind == "numbers":
            return [{"prediction": number} for number in self.predict(inputs)]
        found = self.probabilities(inputs)
        return [{"prediction": max(row, key=row.__getitem__), "probabilities": rounded(row)} for row in found]

    def over_words(self, text: str) -> list[tuple[str, list[float]]]:
        """Each piece of a text with the scores after the text up to it: how the verdict moves."""
        pieces = self.vocabulary.tokens(text)[: self.settings.data.max_length]
        numbers = self.encode([text])[0]
        scores = self.scores([numbers[: count + 1] for count in range(len(numbers))]).tolist()
        return list(zip(pieces, scores, strict=True))

    def _with_subwords(self, text: str, numbers: Sequence[int]) -> Pieces:
        # Composed first, as the vocabulary does: the pieces of the text are then those its numbers stand for.
        pieces = self.vocabulary.tokens(unicodedata.normalize("NFC", text))[: len(numbers)]
        if self.settings.data.lowercase:
            pieces = [piece.lower() for piece in pieces]
        buckets = self.settings.model.subwords
        if self.settings.data.vocabulary == "character":
            grams, most = endings("".join(pieces), buckets), MOST_ENDINGS
        else:
            grams, most = [subwords(piece, buckets) for piece in pieces], MOST
        rows = [(number, *of_piece) for number, of_piece in zip(numbers, grams, strict=True)]
        return np.array(rows, dtype=np.int32).reshape(-1, 1 + most)

    def _finished(self, outputs: Tensor) -> Tensor:
        """The decision of the members: the mean of their probabilities, or of their numbers."""
        if self.labels.kind == "numbers":
            return outputs.mean(0) * self.scale.deviation + self.scale.mean
        return outputs.softmax(-1).mean(0)


def rounded(row: Mapping[str, float]) -> dict[str, float]:
    """Probabilities as they are shown to machines."""
    return {name: round(value, 6) for name, value in row.items()}
