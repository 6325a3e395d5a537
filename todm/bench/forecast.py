"""``todm bench`` of a forecaster: one forecast's latency, memory and size on this machine.

A forecast is due with every new step of the series, as a chunk of audio is with a recogniser: the
profile's budgets are judged by that. Latency against the chunk's, compute per second of the series
against RTF and MACs per second of audio. Memory and bytes are what they are.

``python -m todm.bench.forecast`` is the measurement process: it reads a job and prints one JSON.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from pydantic import Field
from tqdm import tqdm

from todm.bench.child import START_S
from todm.bench.figures import latencies, over
from todm.bench.measure import import_runtime
from todm.bench.memory import PeakMeter
from todm.bench.protocol import ask, serve
from todm.bench.run import PROFILE_RUNTIMES, REPORT, budget_values
from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.cost_forecast import forecast_macs, forecaster_parameters
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, environment, judge
from todm.core.value import Value
from todm.features.series_facts import FACTS, PROBE, SeriesFacts
from todm.runtimes.bundle import SPEC
from todm.runtimes.forecaster import FILES, FORMS, open_forecaster

CHILD: tuple[str, ...] = (sys.executable, "-m", "todm.bench.forecast")
"""The command of a measurement process."""
SLOWEST_FORECAST_S = 5.0
"""A forecaster slower than this is stopped."""
WARMUP_FORECASTS = 5


class ForecastBenchConfig(Value):
    """How a forecaster is measured. What is None comes from the profile, else from the bundle."""

    runtime: str | None = None
    threads: int | None = Field(default=None, ge=1)
    forecasts: int = Field(default=200, ge=1)
    """Forecasts per repeat, of one window each."""
    repeats: int = Field(default=3, ge=1)
    """Processes; their spread is the interval of every timed figure."""


class ForecastJob(Value):
    """One measurement."""

    model: Path
    runtime: str
    threads: int = Field(ge=1)
    forecasts: int = Field(ge=1)


class ForecastMeasured(Value):
    """What a measurement process found."""

    times_ms: tuple[float, ...] = Field(min_length=1)
    import_s: float
    load_s: float
    peak_ram_bytes: int | None
    ram_note: str


def measure(job: ForecastJob) -> ForecastMeasured:
    """Measure a bundle in this process, which should do nothing else."""
    from safetensors.numpy import load_file  # without torch, where the runtime needs none

    begin_s = perf_counter()
    import_runtime(job.runtime)
    import_s = perf_counter() - begin_s
    bundle = load_artifact(job.model, "bundle")
    probe = load_file(bundle.file(PROBE))
    x_BTC, marks_BTM = probe["x_BWC"], probe["marks_BWM"]
    meter = PeakMeter.start()
    begin_s = perf_counter()
    spec = ForecasterSpec.read_json(bundle.file(SPEC))
    loaded = open_forecaster(bundle, spec, job.runtime, threads=job.threads)
    load_s = perf_counter() - begin_s
    times_ms = []
    for number in range(WARMUP_FORECASTS + job.forecasts):
        row = number % x_BTC.shape[0]
        begin_s = perf_counter()
        loaded.forecast(x_BTC[row : row + 1], marks_BTM[row : row + 1])
        times_ms.append(1000.0 * (perf_counter() - begin_s))
    return ForecastMeasured(
        times_ms=tuple(times_ms[WARMUP_FORECASTS:]),
        import_s=import_s,
        load_s=load_s,
        peak_ram_bytes=meter.rise_bytes(),
        ram_note=meter.note,
    )


def run(
    model: Path,
    config: ForecastBenchConfig | None = None,
    *,
    profile: DeviceProfile | None = None,
    out: Path | None = None,
    command: Sequence[str] = CHILD,
) -> Report:
    """Measure a forecaster's bundle and judge a profile's budgets.

    Raises:
        ArtifactError: no such bundle, or it lacks the form.
        MissingExtraError: the runtime's package is not installed.
    """
    config = config or ForecastBenchConfig()
    bundle = load_artifact(model, "bundle")
    job = job_of(bundle, config, profile)
    found = [
        ForecastMeasured.parse(
            ask(
                command,
                job,
                subject=f"{job.model} in {job.runtime}",
                threads=job.threads,
                limit_s=START_S + SLOWEST_FORECAST_S * config.forecasts,
            ),
            where="answer of the measurement process",
        )
        for _ in tqdm(range(config.repeats), desc="bench", unit="run", file=sys.stderr)
    ]
    measurements = tuple(measurements_of(found, bundle, job))
    verdicts = () if profile is None else judge(profile, _budgets(measurements))
    report = Report(environment=environment(), measurements=measurements, verdicts=verdicts)
    if out is not None:
        with write_artifact(out, kind="report", parents={"model": bundle}) as draft:
            report.write_json(draft.path / REPORT)
            device = None if profile is None else profile.name
            draft.body = {
                "of": "bench",
                "runtime": job.runtime,
                "precision": "fp32",
                "threads": job.threads,
                "device": device,
            }
    return report


def job_of(
    bundle: Artifact, config: ForecastBenchConfig, profile: DeviceProfile | None
) -> ForecastJob:
    """Return the measurement: what the config says, else the profile, else the bundle."""
    own = "ort" if profile is None else PROFILE_RUNTIMES[profile.runtime]
    if own not in FORMS or FILES[FORMS[own]] not in bundle.manifest.files:
        own = next(r for r, form in FORMS.items() if FILES[form] in bundle.manifest.files)
    return ForecastJob(
        model=bundle.path.absolute(),
        runtime=config.runtime or own,
        threads=config.threads or (1 if profile is None else profile.threads),
        forecasts=config.forecasts,
    )


def measurements_of(
    found: Sequence[ForecastMeasured], bundle: Artifact, job: ForecastJob
) -> list[Measurement]:
    """Return the figures of all repeats, and what needs no clock."""
    spec = ForecasterSpec.read_json(bundle.file(SPEC))
    step_s = SeriesFacts.read_json(bundle.file(FACTS)).step_s
    where = f"{job.runtime} fp32, {job.threads} thread(s), {len(found)} process(es)"
    result = latencies("latency_ms", [m.times_ms for m in found], f"one forecast, {where}")
    means_s = [sum(m.times_ms) / len(m.times_ms) / 1000.0 for m in found]
    due = f"a forecast with every step of {step_s:g} s"
    result += [
        over("rtf", "s/s", [mean_s / step_s for mean_s in means_s], due),
        over("load_s", "s", [m.load_s for m in found], "opening the artifact"),
        over("import_s", "s", [m.import_s for m in found], f"importing {job.runtime}"),
    ]
    rises = [m.peak_ram_bytes for m in found if m.peak_ram_bytes is not None]
    if rises:
        result.append(over("peak_ram_bytes", "B", rises, found[0].ram_note, pick=max))
    macs = forecast_macs(spec)
    size = bundle.file(FILES[FORMS[job.runtime]]).stat().st_size
    return [
        *result,
        Measurement(name="params", value=forecaster_parameters(spec), unit="scalars"),
        Measurement(name="macs_per_forecast", value=macs, unit="MAC"),
        Measurement(name="macs_per_series_s", value=macs / step_s, unit="MAC/s", note=due),
        Measurement(name="bundle_bytes", value=size, unit="B", note="the file that is loaded"),
    ]


def _budgets(measurements: Sequence[Measurement]) -> dict[str, float]:
    values = {m.name: m.value for m in measurements}
    return budget_values(measurements) | {"macs_per_audio_s": values["macs_per_series_s"]}


def main() -> int:
    """Read a job from stdin, measure, print the answer."""
    return serve(lambda request: measure(ForecastJob.parse(request, where="job on stdin")))


if __name__ == "__main__":
    sys.exit(main())
