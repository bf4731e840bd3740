"""What each step of a sequence passes before the recurrent layers read it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.nn.pooling import active_steps


def encode_steps(
    encoder: nn.Module | None, x: Tensor, lengths: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """What the recurrent layers read, (B, T, input_size); an encoder network never sees the padding.

    Args:
        encoder: `nn.Embedding` for token ids, any network that maps (N, ...) to (N, input_size), or None for
            features that are read as they are.
        x: (B, T) token ids, (B, T, D) features, or (B, T, ...) for a network.
        lengths: (B,), or None where every step counts.
        dtype: the format of features without an encoder.

    Example:
        >>> encode_steps(nn.Embedding(10, 3), torch.zeros(2, 5, dtype=torch.int64)).shape
        torch.Size([2, 5, 3])
    """
    if encoder is None:
        return x if dtype is None else x.to(dtype)
    if isinstance(encoder, nn.Embedding):
        embedded: Tensor = encoder(x)
        return embedded
    if lengths is None:
        every: Tensor = encoder(x.flatten(0, 1))
        return every.reshape(*x.shape[:2], -1)
    active = active_steps(x, lengths)
    steps: Tensor = encoder(x[active])
    encoded = steps.new_zeros(*x.shape[:2], steps.shape[-1])
    return torch.masked_scatter(encoded, active[..., None].expand_as(encoded), steps)
