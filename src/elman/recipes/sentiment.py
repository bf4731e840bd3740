"""Sentiment: is a text negative, neutral or positive?

The data: 18,513 English tweets, sentences of product reviews and of film reviews, each rated by about twenty
people from -4 to 4 (Hutto and Gilbert 2014). Here a mean of -0.5 or less is negative, of 0.5 or more positive.
The network reads a text in both directions, pools what it read, and chooses a class.
"""

from __future__ import annotations

from elman.data import Table, fetch, read_hutto
from elman.recipes.baselines import vader
from elman.recipes.text_model import DataSettings, ModelSettings, Settings
from elman.recipes.text_recipe import TextRecipe
from elman.training import TrainSettings

# ---- choices -------------------------------------------------------------------------------------------------
SETTINGS = Settings(
    data=DataSettings(vocabulary="word", vocabulary_size=20_000, lowercase=True, max_length=128),
    model=ModelSettings(
        cell="gru",
        embedding_size=64,
        hidden_size=64,
        bidirectional=True,
        pooling="mean+max",
        subwords=20_000,
        members=4,
        dropout=0.5,
        unknown=0.1,
    ),
    train=TrainSettings(epochs=3, batch_size=64, learning_rate=3e-3, weight_decay=0.01),
)
NEUTRAL = 0.5  # ratings nearer to 0 than this are neutral
# --------------------------------------------------------------------------------------------------------------


def rated_texts() -> Table:
    """The default data, its ratings turned into classes; fetched once, see `elman data sentiment`."""
    table = read_hutto(fetch("sentiment"))
    ratings = table.column("rating")
    labels = ["negative" if r <= -NEUTRAL else "positive" if r >= NEUTRAL else "neutral" for r in ratings]
    return Table({**table.columns, "label": labels}, "rated tweets and reviews", table.lines, table.files)


RECIPE = TextRecipe(
    name="sentiment",
    summary="is a text negative, neutral or positive? (or any classes or numbers of your own)",
    settings=SETTINGS,
    targets={"macro_f1": 0.60},
    margins={"accuracy": 0.015},
    default_data=rated_texts,
    more_baselines={"vader": vader},
)
