"""Words with tags: lines, tables, plain text and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.data import Table
from elman.data.plain_text import marked_text, plain_words, restored_text
from elman.data.tagged import Tagged
from elman.data.tagged_readers import read_marked, read_tagged
from elman.data.tagged_table import TagColumns, tagged_table
from elman.errors import UserError


def read(tmp_path, text, name="words.txt", **columns):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tagged(path, TagColumns(**columns))


def test_lines_of_words_and_tags(tmp_path):
    tagged = read(tmp_path, "\n\nIn X\r\nMay Y\r\n\r\n\r\nNew York\tZ\n")
    assert tagged.words == [["In", "May"], ["New York"]]
    assert tagged.tags == {"tag": [["X", "Y"], ["Z"]]}
    assert tagged.notes == ()


def test_documents_of_conll_2003_are_groups(tmp_path):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B O\n\nHi UH O O\n-DOCSTART- -X- -X- O\n\nEU NNP B O\n"
    tagged = read(tmp_path, text)
    assert tagged.words == [["EU"], ["Hi"], ["EU"]]
    assert tagged.groups == ["document 1", "document 1", "document 2"]
    assert len(set(tagged.group_names())) == 2
    assert tagged.notes == ("a line holds 4 fields: the word is number 1, its tag number 4",)


def test_conllu_has_its_own_columns(tmp_path):
    rows = ["1-2\tdon't", "1\tdo\tdo\tAUX", "2\tn't\tnot\tPART", "2.1\tx\tx\tX"]
    text = "# text = don't\n" + "".join(row + "\t_" * (9 - row.count("\t")) + "\n" for row in rows)
    tagged = read(tmp_path, text, "words.conllu")
    assert (tagged.words, tagged.tags["tag"]) == ([["do", "n't"]], [["AUX", "PART"]])
    with pytest.raises(UserError, match="ten fields"):
        read(tmp_path, "1\ta\tX\n", "words.conllu")


def test_equal_rows_are_one_group(tmp_path):
    names = read(tmp_path, "a X\n\nb X\n\na Y\n").group_names()
    assert names[0] == names[2] != names[1]


def test_a_tsv_is_a_table_where_its_first_line_names_columns(tmp_path):
    assert read(tmp_path, "token\ttag\na\tX\n", "words.tsv").words == [["a"]]
    assert read(tmp_path, "the\tX\na\tX\n", "words.tsv").words == [["the", "a"]]
    assert read(tmp_path, "w\tt\na\tX\n", "words.tsv", word="w", tag="t").words == [["a"]]
    with pytest.raises(UserError, match="have no columns to name"):
        read(tmp_path, "the X\n", word="w")


def test_a_column_of_sentences_may_be_filled_in_once_a_sentence(tmp_path):
    text = "Sentence #,Word,POS,Tag\n1,In,IN,O\n,May,NNP,B\n2,Go,VB,O\n"
    tagged = read(tmp_path, text, "words.csv")
    assert tagged.words == [["In", "May"], ["Go"]]
    assert tagged.tags["tag"] == [["O", "B"], ["O"]]
    assert tagged.notes == ("columns: words 'Word', tags 'Tag', sentences 'Sentence #'",)
    assert read(tmp_path, text, "words.csv", tag="POS").tags["tag"] == [["IN", "NNP"], ["VB"]]


def test_columns_trained_on_are_taken_where_they_are_there():
    trained = TagColumns("w", "t", "s")
    assert read_tagged({"w": ["a", "b"], "t": ["X", "Y"], "s": [1, 2]}, trained=trained).words == [["a"], ["b"]]
    assert read_tagged({"word": ["a"], "tag": ["X"]}, trained=trained).words == [["a"]]
    with pytest.raises(UserError, match="no column 'w'"):
        read_tagged({"word": ["a"], "tag": ["X"]}, TagColumns("w"), trained)


def test_rows_of_lists_are_sentences():
    table = Table({"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]]}, "data")
    tagged = read_tagged(table)
    assert (tagged.words, tagged.tags["tag"]) == ([["a", "b"], ["c"]], [["0", "1"], ["0"]])
    with pytest.raises(UserError, match=r"data, row 1: every word needs its tag; found: 2 words, 1 tags"):
        read_tagged(Table({"tokens": [["a", "b"]], "tags": [["X"]]}, "data"))


def test_an_empty_row_ends_a_sentence():
    columns = {"word": ["a", None, "b"], "tag": ["X", None, "Y"]}
    assert read_tagged(columns).words == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"word": ["a", "b"], "tag": ["X", ""]}, "data, row 2: every word needs its tag; found: word 'b'"),
        ({"word": ["a", None], "tag": ["X", "Y"]}, "data, row 2: every tag needs its word"),
        ({"word": ["a"], "tag": [float("nan")]}, "data, row 1: every word needs its tag"),
        ({"word": ["a"], "tag": [{}]}, "words and tags must be text; found: dict"),
        ({"one": ["a"], "two": ["X"]}, "which column holds the words is not clear; found: columns one, two"),
        ({"word": ["a"], "two": ["X"]}, "which column holds the tags is not clear"),
        ({"word": ["a"], "tag": ["X"], "label": ["Y"]}, "which column holds the label is not clear"),
    ],
)
def test_rows_that_are_no_words_with_tags_are_named(columns, words):
    with pytest.raises(UserError, match=words):
        tagged_table(Table(columns, "data"), TagColumns(), TagColumns())


def test_folders_and_missing_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="found: a folder"):
        read_tagged(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_tagged(tmp_path / "none.txt")


def test_plain_text_of_files_folders_and_tables(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("Go on.")
    (tmp_path / "two.txt").write_text("")
    (tmp_path / "three.txt").write_text("No?")
    tagged = read_marked(tmp_path)
    assert tagged.words == [["go", "on"], ["no"]]
    assert [Path(group).name for group in tagged.groups] == ["one.txt", "three.txt"]
    assert read_marked(tmp_path / "three.txt").tags["mark"] == [["?"]]
    assert read_marked({"text": ["Go on.", "", "No?"]}).words == [["go", "on"], ["no"]]
    with pytest.raises(UserError, match="holds no word"):
        read_marked({"text": ["...", "!"]})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        read_marked(tmp_path / "empty")


def test_marks_by_hand():
    text = "\u201cGo,\u201d said Beth-el\u2019s king (3,000 men!). Why? "
    text += "-- \u00c6neas ... l\u00e0; N\u0303o: Jesus\u2019 \u2014 end"
    tagged = marked_text({"a": text}, "text")
    words, cases, marks = tagged.words[0], tagged.tags["case"][0], tagged.tags["mark"][0]
    assert words == [
        "go", "said", "beth-el\u2019s", "king", "3,000", "men", "why", "\u00e6neas", "l\u00e0", "\u00f1o",
        "jesus\u2019", "end",
    ]  # fmt: skip
    assert marks == [",", "none", "none", "none", "none", "!", "?", ".", ";", ":", "none", "none"]
    shown = restored_text(words, cases, marks)
    begin = "Go, said Beth-el\u2019s king 3,000 men! Why? \u00c6neas. "
    assert shown == begin + "l\u00e0; \u00d1o: Jesus\u2019 end"
    assert plain_words(shown) == plain_words(text) == words


@given(st.text(max_size=60))
def test_what_is_restored_reads_as_itself(text):
    words = plain_words(text)
    if not words:
        return
    tagged = marked_text({"a": text}, "text")
    shown = restored_text(words, tagged.tags["case"][0], tagged.tags["mark"][0])
    again = marked_text({"a": shown}, "text")
    assert again.tags["mark"] == tagged.tags["mark"]
    assert len(again.words[0]) == len(words)


def test_rows_are_cut_evenly_or_anywhere():
    rows = Tagged([[str(i) for i in range(1000)]], {"tag": [[str(i) for i in range(1000)]]}, ["g"], "data")
    even, drawn = rows.cut(300), rows.cut(60, 20, seed=1)
    assert [len(words) for words in even.words] == [250] * 4
    lengths = [len(words) for words in drawn.words]
    assert all(20 <= length <= 60 for length in lengths[:-1])
    assert len(set(lengths)) > 5
    assert drawn.words != rows.cut(60, 20, seed=2).words
    for cut in (even, drawn):
        assert [word for words in cut.words for word in words] == rows.words[0]
        assert cut.words == cut.tags["tag"]
        assert set(cut.groups) == {"g"}
