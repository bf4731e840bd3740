"""Surnames of the Faker package: what is kept, what is left out, and which names belong together."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

import pytest

from elman.data import Table, read_surnames, split
from elman.data.surnames import LANGUAGES, letters, root
from elman.errors import UserError


@pytest.fixture(scope="module")
def names() -> Table:
    return read_surnames()


def test_every_language_has_more_than_300_names_and_none_stands_in_two(names: Table) -> None:
    counts = Counter(names.column("language"))
    assert set(counts) == set(LANGUAGES)
    assert min(counts.values()) > 300
    languages = defaultdict(set)
    for name, language in zip(names.column("name"), names.column("language"), strict=True):
        languages[letters(name)].add(language)
    assert max(map(len, languages.values())) == 1
    assert len(set(names.column("name"))) == len(names) > 17_000


def test_a_name_of_two_languages_is_in_neither(names: Table) -> None:
    known = set(names.column("name"))
    assert not known & {"Garcia", "García", "Martin", "Martín"}  # Spain's, and so common in the United States
    assert {"Dvořák", "O'Brien", "Abičić"} <= known


def test_the_table_is_the_same_every_time(names: Table) -> None:
    assert names == read_surnames()


def test_forms_of_a_name_stand_in_one_part(names: Table) -> None:
    group = dict(zip(names.column("name"), names.column("group"), strict=True))
    assert group["Paluchová"] == group["Palúch"]
    parts = split(len(names), seed=0, groups=names.column("group"), labels=names.column("language"))
    groups = [{names.column("group")[row] for row in part} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Kowalski", "Kowalska"), ("Sedláček", "Sedláčková"), ("Ó Briain", "Mac Briain"), ("de Vries", "Vries")],
)
def test_forms_have_one_root(one: str, other: str) -> None:
    assert root(one) == root(other)
    assert root(one) != root("Miller")


@pytest.mark.parametrize("name", ["Eva", "Ova", "Ek", "Nova", "\u00d6y", "-", ""])
def test_a_short_name_keeps_a_root(name: str) -> None:
    assert len(root(name)) >= min(2, len(letters(name)))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker.providers.person.hr_HR", None)
    with pytest.raises(UserError, match=r"Faker package, which is not installed; pip install Faker"):
        read_surnames()
