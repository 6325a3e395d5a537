import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.core.artifact import Artifact
from todm.core.data_config import AugmentConfig, LoaderConfig
from todm.core.errors import ConfigError, DataError
from todm.data.augment import NoiseMixer, SpecMasks, change_speed, noise_files
from todm.data.feature_cache import FeatureCache
from todm.data.loader import Batch, BatchLoader, dev_features, feature_stats
from todm.data.manifest import Corpus, open_corpus
from todm.data.order import epoch_batches
from todm.features.fbank import fbank
from todm.features.wav import read_audio

Make = Callable[..., Path]
Tone = Callable[..., np.ndarray]
Prepare = Callable[..., tuple[Artifact, list[str]]]


@pytest.fixture
def noise_dir(tmp_path: Path, make_tone: Tone) -> Path:
    for index in range(3):
        soundfile.write(tmp_path / f"noise{index}.wav", make_tone(index + 90, 0.7), 16000)
    return tmp_path


def _config(noise_dir: Path | None = None, **more: object) -> LoaderConfig:
    noise: dict[str, object] = {}
    if noise_dir is not None:
        noise = {"noise_probability": 0.5, "noise_snr_db": (0, 10), "noise_dir": noise_dir}
    return LoaderConfig.parse(
        {"batch_size": 4, "augment": {"time_masks": 1, **noise}, **more}, where="test"
    )


def assert_same(one: Batch, other: Batch) -> None:
    assert one.ids == other.ids
    assert one.speakers == other.speakers
    for name in ("features_BTF", "frame_lens_B", "targets_BU", "target_lens_B"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("bucket", [True, False])
def test_batch_is_a_pure_function_of_the_step(
    bucket: bool, string_corpus: Corpus, noise_dir: Path
) -> None:
    config = _config(noise_dir, bucket=bucket)
    first = BatchLoader(string_corpus, "train", config, 3)
    batches = [first.batch(step) for step in range(25)]
    other = BatchLoader(string_corpus, "train", config, 3, max_cache_bytes=0)
    for step in (24, 3, 10, 0, 11):
        torch.rand(5), random.random()
        assert_same(batches[step], other.batch(step))
    third = BatchLoader(string_corpus, "train", config, 3)
    for step, batch in zip(range(7, 25), third.prefetch(7), strict=False):
        assert_same(batches[step], batch)
    assert batches[0].ids != BatchLoader(string_corpus, "train", config, 4).batch(0).ids


def test_the_global_generator_is_left_alone(string_corpus: Corpus) -> None:
    loader = BatchLoader(string_corpus, "train", _config(), 3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loader.batch(0)
    next(loader.prefetch(1))
    assert torch.equal(torch.rand(3), expected)


def test_padding_and_lengths(string_corpus: Corpus) -> None:
    config = _config(augment=AugmentConfig.off().to_json())
    loader = BatchLoader(string_corpus, "train", config, 0)
    by_id = {u.id: u for u in loader.utterances}
    assert loader.steps_per_epoch == 10
    seen: list[str] = []
    for step in range(loader.steps_per_epoch):
        batch = loader.batch(step)
        seen += batch.ids
        assert batch.features_BTF.dtype == torch.float32
        assert batch.features_BTF.shape[1] == int(batch.frame_lens_B.max())
        for row, name in enumerate(batch.ids):
            length, count = int(batch.frame_lens_B[row]), int(batch.target_lens_B[row])
            expected_TF = torch.from_numpy(fbank(read_audio(by_id[name].audio_path)))
            assert torch.equal(batch.features_BTF[row, :length], expected_TF)
            assert not batch.features_BTF[row, length:].any()
            assert tuple(batch.targets_BU[row, :count].tolist()) == by_id[name].tokens
            assert not batch.targets_BU[row, count:].any()
            assert batch.speakers[row] == by_id[name].speaker
    assert len(set(seen)) == 40, "an epoch sees every utterance once"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.1, 20.0), min_size=1, max_size=200),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 5),
)
def test_epoch_is_a_permutation(
    durations_s: list[float], batch_size: int, bucket: bool, epoch: int
) -> None:
    batches = epoch_batches(durations_s, batch_size, bucket=bucket, seed=1, epoch=epoch)
    flat = list(itertools.chain(*batches))
    assert len(batches) == len(durations_s) // batch_size
    assert len(set(flat)) == len(flat) == len(batches) * batch_size
    assert batches == epoch_batches(durations_s, batch_size, bucket=bucket, seed=1, epoch=epoch)


def test_buckets_hold_similar_durations() -> None:
    durations_s = list(np.random.default_rng(0).uniform(1.0, 10.0, 640))
    spreads = [
        np.mean(
            [
                np.ptp([durations_s[i] for i in batch])
                for batch in epoch_batches(durations_s, 8, bucket=bucket, seed=1, epoch=0)
            ]
        )
        for bucket in (True, False)
    ]
    assert spreads[0] < 0.2 * spreads[1]


def test_cache_limit_changes_no_result(string_corpus: Corpus) -> None:
    utterances = string_corpus.cuts("train")[:6]
    one_bytes = FeatureCache().features(utterances[0], 1.0).nbytes
    cache = FeatureCache(one_bytes)
    for utterance in (*utterances, *utterances):
        assert np.array_equal(
            cache.features(utterance, 1.1), FeatureCache().features(utterance, 1.1)
        )
    assert cache.held_bytes <= one_bytes


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_duration_and_pitch(factor: float) -> None:
    time_s = np.arange(16000) / 16000
    samples_S = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
    fast_S = change_speed(samples_S, factor)
    assert abs(fast_S.size - 16000 / factor) <= 1
    peak_hz = np.abs(np.fft.rfft(fast_S)).argmax() * 16000 / fast_S.size
    assert peak_hz == pytest.approx(1000 * factor, rel=1e-3)
    assert change_speed(samples_S, 1.0) is samples_S


def test_noise_has_the_asked_ratio(noise_dir: Path) -> None:
    rng = np.random.default_rng(0)
    samples_S = (0.1 * rng.standard_normal(30000)).astype(np.float32)
    noisy_S = NoiseMixer(noise_dir, (10.0, 10.0)).mix(samples_S, rng)
    ratio = np.mean(samples_S**2) / np.mean((noisy_S - samples_S) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.05)


def test_noise_table_chooses_train_and_no_rooms(noise_dir: Path) -> None:
    rows = ["id\tcategory\tsplit\trel_path", "a\train\ttrain\tnoise0.wav"]
    rows += ["b\train\tdev\tnoise1.wav", "c\trir: room\ttrain\tnoise2.wav"]
    (noise_dir / "noise.tsv").write_text("\n".join(rows))
    assert noise_files(noise_dir) == [noise_dir / "noise0.wav"]
    (noise_dir / "noise.tsv").write_text("id\n")
    with pytest.raises(DataError, match="no column"):
        noise_files(noise_dir)
    with pytest.raises(DataError, match="no noise"):
        noise_files(noise_dir / "nowhere")


@pytest.mark.parametrize("num_frames", [1, 3, 9, 10, 200])
@pytest.mark.parametrize("masks", [(0, 2), (2, 0), (3, 1), (0, 0)])
def test_masks_stay_within_their_limits(num_frames: int, masks: tuple[int, int]) -> None:
    config = AugmentConfig(time_masks=masks[0], freq_masks=masks[1], time_mask_fraction=0.3)
    features_TF = torch.arange(num_frames * 80, dtype=torch.float32).reshape(num_frames, 80).sin()
    masked_TF = SpecMasks(config).apply(features_TF, 7)
    assert torch.equal(masked_TF, SpecMasks(config).apply(features_TF, 7))
    changed = masked_TF != features_TF
    frames = int(changed.all(dim=1).sum())
    bins = int(changed.all(dim=0).sum()) if num_frames > 1 else 0
    assert frames <= 0.3 * num_frames
    assert bins <= masks[1] * config.freq_mask_max_bins
    if num_frames == 200:
        assert bool(changed.any()) == any(masks)


def test_dev_features_and_stats(string_corpus: Corpus) -> None:
    pairs = dev_features(string_corpus, "test")
    assert [u.id for u, _ in pairs] == [u.id for u in string_corpus.cuts("test")]
    assert len(dev_features(string_corpus, "test", 3)) == 3
    mean_F, std_F = feature_stats(string_corpus)
    rows = torch.cat(
        [torch.from_numpy(fbank(read_audio(u.audio_path))) for u in string_corpus.cuts("train")]
    ).double()
    silent = rows.mean(1) < -13.0
    assert 0 < silent.sum() < len(rows), "the pauses between words are digital silence"
    heard = rows[~silent]
    std = heard.std(0, correction=0).clamp(min=1.0)
    torch.testing.assert_close(mean_F.double(), heard.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(std_F.double(), std, rtol=1e-5, atol=1e-5)


def test_wrong_configs(string_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 99 exceeds"):
        BatchLoader(string_corpus, "train", LoaderConfig(batch_size=99), 0)
    with pytest.raises(DataError, match="raise max_audio_s"):
        BatchLoader(string_corpus, "train", LoaderConfig(max_audio_s=0.01), 0)
    with pytest.raises(ConfigError, match="noise needs"):
        AugmentConfig.parse({"noise_probability": 0.5}, where="test")
    with pytest.raises(ConfigError, match="speed_factors"):
        AugmentConfig.parse({"speed_factors": [3.0]}, where="test")


def test_a_lost_file_is_named(prepare: Prepare, make_words: Make, tmp_path: Path) -> None:
    artifact, _ = prepare("transcripts", source={"path": str(make_words(tmp_path / "w"))})
    corpus = open_corpus(artifact.path)
    lost = corpus.cuts("train")[0].audio_path
    lost.unlink()
    loader = BatchLoader(corpus, "train", LoaderConfig(batch_size=12), 0)
    with pytest.raises(DataError, match=lost.name):
        next(loader.prefetch(0))


def test_test_only_corpus_has_no_stats(prepare: Prepare, make_words: Make, tmp_path: Path) -> None:
    folder = make_words(tmp_path / "w")
    table = folder / "transcripts.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(x for x in lines if x.endswith("\ttest"))]))
    artifact, _ = prepare("transcripts", source={"path": str(folder)})
    corpus = open_corpus(artifact.path)
    assert not corpus.cuts("train")
    assert corpus.cuts("test")[0].tokens
    with pytest.raises(DataError, match="no training part"):
        feature_stats(corpus)
