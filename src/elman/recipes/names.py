"""Names: the language a surname comes from, letter by letter.

The data: about 18,000 common surnames in 13 languages, as the Faker package lists them for inventing test data;
see `elman.data.read_surnames` for what they are and are not. A network reads the letters in both directions, each
with the runs of two to four that end there, pools what it read, and chooses a language: many to one.
"""

from __future__ import annotations

from elman.data import Table, read_surnames
from elman.recipes.baselines import character_ngrams
from elman.recipes.text_model import DataSettings, ModelSettings, Settings
from elman.recipes.text_recipe import TextRecipe
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(vocabulary="character", vocabulary_size=500, lowercase=True, max_length=64),
    model=ModelSettings(
        cell="gru",
        embedding_size=32,
        hidden_size=96,
        bidirectional=True,
        pooling="last+mean+max",
        subwords=30_000,
        members=4,
        dropout=0.4,
        unknown=0.02,
    ),
    train=TrainSettings(epochs=4, batch_size=128, learning_rate=0.01, weight_decay=0.01),
)
# --------------------------------------------------------------------------------------------------------------


def surnames() -> Table:
    """The default data, its columns called as the recipe's default data is."""
    table = read_surnames()
    columns = {"text": "name", "label": "language", "group": "group"}
    return Table({role: table.column(name) for role, name in columns.items()}, table.source)


RECIPE = TextRecipe(
    name="names",
    summary="which language does a surname come from? (or any classes of short words of your own)",
    settings=SETTINGS,
    margins={"accuracy": 0.0, "macro_f1": 0.0},
    default_data=surnames,
    class_baselines={"character_ngrams": character_ngrams},
    example="Dvořák",
)
