"""Training batches as a pure function of (seed, step), and features for evaluation.

B batch, T frames (10 ms), F mel bins, U tokens. Features are raw log mel values: the network
normalises them itself. Shorter utterances are padded at the end with 0.0, which no loss sees:
``frame_lens_B`` and ``target_lens_B`` say what is real.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from todm.core.data_config import LoaderConfig, Split
from todm.core.errors import ConfigError, DataError
from todm.core.rng import derive_seed
from todm.core.shard import Shard
from todm.data.augment import NoiseMixer, SpecMasks, change_speed
from todm.data.buckets import DynamicPlan, make_buckets
from todm.data.feature_cache import DEFAULT_CACHE_BYTES, FeatureCache, load_samples
from todm.data.manifest import Corpus, Utterance
from todm.data.order import FixedPlan
from todm.data.shards import ShardStream, cut_samples, in_shards, shard_numbers
from todm.features.fbank import fbank

if TYPE_CHECKING:
    from lhotse.cut import Cut

STD_FLOOR = 1.0
"""Least standard deviation of a bin (log mel): near-constant bins, such as those above the
band of a telephone recording, must not blow up when divided by it."""
SILENCE_LOG_MEL = -13.0
"""Mean log mel energy of a frame below which it is digital silence (the floor is -15.9)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One padded training batch."""

    features_BTF: Float32[Tensor, "B T F"]
    frame_lens_B: Int64[Tensor, " B"]
    targets_BU: Int64[Tensor, "B U"]
    """Token ids, padded with 0 (the blank)."""
    target_lens_B: Int64[Tensor, " B"]
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    shard: Shard | None = None
    """Which rows of the global batch these are; None: all of them."""

    @property
    def share(self) -> float:
        """The weight of a mean over this batch in the mean over the global batch."""
        return 1.0 if self.shard is None else self.shard.share

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device (what Fabric asks of a batch)."""
        return replace(
            self,
            features_BTF=self.features_BTF.to(device),
            frame_lens_B=self.frame_lens_B.to(device),
            targets_BU=self.targets_BU.to(device),
            target_lens_B=self.target_lens_B.to(device),
        )


class BatchLoader:
    """Batches of one split; ``batch(step)`` depends on nothing but (corpus, config, seed, step).

    With several processes each loads its share of that batch, with the same augmentation.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: Split,
        config: LoaderConfig,
        seed: int,
        *,
        max_cache_bytes: int = DEFAULT_CACHE_BYTES,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Choose the utterances; audio is read as batches ask for it.

        Raises:
            DataError: the split is empty or everything in it is too long.
            ConfigError: a batch needs more utterances than there are, or has fewer than there
                are processes.
        """
        everything = corpus.cuts(split)
        self.utterances = [u for u in everything if u.duration_s <= config.max_audio_s]
        where = f"{corpus.artifact.path} {split}"
        if not self.utterances:
            raise DataError(
                f"{where}: none of {len(everything)} utterances is at most "
                f"{config.max_audio_s:g} s long; raise max_audio_s or prepare another corpus"
            )
        if config.max_duration_s is None and len(self.utterances) < config.batch_size:
            raise ConfigError(
                f"{where}: batch_size {config.batch_size} exceeds its "
                f"{len(self.utterances)} utterances; lower it"
            )
        self._config = config
        self._seed = seed
        self._rank, self._world = rank, world
        self._cache = FeatureCache(max_cache_bytes)
        self._masks = SpecMasks(config.augment)
        self._noise = _noise_mixer(config)
        self._plan = _plan(self.utterances, config, seed, where)
        if self._plan.least_batch < world:
            key = "batch_size" if config.max_duration_s is None else "max_duration_s"
            raise ConfigError(
                f"data.{key} {getattr(config, key):g} is the whole batch of {world} processes and "
                f"leaves some without an utterance in batches of {self._plan.least_batch}; raise it"
            )
        self._stream: ShardStream | None = None
        if isinstance(self._plan, DynamicPlan) and self._plan.shard_of is not None:
            self._stream = ShardStream(self.utterances, self._plan)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """(Global) batches in an epoch."""
        return self._plan.steps_per_epoch

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        """Return the (global) batches of an epoch as indices of ``utterances``."""
        return self._plan.batches(epoch)

    def batch(self, step: int) -> Batch:
        """Return the batch of a training step.

        Raises:
            DataError: an audio file is missing or damaged.
        """
        return self._finish(self._draft(step), step)

    def prefetch(self, start_step: int, *, num_ahead: int = 4) -> Iterator[Batch]:
        """Yield the batches from ``start_step`` on, without end.

        A background thread reads and computes features up to ``num_ahead`` batches ahead; the
        masks are drawn in the calling thread. The batches equal those of :meth:`batch`.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="todm-loader") as pool:
            pending = deque(
                pool.submit(self._draft, start_step + ahead) for ahead in range(num_ahead)
            )
            step = start_step
            try:
                while True:
                    draft = pending.popleft().result()
                    pending.append(pool.submit(self._draft, step + num_ahead))
                    yield self._finish(draft, step)
                    step += 1
            finally:
                for future in pending:
                    future.cancel()

    def _draft(self, step: int) -> "_Draft":
        """Return the step's utterances with features, not yet masked."""
        epoch, index = divmod(step, self.steps_per_epoch)
        batches = self._batches(epoch)
        read = {} if self._stream is None else self._stream.take(epoch, index, batches)
        shard = Shard(self._rank, self._world, len(batches[index]))
        chosen = [(self.utterances[batches[index][row]], row) for row in shard.rows]
        return _Draft(shard, [(u, self._features(u, step, row, read)) for u, row in chosen])

    def _batches(self, epoch: int) -> list[list[int]]:
        # One assignment of a tuple: another thread sees the old epoch or the new one, whole.
        held, batches = self._epoch
        if held != epoch:
            batches = self._plan.batches(epoch)
            self._epoch = (epoch, batches)
        return batches

    def _features(
        self, utterance: Utterance, step: int, position: int, read: Mapping[str, "Cut"]
    ) -> Float32[np.ndarray, "T F"]:
        """Return augmented features; ``read`` holds the audio where it comes from shards."""
        augment = self._config.augment
        rng = np.random.default_rng(derive_seed(self._seed, "augment", step, position))
        speed = augment.speed_factors[int(rng.integers(len(augment.speed_factors)))]
        noisy = rng.random() < augment.noise_probability
        mixer = self._noise if noisy else None
        if mixer is None and not read:
            return self._cache.features(utterance, speed)
        if read:
            samples_S = change_speed(cut_samples(read[utterance.id]), speed)
        else:
            samples_S = load_samples(utterance, speed)
        return fbank(samples_S if mixer is None else mixer.mix(samples_S, rng))

    def _finish(self, draft: "_Draft", step: int) -> Batch:
        masked = [
            self._masks.apply(
                torch.from_numpy(features_TF), derive_seed(self._seed, "masks", step, row)
            )
            for row, (_, features_TF) in zip(draft.shard.rows, draft.rows, strict=True)
        ]
        batch = collate([utterance for utterance, _ in draft.rows], masked)
        return batch if self._world == 1 else replace(batch, shard=draft.shard)


@dataclass(frozen=True)
class _Draft:
    """What the background thread prepares of a step."""

    shard: Shard
    rows: list[tuple[Utterance, np.ndarray]]
    """Utterances with features, not yet masked."""


def _plan(
    utterances: Sequence[Utterance], config: LoaderConfig, seed: int, where: str
) -> FixedPlan | DynamicPlan:
    durations_s = [u.duration_s for u in utterances]
    sharded = in_shards(utterances[0])
    if config.max_duration_s is not None:
        shard_of = shard_numbers(utterances)[1] if sharded else None
        buckets = make_buckets(durations_s, config)
        return DynamicPlan(buckets, seed, shard_of, config.shuffle_shards)
    if sharded:
        raise ConfigError(
            f"{where}: its audio is in Lhotse Shar, from which buckets are filled in the order of "
            "reading; set data.max_duration_s"
        )
    return FixedPlan(durations_s, config.batch_size, config.bucket, seed)


def _noise_mixer(config: LoaderConfig) -> NoiseMixer | None:
    augment = config.augment
    if augment.noise_dir is None or augment.noise_snr_db is None:
        return None
    return NoiseMixer(augment.noise_dir, augment.noise_snr_db)


def collate(utterances: Sequence[Utterance], features: Sequence[Float32[Tensor, "_ F"]]) -> Batch:
    """Return a padded batch of utterances and their features."""
    targets = [torch.tensor(u.tokens, dtype=torch.int64) for u in utterances]
    return Batch(
        features_BTF=torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True),
        frame_lens_B=torch.tensor([f.shape[0] for f in features], dtype=torch.int64),
        targets_BU=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        target_lens_B=torch.tensor([len(t) for t in targets], dtype=torch.int64),
        ids=tuple(u.id for u in utterances),
        speakers=tuple(u.speaker for u in utterances),
    )


def dev_features(
    corpus: Corpus, split: Split, limit: int | None = None
) -> list[tuple[Utterance, Float32[Tensor, "_ F"]]]:
    """Return utterances of a split with their unaugmented features, for evaluation.

    Args:
        corpus: The prepared corpus.
        split: Which part.
        limit: At most so many, spread evenly over the split; None takes all.
    """
    utterances = corpus.cuts(split)
    if limit is not None and limit < len(utterances):
        picked = np.linspace(0, len(utterances) - 1, limit).round().astype(int)
        utterances = tuple(utterances[int(index)] for index in picked)
    return [(u, torch.from_numpy(fbank(load_samples(u)))) for u in utterances]


def feature_stats(
    corpus: Corpus, *, seed: int = 0, max_utterances: int = 500
) -> tuple[Float32[Tensor, " F"], Float32[Tensor, " F"]]:
    """Return mean and standard deviation of each bin over a seeded subset of train.

    Frames of digital silence do not count: where recordings are padded with zeros they would
    double the deviation and halve the contrast of the speech.

    Raises:
        DataError: the corpus has no training part.
    """
    utterances = corpus.cuts("train")
    if not utterances:
        raise DataError(f"{corpus.artifact.path}: has no training part; prepare one")
    rng = np.random.default_rng(derive_seed(seed, "feature-stats"))
    picked = rng.permutation(len(utterances))[:max_utterances]
    count, sum_F, squares_F = 0, np.zeros(1), np.zeros(1)
    for index in picked:
        features_TF = fbank(load_samples(utterances[int(index)])).astype(np.float64)
        features_TF = features_TF[features_TF.mean(axis=1) > SILENCE_LOG_MEL]
        count += features_TF.shape[0]
        sum_F = sum_F + features_TF.sum(axis=0)
        squares_F = squares_F + np.square(features_TF).sum(axis=0)
    if count == 0:
        raise DataError(f"{corpus.artifact.path}: its training audio is digital silence")
    mean_F = sum_F / count
    std_F = np.sqrt(np.maximum(squares_F / count - np.square(mean_F), STD_FLOOR**2))
    return torch.from_numpy(mean_F).float(), torch.from_numpy(std_F).float()
