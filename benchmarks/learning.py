"""What cells learn: eight networks of equal size on four tasks whose outcome is known from the literature.

Writes benchmarks/results/learning.json after every run, goes on where it was stopped, and draws
docs/pictures/learning.png from the file. One core, about half an hour: `python benchmarks/learning.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from elman.cells import LRU, RNN, IndRNN, MinGRU
from elman.models import ManyToMany, ManyToOne
from elman.nn import Recurrent, initialise

ROOT = Path(__file__).parents[1]
RESULTS, PICTURE = ROOT / "benchmarks/results/learning.json", ROOT / "docs/pictures/learning.png"
PARAMETERS, ROWS, CLIP, EVERY, SEED = 10_000, 32, 1.0, 100, 0
RATES = (3e-3, 1e-3, 1e-2)
Batch = tuple[Tensor, Tensor]


def plain(name: Any, layers: int = 1) -> Callable[[int, int], Recurrent]:
    return lambda inputs, hidden: Recurrent(name, inputs, hidden, layers)


def begun(cell: Any, **rules: Any) -> Callable[[int, int], Recurrent]:
    return lambda inputs, hidden: initialise(Recurrent(cell, inputs, hidden), **rules)


NETWORKS: dict[str, Callable[[int, int], Recurrent]] = {
    "rnn": plain("rnn"),
    "rnn, orthogonal": begun("rnn", weight_hh="orthogonal", bias_ih=0.0, bias_hh=0.0),
    "rnn, relu, identity": begun(RNN("relu"), weight_hh="identity", bias_ih=0.0, bias_hh=0.0),
    "lstm": begun("lstm", bias_ih={"f": 1.0}, bias_hh={"f": 0.0}),
    "gru": plain("gru"),
    "indrnn, 2 layers": plain(IndRNN(), 2),
    "mingru, 2 layers": plain(MinGRU(), 2),
    "lru": plain(LRU(least=0.9, most=0.999)),
}


@dataclass(frozen=True)
class Task:
    """A task: widths, steps of training at most, batches to train, choose and test with, when it is learned."""

    inputs: int
    outputs: int
    steps: int
    draw: tuple[Callable[[int, torch.Generator], Batch], ...]
    measure: str  # "accuracy", or "error": the mean squared error
    chance: float
    solved: float
    every_step: bool = False


def adding(rows: int, source: torch.Generator, steps: int = 200) -> Batch:
    """The sum of the two numbers that are marked, one in each half."""
    values = torch.rand(rows, steps, generator=source)
    places = torch.randint(steps // 2, (rows, 2), generator=source) + torch.tensor([0, steps // 2])
    marks = torch.zeros(rows, steps).scatter(1, places, 1.0)
    return torch.stack([values, marks], 2), (values * marks).sum(1)


def copying(rows: int, source: torch.Generator, delay: int = 100, symbols: int = 5, kinds: int = 4) -> Batch:
    """Symbols, a hundred blanks, then a sign after which the symbols are to be said again."""
    said = torch.randint(kinds, (rows, symbols), generator=source)
    x = torch.full((rows, symbols + delay + symbols), kinds)
    x[:, :symbols] = said
    x[:, symbols + delay] = kinds + 1
    return one_hot(x, kinds + 2).float(), said


def parity(rows: int, source: torch.Generator, steps: int = 50) -> Batch:
    """Whether the ones so far are odd in number, at every step."""
    bits = torch.randint(2, (rows, steps), generator=source)
    return bits[..., None].float(), bits.cumsum(1) % 2


def digits(part: int) -> Callable[[int, torch.Generator], Batch]:
    """Digits of scikit-learn, eight rows of eight: part 0 to train with, 1 to choose with, 2 to test."""
    pictures, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pictures / 16, dtype=torch.float32).view(-1, 8, 8), torch.tensor(labels)
    of_part = torch.tensor([0, 0, 0, 1, 2])[torch.arange(len(x)) % 5] == part
    x, y = x[of_part], y[of_part]

    def draw(rows: int, source: torch.Generator) -> Batch:
        which = torch.arange(len(x)) if part else torch.randint(len(x), (rows,), generator=source)
        return x[which], y[which]

    return draw


def everywhere(
    draw: Callable[[int, torch.Generator], Batch],
) -> tuple[Callable[[int, torch.Generator], Batch], ...]:
    return draw, draw, draw


TASKS = {
    "adding, T = 200": Task(2, 1, 4000, everywhere(adding), "error", 1 / 6, 0.01),
    "copying over 100": Task(6, 4, 4000, everywhere(copying), "accuracy", 1 / 4, 0.99, True),
    "parity, T = 50": Task(1, 2, 4000, everywhere(parity), "accuracy", 1 / 2, 0.99, True),
    "digits, 8 rows": Task(8, 10, 2000, (digits(0), digits(1), digits(2)), "accuracy", 1 / 10, 0.97),
}


def build(network: Callable[[int, int], Recurrent], task: Task) -> nn.Module:
    """The network with as many units as bring its parameters nearest to the number that all have."""
    kind = ManyToMany if task.every_step else ManyToOne

    def off(hidden: int) -> int:
        model = kind(network(task.inputs, hidden), task.outputs)
        return abs(sum(p.numel() for p in model.parameters()) - PARAMETERS)

    hidden = min(range(8, 256, 2), key=off)
    torch.manual_seed(SEED)
    return kind(network(task.inputs, hidden), task.outputs)


def answers(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The scores of the steps that are asked for."""
    found = model(x)
    return found[0][:, -y.shape[1] :] if isinstance(found, tuple) else found


def loss_of(task: Task, scores: Tensor, y: Tensor) -> Tensor:
    return (
        mse_loss(scores[:, 0], y) if task.measure == "error" else cross_entropy(scores.flatten(0, -2), y.flatten())
    )


@torch.no_grad()
def measured(model: nn.Module, task: Task, batch: Batch) -> float:
    x, y = batch
    scores = answers(model, x, y)
    if task.measure == "error":
        return float(mse_loss(scores[:, 0], y))
    right = scores.argmax(-1) == y
    return float((right[:, -5:] if y.dim() > 1 else right).float().mean())


def learned(task: Task, value: float) -> bool:
    return value <= task.solved if task.measure == "error" else value >= task.solved


def train(network: str, task: Task, rate: float) -> dict[str, Any]:
    """One run: until the task is learned, numbers are no longer finite, or the steps are over."""
    model, source = build(NETWORKS[network], task), torch.Generator().manual_seed(SEED)
    chooser, test = (task.draw[i](500, torch.Generator().manual_seed(SEED + i)) for i in (1, 2))
    optimizer, begin, course = torch.optim.Adam(model.parameters(), rate), time.perf_counter(), []
    for step in range(1, task.steps + 1):
        x, y = task.draw[0](ROWS, source)
        optimizer.zero_grad()
        loss_of(task, answers(model, x, y), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if step % EVERY == 0:
            course.append(round(measured(model, task, chooser), 4))
            if not np.isfinite(course[-1]) or learned(task, course[-1]):
                break
    value = measured(model, task, test)
    finite = np.isfinite([value, *course]).all()
    return {
        "rate": rate,
        "units": model.recurrent.stack.hidden_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": step,
        "seconds": round(time.perf_counter() - begin, 1),
        "validation": [number if np.isfinite(number) else None for number in course],
        "test": round(value, 4) if finite else None,
        "learned": bool(finite and learned(task, course[-1])),
    }


def best(runs: list[dict[str, Any]], task: Task) -> dict[str, Any] | None:
    """The run to report, chosen by its last validation; None where none stayed finite."""
    sign = 1 if task.measure == "error" else -1
    return min((r for r in runs if r["test"] is not None), key=lambda r: sign * r["validation"][-1], default=None)


def shown(run: dict[str, Any] | None) -> str:
    """A cell of the table: what was reached on the test part, and in how many steps where it was learned."""
    if run is None:
        return "diverged"
    return f"{run['test']:.3f}" + (f" in {run['steps']}" if run["learned"] else "")


def draw(results: dict[str, Any]) -> None:
    """The table as a picture: green where a task was learned."""
    figure, axes = plt.subplots(figsize=(8.6, 3.6), layout="constrained")
    for column, (name, task) in enumerate(TASKS.items()):
        for row, network in enumerate(NETWORKS):
            found = best(results[name][network], task)
            gain = 0.0
            if found:
                gain = (found["test"] - task.chance) / ((0.0 if task.measure == "error" else 1.0) - task.chance)
            axes.add_patch(
                plt.Rectangle((column, row), 1, 1, color=plt.cm.YlGn(0.65 * min(max(gain, 0), 1)), ec="white")
            )
            axes.text(column + 0.5, row + 0.5, shown(found), ha="center", va="center", fontsize=9)
    heads = [
        f"{name}\n{'squared error' if task.measure == 'error' else 'accuracy'}, chance {task.chance:.2f}"
        for name, task in TASKS.items()
    ]
    axes.set_xticks(np.arange(len(heads)) + 0.5, heads, fontsize=9)
    axes.set_yticks(np.arange(len(NETWORKS)) + 0.5, list(NETWORKS), fontsize=9)
    axes.set(xlim=(0, len(TASKS)), ylim=(len(NETWORKS), 0))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(PICTURE, dpi=130)


def main() -> None:
    """Every run that is not in the file yet: the rates in turn, until one learns the task."""
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"machine": machine(), "runs": {}}
    results["settings"] = {"parameters": PARAMETERS, "rows": ROWS, "clip": CLIP, "rates": RATES, "seed": SEED}
    for name, task in TASKS.items():
        of_task = results["runs"].setdefault(name, {})
        for network in NETWORKS:
            runs = of_task.setdefault(network, [])
            for rate in RATES[len(runs) :]:
                if any(run["learned"] for run in runs):
                    break
                runs.append(train(network, task, rate))
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
                print(name, network, {k: v for k, v in runs[-1].items() if k != "validation"}, flush=True)
    results["table"] = {
        name: {network: shown(best(runs, TASKS[name])) for network, runs in of_task.items()}
        for name, of_task in results["runs"].items()
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results["runs"])


if __name__ == "__main__":
    main()
