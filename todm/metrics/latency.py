"""Latency of chunks: percentiles and the summary that every report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from todm.core.errors import DataError


@dataclass(frozen=True)
class LatencySummary:
    """Times of n chunks in milliseconds."""

    n: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the two nearest ranks.

    Fewer than ``100 / (100 - percent)`` values cannot resolve it: the result is then near the
    largest value, so state n beside it.

    Raises:
        DataError: there is no value, or one is not finite.
    """
    if not values or not np.isfinite(values).all():
        raise DataError("a percentile needs at least one value, all of them finite")
    return float(np.percentile(np.asarray(values, np.float64), percent))


def summarise(times_ms: Sequence[float]) -> LatencySummary:
    """Return the summary of chunk times in milliseconds.

    Raises:
        DataError: no times, or one that is not finite.
    """
    p50_ms, p95_ms, p99_ms = (percentile(times_ms, p) for p in (50, 95, 99))
    return LatencySummary(
        n=len(times_ms),
        mean_ms=float(np.mean(times_ms)),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        max_ms=float(np.max(times_ms)),
    )
