"""`explain`: what runs for a layer or a model, and why."""

from __future__ import annotations

from torch import Tensor, nn

from elman.engine import NAMES
from elman.engine.unit import transformed
from elman.nn.drop_in import DropIn
from elman.nn.drop_in_cells import DropInCell
from elman.nn.drop_in_engine import chosen, refuse_backend
from elman.nn.recurrent import Recurrent


def explain(model: nn.Module, x: Tensor, *, resets: Tensor | None = None) -> str:
    """A line for each recurrent pass in `model`: the backend that runs it for inputs like x, and the reason.

    Args:
        model: a recurrent layer of Elman, or any module that holds some.
        x: inputs as the layers receive them; only shape, dtype and device matter.
        resets: as given to the layer.

    Raises:
        TypeError: there is no recurrent layer in the model.
        ValueError: a layer asks by name for a backend that is not there or cannot run.

    Example:
        >>> import torch
        >>> explain(Recurrent("gru", 3, 5), torch.zeros(2, 7, 3, dtype=torch.bfloat16))
        'Recurrent layer 0: torch (torch has kernels for this cell)'
    """
    lines = [
        f"{name or type(module).__name__}{line}"
        for name, module in model.named_modules()
        for line in _lines(module, x, resets)
    ]
    if not lines:
        raise TypeError(f"{type(model).__name__} holds no recurrent layer")
    return "\n".join(lines)


def _lines(module: nn.Module, x: Tensor, resets: Tensor | None) -> list[str]:
    if isinstance(module, Recurrent):
        choices = module.explain(x, resets=resets)
        return [f" {part}: {choice.backend} ({choice.reason})" for part, choice in choices]
    if isinstance(module, DropIn | DropInCell):
        if module.backend not in NAMES:
            raise refuse_backend(module.backend)
        if isinstance(module, DropIn):
            choice = chosen(module, x)
            return [f": {choice.backend} ({choice.reason})"]
        if module.backend == "auto":
            reason = transformed()
            return [f": eager ({reason})" if reason else ": torch (one step alone runs in torch's kernel)"]
        return [f": {module.backend} (asked for by name)"]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        kind = f"{type(module).__module__}.{type(module).__name__}"
        return [f": not Elman's but {kind} (elman.convert(model) swaps torch.nn's own classes)"]
    return []
