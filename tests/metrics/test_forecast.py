"""Conformal intervals hold their level where errors are exchangeable, and say where they cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.core.errors import DataError
from todm.metrics.forecast import (
    absolute_error,
    conformal_half_widths,
    coverage,
    least_windows,
    seasonal_naive,
    squared_error,
)


@pytest.mark.parametrize(("level", "least"), [(0.9, 9), (0.8, 4), (0.5, 1), (0.95, 19)])
def test_least_windows(level, least):
    errors = np.arange(1.0, least + 1)[:, None, None]
    half = conformal_half_widths(errors, np.zeros_like(errors), level)
    assert half.item() == least  # the largest of so few
    with pytest.raises(DataError, match=f"at least {least} validation windows"):
        conformal_half_widths(errors[1:], np.zeros_like(errors[1:]), level)
    assert least_windows(level) == least


@given(st.integers(9, 200), st.floats(0.1, 0.9))
def test_the_half_width_is_the_rank_of_the_definition(count, level):
    if count < least_windows(level):
        return
    draw = np.random.default_rng(count)
    y, truth = draw.standard_normal((2, count, 3, 2))
    half_HC = conformal_half_widths(y, truth, level)
    rank = int(np.ceil((count + 1) * level - 1e-9))
    for step, variate in np.ndindex(3, 2):
        ordered = sorted(abs(y[:, step, variate] - truth[:, step, variate]))
        assert half_HC[step, variate] == ordered[rank - 1]


def test_coverage_is_the_level_on_exchangeable_errors():
    draw = np.random.default_rng(0)
    truth = np.zeros((40000, 2, 1))
    noise = draw.standard_normal(truth.shape) * np.array([1.0, 5.0])[:, None]
    half = conformal_half_widths(noise[:20000], truth[:20000], 0.9)
    found = coverage(noise[20000:], truth[20000:], half)
    assert found.share == pytest.approx(0.9, abs=0.01)
    assert found.worst_step == pytest.approx(0.9, abs=0.01)
    assert found.mean_width == pytest.approx(2 * 1.645 * 3.0, rel=0.05)


def test_seasonal_naive_repeats_the_last_season():
    x_BTC = np.arange(10.0)[None, :, None]
    assert seasonal_naive(x_BTC, 5, 3)[0, :, 0].tolist() == [7.0, 8.0, 9.0, 7.0, 8.0]
    assert seasonal_naive(x_BTC, 3, 1)[0, :, 0].tolist() == [9.0, 9.0, 9.0]


def test_errors():
    y, truth = np.array([1.0, 2.0]), np.array([2.0, 4.0])
    assert (squared_error(y, truth), absolute_error(y, truth)) == (2.5, 1.5)
