"""How a cell runs over a sequence, forward and backward."""

from __future__ import annotations

from elman.engine.backends import NAMES, RUNS, Choice, choose
from elman.engine.backends import run as run_chosen
from elman.engine.live import LiveChain, LiveNetwork, single_step
from elman.engine.native import Misfit, Network, pack_weights, run_network
from elman.engine.native import compiled as compile_cell
from elman.engine.noise import key as noise_key
from elman.engine.noise import of_pass
from elman.engine.operands import Operands, Record
from elman.engine.operation import register
from elman.engine.operation import run as run_operation
from elman.engine.parameter_noise import parameter_noise

__all__ = [
    "NAMES", "RUNS", "Choice", "LiveChain", "LiveNetwork", "Misfit", "Network", "Operands", "Record",
    "choose", "compile_cell", "noise_key", "of_pass", "pack_weights", "parameter_noise", "register", "run_chosen",
    "run_network", "run_operation", "single_step",
]  # fmt: skip
