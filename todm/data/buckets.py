"""Dynamic buckets: batches of similar durations, filled up to a limit on padded audio.

A bucket holds the utterances between two durations; lhotse's estimate puts the bounds where every
bucket has the same share of the corpus's audio. A bucket's batches all hold as many utterances as
the longest of the bucket allows, so the number of batches of an epoch does not depend on its
order: step -> (epoch, batch) is a division, and an epoch's plan is made anew from its number
alone. That is what makes resuming free of replay.

Every utterance is in exactly one batch of an epoch. A bucket's batches differ by one utterance at
most, so that there is no small remainder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from todm.core.data_config import LoaderConfig
from todm.core.errors import ConfigError
from todm.core.rng import derive_seed

BATCHES_PER_BUCKET = 4
"""Fewer buckets than asked for are made of a corpus too small to fill so many batches of each:
the same utterances would share a batch in every epoch."""


class _Durations:
    """What lhotse measures: the durations themselves."""

    def measure_length(self, duration_s: float) -> float:
        """Return it."""
        return duration_s


@dataclass(frozen=True)
class Bucket:
    """Utterances of similar duration and how many fit into a batch."""

    members: NDArray[np.int64]
    batch_size: int

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.members) // self.batch_size)


def make_buckets(durations_s: Sequence[float], config: LoaderConfig) -> list[Bucket]:
    """Sort utterances into buckets.

    The limit holds for the slowest speed that augmentation may draw.

    Raises:
        ConfigError: an utterance alone exceeds the limit.
    """
    assert config.max_duration_s is not None
    slowest = min(config.augment.speed_factors)
    padded_s = np.asarray(durations_s, np.float64) / slowest
    if padded_s.max() > config.max_duration_s:
        at = f" at speed {slowest:g}" if slowest < 1.0 else ""
        raise ConfigError(
            f"data.max_duration_s {config.max_duration_s:g} is less than an utterance of "
            f"{padded_s.max():.2f} s{at}; raise it, or lower data.max_audio_s"
        )
    bucket_of = np.searchsorted(_bounds(padded_s, config), padded_s, side="right")
    found = (np.flatnonzero(bucket_of == index) for index in range(bucket_of.max() + 1))
    return [
        Bucket(
            members, min(config.batch_size, int(config.max_duration_s / padded_s[members].max()))
        )
        for members in found
        if members.size
    ]


def _bounds(padded_s: NDArray[np.float64], config: LoaderConfig) -> list[float]:
    """Return the durations at which buckets begin, by lhotse."""
    from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

    assert config.max_duration_s is not None
    fillable = int(padded_s.sum() / (BATCHES_PER_BUCKET * config.max_duration_s))
    num_buckets = min(config.num_buckets, fillable, padded_s.size)
    if num_buckets < 2:
        return []
    bounds: list[float] = estimate_duration_buckets(
        padded_s.tolist(), num_buckets, constraint=_Durations()
    )
    return bounds


@dataclass(frozen=True)
class DynamicPlan:
    """The batches of every epoch, as a pure function of its number."""

    buckets: list[Bucket]
    seed: int
    shard_of: NDArray[np.int64] | None = None
    """The shard of each utterance, where audio is read in order of shards."""
    shuffle_shards: int = 1
    """Shards whose utterances are shuffled together."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the same in each."""
        return sum(bucket.num_batches for bucket in self.buckets)

    @property
    def least_batch(self) -> int:
        """Utterances of the smallest batch."""
        return min(len(bucket.members) // bucket.num_batches for bucket in self.buckets)

    def batches(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches as indices of utterances.

        Without shards their order is random; with shards a batch comes when the last of its
        utterances has been read.
        """
        rng = np.random.default_rng(derive_seed(self.seed, "epoch", epoch))
        place = self._places(rng)
        found: list[NDArray[np.int64]] = []
        for bucket in self.buckets:
            ordered = bucket.members[np.argsort(place[bucket.members])]
            found += np.array_split(ordered, bucket.num_batches)
        if self.shard_of is None:
            order = rng.permutation(len(found))
        else:
            order = np.argsort([place[members[-1]] for members in found])
        return [list(map(int, found[index])) for index in order]

    def shard_order(self, epoch: int) -> list[int]:
        """Return the shards in the order in which an epoch reads them."""
        assert self.shard_of is not None
        rng = np.random.default_rng(derive_seed(self.seed, "epoch", epoch))
        return list(map(int, rng.permutation(np.unique(self.shard_of))))

    def _places(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the place of each utterance in the epoch's stream."""
        size = sum(len(bucket.members) for bucket in self.buckets)
        if self.shard_of is None:
            return rng.permutation(size)
        shards = rng.permutation(np.unique(self.shard_of))
        window_of = np.empty(shards.max() + 1, np.int64)
        window_of[shards] = np.arange(shards.size) // self.shuffle_shards
        stream = np.lexsort((rng.random(size), window_of[self.shard_of]))
        place = np.empty(size, np.int64)
        place[stream] = np.arange(size)
        return place
