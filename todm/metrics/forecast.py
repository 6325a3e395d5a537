"""Errors of forecasts, and split-conformal intervals around them.

Source: Vovk et al. 2005; Lei et al. 2018 (arXiv 1604.04173), algorithm 2: the half-width is the
ceil((n + 1) level)-th smallest of n absolute errors on held-out windows. Its coverage is promised
for exchangeable errors; errors of a series are not, so coverage is measured wherever it is quoted.

B windows, H horizon, C variates.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from todm.core.errors import DataError


def squared_error(y: Float[np.ndarray, "*S"], truth: Float[np.ndarray, "*S"]) -> float:
    """Return the mean squared error, summed in float64."""
    return float(np.square(y.astype(np.float64) - truth).mean())


def absolute_error(y: Float[np.ndarray, "*S"], truth: Float[np.ndarray, "*S"]) -> float:
    """Return the mean absolute error, summed in float64."""
    return float(np.abs(y.astype(np.float64) - truth).mean())


def least_windows(level: float) -> int:
    """Return how many held-out windows an interval of that level needs at least."""
    return math.ceil(level / (1.0 - level) - 1e-9)


def check_windows(count: int, level: float) -> None:
    """Do nothing where so many held-out windows are enough for intervals of that level.

    Raises:
        DataError: they are too few.
    """
    if count < least_windows(level):
        raise DataError(
            f"intervals at {100 * level:g} % need at least {least_windows(level)} validation "
            f"windows, there are {count}: give a longer series, a shorter horizon or a lower level"
        )


def conformal_half_widths(
    y_BHC: Float[np.ndarray, "B H C"], truth_BHC: Float[np.ndarray, "B H C"], level: float
) -> Float[np.ndarray, "H C"]:
    """Return the half-width at each step of the horizon and for each variate.

    Raises:
        DataError: too few windows for the level.
    """
    count = y_BHC.shape[0]
    check_windows(count, level)
    rank = math.ceil((count + 1) * level - 1e-9)
    errors_BHC = np.abs(y_BHC.astype(np.float64) - truth_BHC)
    return np.asarray(np.partition(errors_BHC, rank - 1, axis=0)[rank - 1])


@dataclass(frozen=True)
class Coverage:
    """How intervals did."""

    share: float
    """Of the truth that they hold."""
    worst_step: float
    """The same at the step of the horizon where it is least."""
    mean_width: float


def coverage(
    y_BHC: Float[np.ndarray, "B H C"],
    truth_BHC: Float[np.ndarray, "B H C"],
    half_HC: Float[np.ndarray, "H C"],
) -> Coverage:
    """Measure intervals on windows."""
    held_BHC = np.abs(y_BHC.astype(np.float64) - truth_BHC) <= half_HC
    return Coverage(
        share=float(held_BHC.mean()),
        worst_step=float(held_BHC.mean(axis=(0, 2)).min()),
        mean_width=float(2.0 * half_HC.mean()),
    )


def seasonal_naive(
    x_BTC: Float[np.ndarray, "B T C"], horizon: int, period: int
) -> Float[np.ndarray, "B H C"]:
    """Return the last period of each window, repeated."""
    last_BPC = x_BTC[:, -period:]
    return last_BPC[:, np.arange(horizon) % last_BPC.shape[1]]
