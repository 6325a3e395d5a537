import numpy as np
import pytest

from todm.core.errors import DataError
from todm.metrics.deviation import Deviation, drift_of


def test_deviation_is_relative_to_the_reference():
    deviation = Deviation()
    deviation.add(np.array([[1.0, 2.1]]), np.array([[1.0, 2.0]]))
    deviation.add(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0]]))
    assert deviation.rel_max == pytest.approx(0.1 / 4)
    assert deviation.rel_rms == pytest.approx(0.1 / np.sqrt(30))


def test_drift_compares_the_ends_each_by_its_own_level():
    reference_KJ = np.ones((100, 3))
    reference_KJ[80:] = 10.0
    error_KJ = np.zeros((100, 3))
    error_KJ[:20], error_KJ[80:] = 0.01, 0.4
    drift = drift_of(reference_KJ + error_KJ, reference_KJ, 20)
    assert drift.first == pytest.approx(0.01)
    assert drift.last == pytest.approx(0.04)
    assert drift.last_over_first == pytest.approx(4.0)
    expected = np.sqrt((0.01**2 + 0.4**2) * 20 / (80 + 20 * 100))
    assert drift.rel_rms == pytest.approx(expected)


def test_an_exact_stream_does_not_drift():
    reference_KJ = np.random.default_rng(0).standard_normal((40, 2))
    assert drift_of(reference_KJ, reference_KJ, 10).last_over_first == 0.0


def test_a_stream_of_less_than_two_windows_is_refused():
    with pytest.raises(DataError, match="longer stream"):
        drift_of(np.ones((19, 1)), np.ones((19, 1)), 10)
