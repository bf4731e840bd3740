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
from elman.recipes.text_parts import prepare_parts
from elman.recipes.text_recipe import TextRecipe

# ---- choices -------------------------------------------------------------------------------------------------
CELLS = {"plain RNN": "rnn", "LSTM": "lstm"}
SIZE = 64  # of the embedding and of the state
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
LARGEST_NORM = 1.0  # of a step's gradient
LONG, MOST_ROWS = 30, 256  # pieces of a text that is measured with, and such texts at most
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

    def shrinks(self, name: str) -> float:
        """How many times smaller the gradient is at the largest distance than at distance 1.

        Not than at 0: the loss reads the last state directly, and an LSTM passes on most of what it remembers
        beside that state. From 1 on, a network differs from step to step by its recurrence alone.

        Example:
            >>> Comparison({"RNN": torch.tensor([1.0, 0.5, 0.25, 0.125])}, rows=1).shrinks("RNN")
            4.0
        """
        curve = self.curves[name]
        return float(curve[1] / curve[-1])

    def sentence(self) -> str:
        """What the curves show, in numbers.

        Example:
            >>> Comparison({"RNN": torch.tensor([1.0, 0.5, 0.25, 0.125])}, rows=1).sentence()
            'from 1 to 3 steps before the end, the gradient becomes 4.0 times smaller in the RNN'
        """
        steps = max(len(curve) for curve in self.curves.values()) - 1
        found = " and ".join(f"{self.shrinks(name):.1f} times smaller in the {name}" for name in self.curves)
        return f"from 1 to {steps} steps before the end, the gradient becomes {found}"


def compare_gradients(model: TextModel, train: Rows, test: Rows, *, steps: int = 400, seed: int = 0) -> Comparison:
    """Train a plain RNN and an LSTM on a model's texts, with its vocabulary, and measure their gradients.

    Args:
        model: whose vocabulary and classes are used; it is not changed.
        train: what both are trained on.
        test: whose texts of 30 pieces or more are measured with, each up to its 30th, so that every distance is
            a mean of the same texts.
        steps: batches each is trained on.
        seed: of the first weights and of the batches.

    Raises:
        UserError: no test text is long enough.
    """
    longest = model.settings.data.max_length
    encoded = model.vocabulary.encode(list(test.texts), longest)
    long = [row for row, sequence in enumerate(encoded) if len(sequence) >= LONG][:MOST_ROWS]
    if not long:
        raise UserError(f"the picture needs a text of {LONG} pieces or more", where="test part", found="none")
    x = torch.tensor([encoded[row][:LONG] for row in long])
    targets = torch.tensor([int(test.targets[row]) for row in long])
    sequences, curves = model.vocabulary.encode(list(train.texts), longest), {}
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
    prepared = prepare_parts(recipe.default_data(), about["text"], about["label"], model.settings.data, True)
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
