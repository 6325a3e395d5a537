"""The area a front dominates, against counting cells of a grid and known cases."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.metrics.hypervolume import hypervolume

SIDE = 12
grid_points = st.lists(st.tuples(st.integers(0, SIDE + 2), st.integers(0, SIDE + 2)), max_size=9)


def cells(points: list[tuple[int, int]], reference: tuple[int, int]) -> int:
    """Count the unit cells below the reference that some point dominates."""
    return sum(
        any(px <= x and py <= y for px, py in points)
        for x in range(reference[0])
        for y in range(reference[1])
    )


@given(grid_points)
def test_equals_the_count_of_dominated_cells(points: list[tuple[int, int]]) -> None:
    assert hypervolume(points, (SIDE, SIDE)) == cells(points, (SIDE, SIDE))


@given(grid_points, st.randoms())
def test_order_repeats_and_dominated_points_do_not_matter(
    points: list[tuple[int, int]], random: Random
) -> None:
    more = [*points, *points, *((x + 1, y) for x, y in points)]
    random.shuffle(more)
    assert hypervolume(more, (SIDE, SIDE)) == hypervolume(points, (SIDE, SIDE))


@given(grid_points, st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)))
def test_a_further_point_never_lessens_it(
    points: list[tuple[int, int]], another: tuple[int, int]
) -> None:
    assert hypervolume([*points, another], (SIDE, SIDE)) >= hypervolume(points, (SIDE, SIDE))


def test_known_fronts() -> None:
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(0.25, 0.5)], (1.0, 1.0)) == 0.375
    assert hypervolume([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)], (4.0, 4.0)) == 6.0
    assert hypervolume([(4.0, 0.0), (0.0, 4.0)], (4.0, 4.0)) == 0.0  # on the reference's edges
    assert hypervolume([(-1.0, -2.0)], (0.0, 0.0)) == 2.0


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (1.0, math.nan), (math.inf, 0.0)])
def test_a_point_without_values_adds_nothing(bad: tuple[float, float]) -> None:
    assert hypervolume([bad, (1.0, 1.0)], (2.0, 2.0)) == 1.0


def test_an_infinite_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        hypervolume([(1.0, 1.0)], (math.inf, 2.0))
