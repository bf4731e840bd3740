"""Many to many: an output for each step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from elman.models.steps import encode_steps
from elman.models.stream import ModelStream, stream_of
from elman.nn import Layers, Recurrent


class ManyToMany(nn.Module):
    """A sequence in, an output for each of its steps: y_t = recurrent(encoder(x_1) .. )_t;  O_t = V y_t + b.

    In one direction O_t has seen x_1 .. x_t, and the state goes on into the next call; in both, all of x.

    Args:
        recurrent: the recurrent layers, with outputs="all".
        output_size: number of classes, or of numbers, of each step.
        encoder: `nn.Embedding` for token ids, any network that maps (N, ...) to (N, input_size), such as a CNN
            over the frames of a video, or None for features that are read as they are.
        dropout: probability of zeroing a number before the recurrent layers and before V, while training.

    Shapes:
        x: (B, T) token ids, (B, T, D) features, or (B, T, ...) for an encoder; lengths: (B,); resets: (B, T).
        Returns (B, T, output_size), what lies beyond a row's length meaning nothing, and the final states.

    Raises:
        ValueError: the recurrent layers give only their last output.

    Example:
        >>> import torch
        >>> model = ManyToMany(Recurrent("gru", 8, 16, bidirectional=True), 5, encoder=nn.Embedding(100, 8))
        >>> scores, state = model(torch.randint(100, (2, 7)), lengths=torch.tensor([7, 4]))
        >>> scores.shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        recurrent: Recurrent | Layers,
        output_size: int,
        *,
        encoder: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if recurrent.outputs != "all":
            raise ValueError("an output for each step needs a Recurrent with outputs='all'")
        self.encoder, self.recurrent = encoder, recurrent
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(recurrent.output_size, output_size)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Scores or numbers of each step, (B, T, output_size), and the states after each row's last step."""
        lengths = None if lengths is None else lengths.to(x.device)
        encoded = self.dropout(encode_steps(self.encoder, x, lengths, self.head.weight.dtype))
        y, final = self.recurrent(encoded, state, lengths=lengths, resets=resets)
        return self.head(self.dropout(y)), final

    def stream(self, rows: int = 1, state: Any = None) -> ModelStream:
        """Sequences whose steps come one by one or in pieces: what `step` and `push` give are scores.

        Raises:
            ValueError: the layers also read backwards.
        """
        return stream_of(self, rows, state)
