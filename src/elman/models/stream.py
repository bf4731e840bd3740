"""Live sequences read by a whole model: scores as the steps come."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from elman.models.steps import encode_steps
from elman.nn import Stream


class ModelStream(Stream):
    """A model's encoder, recurrent layers and head over sequences that come piece by piece.

    Its layers' states are as `elman.nn.Stream` has them; the scores are those of the model in evaluation mode over
    the whole sequence, up to rounding: a product of torch's over few rows is not bit for bit that over many.

    Args:
        encoder: what each step passes before the layers; None: nothing.
        stream: the layers; it is this one's from here on.
        head: from an output of the layers to scores.

    Example:
        >>> from elman.models import LanguageModel
        >>> from elman.nn import Recurrent
        >>> model, tokens = LanguageModel(Recurrent("gru", 4, 8), 10).eval(), torch.tensor([[3, 1, 4]])
        >>> stream = model.stream()
        >>> scores = [stream.step(tokens[:, t]) for t in range(3)]
        >>> bool(torch.allclose(torch.stack(scores, 1), model(tokens)[0], atol=1e-6))
        True
    """

    def __init__(self, encoder: nn.Module | None, stream: Stream, head: nn.Linear) -> None:
        self.__dict__.update(stream.__dict__)
        # Copies, like the layers' weights: of this moment, and without dropout.
        self._encoder = None if encoder is None else copy.deepcopy(encoder).eval()
        self._head = copy.deepcopy(head).eval()

    def push(self, x: Tensor) -> Tensor:
        """The scores of each step of a piece, (B, T) token ids or (B, T, ...) -> (B, T, scores)."""
        with torch.no_grad():
            encoded = encode_steps(self._encoder, x, None, self._head.weight.dtype)
            scores: Tensor = self._head(self._read(encoded))
        return scores

    def step(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The scores after one step of each sequence, (B,) token ids or (B, ...) -> (B, scores)."""
        with torch.no_grad():
            encoded = x.to(self._head.weight.dtype) if self._encoder is None else self._encoder(x)
            scores: Tensor = self._head(super().step(encoded))
        return scores if out is None else out.copy_(scores)


def stream_of(model: Any, rows: int, state: Any) -> ModelStream:
    """The stream of a model with `encoder`, `recurrent` and `head`.

    Raises:
        ValueError: the layers also read backwards.
    """
    return ModelStream(model.encoder, model.recurrent.stream(rows, state), model.head)
