"""The gradient of the loss by its distance in time, plain RNN against LSTM, on a trained model's own texts.

Both networks are small, equal but for the cell, and trained alike. No recipe: `elman demo` draws what is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elman.data import Batches
from elman.errors import UserError
from elman.insight import gradient_by_distance
from elman.models import ManyToOne
from elman.nn import Recurrent
from elman.recipes.baselines import Rows
from elman.recipes.text_model import TextModel
from elman.recipes.text_recipe import TextRecipe

# ---- choices -------------------------------------------------------------------------------------------------
CELLS = {"plain RNN": "rnn", "LSTM": "lstm"}
SIZE = 64  # of the embedding and of the state
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
LARGEST_NORM = 1.0  # of a step's gradient
LONG, MOST_ROWS = 25, 256  # words of a text that is measured with, and such texts at most
SMALL = 0.01  # of its value at the end: what counts as vanished
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Gradient norms by distance in time.

    Attributes:
        curves: for each network ||dL/dh_{T-k}||, (T,), from `elman.insight.gradient_by_distance`.
        rows: the number of texts they are the mean of.
    """

    curves: Mapping[str, Tensor]
    rows: int

    def reach(self, name: str) -> int | None:
        """The first distance at which the gradient is at most 1 % of its value at the end; None: at none.

        Example:
            >>> Comparison({"RNN": torch.tensor([1.0, 0.1, 0.01])}, rows=1).reach("RNN")
            2
        """
        curve = self.curves[name]
        small = (curve <= SMALL * curve[0]).nonzero()
        return int(small[0]) if len(small) else None

    def sentence(self) -> str:
        """What the curves show, in numbers."""
        parts = []
        for name, curve in self.curves.items():
            steps, last = self.reach(name), len(curve) - 1
            left = f"{float(curve[last] / curve[0]):.0%}"
            parts.append(f"{name}: {f'{steps} steps back' if steps else f'not within {last} steps ({left} left)'}")
        return f"the gradient falls to {SMALL:.0%} of its value at the last word - " + "; ".join(parts)


def compare_gradients(model: TextModel, train: Rows, test: Rows, *, steps: int = 400, seed: int = 0) -> Comparison:
    """Train a plain RNN and an LSTM on a model's texts, with its vocabulary, and measure their gradients.

    Args:
        model: whose vocabulary and classes are used; it is not changed.
        train: what both are trained on.
        test: whose texts of 25 words or more are measured with, each up to its 25th word, so that every
            distance is a mean of the same texts.
        steps: batches each is trained on.
        seed: of the first weights and of the batches.

    Raises:
        UserError: no test text is long enough.
    """
    encoded = model.encode(test.texts)
    long = [row for row, sequence in enumerate(encoded) if len(sequence) >= LONG][:MOST_ROWS]
    if not long:
        raise UserError(f"the picture needs a text of {LONG} words or more", where="test part", found="none")
    x = torch.tensor([encoded[row][:LONG] for row in long])
    targets = torch.tensor([int(test.targets[row]) for row in long])
    sequences, curves = model.encode(train.texts), {}
    for name, cell in CELLS.items():
        network = _trained(_network(model, cell, seed), sequences, train.targets, steps, seed)
        curves[name] = gradient_by_distance(
            network, x, None, lambda scores: cross_entropy(scores, targets, reduction="none")
        )[0]
    return Comparison(curves, len(long))


def rows_of(model: TextModel) -> tuple[Rows, Rows]:
    """The training and the test part that a model of a text recipe's own data was trained beside.

    Raises:
        UserError: the model was trained by another recipe, or on other data.
    """
    recipe, about = model.recipe, model.config["data"]
    if not isinstance(recipe, TextRecipe) or not about["own"]:
        raise UserError("only the rows of a recipe's own data can be had again", where=model.folder)
    prepared = recipe._parts(recipe.default_data(), about["text"], about["label"], model.settings, True)
    return prepared.rows(prepared.parts.train), prepared.rows(prepared.parts.test)


def _network(model: TextModel, cell: str, seed: int) -> ManyToOne:
    torch.manual_seed(seed)
    embedding = nn.Embedding(len(model.vocabulary), SIZE, padding_idx=0)
    return ManyToOne(Recurrent(cell, SIZE, SIZE), len(model.labels.names), encoder=embedding, pooling="last")


def _trained(
    network: ManyToOne, sequences: Sequence[Sequence[int]], targets: Sequence[float], steps: int, seed: int
) -> ManyToOne:
    """The network after so many steps of AdamW, in eval mode."""
    batches = Batches(sequences, [int(target) for target in targets], batch_size=BATCH_SIZE, seed=seed)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    done = 0
    while done < steps:
        for batch in batches.epoch(done // len(batches)):
            if done == steps or batch.targets is None:
                break
            loss = cross_entropy(network(batch.inputs, batch.lengths), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_NORM)
            optimizer.step()
            done += 1
    return network.eval()
