"""The part of a batch that one net trains on, with what all nets of a step share.

Legend: B utterances of the part, T encoder frames, U1 label positions, D model width, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todm.core.cost_training import TrainingShape
from todm.core.data_config import LoaderConfig
from todm.core.shard import Shard
from todm.core.specs import SUBSAMPLING
from todm.data.loader import Batch, BatchLoader
from todm.models.rnnt import encoder_lens


@dataclass(frozen=True, eq=False)
class Part:
    """Utterances of a batch, padded to the longest of them."""

    front_BTD: Tensor
    """The front end's output."""
    pred_BUE: Tensor
    """The predictor's output after each prefix of the targets."""
    frame_lens_B: Tensor
    """fbank frames."""
    lens_B: Tensor
    """Encoder frames."""
    targets_BU: Tensor
    target_lens_B: Tensor
    frames: int
    """fbank frames of the longest."""
    shard: Shard | None
    """Which rows of the global batch these are; None for all, and for a part drawn from them."""

    @property
    def size(self) -> int:
        """Utterances."""
        return self.targets_BU.shape[0]

    @property
    def shape(self) -> TrainingShape:
        """The padded shape."""
        return TrainingShape(
            batch=self.size, frames=self.frames, target_len=self.targets_BU.shape[1]
        )

    def node_mask(self, start_BT: Tensor | None = None, width: int = 0) -> Tensor:
        """Return which nodes of the padded lattices are real, (B, T, U1).

        Given the first kept position of each frame: which of the ``width`` kept nodes, (B, T, S).
        """
        t_T1 = torch.arange(self.front_BTD.shape[1], device=self.lens_B.device)[:, None]
        u_U = torch.arange(width or self.pred_BUE.shape[1], device=self.lens_B.device)
        u_BTU = u_U if start_BT is None else start_BT[:, :, None] + u_U
        in_time_BT1 = t_T1 < self.lens_B[:, None, None]
        return in_time_BT1 & (u_BTU <= self.target_lens_B[:, None, None])


def whole(batch: Batch, front_BTD: Tensor, pred_BUE: Tensor) -> Part:
    """Return the whole batch."""
    return Part(
        front_BTD=front_BTD,
        pred_BUE=pred_BUE,
        frame_lens_B=batch.frame_lens_B,
        lens_B=encoder_lens(batch.frame_lens_B),
        targets_BU=batch.targets_BU,
        target_lens_B=batch.target_lens_B,
        frames=batch.features_BTF.shape[1],
        shard=batch.shard,
    )


def mean_batch_tokens(loader: BatchLoader, config: LoaderConfig) -> float:
    """Return the tokens of an average batch.

    A task loss is divided by them, so that every token of the corpus weighs the same whatever
    batch it falls into.
    """
    tokens = [len(u.tokens) for u in loader.utterances]
    dynamic = config.max_duration_s is not None
    utterances = len(tokens) / loader.steps_per_epoch if dynamic else config.batch_size
    return utterances * max(1.0, sum(tokens) / len(tokens))


def batch_tensors(batch: Batch) -> dict[str, Tensor]:
    """Return a batch's tensors by name, to be saved."""
    return {
        "features": batch.features_BTF,
        "frame_lens": batch.frame_lens_B,
        "targets": batch.targets_BU,
        "target_lens": batch.target_lens_B,
    }


def take(part: Part, rows: Sequence[int] | None) -> Part:
    """Return some utterances of a part (None: the part itself), cut to the longest of them.

    The front end is causal, so that its output over fewer frames is the leading piece.
    """
    if rows is None:
        return part
    index_B = torch.tensor(rows, device=part.targets_BU.device)
    frame_lens_B = part.frame_lens_B[index_B]
    target_lens_B = part.target_lens_B[index_B]
    frames, labels = int(frame_lens_B.max()), int(target_lens_B.max())
    return Part(
        front_BTD=part.front_BTD[index_B, : frames // SUBSAMPLING],
        pred_BUE=part.pred_BUE[index_B, : labels + 1],
        frame_lens_B=frame_lens_B,
        lens_B=encoder_lens(frame_lens_B),
        targets_BU=part.targets_BU[index_B, :labels],
        target_lens_B=target_lens_B,
        frames=frames,
        shard=None,
    )
