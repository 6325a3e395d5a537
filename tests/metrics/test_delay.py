"""Emission delay and percentiles by hand."""

import pytest

from todm.core.errors import DataError
from todm.metrics.delay import summarise_delays, word_delays_ms
from todm.metrics.latency import percentile, summarise


def test_only_correct_words_count():
    delays_ms = word_delays_ms(
        "ONE TWO THREE", "ONE TOO UM THREE", [0.5, 1.0, 1.5], [0.6, 1.1, 1.2, 1.46]
    )
    assert delays_ms == pytest.approx([100.0, -40.0])


def test_times_must_fit():
    with pytest.raises(DataError, match="1 end times"):
        word_delays_ms("A B", "A", [0.1], [0.2])
    with pytest.raises(DataError, match="0 emission times"):
        word_delays_ms("A", "A", [0.1], [])


def test_summaries():
    found = summarise_delays([10.0, 20.0, 30.0])
    assert (found.n, found.median_ms) == (3, 20.0)
    assert found.p95_ms == pytest.approx(29.0)
    summary = summarise([float(i) for i in range(101)])
    assert (summary.n, summary.p50_ms, summary.p95_ms, summary.p99_ms) == (101, 50, 95, 99)
    assert (summary.mean_ms, summary.max_ms) == (50, 100)


def test_no_value_no_percentile():
    with pytest.raises(DataError, match="at least one value"):
        percentile([], 50)
    with pytest.raises(DataError, match="finite"):
        percentile([1.0, float("nan")], 50)
