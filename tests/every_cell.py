"""Every registered cell, as an instance; one with options that have no default stands here with some."""

from __future__ import annotations

from elman import cells
from elman.cells.lstm import ProjectedLSTM

_WITH_OPTIONS = {"projectedlstm": ProjectedLSTM(size=2)}
EVERY_CELL = {name: _WITH_OPTIONS.get(name) or cells.get(name) for name in cells.registered()}
