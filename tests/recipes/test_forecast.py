"""The forecasting recipe: what it learns from, what it says, that it never looks ahead, and live series."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman import recipes
from elman.cli import main
from elman.data.series import Series
from elman.data.times import Clock
from elman.errors import UserError
from elman.recipes import forecast_baselines
from elman.recipes.forecast_baselines import Task, _Order, arima, measured_baselines, naive, seasonal_naive
from elman.recipes.forecast_measures import measures, origins, seasonal_error
from elman.recipes.forecast_network import QUANTILES, Inputs, pinball, usual_lags
from elman.recipes.forecast_windows import Windows
from elman.recipes.job import Asked
from elman.recipes.settings import changed, described, from_assignments
from elman.training import Interrupted, Silent

SEASON = 12
TINY = {
    "data.season": SEASON,
    "data.origins": 20,
    "model.hidden_size": 6,
    "model.members": 2,
    "model.context": 24,
    "model.dropout": 0.0,
    "train.epochs": 3,
    "train.batch_size": 8,
    "train.learning_rate": 0.01,
    "train.weight_decay": 0.01,
    "train.device": "cpu",
    "train.track": "off",
}


def wave(size: int = 400, seed: int = 0) -> np.ndarray:
    """A noisy season of twelve steps on a slow drift."""
    random = np.random.default_rng(seed)
    steps = np.arange(size)
    return 20 + 3 * np.sin(2 * np.pi * steps / SEASON) + 0.2 * random.standard_normal(size) + 0.01 * steps


def times(size: int) -> list[str]:
    return [str(time) for time in np.datetime64("2020-01-01T00") + np.arange(size) * np.timedelta64(2, "h")]


def table(values: np.ndarray) -> dict[str, list[Any]]:
    return {"time": times(len(values)), "level": values.tolist()}


def trained(out: Path, data: Any, **options: Any) -> recipes.Trained:
    settings = {**TINY, **options.pop("settings", {})}
    progress = options.pop("progress", Silent())
    return elman.train("forecast", data, out=out, settings=settings, progress=progress, **options)


@pytest.fixture(scope="module", autouse=True)
def one_arima() -> Any:
    """One order in place of many: seconds, and as good here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast_baselines, "_orders", lambda season, size: [_Order((1, 1, 1), drift=True)])
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> recipes.Trained:
    place = tmp_path_factory.mktemp("forecast")
    path = place / "level.csv"
    rows = table(wave())
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(rows), *zip(*rows.values(), strict=True)])
    return trained(place / "run", str(path))


@pytest.fixture(scope="module")
def model(run: recipes.Trained) -> Any:
    return elman.load(run.folder)


def test_it_learns_a_season_and_is_measured_beside_baselines(run: recipes.Trained) -> None:
    test, baselines = run.metrics["test"], run.metrics["baselines"]
    assert set(baselines) == {"naive", "seasonal_naive", "arima"}
    assert test["mase"] < 0.5 * baselines["naive"]["mase"]
    assert test["pinball"] < baselines["seasonal_naive"]["pinball"]
    assert 0.5 < test["coverage_80"] <= 1
    assert all("left_out" not in measured for measured in baselines.values())
    assert json.loads((run.folder / "metrics.json").read_text()) == run.metrics
    assert (run.folder / "forecast.png").stat().st_size > 10_000


def test_the_folder_gives_the_same_model_and_the_same_measures(run: recipes.Trained, model: Any) -> None:
    data = table(wave(200, seed=1))
    assert model.predict([str(run.folder.parent / "level.csv")]) == run.model.predict(
        [str(run.folder.parent / "level.csv")]
    )
    assert np.array_equal(model.forecast(data).quantiles, run.model.forecast(data).quantiles)
    assert model.evaluate() == run.metrics["test"]
    assert model.evaluate(data)["rows"] == 200


def test_quantiles_never_cross_and_times_go_on(model: Any) -> None:
    found = model.forecast(table(wave(100)))
    assert found.quantiles.shape == (SEASON, len(QUANTILES))
    assert (np.diff(found.quantiles, axis=1) >= 0).all()
    assert found.times[0] == "2020-01-09T08:00:00" and found.times[-1] == "2020-01-10T06:00:00"
    rows = found.rows()
    assert list(rows[0]) == ["time", "forecast", "q10", "q20", "q30", "q40", "q60", "q70", "q80", "q90"]
    assert rows[3]["forecast"] == round(float(found.median[3]), found.digits)
    assert next(csv.DictReader(io.StringIO(found.csv())))["q90"] == str(rows[0]["q90"])


def test_live_values_give_what_one_run_over_all_of_them_gives(model: Any) -> None:
    values = wave(150, seed=2)
    whole = model.forecast(table(values))
    live = elman.load(model.folder)
    said = [live.update(value, time) for value, time in zip(values.tolist(), times(150), strict=True)]
    assert [one is None for one in said] == [count < model.needed for count in range(1, 151)]
    assert said[-1].times == whole.times
    np.testing.assert_allclose(said[-1].quantiles, whole.quantiles, rtol=1e-6)
    begun = live.begin(table(values[:100]))
    np.testing.assert_allclose(begun.quantiles, said[99].quantiles, rtol=1e-6)
    for value in values[100:]:
        last = live.update(float(value))
    np.testing.assert_allclose(last.quantiles, whole.quantiles, rtol=1e-6)
    # What a live series keeps does not grow with it.
    assert len(live._live._past) == model.reading.first + 1


def test_the_measured_forecasts_are_the_live_ones(model: Any) -> None:
    values = wave(120, seed=3)
    series = model.series(table(values))
    places = [60, 75, 110]
    run_once = model.quantiles(series, places, 0)
    for place, said in zip(places, run_once, strict=True):
        found = model.forecast(table(values[: place + 1])).quantiles
        np.testing.assert_allclose(found, said, rtol=1e-6)


def test_nothing_after_an_origin_changes_its_forecast(model: Any) -> None:
    values = wave(120)
    other = values.copy()
    other[80:] = 1e6
    before, after = (model.quantiles(model.series(table(v)), [60, 79], 0) for v in (values, other))
    assert np.array_equal(before, after)


def test_a_series_in_other_units_is_forecast_in_them(model: Any) -> None:
    values = wave(120)
    plain, scaled = model.forecast(table(values)), model.forecast(table(50 * values - 700))
    np.testing.assert_allclose(scaled.quantiles, 50 * plain.quantiles - 700, rtol=1e-4)


def test_training_never_sees_the_parts_behind_it(tmp_path: Path) -> None:
    values = wave(300)
    other = values.copy()
    other[210:] = np.random.default_rng(5).standard_normal(90)  # 70 % of 300: all that is validation and test
    settings = {"train.epochs": 1, "model.members": 1}
    weights = [
        trained(tmp_path / str(number), table(v), settings=settings).model.network.state_dict()
        for number, v in enumerate((values, other))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_windows_lie_before_the_border_and_hold_the_series() -> None:
    values = np.arange(200.0) ** 1.5
    series = Series(values, np.ones(200, dtype=bool), Clock("row", 1, "row"), 0)
    settings = changed(recipes.get("forecast").settings, {**TINY, "data.horizon": 5, "model.mirror": False})
    inputs = Inputs((1, 2, 3), 2, 5, 1e-9, (), series.clock)
    scales = inputs.scales(values)
    seen = set()
    for batch in Windows(series, inputs, scales, 140, settings).epoch(0):
        for begin, x, said in zip(batch.rows.tolist(), batch.inputs, batch.targets, strict=True):
            ends = begin + batch.points.numpy()
            assert begin >= 3 and ends[-1] + 5 < 140
            seen.add(int(ends[-1] + 5))
            expected = (values[ends[:, None] + np.arange(1, 6)] - values[ends, None]) / scales[ends, None]
            np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                x[7, 1], (values[begin + 5] - values[begin + 7]) / scales[begin + 7], rtol=1e-4
            )
    assert max(seen) == 139  # the last value of the part is learnt from


def test_an_epoch_goes_on_where_it_was_left() -> None:
    series = Series(wave(200), np.ones(200, dtype=bool), Clock("row", 1, "row"), 0)
    settings = changed(recipes.get("forecast").settings, {**TINY, "data.horizon": 5})
    inputs = Inputs((1, 2), 1, 5, 1e-9, (), series.clock)
    windows = Windows(series, inputs, inputs.scales(series.values), 140, settings)
    whole, rest = list(windows.epoch(1)), list(windows.epoch(1, start=20))
    assert len(whole) == len(windows) and len(rest) == len(windows) - 20
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(whole[20:], rest, strict=True))
    assert not torch.equal(next(windows.epoch(0)).inputs, whole[0].inputs)


def test_the_parts_follow_one_another_in_time() -> None:
    assert origins(10, 20, 4, 1, 100) == [9, 10, 11, 12, 13, 14, 15]
    assert origins(10, 20, 10, 1, 100) == [9]
    places = origins(100, 1100, 48, 48, 60)
    strides = set(np.diff(places))
    assert places[0] == 99 and places[-1] + 48 < 1100 and len(strides) == 1 and strides.pop() % 2 == 1
    assert {place % 48 for place in places} == set(range(48))


def test_measures_by_hand() -> None:
    truth = np.array([[1.0, 2.0], [3.0, 9.0]])
    known = np.array([[True, True], [True, False]])
    quantiles = np.tile(np.linspace(-1, 1, 9), (2, 2, 1)) + 1  # median 1, from 0 to 2
    found = measures(truth, known, quantiles, scale=2.0)
    assert found["mae"] == pytest.approx(1.0) and found["mase"] == pytest.approx(0.5)
    assert found["coverage_80"] == pytest.approx(2 / 3) and found["forecasts"] == 2
    error = torch.tensor([0.0, 1.0, 2.0]) + 1
    loss = pinball(torch.linspace(-1, 1, 9).expand(3, 9) + 1, error)
    assert found["pinball"] == pytest.approx(2 * float(loss.mean()) / 2.0)
    by_level = [max(q * (2 - v), (q - 1) * (2 - v)) for q, v in zip(QUANTILES, np.linspace(0, 2, 9), strict=True)]
    assert loss[1].tolist() == pytest.approx(by_level)


def test_the_unit_of_mase_is_the_seasonal_error_of_the_training_part() -> None:
    values = np.array([0.0, 0, 1, 3, 2, 6, 100, -100])
    series = Series(values, np.ones(8, dtype=bool), Clock("row", 1, "row"), 0)
    assert seasonal_error(series, 2, 6, "data") == pytest.approx((1 + 3 + 1 + 3) / 4)
    still = Series(np.ones(8), np.ones(8, dtype=bool), Clock("row", 1, "row"), 0)
    with pytest.raises(UserError, match="stands still or repeats itself"):
        seasonal_error(still, 2, 8, "data")


def test_baselines_by_hand() -> None:
    series = Series(np.arange(40.0) % 4, np.ones(40, dtype=bool), Clock("row", 1, "row"), 0)
    task = Task(series, train=24, validation=30, origins=[29, 32], horizon=6, season=4)
    assert naive(task)[:, :, 4].tolist() == [[1.0] * 6, [0.0] * 6]
    assert seasonal_naive(task)[0, :, 4].tolist() == [2, 3, 0, 1, 2, 3]
    assert (np.ptp(seasonal_naive(task), axis=-1) == 0).all()  # it was never wrong
    assert (np.diff(naive(task), axis=-1) >= 0).all()


def test_arima_forecasts_an_autoregression_from_each_origin(monkeypatch) -> None:
    monkeypatch.setattr(forecast_baselines, "_orders", lambda season, size: [_Order((1, 1, 1)), _Order((1, 0, 0))])
    random, values = np.random.default_rng(0), [0.0]
    for _ in range(599):
        values.append(0.9 * values[-1] + random.standard_normal())
    series = Series(np.asarray(values), np.ones(600, dtype=bool), Clock("row", 1, "row"), 0)
    task = Task(series, train=400, validation=500, origins=list(range(499, 590, 7)), horizon=5, season=1)
    found = arima(task)
    wanted = np.asarray([[values[o] * 0.9**j for j in range(1, 6)] for o in task.origins])
    assert np.abs(found[..., 4] - wanted).mean() < 0.25
    deviation = (1 + 0.9**2) ** 0.5  # of the second step
    assert (found[:, 1, 8] - found[:, 1, 4]).mean() == pytest.approx(1.2816 * deviation, rel=0.15)


def test_what_arima_is_told_later_is_as_if_told_at_once() -> None:
    statsmodels = pytest.importorskip("statsmodels.tsa.arima.model")
    steps = np.arange(300)
    values = np.cumsum(np.random.default_rng(1).standard_normal(300) + 0.5) + 5 * np.sin(2 * np.pi * steps / 52)
    order = _Order((1, 1, 1), waves=2, drift=True)
    fitted = statsmodels.ARIMA(values[:200], exog=order.regressors(52, 0, 200), order=order.order)
    fitted = fitted.fit(method_kwargs={"maxiter": 500})
    told = fitted.extend(values[200:260], exog=order.regressors(52, 200, 260))
    at_once = fitted.apply(values[:260], exog=order.regressors(52, 0, 260))
    future = order.regressors(52, 260, 265)
    np.testing.assert_allclose(told.forecast(5, exog=future), at_once.forecast(5, exog=future), rtol=1e-6)


def test_without_statsmodels_arima_is_left_out_and_said(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(forecast_baselines.importlib, "import_module", missing)
    series = Series(wave(100), np.ones(100, dtype=bool), Clock("row", 1, "row"), 0)
    found, forecasts = measured_baselines(Task(series, 60, 80, [79, 85], 5, 12), 1.0)
    assert "pip install" in found["arima"]["left_out"] and set(forecasts) == {"naive", "seasonal_naive"}


def test_lags_reach_back_a_season() -> None:
    assert usual_lags(12, 48) == tuple(range(1, 13))
    long = usual_lags(336, 48)
    assert long[0] == 1 and long[-1] == 336 and len(long) == 48


def test_what_was_filled_in_is_neither_learnt_from_nor_measured(tmp_path: Path) -> None:
    rows = table(wave())
    rows["level"][350:360] = [None] * 10  # in the test part
    rows["level"][50] = None
    with pytest.raises(UserError, match=r"every step must have a value.*data\.gaps=interpolate"):
        trained(tmp_path / "refused", rows)
    run = trained(tmp_path / "run", rows, settings={"data.gaps": "interpolate", "train.epochs": 1})
    prepared = recipes.get("forecast").read(Asked(rows, None, "level", run.model.settings, lambda message: None))
    assert int((~prepared.series.known).sum()) == 11


def test_many_to_one_learns_from_the_last_step_alone(tmp_path: Path) -> None:
    settings = {"model.arrangement": "many to one", "train.epochs": 1}
    run = trained(tmp_path / "run", table(wave()), settings=settings)
    assert run.model.needed == SEASON + 24
    assert np.isfinite(run.metrics["test"]["mase"])


def test_any_cell_and_a_calendar(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", table(wave(600)), settings={"model.cell": "lstm", "train.epochs": 1})
    assert run.model.reading.cycles == ("day", "week")
    loaded = elman.load(run.folder)
    with pytest.raises(UserError, match="the first value needs its time"):
        loaded.update(1.0)
    with pytest.raises(UserError, match=r"no column 'time'|trained on steps of 2 hours"):
        loaded.forecast(wave(100).tolist())


def test_rows_without_times_are_a_series_too(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", {"level": wave().tolist()}, settings={"train.epochs": 1})
    assert run.model.reading.cycles == ()
    found = run.model.forecast(wave(100))
    assert found.times[:2] == ["100", "101"]
    assert np.array_equal(found.quantiles, run.model.forecast({"level": wave(100).tolist()}).quantiles)


class StopAt(Silent):
    """Asks the run to stop after a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, line: Any) -> None:
        if line["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_run_goes_on_to_the_same_end(run: recipes.Trained, tmp_path: Path) -> None:
    data = str(run.folder.parent / "level.csv")
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", data, progress=StopAt(31))
    again = trained(tmp_path / "run", data, resume=True)
    assert again.metrics["test"] == run.metrics["test"]
    state = run.model.network.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in again.model.network.state_dict().items())
    with pytest.raises(UserError, match="differs from the run being resumed"):
        trained(tmp_path / "run", data, resume=True, settings={"data.season": 6})


def test_every_choice_can_be_made_on_the_command_line() -> None:
    recipe = recipes.get("forecast")
    for name, value, _ in described(recipe.settings):
        changed(recipe.settings, from_assignments([f"{name}={value}"]))
    for assignment in (
        "model.calendar=off",
        "data.time=rows",
        "model.arrangement=many to one",
        "data.gaps=refuse",
    ):
        changed(recipe.settings, from_assignments([assignment]))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (table(wave(20)), {}, "two seasons or more|windows of"),
        (table(wave(60)), {"settings": {"data.horizon": 20}}, "windows of|must hold a forecast"),
        (table(np.full(400, 7.0)), {}, "stands still"),
        (
            table(wave()),
            {"text": "level"},
            "--text: there is no column of texts to name here; found: level; .*--label",
        ),
        (table(wave()), {"label": "levle"}, "no column 'levle'.*did you mean 'level'"),
        (table(wave()), {"settings": {"data.time": "tme"}}, "no column 'tme'"),
        ({**table(wave()), "other": [1] * 400}, {}, "all hold numbers.*--label"),
        (table(wave()), {"settings": {"data.test": 0.6, "data.validation": 0.4}}, "training part gets nothing"),
        (table(wave()), {"settings": {"train.watch": "accuracy"}}, "no metric 'accuracy'"),
    ],
)
def test_what_cannot_be_forecast_is_said_before_training(tmp_path: Path, data, options, words) -> None:
    with pytest.raises(UserError, match=words):
        trained(tmp_path / "run", data, **options)


def test_what_a_model_cannot_forecast_is_said(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"must have {model.needed} values or more.*found: 15"):
        model.forecast(table(wave(15)))
    daily = {"time": [f"2020-01-{day:02d}" for day in range(1, 31)], "level": list(range(30))}
    with pytest.raises(UserError, match="trained on steps of 2 hours; found: steps of 1 day"):
        model.forecast(daily)
    with pytest.raises(UserError, match="found: nan"):
        model.update(float("nan"))
    live = elman.load(model.folder)
    live.update(1.0, "2020-01-01T00:00")
    with pytest.raises(UserError, match=r"one step after the other.*2020-01-01T02:00:00 is next"):
        live.update(1.0, "2020-01-01T04:00")
    with pytest.raises(UserError, match="this is no time"):
        live.update(1.0, "soon")
    with pytest.raises(UserError, match="no such file"):
        model.predict([str(tmp_path / "none.csv")])


def test_evaluation_notices_that_the_file_has_changed(run: recipes.Trained, tmp_path: Path) -> None:
    path = tmp_path / "level.csv"
    path.write_text((run.folder.parent / "level.csv").read_text())
    other = trained(tmp_path / "run", str(path), settings={"train.epochs": 1})
    path.write_text(path.read_text() + "2020-02-03T08,22.0\n")
    with pytest.raises(UserError, match="no longer what this model was trained beside"):
        elman.load(other.folder).evaluate()
    in_memory = trained(tmp_path / "memory", table(wave()), settings={"train.epochs": 1})
    with pytest.raises(UserError, match="in memory, which is not kept"):
        elman.load(in_memory.folder).evaluate()


def test_the_command_predicts_a_table_and_evaluates(run: recipes.Trained, capsys) -> None:
    data = str(run.folder.parent / "level.csv")
    assert main(["predict", str(run.folder), "--data", data]) == 0
    printed = capsys.readouterr().out
    assert printed == run.model.forecast(data).csv()
    assert main(["predict", str(run.folder), "--data", data, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["input"] == data and told["prediction"] == run.model.forecast(data).rows()
    assert main(["evaluate", str(run.folder)]) == 0
    shown = capsys.readouterr().out
    assert "coverage_80" in shown and "seasonal_naive" in shown and "best mase: " in shown
    assert main(["evaluate", str(run.folder), "--data", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 400


def test_the_plan_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    recipe = recipes.get("forecast")
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    request = recipes.Request(tmp_path / "run", changed(recipe.settings, TINY), Listening(), table(wave()))
    plan = dict(recipe.plan(request))
    assert plan["columns"] == "time 'time', value 'level'"
    assert plan["parts"].startswith("train 280 from 2020-01-01T00:00:00, validation 40 from ")
    assert plan["data.horizon"] == "12" and "layer 0" in plan["runs"]
    assert "columns guessed: --set data.time=time and --label 'level'" in said
    assert not (tmp_path / "run").exists()


def test_the_recipes_own_data_is_what_its_page_says() -> None:
    pytest.importorskip("bokeh_sampledata")
    recipe, said = recipes.get("forecast"), []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    plan = dict(recipe.plan(recipes.Request(Path("nowhere"), recipe.settings, Listening())))
    assert plan["data"] == "19249 values of sea surface temperatures"
    assert (plan["data.season"], plan["data.horizon"]) == ("48", "48")
    assert any("24 of 19249 steps have no value" in message for message in said)


def test_own_data_that_is_not_installed_is_one_message(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata.sea_surface_temperature", None)
    with pytest.raises(UserError, match=r"needs bokeh_sampledata.*pip install 'elman\[forecast\]'"):
        trained(tmp_path / "run", None)
