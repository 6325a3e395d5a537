"""The measurement process: ``python -m todm.bench.measure`` reads a job, prints one JSON.

Order matters for memory: everything but the recogniser (the runtime's package, the audio) is in
the process before the high-water mark is started. S samples at 16 kHz, C of a chunk.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from time import perf_counter, sleep

import numpy as np
from jaxtyping import Float32

from todm.bench.job import BenchJob, Measured
from todm.bench.memory import PeakMeter
from todm.bench.protocol import serve
from todm.bench.split import split_times_ms
from todm.core.contract import StreamContract
from todm.features.wav import read_audio
from todm.runtimes import Recogniser, open_recogniser, resolve
from todm.runtimes.remote import RemoteRecogniser
from todm.runtimes.triple import open_triple

PACKAGES = {
    "ort": ("onnxruntime",),
    "sherpa": ("sherpa_onnx",),
    "executorch": ("torch", "executorch.runtime"),
    "torch": ("torch",),
}
"""What belongs to a runtime itself and not to a recogniser."""


def measure(job: BenchJob) -> Measured:
    """Measure a recogniser in this process, which should do nothing else."""
    begin_s = perf_counter()
    import_runtime(job.runtime)
    import_s = perf_counter() - begin_s
    audio_S = np.concatenate([read_audio(path) for path in job.audio])
    meter = PeakMeter.start()
    begin_s = perf_counter()
    recogniser = (
        open_recogniser(job.runtime, job.model, job.precision, job.threads)
        if job.triple is None
        else open_triple(job.triple, job.threads)
    )
    recogniser.stream()
    load_s = perf_counter() - begin_s
    contract = recogniser.contract
    back_to_back_ms, tokens = chunk_times_ms(recogniser, audio_S, job.seconds, job.warmup_chunks)
    paced_ms, _ = chunk_times_ms(
        recogniser, audio_S, job.paced_s, job.warmup_chunks, period_s=contract.chunk_ms / 1000
    )
    # Node and browsers are processes of their own, of which this one's mark tells nothing.
    elsewhere = isinstance(recogniser, RemoteRecogniser)
    peak_ram_bytes = None if elsewhere else meter.rise_bytes()
    return Measured(
        chunk_ms=contract.chunk_ms,
        back_to_back_ms=tuple(back_to_back_ms),
        paced_ms=tuple(paced_ms),
        import_s=import_s,
        load_s=load_s,
        peak_ram_bytes=peak_ram_bytes,
        ram_note="another process; not measured" if elsewhere else meter.note,
        split_ms=split_times_ms(
            recogniser, chunks(audio_S, contract, 1 + num_chunks(contract, job.seconds))
        ),
        tokens=tokens,
    )


def import_runtime(runtime: str) -> None:
    """Import a runtime's package, so that its own memory and time are not the recogniser's."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for package in PACKAGES.get(runtime, ()):
        try:
            importlib.import_module(package)
        except ImportError:
            break  # opening the recogniser says which extra is missing
    if runtime in PACKAGES:
        resolve(runtime)


def chunks(
    audio_S: Float32[np.ndarray, " S"], contract: StreamContract, count: int
) -> Iterator[Float32[np.ndarray, " C"]]:
    """Yield that many chunks; short audio is repeated."""
    size = contract.chunk_ms * contract.features.sample_rate_hz // 1000
    for number in range(count):
        index_C = np.arange(number * size, (number + 1) * size) % audio_S.size
        yield audio_S[index_C]


def num_chunks(contract: StreamContract, seconds: float) -> int:
    """Return the chunks in that many seconds, at least one unless it is none at all."""
    return max(1, int(1000 * seconds / contract.chunk_ms)) if seconds > 0 else 0


def chunk_times_ms(
    recogniser: Recogniser,
    audio_S: Float32[np.ndarray, " S"],
    seconds: float,
    warmup_chunks: int,
    *,
    period_s: float | None = None,
) -> tuple[list[float], int]:
    """Return the time of each chunk after the warm-up, and the tokens emitted.

    A stream decodes exactly one chunk for each chunk of samples, apart from the first, which
    waits for its successor (the strict rule). With a period each chunk is handed over when its
    audio would have been spoken; the wait lets caches cool and clocks fall, as on a device.
    """
    if seconds <= 0:
        return [], 0
    contract = recogniser.contract
    count = warmup_chunks + num_chunks(contract, seconds)
    stream, times_ms = recogniser.stream(), []
    due_s = perf_counter()
    for number, chunk_C in enumerate(chunks(audio_S, contract, count)):
        if period_s is not None:
            due_s += period_s
            sleep(max(0.0, due_s - perf_counter()))
        begin_s = perf_counter()
        stream.accept(chunk_C)
        if number >= warmup_chunks:
            times_ms.append(1000.0 * (perf_counter() - begin_s))
    return times_ms, len(stream.transcript.ids)


def main() -> int:
    """Read a job from stdin, measure, print the answer."""
    return serve(lambda request: measure(BenchJob.parse(request, where="job on stdin")))


if __name__ == "__main__":
    sys.exit(main())
