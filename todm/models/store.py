"""Supernets and subnets on disk: safetensors weights beside the values that explain them."""

from dataclasses import dataclass
from pathlib import Path

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.config import SupernetConfig
from todm.core.specs import SubnetSpec
from todm.decode.tokens import TokenTable
from todm.models.rnnt import Transducer
from todm.models.weights import load_weights, write_weights

CONFIG = "config.json"
LEDGER = "ledger.json"
SPEC = "spec.json"
TABLE = "token_table.json"
BPE_MODEL = "bpe.model"
TRAINING_ONLY = "simple."
"""Prefix of the weights that no artifact holds (``models.joiner.SimpleJoiner``)."""


@dataclass(frozen=True)
class Supernet:
    """A trained supernet, opened."""

    model: Transducer
    config: SupernetConfig
    table: TokenTable
    artifact: Artifact


@dataclass(frozen=True)
class Subnet:
    """An extracted subnet, opened: a dense network of its own."""

    model: Transducer
    spec: SubnetSpec
    table: TokenTable
    artifact: Artifact


def write_model(draft: Draft, model: Transducer, table: TokenTable) -> None:
    """Write weights and token table into a draft; what only training needs stays out."""
    weights = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(TRAINING_ONLY)
    }
    write_weights(draft.path, weights)
    table.write_json(draft.path / TABLE)


def load_supernet(path: Path) -> Supernet:
    """Open a supernet artifact.

    Raises:
        ArtifactError: not a supernet, or damaged.
    """
    artifact = load_artifact(path, "supernet")
    config = SupernetConfig.read_json(artifact.file(CONFIG))
    model = load_weights(artifact, Transducer(config.space.largest))
    return Supernet(model, config, TokenTable.read_json(artifact.file(TABLE)), artifact)


def load_subnet(path: Path) -> Subnet:
    """Open a subnet artifact.

    Raises:
        ArtifactError: not a subnet, or damaged.
    """
    artifact = load_artifact(path, "subnet")
    spec = SubnetSpec.read_json(artifact.file(SPEC))
    model = load_weights(artifact, Transducer(spec))
    return Subnet(model, spec, TokenTable.read_json(artifact.file(TABLE)), artifact)
