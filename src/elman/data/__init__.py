"""From a user's file to batches: readers, columns, labels, vocabularies, splits, default data.

What needs torch or tokenizers is loaded when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elman.data.cache import cache_folder
from elman.data.columns import Columns, choose_columns
from elman.data.duplicates import near_duplicates
from elman.data.fetch import DATASETS, fetch
from elman.data.hutto import read_hutto
from elman.data.labels import Labels, imbalance
from elman.data.readers import read_table
from elman.data.split import Split, split
from elman.data.subwords import subwords
from elman.data.table import Table
from elman.data.texts import drop_empty

if TYPE_CHECKING:
    from elman.data.batches import Batch, Batches
    from elman.data.streams import Streams, Window
    from elman.data.vocabulary import Vocabulary

_LATER = {
    "Batch": "elman.data.batches",
    "Batches": "elman.data.batches",
    "Streams": "elman.data.streams",
    "Window": "elman.data.streams",
    "Vocabulary": "elman.data.vocabulary",
}

__all__ = [
    "DATASETS",
    "Batch",
    "Batches",
    "Columns",
    "Labels",
    "Split",
    "Streams",
    "Table",
    "Vocabulary",
    "Window",
    "cache_folder",
    "choose_columns",
    "drop_empty",
    "fetch",
    "imbalance",
    "near_duplicates",
    "read_hutto",
    "read_table",
    "split",
    "subwords",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'elman.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
