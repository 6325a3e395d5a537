"""What evaluation opens: a bundle in one of its runtimes, or a subnet in torch."""

from dataclasses import dataclass
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.errors import ArtifactError, ConfigError
from todm.decode.tokens import TokenTable
from todm.runtimes import SUBNET_RUNTIMES, Precision, Recogniser, open_recogniser
from todm.runtimes.bundle import PTE, TABLE


@dataclass(frozen=True)
class Source:
    """A recogniser with the artifact that it came from."""

    artifact: Artifact
    recogniser: Recogniser
    table: TokenTable
    runtime: str
    precision: Precision


def default_runtime(artifact: Artifact) -> str:
    """Return the runtime of a model artifact when none is asked for.

    Raises:
        ArtifactError: the artifact is no bundle and no subnet.
    """
    match artifact.manifest.kind:
        case "subnet":
            return "torch"
        case "bundle":
            names = artifact.manifest.files
            return "executorch" if PTE in names and "encoder.onnx" not in names else "ort"
        case kind:
            raise ArtifactError(f"{artifact.path}: is a {kind} artifact; give a bundle or a subnet")


def open_source(
    path: Path, runtime: str | None = None, precision: Precision = "fp32", threads: int = 1
) -> Source:
    """Open a bundle or subnet.

    Args:
        path: The artifact's folder.
        runtime: ``ort``, ``sherpa``, ``executorch`` (bundles) or ``torch`` (subnets); None
            takes the artifact's own.
        precision: Numeric form.
        threads: CPU threads of the network.

    Raises:
        ArtifactError: no model artifact, or it lacks that form or precision.
        ConfigError: the runtime does not open that kind of artifact.
    """
    artifact = load_artifact(path, verify=False)
    own = default_runtime(artifact)
    if runtime is not None and (runtime in SUBNET_RUNTIMES) != (own == "torch"):
        wanted = "a subnet" if runtime in SUBNET_RUNTIMES else "a bundle"
        raise ConfigError(
            f"{path}: is a {artifact.manifest.kind}; runtime {runtime!r} opens {wanted}"
        )
    chosen = runtime or own
    recogniser = open_recogniser(chosen, path, precision, threads)
    table = TokenTable.read_json(artifact.file(TABLE))
    return Source(artifact, recogniser, table, chosen, precision)
