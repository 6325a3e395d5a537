"""``todm report``: what stages left behind to one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.report import environment
from todm.report.page import render
from todm.report.sources import DeviceSources, Page, read_device, read_fronts, read_training

PAGE = "index.html"
TITLE = "todm: one training, many devices"


@dataclass(frozen=True)
class ReportSources:
    """What a page is made of; every part is optional."""

    supernet: Path | None = None
    front: Path | None = None
    devices: Sequence[DeviceSources] = ()
    stages_s: Mapping[str, float] | None = None
    """Seconds by stage, in order."""
    title: str = TITLE


def run(sources: ReportSources, out: Path) -> Artifact:
    """Write a report artifact that holds ``index.html``.

    Raises:
        ArtifactError: a path that is given holds no artifact of the kind that it should.
    """
    text = render(read_page(sources))
    given = {"supernet": sources.supernet, "front": sources.front}
    given |= {f"device.{d.name}": d.bundle for d in sources.devices}
    parents = {
        role: load_artifact(path, verify=False) for role, path in given.items() if path is not None
    }
    with write_artifact(out, kind="report", parents=parents) as draft:
        (draft.path / PAGE).write_text(text, "utf-8")
        draft.body = {"of": "report", "page": PAGE, "devices": [d.name for d in sources.devices]}
    return load_artifact(out, "report", verify=False)


def read_page(sources: ReportSources) -> Page:
    """Read everything that the page shows."""
    searched = None if sources.front is None else load_artifact(sources.front, "front")
    front, trials = (None, None) if searched is None else read_fronts(searched)
    points = [p for found in (front, trials) if found is not None for p in found.points]
    return Page(
        title=sources.title,
        training=None if sources.supernet is None else read_training(sources.supernet),
        front=front,
        trials=trials,
        devices=tuple(read_device(device, points, searched) for device in sources.devices),
        stages_s=dict(sources.stages_s or {}),
        environment=environment(),
    )
