"""Recordings to measure a model with: those given, or a part of its corpus."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from todm.bench.matrix import Spoken, chosen_places, matrix
from todm.bench.run import speech_of
from todm.core.data_config import SPLITS, Split
from todm.core.errors import ConfigError, DataError, InputError
from todm.core.report import Measurement, Verdict
from todm.data.manifest import open_corpus
from todm.features.wav import read_audio
from todm.flows.lineage import corpus_of
from todm.runtimes.bundle import Bundle


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


def heard_everywhere(
    bundle: Path, runtimes: str, speech: Sequence[Path], corpus: Path | None
) -> Callable[[Bundle], tuple[list[Measurement], list[Verdict]]]:
    """Return what decodes recordings in every runtime asked for.

    Args:
        bundle: The bundle; its corpus knows the texts where none is given.
        runtimes: ``all``, or names of ``todm.bench.matrix.PLACES`` with commas between.
        speech: Recordings.
        corpus: The corpus that they were taken from.

    Raises:
        ConfigError: there is no such runtime.
    """
    places = chosen_places(runtimes)
    texts = _texts(bundle, corpus)
    spoken = [
        Spoken(path, read_audio(path).size / 16000, texts.get(path.absolute())) for path in speech
    ]
    return partial(matrix, spoken=spoken, places=places)


def _texts(bundle: Path, corpus: Path | None) -> dict[Path, str]:
    """Return what was said in each recording of a corpus that is at hand."""
    try:
        opened = open_corpus(corpus or corpus_of(bundle), verify=False)
    except InputError:
        return {}
    return {
        utterance.audio_path.absolute(): utterance.text
        for split in SPLITS
        for utterance in opened.cuts(split)
    }
