"""``todm forecast`` from a table to predictions, figures and a bundle, and wrong inputs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typed import todm

from todm.core.artifact import load_artifact
from todm.core.forecast_config import ForecastConfig

pytest.importorskip("pandas")

ROWS = 400
SMALL = {
    "recipe": "small",
    "window_steps": 24,
    "horizon_steps": 6,
    "net": {"kind": "tpgn", "period_steps": 6, "hidden_dim": 2},
    "train": {"epochs": 2, "threads": 1, "accelerator": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two columns with a hole, and a configuration."""
    root = tmp_path_factory.mktemp("forecast")
    times = np.datetime64("2021-01-01T00") + np.arange(ROWS)
    wave = np.sin(np.arange(ROWS) * 2 * np.pi / 6)
    rows = [f"{t},{v:.4f},{2 * v:.4f}" for t, v in zip(times, wave, strict=True)]
    rows[50] = f"{times[50]},,1.0"
    (root / "table.csv").write_text("date,load,wind\n" + "\n".join(rows) + "\n", "utf-8")
    (root / "small.json").write_text(json.dumps(SMALL), "utf-8")
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    given = ("--config", folder / "small.json", "--data", folder / "table.csv")
    options = ("--target", "load", "--missing", "interpolate", "--horizon", 5)
    out = folder / "net"
    assert todm("forecast", "train", *given, *options, "--set", "seed=3", "--out", out) == 0
    return out


def test_options_reach_the_training_and_repairs_are_told(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ForecastConfig.read_json(load_artifact(trained, "forecaster").file("config.json"))
    assert (config.seed, config.horizon_steps) == (3, 5)
    assert (config.series.targets, config.series.missing) == (("load",), "interpolate")
    given = ("--config", trained / "config.json", "--data", folder / "table.csv")
    capsys.readouterr()
    assert todm("forecast", "train", *given, "--out", tmp_path / "again") == 0
    told = capsys.readouterr()
    assert "table.csv: 1 of 400 values are missing" in told.err
    assert "filled by interpolate" in told.err
    assert "parameters, validation MSE" in told.out


@pytest.mark.parametrize("rolling", [False, True])
def test_predictions_are_a_table_and_a_page(
    trained: Path, tmp_path: Path, rolling: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--rolling",) if rolling else ()
    capsys.readouterr()
    assert todm("forecast", "predict", trained, *options, "--out", tmp_path / "next") == 0
    forecasts = 80 // 5 if rolling else 1  # the test part is the last fifth
    line = capsys.readouterr().out
    assert f"{forecasts} forecast(s)" in line
    assert ("of the truth" in line) == rolling
    with (tmp_path / "next" / "predictions.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 5 * forecasts
    assert (tmp_path / "next" / "index.html").is_file()


def test_figures_stand_in_a_table_or_as_json(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("forecast", "eval", trained, "--set", "library_windows=0")
    capsys.readouterr()
    assert todm(*given, "--out", tmp_path / "eval") == 0
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert "76 test windows, coverage" in first
    assert head.split() == ["model", "MSE", "MAE", "windows"]
    assert todm(*given, "--json") == 0
    found = {m["name"]: m["value"] for m in json.loads(capsys.readouterr().out)["measurements"]}
    shown = {row.split()[0]: row.split()[1:] for row in rows}
    assert set(shown) == {"forecaster", "seasonal_naive"}
    for name, (mse, mae, windows) in shown.items():
        assert (mse, mae) == (f"{found[f'{name}.mse']:.4f}", f"{found[f'{name}.mae']:.4f}")
        assert windows == "76"
    assert load_artifact(tmp_path / "eval", "report").body["of"] == "forecast"


def test_a_bundle_is_exported_and_measured(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "bundle"
    assert todm("forecast", "export", trained, "--device", "this_host", "--out", out) == 0
    assert (out / "profile.json").is_file()
    capsys.readouterr()
    few = ("--set", "steps=2", "--set", "repeats=1")
    assert todm("bench", out, "--device", "this_host", *few) == 0
    assert "ms per forecast" in capsys.readouterr().out
    assert todm("bench", out, "--audio", "x.wav", *few) == 2
    assert "is measured without speech" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train --data {0}/table.csv --out {0}/x", "give one of --recipe"),
        (
            "train --recipe hourly --config {0}/small.json --data {0}/table.csv --out {0}/x",
            "give one of --recipe",
        ),
        ("train --recipe hurly --data {0}/table.csv --out {0}/x", "no forecasting recipe 'hurly'"),
        ("train --config {0}/small.json --data {0}/no.csv --out {0}/x", "no such file"),
        ("train --config {0}/small.json --data {0}/table.csv --out {0}/x", "which column"),
        (
            "train --config {0}/small.json --data {0}/table.csv --target load --out {0}/x",
            "fill them by --missing",
        ),
        (
            "train --config {0}/small.json --data {0}/table.csv --set window_steps=25 --out {0}/x",
            "take 24 or 30",
        ),
        ("predict {0}/net --data {0}/no.csv --out {0}/x", "no such file; give the series"),
        ("eval {0}/no", "no such folder"),
        ("eval {0}/net --set library_windows=-1", "library_windows"),
        ("export {0}/net --device gameboy --out {0}/x", "'gameboy'; shipped"),
    ],
)
def test_wrong_inputs_are_one_line_and_exit_2(
    trained: Path, folder: Path, arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert todm("forecast", *arguments.format(folder).split()) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert not list(folder.glob("x*"))
