"""`elman recipes`: what can be trained, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe, to see its settings.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines.")] = False,
) -> None:
    """List the recipes, or the settings of one.

    \b
    elman recipes
    elman recipes sentiment
    """  # noqa: D301
    from elman.cli.console import results, write_json
    from elman.cli.tables import plain_table

    titles, rows = (("recipe", "what it does"), _listed()) if name is None else (_SETTING, _settings(name))
    if as_json:
        write_json([dict(zip(titles, row, strict=True)) for row in rows])
        return
    table = plain_table(*titles)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else str(cell) for cell in row))
    results().print(table)
    if name is None:
        results().print("\nsettings of one: elman recipes NAME")
    else:
        results().print(f"\nto change one: elman train {name} --set KEY=VALUE", soft_wrap=True)


_SETTING = ("setting", "value", "meaning")


def _listed() -> list[tuple[Any, ...]]:
    from elman.recipes import registered

    return [(recipe.name, recipe.summary) for recipe in registered().values()]


def _settings(name: str) -> list[tuple[Any, ...]]:
    from elman.recipes import get
    from elman.recipes.settings import described

    return list(described(get(name).settings))
