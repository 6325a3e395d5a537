"""A series as windows: split by time, standardised by its training part.

A part's windows may look back into the part before, but what they forecast lies inside it.
T steps, W window, H horizon, C variates, M marks, B windows.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from todm.core.errors import DataError
from todm.core.forecast_config import SeriesConfig
from todm.data.series import Series
from todm.features.series_facts import Scale

Part = Literal["train", "validation", "test"]


class WindowBatch(NamedTuple):
    """Windows with what follows them."""

    x_BWC: Tensor
    marks_BWM: Tensor
    y_BHC: Tensor


def split_rows(num_rows: int, config: SeriesConfig) -> dict[Part, range]:
    """Return the rows of each part; validation takes what rounding leaves."""
    train = int(num_rows * config.train_fraction)
    test = int(num_rows * config.test_fraction)
    return {
        "train": range(train),
        "validation": range(train, num_rows - test),
        "test": range(num_rows - test, num_rows),
    }


@dataclass(frozen=True)
class Windows:
    """The windows of one part, in order of time, one a step."""

    values_TC: Tensor
    """The whole series, standardised."""
    marks_TM: Tensor
    starts: range
    """First rows of the windows."""
    window_steps: int
    horizon_steps: int

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: Tensor) -> WindowBatch:
        """Return the windows of those numbers."""
        window, horizon = self.window_steps, self.horizon_steps
        first_B = chosen + self.starts.start
        rows_BW = first_B[:, None] + torch.arange(window)
        rows_BH = first_B[:, None] + torch.arange(window, window + horizon)
        return WindowBatch(self.values_TC[rows_BW], self.marks_TM[rows_BW], self.values_TC[rows_BH])

    def evenly(self, count: int) -> Tensor:
        """Return the numbers of at most so many windows, evenly spaced from first to last."""
        spaced = np.linspace(0, len(self) - 1, min(count, len(self)))
        return torch.from_numpy(np.round(spaced).astype(np.int64))


def as_tensors(series: Series, scale: Scale, *, marks: bool) -> tuple[Tensor, Tensor]:
    """Return the standardised values, (T, C), and the calendar marks, (T, M), none if unwanted."""
    values_TC = torch.from_numpy(scale.apply(series.values_TC)).float()
    marks_TM = torch.from_numpy(series.marks()).float() if marks else values_TC[:, :0]
    return values_TC, marks_TM


def make_windows(
    series: Series,
    config: SeriesConfig,
    *,
    window_steps: int,
    horizon_steps: int,
    marks: bool,
    scale: Scale | None = None,
) -> tuple[dict[Part, Windows], Scale]:
    """Return the windows of all parts and their scale: the one given, or the training part's.

    Raises:
        DataError: a part is too short for a single window.
    """
    parts = split_rows(len(series.times), config)
    scale = scale or Scale.of(series.values_TC[parts["train"]])
    values_TC, marks_TM = as_tensors(series, scale, marks=marks)
    found: dict[Part, Windows] = {}
    for part, rows in parts.items():
        before = 0 if part == "train" else window_steps
        count = len(rows) + before - window_steps - horizon_steps + 1
        first = rows.start - before
        if count < 1 or first < 0:
            need = horizon_steps + (window_steps if part == "train" else 0)
            raise DataError(
                f"the series has {len(series.times)} rows, of which {len(rows)} are for {part}; a "
                f"window of {window_steps} and a horizon of {horizon_steps} steps need {need} "
                "there: give a longer series, a shorter window or horizon"
            )
        starts = range(first, first + count)
        found[part] = Windows(values_TC, marks_TM, starts, window_steps, horizon_steps)
    return found, scale
