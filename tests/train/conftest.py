import sys
from pathlib import Path

import numpy as np
import pytest

from todm.core.artifact import Artifact
from todm.core.data_config import PrepareConfig, SourceConfig
from todm.features.wav import write_wav

sys.path.insert(0, str(Path(__file__).parent))  # for the driver of killed trainings

WORDS = ("one", "two", "three", "four")
UTTERANCES = {"train": 26, "dev": 6, "test": 2}


def _sound(number: int) -> np.ndarray:
    """A tone in noise, each of another pitch and duration."""
    draw = np.random.default_rng(number)
    time_S = np.arange(int(16000 * draw.uniform(0.5, 1.1))) / 16000
    tone_S = 0.3 * np.sin(2 * np.pi * (200 + 60 * (number % 9)) * time_S)
    return (tone_S + 0.02 * draw.standard_normal(time_S.size)).astype(np.float32)


@pytest.fixture(scope="session")
def noise_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noise recordings to mix in."""
    folder = tmp_path_factory.mktemp("noise")
    for number in range(2):
        draw = np.random.default_rng(100 + number)
        write_wav(folder / f"{number}.wav", 0.1 * draw.standard_normal(8000).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Tones in noise with texts of one to three words, characters as tokens."""
    from todm.prepare.run import run

    folder = tmp_path_factory.mktemp("tones")
    (folder / "raw").mkdir()
    rows, number = ["utt_id\tspeaker\ttext\trel_path\tsplit"], 0
    for split, count in UTTERANCES.items():
        for _ in range(count):
            number += 1
            write_wav(folder / "raw" / f"{number}.wav", _sound(number))
            text = " ".join(WORDS[(number + i) % 4] for i in range(1 + number % 3))
            rows.append(f"u{number}\ts{number % 3}\t{text}\t{number}.wav\t{split}")
    (folder / "raw" / "transcripts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    source = SourceConfig(corpus="transcripts", path=folder / "raw")
    return run(PrepareConfig(name="tones", source=source), folder / "corpus")
