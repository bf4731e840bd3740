"""A model at work on a batch of its data, every recurrent layer of it traced: what `elman inspect` looks at."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from elman import cells
from elman.cells import Cell
from elman.errors import UserError, did_you_mean
from elman.insight import TracedRun, trace_call
from elman.models import Attention
from elman.recipes import get, load, registered
from elman.recipes.job import Asked, Job, JobModel, silent
from elman.recipes.own_cell import with_cell
from elman.recipes.settings import changed, described
from elman.training.record import gradient_norms

# ---- choices -------------------------------------------------------------------------------------------------
ROWS = 32  # sequences that are traced
BATCHES = 9  # of which the one of middle length is taken
SAME = ("labels", "kinds", "words", "height", "width", "inputs")  # what data must share with a trained model
# --------------------------------------------------------------------------------------------------------------


_Data: TypeAlias = tuple[Any, str | None, str | None]  # with the columns of texts and of labels


@dataclass(frozen=True, eq=False)
class Specimen:
    """What there is to look at.

    Attributes:
        name: of the recipe.
        folder: of the trained model; None: freshly initialised.
        source: of the data.
        settings: of the model, by dotted key.
        classes: the names of what it tells apart, where it does.
        layers: the traced recurrent layers by their own name, of the first network where there are several.
        texts: by the layer's name, for each row what it reads a step; see `elman.recipes.job.Job.spelled`.
        targets: of the batch.
        attention: (B, T, S), where the writer looks at each step, or None.
        networks: how many decide together.
        norms: of the gradient before clipping, of training steps, where they were written down.
    """

    name: str
    folder: Path | None
    source: str
    settings: Mapping[str, Any]
    classes: Sequence[str] | None
    layers: Mapping[str, TracedRun]
    texts: Mapping[str, list[list[str]]]
    targets: Tensor | None
    attention: Tensor | None
    networks: int
    norms: Sequence[float]


def specimen(
    subject: str | Path,
    *,
    data: Any = None,
    text: str | None = None,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
    cell: Cell | None = None,
) -> Specimen:
    """A trained model, or a recipe's before it is trained, run over a batch of the training part.

    Dropout is left out; what else training does to its data, such as unknown words or turned pictures, is not.

    Args:
        subject: the name of a recipe, or a model folder.
        data: what is read instead of the data it was trained beside, or the recipe's own.
        text: the column of texts, where it is not to be guessed.
        label: the column of labels, where it is not to be guessed.
        settings: of a recipe, changed, by dotted key.
        cell: of your own: in place of the recipe's, or the one that the model was trained with.

    Raises:
        UserError: there is no such folder or recipe; the data cannot be read, or is not what the model knows; the
            model has no recurrent layer, or its sequences are too short to look back in time.
    """
    asked = (data, text, label)
    with cells.using(cell):
        if str(subject) in registered():
            job = _job(get(str(subject)), subject)
            model, prepared, kept = _fresh(job, asked, settings or {}, cell)
        else:
            if settings:
                what, fix = "a trained model has its settings", "name a recipe to change them"
                raise UserError(what, where="--set", fix=fix)
            model = _loaded(subject, cell)
            job = _job(model.recipe, subject)
            prepared, kept = _beside(job, model, asked), model.settings
            model.settings = _in_rows(kept)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(kept.train.seed)
        batch, runs, attention = _traced(job, model, prepared, subject)
    own = {name: run for name, run in runs.items() if "members." not in name or "members.0." in name}
    layers = {name.rpartition(".")[2]: run for name, run in own.items()}
    return Specimen(
        name=job.name,
        folder=Path(model.folder) if str(subject) not in registered() else None,
        source=prepared.source,
        settings={name: value for name, value, _ in described(kept)},
        classes=_classes(model),
        layers=layers if len(layers) == len(own) else own,
        texts=job.spelled(model, prepared, batch),
        targets=getattr(batch, "targets", None),
        attention=attention,
        networks=len(getattr(model.network, "members", [None])),
        norms=gradient_norms(Path(model.folder)) if str(subject) not in registered() else [],
    )


def some_rows(run: TracedRun, most: int) -> TracedRun:
    """The run of a few of its rows, evenly spread, the longest among them.

    Example:
        >>> from elman.insight import trace_run
        >>> from elman.nn import Recurrent
        >>> some_rows(trace_run(Recurrent("gru", 3, 4), torch.randn(9, 6, 3)), 2).outputs.shape
        torch.Size([1, 2, 6, 4])
    """
    rows = len(run.lengths)
    if rows <= most:
        return run
    chosen = torch.linspace(0, rows - 1, most).round().long()
    chosen[-1] = run.lengths.argmax()  # of short rows alone nothing could be measured

    def passes(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value[:, chosen] for name, value in values.items()}

    return replace(
        run,
        inputs=[x[chosen] for x in run.inputs],
        before=passes(run.before),
        states=passes(run.states),
        outputs=run.outputs[:, chosen],
        lengths=run.lengths[chosen],
        resets=None if run.resets is None else run.resets[chosen],
        gradients=passes(run.gradients),
        arriving=passes(run.arriving),
        entering=passes(run.entering),
        projections={name: (x[chosen], y[chosen]) for name, (x, y) in run.projections.items()},
    )


def _loaded(subject: str | Path, cell: Cell | None) -> Any:
    if not Path(subject).exists() and Path(subject).name == str(subject):
        near = did_you_mean(str(subject), registered())
        raise UserError("neither a model folder nor a recipe", where=subject, fix=near)
    return load(subject, cell)


def _job(recipe: Any, subject: str | Path) -> Job[Any, Any]:
    if not isinstance(recipe, Job):
        raise UserError("a recipe without a course of training cannot be inspected", where=subject)
    return recipe


def _fresh(
    job: Job[Any, Any], asked: _Data, settings: Mapping[str, Any], cell: Cell | None
) -> tuple[JobModel, Any, Any]:
    """An untrained model, its data, and its settings with the batch size that training would have."""
    wanted: Any = changed(job.settings, settings, "--set")
    if cell is not None:
        wanted = with_cell(job.settings, wanted, cell)
    few = _in_rows(wanted)
    prepared = job.read(Asked(*asked, few, silent))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wanted.train.seed)
        model: JobModel = job.build(prepared, few, silent)
    model.recipe = job
    return model, prepared, changed(model.settings, {"train.batch_size": wanted.train.batch_size})


def _beside(job: Job[Any, Any], model: JobModel, asked: _Data) -> Any:
    """The data that a model was trained beside, or a user's, which must be of its kind."""
    if asked[0] is None:
        return job.read_again(model)
    prepared = job.read(Asked(*asked, model.settings, silent))
    like = job.build(prepared, model.settings, silent).described()
    for key, known in model.described().items():
        if key in SAME and _shape(like.get(key)) != _shape(known):
            what = f"the {key} of the data are not those that the model was trained with"
            raise UserError(what, where=asked[0], found=_short(like.get(key)), fix=f"it knows {_short(known)}")
    return prepared


def _shape(value: Any) -> Any:
    """What is described, without the sizes of numbers that each data set has for itself."""
    return {k: v for k, v in value.items() if k != "floor"} if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _traced(
    job: Job[Any, Any], model: JobModel, prepared: Any, subject: str | Path
) -> tuple[Any, dict[str, TracedRun], Tensor | None]:
    """The batch, the run of each layer over it, and where a writer looked."""
    lesson = job.lesson(model, prepared)
    network = (lesson.network or model.network).eval()
    some = list(itertools.islice(lesson.batches.epoch(0), BATCHES))
    if not some:
        raise UserError("the training part is empty", where=prepared.source, fix="give more data")
    batch = sorted(some, key=lambda one: int(one.lengths.max()))[len(some) // 2]
    looked: list[Tensor] = []
    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, Attention):
                stack.enter_context(module.register_forward_hook(partial(_note, looked)))
        try:
            runs = trace_call(network, lambda: lesson.loss(network, batch))
        except UserError:
            raise
        except (
            ValueError
        ) as error:  # no recurrent layer, one that was called on several sequences, numbers not finite
            raise UserError(str(error), where=subject) from error
    steps = max(int(run.lengths.max()) for run in runs.values())
    if steps < 3:
        what = "sequences of 3 steps or more are needed to look back in time"
        raise UserError(what, where=prepared.source, found=f"{steps} steps at most")
    return batch, runs, looked[0] if looked else None


def _note(looked: list[Tensor], _: nn.Module, __: Any, weights: Tensor) -> None:
    looked.append(weights.detach())


def _in_rows(settings: Any) -> Any:
    """The settings with fewer sequences side by side."""
    return changed(settings, {"train.batch_size": min(ROWS, settings.train.batch_size)})


def _classes(model: JobModel) -> Sequence[str] | None:
    """The names of a model's classes; recipes write them alone, or beside what else their labels need."""
    about = model.described()
    if kinds := about.get("kinds"):
        first: Sequence[str] = next(iter(kinds.values()))
        return first
    labels = about.get("labels")
    return labels.get("names") or None if isinstance(labels, Mapping) else labels
