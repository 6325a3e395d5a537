"""Calendar marks: where in the hour, day, week, month and year a step lies, in [-1/2, 1/2].

Those of hourly series are the paper's (Jia et al. 2024, arXiv 2409.17703); other frequencies have
the marks that vary within them. T steps, M marks.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from todm.core.errors import ConfigError
from todm.data.series_table import import_pandas

if TYPE_CHECKING:
    import pandas as pd

Marks = dict[str, tuple[int, float]]
_MARKS: Marks = {
    "second": (0, 59.0),
    "minute": (0, 59.0),
    "hour": (0, 23.0),
    "day_of_week": (0, 6.0),
    "day": (1, 30.0),
    "day_of_year": (1, 365.0),
    "week": (1, 52.0),
    "month": (1, 11.0),
    "quarter": (1, 3.0),
}
"""First value and largest distance from it."""
_DAILY = ("day_of_week", "day", "day_of_year")
_BY_UNIT: dict[str, tuple[str, ...]] = {
    "s": ("second", "minute", "hour", *_DAILY),
    "min": ("minute", "hour", *_DAILY),
    "h": ("hour", *_DAILY),
    "D": _DAILY,
    "B": _DAILY,
    "C": _DAILY,
    "W": ("day", "week"),
    "M": ("month",),
    "Q": ("quarter",),
    "Y": (),
}
"""Marks by the unit of a frequency; a year has none."""
KNOWN = "s, min, h, D, B, W, MS, ME, QS, QE, YS, YE and multiples such as 15min"


def parse_frequency(frequency: str) -> Any:
    """Return pandas's offset of a frequency.

    Raises:
        ConfigError: pandas knows none by that name, or it has no calendar here.
    """
    pd = import_pandas()
    try:
        offset = pd.tseries.frequencies.to_offset(frequency)
        _unit(offset)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"unknown frequency {frequency!r}; known: {KNOWN}") from error
    return offset


def _unit(offset: Any) -> str:
    """Return the key of ``_BY_UNIT``: ends and begins of months, quarters, years are one."""
    code = str(offset.rule_code).split("-", maxsplit=1)[0]
    if code in _BY_UNIT:
        return code
    stem = code.removeprefix("B")
    if len(stem) == 2 and stem[0] in "MQY" and stem[1] in "SE":
        return stem[0]
    raise KeyError(code)


def mark_names(frequency: str) -> tuple[str, ...]:
    """Return the names of the marks of a frequency."""
    return _BY_UNIT[_unit(parse_frequency(frequency))]


def calendar_marks(times: "pd.DatetimeIndex", frequency: str) -> Float[np.ndarray, "T M"]:
    """Return the marks of every step."""
    columns = []
    for name in mark_names(frequency):
        first, span = _MARKS[name]
        field = times.isocalendar().week if name == "week" else getattr(times, name)
        columns.append((np.asarray(field, np.float64) - first) / span - 0.5)
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))
