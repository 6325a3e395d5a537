"""A table with a time column to a regular series: sorted, on one grid of time, without holes.

What had to be done is said in ``notes``; what was not asked for is refused. T steps, C variates.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from todm.core.errors import DataError
from todm.core.forecast_config import SeriesConfig
from todm.data.calendar_marks import KNOWN, calendar_marks, parse_frequency
from todm.data.series_table import (
    choose_columns,
    import_pandas,
    parse_numbers,
    parse_times,
    read_table,
)

if TYPE_CHECKING:
    import pandas as pd

_CALENDAR = ("W", "MS", "ME", "QS", "QE", "YS", "YE")
"""Frequencies that are tried where steps are not equally long."""
_LEAST_FILLED = 0.5
"""Share of a grid's times that must be there for it to be the series's own."""


@dataclass(frozen=True)
class Series:
    """A regular series."""

    names: tuple[str, ...]
    times: "pd.DatetimeIndex"
    values_TC: Float[np.ndarray, "T C"]
    frequency: str
    notes: tuple[str, ...]
    """What was found and done on the way, a line each."""

    @property
    def step_s(self) -> float:
        """The usual time from one step to the next, in seconds."""
        steps = import_pandas().Series(self.times[1:] - self.times[:-1])
        return float(steps.median().total_seconds())

    def marks(self) -> Float[np.ndarray, "T M"]:
        """Return the calendar marks of every step."""
        return calendar_marks(self.times, self.frequency)


def read_series(path: Path, config: SeriesConfig) -> Series:
    """Read a table and make it regular.

    Raises:
        DataError: it is no table with a time and numbers, is irregular in time, or has missing
            values or duplicate times that the configuration refuses.
        ConfigError: an unknown frequency.
        MissingExtraError: pandas is not installed.
    """
    pd = import_pandas()
    table = read_table(path, config)
    time, targets = choose_columns(table, config, path)
    columns = {
        name: parse_numbers(table[name], config, f"{path}: column {name!r}") for name in targets
    }
    if time is None:
        assert config.frequency is not None
        offset = parse_frequency(config.frequency)
        times = pd.date_range(config.start, periods=len(table), freq=offset)
    else:
        times = parse_times(table[time], config, f"{path}: column {time!r}")
    frame, notes = _sorted_once(pd.DataFrame(columns, index=times), config, path)
    frequency = config.frequency or infer_frequency(frame.index, path)
    frame, gaps = _on_grid(frame, frequency, path)
    frame, filled = _without_holes(frame, config, path)
    return Series(
        names=tuple(targets),
        times=frame.index,
        values_TC=frame.to_numpy(np.float64),
        frequency=frequency,
        notes=(*notes, *gaps, *filled),
    )


def _sorted_once(frame: Any, config: SeriesConfig, where: Path) -> tuple[Any, list[str]]:
    """Return the rows in order of time, one for each time."""
    notes = []
    if not frame.index.is_monotonic_increasing:
        frame = frame.sort_index(kind="stable")
        notes.append("rows were not in order of time and were sorted")
    doubled = frame.index.duplicated()
    if not doubled.any():
        return frame, notes
    first, count = frame.index[doubled][0], int(doubled.sum())
    told = f"{count} rows repeat a time, the first {first}"
    if config.duplicates == "refuse":
        raise DataError(
            f"{where}: {told}; --set series.duplicates=first keeps the first row of a time, mean "
            "takes the mean"
        )
    groups = frame.groupby(level=0, sort=True)
    frame = groups.first() if config.duplicates == "first" else groups.mean()
    return frame, [*notes, f"{told}: {config.duplicates} kept"]


def infer_frequency(times: "pd.DatetimeIndex", where: Path) -> str:
    """Return the frequency on whose grid all the times lie.

    Raises:
        DataError: there is none.
    """
    pd = import_pandas()
    if len(times) >= 3:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas 4 returns an offset: both are read here
            found = pd.infer_freq(times)
        if found is not None:
            return str(getattr(found, "freqstr", found))
    steps = pd.Series(times[1:] - times[:-1])
    if len(steps):
        usual = steps.mode().iloc[0]
        candidates = [pd.tseries.frequencies.to_offset(usual), *_CALENDAR]
        for candidate in candidates:
            if _fits(times, candidate):
                return str(getattr(candidate, "freqstr", candidate))
    raise DataError(
        f"{where}: {len(times)} times from {times[0]} to {times[-1]} lie on no regular grid; say "
        f"which it is by --set series.frequency=F (known: {KNOWN})"
    )


def _fits(times: Any, frequency: Any) -> bool:
    """Tell whether all times lie on a grid that they fill to a good part."""
    grid = import_pandas().date_range(times[0], times[-1], freq=frequency)
    return len(grid) * _LEAST_FILLED <= len(times) and bool(times.isin(grid).all())


def _on_grid(frame: Any, frequency: str, where: Path) -> tuple[Any, list[str]]:
    """Return the frame on a grid without gaps; what was missing is NaN."""
    offset = parse_frequency(frequency)
    grid = import_pandas().date_range(frame.index[0], frame.index[-1], freq=offset)
    outside = frame.index[~frame.index.isin(grid)]
    if len(outside):
        raise DataError(
            f"{where}: {len(outside)} of {len(frame)} times are not on the grid of frequency "
            f"{frequency!r} from {frame.index[0]}, the first {outside[0]}; give another "
            "--set series.frequency"
        )
    gaps = grid.difference(frame.index)
    if not len(gaps):
        return frame, []
    return frame.reindex(grid), [f"{len(gaps)} steps are missing in time, the first {gaps[0]}"]


def _without_holes(frame: Any, config: SeriesConfig, where: Path) -> tuple[Any, list[str]]:
    """Return the frame with missing values filled as asked for."""
    holes = frame.isna()
    count = int(holes.to_numpy().sum())
    if not count:
        return frame, []
    row = int(holes.any(axis=1).to_numpy().argmax())
    told = (
        f"{count} of {holes.size} values are missing (gaps in time included), the first at "
        f"{frame.index[row]}"
    )
    if config.missing == "refuse":
        raise DataError(f"{where}: {told}; fill them by --missing interpolate or ffill")
    filled = frame.interpolate("time") if config.missing == "interpolate" else frame.ffill()
    if bool(filled.isna().to_numpy().any()):
        raise DataError(f"{where}: {told}; the series begins with them: cut those rows")
    return filled, [f"{told}: filled by {config.missing}"]
