"""Weights of any model in an artifact."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from todm.core.artifact import Artifact
from todm.core.errors import ArtifactError

WEIGHTS = "model.safetensors"

M = TypeVar("M", bound=nn.Module)


def write_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict into a draft's folder."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # save_file writes through a temporary file that only its owner may read.
    (folder / WEIGHTS).write_bytes(save(whole))


def load_weights(artifact: Artifact, model: M) -> M:
    """Fill a model that was built of the artifact's spec, and set it to evaluate.

    Raises:
        ArtifactError: the weights are damaged, or those of another spec.
    """
    source = artifact.file(WEIGHTS)
    try:
        model.load_state_dict(load_file(source))
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(f"{source}: weights do not fit the spec ({first_line})") from error
    return model.eval()
