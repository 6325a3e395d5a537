"""What a model card says beyond the export itself: measured results, data, licence, languages.

The front matter is the Hugging Face hub's (https://huggingface.co/docs/hub/model-cards), with a
``model-index`` of every measured figure; its values are written as JSON, which YAML holds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from todm.core.artifact import Artifact
from todm.core.contract import StreamContract
from todm.core.errors import ArtifactError
from todm.core.quality import Quality
from todm.core.report import Report
from todm.core.target import Form
from todm.core.value import Value

TASK = "automatic-speech-recognition"
REPORT = "report.json"
_METRICS = {"wer": "WER", "latency_ms.p95": "latency p95", "rtf": "RTF", "peak_ram_bytes": "RAM"}
"""Figures of a report that a card shows, by the names that people know."""
_RUNTIMES: dict[Form, str] = {"onnx": "ort", "executorch": "executorch"}
TIERS_MS = ((160, "low"), (480, "medium"))
"""Longest chunk of each latency tier; a longer one is ``high``."""


class Result(Value):
    """One measured figure: of which numeric form, in which runtime, on which instruction set."""

    metric: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    n: int
    dataset: str
    split: str
    runtime: str
    precision: str
    isa: tuple[str, ...]


class Facts(Value):
    """What the card is told."""

    languages: tuple[str, ...] = ()
    """ISO 639 codes; empty where nobody said."""
    licence: str | None = None
    """The hub's identifier of the weights' licence; None: it follows from the data."""
    data: str = ""
    """Name of the training data."""
    results: tuple[Result, ...] = ()


def results_of(report: Artifact, model: Artifact, data: str) -> list[Result]:
    """Return the figures of an evaluation or bench of a bundle.

    Raises:
        ArtifactError: the report is of another model, or of another kind.
    """
    body, kind = report.body, report.body.get("of")
    if kind not in ("evaluate", "bench") or "runtime" not in body:
        raise ArtifactError(f"{report.path}: is no report of todm eval or todm bench")
    if report.manifest.parents.get("model") != model.digest:
        raise ArtifactError(f"{report.path}: measured another model than {model.path}")
    told = Report.read_json(report.file(REPORT))
    return [
        Result(
            metric=m.name,
            value=m.value,
            unit=m.unit,
            low=m.low,
            high=m.high,
            n=m.n,
            dataset=data,
            split=str(body.get("split", "test")),
            runtime=str(body["runtime"]),
            precision=str(body["precision"]),
            isa=told.environment.isa,
        )
        for m in told.measurements
        # an evaluation's real-time factor is a by-product
        if m.name in _METRICS and (m.name != "rtf" or kind == "bench")
    ]


def gate_results(quality: Quality, data: str) -> tuple[Result, ...]:
    """Return the word error rates on dev that the accuracy gate measured at export."""
    found: dict[tuple[str, str], Result] = {}
    for record in quality.gate:
        wers = {"fp32": record.wer_fp32, record.scheme.precision: record.wer}
        for precision, wer in wers.items():
            if wer is not None and record.name not in quality.withheld:
                found[record.form, precision] = Result(
                    metric="wer",
                    value=wer,
                    unit="%",
                    n=record.words,
                    dataset=data,
                    split="dev",
                    runtime=_RUNTIMES[record.form],
                    precision=precision,
                    isa=record.isa,
                )
    return tuple(found.values())


def front_matter(name: str, tags: Sequence[str], facts: Facts) -> str:
    """Return the YAML block of the card."""
    head: dict[str, Any] = {"library_name": "todm", "pipeline_tag": TASK}
    if facts.languages:
        head["language"] = list(facts.languages)
    if facts.licence is None:
        head |= {"license": "other", "license_name": "see-training-corpus"}
    else:
        head["license"] = facts.licence
    head["tags"] = list(tags)
    if facts.results:
        head["metrics"] = ["wer"]
        head["model-index"] = [{"name": name, "results": list(_index(facts.results))}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "---\n" + "\n".join(lines) + "\n---\n"


def _index(results: Iterable[Result]) -> Iterable[dict[str, Any]]:
    """Yield the hub's entries; it knows one value a metric, so its name tells the rest."""
    for r in results:
        where = f"{r.runtime}, {r.precision}, {'+'.join(r.isa) or 'unknown ISA'}"
        data = r.dataset or "unnamed"
        yield {
            "task": {"type": TASK, "name": "Streaming speech recognition"},
            "dataset": {"type": data, "name": data, "split": r.split},
            "metrics": [
                {
                    "type": "wer" if r.metric == "wer" else r.metric,
                    "name": f"{_METRICS[r.metric]} ({where})",
                    "value": round(r.value, 4),
                }
            ],
        }


def results_table(results: Sequence[Result]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the card's table of results."""
    head = ("figure", "value", "interval", "n", "data", "precision", "runtime", "instruction set")
    rows: list[tuple[str, ...]] = [
        (
            _METRICS[r.metric],
            f"{r.value:.4g} {r.unit}",
            "-" if r.low is None or r.high is None else f"{r.low:.4g} to {r.high:.4g}",
            str(r.n),
            f"{r.dataset} {r.split}".strip(),
            r.precision,
            r.runtime,
            "+".join(r.isa) or "unknown",
        )
        for r in results
    ]
    return head, rows


def choice_rows(
    body: Mapping[str, Any], contract: StreamContract, facts: Facts
) -> list[tuple[str, str]]:
    """Return what people choose a model by."""
    sizes = ", ".join(f"{form} {n / 1e6:.2f} MB" for form, n in body["bundle_bytes"].items())
    peaks = [r for r in facts.results if r.metric == "peak_ram_bytes"]
    shown = ", ".join(f"{r.runtime} {r.precision} {r.value / 1e6:.1f} MB" for r in peaks)
    tier = next((tier for most, tier in TIERS_MS if contract.chunk_ms <= most), "high")
    return [
        ("size", sizes),
        ("peak RAM", shown or "not measured (todm bench, todm release)"),
        ("languages", ", ".join(facts.languages) or "not told"),
        ("latency tier", f"{tier}: an answer every {contract.chunk_ms} ms"),
        ("training data", facts.data or "not told"),
        ("licence", facts.licence or "follows from the training data"),
    ]
