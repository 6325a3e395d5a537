"""Predictors: what the last tokens say of the next one. Their state is those tokens' ids alone.

Ids below zero stand for "before the start" and count as zero vectors: stock runtimes first call
the predictor with ``[-1, ..., -1, blank]``. B batch, C context, U labels, E width.
"""

import functools
from abc import ABC, abstractmethod
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.specs import BLANK_ID, PredictorSpec, SubnetSpec
from todm.layers.pgn import PGN


class Predictor(nn.Module, ABC):
    """Embeddings of tokens, and what a kind of predictor makes of them."""

    def __init__(self, vocab_size: int, spec: PredictorSpec) -> None:
        super().__init__()
        self.context_size = spec.context_size
        self.embed = nn.Embedding(vocab_size, spec.embed_dim)

    def embedded(self, ids_BX: Tensor) -> Tensor:
        """Look ids up, (B, X, E); those below zero are zero vectors."""
        known = (ids_BX >= 0).to(self.embed.weight.dtype)[..., None]
        rows: Tensor = self.embed(ids_BX.clamp(min=0))
        return rows * known

    @abstractmethod
    def step(self, context_BC: Tensor) -> Tensor:
        """Return (B, E) after the last ``context_size`` ids, oldest first."""

    @abstractmethod
    def forward(self, targets_BU: Tensor) -> Tensor:
        """Return (B, U + 1, E): the prediction after each prefix of the targets."""


class StatelessPredictor(Predictor):
    """A depthwise convolution and SiLU (Ghodsi et al. 2020); context as in icefall."""

    def __init__(self, vocab_size: int, spec: PredictorSpec) -> None:
        super().__init__(vocab_size, spec)
        size = (spec.context_size, spec.embed_dim)
        self.conv = nn.Parameter(torch.randn(size) * spec.context_size**-0.5)

    def step(self, context_BC: Tensor) -> Tensor:
        """Return (B, E) after the last ``context_size`` ids, oldest first."""
        return F.silu((self.embedded(context_BC) * self.conv).sum(1))

    def forward(self, targets_BU: Tensor) -> Tensor:
        """Return (B, U + 1, E): the prediction after each prefix of the targets."""
        batch = targets_BU.shape[0]
        start = targets_BU.new_full((batch, self.context_size), -1)
        start[:, -1] = BLANK_ID
        e_BXE = self.embedded(torch.cat([start, targets_BU], 1))
        size = targets_BU.shape[1] + 1
        shifted = (e_BXE[:, i : i + size] * self.conv[i] for i in range(self.context_size))
        return F.silu(functools.reduce(torch.add, shifted))


class PGNPredictor(Predictor):
    """A parallel gated network over the tokens (Jia et al. 2024, arXiv 2409.17703).

    X_u is the embedding of the last token, H_u the history of the ``context_size - 1`` before it.
    Ours: the paper has no transducer. Nothing is squashed after the gate. The history is linear in
    the embeddings, so an export tabulates it (``export.tabulate``).
    """

    def __init__(self, vocab_size: int, spec: PredictorSpec) -> None:
        super().__init__(vocab_size, spec)
        self.pgn = PGN(spec.embed_dim, spec.embed_dim, spec.window)

    def step(self, context_BC: Tensor) -> Tensor:
        """Return (B, E) after the last ``context_size`` ids, oldest first."""
        e_BCE = self.embedded(context_BC)
        return self.pgn.step(e_BCE[:, -1:], e_BCE[:, :-1])[0][:, 0]

    def forward(self, targets_BU: Tensor) -> Tensor:
        """Return (B, U + 1, E): the prediction after each prefix of the targets."""
        start = targets_BU.new_full((targets_BU.shape[0], 1), BLANK_ID)
        return self.pgn(self.embedded(torch.cat([start, targets_BU], 1)))


def build_predictor(spec: SubnetSpec) -> Predictor:
    """Build the predictor that a spec names."""
    match spec.predictor.kind:
        case "stateless":
            return StatelessPredictor(spec.vocab_size, spec.predictor)
        case "pgn":
            return PGNPredictor(spec.vocab_size, spec.predictor)
        case _:
            assert_never(spec.predictor.kind)
