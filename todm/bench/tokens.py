"""The token process: ``python -m todm.bench.tokens`` decodes recordings, prints tokens as JSON.

One process per runtime, so that two runtimes never share a process (sherpa-onnx carries an ONNX
Runtime of its own).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from todm.bench.child import SLOWEST_RTF, START_S
from todm.bench.protocol import ask, serve
from todm.core.value import Value
from todm.decode.greedy import Mismatch, first_mismatch
from todm.decode.streaming import Transcript
from todm.features.wav import read_audio
from todm.runtimes import Precision, open_recogniser

CHILD: tuple[str, ...] = (sys.executable, "-m", "todm.bench.tokens")
"""The command of a token process."""
_MAX_RECORDING_S = 60.0
"""Longest recording that the time limit reckons with."""


class TokenJob(Value):
    """Which recordings to decode with what."""

    model: Path
    runtime: str
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)
    audio: tuple[Path, ...] = Field(min_length=1)
    push_samples: int = Field(default=3200, ge=1)
    """Samples handed over at a time; no result may depend on it."""


class Tokens(Value):
    """The transcript of each recording, in order."""

    transcripts: tuple[Transcript, ...]


def decode_job(job: TokenJob) -> Tokens:
    """Decode every recording of a job in this process."""
    recogniser = open_recogniser(job.runtime, job.model, job.precision, job.threads)
    found = []
    for path in job.audio:
        samples_S = read_audio(path)
        stream = recogniser.stream()
        for start in range(0, samples_S.size, job.push_samples):
            stream.accept(samples_S[start : start + job.push_samples])
        found.append(stream.finish())
    return Tokens(transcripts=tuple(found))


def decode_apart(job: TokenJob, command: Sequence[str] = CHILD) -> Tokens:
    """Decode a job in a process of its own.

    Raises:
        TodmError: what the process met, of the same class as there.
    """
    answer = ask(
        command,
        job,
        subject=f"{job.model} in {job.runtime}",
        threads=job.threads,
        limit_s=START_S + SLOWEST_RTF * _MAX_RECORDING_S * len(job.audio),
    )
    return Tokens.parse(answer, where="answer of the token process")


def mismatches(a: Tokens, b: Tokens, blank_id: int) -> list[tuple[int, Mismatch]]:
    """Return each recording whose tokens or frames differ, with the first difference."""
    pairs = zip(a.transcripts, b.transcripts, strict=True)
    found = (
        (number, first_mismatch(one.hypothesis, other.hypothesis, blank_id=blank_id))
        for number, (one, other) in enumerate(pairs)
    )
    return [(number, mismatch) for number, mismatch in found if mismatch is not None]


def main() -> int:
    """Read a job from stdin, decode, print the answer."""
    return serve(lambda request: decode_job(TokenJob.parse(request, where="job on stdin")))


if __name__ == "__main__":
    sys.exit(main())
