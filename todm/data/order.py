"""Which utterances form which batch: a permutation per epoch, a pure function of the seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from todm.core.rng import derive_seed

POOL_BATCHES = 16
"""Bucketing sorts by duration inside pools of this many batches, so batches still vary."""


def epoch_batches(
    durations_s: Sequence[float], batch_size: int, *, bucket: bool, seed: int, epoch: int
) -> list[list[int]]:
    """Return the batches of an epoch as indices; the incomplete last batch is left out.

    Args:
        durations_s: Duration of each utterance, in seconds.
        batch_size: Utterances per batch.
        bucket: Sort by duration inside pools of the shuffled utterances, then shuffle batches.
        seed: The loader's seed.
        epoch: Number of the epoch, from 0.
    """
    rng = np.random.default_rng(derive_seed(seed, "epoch", epoch))
    order = rng.permutation(len(durations_s))
    num_batches = len(durations_s) // batch_size
    order = order[: num_batches * batch_size]
    if num_batches == 0:
        return []
    if not bucket:
        return [list(map(int, part)) for part in order.reshape(num_batches, batch_size)]
    lengths = np.asarray(durations_s)
    pool_size = POOL_BATCHES * batch_size
    pools = [order[start : start + pool_size] for start in range(0, order.size, pool_size)]
    sorted_order = np.concatenate(
        [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    )
    batches = sorted_order.reshape(num_batches, batch_size)
    return [list(map(int, batches[i])) for i in rng.permutation(num_batches)]


@dataclass(frozen=True)
class FixedPlan:
    """Batches of one size; an epoch leaves out the incomplete last one."""

    durations_s: Sequence[float]
    batch_size: int
    bucket: bool
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(self.durations_s) // self.batch_size

    @property
    def least_batch(self) -> int:
        """Utterances of the smallest batch."""
        return self.batch_size

    def batches(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches as indices of utterances."""
        return epoch_batches(
            self.durations_s, self.batch_size, bucket=self.bucket, seed=self.seed, epoch=epoch
        )
