"""How a cell runs over a sequence, forward and backward."""

from __future__ import annotations

from elman.engine.backends import NAMES, RUNS, Choice, choose
from elman.engine.operands import Operands
from elman.engine.operation import register
from elman.engine.operation import run as run_operation

__all__ = ["NAMES", "RUNS", "Choice", "Operands", "choose", "register", "run_operation"]
