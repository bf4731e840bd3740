"""Common surnames and the language each is written in, out of the lists of the Faker package."""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elman.data.table import Table
from elman.errors import UserError

# Languages in Latin letters that have more than 300 names of their own there, and the lists of each. Czech and
# Slovak surnames are one stock, and Faker's Czech list is too short to stand alone.
LANGUAGES: Mapping[str, Sequence[str]] = {
    "Croatian": ("hr_HR",),
    "Czech/Slovak": ("cs_CZ", "sk_SK"),
    "Dutch": ("nl_NL", "nl_BE"),
    "English": ("en_GB", "en_IE", "en_NZ", "en_US"),
    "Estonian": ("et_EE",),
    "Finnish": ("fi_FI",),
    "French": ("fr_FR", "fr_CA"),
    "German": ("de_DE", "de_AT"),
    "Irish": ("ga_IE",),
    "Italian": ("it_IT",),
    "Polish": ("pl_PL",),
    "Spanish": ("es_ES", "es_AR", "es_CL", "es_CO", "es_MX"),
    "Swedish": ("sv_SE",),
}
# Where the names are not (or not only) in `last_names`: Estonia's hold Russian ones, Poland's are kept by gender.
_ATTRIBUTES = {"et_EE": ("last_names_est",), "pl_PL": ("unisex_last_names", "male_last_names")}
_ENDING = re.compile("(?<=...)(ova|[aiy])$")
_FLEETING = re.compile("(?<=..)e([cklr])$")


def read_surnames() -> Table:
    """About 18,000 surnames in 13 languages written with Latin letters, as the Faker package lists them.

    These are lists of common surnames, made for inventing test data: nobody counted bearers, the lists differ in
    length and care, and a name is where its list is, whatever its origin (the English ones hold names of
    immigrants, the Austrian ones Czech names). A name that stands in two languages, whatever its case and accents,
    is in neither.

    Groups, for a split without leaks: names of one language whose last words differ only in a Slavic ending (Novák
    and Nováková, Kowalski and Kowalska) or an accent, or which begin with another article or particle, are one
    group.

    Source: Faker (MIT), https://github.com/joke2k/faker.

    Returns:
        A table with the columns name, language and group, by language and name.

    Raises:
        UserError: the Faker package is not installed, or has no such lists.
    """
    known = {name: language for language, locales in LANGUAGES.items() for name in _names(locales)}
    languages = defaultdict(set)
    for language, locales in LANGUAGES.items():
        for name in _names(locales):
            languages[letters(name)].add(language)
    rows = sorted((language, name) for name, language in known.items() if len(languages[letters(name)]) == 1)
    columns = {
        "name": [name for _, name in rows],
        "language": [language for language, _ in rows],
        "group": [f"{language} {root(name)}" for language, name in rows],
    }
    return Table(columns, "common surnames of the Faker package")


def letters(name: str) -> str:
    """The letters of a name, small and without accents.

    Example:
        >>> letters("O'Brien"), letters("Dvořák")
        ('obrien', 'dvorak')
    """
    return "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if c.isalpha())


def root(name: str) -> str:
    """What forms of one name have in common: its last word without a Slavic ending.

    Example:
        >>> root("Sedláčková") == root("Sedláček"), root("Ó Briain") == root("Mac Briain"), root("Kowalska")
        (True, True, 'kowalsk')
    """
    word = letters(re.split(r"[\s'\u2019-]", name.strip())[-1])
    return _FLEETING.sub(r"\1", _ENDING.sub("", word))


def _names(locales: Sequence[str]) -> Iterator[str]:
    for locale in locales:
        provider = _provider(locale)
        for attribute in _ATTRIBUTES.get(locale, ("last_names",)):
            yield from getattr(provider, attribute)


def _provider(locale: str) -> Any:
    try:
        return importlib.import_module(f"faker.providers.person.{locale}").Provider
    except ImportError as error:
        what = "the default data of this recipe is in the Faker package, which is not installed"
        raise UserError(what, fix="pip install Faker, or name rows of your own with --data") from error
