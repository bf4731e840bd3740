"""Many to one: a sequence in, one answer out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from elman.models.steps import encode_steps
from elman.models.stream import ModelStream, stream_of
from elman.nn import Layers, Pooling, Recurrent


class ManyToOne(nn.Module):
    """A sequence read by a recurrent network, pooled to one vector, and turned into scores or numbers.

    y_1 .. y_T = recurrent(encoder(x_1) .. encoder(x_T));  O = V pool(y_1 .. y_T) + b

    where softmax(O) are class probabilities, or O are the predicted numbers themselves.

    Args:
        recurrent: the recurrent layers, in one or both directions, with outputs="all".
        output_size: number of classes, or of numbers.
        encoder: what each step passes before it is read: `nn.Embedding` for token ids, any network that maps
            (N, ...) to (N, input_size), or None for features that are read as they are.
        pooling: see `elman.nn.Pooling`.
        dropout: probability of zeroing a number before the recurrent layers and before V, while training.

    Shapes:
        x: (B, T) token ids, (B, T, D) features, or (B, T, ...) for an encoder; lengths: (B,).
        Returns (B, output_size).

    Raises:
        ValueError: the recurrent layer gives only its last output.

    Example:
        >>> import torch
        >>> model = ManyToOne(Recurrent("gru", 8, 16, bidirectional=True), 3, encoder=nn.Embedding(100, 8))
        >>> model(torch.randint(100, (2, 5)), torch.tensor([5, 3])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        recurrent: Recurrent | Layers,
        output_size: int,
        *,
        encoder: nn.Module | None = None,
        pooling: str = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if recurrent.outputs != "all":
            raise ValueError("ManyToOne pools over all outputs: build its Recurrent with outputs='all'")
        self.encoder = encoder
        self.recurrent = recurrent
        width = recurrent.output_size
        self.pooling = Pooling(pooling, width, width // recurrent.directions)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.pooling.output_size, output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores or numbers, (B, output_size)."""
        lengths = None if lengths is None else lengths.to(x.device)
        y, _ = self.recurrent(self.dropout(self.encode(x, lengths)), lengths=lengths)
        pooled: Tensor = self.head(self.dropout(self.pooling(y, lengths)))
        return pooled

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the recurrent layers read, (B, T, input_size); see `elman.models.steps.encode_steps`."""
        return encode_steps(self.encoder, x, lengths, self.head.weight.dtype)

    def stream(self, rows: int = 1, state: Any = None) -> ModelStream:
        """Sequences whose steps come one by one or in pieces: after each, the answer if the sequence ended there.

        Raises:
            ValueError: the layers also read backwards, or the pooling looks at all steps.
        """
        if self.pooling.kinds != ("last",):
            kinds = "+".join(self.pooling.kinds)
            raise ValueError(
                f"a model that pools by {kinds!r} cannot stream: it answers from the outputs of all steps"
            )
        return stream_of(self, rows, state)
