"""Dynamic batches: every utterance once, never above the limit, little padding, exact resume."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.core.data_config import LoaderConfig
from todm.core.errors import ConfigError
from todm.data.buckets import DynamicPlan, make_buckets
from todm.data.loader import BatchLoader
from todm.data.manifest import Corpus
from todm.data.order import epoch_batches


def _plan(
    durations_s: Sequence[float], seed: int = 1, *, shards: int = 0, **config: object
) -> DynamicPlan:
    values = {"batch_size": 1000, "augment": {"speed_factors": [1.0]}, **config}
    buckets = make_buckets(durations_s, LoaderConfig.parse(values, where="test"))
    if not shards:
        return DynamicPlan(buckets, seed)
    shard_of = np.arange(len(durations_s)) * shards // len(durations_s)
    return DynamicPlan(buckets, seed, shard_of, 2)


def _padded_s(batch: Sequence[int], durations_s: Sequence[float]) -> float:
    return len(batch) * max(durations_s[i] for i in batch)


def _padding(batches: Sequence[Sequence[int]], durations_s: Sequence[float]) -> float:
    """Share of the padded audio that is padding."""
    padded = sum(_padded_s(batch, durations_s) for batch in batches)
    return 1.0 - sum(durations_s[i] for batch in batches for i in batch) / padded


def _speech_like(num: int) -> list[float]:
    """Durations as those of read books: few short ones, a peak before the longest, an end."""
    rng = np.random.default_rng(0)
    return list(np.clip(16.5 - rng.gamma(2.0, 2.2, num), 1.5, 16.5))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.1, 20.0), min_size=1, max_size=300),
    st.floats(20.0, 200.0),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_every_utterance_once_and_no_batch_above_the_limit(
    durations_s: list[float], limit_s: float, batch_size: int, num_buckets: int, shards: int
) -> None:
    plan = _plan(
        durations_s,
        max_duration_s=limit_s,
        batch_size=batch_size,
        num_buckets=num_buckets,
        shards=shards,
    )
    for epoch in (0, 1):
        batches = plan.batches(epoch)
        assert len(batches) == plan.steps_per_epoch
        assert sorted(itertools.chain(*batches)) == list(range(len(durations_s)))
        assert min(map(len, batches)) == plan.least_batch
        assert max(map(len, batches)) <= batch_size
        assert all(_padded_s(batch, durations_s) <= limit_s * (1 + 1e-12) for batch in batches)
        assert batches == plan.batches(epoch)


def test_the_slowest_speed_counts() -> None:
    durations_s = _speech_like(500)
    plan = _plan(durations_s, max_duration_s=100.0, augment={"speed_factors": [0.8, 1.0]})
    assert all(_padded_s(batch, durations_s) / 0.8 <= 100.0 for batch in plan.batches(0))
    with pytest.raises(ConfigError, match=r"less than an utterance of .* at speed 0.8"):
        _plan(durations_s, max_duration_s=19.0, augment={"speed_factors": [0.8, 1.0]})
    with pytest.raises(ConfigError, match="bucket"):
        LoaderConfig.parse({"max_duration_s": 10.0, "bucket": False}, where="test")


def test_less_padding_than_sorting_within_pools() -> None:
    durations_s = _speech_like(20000)
    dynamic = _plan(durations_s, max_duration_s=240.0).batches(0)
    size = round(len(durations_s) / len(dynamic))
    pools = epoch_batches(durations_s, size, bucket=True, seed=1, epoch=0)
    plain = epoch_batches(durations_s, size, bucket=False, seed=1, epoch=0)
    shares = [_padding(batches, durations_s) for batches in (dynamic, pools, plain)]
    assert shares[0] < 0.9 * shares[1]
    assert shares[1] < 0.2 * shares[2]
    # the limit is used: the padded audio of a mean batch is close to it
    assert np.mean([_padded_s(b, durations_s) for b in dynamic]) > 0.9 * 240.0


def test_epochs_mix_utterances_anew() -> None:
    plan = _plan(_speech_like(2000), max_duration_s=120.0)
    first, second = ({frozenset(b) for b in plan.batches(epoch)} for epoch in (0, 1))
    assert len(first & second) < 0.02 * len(first)
    other = DynamicPlan(plan.buckets, 2)
    assert other.batches(0) != plan.batches(0)


def test_shards_are_read_in_order() -> None:
    """An utterance is needed a window of shards and the open buckets ahead, no further."""
    durations_s = _speech_like(4000)
    plan = _plan(durations_s, max_duration_s=60.0, shards=20)
    assert plan.shard_of is not None
    order = plan.shard_order(3)
    assert sorted(order) == list(range(20))
    assert order != plan.shard_order(4)
    place = {shard: index for index, shard in enumerate(order)}
    batches = plan.batches(3)
    newest = [max(place[plan.shard_of[i]] for i in batch) for batch in batches]
    oldest = [min(place[plan.shard_of[i]] for i in batch) for batch in batches]
    in_windows = np.asarray(newest) // 2
    assert (np.diff(in_windows) >= 0).all()
    spans = in_windows - np.asarray(oldest) // 2
    assert spans.max() <= 1
    within = [plan.shard_of[i] for i in batches[0]]
    assert len(set(within)) == 2, "both shards of a window are shuffled together"


def test_a_resumed_loader_sees_the_same_batches(string_corpus: Corpus) -> None:
    config = LoaderConfig(max_duration_s=8.0, batch_size=6, num_buckets=3)
    straight = BatchLoader(string_corpus, "train", config, 5)
    steps = 3 * straight.steps_per_epoch
    batches = list(itertools.islice(straight.prefetch(0), steps))
    for start in (1, straight.steps_per_epoch, steps - 2):
        resumed = BatchLoader(string_corpus, "train", config, 5).prefetch(start)
        for batch, other in zip(batches[start:], resumed, strict=False):
            assert batch.ids == other.ids
            assert torch.equal(batch.features_BTF, other.features_BTF)
    for epoch in range(3):
        first = epoch * straight.steps_per_epoch
        seen = [i for b in batches[first : first + straight.steps_per_epoch] for i in b.ids]
        assert sorted(seen) == sorted(u.id for u in straight.utterances)
    longest = max(b.features_BTF.shape[0] * b.features_BTF.shape[1] for b in batches)
    assert longest <= 8.0 * 100
