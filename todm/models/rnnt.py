"""The recogniser: an elastic transducer, and greedy decoding of whole batches."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from todm.core.specs import BLANK_ID, SUBSAMPLING, SubnetSpec
from todm.models.encoder import Encoder
from todm.models.joiner import Joiner, SimpleJoiner
from todm.models.predictor import build_predictor


class Transducer(nn.Module):
    """All weights of ``spec`` and of every subnet of it.

    With the largest spec of a space this is the supernet; with a subnet's spec it is the dense
    twin that ``models.slicing`` fills. ``simple`` adds the projections of the pruned loss, which
    no artifact holds.
    """

    def __init__(self, spec: SubnetSpec, *, simple: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.predictor = build_predictor(spec)
        self.joiner = Joiner(spec)
        self.simple = SimpleJoiner(spec) if simple else None

    def encode(
        self, features_BTF: Tensor, spec: SubnetSpec, frame_lens_B: Tensor | None = None
    ) -> Tensor:
        """Return the projected encoder output (B, T // 4, J); lengths are of encoder frames."""
        enc_BTD = self.encoder(features_BTF, spec, frame_lens_B=frame_lens_B)
        return self.joiner.from_encoder(enc_BTD, spec.joiner_dim)

    def predict(self, context_BC: Tensor, spec: SubnetSpec) -> Tensor:
        """Return the projected predictor output (B, J) after the last ids."""
        return self.joiner.from_predictor(self.predictor.step(context_BC), spec.joiner_dim)


class GreedyTokens(NamedTuple):
    """One utterance's greedy result."""

    ids: list[int]
    frames: list[int]
    """Encoder frame of each token."""


@torch.inference_mode()
def greedy_batch(
    model: Transducer, enc_BTJ: Tensor, frame_lens_B: Tensor, spec: SubnetSpec
) -> list[GreedyTokens]:
    """Decode projected encoder outputs, at most one symbol a frame.

    The contract's limit (``symbols_per_frame = 1``) holds here as in stock runtimes.
    """
    batch, frames, _ = enc_BTJ.shape
    context_BC = torch.full(
        (batch, spec.predictor.context_size), -1, dtype=torch.int64, device=enc_BTJ.device
    )
    context_BC[:, -1] = BLANK_ID
    pred_BJ = model.predict(context_BC, spec)
    best_TB = torch.zeros(frames, batch, dtype=torch.int64, device=enc_BTJ.device)
    for frame in range(frames):
        best_B = model.joiner(enc_BTJ[:, frame], pred_BJ).argmax(-1)
        best_B = torch.where(frame < frame_lens_B, best_B, BLANK_ID)
        best_TB[frame] = best_B
        (emit_X,) = torch.nonzero(best_B != BLANK_ID, as_tuple=True)
        if emit_X.numel():
            moved = torch.cat([context_BC[emit_X, 1:], best_B[emit_X, None]], 1)
            context_BC[emit_X] = moved
            pred_BJ[emit_X] = model.predict(moved, spec)
    return _collect(best_TB.T.tolist())


def _collect(rows: Sequence[Sequence[int]]) -> list[GreedyTokens]:
    results = []
    for row in rows:
        frames = [frame for frame, token in enumerate(row) if token != BLANK_ID]
        results.append(GreedyTokens([row[frame] for frame in frames], frames))
    return results


def encoder_lens(frame_lens_B: Tensor) -> Tensor:
    """Return encoder frames of recordings with these many fbank frames."""
    return frame_lens_B // SUBSAMPLING
