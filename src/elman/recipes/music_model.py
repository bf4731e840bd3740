"""A trained model of tunes: goes on from a prompt in ABC notation line by line, and saves what can be played."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from elman.data.notation import read_tune
from elman.data.vocabulary import START
from elman.errors import UserError
from elman.models import Memory, Sampling, generate
from elman.recipes.character_model import NEVER, CharacterModel
from elman.recipes.music_sound import SUFFIXES, save_tune

TRIES = 20  # times a line is drawn again whose bars do not fill the metre
HEAD = "X:1\n"  # begins a tune; the model knows tunes without
SIDE_BY_SIDE = 50  # tunes that are drawn at a time
_FIELD = re.compile(r"[A-Z]:(?![|:])")


class MusicModel(CharacterModel):
    """A trained model of tunes: `generate`, `search`, `save`, `evaluate`."""

    def opening(self, prompt: str | None) -> str:
        r"""A prompt as the tunes are written that the model knows; missing fields before given ones are filled in.

        Raises:
            UserError: it is not ABC notation.
        """
        try:
            tune = read_tune(prompt or "", unfinished=True)
        except UserError as error:
            fix = "as --prompt '[M:6/8][K:G] GAB'"
            where = f"the prompt, {error.where}"
            raise UserError(error.what, where=where, found=error.found, fix=fix) from error
        text = tune.text()
        if tune.bars or tune.start:
            return HEAD + text
        given = [place for place, name in enumerate("MLK") if re.search(rf"(^|\n|\[){name}:", prompt or "")]
        return HEAD + "".join(text.splitlines(keepends=True)[: max(given, default=-1) + 1])

    def unknown(self, text: str) -> list[str]:
        """What `opening` writes has nothing that tunes do not have."""
        return []

    def generate(self, prompt: str | None, sampling: Sampling) -> Iterator[str]:
        """Goes on from a prompt, or begins a tune; yields each line as it is written.

        A line whose bars do not fill the metre is drawn again, `TRIES` times at most: what is written is drawn
        from p(line | its bars are full).
        """
        text = self.opening(prompt).removeprefix(HEAD)
        memory, first = self._memory(text)
        seeds = itertools.count(sampling.seed * 1_000) if sampling.seed is not None else itertools.repeat(None)
        left, ended = sampling.steps, False
        while left > 0 and not ended:
            asked = replace(sampling, steps=left, end=START, never=NEVER)
            line, memory, first, ended = self._line(text, memory, first, asked, seeds)
            text, left = text + line, left - len(line)
            yield line

    def search(self, prompt: str | None, beams: int, steps: int) -> list[tuple[str, float]]:
        """The likeliest tunes of at most `steps` characters that `beams` find, with log p, likeliest first."""
        return super().search(self.opening(prompt).removeprefix(HEAD), beams, steps)

    def complete(self, prompt: str, count: int = 5) -> list[tuple[str, float]]:
        """A tune has no words to complete.

        Raises:
            UserError: always.
        """
        fix = "elman generate DIR --prompt TUNE --beams 5"
        raise UserError("a tune has no words to complete", where=self.folder, fix=fix)

    def outputs(self, out: Path) -> list[Path]:
        """OUT.abc, OUT.mid and OUT.wav."""
        stem = out.with_suffix("") if out.suffix in SUFFIXES else out
        return [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]

    def save(self, text: str, out: Path) -> None:
        """The tune as notation and sound; see `elman.recipes.music_sound.save_tune`."""
        save_tune(text, *self.outputs(out))

    def _line(
        self, text: str, memory: Memory, first: Tensor, asked: Sampling, seeds: Iterator[int | None]
    ) -> tuple[str, Memory, Tensor, bool]:
        """A line behind a text, what is remembered then, its last token, and whether the tune ends."""
        text = _end_of(text)
        wrong, _ = checked_bars(text)
        for last in itertools.chain(itertools.repeat(False, TRIES - 1), [True]):
            trial, token, line = Memory(memory.stream.fork()), first, ""
            seed = next(seeds)
            asked = replace(asked, seed=None if seed is None else seed % 2**63)
            for token in generate(self.network, trial, first, asked):
                if int(token[0]) != START:
                    line += self.characters[int(token[0])]
                if int(token[0]) == START or line.endswith("\n"):
                    break
            if last or asked.temperature == 0 or checked_bars(text + line)[0] <= wrong:
                break
        return line, trial, token, int(token[0]) == START

    def drawn(self, count: int, seed: int, steps: int = 1_500) -> list[str]:
        """Tunes as the network alone draws them, nothing drawn again."""
        found: list[str] = []
        while len(found) < count:
            rows = min(SIDE_BY_SIDE, count - len(found))
            start = torch.full((rows, 1), START, device=self.network.head.weight.device)
            memory, first = self.network.begin(start)
            sampling = Sampling(steps=steps, end=START, never=NEVER, seed=seed + len(found))
            tokens = torch.stack(list(generate(self.network, memory, first, sampling)), 1)
            found += ["".join(self.characters[number] for number in row) for row in tokens.tolist()]
        return found


def checked_bars(text: str) -> tuple[int, int]:
    r"""How many bars of a tune do not fill its metre or cannot be read, and of how many.

    Example:
        >>> checked_bars("M:2/4\nL:1/8\nK:G\nGABc|GA|G?|G4|]")
        (2, 4)
    """
    head = _head(text)
    pieces = re.split(r"(?<=\|)(?![|:\]1-9])", text.removeprefix(head))
    try:
        rest = f"z{read_tune(head).whole}|"
    except UserError:
        return len(pieces), len(pieces)
    kept, broken = head, 0
    for piece in pieces:
        try:
            read_tune(kept + piece, unfinished=True)  # where it stands: alone, "A:" would begin a field
            kept += piece
        except UserError:
            kept, broken = kept + rest, broken + 1
    checks = read_tune(kept, unfinished=True).checks()
    return checks.count(False) + broken, len(checks)


def _head(text: str) -> str:
    """The fields that a tune begins with."""
    return "".join(itertools.takewhile(_FIELD.match, text.splitlines(keepends=True)))


def _end_of(text: str) -> str:
    """The fields of a tune and its last line: all that says whether the next line is right."""
    head = _head(text)
    return head + "".join(text.removeprefix(head).splitlines(keepends=True)[-1:])
