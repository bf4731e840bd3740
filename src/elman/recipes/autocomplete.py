"""Autocomplete: which characters come next?

The data: the King James Bible of 1769, 66 books of 4.2 million characters. The network reads a text character by
character and says at each how likely every character is to be the next; see `elman.recipes.character_job`. What it
has learnt writes, and completes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elman.data import Documents, read_documents
from elman.data.bible import read_bible
from elman.recipes.character_job import CharacterJob, measured
from elman.recipes.character_model import CharacterModel, DataSettings, ModelSettings, Settings
from elman.recipes.document_parts import Prepared, deal, deal_own
from elman.recipes.job import Asked, refuse_column
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
TEST = ("Job", "Ecclesiastes", "Acts", "Romans")  # Mark would leak through Matthew, Kings through Chronicles
VALIDATION = ("Ruth", "Esther", "Lamentations", "Jonah", "Habakkuk", "Titus", "James", "1 John")
ITS_OWN = "leave it out: a text is its own label"
SETTINGS = Settings(
    data=DataSettings(window=64, vocabulary_size=1_000),
    model=ModelSettings(cell="lstm", embedding_size=64, hidden_size=384),
    train=TrainSettings(
        epochs=10, batch_size=32, learning_rate=3e-3, warmup=0.03, patience=3, watch="bits_per_character"
    ),
)
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AutocompleteRecipe(CharacterJob):
    """A text in, what comes next out.

    Attributes:
        default_data: gives the recipe's own texts.
        own_parts: which of them are for "test" and "validation", by name.
        prompt: a text to try the model on.
    """

    default_data: Callable[[], Documents] = field(kw_only=True)
    own_parts: Mapping[str, Sequence[str]] = field(kw_only=True)
    prompt: str = field(default="In the beg", kw_only=True)

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [
            ["generate", folder, "--prompt", self.prompt],
            ["complete", folder, self.prompt],
            ["complete", folder],
            ["evaluate", folder],
        ]

    def read(self, asked: Asked) -> Prepared:
        """The texts, dealt out."""
        refuse_column(asked.label, "label", ITS_OWN)
        settings = asked.settings.data
        if asked.data is not None:
            prepared = deal(read_documents(asked.data, asked.text, settings.max_characters), settings)
        else:
            refuse_column(asked.text, "text", "name your own data with --data")
            prepared = deal_own(self.default_data(), self.own_parts)
        documents = prepared.documents
        if documents.dropped:
            asked.say(f"{documents.dropped} empty texts are left out")
        if documents.column is not None and asked.text is None:
            asked.say(f"column guessed: --text {documents.column!r}")
        return prepared

    def measure_data(self, model: CharacterModel, asked: Asked) -> dict[str, Any]:
        """Bits for each character of all of a user's texts."""
        refuse_column(asked.label, "label", ITS_OWN)
        column = asked.text or _column(asked.data, model.config["data"]["text"])
        documents = read_documents(asked.data, column, model.settings.data.max_characters)
        said = {"columns": {"text": documents.column}} if documents.column is not None else {}
        return {**measured(model, documents.texts), **said, "rows_without_text": documents.dropped}


def _column(data: Any, trained: str | None) -> str | None:
    """The column trained on, where the data can be a table."""
    return None if isinstance(data, str | Path) and Path(data).suffix.lower() in ("", ".txt") else trained


def own_texts() -> Documents:
    """The default data: the books of the Bible, a text each."""
    books = read_bible()
    return Documents([*books.values()], [*books], "the King James Bible")


RECIPE = AutocompleteRecipe(
    name="autocomplete",
    summary="which characters come next? completes as you type, and goes on writing",
    settings=SETTINGS,
    targets={"bits_per_character": 1.75},
    default_data=own_texts,
    own_parts={"test": TEST, "validation": VALIDATION},
)
