"""A table of text to columns of times and numbers: what separates, what marks decimals.

Everything is read as text first, so that a message can name the value and the line that is wrong.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todm.core.errors import DataError, MissingExtraError
from todm.core.forecast_config import SeriesConfig

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
ALL_COLUMNS = "*"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_DIGIT_FORMATS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d"}
"""Times that are digits alone, by how many there are."""
_OFFSET = re.compile(r"\d:\d\d.*([+-]\d\d:?\d\d|Z)$")
"""A time's distance from UTC; where it changes, as local time does twice a year, UTC is read."""
_LOOKED_AT_LINES = 20
_HEADER_LINES = 2
"""From the index of a row to its line, counted from 1, under the header."""


def import_pandas() -> Any:
    """Import pandas.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("pandas", extra="forecast") from error
    return pandas


def read_table(path: Path, config: SeriesConfig) -> "pd.DataFrame":
    """Return the table's text by column.

    Raises:
        DataError: no such file, no text, no rows, or it is all one column.
    """
    pd = import_pandas()
    try:
        with path.open(encoding="utf-8-sig") as stream:
            lines = [line for line in (stream.readline() for _ in range(_LOOKED_AT_LINES)) if line]
        separator = config.separator or find_separator(lines)
        table = pd.read_csv(
            path, sep=separator, dtype=str, encoding="utf-8-sig", skipinitialspace=True
        )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: not readable as a table ({first_line})") from error
    if len(table) == 0:
        raise DataError(f"{path}: has a header and no rows")
    if table.shape[1] == 1 and config.start is None:
        raise DataError(
            f"{path}: separated by {separator!r} it has the one column {table.columns[0]!r}; a "
            f"series needs a time and values; --set series.separator=X names another separator "
            "(or series.start and series.frequency the time)"
        )
    return table.rename(columns=lambda name: str(name).strip())


def find_separator(lines: Sequence[str]) -> str:
    """Return the separator that splits every line alike, into the most columns."""
    header = lines[0] if lines else ""
    counts = {
        mark: header.count(mark)
        for mark in SEPARATORS
        if len({line.count(mark) for line in lines if line.strip()}) == 1
    }
    best = max(counts, key=counts.__getitem__, default=SEPARATORS[0])
    if counts.get(best):
        return best
    return max(SEPARATORS, key=header.count)  # decimal commas: the header has none


def choose_columns(
    table: "pd.DataFrame", config: SeriesConfig, where: Path
) -> tuple[str | None, list[str]]:
    """Return the column of time (None where the rows are counted) and those to forecast.

    Raises:
        DataError: one that is named is not there, or several are and none is named.
    """
    columns = [str(name) for name in table.columns]
    time = None if config.start is not None else config.time or columns[0]
    values = [name for name in columns if name != time]
    for name in (*([time] if time else []), *config.targets):
        if name not in (*columns, ALL_COLUMNS):
            raise DataError(f"{where}: has no column {name!r}; it has {', '.join(columns)}")
    if ALL_COLUMNS in config.targets:
        return time, values
    if config.targets:
        return time, list(dict.fromkeys(config.targets))
    if len(values) != 1:
        raise DataError(
            f"{where}: which column is to be forecast? It has {', '.join(values)}; name them by "
            "--target (may be repeated; '*' is all)"
        )
    return time, values


def parse_numbers(text: "pd.Series[str]", config: SeriesConfig, where: str) -> Any:
    """Return float64 values, NaN where the cell is empty or says NA.

    Raises:
        DataError: a cell is no number, or not finite; the message names it and its line.
    """
    import numpy as np

    pd = import_pandas()
    decimal = config.decimal or find_decimal(text)
    plain = text.str.strip().str.replace(",", ".", regex=False) if decimal == "," else text
    values = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero((np.isnan(values) & text.notna().to_numpy()) | np.isinf(values))
    if wrong.size:
        cell, line = text.iloc[wrong[0]], wrong[0] + _HEADER_LINES
        hint = "; is the decimal mark a comma? --set series.decimal=," if "," in str(cell) else ""
        raise DataError(
            f"{where}: {cell!r} (line {line}) is no finite number, and {wrong.size - 1} more{hint}"
        )
    return values


def find_decimal(text: "pd.Series[str]") -> str:
    """Return ``,`` where some value has a comma between digits and none has a point."""
    known = text.dropna().str.strip()
    commas = known.str.fullmatch(_DECIMAL_COMMA.pattern)
    points = known.str.contains(".", regex=False)
    return "," if bool(commas.any()) and not bool(points.any()) else "."


def parse_times(text: "pd.Series[str]", config: SeriesConfig, where: str) -> "pd.DatetimeIndex":
    """Return the times of the rows.

    Raises:
        DataError: a cell is no time; the message names it and its line.
    """
    pd = import_pandas()
    cells = text.str.strip()
    known = cells.dropna()
    digits = set(known.str.len()) if bool(known.str.fullmatch(r"\d+").all()) else set()
    guessed = _DIGIT_FORMATS.get(digits.pop()) if len(digits) == 1 else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on times of no one format; what fails is told below
            times = pd.to_datetime(
                cells,
                format=config.time_format or guessed,
                errors="coerce",
                utc=known.str.extract(_OFFSET, expand=False).nunique() > 1,
            )
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: {error}; give --set series.time_format") from error
    if bool(times.isna().any()):
        row = int(times.isna().to_numpy().argmax())
        told = f" with the format {config.time_format!r}" if config.time_format else ""
        raise DataError(
            f"{where}: {cells.iloc[row]!r} (line {row + _HEADER_LINES}) is no time{told}; name "
            "another column by --set series.time=X, or its format by --set series.time_format"
        )
    return pd.DatetimeIndex(times)
