"""``todm forecast eval`` and ``predict``: errors beside baselines, coverage, rolling forecasts.

Errors are on the standardised scale unless a name ends in ``_units``. B windows, H horizon,
C variates.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from todm.core.errors import ConfigError, DataError
from todm.core.forecast_config import MissingRule
from todm.core.forecaster_spec import TPGNSpec
from todm.core.report import Measurement, Report, environment
from todm.core.value import Value
from todm.data.calendar_marks import parse_frequency
from todm.data.series import Series, read_series
from todm.data.series_table import import_pandas
from todm.data.windows import Windows, as_tensors, make_windows
from todm.evaluate.library_forecasts import have_library, library_forecast, library_models
from todm.metrics.forecast import absolute_error, coverage, seasonal_naive, squared_error
from todm.models.forecaster_store import OpenForecaster, check_same_series
from todm.models.forecasting import Prediction, forecast_windows

LIBRARY_WINDOWS = 50


class ForecastEvalConfig(Value):
    """How a forecaster is judged."""

    library_windows: int | None = Field(default=None, ge=0)
    """Evenly spaced test windows to which the library's models are fitted; 0 leaves them out, None
    takes 50 where statsforecast is installed."""
    season_steps: int | None = Field(default=None, ge=1)
    """Of the baselines; None is the period of a TPGN, else a single step."""


def table_of(opened: OpenForecaster, given: Path | None) -> Path:
    """Return the table that is given, else the one that the forecaster was trained on.

    Raises:
        DataError: that one is gone.
    """
    path = given or Path(str(opened.artifact.body["data_path"]))
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the series by --data")
    return path


def series_of(opened: OpenForecaster, table: Path, missing: MissingRule | None = None) -> Series:
    """Read a table as the forecaster's own was read.

    Args:
        opened: The forecaster.
        table: Of the same series.
        missing: What becomes of missing values; None does as with its own table.

    Raises:
        DataError: it is no series, or one of another kind.
    """
    config = opened.config.series
    known: dict[str, object] = {"frequency": opened.facts.frequency, "targets": opened.facts.names}
    if missing is not None:
        known["missing"] = missing
    series = read_series(table, config.model_copy(update=known))
    check_same_series(opened, series.names, series.frequency)
    return series


def windows_of(opened: OpenForecaster, series: Series) -> Windows:
    """Return the test windows of a series, on the forecaster's scale.

    Raises:
        DataError: the series is too short.
    """
    spec = opened.spec
    parts, _ = make_windows(
        series,
        opened.config.series,
        window_steps=spec.window_steps,
        horizon_steps=spec.horizon_steps,
        marks=spec.marks > 0,
        scale=opened.facts.scale,
    )
    return parts["test"]


def evaluate(opened: OpenForecaster, series: Series, config: ForecastEvalConfig) -> Report:
    """Measure errors and coverage on every test window, and the baselines beside them.

    Raises:
        DataError: the series is too short.
        ConfigError: a season is longer than a window.
        MissingExtraError: statsforecast is not installed and a number of windows is given.
    """
    windows = windows_of(opened, series)
    season = config.season_steps
    if season is None:
        season = opened.spec.net.period_steps if isinstance(opened.spec.net, TPGNSpec) else 1
    window = opened.spec.window_steps
    if season > window:
        raise ConfigError(
            f"season_steps {season} is longer than the window of {window} steps that the seasonal "
            "forecast is taken from; lower it"
        )
    measurements = [*_own(opened, windows, season)]
    count = config.library_windows
    if count is None:
        count = LIBRARY_WINDOWS if have_library() else 0
    if count:
        measurements += _library(opened, windows, count, season)
    return Report(environment=environment(), measurements=tuple(measurements))


def _errors(
    name: str, found: np.ndarray, truth: np.ndarray, note: str = ""
) -> Iterator[Measurement]:
    for figure, error in (("mse", squared_error), ("mae", absolute_error)):
        yield Measurement(
            name=f"{name}.{figure}", value=error(found, truth), unit="", n=len(truth), note=note
        )


def _own(opened: OpenForecaster, windows: Windows, season: int) -> Iterator[Measurement]:
    found, truth = forecast_windows(opened.model, windows)
    scale, level = opened.facts.scale, opened.config.level
    yield from _errors("forecaster", found, truth, "every test window")
    units = absolute_error(scale.undo(found), scale.undo(truth))
    yield Measurement(name="forecaster.mae_units", value=units, unit="", n=len(truth))
    held = coverage(found, truth, opened.half_widths_HC)
    note = f"wanted {level:g}; split-conformal, widths from the validation windows"
    for name, value in (
        ("coverage", held.share),
        ("coverage.worst_step", held.worst_step),
        ("interval_width", held.mean_width),
    ):
        yield Measurement(name=name, value=value, unit="", n=len(truth), note=note)
    x_BTC = windows.batch(torch.arange(len(windows))).x_BWC.numpy()
    naive = seasonal_naive(x_BTC, opened.spec.horizon_steps, season)
    yield from _errors("seasonal_naive", naive, truth, f"season of {season} steps")


def _library(
    opened: OpenForecaster, windows: Windows, count: int, season: int
) -> Iterator[Measurement]:
    chosen = windows.evenly(count)
    found, truth = forecast_windows(opened.model, windows, chosen)
    note = f"{len(chosen)} evenly spaced test windows"
    yield from _errors("few.forecaster", found, truth, note)
    x_BTC = windows.batch(chosen).x_BWC.numpy()
    for name, make in library_models(season).items():
        forecast = library_forecast(make, x_BTC, opened.spec.horizon_steps)
        yield from _errors(f"few.{name}", forecast, truth, f"statsforecast, {note}")


def rolling(opened: OpenForecaster, series: Series) -> list[Prediction]:
    """Return forecasts of the test part, each from where the one before ended.

    Raises:
        DataError: the series is too short.
    """
    windows = windows_of(opened, series)
    chosen = torch.arange(0, len(windows), opened.spec.horizon_steps)
    found, truth = forecast_windows(opened.model, windows, chosen)
    predictions = []
    for number, y_HC, truth_HC in zip(chosen.tolist(), found, truth, strict=True):
        first = windows.starts[number]
        begin = first + opened.spec.window_steps
        end = begin + opened.spec.horizon_steps
        past, times = series.times[first:begin], series.times[begin:end]
        values_TC = series.values_TC[first:begin]
        predictions.append(_in_units(opened, (past, values_TC), times, y_HC, truth_HC))
    return predictions


@torch.inference_mode()
def following(opened: OpenForecaster, series: Series) -> Prediction:
    """Return the forecast of what follows the series's last row.

    Raises:
        DataError: the series is shorter than the window.
    """
    spec = opened.spec
    window, horizon = spec.window_steps, spec.horizon_steps
    if len(series.times) < window:
        raise DataError(
            f"the series has {len(series.times)} rows, the forecaster looks at {window}; give more"
        )
    values_TC, marks_TM = as_tensors(series, opened.facts.scale, marks=spec.marks > 0)
    y_HC = opened.model(values_TC[None, -window:], marks_TM[None, -window:])[0].numpy()
    offset = parse_frequency(series.frequency)
    times = import_pandas().date_range(series.times[-1], periods=horizon + 1, freq=offset)[1:]
    past = (series.times[-window:], series.values_TC[-window:])
    return _in_units(opened, past, times, y_HC, None)


def _in_units(
    opened: OpenForecaster,
    past: tuple[object, Float[np.ndarray, "T C"]],
    times: object,
    y_HC: Float[np.ndarray, "H C"],
    truth_HC: Float[np.ndarray, "H C"] | None,
) -> Prediction:
    scale, half_HC = opened.facts.scale, opened.half_widths_HC
    return Prediction(
        past_times=past[0],
        past_TC=past[1],
        times=times,
        y_HC=scale.undo(y_HC),
        low_HC=scale.undo(y_HC - half_HC),
        high_HC=scale.undo(y_HC + half_HC),
        truth_HC=None if truth_HC is None else scale.undo(truth_HC),
    )
