"""A report as one HTML page that needs nothing else: figures inside it as SVG, in light and in dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from elman.insight.figures import GRID, QUIET
from elman.insight.pictures import COLOURS, INK

_LEVELS = 8  # of colour behind a piece of text
_THEME = {INK: "currentColor", QUIET: "var(--quiet)", GRID: "var(--grid)", "#999999": "var(--other)"} | {
    colour: f"var(--c{k})" for k, colour in enumerate(COLOURS)
}
_DARK = ("#4DA3DB", "#F0853A", "#2DBE93", "#DD97BC", "#E6B23C", "#8CCBF0")  # the same colours on a dark ground


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: of its file, without an ending.
        title: one line.
        figure: as drawn.
        alt: what it shows, in words and numbers, for who cannot see it.
        caption: how it is read; plain text.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str

    def png(self) -> bytes:
        """As a file of its own, on white."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()

    def html(self) -> str:
        """As a part of the page."""
        return (
            f'<figure class="chart" id="{escape(self.name)}"><h4>{escape(self.title)}</h4>\n{self._svg()}\n'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )

    def _svg(self) -> str:
        file = io.StringIO()
        about: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            self.figure.savefig(file, format="svg", metadata=about, transparent=True)
        svg = file.getvalue()
        svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        # Names are the page's, not the figure's alone.
        svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{escape(self.name)}-", svg)
        for colour, meaning in _THEME.items():
            svg = re.sub(re.escape(colour), meaning, svg, flags=re.IGNORECASE)
        head = f'<svg role="img" aria-label="{escape(self.alt)}"'
        svg = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", svg)
        svg = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", svg)
        return head + svg.removeprefix("<svg")


def coloured(pieces: Sequence[str], values: Tensor, joiner: str = "") -> str:
    """Text with a ground that says what a unit does at each piece: blue below 0, orange above.

    Args:
        pieces: T of them.
        values: (T,) from -1 to 1.
        joiner: what stands between two pieces.

    Raises:
        ValueError: not one value for each piece.

    Example:
        >>> import torch
        >>> coloured(["<", "b"], torch.tensor([1.0, 0.0]))
        '<b class="p8">&lt;</b>b'
    """
    if len(pieces) != len(values):
        raise ValueError(f"one value is wanted for each of {len(pieces)} pieces, got {len(values)}")
    levels = [round(_LEVELS * max(-1.0, min(1.0, value))) for value in values.tolist()]
    shown = [piece.replace("\n", "\u21b5\n") for piece in pieces]
    parts = []
    for level, run in groupby(zip(levels, shown, strict=True), key=lambda pair: pair[0]):
        text = escape(joiner.join(piece for _, piece in run))
        parts.append(f'<b class="{"p" if level > 0 else "n"}{abs(level)}">{text}</b>' if level else text)
    return joiner.join(parts)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the page is narrow; the first column names the row.

    Example:
        >>> table(["layer"], [["a & b"]]).count("&amp;")
        1
    """
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    lines = (
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    body = "\n".join(lines)
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(titles[0])}"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'  # noqa: E501


def number(value: float) -> str:
    """A measure as people read it.

    Example:
        >>> [number(value) for value in (0.12345, 1234.5, 3e-9, float("inf"), float("nan"))]
        ['0.123', '1230', '3e-09', 'all of it', 'none']
    """
    if math.isinf(value):
        return "all of it" if value > 0 else "none"
    if math.isnan(value):
        return "none"
    return f"{float(f'{value:.3g}'):g}"


def page(title: str, body: Sequence[str]) -> str:
    """The whole page.

    Args:
        title: plain text.
        body: HTML, a part after the other.

    Example:
        >>> page("a < b", ["<p>x</p>"]).count("a &lt; b")
        1
    """
    inside = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_style()}
</style>
</head>
<body>
<main>
{inside}
</main>
</body>
</html>
"""


def _style() -> str:
    light = "".join(f"--c{k}:{colour};" for k, colour in enumerate(COLOURS))
    dark = "".join(f"--c{k}:{colour};" for k, colour in enumerate(_DARK))
    grounds = "\n".join(
        f".text b.{sign}{k}{{background:rgba({colour},{0.75 * k / _LEVELS:.2f})}}"
        for sign, colour in (("n", "0,114,178"), ("p", "213,94,0"))
        for k in range(1, _LEVELS + 1)
    )
    return f"""{_STYLE.replace("LIGHT", light).replace("DARK", dark)}
{grounds}"""


_STYLE = """:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--quiet:#555b63;--grid:#dcdfe3;
--other:#8a8f96;--box:#f4f6f8;--line:#d3d8de;LIGHT}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--ink:#e7eaee;--quiet:#a3abb5;--grid:#343a41;
--other:#8a8f96;--box:#1d2226;--line:#3a4149;DARK}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1.1rem}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
h4{font-size:1rem;margin:0 0 .3rem}
p,ul,figcaption{max-width:75ch}
h1,h2,h3,h4,p,li,td,figcaption{overflow-wrap:anywhere}
.quiet,figcaption{color:var(--quiet);font-size:.9rem}
.verdict{background:var(--box);border:1px solid var(--line);border-left:5px solid var(--c0);border-radius:6px;
padding:.6rem 1rem;margin:.8rem 0}
.verdict.found{border-left-color:var(--c1)}
.verdict p{margin:.3rem 0}
code{font:.92em ui-monospace,"DejaVu Sans Mono",monospace;background:var(--box);padding:.05em .3em;
border-radius:4px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1.2rem;align-items:start}
figure{margin:0;min-width:0}
figure.chart{max-width:580px}
figure svg{display:block;width:100%;height:auto;color:var(--ink);overflow:visible}
figure svg text{font-family:inherit!important}
figure svg image{image-rendering:pixelated}
figcaption{margin-top:.3rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{text-align:right;padding:.3rem .7rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child{text-align:left;padding-left:0}
thead th{font-weight:600;color:var(--quiet)}
.text p{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.86rem;line-height:1.7;
white-space:pre-wrap;margin:.2rem 0 .5rem;max-width:none}
.text p.unit{font:inherit;font-size:.9rem;color:var(--quiet);margin:.6rem 0 0}
.text b{font-weight:inherit;border-radius:2px}
.units{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1.2rem}"""
