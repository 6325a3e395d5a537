"""Corpora in Lhotse Shar: the same audio, read in order; resume equals running through."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet

from todm.core.artifact import Artifact
from todm.core.data_config import LoaderConfig
from todm.core.errors import ConfigError, DataError
from todm.data import shards
from todm.data.feature_cache import load_samples
from todm.data.loader import BatchLoader, feature_stats
from todm.data.manifest import Corpus, open_corpus
from todm.features.wav import read_audio

Prepare = Callable[..., tuple[Artifact, list[str]]]
SHARD_SIZE = 5
CONFIG = LoaderConfig(max_duration_s=2.0, batch_size=4, num_buckets=3, shuffle_shards=2)


@pytest.fixture
def pair(
    prepare: Prepare, make_words: Callable[..., Path], tmp_path: Path
) -> tuple[Corpus, Corpus]:
    """The same corpus as files and in shards: 24 training words in five shards."""
    source = {"path": str(make_words(tmp_path / "words", num_each=4))}
    files, _ = prepare("transcripts", source=source, out="files")
    packed, _ = prepare("transcripts", source=source, out="shards", shard_size=SHARD_SIZE)
    return open_corpus(files.path), open_corpus(packed.path)


def test_audio_and_texts_are_the_same(pair: tuple[Corpus, Corpus]) -> None:
    files, packed = pair
    by_id = {u.id: u for u in packed.cuts("train")}
    assert len(by_id) == len(files.cuts("train")) == 24
    for utterance in files.cuts("train"):
        twin = by_id[utterance.id]
        assert (twin.text, twin.tokens, twin.speaker) == (
            utterance.text, utterance.tokens, utterance.speaker,
        )  # fmt: skip
        assert np.array_equal(load_samples(twin), read_audio(utterance.audio_path))
    assert [u.id for u in packed.cuts("dev")] == [u.id for u in files.cuts("dev")]
    mine = [u.id for u in packed.cuts("train")]
    assert mine != [u.id for u in files.cuts("train")], "speakers are mixed"
    assert not list((packed.artifact.path / "audio" / "train").glob("*"))
    torch.testing.assert_close(feature_stats(packed)[0], feature_stats(files)[0])


def test_lhotse_reads_it(pair: tuple[Corpus, Corpus]) -> None:
    files, packed = pair
    cuts = list(CutSet.from_shar(in_dir=packed.artifact.path / "shar" / "train"))
    assert [cut.id for cut in cuts] == [u.id for u in packed.cuts("train")]
    by_id = {u.id: u for u in files.cuts("train")}
    for cut in cuts:
        assert np.array_equal(cut.load_audio()[0], read_audio(by_id[cut.id].audio_path))
        assert cut.supervisions[0].text == by_id[cut.id].text


def test_preparing_twice_gives_the_same_bytes(
    prepare: Prepare, make_words: Callable[..., Path], tmp_path: Path
) -> None:
    source = {"path": str(make_words(tmp_path / "words"))}
    digests = {prepare("transcripts", source=source, shard_size=4)[0].digest for _ in range(2)}
    assert len(digests) == 1


def test_resumed_batches_equal_those_of_running_through(pair: tuple[Corpus, Corpus]) -> None:
    _, packed = pair
    straight = BatchLoader(packed, "train", CONFIG, 5)
    steps = 2 * straight.steps_per_epoch + 1
    batches = list(itertools.islice(straight.prefetch(0), steps))
    for start in range(1, steps):
        batch = next(BatchLoader(packed, "train", CONFIG, 5).prefetch(start))
        assert batch.ids == batches[start].ids
        assert torch.equal(batch.features_BTF, batches[start].features_BTF)
    for epoch in range(2):
        part = batches[epoch * straight.steps_per_epoch : (epoch + 1) * straight.steps_per_epoch]
        assert sorted(i for b in part for i in b.ids) == sorted(u.id for u in packed.cuts("train"))
    assert batches[0].ids != batches[straight.steps_per_epoch].ids


def test_archives_are_read_once_and_in_order(
    pair: tuple[Corpus, Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    import lhotse.shar

    opened: list[list[str]] = []
    real = lhotse.shar.LazySharIterator

    def recorded(fields: dict[str, list[Path]]) -> object:
        opened.append([path.name for path in fields["recording"]])
        return real(fields=fields)

    monkeypatch.setattr(lhotse.shar, "LazySharIterator", recorded)
    _, packed = pair
    loader = BatchLoader(packed, "train", CONFIG, 5)
    stream = loader._stream
    assert stream is not None
    held = []
    for step in range(loader.steps_per_epoch):
        loader.batch(step)
        held.append(stream.num_held)
    assert len(opened) == 1
    assert sorted(opened[0]) == sorted({u.audio_path.name for u in packed.cuts("train")})
    assert opened[0] != sorted(opened[0])
    assert held[-1] == 0
    # the shuffled window and one open batch of each bucket
    assert max(held) <= CONFIG.shuffle_shards * SHARD_SIZE + 3 * CONFIG.batch_size
    late = BatchLoader(packed, "train", CONFIG, 5)
    late.batch(loader.steps_per_epoch - 1)
    assert 0 < len(opened[1]) < len(opened[0]), "resume starts at the first shard it needs"


def test_what_is_wrong_is_told(pair: tuple[Corpus, Corpus]) -> None:
    _, packed = pair
    with pytest.raises(ConfigError, match=r"data\.max_duration_s"):
        BatchLoader(packed, "train", LoaderConfig(batch_size=4), 0)
    archive = packed.cuts("train")[0].audio_path
    with pytest.raises(DataError, match="not in the archive"):
        shards.read_member(archive, "nobody")
    archive.write_bytes(archive.read_bytes()[:1500])
    batches = BatchLoader(packed, "train", CONFIG, 0).prefetch(0)
    with pytest.raises(DataError, match="prepare the corpus anew"):
        list(itertools.islice(batches, 6))
    archive.unlink()
    shards._places.cache_clear()
    with pytest.raises(DataError, match="not readable"):
        shards.read_member(archive, "nobody")
