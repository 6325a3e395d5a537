"""Forecasts to files: evaluation and prediction with their page and their table."""

import csv
from collections.abc import Sequence
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.forecast_config import MissingRule
from todm.core.report import Report
from todm.evaluate.forecast import (
    ForecastEvalConfig,
    evaluate,
    following,
    rolling,
    series_of,
    table_of,
)
from todm.models.forecaster_store import OpenForecaster, load_forecaster
from todm.models.forecasting import Prediction, covered
from todm.report.forecast_page import render

REPORT, PAGE, PREDICTIONS = "report.json", "index.html", "predictions.csv"


def evaluate_to(
    model: Path,
    data: Path | None,
    config: ForecastEvalConfig,
    out: Path | None,
    missing: MissingRule | None = None,
) -> Report:
    """Evaluate a forecaster on the test part of a table; write a report artifact where asked.

    Missing values become what ``missing`` says; None does as with the forecaster's own table.

    Raises:
        DataError: no table, or it is too short or of another kind.
        ArtifactError: no forecaster.
        MissingExtraError: a library is not installed.
    """
    opened = load_forecaster(model)
    series = series_of(opened, table_of(opened, data), missing)
    report = evaluate(opened, series, config)
    if out is not None:
        told = f"{_what(opened)}. Forecasts of the test part, each from where the last one ended."
        _write(out, opened, rolling(opened, series), told, report)
    return report


def predict_to(
    model: Path, data: Path | None, out: Path, *, back: bool, missing: MissingRule | None = None
) -> Artifact:
    """Forecast what follows a table's last row, or (``back``) roll over its test part.

    Missing values become what ``missing`` says; None does as with the forecaster's own table.

    Raises:
        DataError: no table, or it is too short or of another kind.
        ArtifactError: no forecaster.
    """
    opened = load_forecaster(model)
    series = series_of(opened, table_of(opened, data), missing)
    found = rolling(opened, series) if back else [following(opened, series)]
    notes = "".join(f" {note}." for note in series.notes)
    return _write(out, opened, found, f"{_what(opened)}.{notes}", None)


def _what(opened: OpenForecaster) -> str:
    spec, level = opened.spec, opened.config.level
    return (
        f"{opened.artifact.path.name}: {spec.window_steps} steps in, {spec.horizon_steps} out; "
        f"{100 * level:g} % intervals"
    )


def _write(
    out: Path,
    opened: OpenForecaster,
    predictions: Sequence[Prediction],
    told: str,
    report: Report | None,
) -> Artifact:
    names = opened.facts.names
    with write_artifact(out, kind="report", parents={"model": opened.artifact}) as draft:
        if report is not None:
            report.write_json(draft.path / REPORT)
        _write_csv(draft.path / PREDICTIONS, names, predictions)
        title = f"Forecast of {', '.join(names[:3])}"
        page = render(title, names, predictions, told, report)
        (draft.path / PAGE).write_text(page, "utf-8")
        draft.body = {
            "of": "forecast",
            "page": PAGE,
            "forecasts": len(predictions),
            "covered": covered(predictions),
        }
    return load_artifact(out, "report", verify=False)


def _write_csv(path: Path, names: Sequence[str], predictions: Sequence[Prediction]) -> None:
    """Write a row for each step and variate."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("origin", "time", "variate", "forecast", "low", "high", "truth"))
        for one in predictions:
            for step, time in enumerate(one.times):
                for variate, name in enumerate(names):
                    truth = "" if one.truth_HC is None else f"{one.truth_HC[step, variate]:.8g}"
                    ends = (one.y_HC, one.low_HC, one.high_HC)
                    shown = (f"{values[step, variate]:.8g}" for values in ends)
                    writer.writerow((one.past_times[-1], time, name, *shown, truth))
