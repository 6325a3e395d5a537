"""From raw chunk times and artifacts to named measurements."""

from collections.abc import Callable, Sequence
from statistics import median

from todm.bench.job import PARTS, BenchJob, Measured
from todm.core.artifact import Artifact
from todm.core.cost import chunk_macs, chunk_s, macs_per_audio_s, num_parameters
from todm.core.report import Measurement
from todm.core.specs import SubnetSpec
from todm.core.target import Form
from todm.metrics.latency import percentile
from todm.runtimes.bundle import SPEC, loaded_names

PERCENTILES = (50, 95, 99)


def timed_measurements(found: Sequence[Measured], job: BenchJob) -> list[Measurement]:
    """Return latency, RTF, load time, memory and the split of one recogniser's repeats.

    A percentile is that of all repeats' chunks together; low and high are the lowest and
    highest of the single repeats.
    """
    where = f"{job.runtime} {job.precision}, {job.threads} thread(s), {len(found)} process(es)"
    result = latencies("latency_ms", [m.back_to_back_ms for m in found], f"back to back, {where}")
    if all(m.paced_ms for m in found):
        note = f"one chunk per {found[0].chunk_ms:g} ms, {where}"
        result += latencies("latency_ms.paced", [m.paced_ms for m in found], note)
    result += [
        over("rtf", "s/s", [m.rtf for m in found], where),
        over("load_s", "s", [m.load_s for m in found], "opening and checking the artifact"),
        over("import_s", "s", [m.import_s for m in found], f"importing {job.runtime}"),
        Measurement(name="chunk_ms", value=found[0].chunk_ms, unit="ms", note="audio of a chunk"),
    ]
    rises = [m.peak_ram_bytes for m in found if m.peak_ram_bytes is not None]
    if rises:
        result.append(over("peak_ram_bytes", "B", rises, found[0].ram_note, pick=max))
    splits = [m.split_ms for m in found if m.split_ms is not None]
    for part in PARTS if splits else ():
        times_ms = [split[part] for split in splits]
        result.append(over(f"time_ms.{part}", "ms", times_ms, "mean of a chunk, pass of its own"))
    return result


def latencies(name: str, repeats_ms: Sequence[Sequence[float]], note: str) -> list[Measurement]:
    """Return the percentiles of all repeats' times; low and high are of the single repeats."""
    pooled_ms = [ms for times_ms in repeats_ms for ms in times_ms]
    result = []
    for percent in PERCENTILES:
        singles_ms = [percentile(times_ms, percent) for times_ms in repeats_ms]
        value_ms = percentile(pooled_ms, percent)
        result.append(
            Measurement(
                name=f"{name}.p{percent}",
                value=value_ms,
                unit="ms",
                low=min(*singles_ms, value_ms),
                high=max(*singles_ms, value_ms),
                n=len(pooled_ms),
                note=note,
            )
        )
    return result


def over(
    name: str,
    unit: str,
    values: Sequence[float],
    note: str,
    pick: Callable[[Sequence[float]], float] = median,
) -> Measurement:
    """Return a figure of each repeat: what ``pick`` makes of them, with least and largest."""
    return Measurement(
        name=name,
        value=float(pick(values)),
        unit=unit,
        low=float(min(values)),
        high=float(max(values)),
        n=len(values),
        note=note,
    )


def cost_measurements(artifact: Artifact, job: BenchJob) -> list[Measurement]:
    """Return what needs no clock: parameters, MACs by part, bytes that the device loads."""
    spec = SubnetSpec.read_json(artifact.file(SPEC))
    macs, audio_s = chunk_macs(spec), chunk_s(spec)
    parts = {"encoder": macs.encoder, "predictor": macs.predictor, "joiner": macs.joiner}
    result = [
        Measurement(name="params", value=num_parameters(spec), unit="scalars"),
        Measurement(
            name="macs_per_audio_s",
            value=macs_per_audio_s(spec),
            unit="MAC/s",
            note="folded chunk form, predictor at its most: one emission a frame",
        ),
        *(
            Measurement(name=f"macs.{part}", value=count / audio_s, unit="MAC/s")
            for part, count in parts.items()
        ),
    ]
    if artifact.manifest.kind == "bundle":
        form: Form = "executorch" if job.runtime == "executorch" else "onnx"
        names = loaded_names(form, job.precision, frozenset(artifact.manifest.files))
        size = sum(artifact.file(name).stat().st_size for name in names or ())
        note = f"files that {form} loads in {job.precision}"
        result.append(Measurement(name="bundle_bytes", value=size, unit="B", note=note))
    return result
