"""The arrangements of inputs and outputs."""

from __future__ import annotations

from elman.models.committee import Committee
from elman.models.many_to_one import ManyToOne
from elman.models.word_encoder import WordEncoder

__all__ = ["Committee", "ManyToOne", "WordEncoder"]
