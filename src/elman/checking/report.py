"""What a check found: lines that say what was looked at, whether it held, and where it did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest


class Disagreement(AssertionError):
    """A check did not hold; the message is the report."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        subject: of what: a cell at its sizes, a layer of a model.
        way: what was done with it: "full", "lengths", "streamed", "traced", ...
        by: who did it, such as "native fp32"; empty where it is no run.
        ok: whether it held; None: it was not looked at, or is only told.
        said: how large the difference is; what is wrong and where; why it was not looked at.
    """

    subject: str
    way: str
    by: str
    ok: bool | None
    said: str

    @property
    def verdict(self) -> str:
        """In a table of runs: the largest difference, WRONG, or - where there was no run."""
        return "-" if self.ok is None else self.said if self.ok else "WRONG"

    def __str__(self) -> str:
        return f"{self.subject}: {' '.join(filter(None, (self.by, self.way)))}: {self.said}"


@dataclass(frozen=True)
class Report:
    """Everything that was looked at; as text, tables and then what is wrong.

    Example:
        >>> report = Report((Line("Leaky", "traced", "", False, "no such operation"),))
        >>> report.ok, str(report.wrong[0])
        (False, 'Leaky: traced: no such operation')
    """

    lines: tuple[Line, ...]

    @property
    def wrong(self) -> tuple[Line, ...]:
        """The lines that did not hold."""
        return tuple(line for line in self.lines if line.ok is False)

    @property
    def ok(self) -> bool:
        """Whether everything that was looked at held."""
        return not self.wrong

    def raise_if_wrong(self) -> None:
        """Raises `Disagreement` with this report where something did not hold."""
        if not self.ok:
            raise Disagreement(f"\n{self}")

    def subjects(self) -> Iterator[tuple[str, list[Line], list[list[str]]]]:
        """For each subject what is no run, and its table of runs: who, by what was done; titles first."""
        for subject in dict.fromkeys(line.subject for line in self.lines):
            own = [line for line in self.lines if line.subject == subject]
            runs = {(line.by, line.way): line.verdict for line in own if line.by}
            ways = list(dict.fromkeys(way for _, way in runs))
            rows = [[by, *(runs.get((by, way), "") for way in ways)] for by in dict.fromkeys(by for by, _ in runs)]
            yield subject, [line for line in own if not line.by], [["", *ways], *rows] if rows else []

    def summary(self) -> list[str]:
        """How many lines held, and each that did not."""
        judged = [line for line in self.lines if line.ok is not None]
        head = (
            f"{len(judged)} checks, {len(self.wrong)} wrong" if self.wrong else f"{len(judged)} checks, all hold"
        )
        return [head, *(f"  {line}" for line in self.wrong)]

    def __str__(self) -> str:
        parts = []
        for subject, plain, runs in self.subjects():
            marks = {True: "ok", False: "WRONG", None: "-"}
            parts += [
                subject,
                *_aligned([[line.way, marks[line.ok], line.said] for line in plain]),
                *_aligned(runs),
            ]
            parts.append("")
        return "\n".join([*parts, *self.summary()])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  " + "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=False)).rstrip() for row in rows]
