"""Two ways of training compared on one test set, each trained with several seeds.

The bootstrap (Bisani and Ney, 2004) draws utterances or speakers, the same for both systems, and
asks how often the second is no worse than the first. One question a cell, several cells: Holm's
step-down rule keeps the chance of any false alarm below the level.

S seeds, R rows (utterances), G units that are drawn (rows or groups), B draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from todm.core.errors import DataError

NUM_DRAWS = 10_000
LEVEL = 0.95
_BATCH_DRAWS = 500


@dataclass(frozen=True)
class PairedComparison:
    """How the mean error rate of b stands to that of a."""

    relative: float
    """rate(b) / rate(a) - 1; below zero where b is better."""
    low: float
    high: float
    """The 95 % interval of ``relative`` over the draws."""
    p_worse: float
    """One-sided p-value of b being worse: the share of draws in which it is not."""
    units: int


def compare_paired(
    errors_a: Sequence[Sequence[float]],
    errors_b: Sequence[Sequence[float]],
    words: Sequence[float],
    *,
    groups: Sequence[str] | None = None,
    draw_seeds: bool = False,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> PairedComparison:
    """Compare the mean error rates of two systems over the same utterances.

    p_worse = (1 + draws in which b is not worse) / (1 + draws): equal systems get 1.

    Args:
        errors_a: Errors of the first system, by seed and utterance; rows of equal length.
        errors_b: Of the second one; it may have another number of seeds.
        words: Reference words of each utterance.
        groups: Label of each utterance (its speaker): whole groups are drawn; None draws single
            utterances.
        draw_seeds: Draw each system's trainings anew as well, so that luck of training widens the
            interval; without it the comparison is of these trained nets alone.
        seed: Of numpy's generator.
        num_draws: Bootstrap draws.

    Raises:
        DataError: no rows, unequal lengths, no words, or no error at all in a.
    """
    a_SG, b_SG = (_by_group(errors, len(words), groups) for errors in (errors_a, errors_b))
    words_G = _by_group([words], len(words), groups)[0]
    if words_G.sum() <= 0 or a_SG.sum() <= 0:
        raise DataError("a relative difference needs reference words and an error of the first")
    generator = np.random.default_rng(seed)
    a_B: list[Float[np.ndarray, " b"]] = []
    b_B: list[Float[np.ndarray, " b"]] = []
    for start in range(0, num_draws, _BATCH_DRAWS):
        count = min(_BATCH_DRAWS, num_draws - start)
        units = len(words_G)
        times_BG = generator.multinomial(units, np.full(units, 1 / units), count)
        for drawn, errors_SG in ((a_B, a_SG), (b_B, b_SG)):
            drawn.append(_mean_errors(errors_SG, times_BG, generator if draw_seeds else None))
    return _summary(a_SG, b_SG, np.concatenate(a_B), np.concatenate(b_B))


def _by_group(
    errors: Sequence[Sequence[float]], num_rows: int, groups: Sequence[str] | None
) -> Float[np.ndarray, "S G"]:
    lengths = {len(row) for row in errors} | {num_rows} | ({len(groups)} if groups else set())
    if not errors or lengths != {num_rows} or num_rows == 0:
        raise DataError(f"a paired comparison needs one count an utterance, got {sorted(lengths)}")
    errors_SR = np.asarray(errors, np.float64)
    if groups is None:
        return errors_SR
    _, group_of_R = np.unique(np.asarray(groups), return_inverse=True)
    return np.stack([np.bincount(group_of_R, weights=row_R) for row_R in errors_SR])


def _mean_errors(
    errors_SG: Float[np.ndarray, "S G"],
    times_BG: Float[np.ndarray, "B G"],
    generator: np.random.Generator | None,
) -> Float[np.ndarray, " B"]:
    """Return the errors of each draw, averaged over the seeds or over seeds drawn as well."""
    errors_BS = times_BG @ errors_SG.T
    if generator is not None:
        picked_BS = generator.integers(0, errors_BS.shape[1], errors_BS.shape)
        errors_BS = np.take_along_axis(errors_BS, picked_BS, axis=1)
    mean_B: Float[np.ndarray, " B"] = errors_BS.mean(axis=1)
    return mean_B


def _summary(
    a_SG: Float[np.ndarray, "S G"],
    b_SG: Float[np.ndarray, "S G"],
    a_B: Float[np.ndarray, " B"],
    b_B: Float[np.ndarray, " B"],
) -> PairedComparison:
    """Both rates have the same words below them, so ratios of errors are ratios of rates."""
    whole = b_SG.sum(axis=1).mean() / a_SG.sum(axis=1).mean() - 1
    some_B = a_B > 0
    ratios_B = b_B[some_B] / a_B[some_B] - 1
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ratios_B, [tail, 1 - tail])
    not_worse = int((b_B <= a_B + 1e-9).sum())
    return PairedComparison(
        relative=float(whole),
        low=float(low),
        high=float(high),
        p_worse=(1 + not_worse) / (1 + len(a_B)),
        units=a_SG.shape[1],
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values, in the order given.

    The smallest is multiplied by their number m, the next by m - 1, ...; none is below the one
    before it, none above 1. Rejecting where the adjusted value is below a level keeps the chance
    of any false rejection below it, whatever the dependence.

    Source: Holm, 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6.

    Raises:
        DataError: a value is not in 0..1.
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise DataError(f"p-values must lie in 0..1, got {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)
