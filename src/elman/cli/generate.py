"""`elman generate`: a trained model goes on writing, on the terminal as it writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.cli.own_cell import OwnCell, load
from elman.errors import UserError, visible

if TYPE_CHECKING:
    from elman.models import Sampling
    from elman.recipes import Model


def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.", show_default=False)],
    prompt: Annotated[
        str | None, typer.Option(help="What it goes on from; else it begins a text. - reads standard input.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Characters at most, or what else the model writes; else 500, or a whole."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="Below 1 the likely becomes likelier; 0 takes the likeliest.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the K likeliest alone.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the fewest that have this probability together.")
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="From 1: how much less likely what was written before becomes.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same text; else another each time.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Texts, one after the other.")] = 1,
    beams: Annotated[
        int | None, typer.Option(min=1, help="Search for the likeliest text with K beams; nothing is drawn.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file or name to save it under, as the model saves it: text, sound.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace files.")] = False,
    cell: OwnCell = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, an object a text.")] = False,
) -> None:
    """Write with a trained model.

    \b
    elman generate runs/autocomplete --prompt "In the beg"
    elman generate runs/autocomplete --temperature 0.7 --seed 1 --steps 2000
    elman generate runs/autocomplete --prompt "And it came" --beams 8 --steps 40 --count 3
    elman generate runs/music --prompt "[M:6/8][K:G] GAB" --out tune
    elman generate runs/sound --prompt three --out three.wav
    """  # noqa: D301
    from elman.cli.console import say, write_json

    sampling = _sampling(steps or 500, temperature, top_k, top_p, repetition_penalty, seed)
    if beams is not None and (sampling.seed is not None or {temperature, repetition_penalty} != {1.0}):
        raise UserError("beams search, they draw nothing", where="--beams", fix="leave out what is about drawing")
    if beams is not None and count > beams:
        raise UserError("K beams find K texts", where="--beams", found=f"--beams {beams} --count {count}")
    given = _read_prompt(prompt)
    model = load(folder, cell)
    if given and (unknown := model.unknown(given)):
        say(f"read as unknown, as the training texts do not hold it: {' '.join(map(visible, unknown))}")
    if steps is None:
        sampling = replace(sampling, steps=model.steps)
    opening, places = model.opening(given), _places(model, out, count, force)
    if model.writes is not None and beams is None:
        _into_files(model, given, sampling, count, places, as_json)
        return
    drawn = _drawn(model, given, sampling, count)
    texts = drawn if beams is None else _found(model, given, beams, sampling.steps, count)
    for number, pieces in enumerate(texts):
        text = _show(pieces, opening, number, as_json)
        files = [str(path) for path in model.outputs(places[number])] if places else []
        if places:
            model.save(opening + text, places[number])
        if as_json:
            write_json({"prompt": opening, "text": text, **({"files": files} if files else {})})
        elif files:
            say(f"written: {', '.join(files)}")


def _sampling(
    steps: int, temperature: float, top_k: int | None, top_p: float | None, penalty: float, seed: int | None
) -> Sampling:
    from elman.models import Sampling

    if seed is not None and seed >= 2**63:
        raise UserError("a seed must be below 2^63", where="--seed", found=seed)
    try:
        return Sampling(
            steps=steps, temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty, seed=seed
        )
    except ValueError as error:
        raise UserError(str(error), where="generate") from error


def _read_prompt(prompt: str | None) -> str | None:
    if prompt != "-":
        return prompt
    if sys.stdin is None:
        raise UserError("standard input is closed", where="--prompt -")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
        raise UserError("the prompt is not UTF-8", where="standard input", found=found) from error


def _drawn(model: Model, prompt: str | None, sampling: Sampling, count: int) -> Iterator[Iterator[str]]:
    """Texts one after the other, each with a seed of its own, in pieces."""
    for one in _seeds(sampling, count):
        yield model.generate(prompt, one)


def _seeds(sampling: Sampling, count: int) -> Iterator[Sampling]:
    for number in range(count):
        yield replace(sampling, seed=None if sampling.seed is None else (sampling.seed + number) % 2**63)


def _into_files(
    model: Model, prompt: str | None, sampling: Sampling, count: int, places: list[Path], as_json: bool
) -> None:
    """What is nothing for a terminal: each in a file of its own, in the first free one where none is named."""
    from elman.cli.console import write_json

    for number, one in enumerate(_seeds(sampling, count)):
        (path,) = model.outputs(places[number] if places else _free_file(prompt, model.writes or ""))
        about = model.write(prompt, one, path)
        if as_json:
            write_json({"prompt": prompt or "", "files": [str(path)], "about": about})
        else:
            print(f"{visible(str(path))}: {about}", flush=True)


def _free_file(prompt: str | None, ending: str) -> Path:
    """The prompt's letters with the ending, here; with a number where there is such a file."""
    name = re.sub(r"\W+", "-", prompt or "").strip("-")[:40] or "written"
    path, number = Path(name + ending), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}{ending}")
    return path


def _found(model: Model, prompt: str | None, beams: int, steps: int, count: int) -> Iterator[Iterator[str]]:
    for text, _ in model.search(prompt, beams, steps)[:count]:
        yield iter([text])


def _places(model: Model, out: Path | None, count: int, force: bool) -> list[Path]:
    """Where each text is saved; of several each has a number behind its name."""
    if out is None:
        return []
    if out.is_dir():
        raise UserError("a file is wanted, or its name without a suffix", where="--out", found=f"the folder {out}")
    numbers = [""] if count == 1 else [f"-{number}" for number in range(1, count + 1)]
    places = [out.with_name(f"{out.stem}{number}{out.suffix}") for number in numbers]
    there = [path for place in places for path in model.outputs(place) if path.exists()]
    if there and not force:
        raise UserError("the file is there already", where=there[0], fix="choose another --out, or add --force")
    if not out.parent.is_dir():
        raise UserError("there is no such folder", where=out.parent)
    return places


def _show(pieces: Iterator[str], opening: str, number: int, as_json: bool) -> str:
    """What was written, printed piece by piece unless it is for machines."""
    if as_json:
        return "".join(pieces)
    if number:
        print("\n---")
    written = []
    _write(opening)
    for piece in pieces:
        _write(piece)
        written.append(piece)
    print(flush=True)
    return "".join(written)


def _write(piece: str) -> None:
    """A piece at once; on a terminal nothing of it can steer the screen."""
    shown = visible(piece) if sys.stdout.isatty() and piece != "\t" else piece
    print(shown, end="", flush=True)
