"""A word's vector from its own number and its character n-grams."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WordEncoder(nn.Module):
    """e(word) = E[word] + mean of B[g] over the word's n-grams g.

    where E is an embedding of the words of the vocabulary and B one of hashed character n-grams, which also
    words outside the vocabulary have.

    Args:
        words: size of the vocabulary; number 0 is padding, 1 the unknown word.
        buckets: number of n-gram hashes.
        size: width of the vectors.

    Shapes:
        x: (N, 1 + n) whole numbers: the word, then its n-grams, 0 where there are no more. Returns (N, size).

    Source:
        P. Bojanowski et al., arXiv:1607.04606v2; the word's own vector is added to the mean, not part of it.

    Example:
        >>> WordEncoder(100, 50, 8)(torch.tensor([[7, 3, 50, 0], [1, 0, 0, 0]])).shape
        torch.Size([2, 8])
    """

    def __init__(self, words: int, buckets: int, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, size, padding_idx=0)
        self.subwords = nn.EmbeddingBag(buckets + 1, size, mode="mean", padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.zeros_(self.subwords.weight)
        with torch.no_grad():
            self.words.weight[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        """The vector of each word, (N, size)."""
        vectors: Tensor = self.words(x[:, 0]) + self.subwords(x[:, 1:])
        return vectors
