"""Which column is the text, which the label."""

import pytest

from elman.data import Columns, Table, choose_columns
from elman.errors import UserError

ROWS = 40
LONG = [f"the text with the number {number} is quite long" for number in range(ROWS)]
FEW = ["a", "b"] * (ROWS // 2)


def table(**columns):
    return Table(columns, "f.csv")


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (["text", "label"], "text", "label"),
        (["Review", "Sentiment"], "Review", "Sentiment"),
        (["id", "TWEET", "y"], "TWEET", "y"),
        (["comment", "text", "rating", "label"], "text", "label"),
    ],
)
def test_usual_names(names, text, label):
    found = choose_columns(table(**dict.fromkeys(names, FEW)), None, None)
    assert found == Columns(text, label, ("text", "label"))


def test_by_content():
    found = choose_columns(table(nr=list(map(str, range(ROWS))), was=LONG, kind=FEW), None, None)
    assert found == Columns("was", "kind", ("text", "label"))


def test_the_only_other_column_is_the_label():
    numbers = [str(number / 7) for number in range(ROWS)]
    assert choose_columns(table(was=LONG, worth=numbers), None, None).label == "worth"


def test_named_columns_are_not_overruled():
    data = table(text=LONG, other=LONG, label=FEW)
    assert choose_columns(data, "other", None) == Columns("other", "label", ("label",))
    assert choose_columns(data, "other", "text") == Columns("other", "text", ())
    assert choose_columns(data, None, "text") == Columns("other", "text", ("text",))
    assert choose_columns(data, None, "label") == Columns("text", "label", ("text",))


def test_no_label_needed():
    assert choose_columns(table(text=LONG, label=FEW), None, None, need_label=False) == Columns(
        "text", None, ("text",)
    )
    assert choose_columns(table(anything=["a"]), None, None, need_label=False).text == "anything"


@pytest.mark.parametrize(
    ("columns", "text", "label", "said"),
    [
        ({"text": LONG, "label": FEW}, "txt", None, "f.csv: no column 'txt'; found: text, label; did you mean"),
        ({"text": LONG, "label": FEW}, None, "lbel", "did you mean 'label'? (--label)"),
        ({"text": LONG, "label": FEW}, "text", "text", "text and label must be different columns"),
        ({"review": LONG, "comment": LONG, "label": FEW}, None, None, "text is not clear: review, comment"),
        ({"text": LONG, "stars": FEW, "score": FEW}, None, None, "label is not clear: stars, score"),
        ({"was": LONG, "this": LONG, "label": FEW}, None, None, "was and this hold strings of about the same"),
        ({"was": LONG, "p": FEW, "q": FEW}, None, None, "found: columns was, p, q; name it with --label"),
        ({"was": LONG, "p": LONG, "q": LONG}, "was", None, "no other column repeats a few values"),
        ({"p": FEW, "q": list(range(ROWS))}, None, None, "no column holds many different strings"),
        ({"text": LONG}, None, None, "the label is not clear"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_not_clear_is_asked(columns, text, label, said):
    with pytest.raises(UserError) as caught:
        choose_columns(table(**columns), text, label)
    assert said in str(caught.value)
