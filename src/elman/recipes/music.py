"""Music: how does a tune go on?

The data: tunes of three old collections in ABC notation, a voice each; see `elman.data.tunes`. The network reads a
tune character by character and says at each how likely every character is to be the next; see
`elman.recipes.character_job`. What it has learnt goes on from the first notes, or begins a tune of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from elman.data import Documents, Split, split
from elman.data.notation import read_tune
from elman.data.tunes import Tunes, read_collections, read_tunes
from elman.errors import UserError
from elman.recipes.character_job import CharacterConfig, CharacterJob, measured
from elman.recipes.character_model import CharacterModel, DataSettings, ModelSettings, Settings
from elman.recipes.document_parts import Prepared
from elman.recipes.job import Asked, refuse_column
from elman.recipes.music_model import MusicModel, checked_bars
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
KEYS = (0, 1, -1, 2, -2, 3, -3)  # fifths that a tune is moved by, the nearest first
MOST_SHARPS = 4  # or flats, of a key that a tune is moved to
DRAWN = 100  # tunes whose bars are counted


class MusicDataSettings(DataSettings):
    """How tunes become numbers, rows and parts."""

    keys: int = Field(5, ge=1, le=len(KEYS), description="keys that each tune of the training part is read in")


class MusicSettings(Settings):
    """All choices of the recipe."""

    data: MusicDataSettings = MusicDataSettings()


SETTINGS = MusicSettings(
    data=MusicDataSettings(window=128, vocabulary_size=200, keys=5),
    model=ModelSettings(cell="lstm", embedding_size=64, hidden_size=512, dropout=0.1),
    train=TrainSettings(
        epochs=3, batch_size=32, learning_rate=4e-3, warmup=0.03, patience=3, watch="bits_per_character"
    ),
)
# --------------------------------------------------------------------------------------------------------------


class MusicConfig(CharacterConfig):
    """What `config.json` of a model of tunes holds."""

    settings: MusicSettings


@dataclass(frozen=True)
class MusicRecipe(CharacterJob):
    """The beginning of a tune in, the rest out.

    Attributes:
        default_data: gives the recipe's own tunes.
    """

    settings: MusicSettings
    default_data: Callable[[], Tunes] = field(kw_only=True)
    config = MusicConfig
    model = MusicModel
    longest = 12

    def uses(self, folder: str) -> list[list[str]]:
        """Commands to try on the trained model."""
        return [
            ["generate", folder, "--prompt", "[M:6/8][K:G] GAB", "--out", "tune"],
            ["generate", folder, "--temperature", "0.8"],
            ["evaluate", folder],
        ]

    def read(self, asked: Asked) -> Prepared:
        """The tunes in one spelling, dealt out by title and melody; what was left out is said."""
        found = self._tunes(asked)
        if found.notice:
            asked.say(found.notice)
        for reason, count in found.refused.items():
            asked.say(f"{count} tunes are left out: {reason}")
        settings = asked.settings.data
        shares = (1 - settings.validation - settings.test, settings.validation, settings.test)
        if shares[0] <= 0:
            raise UserError("the training part gets no tune", where="data.test and data.validation", found=shares)
        parts = split(len(found.tunes), seed=settings.seed, parts=shares, groups=found.groups)
        documents = _documents(found)
        return Prepared(documents, _once(parts, documents.texts), "by title and melody")

    def taught(self, texts: list[str], settings: MusicSettings) -> list[str]:  # type: ignore[override]
        """Each tune in several keys."""
        return [moved for text in texts for moved in in_keys(text, settings.data.keys)]

    def measure(self, model: CharacterModel, prepared: Prepared) -> dict[str, Any]:
        """Bits for each character of the test part, and how many bars of new tunes fill their metre."""
        return {**super().measure(model, prepared), "valid_bars": valid_bars(cast(MusicModel, model))}

    def measure_data(self, model: CharacterModel, asked: Asked) -> dict[str, Any]:
        """Bits for each character of all of a user's tunes."""
        found = self._tunes(asked)
        return {**measured(model, _documents(found).texts), "tunes_left_out": sum(found.refused.values())}

    def _tunes(self, asked: Asked) -> Tunes:
        refuse_column(asked.text, "text", "a tune is a text of its own: leave it out")
        refuse_column(asked.label, "label", "a tune is its own label: leave it out")
        if asked.data is None:
            return self.default_data()
        if not isinstance(asked.data, str | Path):
            what, fix = "tunes are read from a file or folder", "name an .abc file or a folder of them"
            raise UserError(what, where="--data", found=type(asked.data).__name__, fix=fix)
        return read_tunes(asked.data, asked.settings.data.max_characters)


def in_keys(text: str, keys: int) -> list[str]:
    r"""A tune in so many keys, its own first, without those of too many sharps or flats.

    Example:
        >>> in_keys("M:4/4\nL:1/8\nK:G\nGAB^c|]\n", 2)[1].splitlines()[2:]
        ['K:D', 'DE F^G|]']
    """
    tune, found = read_tune(text), [text]
    for fifths in KEYS[1:keys]:
        if abs(tune.key.sharps + fifths) <= MOST_SHARPS:
            try:
                found.append(tune.moved(fifths).text())
            except UserError:  # a note that would be raised three times
                continue
    return found


def valid_bars(model: MusicModel) -> float:
    """The share of bars that fill their metre in tunes that the network draws, none drawn again."""
    counts = [checked_bars(text) for text in model.drawn(DRAWN, seed=0)]
    wrong, bars = (sum(column) for column in zip(*counts, strict=True))
    return 1 - wrong / bars if bars else 0.0


def _documents(found: Tunes) -> Documents:
    return Documents([tune.text() for tune in found.tunes], found.names, found.source)


def _once(parts: Split, texts: Sequence[str]) -> Split:
    """Each tune once, however many books print it."""
    first = {text: row for row, text in reversed(list(enumerate(texts)))}
    return Split(*([row for row in part if first[texts[row]] == row] for part in parts))


RECIPE = MusicRecipe(
    name="music",
    summary="how does a tune go on? writes tunes in ABC notation, and plays them",
    settings=SETTINGS,
    targets={"valid_bars": 0.95},
    margins={"bits_per_character": 0.0},
    default_data=read_collections,
)
