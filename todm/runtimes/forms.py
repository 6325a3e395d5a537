"""Which file of a bundle a runtime loads, for models that are one graph."""

from collections.abc import Mapping
from pathlib import Path

from todm.core.artifact import Artifact
from todm.core.errors import ArtifactError
from todm.core.target import Form

FORMS: dict[str, Form] = {"ort": "onnx", "executorch": "executorch"}
"""The form that each runtime loads."""


def file_of(bundle: Artifact, files: Mapping[Form, str], runtime: str, kind: str) -> Path:
    """Return the file that a runtime loads.

    Args:
        bundle: The model.
        files: Of each form, by the kind of model.
        runtime: Of ``FORMS``.
        kind: What to call the model.

    Raises:
        ArtifactError: no such runtime for this kind, or the bundle lacks its form.
    """
    if runtime not in FORMS:
        raise ArtifactError(
            f"{bundle.path}: a {kind} runs in {', '.join(FORMS)}, not in {runtime!r}"
        )
    name = files[FORMS[runtime]]
    if name not in bundle.manifest.files:
        raise ArtifactError(
            f"{bundle.path}: holds no {FORMS[runtime]} form; export it with that target"
        )
    return bundle.path / name


def first_runtime(bundle: Artifact, files: Mapping[Form, str], wanted: str) -> str:
    """Return the wanted runtime where the bundle has its form, else one whose form it has."""
    if wanted in FORMS and files[FORMS[wanted]] in bundle.manifest.files:
        return wanted
    return next(r for r, form in FORMS.items() if files[form] in bundle.manifest.files)
