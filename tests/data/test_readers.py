"""Every file a user may bring, whole or broken."""

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import Table, read_table
from elman.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(source):
    with pytest.raises(UserError) as caught:
        read_table(source)
    return str(caught.value)


# CSV and TSV


def test_csv_with_quotes_line_ends_and_lines(write):
    path = write("a.csv", 'text,label\r\n"one, ""two""",x\r\n\r\n"three\nfour",y\r\nfive,x\r\n')
    table = read_table(str(path))
    assert table.columns == {"text": ['one, "two"', "three\nfour", "five"], "label": ["x", "y", "x"]}
    assert table.lines == [2, 4, 6]
    assert table.where(2) == f"{path}:6"


def test_byte_order_mark_is_no_part_of_the_first_name(write):
    assert list(read_table(write("a.csv", b"\xef\xbb\xbftext,label\na,b\n")).columns) == ["text", "label"]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_delimiter_of_a_csv_is_found(write, delimiter):
    lines = ["text,label", "yes; or no,x", "a|b,y", "c,x"]
    content = "\n".join(line.replace(",", delimiter) for line in lines)
    if delimiter != ",":
        content = content.replace("yes; or no", '"yes; or, no"').replace("a|b", '"a|b"')
    assert read_table(write("a.csv", content)).column("label") == ["x", "y", "x"]


def test_commas_in_the_text_do_not_outvote_the_semicolon(write):
    table = read_table(write("a.csv", "text, in full;label\none, two;x\nthree;y\n"))
    assert table.columns == {"text, in full": ["one, two", "three"], "label": ["x", "y"]}


def test_one_column_is_no_delimiter_at_all(write):
    assert read_table(write("a.csv", "text\ngood\nbad\n")).columns == {"text": ["good", "bad"]}


def test_tsv_keeps_commas(write):
    assert read_table(write("a.tsv", "text\tlabel\na, b\tx\n")).column("text") == ["a, b"]


def test_unnamed_index_column_gets_a_name(write):
    assert list(read_table(write("a.csv", ",text\n0,a\n")).columns) == ["column 1", "text"]


def test_cells_stay_as_written(write):
    assert read_table(write("a.csv", "id,x\n007,1.50\n")).columns == {"id": ["007"], "x": ["1.50"]}


def test_old_line_ends(write):
    assert read_table(write("a.csv", "text,label\ra,x\rb,y\r")).lines == [2, 3]


def test_field_of_ten_megabytes(write):
    long = "x" * 10_000_000
    assert read_table(write("a.csv", f"text,label\n{long},y\n")).column("text") == [long]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1))
)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, ending, rows):
    names = [f"name {number}" for number in range(len(rows[0]))]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if ending == ".tsv" else ",", quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    path = tmp_path_factory.mktemp("round") / f"trip{ending}"
    path.write_bytes(buffer.getvalue().encode())
    table = read_table(path)
    assert [list(row) for row in zip(*table.columns.values(), strict=True)] == rows
    assert list(table.columns) == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "a.csv: the file is empty"),
        (b"\xef\xbb\xbf", "a.csv: the file is empty"),
        ("\n\n", "the first line must name the columns"),
        ("text,label\n", "a.csv: the file has a header but no row; found: text, label"),
        ("text,label,text\na,b,c\n", "a.csv:1: every column needs its own name; found: twice: text"),
        ("text,label\na,b\n\nc\n", "a.csv:4: every row must have as many fields as the header, 2"),
        ("text,label\na,b\nc,d,e\n", "as many fields as the header, 2 (text, label); found: 3"),
        ('text,label\na,b\n"c,d\ne,f\n', "a.csv:3: the quotes of a record must close"),
        ('text,label\n"c" d,x\n', "a.csv:2: the quotes of a record must close"),
        (b"text,label\na,x\ncaf\xe9,y\n", "a.csv:3: the text is not UTF-8; found: byte 0xe9 at position 4"),
        (b"text,label\ra,x\rcaf\xe9,y\r", "a.csv:3: the text is not UTF-8"),
        (b"text,label\na,\xc3", "a.csv:2: the text is not UTF-8"),
        (b"text,label\na\0b,x\n", "a.csv:2: a text holds no NUL byte"),
        ("text,label\na,x\n".encode("utf-16"), "a.csv: a text file must be UTF-8; found: UTF-16"),
        ("text,label\na,x\n".encode("utf-16-be"), "a.csv:1: a text holds no NUL byte"),
        ("\ufefftext\n".encode("utf-16-be"), "found: UTF-16"),
        ("text".encode("utf-32"), "found: UTF-32"),
        (b"PK\x03\x04abc", "found: a zip archive or a spreadsheet"),
        (b"\x1f\x8b\x08\0", "found: compressed by gzip"),
    ],
)  # fmt: skip
def test_broken_csv(write, content, said):
    assert said in refusal(write("a.csv", content))


def test_a_byte_far_into_a_long_file_is_found_in_its_line(write):
    content = b"text\n" + b"good\n" * 50_000 + b"b\xffd\n" + b"good\n" * 10
    assert "a.csv:50002: the text is not UTF-8; found: byte 0xff at position 2" in refusal(write("a.csv", content))


# JSON


def test_json_lines_with_missing_keys_and_numbers(write):
    content = '{"text": "a", "label": 1}\n\n{"text": "b\\nc", "score": 0.5, "label": null}\r\n{"score": NaN}\n'
    table = read_table(write("a.jsonl", content))
    assert table.columns == {
        "text": ["a", "b\nc", None],
        "label": [1, None, None],
        "score": [None, 0.5, None],
    }
    assert table.lines == [1, 3, 4]


def test_json_list_of_objects_and_of_strings(write):
    objects = read_table(write("a.json", json.dumps([{"text": "a"}, {"text": "b"}], indent=1)))
    strings = read_table(write("b.json", '["a", "b"]'))
    assert objects.columns == strings.columns == {"text": ["a", "b"]}
    assert strings.where(1).endswith("b.json, row 2")


DEEP = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "a.jsonl:2: this must be JSON; found: Expecting value"),
        ("a.jsonl", '{"text": "a"}\n["a"]\n', "a.jsonl:2: a row must be an object with at least one key"),
        ("a.jsonl", '"a"\n', "a.jsonl:1: a row must be an object with at least one key; found: a string"),
        ("a.jsonl", "{}\n", "a.jsonl:1: a row must be an object with at least one key"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "a.jsonl:2: a key stands twice in an object: a"),
        ("a.jsonl", '{"a": "\\ud800"}\n', "a.jsonl:1: half of a surrogate pair"),
        ("a.jsonl", f'{{"a": {"9" * 5000}}}\n', "a.jsonl:1: this must be JSON"),
        ("a.jsonl", f'{{"text": "a"}}\n{DEEP}\n', "a.jsonl:2: JSON must not be nested this deeply"),
        ("a.ndjson", "\n\n", "a.ndjson: the file has no row"),
        ("a.jsonl", "", "a.jsonl: the file is empty"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1: the text is not UTF-8"),
        ("a.json", '{"text": ["a"]}', "a.json: a .json file must hold a list of rows; found: an object of 1"),
        ("a.json", "[]", "a.json: the file has no row"),
        ("a.json", '[{"a": 1}, 3]', "a.json, row 2: a row must be an object"),
        ("a.json", "[", "a.json: this must be JSON"),
        ("a.json", "[" * 100_000, "a.json: JSON must not be nested this deeply"),
    ],
    ids=range(16),
)  # fmt: skip
def test_broken_json(write, name, content, said):
    assert said in refusal(write(name, content))


def test_a_line_of_ten_megabytes(write):
    long = "x" * 10_000_000
    assert read_table(write("a.jsonl", json.dumps({"text": long}))).column("text") == [long]


# Folders


def test_folder_of_texts(write, tmp_path):
    write("d/pos/2.txt", "great\nfilm\n")
    write("d/pos/10.txt", b"")
    write("d/neg/1.txt", b"\xef\xbb\xbfbad\r\n")
    write("d/neg/.hidden.txt", "no")
    write("d/neg/readme.md", "no")
    write("d/notes.txt", "no")
    table = read_table(tmp_path / "d")
    assert table.columns == {"text": ["bad", "", "great\nfilm"], "label": ["neg", "pos", "pos"]}
    assert table.where(2) == str(tmp_path / "d" / "pos" / "2.txt")


def test_folder_without_texts(write, tmp_path):
    write("d/notes.md", "x")
    said = refusal(tmp_path / "d")
    assert (
        "d: the folder holds no texts; found: 1 entries: notes.md; lay the texts out as FOLDER/label/file.txt"
        in said
    )


def test_folder_one_level_too_high(write, tmp_path):
    write("d/train/pos/1.txt", "x")
    assert f"did you mean '{tmp_path / 'd' / 'train'}'?" in refusal(tmp_path / "d")


def test_undecodable_text_in_a_folder(write, tmp_path):
    path = write("d/pos/1.txt", b"a\n\xff")
    assert f"{path}:2: the text is not UTF-8; found: byte 0xff" in refusal(tmp_path / "d")


def test_link_out_of_the_folder_is_refused(write, tmp_path):
    secret = write("secret.txt", "secret")
    write("d/pos/1.txt", "a")
    (tmp_path / "d" / "pos" / "2.txt").symlink_to(secret)
    assert "2.txt: a text must lie inside its folder" in refusal(tmp_path / "d")


# Names, mappings and the rest


def test_missing_file_proposes_a_sibling(write, tmp_path):
    write("reviews.csv", "text\na\n")
    assert "revews.csv: no such file or folder; did you mean 'reviews.csv'?" in refusal(tmp_path / "revews.csv")
    assert "data files here: reviews.csv" in refusal(tmp_path / "qqqqqqqqqqqqqqqq")
    assert f"no folder {tmp_path / 'nowhere'}" in refusal(tmp_path / "nowhere" / "a.csv")


@pytest.mark.parametrize(
    "name",
    [
        "../" * 40 + "no such.csv",
        "a\0b.csv",
        "x" * 5000,
        "hf:../../etc/passwd",
        "hf:",
        "hf:a/b/c",
        "hf:a/..",
        "\n",
        "~nobody/x.csv",
    ],
)
def test_hostile_names_get_a_clean_refusal(name):
    assert refusal(name)


def test_ending_must_be_known(write):
    assert "a.xlsx: the kind of a file is told by its ending; found: .xlsx; give one of .csv" in refusal(
        write("a.xlsx", "x")
    )


def test_special_files_are_refused():
    assert "neither a file nor a folder" in refusal(os.devnull)


def test_unreadable_file(write, monkeypatch):
    path = write("a.csv", "text\na\n")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "a.csv: the file cannot be read; found: Permission denied" in refusal(path)


def test_mapping_and_table():
    table = read_table({"text": ("a", "b"), "label": [1, float("nan")]})
    assert table.columns == {"text": ["a", "b"], "label": [1, None]}
    assert read_table(table) is table
    assert "data: the data has no row; found: text" in refusal({"text": []})
    assert "equally many rows" in refusal({"text": ["a"], "label": []})


def test_anything_else_is_refused():
    assert "this is no data that can be read; found: int" in refusal(3)


def test_reading_leaves_the_file_closed(write):
    # An unclosed file is a ResourceWarning, which the test run turns into an error.
    path = write("a.csv", "text,label\n" + "a,b\n" * 1000)
    assert isinstance(read_table(path), Table)
    path.unlink()
    assert not path.exists()
