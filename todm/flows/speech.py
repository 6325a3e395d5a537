"""Recordings to measure a model with: those given, or a part of its corpus."""

from collections.abc import Sequence
from pathlib import Path

from todm.bench.run import speech_of
from todm.core.data_config import Split
from todm.core.errors import ConfigError, DataError
from todm.flows.lineage import corpus_of


def speech_for(
    model: Path,
    audio: Sequence[Path],
    corpus: Path | None,
    seconds: float,
    split: Split = "test",
) -> list[Path]:
    """Return the recordings given, else recordings of the corpus, by default the lineage's.

    Raises:
        ConfigError: audio and a corpus are both given.
        DataError: a recording is missing, or the split is empty.
        ArtifactError: the model's own corpus is gone.
    """
    if audio and corpus is not None:
        raise ConfigError("give --audio or --corpus, not both")
    missing = [str(path) for path in audio if not path.is_file()]
    if missing:
        raise DataError(f"{', '.join(missing[:5])}: no such audio file; correct the path")
    return list(audio) or speech_of(corpus or corpus_of(model), split, seconds)
