"""Hypervolume of a two-objective front, exact (Zitzler and Thiele 1998, PPSN V).

Both objectives are minimised. The hypervolume is the area of what the points dominate inside the
box below the reference point: the union of the rectangles between each point and the reference.
It grows when a point moves towards the ideal or when a new one joins the front, and it takes a
whole front, so that one number says whether a front got better.
"""

import math
from collections.abc import Iterable

Point = tuple[float, float]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Return the area that the points dominate, in units of both objectives multiplied.

    Args:
        points: Objective values, both minimised; dominated ones, repeats and those at or beyond
            the reference add nothing, infinite and missing (nan) ones are left out.
        reference: The worst values that count. Fronts compare under one reference only.

    Raises:
        ValueError: the reference is not finite.
    """
    if not all(map(math.isfinite, reference)):
        raise ValueError(f"the reference point must be finite, got {reference}")
    worst_x, worst_y = reference
    inside = sorted(
        (x, y) for x, y in points if -math.inf < x < worst_x and -math.inf < y < worst_y
    )
    area, lowest = 0.0, worst_y
    for x, y in inside:  # each better y adds the strip between it and the best so far
        if y < lowest:
            area += (worst_x - x) * (lowest - y)
            lowest = y
    return area
