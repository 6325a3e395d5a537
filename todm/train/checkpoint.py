"""Checkpoints: everything that a run needs to go on bit for bit, written atomically.

A checkpoint is one torch file (read with ``weights_only=True``), written under a temporary name,
flushed to disk and renamed; a run killed while writing finds the one before.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from todm.core.errors import ArtifactError

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainState:
    """The mutable state of a run between steps."""

    step: int
    """Steps done."""
    num_averaged: int
    """Steps whose weights the average holds."""
    skipped_steps: int
    bad_in_a_row: int
    wall_s: float
    cpu_s: float


def save_checkpoint(
    folder: Path,
    state: TrainState,
    tensors: dict[str, dict[str, Any]],
    fingerprint: str,
) -> None:
    """Write model, average and optimizer (``tensors``) with the state.

    ``fingerprint`` names config and corpus, so that a changed run does not resume silently.
    """
    scratch = folder / f".{CHECKPOINT}.tmp"
    with scratch.open("wb") as stream:
        torch.save({"state": vars(state), "fingerprint": fingerprint, **tensors}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(folder / CHECKPOINT)


def load_checkpoint(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the checkpoint's content, or None where there is none.

    Raises:
        ArtifactError: the checkpoint belongs to another configuration or corpus, or is damaged.
    """
    source = folder / CHECKPOINT
    if not source.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(  # noqa: TID251
            source, map_location="cpu", weights_only=True
        )
    except Exception as error:
        raise ArtifactError(
            f"{source}: damaged checkpoint ({type(error).__name__}); delete it to start anew"
        ) from error
    if content.get("fingerprint") != fingerprint:
        raise ArtifactError(
            f"{folder}: holds an unfinished run of another configuration or corpus; "
            "delete it or choose another --out"
        )
    return content


class RunningAverage:
    """The mean of a model's floating tensors over the last steps (Polyak averaging)."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.mean = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def add(self, model: torch.nn.Module, count: int) -> None:
        """Fold the model in as the ``count``-th member of the mean."""
        current: dict[str, Tensor] = model.state_dict()
        names = [k for k, v in self.mean.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.mean[k] for k in names], [current[k] for k in names], 1.0 / count
        )

    def load(self, mean: dict[str, Tensor]) -> None:
        """Go on from a saved mean."""
        self.mean = {name: mean[name].to(own.device) for name, own in self.mean.items()}
