"""The rows of a tagger: their tags numbered, dealt out to training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elman.data import split
from elman.data.tagged import Tagged
from elman.errors import UserError, did_you_mean
from elman.recipes.tag_model import Codes, DataSettings

STRETCH = 1000  # words of plain text that stay together in one part
_MANY = 50  # kinds of tags that need not repeat
Kinds = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Prepared:
    """Rows of words ready to be learnt from.

    Attributes:
        kinds: the tags of each kind, in the order of their numbers.
        parts: the rows of training, validation and test.
        source: where they came from.
        marks: whether the tags are the capitals and marks of plain text.
        columns: of words and of tags, as the user named them.
    """

    kinds: Kinds
    parts: Mapping[str, Tagged]
    source: str
    marks: bool
    columns: tuple[str | None, str | None] = (None, None)

    def codes(self, part: str) -> list[Codes]:
        """(words, kinds) numbers of the tags of each row of a part."""
        return tag_codes(self.parts[part], self.kinds)

    def shown(self) -> list[tuple[str, str]]:
        """How often each tag stands in the rows, and how much each part holds."""
        held = (f"{name} {rows.count} words in {len(rows)} rows" for name, rows in self.parts.items())
        return [("tags", self._tags()), ("parts", ", ".join(held))]

    def _tags(self) -> str:
        """How often each tag stands in the rows, the twenty most frequent of each kind."""
        shown = []
        for kind in self.kinds:
            counts = Counter(tag for rows in self.parts.values() for row in rows.tags[kind] for tag in row)
            more = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
            shown.append(f"{kind}: {', '.join(f'{t} {count}' for t, count in counts.most_common(20))}{more}")
        return "; ".join(shown)

    def fingerprint(self) -> str:
        """A hash of every word, tag and part, in order: whether data is still what it was."""
        digest = hashlib.sha256()
        for name, rows in self.parts.items():
            digest.update(json.dumps([name, rows.words, dict(rows.tags)]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def prepare_tagged(tagged: Tagged, asked: DataSettings) -> Prepared:
    """Rows of words with given tags, dealt out by their groups.

    Raises:
        UserError: there is one tag only, tags do not repeat, or there are too few rows.
    """
    rows = tagged.cut(asked.max_length)
    return _checked(Prepared(_kinds(rows), _dealt(rows, asked), tagged.source, marks=False))


def prepare_marked(
    tagged: Tagged, asked: DataSettings, kinds: Kinds, parts: Mapping[str, Sequence[str]]
) -> Prepared:
    """Plain text, cut into passages after it was dealt out to the parts.

    Args:
        tagged: each text a row, its name as its group.
        asked: how.
        kinds: the tags of each kind, in the order of their numbers; a kind of which only one is there is left out.
        parts: the names of texts for validation and test; the rest is for training. None: by chance, in stretches.

    Raises:
        UserError: the text shows neither capitals nor marks, or is too short.
    """
    if parts:
        named = {name: part for part, names in parts.items() for name in names}
        where = [named.get(str(group), "train") for group in tagged.groups]
        dealt = {p: tagged.select([i for i, one in enumerate(where) if one == p]) for p in ("train", *parts)}
    else:
        rows = tagged.cut(max(1, min(STRETCH, tagged.count // 20)))
        dealt = _dealt(replace(rows, groups=[f"stretch {row}" for row in range(len(rows))]), asked)
    there = {kind: {tag for row in tagged.tags[kind] for tag in row} for kind in kinds}
    kept = {kind: names for kind, names in kinds.items() if len(there[kind]) > 1}
    if not kept:
        what = "the text must show capitals or marks of . , ; : ? !"
        raise UserError(what, where=tagged.source, found=f"{tagged.count} words without any")
    passages = {
        part: replace(rows, tags={kind: rows.tags[kind] for kind in kept}).cut(
            asked.longest, asked.shortest, asked.seed
        )
        for part, rows in dealt.items()
    }
    return _checked(Prepared(kept, passages, tagged.source, marks=True))


def tag_codes(rows: Tagged, kinds: Kinds) -> list[Codes]:
    """(words, kinds) numbers of the tags of each row.

    Raises:
        UserError: a tag is none of those known.
    """
    numbers = {kind: {tag: number for number, tag in enumerate(names)} for kind, names in kinds.items()}
    try:
        columns = [
            [np.array([numbers[kind][tag] for tag in row], dtype=np.int64) for row in rows.tags[kind]]
            for kind in kinds
        ]
    except KeyError as error:
        known = {tag for names in kinds.values() for tag in names}
        what = "a tag must be one of those trained on"
        raise UserError(
            what, where=rows.source, found=repr(error.args[0]), fix=did_you_mean(str(error.args[0]), sorted(known))
        ) from error
    return [np.stack(of_row, 1) for of_row in zip(*columns, strict=True)]


def _dealt(rows: Tagged, asked: DataSettings) -> dict[str, Tagged]:
    shares = (1 - asked.validation - asked.test, asked.validation, asked.test)
    if shares[0] <= 0:
        raise UserError("the training part gets no row", where="data.test and data.validation", found=shares)
    parts = split(len(rows), seed=asked.seed, parts=shares, groups=rows.group_names())
    return {name: rows.select(part) for name, part in parts._asdict().items()}


def _kinds(rows: Tagged) -> dict[str, tuple[str, ...]]:
    kinds = {kind: tuple(sorted({tag for row in tags for tag in row})) for kind, tags in rows.tags.items()}
    for names in kinds.values():
        if len(names) < 2:
            found = f"{names[0]!r} for all {rows.count} words"
            raise UserError("the tags must differ", where=rows.source, found=found)
        if len(names) > _MANY and 2 * len(names) > rows.count:
            found = f"{len(names)} different tags of {rows.count} words, such as {names[0][:60]!r}"
            fix = "give WORD TAG on each line, the tag last; or name its column with --label"
            raise UserError("the tags must repeat", where=rows.source, found=found, fix=fix)
    return kinds


def _checked(prepared: Prepared) -> Prepared:
    train = prepared.parts["train"]
    for kind in prepared.kinds:
        found = {tag for row in train.tags[kind] for tag in row}
        if len(found) < 2:
            what = "the training part must hold two tags or more"
            raise UserError(what, where=prepared.source, found=f"{kind}: {len(found)}", fix="give more rows")
    return prepared
