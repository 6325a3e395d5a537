"""Noise that is mixed in when a corpus is prepared: fixed, as loud as asked, apart by split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.artifact import Artifact
from todm.core.data_config import NoiseConfig
from todm.core.errors import ConfigError, DataError
from todm.data.augment import noise_files
from todm.data.manifest import open_corpus
from todm.features.wav import read_audio

Prepare = Callable[..., tuple[Artifact, list[str]]]
SPLIT_OF = ("train", "train", "dev", "dev", "dev")


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Five noise recordings, each a tone of its own pitch: 1000, 2000, ... Hz."""
    folder = tmp_path / "corpora" / "noise"
    folder.mkdir(parents=True)
    rows = ["id\tcategory\tsplit\trel_path"]
    for number, split in enumerate(SPLIT_OF):
        times_S = np.arange(16000) / 16000
        wave_S = 0.3 * np.sin(2 * np.pi * 1000 * (number + 1) * times_S)
        soundfile.write(folder / f"{number}.wav", wave_S, 16000)
        rows.append(f"{number}\ttone\t{split}\t{number}.wav")
    (folder / "noise.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def audio(artifact: Artifact, split: str) -> dict[str, np.ndarray]:
    return {u.id: read_audio(u.audio_path) for u in open_corpus(artifact.path).cuts(split)}


def pitch_khz(samples_S: np.ndarray) -> int:
    power_F = np.abs(np.fft.rfft(samples_S)) ** 2
    return round(np.fft.rfftfreq(samples_S.size, 1 / 16000)[power_F.argmax()] / 1000)


def test_every_split_has_noise_of_its_own_as_loud_as_asked(
    prepare: Prepare, make_words: Callable[..., Path], noise: Path
) -> None:
    make_words(noise.parent / "fsdd", num_each=4)
    where = {"corpora_dir": noise.parent}
    clean, _ = prepare("fsdd", out="clean", **where)
    asked = {"snr_db": (6.0, 6.0)}
    noisy, _ = prepare("fsdd", out="noisy", noise=asked, **where)
    again, _ = prepare("fsdd", out="again", noise=asked, **where)
    pitches: dict[str, set[int]] = {}
    for split in ("train", "dev", "test"):
        speech, mixed, replay = (audio(made, split) for made in (clean, noisy, again))
        pitches[split] = set()
        for name, mixed_S in mixed.items():
            np.testing.assert_array_equal(mixed_S, replay[name])
            added_S = mixed_S - speech[name]
            ratio = np.sum(speech[name] ** 2) / np.sum(added_S**2)
            assert 10 * np.log10(ratio) == pytest.approx(6.0, abs=0.3)
            pitches[split].add(pitch_khz(added_S))
    assert pitches == {"train": {1, 2}, "dev": {3, 5}, "test": {4}}


def test_a_table_with_a_test_split_is_taken_as_it_is(noise: Path) -> None:
    table = noise / "noise.tsv"
    table.write_text(table.read_text("utf-8").replace("3\ttone\tdev", "3\ttone\ttest"), "utf-8")
    assert [path.stem for path in noise_files(noise, "dev")] == ["2", "4"]
    assert [path.stem for path in noise_files(noise, "test")] == ["3"]


def test_noise_that_cannot_be_kept_apart_is_refused(
    prepare: Prepare, make_words: Callable[..., Path], noise: Path
) -> None:
    table = noise / "noise.tsv"
    text = table.read_text("utf-8")
    table.write_text(text + "short\n", "utf-8")
    with pytest.raises(DataError, match=rf"line {text.count(chr(10)) + 1} has 1 of 4 columns"):
        noise_files(noise, "train")
    table.unlink()
    make_words(noise.parent / "fsdd")
    with pytest.raises(DataError, match="no noise is kept apart for dev"):
        prepare("fsdd", noise={"snr_db": (0, 0)}, corpora_dir=noise.parent)
    with pytest.raises(ConfigError, match="snr_db must ascend"):
        NoiseConfig.parse({"snr_db": (5, 0)}, where="test")
