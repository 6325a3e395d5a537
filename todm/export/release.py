"""``todm release``: a bundle with a full model card, and the archive that sherpa-onnx users know.

The folder is a bundle again (its parent is the one measured), ready to be pushed to the Hugging
Face hub. The archive is named and laid out as sherpa-onnx's own releases are:
``sherpa-onnx-streaming-todm-NAME-LANGUAGE-DATE.tar.bz2`` with one folder of that name.
"""

import io
import shutil
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.errors import ArtifactError
from todm.core.quality import Quality
from todm.core.report import Report
from todm.export.card import write_card
from todm.export.card_facts import Facts, results_of
from todm.runtimes.bundle import (
    BPE_VOCAB,
    CARD,
    PARITY,
    PARTS,
    QUALITY,
    TOKENS,
    Bundle,
    Precision,
    onnx_name,
    open_bundle,
)
from todm.runtimes.native import needs_library

TYPE = "todm"
SHIPPED: tuple[Precision, ...] = ("fp32", "int8", "int8_block")
"""What a release holds of a bundle's forms."""


def run(
    bundle: Path,
    out: Path,
    *,
    reports: Sequence[Path] = (),
    facts: Facts | None = None,
) -> tuple[Artifact, Path | None]:
    """Write a bundle with its results in the card, and the archive beside it.

    Args:
        bundle: The bundle that was measured.
        out: The new bundle's folder.
        reports: Report artifacts of ``todm eval`` and ``todm bench``.
        facts: Languages, licence, name of the data.

    Returns:
        The new bundle, and the archive or None where sherpa-onnx could not load it.

    Raises:
        ArtifactError: no bundle, or a report of another one.
    """
    opened = open_bundle(bundle)
    told = facts or Facts()
    results = tuple(
        result
        for path in reports
        for result in results_of(load_artifact(path, "report"), opened.artifact, told.data)
    )
    told = told.model_copy(update={"results": (*told.results, *results)})
    if out.resolve() == bundle.resolve():
        raise ArtifactError(f"{out}: is the bundle itself; choose another --out")
    with write_artifact(out, kind="bundle") as draft:
        for name in opened.artifact.manifest.files:
            if name != CARD:
                shutil.copyfile(opened.artifact.file(name), draft.path / name)
        draft.parents = opened.artifact.manifest.parents | {"bundle": opened.artifact.digest}
        draft.body = opened.artifact.body | {"card": told.to_json()}
        parity = Report.read_json(opened.artifact.file(PARITY))
        quality = Quality.read_json(opened.artifact.file(QUALITY))
        write_card(
            draft.path,
            out.name,
            draft.body,
            opened.contract,
            report=parity,
            quality=quality,
            facts=told,
        )
    released = open_bundle(out)
    return released.artifact, write_tarball(released, told.languages)


def tarball_name(model: str, languages: Sequence[str], day: str) -> str:
    """Return the archive's name without its suffix, as sherpa-onnx names its releases."""
    words = ["sherpa-onnx-streaming", TYPE, model.replace("_", "-"), *(languages or ("und",)), day]
    return "-".join(words)


def write_tarball(bundle: Bundle, languages: Sequence[str]) -> Path | None:
    """Write the archive of a bundle beside it.

    It holds what sherpa-onnx loads (the float32 and int8 forms), the contract and the card; order,
    owner and times are fixed, so that the same bundle gives the same bytes on the same day.

    Returns:
        The archive; None where the bundle has no ONNX form, or one with todm's operator.
    """
    files = bundle.artifact.manifest.files
    graphs = [onnx_name(part, precision) for precision in SHIPPED for part in PARTS]
    wanted = [n for n in (*graphs, TOKENS, BPE_VOCAB, "contract.json", CARD) if n in files]
    if onnx_name("encoder", "fp32") not in files or needs_library(bundle, "onnx"):
        return None
    now = datetime.now(UTC)
    name = tarball_name(bundle.artifact.path.name, languages, f"{now:%Y-%m-%d}")
    midnight = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    path = bundle.artifact.path.parent / f"{name}.tar.bz2"
    part = path.with_name(f".{path.name}.part")
    with tarfile.open(part, "w:bz2", format=tarfile.PAX_FORMAT) as archive:
        for file in wanted:
            data = bundle.artifact.file(file).read_bytes()
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mtime, entry.mode = len(data), midnight, 0o644
            archive.addfile(entry, io.BytesIO(data))
    part.rename(path)
    return path
