"""One job done with one cell after another: what each cell reaches, costs and remembers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman import cells
from elman.errors import UserError
from elman.export import atomic_write, disk_errors
from elman.insight import TracedRun, effective_memory, lag_curve, trace_call, verdict
from elman.nn import Recurrent
from elman.recipes.contract import Request
from elman.recipes.job import Job, JobModel, Lesson, silent
from elman.recipes.settings import changed, described
from elman.training import Silent, console_progress, process
from elman.training.apart import peak_memory, run_apart
from elman.training.interrupt import Interrupted, StopRequest
from elman.training.record import gradient_norms

CELL, UNITS = "model.cell", "model.hidden_size"
FILE = "compare.json"
EQUAL = 0.02  # by which numbers of parameters that are called equal may differ
_LOOKED = 50  # batches, which are of one length each: memory shows in a long one
_ROWS, _COST = 32, 2**18  # gradients are measured with so many rows at most, and rows x steps²: as it costs


@dataclass(frozen=True)
class Contender:
    """A cell, the units it is given, and what that comes to.

    Attributes:
        cell: as the user spells it.
        request: the job with this cell and so many units; its folder is the contender's own.
        hidden_size: units.
        parameters: of the whole network.
        fingerprint: of the data.
    """

    cell: str
    request: Request
    hidden_size: int
    parameters: int
    fingerprint: str


def contenders(recipe: Any, names: Sequence[str], request: Request, *, equal: bool = False) -> list[Contender]:
    """The same job with each of several cells; the data is read and every network built, nothing is trained.

    Args:
        recipe: whose settings have `model.cell` and `model.hidden_size`.
        names: the cells, as `elman.cells.get` takes them.
        request: the job; its folder gets one for each cell.
        equal: whether every cell after the first gets as many units as make the parameters of its network as
            many as the first one's.

    Raises:
        UserError: the recipe has no cell to choose, a cell is unknown, named twice or does not fit the recipe,
            fewer than two are named, or no number of units makes the parameters equal within 2 %.
    """
    known = {name: value for name, value, _ in described(request.settings)}
    if not isinstance(recipe, Job) or CELL not in known or UNITS not in known:
        raise UserError("this recipe has no cell to choose", where=recipe.name, fix="choose another recipe")
    if len(names) < 2:
        fix = "name two or more, with commas between, as rnn,gru,lstm"
        raise UserError("a comparison needs two cells", where="--cells", found=", ".join(names) or "none", fix=fix)
    folders = [_folder(name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        cells.get(name)
        if folders.count(folder) > 1:
            raise UserError("a cell is named twice", where="--cells", found=name)
    prepared = recipe.prepare(replace(request, progress=Silent()))

    def parameters(name: str, units: int) -> int:
        settings: Any = changed(request.settings, {CELL: name, UNITS: units})
        torch.manual_seed(settings.train.seed)
        try:
            model = recipe.build(prepared, settings, silent)
            _take_a_step(model.network)
        except UserError:
            raise
        except (ValueError, RuntimeError) as error:  # RuntimeError: sizes that do not belong together
            what = f"the cell {name} does not fit this recipe"
            raise UserError(what, where="--cells", found=str(error)) from error
        return sum(p.numel() for p in model.network.parameters())

    found: list[Contender] = []
    for name, folder in zip(names, folders, strict=True):
        units = _equal_units(name, known[UNITS], found[0], parameters) if equal and found else known[UNITS]
        own = replace(
            request, settings=changed(request.settings, {CELL: name, UNITS: units}), out=request.out / folder
        )
        found.append(Contender(name, own, units, parameters(name, units), prepared.fingerprint()))
    return found


def compare(recipe: Any, chosen: Sequence[Contender], out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Trains each contender in a process of its own and measures it; a finished one is not trained again.

    After each, what is known is written to `compare.json` in `out`, whose other folders are the models.

    Args:
        recipe: the recipe of the contenders.
        chosen: from `contenders`.
        out: the folder.
        resume: go on with the comparison in `out`.

    Returns:
        What `compare.json` holds: `recipe`, `data`, `data_fingerprint`, `settings` (but for cell and units) and
        `cells`, for each `cell`, `hidden_size`, `parameters`, `folder`, `test` (the recipe's measures), `steps`,
        `seconds` (of training), `peak_memory` (bytes of its process, None where unknown), `accelerator_memory`
        (bytes, None where there is none), `gradient` (see `health`).

    Raises:
        UserError: `out` holds something and `resume` is false; the comparison there is of something else.
        Interrupted: SIGINT or SIGTERM came; the cell under way has written a checkpoint.
    """
    if process()[1] > 1:
        raise UserError(
            "a comparison starts its processes itself", found=f"{process()[1]} of them", fix="start one"
        )
    request, path = chosen[0].request, out / FILE
    about = {
        "recipe": recipe.name,
        "data": None if request.data is None else str(request.data),
        "data_fingerprint": chosen[0].fingerprint,
        "settings": {k: v for k, v, _ in described(request.settings) if k not in (CELL, UNITS)},
    }
    about = json.loads(json.dumps(about))
    done = _finished(path, about, resume)
    out.mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop:
        _write(path, about, done)
        for one in chosen:
            key = {"cell": one.cell, "hidden_size": one.hidden_size}
            if any(key.items() <= line.items() for line in done):
                continue
            if stop.asked:
                raise Interrupted("stopped", where=out)
            measured = run_apart(
                train_and_measure, recipe.name, replace(one.request, progress=Silent()), stop=stop
            )
            done.append({**key, "parameters": one.parameters, "folder": one.request.out.name, **measured})
            _write(path, about, done)
    order = [(one.cell, one.hidden_size) for one in chosen]
    shown = [line for line in done if (line["cell"], line["hidden_size"]) in order]
    return {**about, "cells": sorted(shown, key=lambda line: order.index((line["cell"], line["hidden_size"])))}


def train_and_measure(recipe: str, request: Request) -> dict[str, Any]:
    """A contender's training, its figures, and its gradients; see `compare`."""
    from elman.recipes import get

    job: Any = get(recipe)
    request = replace(request, progress=console_progress(), resume=request.out.exists())
    job.require(request)
    prepared, model = job.begin(request)
    trained = job.finished(prepared, model, request, baselines=False)
    peak = peak_memory()
    training = trained.metrics["training"]
    return {
        "test": {k: v for k, v in trained.metrics["test"].items() if isinstance(v, int | float)},
        "steps": training["steps"],
        "seconds": training["seconds"],
        "peak_memory": peak,
        "accelerator_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "gradient": health(job, model, prepared, gradient_norms(request.out)),
    }


def health(job: Job[Any, Any], model: JobModel, prepared: Any, norms: Sequence[float] = ()) -> dict[str, Any]:
    """How far back a model's gradient reaches on a few rows of its training data, and what stands in its way.

    Args:
        job: the recipe.
        model: trained or not; it learns nothing here.
        prepared: its data.
        norms: gradient norms of its training.

    Returns:
        `memory`, the steps after which 1/e of the gradient is left, `at_least` true where more is left at the end
        of the rows; `left`, the share at the end; `curve`, what is left by lag, 1 at lag 1 (`lag_curve`, the mean
        over layers, directions and members); `kinds` and `sentences` of the verdict. Or, where nothing can be
        measured, why not, as `not_measured`.
    """
    lesson, batch = _few(job, model, prepared, _ROWS)
    steps = int(batch.lengths.max())
    if steps**2 * _ROWS > _COST:
        lesson, batch = _few(job, model, prepared, max(1, _COST // steps**2))
    network = (lesson.network or model.network).eval()
    batch = batch.to(next(network.parameters()).device)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(model.settings.train.seed)
            runs = trace_call(network, lambda: lesson.loss(network, batch))
        curve = _curve([*runs.values()])
        flat = {name: value for name, value, _ in described(model.settings)}
        verdicts = {name: verdict(run, settings=flat, norms=norms) for name, run in runs.items()}
    except ValueError as error:
        return {"not_measured": str(error)}
    memory = float(effective_memory(curve))
    kinds = dict.fromkeys(k for one in verdicts.values() for k in one.kinds)
    found = [kind for kind in kinds if kind != "healthy"] or ["healthy"]
    return {
        "memory": float(len(curve) - 1) if math.isinf(memory) else memory,
        "at_least": math.isinf(memory),
        "left": float(curve[-1]),
        "curve": curve.tolist(),
        "kinds": found,
        "sentences": [f"{name}: {one.sentence}".lstrip(": ") for name, one in verdicts.items()],
    }


def _take_a_step(network: nn.Module) -> None:
    """Whether the cell computes anything shows only when it does."""
    for layer in network.modules():
        if isinstance(layer, Recurrent):
            with torch.no_grad():
                layer(next(layer.parameters()).new_zeros(1, 2, layer.input_size))


def _few(job: Job[Any, Any], model: JobModel, prepared: Any, rows: int) -> tuple[Lesson, Any]:
    """The model's lesson in batches of so many rows at most, and of the first of them the longest."""
    before = model.settings
    smaller = before.train.model_copy(update={"batch_size": min(rows, before.train.batch_size)})
    for train in (smaller, before.train):
        model.settings = before.model_copy(update={"train": train})
        try:
            lesson = job.lesson(model, prepared)
        finally:
            model.settings = before
        batch = max(islice(lesson.batches.epoch(0), _LOOKED), key=lambda one: int(one.lengths.max()))
        if len(batch.lengths) <= train.batch_size:
            break  # else the rows are fixed when the model is built, as those of a text that goes on
    return lesson, batch


def _curve(runs: Sequence[TracedRun]) -> Tensor:
    """What is left by lag, the mean over the passes of all layers; before lag 1 nothing is counted."""
    rows = []
    for run in runs:
        run.need_steps(3)
        rows += [curve / curve[1] for curve in lag_curve(run).double().cpu() if curve[1] > 0]
    if not rows:
        raise ValueError("the gradient does not pass a single step")
    longest = max(len(row) for row in rows)
    padded = [torch.cat([row, row.new_full((longest - len(row),), math.nan)]) for row in rows]
    curve = torch.stack(padded).nanmean(0)
    return curve[: int(curve.isfinite().nonzero().max()) + 1]


def _equal_units(name: str, units: int, first: Contender, parameters: Callable[[str, int], int]) -> int:
    """The units with which a cell's network has as many parameters as the first one's.

    The number of parameters of nearly every network is a polynomial of degree 2 in the units: three networks tell
    it; the one that is chosen is counted itself.
    """
    sizes = [units, 2 * units, 3 * units]
    curve = np.polynomial.Polynomial.fit(sizes, [parameters(name, size) for size in sizes], 2)
    best = min(range(1, 16 * units + 1), key=lambda size: abs(float(curve(size)) - first.parameters))
    count = parameters(name, best)
    if abs(count - first.parameters) > EQUAL * first.parameters:
        found = f"{name} with {UNITS}={best} has {count}, {first.cell} has {first.parameters}"
        fix = f"begin with more units: --set {UNITS}={4 * units}"
        raise UserError("no number of units makes the parameters equal within 2 %", found=found, fix=fix)
    return best


def _finished(path: Path, about: Mapping[str, Any], resume: bool) -> list[dict[str, Any]]:
    """The cells that a comparison in the folder has finished.

    Raises:
        UserError: the folder is not to be used.
    """
    out = path.parent
    if not resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            fix = "name a new folder, or go on with what is there by --resume"
            raise UserError("the folder of a comparison must be empty", where="--out", found=out, fix=fix)
        return []
    if not out.exists() or not any(out.iterdir()):
        return []
    if not path.exists():
        raise UserError("no comparison to resume", where=out, fix="name its folder, or a new one without --resume")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        done, before = list(found["cells"]), {name: found[name] for name in about}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("this is no file of a comparison", where=path, fix="name a new folder") from error
    for name, then, now in _differences(before, about):
        what = f"{name} differs from the comparison being resumed: {then!r} then"
        raise UserError(what, where=out, found=repr(now), fix="ask for the same, or name a new folder")
    return done


def _write(path: Path, about: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> None:
    with disk_errors(path.parent):
        atomic_write(path, json.dumps({**about, "cells": done}, indent=1, allow_nan=False).encode())


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    flat = [{**{k: v for k, v in one.items() if k != "settings"}, **one["settings"]} for one in (before, now)]
    for name in flat[1]:
        if flat[0].get(name) != flat[1][name]:
            yield name, flat[0].get(name), flat[1][name]


def _folder(name: str) -> str:
    """A cell as the name of its folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
