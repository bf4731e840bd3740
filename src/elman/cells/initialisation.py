"""Initialisations by name: what a gate's rows of a parameter begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from elman.cells.spec import Spec
from elman.errors import UserError, did_you_mean

Rule = str | float | Mapping[str, str | float]

# Each fills the rows of one gate, in place.
INITIALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "orthogonal": nn.init.orthogonal_,  # W W^T = 1: keeps lengths (Saxe et al., arXiv:1312.6120v3)
        "identity": nn.init.eye_,  # with relu, a network that counts (Le et al., arXiv:1504.00941v2)
        "glorot": nn.init.xavier_uniform_,  # keeps variances (Glorot and Bengio, AISTATS 2010)
        "zeros": nn.init.zeros_,
        "ones": nn.init.ones_,  # a forget gate's bias (Jozefowicz et al., ICML 2015)
    }
)
OF_MATRICES = ("orthogonal", "identity", "glorot")


def initialise(spec: Spec, params: Mapping[str, Tensor], rules: Mapping[str, Rule]) -> None:
    """Fills parameters of one cell anew, in place.

    Args:
        spec: what the cell declares.
        params: its parameters by name.
        rules: by parameter, a name of `INITIALISATIONS` or a number for each gate's rows, or one of these by
            gate; gates that are not named stay as they are.

    Raises:
        UserError: there is no such parameter, gate or initialisation, or it is one for matrices only.

    Example:
        >>> import torch
        >>> from elman.cells.lstm import LSTM
        >>> spec = LSTM().spec(3, 2)
        >>> params = {name: torch.zeros(p.shape) for name, p in spec.params.items()}
        >>> initialise(spec, params, {"weight_hh": "identity", "bias_hh": {"f": 1.0}})
        >>> params["bias_hh"].tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    for name, rule in rules.items():
        if name not in spec.params:
            raise UserError("the cell has no such parameter", found=name, fix=did_you_mean(name, spec.params))
        rows = _by_gate(spec, name, params[name])
        chosen = rule if isinstance(rule, Mapping) else dict.fromkeys(rows, rule)
        for gate, one in chosen.items():
            if gate not in rows:
                raise UserError("no such gate", where=name, found=gate, fix=did_you_mean(gate, rows))
            _fill(rows[gate], one, name)


def _by_gate(spec: Spec, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The parts of a parameter, which share its memory; a vector is one part."""
    for block in spec.blocks.values():
        if name in (block.weight, block.bias):
            return dict(zip(block.gates, tensor.detach().split([*block.gates.values()]), strict=True))
    return {name: tensor.detach()}


def _fill(rows: Tensor, rule: str | float, where: str) -> None:
    if not isinstance(rule, str):
        rows.fill_(rule)
    elif rule not in INITIALISATIONS:
        fix = did_you_mean(rule, INITIALISATIONS)
        raise UserError("no such initialisation", where=where, found=rule, fix=fix)
    elif rule in OF_MATRICES and rows.dim() < 2:
        raise UserError("this initialisation is for matrices", where=where, found=rule, fix="give a number")
    else:
        INITIALISATIONS[rule](rows)
