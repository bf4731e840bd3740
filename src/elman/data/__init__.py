"""From a user's file to batches: readers, columns, labels, vocabularies, splits, default data.

What needs torch or tokenizers is loaded when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elman.data.cache import cache_folder
from elman.data.columns import Columns, choose_columns
from elman.data.documents import Documents, cut_documents, deal_documents, read_documents
from elman.data.duplicates import near_duplicates
from elman.data.fetch import DATASETS, fetch
from elman.data.hutto import read_hutto
from elman.data.labels import Labels, imbalance
from elman.data.readers import read_table
from elman.data.split import Split, split, split_in_order
from elman.data.subwords import subwords
from elman.data.surnames import read_surnames
from elman.data.table import Table
from elman.data.texts import drop_empty

if TYPE_CHECKING:
    from elman.data.batches import Batch, Batches
    from elman.data.characters import character_ids, characters_of, composed
    from elman.data.plain_text import marked_text
    from elman.data.streams import Streams, Window
    from elman.data.tagged import Tagged
    from elman.data.tagged_readers import read_marked, read_tagged
    from elman.data.vocabulary import Vocabulary

_LATER = {
    "Batch": "elman.data.batches",
    "Batches": "elman.data.batches",
    "character_ids": "elman.data.characters",
    "characters_of": "elman.data.characters",
    "composed": "elman.data.characters",
    "marked_text": "elman.data.plain_text",
    "Streams": "elman.data.streams",
    "Tagged": "elman.data.tagged",
    "read_marked": "elman.data.tagged_readers",
    "read_tagged": "elman.data.tagged_readers",
    "Window": "elman.data.streams",
    "Vocabulary": "elman.data.vocabulary",
}

__all__ = [
    "DATASETS",
    "Batch",
    "Batches",
    "Columns",
    "Documents",
    "Labels",
    "Split",
    "Streams",
    "Table",
    "Tagged",
    "Vocabulary",
    "Window",
    "cache_folder",
    "character_ids",
    "characters_of",
    "choose_columns",
    "composed",
    "cut_documents",
    "deal_documents",
    "drop_empty",
    "fetch",
    "imbalance",
    "marked_text",
    "near_duplicates",
    "read_documents",
    "read_hutto",
    "read_marked",
    "read_surnames",
    "read_table",
    "read_tagged",
    "split",
    "split_in_order",
    "subwords",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'elman.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
