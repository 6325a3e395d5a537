"""A report page from a handful of artifacts: each finds its place by kind and lineage."""

from collections.abc import Sequence
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.errors import ArtifactError
from todm.core.profile import DeviceProfile
from todm.report.run import ReportSources
from todm.report.sources import DeviceSources
from todm.runtimes.bundle import PROFILE


def page_sources(paths: Sequence[Path]) -> ReportSources:
    """Sort artifacts into the parts of a page.

    Reports of ``todm eval``, ``bench`` and ``check`` go to the bundle or subnet that they are of.

    Raises:
        ArtifactError: no artifact, one of a kind that the page has no place for, two supernets
            or fronts, or a report of a model that is not given.
    """
    given = [load_artifact(path, verify=False) for path in paths]
    models = [a for a in given if a.manifest.kind in ("subnet", "bundle")]
    reports = [a for a in given if a.manifest.kind == "report"]
    others = [a for a in given if a.manifest.kind in ("corpus", "calibration")]
    if others:
        kind = others[0].manifest.kind
        raise ArtifactError(f"{others[0].path}: is a {kind} artifact; the page has no place for it")
    _known(reports, models)
    return ReportSources(
        supernet=_only(given, "supernet"),
        front=_only(given, "front"),
        devices=[_device(model, [r for r in reports if _is_of(r, model)]) for model in models],
    )


def _is_of(report: Artifact, model: Artifact) -> bool:
    return report.manifest.parents.get("model") == model.digest


def _known(reports: Sequence[Artifact], models: Sequence[Artifact]) -> None:
    for report in reports:
        if not any(_is_of(report, model) for model in models):
            raise ArtifactError(f"{report.path}: is a report of a model that is not given; add it")


def _only(given: Sequence[Artifact], kind: str) -> Path | None:
    found = [artifact.path for artifact in given if artifact.manifest.kind == kind]
    if len(found) > 1:
        raise ArtifactError(f"{found[0]} and {found[1]}: two {kind}s; a page shows one")
    return found[0] if found else None


def _device(model: Artifact, reports: Sequence[Artifact]) -> DeviceSources:
    profile = None
    if PROFILE in model.manifest.files:
        profile = DeviceProfile.read_json(model.file(PROFILE))
    by_stage = {str(report.body.get("of")): report.path for report in reports}
    return DeviceSources(
        name=model.path.name if profile is None else profile.name,
        profile=profile,
        bundle=model.path,
        evaluations={
            str(report.body.get("precision")): report.path
            for report in reports
            if report.body.get("of") == "evaluate"
        },
        bench=by_stage.get("bench"),
        check=by_stage.get("check"),
    )
