"""Labelled sequences on disk and in batches.

B sequences, L frames, I inputs, Y figures. An artifact ``sequences`` holds ``facts.json`` and a
file ``SPLIT.safetensors`` with ``x`` (B, L, I) and ``y``: the class (B), or figures (B, Y).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load_file
from torch import Tensor

from todm.core.artifact import Artifact, Draft, load_artifact
from todm.core.classify_config import FACTS, SequenceAugment, SequenceFacts
from todm.core.data_config import Split
from todm.core.errors import ArtifactError, DataError


class SequenceBatch(NamedTuple):
    """Sequences and what is to be said of them."""

    x_BLI: Tensor
    y: Tensor


@dataclass(frozen=True)
class Sequences:
    """A prepared set, opened."""

    facts: SequenceFacts
    artifact: Artifact

    def split(self, split: Split) -> SequenceBatch:
        """Return all sequences of a split.

        Raises:
            ArtifactError: the file is damaged.
        """
        source = self.artifact.file(file_of(split))
        try:
            tensors = load_file(source)
            return SequenceBatch(tensors["x"].float(), tensors["y"])
        except (SafetensorError, KeyError, OSError) as error:
            raise ArtifactError(f"{source}: damaged sequences ({error}); prepare anew") from error


def file_of(split: Split) -> str:
    """Return the file of a split."""
    return f"{split}.safetensors"


def open_sequences(path: Path) -> Sequences:
    """Open prepared sequences.

    Raises:
        ArtifactError: none there, or damaged.
    """
    artifact = load_artifact(path, "sequences")
    return Sequences(SequenceFacts.read_json(artifact.file(FACTS)), artifact)


def write_split(draft: Draft, split: Split, x_BLI: np.ndarray, y: np.ndarray) -> None:
    """Write a split into a draft.

    Raises:
        DataError: it is empty or holds values that are not finite.
    """
    if not len(x_BLI):
        raise DataError(f"the {split} split has no sequence; every split needs at least one")
    if not (np.isfinite(x_BLI).all() and np.isfinite(y).all()):
        raise DataError(f"the {split} split holds values that are NaN or infinite; repair them")
    content = {"x": np.ascontiguousarray(x_BLI), "y": np.ascontiguousarray(y)}
    (draft.path / file_of(split)).write_bytes(save(content))


def augmented(x_BLI: Tensor, config: SequenceAugment, generator: torch.Generator) -> Tensor:
    """Return changed copies of sequences; see ``SequenceAugment``."""
    batch, frames, _ = x_BLI.shape
    if config.shift_fraction:
        most = int(config.shift_fraction * frames)
        shift_B = torch.randint(-most, most + 1, (batch,), generator=generator)
        source_BL = torch.arange(frames) - shift_B[:, None]
        inside_BL = (source_BL >= 0) & (source_BL < frames)
        source_BL1 = source_BL.clamp(0, frames - 1)[..., None].expand_as(x_BLI)
        x_BLI = x_BLI.gather(1, source_BL1) * inside_BL[..., None]
    if config.gain_db:
        gain_db_B = config.gain_db * (2.0 * torch.rand(batch, generator=generator) - 1.0)
        x_BLI = x_BLI * torch.pow(10.0, gain_db_B / 20.0)[:, None, None]
    if config.noise_db is not None:
        noise_BLI = torch.randn(x_BLI.shape, generator=generator)
        x_BLI = x_BLI + 10.0 ** (config.noise_db / 20.0) * noise_BLI
    return x_BLI
