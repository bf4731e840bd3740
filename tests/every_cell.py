"""Every registered cell, as an instance; those that need options have some; and wrapped ones."""

from __future__ import annotations

from elman import cells
from elman.cells import (
    Cell,
    Clip,
    LayerNorm,
    Projection,
    RecurrentDropout,
    Residual,
    WeightDrop,
    Zoneout,
)
from elman.cells.lstm import ProjectedLSTM
from elman.cells.slstm import SLSTM

_WITH_OPTIONS = {"projectedlstm": ProjectedLSTM(size=2)}
EVERY_CELL = {name: _WITH_OPTIONS.get(name) or cells.get(name) for name in cells.registered()}


def _wrapped() -> dict[str, Cell]:
    lstm, gru, rnn = (EVERY_CELL[name] for name in ("lstm", "gru", "rnn"))
    inner = RecurrentDropout(WeightDrop(Projection(lstm, size=3), p=0.3), p=0.2)
    return {
        "layer norm": LayerNorm(lstm),
        "layer norm, joint": LayerNorm(gru, joint=True),
        "layer norm, recurrent": LayerNorm(EVERY_CELL["resetbeforegru"], inputs=False),
        "zoneout": Zoneout(lstm, p=(0.3, 0.5)),
        "recurrent dropout": RecurrentDropout(EVERY_CELL["resetbeforegru"], p=0.4),
        "weight drop": WeightDrop(lstm, p=0.5),
        "residual": Residual(gru),
        "projection": Projection(lstm, size=2),
        "clip": Clip(rnn, limit=0.3),
        "all of them": Residual(Zoneout(LayerNorm(inner), p=0.2)),
        "around others": Residual(Clip(Zoneout(LayerNorm(EVERY_CELL["slstm"]), p=0.3), limit=0.9)),
        "heads": SLSTM(heads=5),
        "of one with derived vectors": Zoneout(EVERY_CELL["rglru"], p=0.2),
        "of one without products": Zoneout(EVERY_CELL["mingru"], p=0.4),
    }


WRAPPED = _wrapped()
