"""Whether what runs a cell computes what the cell says: of one cell, or of every layer of a trained model."""

from __future__ import annotations

from elman.checking.cell import check_cell
from elman.checking.report import Disagreement, Line, Report
from elman.checking.verification import verify
from elman.engine.tolerances import TOLERANCES

__all__ = ["TOLERANCES", "Disagreement", "Line", "Report", "check_cell", "verify"]
