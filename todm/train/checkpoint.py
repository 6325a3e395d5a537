"""Checkpoints: everything that a run needs to go on bit for bit, written atomically.

A checkpoint is one torch file (read with ``weights_only=True``), written under a temporary name,
flushed to disk and renamed; a run killed while writing finds the one before.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from todm.core.errors import ArtifactError

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainState:
    """The mutable state of a run between steps."""

    step: int = 0
    """Steps done."""
    skipped_steps: int = 0
    bad_in_a_row: int = 0
    stopped: bool = False
    """Whether it ended before its last step, for want of progress."""
    wall_s: float = 0.0
    cpu_s: float = 0.0


def save_checkpoint(
    folder: Path,
    state: TrainState,
    tensors: dict[str, dict[str, Any]],
    fingerprint: str,
) -> None:
    """Write model, optimizer and averages (``tensors``) with the state.

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
            f"{folder}: holds an unfinished run of another configuration, corpus or --init; "
            "delete it or choose another --out"
        )
    return content
