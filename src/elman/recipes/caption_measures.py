"""What captions are worth, and what the caption of the most similar training picture is worth."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from elman.data import Split
from elman.data.captions import normal_words
from elman.data.pictures import Grid
from elman.errors import UserError
from elman.recipes.measures import Measures

COLOURS = 4  # levels of red, of green and of blue in a histogram
PIXELS = (4, 8, 16)  # rows and columns a picture is compared in
NEIGHBOURS = (1, 5)  # whose captions are considered; of several the one most like the others is taken


@dataclass(frozen=True)
class Captioned:
    """Pictures and their captions, dealt out to the parts.

    Attributes:
        grids: (N, 3, side, side) from 0 to 1.
        captions: what is said of each.
        groups: rows of one group are in one part.
        parts: which rows train, validate and test.
        source: the data, as the user named it.
        columns: the columns of files and of captions, where the user named them.
    """

    grids: Grid
    captions: Sequence[str]
    groups: Sequence[Any]
    parts: Split
    source: str
    columns: tuple[str | None, str | None]

    def part(self, rows: Sequence[int]) -> tuple[Grid, list[str]]:
        """The pictures and captions of a part."""
        return self.grids[rows], [self.captions[row] for row in rows]

    def shown(self) -> list[tuple[str, str]]:
        """How many pictures there are, of how many things, and in which part."""
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in self.parts._asdict().items())
        return [("pictures", f"{len(self.captions)} in {len(set(self.groups))} groups"), ("parts", sizes)]

    def fingerprint(self) -> str:
        """A hash of every picture, caption and part, in order."""
        hashed = hashlib.sha256(self.grids.tobytes())
        hashed.update(repr((self.grids.shape, list(self.captions), tuple(self.parts))).encode())
        return hashed.hexdigest()


def sacrebleu() -> Any:
    """The package that counts BLEU.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("sacrebleu")
    except ImportError as error:
        what = "measuring captions needs sacrebleu, which is not installed"
        raise UserError(what, fix="pip install 'elman[caption]'") from error


def measure_captions(truth: Sequence[str], written: Sequence[str], phrases: Sequence[str] = ()) -> Measures:
    """exact_match and BLEU of captions; the same without some phrases, where there are any.

    exact_match: the share of captions that are right to the last word and mark, in either case. bleu: of all
    captions together, from 0 to 100, with one reference each (K. Papineni et al., ACL 2002; M. Post,
    arXiv:1804.08771v2, whose program counts it; words and marks as `normal_words` cuts them).

    Args:
        truth: a caption of each picture.
        written: what was written of each.
        phrases: left out of both in exact_match_without and bleu_without.

    Example:
        >>> measure_captions(["A red dog"], ["a red dog"])["exact_match"]
        1.0
    """
    found = _compared(truth, written, ())
    if phrases:
        found |= {f"{name}_without": value for name, value in _compared(truth, written, phrases).items()}
    return {**found, "rows": len(truth)}


def nearest_captions(data: Captioned, phrases: Sequence[str]) -> dict[str, Measures]:
    """The caption of the training picture that is most like a test picture.

    Pictures are compared by their pixels, in several sizes, by a histogram of their colours, or by both; and
    either the nearest picture's caption is taken, or of the nearest few the caption that is most like the others
    (J. Devlin et al., arXiv:1505.04467v1). Which of these, the BLEU on the validation part says.
    """
    _, known = data.part(data.parts.train)
    ways = {
        (name, count): _nearest(features[data.parts.train], known, count)
        for name, features in _features(data.grids).items()
        for count in NEIGHBOURS
    }
    features, truth = _features(data.grids), [data.captions[row] for row in data.parts.validation]

    def worth(way: tuple[str, int]) -> float:
        found = ways[way](features[way[0]][data.parts.validation])
        return float(_compared(truth, found, ())["bleu"])

    best = max(ways, key=worth)
    rows = data.parts.test
    found = ways[best](features[best[0]][rows])
    measured = measure_captions([data.captions[row] for row in rows], found, phrases)
    return {"nearest_picture": {**measured, "compared_by": best[0], "neighbours": best[1]}}


def _compared(truth: Sequence[str], written: Sequence[str], phrases: Sequence[str]) -> Measures:
    pairs = [(normal_words(a, phrases), normal_words(b, phrases)) for a, b in zip(truth, written, strict=True)]
    right, said = [a for a, _ in pairs], [b for _, b in pairs]
    bleu = sacrebleu().corpus_bleu(said, [right], tokenize="none").score if pairs else 0.0
    return {"exact_match": float(np.mean([a == b for a, b in pairs])), "bleu": float(bleu)}


def _features(grids: Grid) -> Mapping[str, torch.Tensor]:
    pictures = torch.from_numpy(grids)
    pixels = {
        f"{side} x {side} pixels": torch.nn.functional.adaptive_avg_pool2d(pictures, side).flatten(1)
        for side in PIXELS
    }
    level = (pictures * (COLOURS - 1e-3)).floor().long()
    codes = (level[:, 0] * COLOURS + level[:, 1]) * COLOURS + level[:, 2]
    counts = torch.stack([one.flatten().bincount(minlength=COLOURS**3) for one in codes])
    colours = 5 * (counts / counts.sum(1, keepdim=True)).sqrt()  # of length 5: about as far apart as pixels
    return {**pixels, "colours": colours, "colours and pixels": torch.cat([colours, pixels["8 x 8 pixels"]], 1)}


def _nearest(known: torch.Tensor, captions: Sequence[str], count: int) -> Callable[[torch.Tensor], list[str]]:
    def find(asked: torch.Tensor) -> list[str]:
        near = torch.cdist(asked, known).topk(min(count, len(known)), largest=False).indices.tolist()
        return [_most_alike([captions[row] for row in rows]) for rows in near]

    return find


def _most_alike(captions: Sequence[str]) -> str:
    """The caption that shares most words with the others; the first of equals."""
    sets = [set(normal_words(caption).split()) for caption in captions]
    shared = [sum(len(one & other) / max(1, len(one | other)) for other in sets) for one in sets]
    return captions[int(np.argmax(shared))]
