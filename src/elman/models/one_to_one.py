"""One to one: a fixed-size input, one output."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from elman.nn import Layers, Recurrent


class OneToOne(nn.Module):
    """One input of fixed size to one output: O = V x + b, no time and no recurrence.

    With `recurrent`, one step of it in between: s = step(x, s_0); O = V s + b. For the Elman cell that is the
    plain network with one hidden layer, s = tanh(U x + b).

    Args:
        input_size: numbers of the input after `encoder`.
        output_size: number of classes, or of numbers.
        encoder: what the input passes first, any network that maps (B, ...) to (B, input_size).
        recurrent: layers that run one step; one direction.

    Shapes:
        x: (B, input_size), or (B, ...) for an encoder. Returns (B, output_size).

    Raises:
        ValueError: the layers read another size, or run in both directions.

    Example:
        >>> import torch
        >>> OneToOne(64, 10)(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
        >>> OneToOne(64, 10, recurrent=Recurrent("rnn", 64, 32))(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        encoder: nn.Module | None = None,
        recurrent: Recurrent | Layers | None = None,
    ) -> None:
        super().__init__()
        if recurrent is not None and (recurrent.input_size != input_size or recurrent.bidirectional):
            raise ValueError(f"one step needs layers of one direction that read {input_size} numbers: {recurrent}")
        self.encoder, self.recurrent = encoder, recurrent
        self.head = nn.Linear(input_size if recurrent is None else recurrent.output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Scores or numbers, (B, output_size)."""
        x = x.to(self.head.weight.dtype) if self.encoder is None else self.encoder(x)
        if self.recurrent is not None:
            y, _ = self.recurrent(x[:, None])
            x = y if y.dim() == 2 else y[:, 0]
        scores: Tensor = self.head(x)
        return scores

    def stream(self) -> NoReturn:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("one to one has no time, so no stream: call the model with each input")
