"""The arrangements of inputs and outputs."""

from __future__ import annotations

from elman.models.many_to_one import ManyToOne

__all__ = ["ManyToOne"]
