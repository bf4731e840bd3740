"""A language model: at each step, what comes next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elman.models.many_to_many import ManyToMany
from elman.models.writing import Memory
from elman.nn import Layers, Recurrent, Stream


class LanguageModel(ManyToMany):
    """p(x_{t+1} | x_1 .. x_t) = softmax(V y_t + b), y = recurrent(E[x]): many to many on text shifted by one.

    Args:
        recurrent: layers of one direction, with outputs="all".
        vocabulary_size: number of tokens.
        dropout: probability of zeroing a number before the recurrent layers and before V, while training.

    Shapes:
        x: (B, T) token ids. Returns (B, T, vocabulary_size) and the final states, which the next piece of the same
        text goes on from.

    Raises:
        ValueError: the layers also read backwards, and would see what is to be said.

    Example:
        >>> model = LanguageModel(Recurrent("lstm", 8, 16), 50)
        >>> scores, state = model(torch.randint(50, (2, 7)))
        >>> scores.shape
        torch.Size([2, 7, 50])
    """

    def __init__(self, recurrent: Recurrent | Layers, vocabulary_size: int, *, dropout: float = 0.0) -> None:
        if recurrent.bidirectional:
            raise ValueError("a language model reads forwards alone: build its Recurrent with one direction")
        embedding = nn.Embedding(vocabulary_size, recurrent.input_size)
        super().__init__(recurrent, vocabulary_size, encoder=embedding, dropout=dropout)

    def begin(self, prompt: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Memory, Tensor]:
        """What is remembered after a prompt but for its last token, and that token.

        Args:
            prompt: (B, T) token ids, T at least 1.
            lengths: (B,) from 1 to T, or None.
            state: before the prompt; None: fresh.

        Raises:
            ValueError: an empty prompt.
        """
        rows, steps = prompt.shape
        ends = torch.full((rows,), steps) if lengths is None else lengths
        if rows and (steps < 1 or int(ends.min()) < 1):
            raise ValueError("a prompt needs at least one token")
        with torch.no_grad():
            _, final = self(prompt, state, lengths=ends - 1)
        return Memory(Stream(self.recurrent, state=final)), prompt.gather(
            1, (ends - 1)[:, None].to(prompt.device)
        )[:, 0]

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each token after `previous`, (B, V)."""
        y = memory.stream.step(self.encoder(previous))  # type: ignore[misc]
        scores: Tensor = self.head(y)
        return scores.log_softmax(1)
