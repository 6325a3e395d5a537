"""Percentile bootstrap intervals of rates, over utterances or over groups of them.

Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance
evaluation", ICASSP: utterances are drawn with replacement and the rate, a ratio of sums, is
computed anew for each draw. Utterances of one speaker (or strings that share recordings) are not
independent; with group labels whole groups are drawn instead, which gives the wider, honest
interval. A comparison of two systems draws the same units for both.

R rows (utterances), G units that are drawn (rows or groups), B draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from todm.core.errors import DataError
from todm.metrics.wer import WordErrors

NUM_DRAWS = 2000
LEVEL = 0.95
_BATCH_DRAWS = 200
"""Draws made at once; the index array of a batch holds this many times G integers."""


@dataclass(frozen=True)
class Interval:
    """A rate (or a difference of rates) with its interval, in the unit of the rate."""

    value: float
    low: float
    high: float
    units: int
    """Independent units that were drawn: utterances or groups."""
    level: float = LEVEL


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Return sum(numerators) / sum(denominators) with its bootstrap interval.

    Args:
        numerators: Of each row, such as its errors.
        denominators: Of each row, such as its words.
        groups: Label of each row (speaker, recording); None draws single rows.
        seed: Of numpy's generator; the same seed gives the same interval.
        num_draws: Bootstrap draws.
        level: Coverage; the interval spans its percentiles.

    Raises:
        DataError: no rows, unequal lengths, or denominators that sum to zero.
    """
    num_R, den_R = _columns(numerators, denominators)
    num_G, den_G = _by_group(num_R, groups), _by_group(den_R, groups)
    value = float(num_G.sum() / den_G.sum())
    drawn_B = _draw_ratios([num_G], [den_G], seed, num_draws)[0]
    return _interval(value, drawn_B, len(num_G), level)


def difference_interval(
    numerators_a: Sequence[float],
    numerators_b: Sequence[float],
    denominators: Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Return rate(b) - rate(a) over the same rows, paired: both see the same draws.

    An interval that excludes zero says that the systems differ at that level.

    Raises:
        DataError: as ``ratio_interval``.
    """
    a_R, den_R = _columns(numerators_a, denominators)
    b_R, _ = _columns(numerators_b, denominators)
    a_G, b_G, den_G = (_by_group(column, groups) for column in (a_R, b_R, den_R))
    value = float((b_G.sum() - a_G.sum()) / den_G.sum())
    ratio_a_B, ratio_b_B = _draw_ratios([a_G, b_G], [den_G, den_G], seed, num_draws)
    return _interval(value, ratio_b_B - ratio_a_B, len(den_G), level)


def wer_interval(
    errors: WordErrors, *, groups: Sequence[str] | None = None, seed: int = 0
) -> Interval:
    """Return a WER in percent with its 95 % interval."""
    counts = [100.0 * u.errors for u in errors.per_utterance]
    words = [float(u.words) for u in errors.per_utterance]
    return ratio_interval(counts, words, groups=groups, seed=seed)


def wer_difference(
    a: WordErrors, b: WordErrors, *, groups: Sequence[str] | None = None, seed: int = 0
) -> Interval:
    """Return WER(b) - WER(a) in percent points on the same references, paired.

    Raises:
        DataError: the two were not counted on the same references.
    """
    words = [float(u.words) for u in a.per_utterance]
    if words != [float(u.words) for u in b.per_utterance]:
        raise DataError("two WERs over different references cannot be paired; use one test set")
    return difference_interval(
        [100.0 * u.errors for u in a.per_utterance],
        [100.0 * u.errors for u in b.per_utterance],
        words,
        groups=groups,
        seed=seed,
    )


def _columns(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    if len(numerators) != len(denominators) or not denominators:
        raise DataError(
            f"{len(numerators)} numerators and {len(denominators)} denominators; "
            "an interval needs one of each per utterance, and at least one"
        )
    num_R, den_R = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if den_R.sum() <= 0:
        raise DataError("the references hold no word, so there is no rate and no interval")
    return num_R, den_R


def _by_group(
    column_R: Float[np.ndarray, " R"], groups: Sequence[str] | None
) -> Float[np.ndarray, " G"]:
    if groups is None:
        return column_R
    if len(groups) != len(column_R):
        raise DataError(f"{len(groups)} group labels for {len(column_R)} rows; give one each")
    _, group_of_R = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(group_of_R, weights=column_R).astype(np.float64)


def _draw_ratios(
    numerators: Sequence[Float[np.ndarray, " G"]],
    denominators: Sequence[Float[np.ndarray, " G"]],
    seed: int,
    num_draws: int,
) -> list[Float[np.ndarray, " B"]]:
    """Return the ratio of sums of each pair over the same draws; draws without words go."""
    generator = np.random.default_rng(seed)
    units = len(numerators[0])
    found: list[list[Float[np.ndarray, " b"]]] = [[] for _ in numerators]
    for start in range(0, num_draws, _BATCH_DRAWS):
        rows = min(_BATCH_DRAWS, num_draws - start)
        index_bG: Int[np.ndarray, "b G"] = generator.integers(0, units, (rows, units))
        for kept, num_G, den_G in zip(found, numerators, denominators, strict=True):
            den_b = den_G[index_bG].sum(axis=1)
            some_b = den_b > 0
            kept.append(num_G[index_bG].sum(axis=1)[some_b] / den_b[some_b])
    return [np.concatenate(kept) for kept in found]


def _interval(value: float, drawn_B: Float[np.ndarray, " B"], units: int, level: float) -> Interval:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn_B, [tail, 1.0 - tail])
    return Interval(value=value, low=float(low), high=float(high), units=units, level=level)
