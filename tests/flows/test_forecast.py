"""A forecaster from a table to its page, its bundle and its figures."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from todm.bench.steps import StepBenchConfig
from todm.bench.steps import run as bench
from todm.core.artifact import load_artifact
from todm.core.errors import ArtifactError, ConfigError, DataError, GateError, MissingExtraError
from todm.core.forecast_config import ForecastConfig, ForecastTraining, SeriesConfig
from todm.core.forecaster_spec import GRUSpec, TPGNSpec
from todm.core.model_spec import read_model_spec
from todm.core.profile import load_profile
from todm.core.target import float_targets
from todm.evaluate.forecast import ForecastEvalConfig
from todm.evaluate.library_forecasts import library_forecast, library_models
from todm.export import forecast as export_module
from todm.flows.forecast import PAGE, PREDICTIONS, evaluate_to, predict_to
from todm.metrics.forecast import seasonal_naive
from todm.models.forecaster_store import load_forecaster
from todm.recipes.forecast import FORECAST_RECIPES, PAPER_HORIZONS, forecast_recipe
from todm.train.forecast_run import run

pd = pytest.importorskip("pandas")

ROWS = 600
NO_LIBRARY = ForecastEvalConfig(library_windows=0)


def write_table(path: Path, rows: int = ROWS, first: str = "2021-01-01", names="ab") -> Path:
    draw = np.random.default_rng(0)
    times = pd.date_range(first, periods=rows, freq="h")
    wave = 20.0 + 5.0 * np.sin(np.arange(rows) * 2 * np.pi / 6)
    columns = {n: wave * (i + 1) + draw.standard_normal(rows) for i, n in enumerate(names)}
    pd.DataFrame({"date": times, **columns}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forecast")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """A trained forecaster of two variates; the horizon is no multiple of the period."""
    config = ForecastConfig(
        recipe="test",
        series=SeriesConfig(targets=("*",)),
        window_steps=24,
        horizon_steps=10,
        net=TPGNSpec(period_steps=6, hidden_dim=3),
        train=ForecastTraining(epochs=12, lr=0.02, threads=1, accelerator="cpu"),
    )
    run(config, write_table(folder / "table.csv"), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def bundle(model: Path, folder: Path) -> Path:
    profile = load_profile("raspberry_pi_4")
    targets = float_targets(profile, "both")
    export_module.run(model, targets, folder / "bundle", profile=profile)
    return folder / "bundle"


def read_rows(path: Path) -> list[dict[str, str]]:
    with (path / PREDICTIONS).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_predictions_follow_the_last_row(model: Path, tmp_path: Path) -> None:
    artifact = predict_to(model, None, tmp_path / "next", back=False)
    rows = read_rows(tmp_path / "next")
    assert len(rows) == 10 * 2
    assert artifact.body["covered"] is None
    last = pd.Timestamp("2021-01-01") + pd.Timedelta(ROWS - 1, "h")
    for step in range(10):
        for variate, name in enumerate("ab"):
            row = rows[2 * step + variate]
            time = last + pd.Timedelta(step + 1, "h")
            assert (row["variate"], pd.Timestamp(row["time"])) == (name, time)
            assert float(row["low"]) < float(row["forecast"]) < float(row["high"])
            wave = 20.0 + 5.0 * np.sin((ROWS + step) * 2 * np.pi / 6)
            assert float(row["forecast"]) == pytest.approx(wave * (variate + 1), abs=6.0)
            assert row["truth"] == ""


def test_rolling_predictions_stand_beside_what_came(model: Path, tmp_path: Path) -> None:
    artifact = predict_to(model, None, tmp_path / "back", back=True)
    rows = read_rows(tmp_path / "back")
    table = pd.read_csv(model.parent / "table.csv").set_index("date")
    times = sorted({row["time"] for row in rows})
    assert times[0] == str(table.index[480])  # the test part is the last fifth
    assert len(times) == 10 * artifact.body["forecasts"]
    held = []
    for row in rows:
        assert float(row["truth"]) == pytest.approx(table.loc[row["time"], row["variate"]])
        held.append(float(row["low"]) <= float(row["truth"]) <= float(row["high"]))
    assert artifact.body["covered"] == pytest.approx(np.mean(held))


def test_a_page_draws_every_variate_without_scripts(model: Path, tmp_path: Path) -> None:
    evaluate_to(model, None, NO_LIBRARY, tmp_path / "eval")
    page = (tmp_path / "eval" / PAGE).read_text("utf-8")
    assert page.count('class="band"') == 2 * 6
    assert "<script" not in page
    assert "forecaster.mse" in page
    assert not re.search(r"NaN|nan,|inf", page)


def test_evaluation_counts_every_test_window(model: Path) -> None:
    report = evaluate_to(model, None, NO_LIBRARY, None)
    found = {m.name: m for m in report.measurements}
    assert found["forecaster.mse"].n == 120 - 10 + 1
    assert found["forecaster.mse"].value < 0.2
    assert 0.8 < found["coverage"].value < 0.97  # independent noise: near the 0.9 asked for
    assert found["coverage.worst_step"].value <= found["coverage"].value
    assert found["seasonal_naive.mse"].value > found["forecaster.mse"].value


def test_the_library_stands_beside_it(model: Path) -> None:
    pytest.importorskip("statsforecast")
    report = evaluate_to(model, None, ForecastEvalConfig(library_windows=3), None)
    found = {m.name: m for m in report.measurements}
    assert {"few.forecaster.mse", "few.seasonal_naive.mae", "few.auto_ets.mse"} <= set(found)
    assert found["few.auto_ets.mse"].n == 3
    x_BTC = np.random.default_rng(0).standard_normal((2, 24, 2))
    ours = seasonal_naive(x_BTC, 10, 6)
    theirs = library_forecast(library_models(6)["seasonal_naive"], x_BTC, 10)
    np.testing.assert_allclose(ours, theirs)


def test_a_season_longer_than_the_window_is_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"season_steps 1000 is longer than the window of \d+"):
        evaluate_to(model, None, ForecastEvalConfig(season_steps=1000, library_windows=0), None)


def test_without_the_library_its_extra_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    with pytest.raises(MissingExtraError, match=r"todm\[baselines\]"):
        evaluate_to(model, None, ForecastEvalConfig(library_windows=3), None)
    report = evaluate_to(model, None, ForecastEvalConfig(), None)  # nobody asked for it
    names = {m.name for m in report.measurements}
    assert "seasonal_naive.mse" in names
    assert not any(name.startswith("few.") for name in names)


def test_another_table_of_the_kind_is_forecast(model: Path, tmp_path: Path) -> None:
    newest = write_table(tmp_path / "newest.csv", rows=30, first="2022-03-01")
    predict_to(model, newest, tmp_path / "next", back=False)
    assert read_rows(tmp_path / "next")[0]["time"] == "2022-03-02 06:00:00"


def test_a_newer_table_with_gaps_is_filled_where_asked(model: Path, tmp_path: Path) -> None:
    lines = write_table(tmp_path / "newest.csv", rows=40, first="2022-03-01").read_text("utf-8")
    rows = lines.splitlines(keepends=True)
    gaps = tmp_path / "gaps.csv"
    gaps.write_text("".join(rows[:20] + rows[21:]), "utf-8")
    with pytest.raises(DataError, match="fill them by --missing"):
        predict_to(model, gaps, tmp_path / "next", back=False)
    predict_to(model, gaps, tmp_path / "next", back=False, missing="ffill")
    assert len(read_rows(tmp_path / "next")) == 20
    repeated = tmp_path / "repeated.csv"
    date = rows[20].partition(",")[0]
    repeated.write_text("".join([*rows[:20], f"{date},{rows[19].partition(',')[2]}", *rows[21:]]))
    predict_to(model, repeated, tmp_path / "same", back=False)
    filled, whole = (read_rows(tmp_path / name) for name in ("next", "same"))
    values = [[float(row["forecast"]) for row in rows] for rows in (filled, whole)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    with pytest.raises(DataError, match="are for train"):  # filled, and then too short
        evaluate_to(model, gaps, NO_LIBRARY, None, missing="interpolate")


@pytest.mark.parametrize(
    ("rows", "names", "back", "message"),
    [
        (20, "ab", False, "20 rows, the forecaster looks at 24"),
        (40, "ab", True, "40 rows, of which 24 are for train"),
        (600, "ac", False, "no column 'b'"),
    ],
)
def test_a_table_that_does_not_fit(model, tmp_path, rows, names, back, message) -> None:
    table = write_table(tmp_path / "other.csv", rows=rows, names=names)
    with pytest.raises(DataError, match=message):
        predict_to(model, table, tmp_path / "next", back=back)
    assert not (tmp_path / "next").exists()


def test_a_table_that_is_gone_is_told(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.csv: no such file; give the series by --data"):
        predict_to(model, tmp_path / "gone.csv", tmp_path / "next", back=False)


def test_both_forms_compute_what_torch_does(bundle: Path) -> None:
    report = json.loads((bundle / "parity.json").read_text("utf-8"))
    names = {v["name"]: v for v in report["verdicts"]}
    assert {n.split(".")[1] for n in names} == {"ort_vs_torch", "executorch_vs_torch"}
    assert all(v["status"] == "met" for v in names.values())
    body = load_artifact(bundle, "bundle").body
    assert body["bundle_bytes"]["onnx"] == (bundle / "forecaster.onnx").stat().st_size
    assert read_model_spec(bundle / "spec.json").kind == "forecaster"


def test_a_form_that_computes_something_else_is_not_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(opened, folder):
        with torch.no_grad():
            opened.model.net.head.bias += 0.01
        return parity(opened, folder)

    parity = export_module._parity
    monkeypatch.setattr(export_module, "_parity", wrong)
    with pytest.raises(GateError, match=r"parity checks failed.*ort_vs_torch"):
        export_module.run(model, float_targets(None, "onnx"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_gru_is_not_exported(folder: Path, tmp_path: Path) -> None:
    config = load_forecaster(folder / "model").config
    short = config.train.model_copy(update={"epochs": 1})
    config = config.model_copy(update={"net": GRUSpec(hidden_dim=2), "train": short})
    run(config, folder / "table.csv", tmp_path / "gru")
    with pytest.raises(ConfigError, match="baseline of training"):
        export_module.run(tmp_path / "gru", float_targets(None, "onnx"), tmp_path / "bundle")


@pytest.mark.parametrize("runtime", ["ort", "executorch"])
def test_bench_judges_the_device_s_budgets(bundle: Path, runtime: str) -> None:
    config = StepBenchConfig(runtime=runtime, steps=5, repeats=1)
    report = bench(bundle, config, profile=load_profile("this_host"))
    found = {m.name: m for m in report.measurements}
    assert found["latency_ms.p50"].n == 5
    assert found["macs_per_series_s"].value == found["macs_per_forecast"].value / 3600.0
    assert found["rtf"].value < 1e-3
    status = {v.name: v.status for v in report.verdicts}
    assert status["bundle_bytes"] == status["chunk_latency_p95_ms"] == "met"


def test_bench_of_a_form_that_is_not_there(model: Path, tmp_path: Path) -> None:
    export_module.run(model, float_targets(None, "onnx"), tmp_path / "bundle")
    with pytest.raises(ArtifactError, match="no executorch form"):
        bench(tmp_path / "bundle", StepBenchConfig(runtime="executorch"))
    with pytest.raises(ArtifactError, match=r"runs in ort, executorch, not in 'sherpa'"):
        bench(tmp_path / "bundle", StepBenchConfig(runtime="sherpa"))


PAPER = {
    "etth1": ((2, 2, 2, 8), True, "OT"),
    "etth2": ((8, 8, 8, 8), False, "OT"),
    "ecl": ((32, 32, 32, 32), False, "MT_320"),
    "traffic": ((128, 128, 256, 256), True, "Node_862"),
    "weather": ((4, 4, 4, 4), False, "WetBulbCelsius"),
}


@pytest.mark.parametrize("name", PAPER)
def test_recipes_of_the_paper_have_its_settings(name: str) -> None:
    units, norm, target = PAPER[name]
    for horizon, hidden in zip(PAPER_HORIZONS, units, strict=True):
        config = forecast_recipe(name, horizon)
        assert (config.norm, config.series.targets) == (norm, (target,))
        assert config.net == TPGNSpec(period_steps=24, hidden_dim=hidden)
        assert (config.window_steps, config.horizon_steps, config.seed) == (168, horizon, 2023)
        assert config.train == ForecastTraining()
    training = ForecastTraining()
    assert (training.batch_size, training.epochs, training.patience) == (32, 25, 5)
    assert (training.lr, training.held_epochs, training.epoch_factor) == (1e-3, 2, 0.9)


@pytest.mark.parametrize("name", FORECAST_RECIPES)
def test_every_recipe_is_named_after_itself(name: str) -> None:
    assert forecast_recipe(name).recipe == name


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no forecasting recipe 'x'; there are daily, ecl"):
        forecast_recipe("x")
