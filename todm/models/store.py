"""Supernets and subnets on disk: safetensors weights beside the values that explain them."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.config import SupernetConfig
from todm.core.errors import ArtifactError
from todm.core.specs import SubnetSpec
from todm.decode.tokens import TokenTable
from todm.models.rnnt import Transducer

WEIGHTS = "model.safetensors"
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
        name: t.detach().cpu().contiguous()
        for name, t in model.state_dict().items()
        if not name.startswith(TRAINING_ONLY)
    }
    # save_file writes through a temporary file that only its owner may read.
    (draft.path / WEIGHTS).write_bytes(save(weights))
    table.write_json(draft.path / TABLE)


def load_supernet(path: Path) -> Supernet:
    """Open a supernet artifact.

    Raises:
        ArtifactError: not a supernet, or damaged.
    """
    artifact = load_artifact(path, "supernet")
    config = SupernetConfig.read_json(artifact.file(CONFIG))
    model = _load_weights(artifact, config.space.largest)
    return Supernet(model, config, TokenTable.read_json(artifact.file(TABLE)), artifact)


def load_subnet(path: Path) -> Subnet:
    """Open a subnet artifact.

    Raises:
        ArtifactError: not a subnet, or damaged.
    """
    artifact = load_artifact(path, "subnet")
    spec = SubnetSpec.read_json(artifact.file(SPEC))
    model = _load_weights(artifact, spec)
    return Subnet(model, spec, TokenTable.read_json(artifact.file(TABLE)), artifact)


def _load_weights(artifact: Artifact, spec: SubnetSpec) -> Transducer:
    source = artifact.file(WEIGHTS)
    model = Transducer(spec)
    try:
        model.load_state_dict(load_file(source))
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(f"{source}: weights do not fit the spec ({first_line})") from error
    return model.eval()
