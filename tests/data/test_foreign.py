"""pandas frames, Parquet files and hub names; the hub is a stand-in, nothing here uses the network."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from elman.data import read_table
from elman.errors import UserError


def refusal(source):
    with pytest.raises(UserError) as caught:
        read_table(source)
    return str(caught.value)


def test_frame_with_every_kind_of_missing():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"text": ["a", None, "c"], "stars": [1.0, np.nan, 3.0], 7: pandas.array([1, pandas.NA, 3], dtype="Int64")},
        index=[5, 6, 7],
    )
    table = read_table(frame)
    assert table.columns == {"text": ["a", None, "c"], "stars": [1.0, None, 3.0], "7": [1, None, 3]}
    assert {type(cell) for cells in table.columns.values() for cell in cells} == {str, float, int, type(None)}
    assert table.where(2) == "DataFrame, row 3"


def test_broken_frames():
    pandas = pytest.importorskip("pandas")
    assert "every column needs its own name; found: twice: a" in refusal(
        pandas.DataFrame([[1, 2]], columns=["a", "a"])
    )
    assert "DataFrame: the DataFrame has no row; found: text" in refusal(pandas.DataFrame({"text": []}))


def test_parquet(tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": ["a", None], "label": [1, 0], "x": [0.5, float("nan")]}), path)
    assert read_table(path).columns == {"text": ["a", None], "label": [1, 0], "x": [0.5, None]}
    parquet.write_table(arrow.table({"text": arrow.array([], arrow.string())}), path)
    assert "a.parquet: the file has no row; found: text" in refusal(path)
    path.write_bytes(b"PAR1 and nothing more")
    assert "a.parquet: this is no Parquet file that can be read" in refusal(path)


def test_parquet_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    assert "reading Parquet files needs pyarrow; pip install pyarrow" in refusal(path)


class Hub(ModuleType):
    """Stands for the package `datasets`."""

    def __init__(self, answer):
        super().__init__("datasets")
        self.__spec__ = ModuleSpec("datasets", None)
        self.answer, self.asked = answer, []

    def load_dataset(self, name, split):
        self.asked.append((name, split))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Rows(dict):
    column_names = property(list)
    features: ClassVar = {"text": SimpleNamespace(), "label": SimpleNamespace(names=["neg", "pos"])}

    def __len__(self):
        return len(self["text"])


@pytest.fixture
def hub(monkeypatch):
    def install(answer):
        hub = Hub(answer)
        monkeypatch.setitem(sys.modules, "datasets", hub)
        return hub

    return install


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("hf:owner/name", ("owner/name", "train")),
        ("hf:owner/name:test", ("owner/name", "test")),
        ("hf:imdb:train[:10%]", ("imdb", "train[:10%]")),
        ("owner/some-name", ("owner/some-name", "train")),
    ],
)
def test_hub_names(hub, name, asked):
    stand_in = hub(Rows(text=["a", "b", "c"], label=[1, 0, -1]))
    assert read_table(name).columns == {"text": ["a", "b", "c"], "label": ["pos", "neg", None]}
    assert stand_in.asked == [asked]


@pytest.mark.parametrize(
    "error",
    [ConnectionError("offline mode is enabled"), FileNotFoundError("no such"), ValueError("Unknown split")],
)
def test_the_hub_does_not_answer(hub, error):
    hub(error)
    said = refusal("hf:owner/name:dev")
    assert (
        "hf:owner/name:dev: no file here has this name, and the hub gave no data set 'owner/name', split 'dev'"
        in said
    )
    assert str(error) in said


def test_an_empty_hub_data_set(hub):
    hub(Rows(text=[], label=[]))
    assert "the data set has no row" in refusal("hf:owner/name")


def test_hub_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "reading from the Hugging Face hub needs datasets; pip install datasets" in refusal("hf:owner/name")


def test_a_path_is_never_asked_of_the_hub(hub, tmp_path, monkeypatch):
    stand_in = hub(Rows(text=["a"], label=[1]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name" / "pos").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "pos" / "1.txt").write_text("here")
    assert read_table("owner/name").column("text") == ["here"]
    assert "no such file" in refusal("owner/nme.csv")
    assert stand_in.asked == []
