"""What a report page shows, read from artifacts; whatever is missing stays empty."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.errors import ArtifactError
from todm.core.front import FRONT_FILE, TRIALS_FILE, Front, FrontPoint
from todm.core.profile import DeviceProfile
from todm.core.report import Environment, Measurement, Report, Verdict
from todm.core.specs import SubnetSpec

LOG = "log.jsonl"
REPORT = "report.json"
SPEC = "spec.json"

Curve = list[tuple[float, float]]
"""Points (step, value) in order."""


@dataclass(frozen=True)
class DeviceSources:
    """The artifacts of one device; all but the name are optional."""

    name: str
    profile: DeviceProfile | None = None
    bundle: Path | None = None
    """The bundle (or subnet) that the device got: says its architecture."""
    evaluations: Mapping[str, Path] = field(default_factory=dict)
    """Report artifacts of ``todm eval`` by precision."""
    bench: Path | None = None
    check: Path | None = None


@dataclass(frozen=True)
class Device:
    """One device as the page shows it."""

    name: str
    title: str
    runtime: str
    spec: SubnetSpec | None
    wer: Mapping[str, Measurement]
    """By precision."""
    figures: Mapping[str, Measurement]
    """Of the bench, by name."""
    verdicts: tuple[Verdict, ...]
    dev_wer: float | None
    """On the search's utterances, for the Pareto plot."""

    def value(self, name: str) -> float | None:
        """Return a bench figure's value, or None."""
        found = self.figures.get(name)
        return None if found is None else found.value

    @property
    def verdict(self) -> str:
        """``failed``; ``met`` when every line is; ``partly`` when the rest is not judged."""
        found = {v.status for v in self.verdicts}
        if "failed" in found:
            return "failed"
        if "met" in found:
            return "partly" if "not_judged" in found else "met"
        return "not_judged"


@dataclass(frozen=True)
class Training:
    """Curves of a supernet's training, by net."""

    loss: Mapping[str, Curve]
    dev_wer: Mapping[str, Curve]


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    title: str
    training: Training | None
    front: Front | None
    trials: Front | None
    devices: tuple[Device, ...]
    stages_s: Mapping[str, float]
    environment: Environment


def read_report(path: Path) -> Report:
    """Read the report of a report artifact.

    Raises:
        ArtifactError: no report artifact there.
    """
    return Report.read_json(load_artifact(path, "report").file(REPORT))


def read_fronts(artifact: Artifact) -> tuple[Front, Front | None]:
    """Read a front artifact: the front and, if kept, every evaluated point."""
    front = Front.read_json(artifact.file(FRONT_FILE))
    if TRIALS_FILE not in artifact.manifest.files:
        return front, None
    return front, Front.read_json(artifact.file(TRIALS_FILE))


def read_training(path: Path) -> Training:
    """Read a supernet artifact's log: ``loss.NET`` of steps, ``dev.NET.wer`` of evaluations.

    Raises:
        ArtifactError: no supernet artifact there, or a line of its log is damaged.
    """
    log = load_artifact(path, "supernet", verify=False).file(LOG)
    loss: dict[str, Curve] = defaultdict(list)
    dev_wer: dict[str, Curve] = defaultdict(list)
    try:
        for line in log.read_text("utf-8").splitlines():
            entry = json.loads(line)
            for key, value in entry.items():
                if key.startswith("loss.") and math.isfinite(value):
                    loss[key.removeprefix("loss.")].append((entry["step"], value))
            for net, scores in entry.get("dev", {}).items():
                dev_wer[net].append((entry["step"], scores["wer"]))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ArtifactError(f"{log}: damaged training log ({error}); train anew") from error
    return Training(loss=dict(loss), dev_wer=dict(dev_wer))


def read_device(
    sources: DeviceSources, points: Sequence[FrontPoint], front: Artifact | None
) -> Device:
    """Read the artifacts of a device.

    Args:
        sources: where they are.
        points: every subnet that the page's search evaluated.
        front: the artifact of that search.

    Raises:
        ArtifactError: a path that is given holds no such artifact.
    """
    spec = dev_wer = None
    if sources.bundle is not None:
        artifact = load_artifact(sources.bundle, verify=False)
        spec = SubnetSpec.read_json(artifact.file(SPEC))
        dev_wer = _searched_wer(spec, points)
        if dev_wer is None and front is not None:
            dev_wer = _extracted_wer(artifact, front)
    bench = None if sources.bench is None else read_report(sources.bench)
    check = None if sources.check is None else read_report(sources.check)
    profile, judged = sources.profile, check or bench
    return Device(
        name=sources.name,
        title=sources.name if profile is None else profile.title,
        runtime="" if profile is None else f"{profile.runtime}, {profile.numeric}",
        spec=spec,
        wer={p: _named(read_report(path), "wer") for p, path in sources.evaluations.items()},
        figures={} if bench is None else {m.name: m for m in bench.measurements},
        verdicts=() if judged is None else judged.verdicts,
        dev_wer=dev_wer,
    )


def _named(report: Report, name: str) -> Measurement:
    return next(m for m in report.measurements if m.name == name)


def _searched_wer(spec: SubnetSpec, points: Sequence[FrontPoint]) -> float | None:
    """Return the search's WER of that architecture; the chunk of a causal net is no part of it."""
    return next((p.wer for p in points if p.spec.axes() == spec.axes()), None)


def _extracted_wer(model: Artifact, front: Artifact) -> float | None:
    """Return the WER on the search's utterances of a net that extraction added to this front."""
    wer = model.body.get("search_wer")
    same = model.manifest.parents.get("front") == front.digest
    return float(wer) if same and isinstance(wer, (int, float)) else None
