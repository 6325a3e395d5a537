"""A bundle on disk: which files it holds and what a runtime must know before it loads them."""

from dataclasses import dataclass
from pathlib import Path

from todm.core.artifact import Artifact, load_artifact
from todm.core.contract import FeatureSpec, StreamContract, state_parts
from todm.core.errors import ArtifactError
from todm.core.model_spec import read_model_spec
from todm.core.quantization import PrecisionName
from todm.core.specs import SubnetSpec
from todm.core.target import Form
from todm.decode.tokens import TokenTable

Precision = PrecisionName
PARTS = ("encoder", "decoder", "joiner")
PTE = "model.pte"
TOKENS = "tokens.txt"
BPE_VOCAB = "bpe.vocab"
"""Pieces and their scores, of BPE bundles: what sherpa-onnx splits hotwords with."""
FEATURES = "features.onnx"
"""Samples to log mel features, where the export was asked for it."""
TABLE = "token_table.json"
CONTRACT = "contract.json"
SPEC = "spec.json"
CARD = "README.md"
PROFILE = "profile.json"
"""The device that the bundle was exported for, if one was named."""
PARITY = "parity.json"
QUALITY = "quality.json"
"""What the accuracy gate and the drift gate found, scheme by scheme."""


def onnx_name(part: str, precision: Precision) -> str:
    """Return the file name of a part of the ONNX form."""
    return f"{part}.onnx" if precision == "fp32" else f"{part}.{precision}.onnx"


def pte_name(precision: Precision) -> str:
    """Return the file name of the ExecuTorch program."""
    return PTE if precision == "fp32" else f"model.{precision}.pte"


@dataclass(frozen=True)
class Bundle:
    """An exported recogniser, opened but not loaded."""

    artifact: Artifact
    contract: StreamContract
    spec: SubnetSpec
    table: TokenTable

    def onnx_files(self, precision: Precision) -> dict[str, Path]:
        """Return the file of each ONNX part; a part that has no int8 form stays fp32.

        Raises:
            ArtifactError: the bundle has no ONNX form of that precision.
        """
        names = self.loaded_names("onnx", precision)
        return {part: self.artifact.file(name) for part, name in zip(PARTS, names, strict=False)}

    def pte_file(self, precision: Precision) -> Path:
        """Return the ExecuTorch program.

        Raises:
            ArtifactError: the bundle has none of that precision.
        """
        return self.artifact.file(self.loaded_names("executorch", precision)[0])

    def loaded_names(self, form: Form, precision: Precision) -> tuple[str, ...]:
        """Return the files that a device loads: the network's, then ``tokens.txt``.

        Raises:
            ArtifactError: the bundle lacks that form or precision.
        """
        names = loaded_names(form, precision, frozenset(self.artifact.manifest.files))
        if names is None:
            raise ArtifactError(
                f"{self.artifact.path}: holds no {form} form in {precision}; "
                f"export it with that target or choose another runtime or precision"
            )
        return names


def loaded_names(form: Form, precision: Precision, files: frozenset[str]) -> tuple[str, ...] | None:
    """Return the files that a device loads for a form, or None when they are not all there."""
    if form == "executorch":
        return (pte_name(precision), TOKENS) if pte_name(precision) in files else None
    if onnx_name("encoder", precision) not in files:
        return None
    wanted = tuple(
        name if (name := onnx_name(part, precision)) in files else onnx_name(part, "fp32")
        for part in PARTS
    )
    return (*wanted, TOKENS) if files.issuperset(wanted) else None


_COMMANDS = {"forecaster": "todm forecast", "classifier": "todm classify"}
"""Where the commands of other kinds of models are."""


def require_recogniser(artifact: Artifact) -> None:
    """Do nothing for an artifact that is a recogniser's, or of no single model.

    Raises:
        ArtifactError: it is another kind of model's.
    """
    if SPEC not in artifact.manifest.files:
        return
    kind = read_model_spec(artifact.file(SPEC)).kind
    if kind in _COMMANDS:
        raise ArtifactError(
            f"{artifact.path}: holds a {kind}, which this command does not take; see "
            f"{_COMMANDS[kind]} --help"
        )


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and check every byte of it against its manifest.

    Raises:
        ArtifactError: no bundle, damaged, or not a recogniser's.
        ConfigError: a value in it is not what this todm writes.
    """
    artifact = load_artifact(path, "bundle")
    require_recogniser(artifact)
    contract = StreamContract.read_json(artifact.file(CONTRACT))
    spec = SubnetSpec.read_json(artifact.file(SPEC))
    table = TokenTable.read_json(artifact.file(TABLE))
    if contract.features != FeatureSpec():
        raise ArtifactError(
            f"{path}: {CONTRACT} asks for other features than every runtime computes "
            "(kaldi-native-fbank with sherpa-onnx's settings); export it anew"
        )
    if contract.state != state_parts(spec):
        raise ArtifactError(
            f"{path}: {CONTRACT} lists other parts of the state than {SPEC} has; export it anew"
        )
    if table.unit != contract.token_unit:
        raise ArtifactError(
            f"{path}: {table.unit} tokens but the contract says {contract.token_unit}; "
            "export it anew"
        )
    if table.size != contract.vocab_size:
        raise ArtifactError(
            f"{path}: {table.size} tokens but {contract.vocab_size} outputs; export it anew"
        )
    return Bundle(artifact, contract, spec, table)
