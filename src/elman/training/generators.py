"""The random generators of a process as tensors, so that a resumed run draws the numbers the first would have."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def take_generators(device: torch.device) -> dict[str, Tensor]:
    """The states of Python's, NumPy's and PyTorch's global generators, and the device's where it has its own.

    Args:
        device: where the model is trained.

    Returns:
        `python` (628,) and `numpy` (627,) int64, `torch` and `device` uint8; the same sizes in every process.
    """
    version, words, gauss = random.getstate()
    # The legacy global generator is the only one of NumPy's that a program cannot see to itself.
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    states = {
        "python": torch.tensor([version, *words, *_bits(gauss)]),
        "numpy": torch.tensor(
            [
                *map(int, numpy["state"]["key"]),
                numpy["state"]["pos"],
                *_bits(numpy["gauss"] if numpy["has_gauss"] else None),
            ]
        ),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state().cpu()
    return states


def restore_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set every generator to what `take_generators` found.

    Args:
        states: as taken, on the CPU.
        device: where the model is trained.
    """
    version, *words, has_gauss, gauss = states["python"].tolist()
    random.setstate((version, tuple(words), _number(has_gauss, gauss)))
    *key, position, has_gauss, gauss = states["numpy"].tolist()
    np.random.set_state(  # noqa: NPY002
        {
            "bit_generator": "MT19937",
            "state": {"key": np.array(key, dtype=np.uint32), "pos": position},
            "has_gauss": has_gauss,
            "gauss": _number(has_gauss, gauss) or 0.0,
        }
    )
    # Cloned: given a part of another tensor, PyTorch 2.13 crashes here.
    torch.set_rng_state(states["torch"].clone())
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states["device"].clone())


def _bits(number: float | None) -> tuple[int, int]:
    """The second half of a pair of normal draws, which generators keep: whether there is one, and its bits."""
    return (0, 0) if number is None else (1, int(np.float64(number).view(np.int64)))


def _number(there: int, bits: int) -> float | None:
    return float(np.int64(bits).view(np.float64)) if there else None
