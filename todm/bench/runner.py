"""The C++ runner of ExecuTorch bundles (``runtimes/csrc``): what a device without Python meets.

It is the one place where an ExecuTorch program's memory can be measured: in Python torch itself
would weigh more than any of our nets.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float
from pydantic import Field, ValidationError

from todm.core.errors import ArtifactError, MissingBuildError
from todm.core.report import Measurement
from todm.core.value import Value
from todm.metrics.latency import percentile
from todm.runtimes.bundle import Bundle, Precision
from todm.runtimes.native import library_of

LIMIT_S = 600.0


class PeakBytes(Value):
    """VmHWM of the runner's process."""

    before: int
    """With the libraries loaded and no program."""
    loaded: int
    end: int


class RunnerResult(Value):
    """What the runner prints."""

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    planned_bytes: dict[str, int]
    peak_bytes: PeakBytes
    chunk_ms: tuple[float, ...] = Field(min_length=1)


def run_runner(
    command: Sequence[str],
    bundle: Bundle,
    samples_S: Float[np.ndarray, " S"],
    *,
    precision: Precision = "fp32",
    threads: int = 1,
    features: Path | None = None,
) -> RunnerResult:
    """Transcribe a recording with the runner.

    Args:
        command: The runner, behind an emulator where there is one.
        bundle: A bundle with an ExecuTorch program.
        samples_S: The recording; it reaches the runner as 16-bit samples.
        precision: Which of the bundle's programs.
        threads: Of XNNPACK.
        features: Where the runner writes its features, float32.

    Raises:
        MissingBuildError: no runner there.
        ArtifactError: it fails on the bundle.
    """
    options = ["--threads", str(threads)]
    if (library := library_of(bundle, "executorch")) is not None:
        options += ["--kernels", str(library)]
    if features is not None:
        options += ["--features", str(features)]
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "audio.wav"
        rate_hz = bundle.contract.features.sample_rate_hz
        # Handed over as floats, loud samples would be scaled by 32767 and read by 32768.
        whole_S = np.clip(np.round(samples_S * 32768.0), -32768, 32767).astype(np.int16)
        soundfile.write(str(audio), whole_S, rate_hz, subtype="PCM_16")
        words = [*command, str(bundle.pte_file(precision)), str(audio), *options]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, check=False, timeout=LIMIT_S
            )
        except OSError as error:
            raise MissingBuildError(
                f"{command[0]}: cannot be run ({error.strerror}); build it: make runner"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ArtifactError(f"{command[0]}: no result after {LIMIT_S:.0f} s") from error
    return _parsed(command, done)


def _parsed(command: Sequence[str], done: "subprocess.CompletedProcess[str]") -> RunnerResult:
    try:
        found: Any = json.loads(done.stdout)
        return RunnerResult.model_validate(found)
    except (json.JSONDecodeError, ValidationError) as error:
        lines = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise ArtifactError(
            f"{command[0]}: ended with code {done.returncode} and no result ({lines[-1][:300]})"
        ) from error


def runner_measurements(result: RunnerResult) -> list[Measurement]:
    """Return the runner's figures by name."""
    rise = result.peak_bytes.end - result.peak_bytes.before
    note = "VmHWM of the C++ runner at the end minus that before the program was loaded"
    planned = [
        Measurement(name=f"runner.planned_bytes.{method}", value=count, unit="B")
        for method, count in result.planned_bytes.items()
    ]
    return [
        Measurement(name="runner.peak_ram_bytes", value=rise, unit="B", note=note),
        Measurement(
            name="runner.process_peak_bytes", value=result.peak_bytes.end, unit="B",
            note="VmHWM of the whole process: runtime, program, one recording",
        ),
        *planned,
        *(
            Measurement(
                name=f"runner.latency_ms.p{percent}", value=percentile(result.chunk_ms, percent),
                unit="ms", n=len(result.chunk_ms), note="features, network and search, in C++",
            )
            for percent in (50, 95)
        ),
    ]  # fmt: skip
