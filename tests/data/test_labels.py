"""Classes or numbers, by the stated rule."""

import pytest

from elman.data import Labels, Table, imbalance
from elman.errors import UserError


def table(cells):
    return Table({"y": list(cells)}, "f.csv", lines=range(2, 2 + len(list(cells))))


def read(cells, kind=None):
    return Labels.read(table(cells), "y", kind)


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["good", "bad ", "good"], ("bad", "good")),
        ([True, False, True], ("False", "True")),
        (["10", "9", "9"], ("9", "10")),
        ([10, 9.0, "9"], ("9", "10")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["1", "one", "1"], ("1", "one")),
        (list(range(20)), tuple(map(str, range(20)))),
    ],
)
def test_classes(cells, names):
    labels = read(cells)
    assert (labels.kind, labels.names) == ("classes", names)
    assert labels.decode(labels.encode(cells)) == [names[labels.encode([cell])[0]] for cell in cells]


@pytest.mark.parametrize("cells", [list(range(21)), ["0.5", "1", "2"], [1.5, 2.5]])
def test_other_numbers_are_a_regression(cells):
    labels = read(cells)
    assert labels == Labels("numbers")
    assert labels.encode(cells) == [float(cell) for cell in cells]
    assert all(isinstance(number, float) for number in labels.encode(cells))
    assert labels.decode([1, 2.5]) == [1.0, 2.5]


def test_the_kind_can_be_given():
    assert read([1, 2, 3], "numbers").kind == "numbers"
    labels = read(["0.5", "1.5", "0.50"], "classes")
    assert labels.names == ("0.5", "1.5")
    assert labels.encode(["1.50", 0.5]) == [1, 0]


def test_one_class_whether_written_as_1_or_1_point_0():
    assert read(["1", "2"]).encode([1.0, "1.0", 2]) == [0, 0, 1]


def test_encoding_numbers_the_classes_in_the_order_of_their_names():
    assert read(["b", "a", "c"]).encode(["c", "a", "b", " a"]) == [2, 0, 1, 0]


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (["a", "", "b"], None, "f.csv:3: every row needs a label; found: no label; fill in column 'y'"),
        (["a", "b", None], None, "f.csv:4: every row needs a label"),
        ([1, float("nan")], None, "f.csv:3: every row needs a label"),
        (["1", "inf"], None, "f.csv:3: a label must be finite; found: 'inf'"),
        (["a", ["b"]], None, "f.csv:3: a label must be text or a number; found: list"),
        (["a", "a"], None, "f.csv: the labels of column 'y' must differ; found: 'a' in all 2 rows"),
        (["2", "2.0"], None, "f.csv: the labels of column 'y' must differ"),
        ([2.5, 2.5], None, "f.csv: the labels of column 'y' must differ"),
        (["1", "good"], "numbers", "f.csv:3: a label must be a finite number; found: 'good'"),
        ([f"t{n}" for n in range(30)], None, "column 'y' must repeat; found: 30 different labels in 30 rows"),
    ],
    ids=range(10),
)  # fmt: skip
def test_refused(cells, kind, said):
    with pytest.raises(UserError) as caught:
        read(cells, kind)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("value", "found"), [("maybe", "'maybe'"), ("", "no label"), (None, "no label"), ("Yes", "'Yes'")]
)
def test_a_label_unseen_in_training(value, found):
    data = table(["yes", value])
    with pytest.raises(UserError) as caught:
        read(["yes", "no"]).encode(data.column("y"), data.where)
    assert f"f.csv:3: a label must be one of the classes trained on: no, yes; found: {found}" in str(caught.value)


def test_many_known_classes_are_not_all_listed():
    with pytest.raises(UserError, match=r"row 1: .*: 0, 1, .*, 9 and 5 more; found: 'x'"):
        read(range(15)).encode(["x"])


def test_a_number_that_is_none():
    with pytest.raises(UserError, match=r"f\.csv:3: a label must be a finite number; found: 'x'"):
        Labels("numbers").encode(["1", "x"], table("ab").where)


def test_counts_and_imbalance():
    labels = read(["a", "b", "c"])
    counts = labels.counts([0, 0, 0, 0, 0, 0, 2, 2])
    assert counts == {"a": 6, "b": 0, "c": 2}
    assert Labels("numbers").counts([1.0]) == {}
    said = imbalance(labels, {"a": 6, "b": 2, "c": 4})
    assert said == "classes are unbalanced: 'a' has 6 rows, 'b' 2; always answering 'a' is right for 50.0 %"
    assert imbalance(labels, {"a": 5, "b": 2, "c": 4}) is None
    assert imbalance(Labels("numbers"), {}) is None
