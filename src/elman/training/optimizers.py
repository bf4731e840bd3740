"""The closed registry of optimizers, and the learning rate as a function of the step alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import torch
from torch import nn, optim

from elman.errors import UserError
from elman.training.settings import OptimizerName, TrainSettings

_CLASSES: Mapping[OptimizerName, type[optim.Optimizer]] = {
    "adamw": optim.AdamW,
    "adam": optim.Adam,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "adamax": optim.Adamax,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "sgd": optim.SGD,
}
_WITH_MOMENTUM = ("sgd", "rmsprop")


def optimizer_names() -> tuple[str, ...]:
    """The names that `train.optimizer` takes."""
    return tuple(get_args(OptimizerName))


def build_optimizer(settings: TrainSettings, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """The optimizer that the settings name, over the given parameters.

    Args:
        settings: reads optimizer, learning_rate, weight_decay and momentum.
        parameters: what is to be trained.

    Raises:
        UserError: momentum is set for an optimizer that has none.

    Example:
        >>> settings = TrainSettings(optimizer="sgd", learning_rate=0.1)
        >>> type(build_optimizer(settings, [nn.Parameter(torch.zeros(1))])).__name__
        'SGD'
    """
    name = settings.optimizer
    decay = settings.weight_decay
    if decay is None:
        decay = 0.01 if name == "adamw" else 0.0
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": decay}
    if settings.momentum and name not in _WITH_MOMENTUM:
        raise UserError(
            f"momentum is a setting of {' and '.join(_WITH_MOMENTUM)} only",
            where="train.momentum",
            found=f"{settings.momentum} with optimizer {name}",
            fix="leave it out or choose train.optimizer=sgd",
        )
    if name in _WITH_MOMENTUM:
        options["momentum"] = settings.momentum
    return _CLASSES[name](parameters, **options)


def learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    """The learning rate of one step: a straight rise, then the schedule.

    The rise reaches the full rate at its last step. The cosine is that of Loshchilov & Hutter (2017), one period
    down to zero, without restarts.

    Args:
        settings: reads learning_rate, warmup and schedule.
        step: number of the step, from 0.
        steps: steps of the whole run.

    Example:
        >>> learning_rate(TrainSettings(learning_rate=1.0, warmup=0.5), step=0, steps=4)
        0.5
    """
    rise = round(settings.warmup * steps)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    share = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
    return settings.learning_rate * share[settings.schedule]


def set_learning_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def state_of(optimizer: optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """What an optimizer remembers, as tensors and JSON values named `NUMBER.NAME`, by the parameter's number.

    The learning rate is left out: it follows from the step, and the other options from the settings.
    """
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, object] = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                values[f"{number}.{name}"] = value
    return tensors, values


def restore_state(
    optimizer: optim.Optimizer, tensors: Mapping[str, torch.Tensor], values: Mapping[str, object]
) -> None:
    """Give an optimizer what `state_of` took from it.

    Not by `load_state_dict`, which casts to the parameter's dtype: every tensor keeps its own. Counters
    (tensors of no dimension) stay on the CPU, where PyTorch's unfused optimizers keep them.
    """
    parameters = _parameters(optimizer)
    optimizer.state.clear()
    for key, value in {**tensors, **values}.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if isinstance(value, torch.Tensor):
            value = value.to(parameter.device if value.dim() else "cpu", copy=True)
        optimizer.state[parameter][name] = value


def _parameters(optimizer: optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
