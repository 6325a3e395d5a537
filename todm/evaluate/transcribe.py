"""``todm transcribe``: recordings to text, streamed as a device would. S samples at 16 kHz."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float

from todm.core.errors import DataError
from todm.core.value import Value
from todm.decode.streaming import Transcript
from todm.evaluate.source import Source
from todm.evaluate.words import TimedWord, timed_words
from todm.features.wav import read_audio
from todm.runtimes import Recogniser


class FileTranscript(Value):
    """What a recogniser heard in one recording; ``to_json`` is the form of ``--json``."""

    path: str
    text: str
    words: tuple[TimedWord, ...]
    duration_s: float
    """Of the recording, without the silence that ends the stream."""
    compute_s: float
    """Wall-clock time of features, network and search."""

    @property
    def rtf(self) -> float:
        """Compute seconds per second of audio."""
        return self.compute_s / self.duration_s

    def line(self, *, times: bool = False) -> str:
        """Return the transcript as a line for people, with start times if asked for."""
        if not times:
            return self.text
        return " ".join(f"[{word.start_s:.2f}] {word.text}" for word in self.words)


def transcribe_files(
    source: Source, audio: Sequence[Path], *, mix_down: bool = False
) -> Iterator[FileTranscript]:
    """Yield the transcript of each file, in order.

    Every path is looked for before the first is decoded; a file's content is checked when its
    turn comes.

    Args:
        source: An open recogniser.
        audio: Files of any format and rate that libsndfile reads.
        mix_down: Average the channels of files with several; without it they are refused.

    Raises:
        DataError: no file given, or one is missing, unreadable, empty, not mono, not finite.
    """
    if not audio:
        raise DataError("no audio file given; name at least one")
    missing = [str(path) for path in audio if not path.is_file()]
    if missing:
        raise DataError(f"{', '.join(missing[:5])}: no such audio file; correct the path")
    return (_transcribe_file(source, path, mix_down) for path in audio)


def _transcribe_file(source: Source, path: Path, mix_down: bool) -> FileTranscript:
    samples_S = read_audio(path, mix_down=mix_down)
    contract = source.recogniser.contract
    transcript, compute_s = timed_transcript(source.recogniser, samples_S)
    return FileTranscript(
        path=str(path),
        text=transcript.text,
        words=timed_words(transcript, source.table, contract),
        duration_s=samples_S.size / contract.features.sample_rate_hz,
        compute_s=compute_s,
    )


def timed_transcript(
    recogniser: Recogniser, samples_S: Float[np.ndarray, " S"]
) -> tuple[Transcript, float]:
    """Stream a recording chunk by chunk, flush its end, and return the seconds it took."""
    contract = recogniser.contract
    block = contract.chunk_ms * contract.features.sample_rate_hz // 1000
    begin_s = perf_counter()
    stream = recogniser.stream()
    for start in range(0, samples_S.size, block):
        stream.accept(samples_S[start : start + block])
    transcript = stream.finish()
    return transcript, perf_counter() - begin_s
