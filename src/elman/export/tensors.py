"""Named tensors to bytes and back: safetensors, with tensors that share memory written once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from elman.errors import UserError


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, or None.

    Example:
        >>> import torch
        >>> first_not_finite({"a": torch.zeros(2), "b": torch.tensor([torch.inf])})
        'b'
    """
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors in the safetensors format.

    Names that stand for the same memory (tied weights) are written once; the others are listed in the header
    under `aliases`. The same tensors give the same bytes.

    Args:
        tensors: name to tensor, any shape, dtype that safetensors knows, on any device.

    Returns:
        The content of a `.safetensors` file.

    Example:
        >>> import torch
        >>> shared = torch.ones(2)
        >>> sorted(tensors_from_bytes(tensors_to_bytes({"a": shared, "b": shared}), Path("example")))
        ['a', 'b']
    """
    own: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in sorted(tensors.items()):
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        # Copied, because safetensors refuses views of one storage even where they are different tensors.
        own[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return safetensors.torch.save(own, {"aliases": json.dumps(aliases)})


def tensors_from_bytes(data: bytes, where: Path) -> dict[str, Tensor]:
    """Named tensors from the safetensors format, on the CPU; aliases come back as one and the same tensor.

    Args:
        data: the content of a `.safetensors` file.
        where: its path, named in errors.

    Raises:
        UserError: the bytes are not in the format.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        aliases = json.loads(header.get("__metadata__", {}).get("aliases", "{}"))
        return {**tensors, **{name: tensors[of] for name, of in aliases.items()}}
    except (
        safetensors.SafetensorError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        fix = "give a file written by Elman"
        raise UserError("not a safetensors file", where=where, found=repr(error), fix=fix) from error
