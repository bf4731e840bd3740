"""Layers: any cell over sequences, and what goes around it."""

from __future__ import annotations

from elman.nn.explanation import explain
from elman.nn.pooling import Pooling
from elman.nn.recurrent import Recurrent

__all__ = ["Pooling", "Recurrent", "explain"]
