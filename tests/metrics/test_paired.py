"""The paired comparison against all draws there are; Holm against a published example."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from todm.core.errors import DataError
from todm.metrics.paired import compare_paired, holm


def every_draw(a_G, b_G):
    """All G ** G equally likely draws of units: (errors of a, errors of b)."""
    units = range(len(a_G))
    for draw in itertools.product(units, repeat=len(a_G)):
        yield sum(a_G[i] for i in draw), sum(b_G[i] for i in draw)


@pytest.mark.parametrize(
    ("a", "b"),
    [([1, 0, 2, 1], [2, 1, 1, 2]), ([0, 3, 1, 1, 0], [1, 1, 2, 0, 2]), ([2, 2, 1], [0, 2, 1])],
)
def test_p_value_and_interval_are_those_of_all_draws(a, b):
    draws = list(every_draw(a, b))
    not_worse = np.mean([drawn_b <= drawn_a for drawn_a, drawn_b in draws])
    found = compare_paired([a], [b], [4] * len(a), num_draws=40_000)
    assert found.relative == pytest.approx(sum(b) / sum(a) - 1)
    # four standard errors of a share of 40 000 draws
    assert found.p_worse == pytest.approx(not_worse, abs=4 * 0.5 / 200)
    ratios = [drawn_b / drawn_a - 1 for drawn_a, drawn_b in draws if drawn_a]
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.15)
    assert found.high == pytest.approx(high, abs=0.15)


def test_seeds_are_averaged_and_may_be_drawn():
    a, b = [[2, 0, 1, 3], [0, 2, 1, 1]], [[3, 1, 1, 3], [1, 0, 1, 2]]
    mean_a, mean_b = np.mean(a, axis=0), np.mean(b, axis=0)
    fixed = compare_paired(a, b, [5] * 4, num_draws=4000)
    alone = compare_paired([mean_a], [mean_b], [5] * 4, num_draws=4000)
    assert fixed.p_worse == alone.p_worse
    assert fixed.relative == pytest.approx(alone.relative)
    drawn = compare_paired(a, b, [5] * 4, num_draws=4000, draw_seeds=True)
    assert drawn.relative == fixed.relative
    assert drawn.high - drawn.low > fixed.high - fixed.low


def test_groups_are_drawn_whole():
    a, b = [1, 0, 2, 1, 0, 1], [1, 1, 1, 1, 1, 2]
    groups = ["x", "y", "x", "y", "z", "z"]
    by_group = compare_paired([a], [b], [3] * 6, groups=groups, num_draws=4000)
    summed = compare_paired([[3, 1, 1]], [[2, 2, 3]], [6, 6, 6], num_draws=4000)
    assert by_group == summed
    assert by_group.units == 3


def test_equal_systems_are_never_worse_and_a_clear_case_is():
    a = [[1.0] * 50]
    assert compare_paired(a, a, [5] * 50, num_draws=500).p_worse == 1.0
    assert compare_paired(a, [[2.0] * 50], [5] * 50, num_draws=999).p_worse == 1 / 1000


@pytest.mark.parametrize(
    ("a", "b", "groups", "message"),
    [
        ([[1.0]], [[1.0, 2.0]], None, "one count an utterance"),
        ([], [[1.0, 2.0]], None, "one count an utterance"),
        ([[1.0, 2.0]], [[1.0, 2.0]], ["x"], "one count an utterance"),
        ([[0.0, 0.0]], [[1.0, 0.0]], None, "an error of the first"),
    ],
)
def test_wrong_inputs(a, b, groups, message):
    with pytest.raises(DataError, match=message):
        compare_paired(a, b, [2.0, 2.0], groups=groups)


def test_holm_of_a_published_example():
    # Wikipedia, "Holm-Bonferroni method", example: at 0.05 H1 and H4 are rejected, H2 and H3 not.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holm_rejects_as_the_step_down_rule_does(p_values, level):
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for rank, index in enumerate(order):
        if (len(order) - rank) * p_values[index] >= level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p < level} == rejected


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(DataError, match=r"0\.\.1"):
        holm([0.5, 1.5])
    assert holm([]) == ()
