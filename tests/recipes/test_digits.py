"""The recipe digits: its default data and parts, pictures of one's own, both arrangements, and what is refused."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elman
from elman import recipes
from elman.cli import main
from elman.errors import UserError
from elman.models import ManyToOne, OneToOne
from elman.recipes.digits import MOST_SEEN, RECIPE
from elman.recipes.digits_baselines import measure_beside
from elman.recipes.digits_parts import SHEETS, handwritten_digits, prepare_pictures
from elman.recipes.settings import changed
from elman.training import Silent

TINY = {
    "model.hidden_size": 16,
    "model.members": 1,
    "train.epochs": 12,
    "train.batch_size": 8,
    "train.learning_rate": 0.02,
    "train.device": "cpu",
    "train.track": "off",
}


def shapes(count: int = 20) -> list[tuple[str, np.ndarray]]:
    """Bars that lie or stand, of many places and lengths, no two alike."""
    random, drawn = np.random.default_rng(0), []
    for number in range(count):
        for label in ("lying", "standing"):
            grid = np.zeros((8, 8), dtype=np.uint8)
            start, place = random.integers(0, 3), random.integers(1, 7)
            grid[place, start : start + 5] = 100 + number
            drawn.append((label, grid if label == "lying" else grid.T))
    return drawn


def columns(drawn: list[tuple[str, np.ndarray]], label: str = "label") -> dict[str, list[Any]]:
    pixels = {f"p{place}": [int(grid.flat[place]) for _, grid in drawn] for place in range(drawn[0][1].size)}
    return {label: [name for name, _ in drawn], **pixels}


def write_csv(path: Path, table: dict[str, list[Any]]) -> Path:
    lines = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    path.write_text("\n".join([",".join(table), *lines]))
    return path


def write_folder(folder: Path, drawn: list[tuple[str, np.ndarray]]) -> Path:
    for number, (label, grid) in enumerate(drawn):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).resize((32, 32), Image.Resampling.NEAREST).save(folder / label / f"{number}.png")
    return folder


def request(out: Path, data: Any = None, **settings: Any) -> recipes.Request:
    return recipes.Request(out, changed(RECIPE.settings, {**TINY, **settings}), Silent(), data)


def trained(out: Path, data: Any, resume: bool = False, **settings: Any) -> recipes.Trained:
    return elman.train("digits", data, out=out, settings={**TINY, **settings}, progress=Silent(), resume=resume)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> recipes.Trained:
    folder = tmp_path_factory.mktemp("own")
    return trained(folder / "run", str(write_csv(folder / "bars.csv", columns(shapes()))))


def test_learns_a_table_of_ones_own_and_the_folder_gives_the_same_model(own: recipes.Trained) -> None:
    test, baselines = own.metrics["test"], own.metrics["baselines"]
    assert list(baselines) == [
        "majority", "k_nearest_neighbours", "support_vectors", "softmax_regression", "one_step",
    ]  # fmt: skip
    assert test["accuracy"] >= baselines["majority"]["accuracy"] + 0.3
    assert test["rows"] == sum(map(sum, test["confusion"])) == 8
    assert json.loads((own.folder / "metrics.json").read_text()) == own.metrics
    loaded, grids = elman.load(own.folder), [grid for _, grid in shapes(5)]
    assert loaded.probabilities(grids) == own.model.probabilities(grids)
    assert loaded.evaluate() == test
    assert loaded.predict([]) == []
    answer = loaded.answers(grids)[0]
    assert answer["prediction"] == "lying"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_the_command_shows_the_confusion(own: recipes.Trained, capsys: Any) -> None:
    assert main(["evaluate", str(own.folder)]) == 0
    shown = capsys.readouterr().out.splitlines()
    labels = own.model.config["labels"]
    assert [line.split()[0] for line in shown[-len(labels) :]] == [label.split()[0] for label in labels]
    assert main(["evaluate", str(own.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**own.metrics["test"], "labels": labels}


def test_a_picture_file_is_answered_as_its_pixels(own: recipes.Trained, tmp_path: Path) -> None:
    drawn = shapes(4)
    write_folder(tmp_path, drawn)
    model = elman.load(own.folder)
    whole = changed(model.settings, {"data.crop": False})
    model.settings = whole
    paths = model.inputs(str(tmp_path / "lying"))
    assert len(paths) == 4
    strongest = [grid / grid.max() * model.white for label, grid in drawn if label == "lying"]
    files = {Path(path).stem: row for path, row in zip(paths, model.probabilities(paths), strict=True)}
    for number, row in enumerate(model.probabilities(strongest)):
        assert files[str(2 * number)] == pytest.approx(row, abs=1e-5)
    assert model.inputs(paths[0]) == [paths[0]]
    with pytest.raises(UserError, match="holds no picture"):
        model.inputs(str(tmp_path))


def test_learns_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bars", shapes())
    run = trained(tmp_path / "run", str(folder), **{"data.crop": False, "train.epochs": 6})
    assert run.metrics["test"]["accuracy"] > run.metrics["baselines"]["majority"]["accuracy"]
    model = elman.load(run.folder)
    assert model.evaluate() == run.metrics["test"]
    other = write_folder(tmp_path / "more", shapes(3))
    assert model.evaluate(str(other))["rows"] == 6
    assert model.shape == (8, 8)


def test_the_default_data_is_cut_between_sheets_and_holds_no_picture_twice() -> None:
    pictures = prepare_pictures(None, None, RECIPE.settings.data)
    assert len(pictures.codes) == 1797
    assert pictures.dropped == 0
    sheets = handwritten_digits().column("group")
    parts = [{sheets[row] for row in part} for part in pictures.parts]
    assert [len(part) for part in parts] == [9, 2, 3]
    assert not parts[0] & parts[1]
    assert max(parts[0]) < min(parts[1])
    assert max(parts[1]) < min(parts[2])
    assert len({grid.tobytes() for grid in pictures.grids}) == 1797


def test_every_sheet_holds_the_same_digits_in_the_same_order() -> None:
    codes = handwritten_digits().column("label")
    sheets = [codes[start:end] for start, end in zip(SHEETS, [*SHEETS[1:], None], strict=True)]
    alike = [difflib.SequenceMatcher(None, sheets[0], sheet, autojunk=False).ratio() for sheet in sheets]
    assert min(alike) > 0.9
    assert all(sheet[:5] in ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5]) for sheet in sheets)


def test_equal_pictures_are_left_out_and_those_of_two_labels_altogether(tmp_path: Path) -> None:
    drawn = shapes()
    other = ("standing", drawn[0][1])
    pictures = prepare_pictures(columns([*drawn, drawn[3], drawn[3], other]), None, RECIPE.settings.data)
    assert pictures.dropped == 4  # two copies, and a pair that says both
    assert len(pictures.codes) == len(drawn) - 1


@pytest.mark.parametrize(
    ("arrangement", "cell", "kind"),
    [("many to one", "lstm", ManyToOne), ("one to one", "rnn", OneToOne), ("one to one", None, OneToOne)],
)
def test_both_arrangements_learn(tmp_path: Path, arrangement: str, cell: str | None, kind: type) -> None:
    settings = {"model.arrangement": arrangement, "model.cell": cell, "model.shift": 0.0}
    halves = [("top" if grid[:4].any() else "bottom", grid) for name, grid in shapes(40) if name == "lying"]
    run = trained(tmp_path / "run", columns(halves), **settings)
    assert isinstance(run.model.network.members[0], kind)
    assert run.metrics["test"]["accuracy"] > 0.8
    plan = dict(RECIPE.plan(request(tmp_path / "plan", columns(shapes()), **settings)))
    assert plan["size"] == "8 x 8"
    assert plan["runs"]
    assert not (tmp_path / "plan").exists()


def test_a_finished_run_resumes_as_itself_and_refuses_other_pictures(tmp_path: Path) -> None:
    data = columns(shapes())
    run = trained(tmp_path / "run", data, **{"train.epochs": 2})
    again = trained(tmp_path / "run", data, resume=True, **{"train.epochs": 2})
    assert again.metrics == run.metrics
    data["p0"][0] = 255
    with pytest.raises(UserError, match="the data differs from the run being resumed"):
        trained(tmp_path / "run", data, resume=True, **{"train.epochs": 2})


def test_a_group_column_is_no_pixel_and_keeps_its_rows_together(tmp_path: Path) -> None:
    data = {**columns(shapes()), "writer": [str(row // 8) for row in range(40)]}
    settings = changed(RECIPE.settings.data, {"group": "writer"})
    pictures = prepare_pictures(data, None, settings)
    writers = [{row // 8 for row in part} for part in pictures.parts]
    assert sum(map(len, writers)) == 5
    assert pictures.grids.shape == (40, 8, 8)


def test_distortions_and_seeds_are_the_runs_own(tmp_path: Path) -> None:
    def weights(name: str, **settings: Any) -> torch.Tensor:
        run = trained(tmp_path / name, columns(shapes(8)), **{"train.epochs": 1, **settings})
        return torch.cat([p.detach().flatten() for p in run.model.network.parameters()])

    first = weights("a")
    assert torch.equal(first, weights("b"))
    assert not torch.equal(first, weights("c", **{"train.seed": 1}))
    assert not torch.equal(first, weights("d", **{"model.shift": 0.0}))


def test_baselines_by_hand() -> None:
    settings = changed(RECIPE.settings, TINY)
    pictures = prepare_pictures(columns(shapes()), None, settings.data)
    found = measure_beside(pictures, settings)
    truth = [pictures.codes[row] for row in pictures.parts.test]
    train = [pictures.codes[row] for row in pictures.parts.train]
    most = max(set(train), key=train.count)
    assert found["majority"]["accuracy"] == np.mean([code == most for code in truth])
    grids, names = pictures.part(pictures.parts.train)
    shown = [pictures.grids[row] for row in pictures.parts.test]
    nearest = [np.argsort([((grid - one) ** 2).sum() for grid in grids])[:3] for one in shown]
    voted = [round(np.mean([names[row] for row in rows])) for rows in nearest]
    assert found["k_nearest_neighbours"]["accuracy"] == np.mean(
        [v == t for v, t in zip(voted, truth, strict=True)]
    )


def test_few_pictures_are_seen_more_often_and_many_less(tmp_path: Path) -> None:
    said = []
    train = RECIPE.settings.train
    assert RECIPE._fitting(train, 40, said.append).epochs == 500
    assert RECIPE._fitting(train, 1157, said.append) == train
    assert RECIPE._fitting(train, 50_000, said.append).epochs == MOST_SEEN // 50_000
    assert [message.split(":")[0] for message in said] == ["few rows", "many pictures"]
    chosen = train.model_copy(update={"epochs": 7})
    assert RECIPE._fitting(chosen, 50_000, said.append) == chosen


def broken(change: Any) -> dict[str, list[Any]]:
    data = columns(shapes(3))
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(p5=["x"] * 6), r"row 1: pixel 'p5' must be a number from 0; found: 'x'"),
        (
            lambda d: d["p5"].__setitem__(3, float("nan")),
            r"row 4: pixel 'p5' must be a number from 0; found: nothing",
        ),
        (lambda d: d["p5"].__setitem__(3, -1), r"row 4: pixel 'p5' must be a number from 0; found: -1"),
        (lambda d: d["p5"].__setitem__(3, float("inf")), r"row 4: pixel 'p5'"),
        (lambda d: d.pop("p5"), r"found: 63 columns, not 7 x 7; leave out"),
        (lambda d: d.update(verdict=d.pop("label")), r"which column holds the label is not clear.*--label"),
        (lambda d: d.update(label=["lying"] * 6), r"labels of column 'label' must differ"),
        (lambda d: d.update(label=[None] * 6), r"row 1: every row needs a label"),
        (
            lambda d: d.update({f"p{n}": [0] * 6 for n in range(64)}),
            r"must show something; found: no pixel above 0",
        ),
    ],
)
def test_a_table_that_is_no_pictures_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", broken(change))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model.cell": None}, "model.cell: reading row by row needs a cell; found: none; name one"),
        ({"model.arrangement": "many to many"}, "model.arrangement: .*'many to one' or 'one to one'"),
        ({"data.height": 5}, "found: 64 columns, not 5 x 12"),
        ({"data.test": 0.8, "data.validation": 0.8}, "the training part gets no picture"),
        ({"data.group": "writer"}, "no column 'writer'"),
        ({"model.cell": "lstn"}, "did you mean 'lstm'"),
    ],
)
def test_wrong_settings_are_said(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", columns(shapes()), **settings)


def test_predict_and_evaluate_refuse_what_is_no_picture_of_theirs(own: recipes.Trained, tmp_path: Path) -> None:
    model = elman.load(own.folder)
    for pictures, words in (
        ("a.png", "a list of pictures is wanted"),
        ([np.zeros((8, 9))], r"picture 0: this model reads pictures of 8 x 8; found: shape \(8, 9\)"),
        ([np.full((8, 8), np.nan)], "picture 0: pixels must be finite"),
        ([np.full((8, 8), -1)], "picture 0: pixels must be finite numbers from 0"),
        ([object()], "picture 0: a picture must be a path or numbers"),
        (["missing.png"], r"missing\.png: no such picture"),
    ):
        with pytest.raises(UserError, match=words):
            model.predict(pictures)
    with pytest.raises(UserError, match="no column of texts"):
        model.evaluate(columns(shapes(2)), text="p0")
    with pytest.raises(UserError, match="must be one of the classes trained on: lying, standing"):
        model.evaluate(columns([("crooked", grid) for _, grid in shapes(2)]))
    with pytest.raises(UserError, match="pictures of 8 x 8 need a column a pixel"):
        model.evaluate(columns([("lying", np.ones((9, 9), dtype=np.uint8))]))
    with pytest.raises(UserError, match="no column of texts"):
        elman.train("digits", columns(shapes(2)), text="p0", out=tmp_path / "run")


def test_the_default_data_trains_and_the_changed_file_is_noticed(tmp_path: Path) -> None:
    settings = {"train.epochs": 1, "train.batch_size": 64}
    run = trained(tmp_path / "run", None, **settings)
    assert run.metrics["test"]["rows"] == 382
    assert elman.load(run.folder).evaluate() == run.metrics["test"]
    file = write_csv(tmp_path / "bars.csv", columns(shapes()))
    run = trained(tmp_path / "own", str(file), **settings)
    write_csv(file, columns(shapes(21)))
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(run.folder).evaluate()
