"""What an artifact was made from, found again by the paths that it remembers."""

from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.errors import ArtifactError, InputError
from todm.core.model_spec import read_model_spec
from todm.core.specs import SubnetSpec
from todm.data.manifest import open_corpus
from todm.runtimes.bundle import SPEC, require_recogniser


def corpus_of(model: Path) -> Path:
    """Return the prepared corpus that a supernet, front, subnet or bundle was made with.

    Raises:
        ArtifactError: ``model`` is no artifact, no recogniser, or its corpus is gone.
    """
    artifact = load_artifact(model, verify=False)
    require_recogniser(artifact)
    remembered = artifact.body.get("corpus_path")
    if not isinstance(remembered, str):
        raise ArtifactError(f"{model}: names no corpus; give --corpus")
    try:
        corpus = open_corpus(Path(remembered), verify=False)
    except InputError as error:
        raise ArtifactError(f"{model}: its corpus is gone ({error}); give --corpus") from error
    _same(artifact, corpus.artifact)
    return Path(remembered)


def _same(model: Artifact, corpus: Artifact) -> None:
    """Refuse a corpus that was prepared anew at the place of the one in the lineage."""
    known = model.manifest.parents.get("corpus")
    if known is not None and known != corpus.digest:
        raise ArtifactError(
            f"{model.path}: was made with another corpus than {corpus.path} holds now; "
            "give --corpus to use it all the same"
        )


def hears_speech(model: Path) -> bool:
    """Tell whether a model is a recogniser, or of no kind that says.

    Raises:
        ArtifactError: it is no artifact.
    """
    artifact = load_artifact(model, verify=False)
    if SPEC not in artifact.manifest.files:
        return True
    return isinstance(read_model_spec(artifact.file(SPEC)), SubnetSpec)
