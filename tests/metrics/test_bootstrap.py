"""Properties of the bootstrap intervals."""

import numpy as np
import pytest

from todm.core.errors import DataError
from todm.metrics.bootstrap import (
    difference_interval,
    ratio_interval,
    wer_difference,
    wer_interval,
)
from todm.metrics.wer import word_errors


def rows(num_rows, rate, seed=0):
    words = np.full(num_rows, 5.0)
    errors = np.random.default_rng(seed).binomial(5, rate, num_rows).astype(float)
    return errors.tolist(), words.tolist()


def test_same_seed_same_interval():
    errors, words = np.random.default_rng(0).random(50).tolist(), [5.0] * 50
    assert ratio_interval(errors, words, seed=3) == ratio_interval(errors, words, seed=3)
    assert ratio_interval(errors, words, seed=3) != ratio_interval(errors, words, seed=4)


def test_value_lies_inside_and_matches_the_normal_interval():
    errors, words = rows(400, 0.1)
    found = ratio_interval(errors, words)
    assert found.low < found.value < found.high
    half = 1.96 * np.std(errors) / np.sqrt(400) / 5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_coverage():
    hits = 0
    for seed in range(100):
        errors, words = rows(80, 0.2, seed)
        found = ratio_interval(errors, words, seed=seed, num_draws=400)
        hits += found.low <= 0.2 <= found.high
    assert 86 <= hits <= 100


def test_groups_of_copies_widen_it():
    errors, words = rows(40, 0.2)
    many_errors, many_words = errors * 5, words * 5
    groups = [str(i) for i in range(40)] * 5
    single, grouped = (
        ratio_interval(many_errors, many_words, groups=g, num_draws=1000) for g in (None, groups)
    )
    assert grouped.units == 40
    assert single.units == 200
    assert grouped.high - grouped.low > 1.7 * (single.high - single.low)


def test_one_unit_has_no_width():
    found = ratio_interval([1.0, 2.0], [5.0, 5.0], groups=["a", "a"])
    assert found.low == found.high == found.value == pytest.approx(0.3)


def test_pairing_narrows_a_difference():
    errors, words = rows(100, 0.3)
    better = [max(0.0, e - 1.0) for e in errors]
    found = difference_interval(errors, better, words)
    assert found.value < 0
    assert found.high < 0
    assert difference_interval(errors, errors, words).low == 0.0


def test_wers():
    refs = ["A B", "C D", "E F"]
    a, b = word_errors(refs, ["A B", "C X", "E F"]), word_errors(refs, refs)
    assert wer_interval(a).value == pytest.approx(100 / 6)
    assert wer_difference(a, b).value == pytest.approx(-100 / 6)
    with pytest.raises(DataError, match="cannot be paired"):
        wer_difference(a, word_errors(["A", "B", "C"], refs))


@pytest.mark.parametrize(
    ("errors", "words", "groups", "message"),
    [
        ([], [], None, "at least one"),
        ([1.0], [1.0, 2.0], None, "one of each"),
        ([1.0], [0.0], None, "hold no word"),
        ([1.0, 0.0], [1.0, 2.0], ["a"], "1 group labels for 2 rows"),
    ],
)
def test_wrong_inputs(errors, words, groups, message):
    with pytest.raises(DataError, match=message):
        ratio_interval(errors, words, groups=groups)
