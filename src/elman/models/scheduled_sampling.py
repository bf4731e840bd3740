"""Scheduled sampling without a loop over time: the model reads some of its own choices in place of the truth."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed(previous: Tensor, own: Tensor, share: float) -> Tensor:
    """The tokens before each step, a share of them those that the model would have written.

    Args:
        previous: (B, T) the true token before each step; the first one is the start and stays.
        own: (B, T) what the model chose at each step when it read the truth.
        share: probability that a token is replaced.

    Source:
        S. Bengio et al., arXiv:1506.03099v3; in two parallel passes: D. Duckworth et al., arXiv:1906.04331v2.

    Example:
        >>> mixed(torch.tensor([[0, 1, 2]]), torch.tensor([[7, 8, 9]]), 1.0)
        tensor([[0, 7, 8]])
    """
    replace = torch.rand(previous.shape, device=previous.device) < share
    replace[:, :1] = False
    shifted = torch.cat([previous[:, :1], own[:, :-1]], 1)
    return torch.where(replace, shifted, previous)
