"""Random numbers as a function of where they stand: the counter-based generator Philox4x32 with seven rounds.

The number for a unit depends on the seed of the call and on (unit, row, step, pass, which noise) alone. So nothing
has to be stored, and every backend, order of rows, cutting and recomputation finds the same. csrc/noise.h computes
the same numbers.

Source: J. Salmon, M. Moraes, R. Dror and D. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC '11.
"""

from __future__ import annotations

import torch
from torch import Tensor

from elman.cells import Noise, Spec

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 7
LOW = 0xFFFFFFFF
TILE, LANES = 64, 16  # word k of the four of lane l belongs to unit 16 k + l of a tile of 64


def key(seed: int | None = None, first_step: int = 0) -> Tensor:
    """What the numbers of a call depend on: (3,) integers, the seed, the first step, the first pass.

    Args:
        seed: from 0 to 2^63 - 1; None: drawn from torch's generator.
        first_step: the number of the call's first step, for a sequence that comes in pieces.
    """
    if seed is None:
        return torch.cat([torch.randint(0, (1 << 63) - 1, (1,)), torch.tensor([first_step, 0])])
    return torch.tensor([seed, first_step, 0])


def of_pass(key: Tensor, index: int) -> Tensor:
    """The key of one pass of a call."""
    return key + torch.tensor([0, 0, index]) if index else key


def threshold(noise: Noise) -> int:
    """Words below it are hits."""
    return min(int(noise.p * (LOW + 1)), LOW)


def philox(counter: tuple[Tensor, ...], low: Tensor, high: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, ...]:
    """Four words of 32 bits, in int64, for each counter of four words and a key of two."""
    a, b, c, d = counter
    for _ in range(rounds):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c  # these wrap: all 64 bits are there
        a, b, c, d = (second >> 32) & LOW ^ b ^ low, second & LOW, (first >> 32) & LOW ^ d ^ high, first & LOW
        low, high = (low + WEYL[0]) & LOW, (high + WEYL[1]) & LOW
    return a, b, c, d


def draw(noise: Noise, number: int, key: Tensor, rows: int, steps: int, like: Tensor) -> Tensor:
    """The values of one noise, (steps, rows, width), or (1, rows, width) where it is drawn once a sequence.

    Args:
        noise: what is drawn.
        number: of the noise in its pass.
        key: as `key` makes it.
        rows: of the batch.
        steps: of the call.
        like: gives the number format and the device.
    """
    key = key.to(like.device)
    seed, first, index = key[0], key[1], key[2]
    count = torch.arange(-(-noise.width // TILE) * LANES, device=like.device)
    row = torch.arange(rows, device=like.device)[:, None]
    once = noise.per == "sequence"
    time = torch.zeros(1, dtype=torch.int64, device=like.device) if once else first + torch.arange(
        steps, device=like.device
    )  # fmt: skip
    time = (time & LOW)[:, None, None]
    stream = (index << 8) + number
    counter = torch.broadcast_tensors(count, row, time, stream)
    words = torch.stack(philox(tuple(counter), seed & LOW, (seed >> 32) & LOW), -2)
    words = words.unflatten(-1, (-1, LANES)).transpose(-3, -2).flatten(-3)[..., : noise.width]
    hit = words < threshold(noise)
    return torch.where(hit, like.new_tensor(noise.hit), like.new_tensor(noise.miss))


def drawn_inputs(spec: Spec, key: Tensor | None, x: Tensor) -> list[dict[str, Tensor | float]]:
    """Every noise of a spec by name, for each step of x, (B, T, D); each (B, width), or a number.

    Raises:
        ValueError: something is to be drawn and there is no key.
    """
    rows, steps = x.shape[:2]
    found: list[dict[str, Tensor | float]] = [
        {name: n.known for name, n in spec.noise.items() if n.known is not None} for _ in range(steps)
    ]
    for name, number in spec.drawn().items():
        if key is None:
            raise ValueError(f"noise {name!r} is to be drawn, and no key says which")
        values = draw(spec.noise[name], number, key, rows, steps, x).expand(steps, -1, -1).unbind(0)
        for step, value in zip(found, values, strict=True):
            step[name] = value
    return found
