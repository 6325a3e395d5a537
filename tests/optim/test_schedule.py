"""The learning-rate factors have the shapes their formulas say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.optim.schedule import eden_factor, one_cycle_factor


def test_eden_at_known_points() -> None:
    def at(step: int, epoch: float) -> float:
        return eden_factor(step, epoch, batches=7500.0, epochs=3.5, warmup_batches=500)

    assert at(0, 0.0) == 0.5
    assert at(250, 0.0) == pytest.approx(0.75 * (1 + (250 / 7500) ** 2) ** -0.25)
    assert at(7500, 0.0) == pytest.approx(2**-0.25)
    assert at(7500, 3.5) == pytest.approx(2**-0.5)


@settings(deadline=None, max_examples=40)
@given(step=st.integers(500, 100_000), epoch=st.floats(0, 100))
def test_eden_only_falls_after_warmup(step: int, epoch: float) -> None:
    def at(step: int, epoch: float) -> float:
        return eden_factor(step, epoch, batches=7500.0, epochs=3.5, warmup_batches=500)

    here = at(step, epoch)
    assert 0.0 < here <= 1.0
    assert at(step + 1, epoch) <= here
    assert at(step, epoch + 0.1) <= here


def test_eden_without_warmup_starts_at_one() -> None:
    assert eden_factor(0, 0.0, batches=10.0, epochs=1.0, warmup_batches=0) == 1.0


@settings(deadline=None, max_examples=40)
@given(total=st.integers(1, 2000), fraction=st.floats(0, 0.99))
def test_one_cycle_rises_then_falls_to_zero(total: int, fraction: float) -> None:
    factors = [one_cycle_factor(step, total, fraction) for step in range(total + 1)]
    assert all(0.0 <= f <= 1.0 for f in factors)
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)
    assert factors[0] > 0.0
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_one_cycle_at_known_points() -> None:
    assert one_cycle_factor(0, 100, 0.1) == pytest.approx(1 / 11)
    assert one_cycle_factor(10, 100, 0.1) == 1.0
    assert one_cycle_factor(55, 100, 0.1) == pytest.approx(0.5)
