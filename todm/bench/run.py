"""``todm bench``: latency, real-time factor, memory and size of a recogniser on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from todm.bench.child import CHILD, bench_many
from todm.bench.figures import cost_measurements, timed_measurements
from todm.bench.job import BenchJob, Measured
from todm.bench.ops import profile_ops
from todm.bench.runner import run_runner, runner_measurements
from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.data_config import Split
from todm.core.errors import ArtifactError, ConfigError, DataError
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, environment, judge
from todm.core.value import Value
from todm.data.manifest import open_corpus
from todm.features.wav import read_audio
from todm.runtimes import Precision
from todm.runtimes.bundle import PTE, onnx_name, open_bundle

REPORT = "report.json"
_MAX_FILES = 50
"""Recordings taken from a corpus; enough for minutes."""
PROFILE_RUNTIMES = {
    "onnxruntime": "ort",
    "sherpa_onnx": "sherpa",
    "executorch": "executorch",
    "onnxruntime_web": "ort",
}
"""The runtime here that stands for a profile's; the browser's is native ONNX Runtime."""


class BenchConfig(Value):
    """How a recogniser is measured. What is None comes from the profile, else from the bundle."""

    runtime: str | None = None
    precision: Precision | None = None
    threads: int | None = Field(default=None, ge=1)
    seconds: float = Field(default=20.0, gt=0.0)
    """Audio decoded back to back, per repeat."""
    paced_s: float = Field(default=4.0, ge=0.0)
    """Audio decoded at the pace of a microphone, per repeat; takes as long. 0 leaves it out."""
    repeats: int = Field(default=3, ge=1)
    """Processes per recogniser; their spread is the interval of every timed figure."""
    runner: Path | None = None
    """The C++ runner (``make runner``): adds its memory and latency, of an ExecuTorch program."""
    profile_ops: bool = False
    """Adds the time of each operator of an ExecuTorch program's encoder."""


def run(
    model: Path,
    audio: Sequence[Path],
    config: BenchConfig | None = None,
    *,
    profile: DeviceProfile | None = None,
    out: Path | None = None,
    command: Sequence[str] = CHILD,
) -> Report:
    """Measure a bundle (or, with the runtime ``torch``, a subnet) and judge a profile's budgets.

    Args:
        model: The artifact.
        audio: Recordings of real speech (``speech_of`` takes them from a corpus).
        config: How; None is the default.
        profile: Judges the budgets, and says runtime, precision and threads.
        out: Where a report artifact goes; None writes nothing.
        command: The measurement process.

    Raises:
        ArtifactError: no such artifact, or it lacks the form or precision.
        DataError: no audio, or it is no speech that can be read.
    """
    return run_many(
        {model.name: model},
        audio,
        config,
        profiles={model.name: profile},
        outs={model.name: out},
        command=command,
    )[model.name]


def run_many(
    models: Mapping[str, Path],
    audio: Sequence[Path],
    config: BenchConfig | None = None,
    *,
    profiles: Mapping[str, DeviceProfile | None] | None = None,
    outs: Mapping[str, Path | None] | None = None,
    command: Sequence[str] = CHILD,
) -> dict[str, Report]:
    """Measure several recognisers interleaved, so that their ratios are side by side.

    Args:
        models: Artifacts by a name of the caller's.
        audio: Recordings of real speech.
        config: How; None is the default.
        profiles: The device of each name, where it has one.
        outs: Where the report artifact of each name goes, where it is to be written.
        command: The measurement process.
    """
    config = config or BenchConfig()
    devices = {name: (profiles or {}).get(name) for name in models}
    artifacts = {name: load_artifact(path, verify=False) for name, path in models.items()}
    jobs = {
        name: job_of(artifact, audio, config, devices[name]) for name, artifact in artifacts.items()
    }
    reports = {}
    for name, found in bench_many(jobs, repeats=config.repeats, command=command).items():
        report = report_of(artifacts[name], jobs[name], found, devices[name])
        more = inside_program(jobs[name], config)
        report = report.model_copy(update={"measurements": (*report.measurements, *more)})
        reports[name] = report
        out = (outs or {}).get(name)
        if out is not None:
            _write(out, report, artifacts[name], jobs[name], devices[name])
    return reports


def inside_program(job: BenchJob, config: BenchConfig) -> list[Measurement]:
    """Return what the config asks for beyond the clock: the C++ runner's figures, the operators'.

    Raises:
        ConfigError: asked for and not measured in ExecuTorch.
    """
    asked = config.profile_ops or config.runner is not None
    if asked and job.runtime != "executorch":
        raise ConfigError(
            f"{job.model}: runner and profile_ops measure an ExecuTorch program, not {job.runtime};"
            " set runtime=executorch"
        )
    found: list[Measurement] = []
    if config.runner is not None:
        audio_S = np.concatenate([read_audio(path) for path in job.audio])
        command = [str(config.runner.absolute())]
        result = run_runner(command, open_bundle(job.model), audio_S, threads=job.threads)
        found += runner_measurements(result)
    return found + (profile_ops(job.model) if config.profile_ops else [])


def job_of(
    artifact: Artifact, audio: Sequence[Path], config: BenchConfig, profile: DeviceProfile | None
) -> BenchJob:
    """Return the measurement of a model: what the config says, else the profile, else the model.

    Raises:
        DataError: no audio is given.
        ArtifactError: the artifact is neither a bundle nor a subnet.
    """
    if not audio:
        raise DataError(f"{artifact.path}: no speech to measure with; give --audio or a corpus")
    own = "ort" if profile is None else PROFILE_RUNTIMES[profile.runtime]
    match artifact.manifest.kind:
        case "subnet":
            own = "torch"
        case "bundle" if onnx_name("encoder", "fp32") not in artifact.manifest.files:
            own = "executorch"
        case "bundle" if PTE not in artifact.manifest.files and own == "executorch":
            own = "ort"
        case "bundle":
            pass
        case kind:
            raise ArtifactError(f"{artifact.path}: is a {kind} artifact; give a bundle or a subnet")
    return BenchJob(
        model=artifact.path.absolute(),
        runtime=config.runtime or own,
        precision=config.precision or ("fp32" if profile is None else profile.numeric),
        threads=config.threads or (1 if profile is None else profile.threads),
        audio=tuple(path.absolute() for path in audio),
        seconds=config.seconds,
        paced_s=config.paced_s,
    )


def speech_of(corpus: Path, split: Split, seconds: float) -> list[Path]:
    """Return recordings of a split that hold that many seconds together, or all there are.

    Raises:
        DataError: the split is empty.
    """
    chosen, held_s = [], 0.0
    for utterance in open_corpus(corpus, verify=False).cuts(split)[:_MAX_FILES]:
        if held_s >= seconds:
            break
        chosen.append(utterance.audio_path)
        held_s += utterance.duration_s
    if not chosen:
        raise DataError(f"{corpus}: split {split!r} holds no utterance; choose another")
    return chosen


def report_of(
    artifact: Artifact, job: BenchJob, found: Sequence[Measured], profile: DeviceProfile | None
) -> Report:
    """Return the figures of a recogniser's repeats, and the verdicts of its device's budgets."""
    measurements = (*timed_measurements(found, job), *cost_measurements(artifact, job))
    verdicts = () if profile is None else judge(profile, budget_values(measurements))
    return Report(environment=environment(), measurements=measurements, verdicts=verdicts)


def budget_values(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the value of each budget line.

    The latency is the worse of both p95, paced and back to back: a device must keep its pace
    with cold caches and low clocks, and catch up when it was late.
    """
    values = {m.name: m.value for m in measurements}
    p95_ms = [values[n] for n in ("latency_ms.p95", "latency_ms.paced.p95") if n in values]
    named = {
        n: values[n]
        for n in ("rtf", "peak_ram_bytes", "bundle_bytes", "macs_per_audio_s")
        if n in values
    }
    return named | ({"chunk_latency_p95_ms": max(p95_ms)} if p95_ms else {})


def _write(
    out: Path, report: Report, model: Artifact, job: BenchJob, profile: DeviceProfile | None
) -> None:
    with write_artifact(out, kind="report", parents={"model": model}) as draft:
        report.write_json(draft.path / REPORT)
        draft.body = {
            "of": "bench",
            "runtime": job.runtime,
            "precision": job.precision,
            "threads": job.threads,
            "device": None if profile is None else profile.name,
        }
