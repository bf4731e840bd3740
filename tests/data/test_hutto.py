"""The rated texts: their format, their groups, and what nearly repeats."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import near_duplicates, read_hutto
from elman.data.hutto import HUTTO_FILES
from elman.errors import UserError

CONTENT = {
    "tweet": "1\t2.5\tDamn! running late sucks &amp; hurts!\r\n2\t-1\tsomething else &lt;3\r\n"
    "3\t-2\tDAMN, running late SUCKS... hurts",
    "product": "1_1\t-0.9\tno picture at all\r\n1_2\t0.25\tfits well\r\n2_1\t1\tit keeps its promise",
    "film": "1\t3.94117647059\ta fine caf\u00e9 comedy\r\n2\t0\tSomething ELSE (3)",
}


@pytest.fixture
def folder(tmp_path):
    def write(**changed):
        for source, name in HUTTO_FILES.items():
            content = changed.get(source, CONTENT[source])
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def test_columns(folder):
    table = read_hutto(folder())
    assert table.column("text")[:2] == ["Damn! running late sucks & hurts!", "something else <3"]
    assert table.column("rating") == [2.5, -1, -2, -0.9, 0.25, 1, 3.94117647059, 0]
    assert table.column("source") == ["tweet"] * 3 + ["product"] * 3 + ["film"] * 2
    assert table.where(4).endswith("amazonReviewSnippets_GroundTruth.txt:2")


def test_groups_join_documents_and_near_duplicates(folder):
    # Product sentences by document; the first and third tweet, and a tweet and a film, say the same.
    assert read_hutto(folder()).column("group") == [
        "tweet 1", "tweet 2", "tweet 1", "product 1", "product 1", "product 2", "film 1", "tweet 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("1\t2.5\ta\r\n2\t1", 2),
        ("1\t2.5\ta\tb", 1),
        ("1\tgood\ta", 1),
        ("1\tnan\ta", 1),
        ("1\t4.5\ta", 1),
        ("1\t1\t ", 1),
        ("1\t1\ta\r\n\r\n2\t1\tb", 2),
    ],
)
def test_a_line_of_another_form_is_refused(folder, content, line):
    with pytest.raises(UserError, match=rf"tweets_GroundTruth\.txt:{line}: a line must be a number, a rating"):
        read_hutto(folder(tweet=content))


def test_bytes_that_are_no_text(folder):
    with pytest.raises(UserError, match=r"movieReviewSnippets_GroundTruth\.txt:1: the text is not UTF-8"):
        read_hutto(folder(film=b"1\t1\tcaf\xe9"))


def test_a_missing_file(folder):
    path = folder()
    (path / HUTTO_FILES["film"]).unlink()
    with pytest.raises(UserError, match="a file of the data set is missing; get it with: elman data sentiment"):
        read_hutto(path)


def test_what_makes_no_difference():
    texts = ["RT @one: I love it! http://a.b/c", "i LOVE it...", ":)", ":(", "I hate it"]
    assert list(near_duplicates(texts)) == [(1, 0)]


def similarity(one, other):
    return len(one & other) / len(one | other)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), max_size=12), st.sampled_from([0.5, 0.7, 1.0]))
def test_no_similar_pair_is_lost(sets, threshold):
    found = {frozenset(pair) for pair in near_duplicates([" ".join(sorted(words)) for words in sets], threshold)}
    distinct = [index for index, words in enumerate(sets) if words not in sets[:index]]
    for index, words in enumerate(sets):
        for other in range(index):
            if index in distinct and other in distinct:
                assert (frozenset({index, other}) in found) == (similarity(words, sets[other]) >= threshold)
        if index not in distinct:
            assert frozenset({index, sets.index(words)}) in found
