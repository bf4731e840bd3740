"""`elman generate`: a trained model goes on writing, on the terminal as it writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elman.errors import UserError, visible

if TYPE_CHECKING:
    from elman.models import Sampling
    from elman.recipes import Model


def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.", show_default=False)],
    prompt: Annotated[
        str | None, typer.Option(help="What it goes on from; else it begins a text. - reads standard input.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Characters at most, or what else the model writes.")] = 500,
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
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, an object a text.")] = False,
) -> None:
    """Write with a trained model.

    \b
    elman generate runs/autocomplete --prompt "In the beg"
    elman generate runs/autocomplete --temperature 0.7 --seed 1 --steps 2000
    elman generate runs/autocomplete --prompt "And it came" --beams 8 --steps 40 --count 3
    """  # noqa: D301
    from elman import recipes
    from elman.cli.console import say

    sampling = _sampling(steps, temperature, top_k, top_p, repetition_penalty, seed)
    if beams is not None and (sampling.seed is not None or {temperature, repetition_penalty} != {1.0}):
        raise UserError("beams search, they draw nothing", where="--beams", fix="leave out what is about drawing")
    if beams is not None and count > beams:
        raise UserError("K beams find K texts", where="--beams", found=f"--beams {beams} --count {count}")
    given = _read_prompt(prompt)
    model = recipes.load(folder)
    if given and (unknown := model.unknown(given)):
        say(f"read as unknown, as the training texts do not hold it: {' '.join(map(visible, unknown))}")
    texts = _drawn(model, given, sampling, count) if beams is None else _found(model, given, beams, steps, count)
    _show(texts, given, as_json)


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
    from dataclasses import replace

    for number in range(count):
        seed = None if sampling.seed is None else (sampling.seed + number) % 2**63
        yield model.generate(prompt, replace(sampling, seed=seed))


def _found(model: Model, prompt: str | None, beams: int, steps: int, count: int) -> Iterator[Iterator[str]]:
    for text, _ in model.search(prompt, beams, steps)[:count]:
        yield iter([text])


def _show(texts: Iterator[Iterator[str]], prompt: str | None, as_json: bool) -> None:
    from elman.cli.console import write_json

    for number, pieces in enumerate(texts):
        if as_json:
            write_json({"prompt": prompt or "", "text": "".join(pieces)})
            continue
        if number:
            print("\n---")
        _write(prompt or "")
        for piece in pieces:
            _write(piece)
        print(flush=True)


def _write(piece: str) -> None:
    """A piece at once; on a terminal nothing of it can steer the screen."""
    shown = visible(piece) if sys.stdout.isatty() and piece != "\t" else piece
    print(shown, end="", flush=True)
