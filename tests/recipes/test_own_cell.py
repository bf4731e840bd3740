"""A cell of a user's own: out of a file, through training and loading, and all the ways to name it wrongly."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import sigmoid, tanh

import elman
from cli.cli_program import TINY
from elman import UserError, cells
from elman.cells import Cell, Step
from elman.recipes.own_cell import from_file

MINE = """
from dataclasses import dataclass
from torch import sigmoid, tanh
from elman.cells import Cell, Step

@dataclass(frozen=True)
class Leaky(Cell):
    gates = ("z", "n")
    def step(self, x, s, w):
        r = w(s.h)
        z = sigmoid(x.z + r.z)
        return Step(h=(1 - z) * s.h + z * tanh(x.n + r.n))
"""
OPTIONS = MINE.replace("    gates", "    rate: float\n    gates").replace("Leaky", "Rated")
ROWS = {"text": ["a lovely film", "a dull film"] * 10, "label": ["good", "bad"] * 10}
SETTINGS = dict(change.split("=") for change in TINY) | {"model.members": 1}


@dataclass(frozen=True)
class Rated(Cell):
    """h' = (1 - rate z) h + rate z n"""

    rate: float = 0.5
    gates = ("z", "n")

    def step(self, x, s, w):
        r = w(s.h)
        z = self.rate * sigmoid(x.z + r.z)
        return Step(h=(1 - z) * s.h + z * tanh(x.n + r.n))


@dataclass(frozen=True)
class LSTM(Cell):
    """Bears a name that is taken."""

    gates = ("h",)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "model"
    return elman.train("sentiment", ROWS, out=out, settings=SETTINGS, cell=Rated(0.25)).folder


def test_a_file_gives_its_cell(mine: Path) -> None:
    cell = from_file(f"{mine}:Leaky")
    assert cell == from_file(str(mine)) and type(cell) is type(from_file(str(mine)))
    assert repr(cell) == "Leaky()" and hash(pickle.loads(pickle.dumps(cell))) == hash(cell)
    assert elman.check_cell(cell).ok
    assert [path.name for path in mine.parent.iterdir()] == ["mine.py"]  # no bytecode beside it
    mine.write_text(MINE.replace("tanh(", "sigmoid("))
    assert type(from_file(str(mine))) is not type(cell)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (MINE, ":Leak", r"mine.py: the file defines no 'Leak'; did you mean 'Leaky'\?"),
        (MINE, ":tanh", r"tanh is no cell of this file.*derive a class from elman.cells.Cell"),
        (MINE, ":Cell", r"Cell is no cell of this file"),
        (MINE, ":", r"the file defines no ''"),
        (MINE + MINE.replace("Leaky", "Other"), "", r"which cell.* Leaky, Other; name one, as .*:Leaky"),
        ("x = 1\n", "", r"which cell of this file\?; found: cells: none; derive"),
        (MINE + "1 / 0\n", ":Leaky", r"mine.py:13: the cell's file fails; found: ZeroDivisionError"),
        (MINE + "raise SystemExit(3)\n", ":Leaky", r"mine.py:13: .*SystemExit: 3"),
        ("def f(:\n", ":Leaky", r"mine.py:1: the cell's file fails; found: SyntaxError"),
        ("\x00", ":Leaky", r"the cell's file fails; found: "),
        ("import no_such_module\n", ":Leaky", r"mine.py:1: .*No module named 'no_such_module'"),
        (OPTIONS, ":Rated", r"Rated: the cell needs options; .*'rate'; give them defaults in the file"),
        (MINE.replace("Leaky", "GRU"), ":GRU", "Elman has a cell of this name; found: GRU; give yours another"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(mine: Path, text: str, name: str, words: str) -> None:
    mine.write_text(text)
    with pytest.raises(UserError, match=words):
        from_file(f"{mine}{name}")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    for named, words in (("gru", "is named FILE.py:CLASS; found: gru"), (f"{tmp_path}/no.py", "No such file")):
        with pytest.raises(UserError, match=words):
            from_file(named)


def test_a_model_is_trained_stored_without_a_path_and_loaded_with_the_cell(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    own = json.loads(config)["cell"]
    assert own == {
        "name": "Rated",
        "options": "Rated(rate=0.25)",
        "sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    assert __file__ not in config and Path(__file__).name not in config
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = elman.load(folder, cell=Rated(0.25))
    assert set(model.predict(["a lovely day"])) <= {"good", "bad"}
    assert model.network.members[0].recurrent.cell == Rated(0.25)
    assert "rated" not in cells.registered()
    with pytest.raises(UserError, match="no such cell"):
        cells.get("rated")  # known while it was needed, and no longer
    elman.verify(folder, cell=Rated(0.25), compiled=False).raise_if_wrong()


def test_a_model_is_loaded_with_its_own_cell_alone(folder: Path, mine: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"a cell of your own, Rated; name the file.*FILE.py:Rated.*cell=Rated\(rate=0.25\)"
    ):
        elman.load(folder)
    for other in (Rated(0.5), from_file(str(mine))):
        with pytest.raises(UserError, match=r"was trained with the cell Rated\(rate=0.25\); found: "):
            elman.load(folder, cell=other)
    plain = elman.train("sentiment", ROWS, out=tmp_path / "plain", settings=SETTINGS).folder
    assert "cell" not in json.loads((plain / "config.json").read_text())
    with pytest.raises(UserError, match="runs a cell of Elman's own; found: Rated; leave --cell"):
        elman.load(plain, cell=Rated())


def test_a_changed_source_is_warned_of(tmp_path: Path, mine: Path) -> None:
    trained = elman.train("sentiment", ROWS, out=tmp_path / "m", settings=SETTINGS, cell=from_file(str(mine)))
    mine.write_text(MINE + "# the same equations\n")
    with pytest.warns(UserWarning, match=r"the source of Leaky has changed since this model was trained \(sha256"):
        again = elman.load(trained.folder, cell=from_file(str(mine)))
    assert again.probabilities(["a film"]) == trained.model.probabilities(["a film"])


def test_a_run_goes_on_with_its_own_source_alone(tmp_path: Path, mine: Path) -> None:
    given = {"out": tmp_path / "m", "settings": SETTINGS | {"train.epochs": 2}}
    elman.train("sentiment", ROWS, cell=from_file(str(mine)), **given)
    elman.train("sentiment", ROWS, cell=from_file(str(mine)), resume=True, **given)
    mine.write_text(MINE.replace("tanh(", "sigmoid("))
    with pytest.raises(UserError, match="the cell's source"):
        elman.train("sentiment", ROWS, cell=from_file(str(mine)), resume=True, **given)


def test_a_cell_is_named_once_and_by_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two cells are named; found: Rated, and model.cell=lstm"):
        elman.train("sentiment", ROWS, out=tmp_path, settings={"model.cell": "lstm"}, cell=Rated())
    with pytest.raises(UserError, match="Elman has a cell of this name; found: LSTM"):
        elman.train("sentiment", ROWS, out=tmp_path, cell=LSTM())
    with pytest.raises(UserError, match="a cell is wanted, not its class"):
        elman.train("sentiment", ROWS, out=tmp_path, cell=Rated)  # type: ignore[arg-type]
    with cells.using(Rated(0.75)):
        assert cells.get("rated") == Rated(0.75)
    assert not any(tmp_path.iterdir())


def test_one_of_elmans_cells_that_needs_options_is_given_with_them(tmp_path: Path) -> None:
    cell = cells.get("projectedlstm", size=3)
    trained = elman.train("sentiment", ROWS, out=tmp_path / "m", settings=SETTINGS, cell=cell)
    assert json.loads((trained.folder / "config.json").read_text())["cell"]["sha256"] is None
    assert elman.load(trained.folder, cell=cell).probabilities(["a"]) == trained.model.probabilities(["a"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return Step(h=x.q)", "AttributeError: Inputs has no 'q'"),
        ("return Step(c=s.h)", "must return its states ['h'] first"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_step_that_fails_is_told_before_any_work(tmp_path, line, said):
    file = tmp_path / "wrong.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom elman.cells import Cell, Step\n\n\n@dataclass(frozen=True)\n"
        f'class Wrong(Cell):\n    gates = ("h",)\n\n    def step(self, x, s, w):\n        {line}\n'
    )
    rows = {"name": ["ann", "bob"] * 10, "language": ["a", "b"] * 10}
    with pytest.raises(UserError) as error:
        elman.train("names", rows, out=tmp_path / "out", cell=from_file(str(file)))
    assert "a step of Wrong fails" in str(error.value) and said in str(error.value)
    assert "wrong.py:10" in str(error.value) or "states" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["Projection(GRU, size=4)", "WeightDrop(MinGRU)", "Zoneout(MinGRU, p=(0.1, 0.2))"]
)
def test_a_wrapper_that_does_not_fit_is_refused_with_the_settings(tmp_path, text):
    with pytest.raises(UserError, match="do not fit together"):
        elman.train("names", out=tmp_path / "out", settings={"model.cell": text})
