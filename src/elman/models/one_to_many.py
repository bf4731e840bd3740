"""One to many: one input, a sequence out."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from elman.models.scheduled_sampling import mixed
from elman.models.writing import Memory
from elman.nn import Layers, Recurrent, Stream


class OneToMany(nn.Module):
    """A sequence that starts from one input c, such as a picture.

    y_t = recurrent(input_t);  softmax(V y_t + b) are the probabilities of token t, where by `context`

    - "start": the first states are linear in c;
    - "every step": input_t holds c beside the rest;

    and by `feedback` the rest of input_t is E[token t - 1], the output that goes back in, or nothing.

    Args:
        recurrent: layers of one direction with outputs="all". They read `embedding_size` numbers (with feedback),
            and `context_size` more for "every step"; one number, always 1, where that leaves none.
        vocabulary_size: number of tokens.
        context_size: numbers of c after `encoder`.
        context: where c enters.
        feedback: whether a step reads the token before it.
        embedding_size: width of E.
        encoder: what the input passes first, any network that maps (B, ...) to (B, context_size): a CNN for
            pictures, say.
        dropout: probability of zeroing a number before the recurrent layers and before V, while training.

    Shapes:
        context: (B, context_size), or (B, ...) for an encoder; previous: (B, T) the token before each step.
        Returns (B, T, vocabulary_size).

    Raises:
        ValueError: the layers read another size, both directions, or give only their last output.

    Example:
        >>> model = OneToMany(Recurrent("gru", 8, 16), 50, context_size=32, embedding_size=8)
        >>> model(torch.randn(2, 32), torch.randint(50, (2, 7))).shape
        torch.Size([2, 7, 50])
    """

    def __init__(
        self,
        recurrent: Recurrent,
        vocabulary_size: int,
        *,
        context_size: int,
        context: Literal["start", "every step"] = "start",
        feedback: bool = True,
        embedding_size: int = 0,
        encoder: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(recurrent, Layers):
            raise ValueError("one to many begins one state in all layers: it takes a Recurrent")
        if context not in ("start", "every step"):
            raise ValueError(f"context must be 'start' or 'every step', got {context!r}")
        self.every_step, self.feedback = context == "every step", feedback
        wanted = (embedding_size if feedback else 0) + (context_size if self.every_step else 0) or 1
        stack = recurrent.stack
        if stack.input_size != wanted or stack.bidirectional or recurrent.outputs != "all":
            raise ValueError(
                f"one to many needs layers of one direction that read {wanted} numbers, with outputs='all', "
                f"got {recurrent}"
            )
        self.recurrent, self.encoder = recurrent, encoder
        self.embedding = nn.Embedding(vocabulary_size, embedding_size) if feedback else None
        widths = stack.specs[0].states
        self.bridges = nn.ModuleDict(
            {}
            if self.every_step
            else {n: nn.Linear(context_size, stack.num_layers * w) for n, w in widths.items()}
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(recurrent.output_size, vocabulary_size)

    def forward(
        self, context: Tensor, previous: Tensor, lengths: Tensor | None = None, sampled: float = 0.0
    ) -> Tensor:
        """Scores of each step, (B, T, vocabulary_size).

        Args:
            context: the input.
            previous: (B, T) the token before each step; only its shape matters without feedback.
            lengths: (B,) steps of each row.
            sampled: share of the tokens before a step that are the model's own choice and not the truth; see
                `elman.models.scheduled_sampling`.
        """
        c = self._context(context)
        if sampled and self.feedback:
            with torch.no_grad():
                own = self._scores(c, previous, lengths).argmax(-1)
            previous = mixed(previous, own, sampled)
        return self._scores(c, previous, lengths)

    def stream(self) -> NoReturn:
        """There is none beside `begin`.

        Raises:
            ValueError: always.
        """
        raise ValueError("one to many reads its own outputs: `begin` gives the memory that `advance` goes on from")

    def begin(self, context: Tensor) -> Memory:
        """What is remembered before the first step."""
        with torch.no_grad():
            c = self._context(context)
            return Memory(Stream(self.recurrent, len(c), self._start(c)), context=c)

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each token after `previous`, (B, V)."""
        x = self._inputs(memory.fixed["context"], previous[:, None])
        scores: Tensor = self.head(memory.stream.push(x)[:, 0])
        return scores.log_softmax(1)

    def _context(self, context: Tensor) -> Tensor:
        encoded: Tensor = context.to(self.head.weight.dtype) if self.encoder is None else self.encoder(context)
        return encoded

    def _scores(self, c: Tensor, previous: Tensor, lengths: Tensor | None) -> Tensor:
        x = self.dropout(self._inputs(c, previous))
        y, _ = self.recurrent(x, self._start(c), lengths=lengths)
        scores: Tensor = self.head(self.dropout(y))
        return scores

    def _start(self, c: Tensor) -> Any:
        if self.every_step:
            return None
        layers = self.recurrent.stack.num_layers
        states = {
            name: bridge(c).view(len(c), layers, -1).transpose(0, 1) for name, bridge in self.bridges.items()
        }
        return self.recurrent.state_type(**states)

    def _inputs(self, c: Tensor, previous: Tensor) -> Tensor:
        rows, steps = previous.shape
        parts = [] if self.embedding is None else [self.embedding(previous)]
        if self.every_step:
            parts.append(c[:, None].expand(-1, steps, -1))
        return torch.cat(parts, -1) if parts else c.new_ones(rows, steps, 1)
