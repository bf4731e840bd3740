"""What is known of a sample without a network: its frequency, and what a line through the samples before says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from elman.data.sounds import LEVELS, Levels, borders, from_mu_law, scipy

ORDERS = (4, 8, 16, 32)
DECAYS = (0.9, 0.97, 0.99)
COMPONENTS = 4
FITTED = 30_000  # samples of the training part that the density is fitted to
_RIDGE = 1e-6


def level_frequencies(train: Sequence[Levels], test: Sequence[Levels]) -> float:
    """Bits a sample of the levels' frequencies in the training part, each counted once more than it came."""
    counts = 1 + np.bincount(np.concatenate(train), minlength=LEVELS)
    return float(-np.log2(counts / counts.sum())[np.concatenate(test)].mean())


def level_before(train: Sequence[Levels], test: Sequence[Levels]) -> float:
    """Bits a sample of p(level | the one before it): pairs counted, with the frequencies as 16 counts more."""
    pairs, levels = np.zeros((LEVELS, LEVELS)), np.zeros(LEVELS)
    for sound in train:
        np.add.at(pairs, (sound[:-1], sound[1:]), 1)
        levels += np.bincount(sound, minlength=LEVELS)
    prior = (levels + 1) / (levels + 1).sum()
    p = (pairs + 16 * prior) / (pairs.sum(1, keepdims=True) + 16)
    costs = [-np.log2(p[sound[:-1], sound[1:]]).sum() - np.log2(prior[sound[0]]) for sound in test if len(sound)]
    return float(sum(costs)) / sum(map(len, test))


def linear_predictor(
    train: Sequence[Levels], validation: Sequence[Levels], test: Sequence[Levels]
) -> tuple[int, float, float]:
    """A linear predictor with a density of its errors, over the same levels as the network.

    x'_t = sum_k a_k x_{t-k} by least squares;  p(level) is the mass between its borders of four logistic densities
    around x'_t, whose widths follow the errors before, a + b sum_k d^k |e_{t-k}|, and of an equal share for each
    level. All of it is fitted to the training part; the order and then the decay d are chosen on validation.

    Returns:
        The order, the decay, and the bits a sample of the test part.
    """
    grams = _normal_equations(train, max(ORDERS))
    decay = DECAYS[1]
    tried = {order: _Fitted(grams, order, decay, train) for order in ORDERS}
    order = min(tried, key=lambda one: tried[one].bits(validation))
    decays = {d: tried[order] if d == decay else _Fitted(grams, order, d, train) for d in DECAYS}
    decay = min(decays, key=lambda one: decays[one].bits(validation))
    return order, decay, decays[decay].bits(test)


@dataclass(frozen=True)
class _Seen:
    """What the density of a sample is made of, for each of N samples."""

    levels: Tensor
    expected: Tensor
    error: Tensor


class _Fitted(nn.Module):
    """A predictor of one order and one decay."""

    def __init__(
        self, grams: tuple[np.ndarray, np.ndarray], order: int, decay: float, train: Sequence[Levels]
    ) -> None:
        super().__init__()
        square, right = grams
        eye = _RIDGE * np.trace(square[:order, :order]) / order * np.eye(order)
        self.line, self.decay = np.linalg.solve(square[:order, :order] + eye, right[:order]), decay
        self.shares = nn.Parameter(torch.zeros(COMPONENTS + 1, dtype=torch.float64))
        self.widths = nn.Parameter(torch.linspace(-2, 1, COMPONENTS, dtype=torch.float64))
        self.base = nn.Parameter(torch.tensor(-6.0, dtype=torch.float64))
        edges = torch.from_numpy(borders().astype(np.float64))
        self.edges = torch.cat([edges.new_tensor([-1e9]), edges[1:-1], edges.new_tensor([1e9])])
        seen = self._seen(train)
        rows = np.random.Generator(np.random.PCG64(0)).permutation(len(seen.levels))[:FITTED]
        self._fit(_Seen(seen.levels[rows], seen.expected[rows], seen.error[rows]))

    @torch.no_grad()
    def bits(self, sounds: Sequence[Levels]) -> float:
        """Bits a sample."""
        seen = self._seen(sounds)
        parts = zip(*(t.split(FITTED) for t in (seen.levels, seen.expected, seen.error)), strict=True)
        nats = sum(float(self._nats(_Seen(*part)).sum()) for part in parts)
        return nats / len(seen.levels) / math.log(2)

    def _fit(self, seen: _Seen) -> None:
        optimizer = torch.optim.LBFGS(self.parameters(), max_iter=60, line_search_fn="strong_wolfe")

        def cost() -> Tensor:
            optimizer.zero_grad()
            nats = self._nats(seen).mean()
            nats.backward()
            return nats

        optimizer.step(cost)

    def _nats(self, seen: _Seen) -> Tensor:
        width = (self.base.exp() + seen.error)[:, None] * self.widths.exp()
        low, high = (self.edges[seen.levels + k][:, None] - seen.expected[:, None] for k in (0, 1))
        mass = torch.sigmoid(high / width) - torch.sigmoid(low / width)
        shares = self.shares.softmax(0)
        return -((mass * shares[1:]).sum(1) + shares[0] / LEVELS).log()

    def _seen(self, sounds: Sequence[Levels]) -> _Seen:
        signal = scipy("signal")
        expected, errors = [], []
        for levels in sounds:
            sound = from_mu_law(levels).astype(np.float64)
            found = signal.lfilter(np.append(0, self.line), [1.0], sound)
            error = np.abs(sound - found)
            expected.append(found)
            errors.append(signal.lfilter([0, 1 - self.decay], [1, -self.decay], error))
        made = (np.concatenate(sounds).astype(np.int64), np.concatenate(expected), np.concatenate(errors))
        return _Seen(*(torch.from_numpy(one) for one in made))


def _normal_equations(sounds: Sequence[Levels], order: int) -> tuple[np.ndarray, np.ndarray]:
    square, right = np.zeros((order, order)), np.zeros(order)
    for levels in sounds:
        sound = from_mu_law(levels).astype(np.float64)
        before = np.lib.stride_tricks.sliding_window_view(np.pad(sound[:-1], (order, 0)), order)[:, ::-1]
        square += before.T @ before
        right += before.T @ sound
    return square, right
