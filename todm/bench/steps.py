"""``todm bench`` of forecasters and classifiers: one step's latency, memory and size here.

A forecaster's step is a forecast, due with every new step of its series; a classifier's is a chunk
of frames, due when the chunk is full. The profile's budgets are judged by that: latency against the
chunk's, compute per second against RTF and MACs per second of audio. Memory and bytes are what they
are.

``python -m todm.bench.steps`` is the measurement process: it reads a job and prints one JSON.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from pydantic import Field
from tqdm import tqdm

from todm.bench.child import START_S
from todm.bench.figures import latencies, over
from todm.bench.measure import import_runtime
from todm.bench.memory import PeakMeter
from todm.bench.protocol import ask, serve
from todm.bench.run import PROFILE_RUNTIMES, REPORT, budget_values
from todm.bench.step_facts import StepFacts, facts_of
from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.classifier_spec import ClassifierSpec
from todm.core.errors import ArtifactError
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.model_spec import read_model_spec
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, environment, judge
from todm.core.value import Value
from todm.features.series_facts import PROBE
from todm.runtimes.bundle import CONTRACT, SPEC
from todm.runtimes.classifier import ClassifierContract, open_classifier
from todm.runtimes.forecaster import open_forecaster
from todm.runtimes.forms import FORMS, first_runtime

CHILD: tuple[str, ...] = (sys.executable, "-m", "todm.bench.steps")
"""The command of a measurement process."""
SLOWEST_STEP_S = 5.0
"""A model slower than this is stopped."""
WARMUP_STEPS = 5


class StepBenchConfig(Value):
    """How a model is measured. What is None comes from the profile, else from the bundle."""

    runtime: str | None = None
    threads: int | None = Field(default=None, ge=1)
    steps: int = Field(default=200, ge=1)
    """Forecasts, or chunks, per repeat."""
    repeats: int = Field(default=3, ge=1)
    """Processes; their spread is the interval of every timed figure."""


class StepJob(Value):
    """One measurement."""

    model: Path
    runtime: str
    threads: int = Field(ge=1)
    steps: int = Field(ge=1)


class StepsMeasured(Value):
    """What a measurement process found."""

    times_ms: tuple[float, ...] = Field(min_length=1)
    import_s: float
    load_s: float
    peak_ram_bytes: int | None
    ram_note: str


def opened(bundle: Artifact, job: StepJob) -> Callable[[int], object]:
    """Load a bundle and return what computes its step of a number."""
    match read_model_spec(bundle.file(SPEC)):
        case ForecasterSpec() as spec:
            return _forecasts(bundle, spec, job)
        case ClassifierSpec():
            return _chunks(bundle, job)
        case _:
            raise ArtifactError(f"{bundle.path}: is measured with speech")


def _forecasts(bundle: Artifact, spec: ForecasterSpec, job: StepJob) -> Callable[[int], object]:
    from safetensors.numpy import load_file  # without torch, where the runtime needs none

    probe = load_file(bundle.file(PROBE))
    x_BTC, marks_BTM = probe["x_BWC"], probe["marks_BWM"]
    loaded = open_forecaster(bundle, spec, job.runtime, threads=job.threads)

    def step(number: int) -> object:
        row = number % x_BTC.shape[0]
        return loaded.forecast(x_BTC[row : row + 1], marks_BTM[row : row + 1])

    return step


def _chunks(bundle: Artifact, job: StepJob) -> Callable[[int], object]:
    contract = ClassifierContract.read_json(bundle.file(CONTRACT))
    shape = (contract.num_frames // contract.chunk_frames, contract.chunk_frames)
    x_QLI = np.random.default_rng(0).standard_normal((*shape, contract.input_dim), np.float32)
    loaded = open_classifier(bundle, job.runtime, threads=job.threads)
    states = {0: np.zeros((1, contract.state_floats), np.float32)}

    def step(number: int) -> object:
        place = number % len(x_QLI)
        outputs_NY, states[place + 1] = loaded.step(x_QLI[place : place + 1], states[place])
        return outputs_NY

    return step


def measure(job: StepJob) -> StepsMeasured:
    """Measure a bundle in this process, which should do nothing else."""
    begin_s = perf_counter()
    import_runtime(job.runtime)
    import_s = perf_counter() - begin_s
    bundle = load_artifact(job.model, "bundle")
    meter = PeakMeter.start()
    begin_s = perf_counter()
    step = opened(bundle, job)
    load_s = perf_counter() - begin_s
    times_ms = []
    for number in range(WARMUP_STEPS + job.steps):
        begin_s = perf_counter()
        step(number)
        times_ms.append(1000.0 * (perf_counter() - begin_s))
    return StepsMeasured(
        times_ms=tuple(times_ms[WARMUP_STEPS:]),
        import_s=import_s,
        load_s=load_s,
        peak_ram_bytes=meter.rise_bytes(),
        ram_note=meter.note,
    )


def run(
    model: Path,
    config: StepBenchConfig | None = None,
    *,
    profile: DeviceProfile | None = None,
    out: Path | None = None,
    command: Sequence[str] = CHILD,
) -> Report:
    """Measure a bundle and judge a profile's budgets.

    Raises:
        ArtifactError: no such bundle, or it lacks the form.
        MissingExtraError: the runtime's package is not installed.
    """
    config = config or StepBenchConfig()
    bundle = load_artifact(model, "bundle")
    facts = facts_of(bundle)
    job = job_of(bundle, facts, config, profile)
    found = [
        StepsMeasured.parse(
            ask(
                command,
                job,
                subject=f"{job.model} in {job.runtime}",
                threads=job.threads,
                limit_s=START_S + SLOWEST_STEP_S * config.steps,
            ),
            where="answer of the measurement process",
        )
        for _ in tqdm(range(config.repeats), desc="bench", unit="run", file=sys.stderr)
    ]
    measurements = tuple(measurements_of(found, bundle, facts, job))
    verdicts = () if profile is None else judge(profile, _budgets(measurements))
    report = Report(environment=environment(), measurements=measurements, verdicts=verdicts)
    if out is not None:
        with write_artifact(out, kind="report", parents={"model": bundle}) as draft:
            report.write_json(draft.path / REPORT)
            draft.body = {
                "of": "bench",
                "runtime": job.runtime,
                "precision": "fp32",
                "threads": job.threads,
                "device": None if profile is None else profile.name,
            }
    return report


def job_of(
    bundle: Artifact, facts: StepFacts, config: StepBenchConfig, profile: DeviceProfile | None
) -> StepJob:
    """Return the measurement: what the config says, else the profile, else the bundle."""
    own = "ort" if profile is None else PROFILE_RUNTIMES[profile.runtime]
    return StepJob(
        model=bundle.path.absolute(),
        runtime=config.runtime or first_runtime(bundle, facts.files, own),
        threads=config.threads or (1 if profile is None else profile.threads),
        steps=config.steps,
    )


def measurements_of(
    found: Sequence[StepsMeasured], bundle: Artifact, facts: StepFacts, job: StepJob
) -> list[Measurement]:
    """Return the figures of all repeats, and what needs no clock."""
    where = f"{job.runtime} fp32, {job.threads} thread(s), {len(found)} process(es)"
    result = latencies("latency_ms", [m.times_ms for m in found], f"one {facts.step}, {where}")
    means_s = [sum(m.times_ms) / len(m.times_ms) / 1000.0 for m in found]
    if facts.period_s is not None:
        shares = [mean_s / facts.period_s for mean_s in means_s]
        result.append(over("rtf", "s/s", shares, facts.due))
    result += [
        over("load_s", "s", [m.load_s for m in found], "opening the artifact"),
        over("import_s", "s", [m.import_s for m in found], f"importing {job.runtime}"),
    ]
    rises = [m.peak_ram_bytes for m in found if m.peak_ram_bytes is not None]
    if rises:
        result.append(over("peak_ram_bytes", "B", rises, found[0].ram_note, pick=max))
    size = bundle.file(facts.files[FORMS[job.runtime]]).stat().st_size
    loaded = Measurement(name="bundle_bytes", value=size, unit="B", note="the file that is loaded")
    return [*result, *facts.measurements(), loaded]


def _budgets(measurements: Sequence[Measurement]) -> dict[str, float]:
    values = {m.name: m.value for m in measurements}
    budgets = budget_values(measurements)
    if "macs_per_series_s" in values:
        budgets["macs_per_audio_s"] = values["macs_per_series_s"]
    return budgets


def main() -> int:
    """Read a job from stdin, measure, print the answer."""
    return serve(lambda request: measure(StepJob.parse(request, where="job on stdin")))


if __name__ == "__main__":
    sys.exit(main())
