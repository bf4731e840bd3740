"""Encoder and decoder: a sequence in, another of its own length out."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from elman.models.scheduled_sampling import mixed
from elman.models.writing import Memory
from elman.nn import Layers, Recurrent, Stream
from elman.nn.pooling import active_steps


class Attention(nn.Module):
    """Where a decoder's output h_t looks in the encoder's outputs e_1 .. e_S: a_ts = softmax_s(score(h_t, e_s)).

    additive: score = v . tanh(Q h_t + K e_s); multiplicative: score = h_t . (K e_s).

    Args:
        kind: which score.
        query_size: width of h.
        key_size: width of e.

    Shapes:
        h: (B, T, query_size); keys: from `keys`, (B, S, query_size); active: (B, S), false beyond a source's end.
        Returns a, (B, T, S), zero where not active.

    Source:
        Additive: D. Bahdanau et al., arXiv:1409.0473v7; multiplicative (there "general"): M.-T. Luong et al.,
        arXiv:1508.04025v5.

    Example:
        >>> look = Attention("additive", 8, 6)
        >>> look(torch.zeros(2, 3, 8), look.keys(torch.zeros(2, 5, 6)), torch.ones(2, 5, dtype=torch.bool)).sum(-1)
        tensor([[1., 1., 1.],
                [1., 1., 1.]], grad_fn=<SumBackward1>)
    """

    def __init__(self, kind: Literal["additive", "multiplicative"], query_size: int, key_size: int) -> None:
        super().__init__()
        if kind not in ("additive", "multiplicative"):
            raise ValueError(f"attention must be 'additive' or 'multiplicative', got {kind!r}")
        self.key = nn.Linear(key_size, query_size, bias=False)
        self.query = nn.Linear(query_size, query_size) if kind == "additive" else None
        self.score = nn.Linear(query_size, 1, bias=False) if kind == "additive" else None

    def keys(self, e: Tensor) -> Tensor:
        """K e, (B, S, query_size), made once for all steps."""
        k: Tensor = self.key(e)
        return k

    def forward(self, h: Tensor, keys: Tensor, active: Tensor) -> Tensor:
        """The weights a, (B, T, S)."""
        if self.query is None or self.score is None:
            scores = h @ keys.transpose(1, 2)
        else:
            scores = self.score(torch.tanh(self.query(h)[:, :, None] + keys[:, None]))[..., 0]
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~active[:, None], lowest).softmax(-1).masked_fill(~active[:, None], 0.0)


class EncoderDecoder(nn.Module):
    """Reads a source, then writes a target of another length.

    e = reader(E[source]), the writer's first states linear in the reader's last; h_t = writer(E[target_{t-1}]);
    with attention c_t = sum_s a_ts e_s and h_t becomes tanh(C [c_t, h_t]); p_t = softmax(V h_t + b);
    with copying p_t = (1 - g_t) softmax(V h_t + b) + g_t sum_s a_ts [source_s], g_t = sigmoid(G [c_t, h_t]):
    words of the source can be written that the vocabulary does not hold.

    Source and target share one vocabulary. Numbers from `vocabulary_size` on stand for the words of a row's own
    source that are not in it; the embedding reads them as `unknown`.

    Args:
        reader: the layers that read, in one or both directions, with outputs="all".
        writer: the layers that write, of one direction, with outputs="all"; of the same cell as the reader's.
        vocabulary_size: number of tokens.
        attention: "additive", "multiplicative", or None: the writer sees the source in its first states alone.
        copying: whether words of the source can be copied; needs attention.
        unknown: the token that stands for every word outside the vocabulary.
        dropout: probability of zeroing a number before the layers and before V, while training.
        tied: V and E are the same numbers, which need fewer examples; the writer must be as wide as E.

    Shapes:
        source: (B, S); source_lengths: (B,); previous: (B, T) the token before each step.
        Returns log p, (B, T, vocabulary_size + extra).

    Raises:
        ValueError: layers that do not fit together; copying without attention; tied weights of two widths.

    Source:
        I. Sutskever et al., arXiv:1409.3215v3; copying: A. See et al., arXiv:1704.04368v2; tied weights: O. Press
        and L. Wolf, arXiv:1608.05859v3.

    Example:
        >>> reader, writer = Recurrent("gru", 8, 16, bidirectional=True), Recurrent("gru", 8, 16)
        >>> model = EncoderDecoder(reader, writer, 50, attention="additive", copying=True)
        >>> model(torch.randint(50, (2, 9)), torch.tensor([9, 4]), torch.randint(50, (2, 5)), extra=3).shape
        torch.Size([2, 5, 53])
    """

    def __init__(
        self,
        reader: Recurrent,
        writer: Recurrent,
        vocabulary_size: int,
        *,
        attention: Literal["additive", "multiplicative"] | None = "additive",
        copying: bool = False,
        unknown: int = 1,
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(reader, Layers) or isinstance(writer, Layers):
            raise ValueError("reader and writer hand over one state of all layers: each is a Recurrent")
        states = writer.stack.specs[0].states
        if writer.stack.bidirectional or {reader.outputs, writer.outputs} != {"all"}:
            raise ValueError("the writer runs in one direction, and both layers give all outputs")
        if reader.stack.input_size != writer.stack.input_size or [*reader.stack.specs[0].states] != [*states]:
            raise ValueError("reader and writer read vectors of one size and have the same states")
        if copying and attention is None:
            raise ValueError("copying is decided by attention: choose one")
        self.reader, self.writer, self.unknown, self.vocabulary_size = reader, writer, unknown, vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, reader.stack.input_size)
        directions, read = reader.stack.directions, reader.stack.specs[0].states
        self.bridges = nn.ModuleDict(
            {name: nn.Linear(directions * read[name], writer.stack.num_layers * w) for name, w in states.items()}
        )
        width = writer.output_size
        self.attention = None if attention is None else Attention(attention, width, reader.output_size)
        both = reader.output_size + width
        self.combine = None if attention is None else nn.Linear(both, width)
        self.gate = nn.Linear(both, 1) if copying else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocabulary_size)
        if tied:
            if width != self.embedding.embedding_dim:
                raise ValueError(f"tied weights need a writer as wide as its input, got {width}")
            nn.init.normal_(self.embedding.weight, std=0.1)  # of E's usual size, scores would begin far apart
            self.head.weight = self.embedding.weight

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        previous: Tensor,
        lengths: Tensor | None = None,
        *,
        extra: int = 0,
        sampled: float = 0.0,
    ) -> Tensor:
        """Log p of each token at each step, (B, T, vocabulary_size + extra).

        Args:
            source: the tokens that are read.
            source_lengths: how many of them each row has.
            previous: the token before each step.
            lengths: (B,) steps of each target.
            extra: words outside the vocabulary that some row's source has, at most.
            sampled: share of the tokens before a step that are the model's own choice; see
                `elman.models.scheduled_sampling`.
        """
        memory, start = self._read(source, source_lengths, extra)
        if sampled:
            with torch.no_grad():
                own = self._scores(previous, start, lengths, memory).argmax(-1)
            previous = mixed(previous, own, sampled)
        return self._scores(previous, start, lengths, memory)

    def stream(self) -> NoReturn:
        """There is none beside `begin`.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "the source is read whole before the first word: `begin`, then `advance` writes step by step"
        )

    def begin(self, source: Tensor, source_lengths: Tensor, extra: int = 0) -> Memory:
        """What is remembered of a source before the first token is written."""
        with torch.no_grad():
            memory, start = self._read(source, source_lengths, extra)
            return Memory(Stream(self.writer, state=start), **memory)

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each token after `previous`, (B, vocabulary_size + extra)."""
        h = memory.stream.push(self._embedded(previous[:, None]))
        return self._distribution(h, memory.fixed)[:, 0]

    def _embedded(self, tokens: Tensor) -> Tensor:
        known = torch.where(tokens < self.vocabulary_size, tokens, self.unknown)
        embedded: Tensor = self.dropout(self.embedding(known))
        return embedded

    def _read(self, source: Tensor, source_lengths: Tensor, extra: int) -> tuple[dict[str, Tensor], Any]:
        """What the writer looks at, and its first states."""
        source_lengths = source_lengths.to(source.device)
        e, final = self.reader(self._embedded(source), lengths=source_lengths)
        directions, layers = self.reader.stack.directions, self.writer.stack.num_layers
        rows = len(source)
        start = {
            name: bridge(getattr(final, name)[-directions:].transpose(0, 1).reshape(rows, -1))
            .view(rows, layers, -1)
            .transpose(0, 1)
            for name, bridge in self.bridges.items()
        }
        memory = {
            "e": e,
            "active": active_steps(e, source_lengths),
            "source": source,
            "extra": e.new_zeros(rows, extra),
        }
        if self.attention is not None:
            memory["keys"] = self.attention.keys(e)
        return memory, self.writer.state_type(**start)

    def _scores(self, previous: Tensor, start: Any, lengths: Tensor | None, memory: dict[str, Tensor]) -> Tensor:
        h, _ = self.writer(self._embedded(previous), start, lengths=lengths)
        return self._distribution(h, memory)

    def _distribution(self, h: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """Log p from the writer's outputs, (B, T, width) -> (B, T, vocabulary_size + extra)."""
        extra = memory["extra"].shape[1]
        if self.attention is None or self.combine is None:
            return nn.functional.pad(self.head(self.dropout(h)).log_softmax(-1), (0, extra), value=-torch.inf)
        a = self.attention(h, memory["keys"], memory["active"])
        both = torch.cat([a @ memory["e"], h], -1)
        scores = self.head(self.dropout(torch.tanh(self.combine(both))))
        if self.gate is None:
            return nn.functional.pad(scores.log_softmax(-1), (0, extra), value=-torch.inf)
        g = torch.sigmoid(self.gate(both))
        p = nn.functional.pad(scores.softmax(-1) * (1 - g), (0, extra))
        p = p.scatter_add(2, memory["source"][:, None].expand(-1, h.shape[1], -1), a * g)
        log_p: Tensor = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        return log_p
