import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.artifact import Artifact
from todm.core.data_config import PrepareConfig, SourceConfig, StringConfig, TokenConfig
from todm.data.manifest import Corpus, open_corpus
from todm.prepare.run import run

WORDS = ("ONE", "TWO", "THREE")
SPEAKERS = ("ann", "bob", "cid", "dee")


def tone(seed: int, duration_s: float = 0.4, rate_hz: int = 16000) -> np.ndarray:
    """A tone with some noise; every seed another one."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * (200 + 37 * (seed % 50)) * time_s)
    return (wave + 0.01 * rng.standard_normal(wave.size)).astype(np.float32)


def write_words(folder: Path, *, rate_hz: int = 16000, num_each: int = 2) -> Path:
    """A folder with transcripts.tsv: isolated words by four speakers, in all splits."""
    (folder / "audio").mkdir(parents=True)
    lines = ["utt_id\tspeaker\ttext\tduration_s\trel_path\tsplit"]
    seed = 0
    for split in ("train", "dev", "test"):
        for speaker in SPEAKERS[:2]:
            for word in WORDS:
                for number in range(num_each):
                    seed += 1
                    name = f"{split}-{speaker}-{word}-{number}"
                    duration_s = 0.2 + 0.01 * (seed % 20)
                    samples = tone(seed, duration_s, rate_hz)
                    soundfile.write(folder / "audio" / f"{name}.wav", samples, rate_hz)
                    cells = (name, speaker, word, f"{duration_s:.3f}", f"audio/{name}.wav", split)
                    lines.append("\t".join(cells))
    (folder / "transcripts.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def write_nemo(folder: Path, num: int = 12) -> Path:
    """A NeMo manifest of tones by four speakers, without splits."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(num):
        soundfile.write(folder / f"n{index}.wav", tone(index, 0.5), 16000)
        entry = {
            "audio_filepath": f"n{index}.wav",
            "text": f"{WORDS[index % 3]} {WORDS[(index + 1) % 3]}".lower(),
            "speaker": SPEAKERS[index % 4],
            "duration": 0.5,
        }
        lines.append(json.dumps(entry))
    (folder / "manifest.json").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "manifest.json"


Prepare = Callable[..., tuple[Artifact, list[str]]]


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Prepare a corpus under a temporary folder; gives the artifact and the reported lines."""

    def go(
        corpus: str,
        *,
        out: str = "prepared",
        unit: str = "word",
        source: dict[str, object] | None = None,
        corpora_dir: Path | None = None,
        **more: object,
    ) -> tuple[Artifact, list[str]]:
        config = PrepareConfig.parse(
            {
                "name": corpus,
                "source": {"corpus": corpus, **(source or {})},
                "tokens": {"unit": unit} if isinstance(unit, str) else unit,
                **more,
            },
            where="test",
        )
        lines: list[str] = []
        artifact = run(config, tmp_path / out, corpora_dir=corpora_dir, report=lines.append)
        return artifact, lines

    return go


@pytest.fixture(scope="session")
def string_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Strings of tones: 40 train, 6 dev, 8 test."""
    folder = tmp_path_factory.mktemp("strings")
    config = PrepareConfig(
        name="tones",
        source=SourceConfig(corpus="transcripts", path=write_words(folder / "words")),
        tokens=TokenConfig(unit="char"),
        strings=StringConfig(num_train=40, num_dev=6, num_test=8),
    )
    return open_corpus(run(config, folder / "prepared").path)


@pytest.fixture
def make_tone() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture
def make_words() -> Callable[..., Path]:
    return write_words


@pytest.fixture
def make_nemo() -> Callable[..., Path]:
    return write_nemo
