"""Networks whose verdict is known: built ones, described by settings, and random ones, by their Jacobians."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elman import cells
from elman.cells import RNN, Cell
from elman.insight import TracedRun, Verdict, step_jacobians, trace_run, verdict
from elman.models import ManyToOne
from elman.nn import Recurrent, initialise
from elman.recipes.settings import from_assignments

INPUTS, ROWS = 8, 6
Prepare = Callable[[Recurrent], object]


@dataclass(frozen=True)
class Case:
    """A network and its training, by settings as recipes have them.

    Attributes:
        kind: what its verdict must be.
        settings: those that a remedy could change.
        steps: of a sequence, where no window says.
        scale: of the inputs.
        options: of the layer.
        prepare: what makes it what it is, on a layer with the cell of the settings.
        cell: in place of the registered one of that name.
        updates: of training before it is judged.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    steps: int
    scale: float = 1.0
    pooling: str = "last"
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None
    cell: Cell | None = None
    updates: int = 0


def judged(case: Case, changes: Mapping[str, Any] | None = None) -> Verdict:
    """The verdict on a case, some of its settings changed."""
    settings = {**case.settings, **(changes or {})}
    run, norms = _run(case, settings)
    return verdict(run, settings=settings, norms=norms)


def traced(case: Case) -> TracedRun:
    """The run that a case is judged by."""
    return _run(case, case.settings)[0]


def _run(case: Case, settings: Mapping[str, Any]) -> tuple[TracedRun, list[float]]:
    """Also the norms of its training; what `prepare` did holds for the case's own cell alone."""
    same = settings["model.cell"] == case.settings["model.cell"]
    torch.manual_seed(3)
    cell = case.cell if same and case.cell else cells.get(settings["model.cell"])
    pooling = settings.get("model.pooling", case.pooling)
    model = ManyToOne(Recurrent(cell, INPUTS, 16, **case.options), 2, pooling=pooling).double()
    if same and case.prepare:
        with torch.no_grad():
            case.prepare(model.recurrent)
    window = settings.get("data.reach") or settings.get("data.window") or case.steps
    x = case.scale * torch.randn(ROWS, max(case.steps, window), INPUTS, dtype=torch.float64)
    norms = _trained(model, x, settings, case.updates)
    targets, loss = torch.arange(ROWS) % 2, nn.functional.cross_entropy
    run = trace_run(model.eval(), x, loss=lambda scores: loss(scores, targets, reduction="none"))
    return run, norms


def _trained(model: ManyToOne, x: Tensor, settings: Mapping[str, Any], updates: int) -> list[float]:
    """Trains to tell the sign of the first input's first number; returns the norms before clipping."""
    optimizer = torch.optim.Adam(model.parameters(), settings["train.learning_rate"])
    norms = []
    for _ in range(updates):
        fresh = torch.randn_like(x) * x.std()
        loss = nn.functional.cross_entropy(model(fresh), (fresh[:, 0, 0] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), settings["train.clip"])))
        optimizer.step()
    return norms


def measure(kind: str, found: Verdict) -> float:
    """What a remedy is to improve, larger is better; of the worst layer."""
    values = found.numbers.values()
    if kind == "clipped too often":
        return 1 / max((f.value for f in found.findings if f.kind == kind), default=1e-9)
    if kind == "vanishing":
        return min(own["left"] for own in values)
    key = {
        "exploding": "highest",
        "saturated gates": "saturated",
        "dead units": "dead",
        "window too short": "left",
    }
    return 1 / max(1e-9, *(own[key[kind]] for own in values))


def gain(case: Case) -> tuple[str, float]:
    """The first remedy offered, and how many times better it makes what it is for."""
    before = judged(case)
    finding = next(f for f in before.findings if f.kind == case.kind)
    setting = finding.remedies[0].setting
    after = judged(case, from_assignments([setting]))
    return setting, measure(case.kind, after) / max(1e-300, measure(case.kind, before))


def _settings(cell: str, **more: Any) -> dict[str, Any]:
    usual = {"model.cell": cell, "train.learning_rate": 1e-3, "train.clip": 1.0}
    return {**usual, **{key.replace("__", "."): value for key, value in more.items()}}


def _scaled(factor: float, names: str = "weight_hh") -> Prepare:
    return lambda layer: [p.mul_(factor) for name, p in layer.named_parameters() if name.startswith(names)]


def _orthogonal(gain: float) -> Prepare:
    def prepare(layer: Recurrent) -> None:
        initialise(layer, weight_hh="orthogonal", bias_ih=0.0, bias_hh=0.0)
        _scaled(gain)(layer)

    return prepare


def _identity(gain: float) -> Prepare:
    def prepare(layer: Recurrent) -> None:
        initialise(layer, weight_hh="identity")
        _scaled(gain)(layer)

    return prepare


def _set(**rules: float) -> Prepare:
    return lambda layer: initialise(layer, **rules)


def _biased(**gates: float) -> Prepare:
    return lambda layer: initialise(layer, bias_ih=gates)


SICK = (
    Case("a plain RNN over 100 steps", "vanishing", _settings("rnn"), 100),
    Case("a fresh LSTM over 120 steps", "vanishing", _settings("lstm"), 120),
    Case(
        "a GRU of two layers, pooled by its mean",
        "vanishing",
        _settings("gru"),
        80,
        1.0,
        "mean",
        {"num_layers": 2},
    ),
    Case("an RNN in both directions", "vanishing", _settings("rnn"), 60, 1.0, "mean", {"bidirectional": True}),
    Case("a tanh RNN with W twice too large", "exploding", _settings("rnn"), 80, 0.3, prepare=_orthogonal(2.5)),
    Case(
        "a relu RNN with W a fifth too large",
        "exploding",
        _settings("rnn"),
        60,
        prepare=_identity(1.2),
        cell=RNN("relu"),
    ),
    Case("an IndRNN with u too large", "exploding", _settings("indrnn"), 60, prepare=_set(weight_u=1.15)),
    Case("an LSTM on numbers that nobody scaled", "saturated gates", _settings("lstm"), 40, 60.0),
    Case(
        "a GRU trained with steps too large",
        "saturated gates",
        _settings("gru", train__learning_rate=0.5),
        30,
        updates=60,
    ),
    Case(
        "a relu RNN pushed below zero",
        "dead units",
        _settings("rnn"),
        40,
        prepare=_biased(h=-6.0),
        cell=RNN("relu"),
    ),
    Case(
        "a limit far below every gradient", "clipped too often", _settings("gru", train__clip=0.01), 12, updates=40
    ),
    Case(
        "a long memory in a short window",
        "window too short",
        _settings("rglru", data__window=16, data__reach=None),
        16,
    ),
)
HEALTHY = (
    Case("an RG-LRU over 100 steps", "healthy", _settings("rglru"), 100),
    Case("an LSTM that begins by keeping", "healthy", _settings("lstm"), 80, prepare=_biased(f=5.0)),
    Case("an orthogonal RNN on small numbers", "healthy", _settings("rnn"), 60, 0.02, prepare=_orthogonal(1.0)),
    Case("a GRU over six steps", "healthy", _settings("gru"), 6, updates=20),
)


# ---- random networks -----------------------------------------------------------------------------------------
KINDS: tuple[Cell | str, ...] = ("rnn", RNN("relu"), "lstm", "gru", "indrnn", "lru", "rglru", "mgu")


def random_run(number: int) -> TracedRun:
    """A network with weights, biases and inputs of random size, over random data."""
    torch.manual_seed(1000 + number)
    kind = KINDS[number % len(KINDS)]
    hidden, steps = int(torch.randint(6, 14, ())), int(torch.randint(12, 50, ()))
    layer = Recurrent(kind, 4, hidden).double()
    size, keep = float(torch.empty(()).uniform_(-0.5, 2.2)), float(torch.empty(()).uniform_(0, 6))
    with torch.no_grad():
        for name, p in layer.named_parameters():
            if name.startswith(("weight_hh", "weight_u")):
                p.mul_(math.exp(size if "hh" in name else size / 6))
        if kind == "lstm":
            initialise(layer, bias_ih={"f": keep})
        if kind == "gru":
            initialise(layer, bias_ih={"z": keep})
    x = torch.randn(ROWS, steps, 4, dtype=torch.float64) * float(torch.empty(()).uniform_(0.1, 1.5))
    direction = torch.randn(layer.output_size, dtype=torch.float64)
    return trace_run(layer, x, loss=lambda returned: (returned[0][:, -1] @ direction).sum())


def truth(run: TracedRun) -> str:
    """By the Jacobians alone: ||J_T ··· J_{T-k+1}|| beside ||J_T||, the mean over the rows."""
    jacobians = step_jacobians(run).unflatten(0, (len(run.lengths), run.steps))
    product, norms = torch.eye(jacobians.shape[-1], dtype=jacobians.dtype), []
    for t in reversed(range(1, run.steps)):
        product = product @ jacobians[:, t]
        norms.append(float(product.norm(dim=(1, 2)).mean()))
    if max(norms) > 100 * norms[0]:
        return "exploding"
    return "vanishing" if norms[-1] < 0.01 * norms[0] else "healthy"


def random_results(count: int = 100) -> list[tuple[str, tuple[str, ...]]]:
    """Of random networks, the truth and the kinds of the verdict."""
    return [(truth(run), verdict(run).kinds) for run in map(random_run, range(count))]
