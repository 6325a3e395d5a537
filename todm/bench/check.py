"""``todm check``: does a bundle still keep what it promised? For continuous integration.

Kinds of line, each a verdict:

- ``budget.*``: every budget of the device profile. Timed lines are measured here and judge only a
  profile of this host; bytes and MACs always do.
- ``parity.stored.*``: what export measured (``parity.json``), judged again by value and limit.
- ``parity.tokens.*``: fp32 tokens and frames of the given recordings, decoded afresh by every
  runtime that the bundle serves and this machine has; the value is the number of recordings that
  differ from ONNX Runtime (the first runtime), the limit 0.
- ``gate.*``, ``drift.*`` and ``isa.*``: accuracy, drift and arithmetic of every form
  (``bench.quality``).
- ``runtimes.*``, where asked for: the same recordings in every runtime (``todm.bench.matrix``).

The sha256 of every file is checked first. A line without a value is ``not_judged``, never met.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from todm.bench.child import CHILD
from todm.bench.figures import cost_measurements
from todm.bench.quality import fresh_drift, stored_quality
from todm.bench.run import REPORT, BenchConfig, budget_values, job_of, run_many
from todm.bench.tokens import CHILD as TOKEN_CHILD
from todm.bench.tokens import TokenJob, Tokens, decode_apart, mismatches
from todm.core.artifact import write_artifact
from todm.core.errors import GateError, MissingExtraError
from todm.core.profile import TIMED_BUDGETS, DeviceProfile
from todm.core.report import Measurement, Report, Verdict, environment, judge
from todm.core.target import Form
from todm.runtimes.bundle import PARITY, PROFILE, Bundle, loaded_names, open_bundle
from todm.runtimes.native import STOCK, needs_library

ODD_PUSH_SAMPLES = 777
"""Samples pushed at a time in the second decoding of the first runtime."""


class CheckConfig(BenchConfig):
    """How the timed lines are measured, and how long a stream is for drift."""

    drift_s: float = Field(default=600.0, ge=0.0)
    """Joined speech streamed through every form; 0 leaves the lines out."""


_RUNTIMES_OF_FORM: tuple[tuple[Form, tuple[str, ...]], ...] = (
    ("onnx", ("ort", "sherpa")),
    ("executorch", ("executorch",)),
)


def run(  # noqa: PLR0913 - what is judged, by what, and two commands for tests
    bundle: Path,
    *,
    profile: DeviceProfile | None = None,
    audio: Sequence[Path] = (),
    config: CheckConfig | None = None,
    heard: Callable[[Bundle], tuple[list[Measurement], list[Verdict]]] | None = None,
    out: Path | None = None,
    command: Sequence[str] = CHILD,
    token_command: Sequence[str] = TOKEN_CHILD,
) -> Report:
    """Judge every budget line and parity tolerance of a bundle.

    Args:
        bundle: A bundle artifact.
        profile: The device; None takes the one stored in the bundle.
        audio: Recordings of speech; without them the timed lines and the fresh parity are
            not judged.
        config: How timed lines and drift are measured.
        heard: Decodes in every runtime (``todm.bench.matrix``); None leaves that out.
        out: Where a report artifact goes; None writes nothing.
        command: The measurement process.
        token_command: The token process.

    Returns:
        The verdicts, for ``require`` to turn into the exit code.

    Raises:
        ArtifactError: no bundle, or a file of it is damaged.
    """
    opened = open_bundle(bundle)
    profile = profile or stored_profile(opened)
    config = config or CheckConfig()
    # drift_s is no setting of the measurement of times.
    timing = BenchConfig.model_validate(config.model_dump(exclude={"drift_s"}))
    measurements, budgets = _budgets(opened, profile, audio, timing, command)
    told, lines_heard = heard(opened) if heard is not None else ([], [])
    verdicts = (
        *budgets,
        *stored_parity(opened),
        *stored_quality(opened, profile),
        *fresh_drift(opened, audio, config.drift_s),
        *fresh_parity(opened, [path.absolute() for path in audio], token_command),
        *lines_heard,
    )
    report = Report(
        environment=environment(), measurements=(*measurements, *told), verdicts=verdicts
    )
    if out is not None:
        _write(out, report, opened, profile)
    return report


def _write(out: Path, report: Report, bundle: Bundle, profile: DeviceProfile | None) -> None:
    with write_artifact(out, kind="report", parents={"model": bundle.artifact}) as draft:
        report.write_json(draft.path / REPORT)
        draft.body = {"of": "check", "device": None if profile is None else profile.name}


def stored_profile(bundle: Bundle) -> DeviceProfile | None:
    """Return the profile that a bundle was exported for, or None."""
    if PROFILE not in bundle.artifact.manifest.files:
        return None
    return DeviceProfile.read_json(bundle.artifact.file(PROFILE))


def require(report: Report, subject: Path) -> None:
    """Do nothing when no verdict failed.

    Raises:
        GateError: one line that names every failed one.
    """
    failed = [v for v in report.verdicts if v.status == "failed"]
    if failed:
        shown = "; ".join(f"{v.name} {v.value:g} > {v.limit:g} {v.unit}".strip() for v in failed)
        raise GateError(f"{subject}: {len(failed)} line(s) failed: {shown}")


def lines(report: Report) -> list[str]:
    """Return one line per verdict for people."""

    def line(v: Verdict) -> str:
        value = "-" if v.value is None else f"{v.value:.6g}"
        limit = f"{v.limit:g} {v.unit}".strip()
        return f"{v.status.replace('_', ' '):<10}  {v.name}  {value} (limit {limit})  {v.note}"

    return [line(v) for v in report.verdicts]


def _budgets(
    bundle: Bundle,
    profile: DeviceProfile | None,
    audio: Sequence[Path],
    config: BenchConfig,
    command: Sequence[str],
) -> tuple[Sequence[Measurement], list[Verdict]]:
    """Measure what the profile's budgets need here, and judge them."""
    if profile is None:
        return [], []
    timed = any(profile.judges(name) for name in profile.budgets if name in TIMED_BUDGETS)
    path = bundle.artifact.path
    if timed and audio:
        reports = run_many(
            {path.name: path}, audio, config, command=command, profiles={path.name: profile}
        )
        measurements: Sequence[Measurement] = reports[path.name].measurements
    else:
        measurements = cost_measurements(
            bundle.artifact, job_of(bundle.artifact, [path], config, profile)
        )
    verdicts = judge(profile, budget_values(measurements))
    return measurements, [_renamed("budget", verdict) for verdict in verdicts]


def _renamed(prefix: str, verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"name": f"{prefix}.{verdict.name.removeprefix('parity.')}"})


def stored_parity(bundle: Bundle) -> list[Verdict]:
    """Judge what export measured again: a value beyond its limit fails whatever it says there."""
    if PARITY not in bundle.artifact.manifest.files:
        return [_not_judged("parity.stored", "the bundle holds no parity figures")]
    stored = Report.read_json(bundle.artifact.file(PARITY))
    return [_judged_again(verdict) for verdict in stored.verdicts]


def _judged_again(verdict: Verdict) -> Verdict:
    verdict = _renamed("parity.stored", verdict)
    if verdict.value is not None and not verdict.value <= verdict.limit:
        return verdict.model_copy(update={"status": "failed"})
    return verdict


def fresh_parity(bundle: Bundle, audio: Sequence[Path], command: Sequence[str]) -> list[Verdict]:
    """Decode the recordings by every runtime of the bundle and compare tokens and frames."""
    if not audio:
        return [_not_judged("parity.tokens", "no audio given")]
    served = served_runtimes(bundle)
    if not served:
        return [_not_judged("parity.tokens", "the bundle has no fp32 form")]
    first, *others = served
    job = TokenJob(model=bundle.artifact.path.absolute(), runtime=first, audio=tuple(audio))
    reference = decode_apart(job, command)
    odd = job.model_copy(update={"push_samples": ODD_PUSH_SAMPLES})
    compared = {f"{first}_pushes": odd}
    compared |= {f"{first}_{o}": job.model_copy(update={"runtime": o}) for o in others}
    return [
        _tokens_verdict(f"parity.tokens.{name}", reference, other, bundle, command)
        for name, other in compared.items()
    ]


def served_runtimes(bundle: Bundle) -> list[str]:
    """Return the runtimes that load the bundle in fp32, the reference first."""
    names = frozenset(bundle.artifact.manifest.files)
    return [
        runtime
        for form, runtimes in _RUNTIMES_OF_FORM
        if loaded_names(form, "fp32", names) is not None
        for runtime in runtimes
        if runtime not in STOCK or not needs_library(bundle, form)
    ]


def _tokens_verdict(
    name: str, reference: Tokens, job: TokenJob, bundle: Bundle, command: Sequence[str]
) -> Verdict:
    try:
        other = decode_apart(job, command)
    except MissingExtraError as error:
        return _not_judged(name, str(error))
    differing = mismatches(reference, other, bundle.contract.blank_id)
    count = sum(len(t.ids) for t in reference.transcripts)
    note = f"{count} tokens in {len(job.audio)} recordings"
    if differing:
        number, mismatch = differing[0]
        note = f"{job.audio[number].name}: {mismatch}"
    return Verdict(
        name=name,
        status="failed" if differing else "met",
        limit=0.0,
        value=len(differing),
        unit="recordings",
        note=note,
    )


def _not_judged(name: str, note: str) -> Verdict:
    return Verdict(name=name, status="not_judged", limit=0.0, value=None, unit="", note=note)
