"""What simpler methods reach on the same pictures: without a network, and with networks that see all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from elman.data import Batches
from elman.data.pictures import Grid
from elman.recipes.digits_model import ModelSettings, Settings, build_network, class_scores, make_loss
from elman.recipes.digits_parts import Pictures
from elman.recipes.measures import Measures, measure, scikit_learn
from elman.training import build_optimizer, learning_rate

NEIGHBOURS = 3
PENALTY, WIDTH = (
    10,
    0.3,
)  # C and gamma of the support vectors, where pixels are from 0 to 1 and there are 64 of them
AT_ONCE: Mapping[str, ModelSettings] = {
    # O = V x + b learns nothing from distortions, which no straight cut can follow.
    "softmax_regression": ModelSettings(arrangement="one to one", cell=None, members=1, shift=0, turn=0, zoom=0),
    "one_step": ModelSettings(arrangement="one to one", cell="rnn", members=1),
}


def measure_beside(pictures: Pictures, settings: Settings) -> dict[str, Measures]:
    """Each method fitted on the training part and measured on the test part, by its name.

    majority, k_nearest_neighbours and support_vectors (with a Gaussian kernel) of scikit-learn, and two networks
    of `OneToOne`, trained as the settings say: softmax_regression, O = V x + b, and one_step, one step of the
    Elman cell.
    """
    grids, codes = pictures.part(pictures.parts.train)
    test, truth = pictures.part(pictures.parts.test)
    methods: dict[str, Callable[[], Sequence[int]]] = {
        "majority": lambda: [int(np.bincount(codes).argmax())] * len(test),
        "k_nearest_neighbours": lambda: _fitted(_neighbours(len(codes)), grids, codes, test),
        "support_vectors": lambda: _fitted(_support_vectors(grids), grids, codes, test),
    }
    for name, model in AT_ONCE.items():
        methods[name] = lambda model=model: _at_once(pictures, settings, model)  # type: ignore[misc]
    return {name: measure(pictures.labels, truth, predict()) for name, predict in methods.items()}


def _neighbours(rows: int) -> Any:
    return scikit_learn("neighbors").KNeighborsClassifier(min(NEIGHBOURS, rows))


def _support_vectors(grids: Grid) -> Any:
    pixels = grids[0].size
    return scikit_learn("svm").SVC(C=PENALTY, gamma=WIDTH * 64 / pixels)


def _fitted(model: Any, grids: Grid, codes: Sequence[int], test: Grid) -> Sequence[int]:
    fitted = model.fit(grids.reshape(len(grids), -1), codes)
    found: list[int] = fitted.predict(test.reshape(len(test), -1)).tolist()
    return found


def _at_once(pictures: Pictures, settings: Settings, model: ModelSettings) -> list[int]:
    """The predictions of one network for the test part, after as many epochs as the settings ask for."""
    train = settings.train
    grids, codes = pictures.part(pictures.parts.train)
    torch.manual_seed(train.seed)
    height, width = grids.shape[1:]
    classes = len(pictures.labels.names)
    network, loss = build_network(model, height, width, classes), make_loss(model)
    batches = Batches(list(grids), codes, batch_size=train.batch_size, seed=train.seed)
    optimizer, done, steps = build_optimizer(train, network.parameters()), 0, train.epochs * len(batches)
    for epoch in range(train.epochs):
        for batch in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(train, done, steps)
            optimizer.zero_grad()
            loss(network, batch).backward()
            nn.utils.clip_grad_norm_(network.parameters(), train.clip or float("inf"))
            optimizer.step()
            done += 1
    found: list[int] = class_scores(network, pictures.part(pictures.parts.test)[0], classes).argmax(-1).tolist()
    return found
