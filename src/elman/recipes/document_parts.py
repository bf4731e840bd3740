"""Texts to learn from and be measured on, dealt out to training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elman.data import Documents, Split, cut_documents, deal_documents
from elman.data.documents import FEW, shown
from elman.errors import UserError
from elman.recipes.character_model import DataSettings


@dataclass(frozen=True)
class Prepared:
    """Texts dealt out to the parts; `about` says how."""

    documents: Documents
    parts: Split
    about: str

    def texts(self, part: Sequence[int]) -> list[str]:
        """The texts of a part."""
        return [self.documents.texts[row] for row in part]

    @property
    def source(self) -> str:
        """The documents, as messages name them."""
        return self.documents.source

    @property
    def columns(self) -> tuple[str | None, None]:
        """The column of texts, where they came out of a table."""
        return self.documents.column, None

    def shown(self) -> list[tuple[str, str]]:
        """How the texts were dealt out, and what each part holds."""
        return [("parts", self.about)] + [
            (name, shown(part, self.documents)) for name, part in self.parts._asdict().items()
        ]

    def fingerprint(self) -> str:
        """A hash of every text and part: whether data is still what it was."""
        whole = hashlib.sha256(json.dumps([*self.parts]).encode())
        for text in self.documents.texts:
            whole.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return whole.hexdigest()


def deal_own(documents: Documents, named: Mapping[str, Sequence[str]]) -> Prepared:
    """A recipe's own texts, those for "validation" and "test" by name, the others for training."""
    part_of = {name: part for part in ("validation", "test") for name in named[part]}
    parts = [part_of.get(name, "train") for name in documents.names]
    split = Split(*([row for row, part in enumerate(parts) if part == wanted] for wanted in Split._fields))
    return Prepared(documents, split, "parts by name")


def deal(documents: Documents, settings: DataSettings) -> Prepared:
    """A user's texts: whole ones where there are enough of them, else each cut in three.

    Raises:
        UserError: there is too little text, or a part gets none.
    """
    shares = (1 - settings.validation - settings.test, settings.validation, settings.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no text", where="data.test and data.validation", found=shares)
    if len(documents) < FEW:
        about = f"fewer than {FEW} texts: the end of each is the test"
        return Prepared(*cut_documents(documents, shares), about)
    return Prepared(documents, deal_documents(documents, seed=settings.seed, parts=shares), "parts by text")
