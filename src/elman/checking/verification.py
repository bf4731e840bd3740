"""`verify`: a cell, a module or a trained model, everything that runs it against the definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from elman import cells
from elman.cells import Cell
from elman.checking.cell import contract_lines, instance, subjects
from elman.checking.report import Line, Report
from elman.checking.runs import Subject, drawn
from elman.checking.ways import Grid, lines
from elman.engine import RUNS
from elman.engine.tolerances import TOLERANCES
from elman.errors import UserError, did_you_mean
from elman.models import Sampling
from elman.nn import Recurrent
from elman.nn.drop_in import DropIn
from elman.nn.drop_in_cells import DropInCell
from elman.nn.drop_in_engine import cell_of
from elman.nn.stack import Stack
from elman.recipes import Model, load
from elman.recipes.own_cell import from_file

_FORMATS = (torch.float64, torch.float32, torch.bfloat16)
_WRITTEN = 60  # steps of a text that is searched for


def verify(
    what: Cell | type[Cell] | nn.Module | str | Path,
    *,
    cell: Cell | None = None,
    data: str | None = None,
    compiled: bool = True,
) -> Report:
    """Compares everything that runs a cell, or the layers of a model, with the definition in fp64.

    Of a cell: `check_cell`, and two layers in both directions. Of a module: every recurrent layer of Elman in it,
    with its own weights and sizes. Of a model folder: these, and that the model answers alike by every backend.
    Formats are fp64, fp32 and, where a backend computes in it, bf16.

    Args:
        what: a cell or the name of one, `FILE.py:CLASS`, a module, or a model folder.
        cell: the cell of your own that the model in a folder was trained with.
        data: what a model in a folder answers for the comparison, as `elman predict --data` takes it; by default a
            text of its recipe, where it reads or writes texts.
        compiled: whether `torch.compile` and `torch.export` are asked too; they take seconds.

    Raises:
        elman.UserError: there is no such cell, file or model; or it holds no recurrent layer of Elman.

    Example:
        >>> verify("rnn", compiled=False).ok
        True
    """
    with torch.random.fork_rng(devices=[]):
        return Report(tuple(_lines(what, Grid(dtypes=_FORMATS, compiled=compiled), cell, data)))


def _lines(
    what: Cell | type[Cell] | nn.Module | str | Path, grid: Grid, cell: Cell | None, data: str | None
) -> Iterator[Line]:
    if isinstance(what, Path):
        what = str(what)
    folder = _folder(what)
    if folder is not None:
        yield from _of_model(load(folder, cell), grid, data)
        return
    if cell is not None or data is not None:
        raise UserError("cell= and data= are about the model in a folder", where="verify", found=repr(what))
    if isinstance(what, nn.Module):
        yield from _of_module(what, grid)
        return
    if isinstance(what, str) and ".py" in what:
        what = from_file(what)
    yield from _of_cell(instance(what), grid)


def _folder(what: Any) -> Path | None:
    """The model folder that is meant; None where a cell is.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(what, str):
        return None
    if Path(what).is_dir() and what.lower() not in cells.registered():
        return Path(what)
    if ".py" in what or "(" in what or what.lower() in cells.registered():
        return None
    fix = f"{did_you_mean(what.lower(), cells.registered())} A cell of your own is FILE.py:CLASS"
    raise UserError("no such cell or model folder", where="verify", found=what, fix=fix)


def _of_cell(cell: Cell, grid: Grid) -> Iterator[Line]:
    found = [*contract_lines(cell, 5, 7, grid)]
    yield from found
    if all(line.ok is not False for line in found if line.way != "traced"):
        deep = Stack(cell, 7, 7, 2, True)
        both = drawn(f"{cell!r}, 7 inputs, 7 units, 2 layers, both directions", deep, grid.seed)
        for subject in (*subjects(cell, 5, 7, grid.seed), both):
            yield from lines(subject, grid)


def _of_module(module: nn.Module, grid: Grid) -> Iterator[Line]:
    found = [subject for name, layer in module.named_modules() if (subject := _subject(name, layer)) is not None]
    if not found:
        fix = "elman.convert(model) swaps torch.nn's own"
        raise UserError("there is no recurrent layer of Elman here", found=type(module).__name__, fix=fix)
    for subject in found:
        yield from lines(subject, grid)


def _subject(name: str, layer: nn.Module) -> Subject | None:
    """A layer with its weights, under the names of `Recurrent`; None where it is no recurrent layer of Elman."""
    if isinstance(layer, Recurrent):
        stack = replace(layer.stack, dropout=0.0)
    elif isinstance(layer, DropIn):
        sizes = layer.input_size, layer.hidden_size, layer.num_layers, layer.bidirectional, layer.bias
        stack = Stack(cell_of(layer.mode, layer.proj_size), *sizes)
    elif isinstance(layer, DropInCell):
        mode = getattr(layer, "nonlinearity", type(layer).__name__.removesuffix("Cell"))
        mode = f"RNN_{mode.upper()}" if mode in ("tanh", "relu") else mode
        stack = Stack(cell_of(mode, 0), layer.input_size, layer.hidden_size, 1, False, layer.bias)
    else:
        return None
    suffix = "_l0" if isinstance(layer, DropInCell) else ""  # a cell's parameters have none
    names = [*stack.names, *(layer.trainable_states.values() if isinstance(layer, Recurrent) else ())]
    own = {n: getattr(layer, n.removesuffix(suffix)).detach().cpu() for n in names}  # a parametrized one too
    directions = ", both directions" if stack.bidirectional else ""
    layers = "" if stack.num_layers == 1 else f", {stack.num_layers} layers"
    sizes_said = f"{stack.input_size} inputs, {stack.hidden_size} units{layers}{directions}"
    return Subject(f"{name or type(layer).__name__}: {stack.cell!r}, {sizes_said}", stack, own)


def _of_model(model: Model, grid: Grid, data: str | None) -> Iterator[Line]:
    network: nn.Module = model.network  # type: ignore[attr-defined]
    yield from _of_module(network, grid)
    yield from _answers(model, network, data)


def _answers(model: Model, network: nn.Module, data: str | None) -> Iterator[Line]:
    """What the model answers by every backend, beside what it answers by the definition."""
    subject = f"{model.folder}: what the model answers"
    try:
        question, ask = _question(model, data)
        layers = [m for m in network.modules() if isinstance(m, Recurrent | DropIn | DropInCell)]
        before = [layer.backend for layer in layers]
        found: dict[str, Any] = {}
        for backend in ("eager", *(name for name in RUNS if name != "eager")):
            for layer in layers:
                layer.backend = backend
            try:
                found[backend] = ask()
            except UserError:
                raise
            except ValueError as error:  # a backend asked for by name that cannot run
                yield Line(subject, question, backend, None, str(error))
            finally:
                for layer, name in zip(layers, before, strict=True):
                    layer.backend = name
    except UserError as error:
        yield Line(subject, "answers", "", None, f"not compared: {error}")
        return
    for backend, answer in found.items():
        if backend != "eager":
            parted = apart(answer, found["eager"])
            yield Line(subject, question, f"{backend} fp32", not parted, parted or "same")


def _question(model: Model, data: str | None) -> tuple[str, Callable[[], Any]]:
    """What the model is asked, in a word, and the asking.

    Raises:
        UserError: nothing can be asked of it without data.
    """
    if data is not None:
        inputs = model.inputs(data)
        return "predict", partial(model.answers, inputs)
    for verb, _, *words in model.recipe.uses(str(model.folder)):
        if verb == "predict" and len(words) == 1 and not Path(words[0]).suffix:
            return "predict", partial(model.answers, words)
        if verb == "generate":
            prompt = words[words.index("--prompt") + 1] if "--prompt" in words else None
            return "generate", partial(_written, model, prompt)
    raise UserError("this model reads no texts", fix="name what it is to answer with --data (data=)")


def _written(model: Model, prompt: str | None) -> Any:
    """What the model writes: the likeliest text where it can be searched for, else what one seed draws."""
    if model.writes is None:
        return model.search(prompt, 2, _WRITTEN)
    return [*islice(model.generate(prompt, Sampling(steps=_WRITTEN, seed=0)), _WRITTEN)]


def apart(got: Any, wanted: Any, place: str = "") -> str:
    """Where two answers differ by more than rounding, and how; empty: nowhere.

    Example:
        >>> apart([{"p": 0.5, "name": "a"}], [{"p": 0.5000001, "name": "b"}])
        "[0].name is 'a', by the definition 'b'"
    """
    if isinstance(wanted, dict) and isinstance(got, dict) and list(got) == list(wanted):
        pairs: Sequence[tuple[str, Any, Any]] = [(f"{place}.{k}", got[k], wanted[k]) for k in wanted]
    elif isinstance(wanted, list | tuple) and isinstance(got, list | tuple) and len(got) == len(wanted):
        pairs = [(f"{place}[{k}]", a, b) for k, (a, b) in enumerate(zip(got, wanted, strict=True))]
    else:
        tolerance = 10 * TOLERANCES[torch.float32]  # of sums over steps and classes
        numbers = isinstance(wanted, float) and isinstance(got, float)
        same = math.isclose(got, wanted, rel_tol=tolerance, abs_tol=tolerance) if numbers else got == wanted
        return "" if same else f"{place.lstrip('.')} is {got!r}, by the definition {wanted!r}"
    return next((found for where, a, b in pairs if (found := apart(a, b, where))), "")
