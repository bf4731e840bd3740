"""`explain`: what runs for a layer or a model, and why."""

from __future__ import annotations

from torch import Tensor, nn

from elman.nn.recurrent import Recurrent


def explain(model: nn.Module, x: Tensor, *, resets: Tensor | None = None) -> str:
    """A line for each recurrent pass in `model`: the backend that runs it for inputs like x, and the reason.

    Args:
        model: a recurrent layer of Elman, or any module that holds some.
        x: inputs as the layers receive them; only shape, dtype and device matter.
        resets: as given to the layer.

    Raises:
        TypeError: there is no recurrent layer of Elman in the model.

    Example:
        >>> import torch
        >>> explain(Recurrent("gru", 3, 5), torch.zeros(2, 7, 3))
        'Recurrent layer 0: torch (torch has kernels for GRU)'
    """
    lines = []
    for name, module in model.named_modules():
        if isinstance(module, Recurrent):
            for part, choice in module.explain(x, resets=resets):
                where = f"{name or type(module).__name__} {part}"
                lines.append(f"{where}: {choice.backend} ({choice.reason})")
    if not lines:
        raise TypeError(
            f"{type(model).__name__} holds no recurrent layer of Elman; elman.convert(model) puts them in"
        )
    return "\n".join(lines)
