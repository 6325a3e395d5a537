"""The stateless predictor: embeddings of the last tokens, a depthwise convolution, SiLU.

Ids below zero stand for "before the start" and count as zero vectors: stock runtimes first call
the predictor with ``[-1, ..., -1, blank]``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.specs import BLANK_ID, SubnetSpec


class Predictor(nn.Module):
    """Ghodsi et al. 2020 (stateless transducer); context as in icefall."""

    def __init__(self, spec: SubnetSpec) -> None:
        super().__init__()
        width, self.context_size = spec.predictor.embed_dim, spec.predictor.context_size
        self.embed = nn.Embedding(spec.vocab_size, width)
        self.conv = nn.Parameter(torch.randn(self.context_size, width) * self.context_size**-0.5)

    def step(self, context_BC: Tensor) -> Tensor:
        """Return (B, E) after the last ``context_size`` ids, oldest first."""
        known = (context_BC >= 0).to(self.conv.dtype)[..., None]
        e_BCE = self.embed(context_BC.clamp(min=0)) * known
        return F.silu((e_BCE * self.conv).sum(1))

    def forward(self, targets_BU: Tensor) -> Tensor:
        """Return (B, U + 1, E): the prediction after each prefix of the targets."""
        batch = targets_BU.shape[0]
        start = targets_BU.new_full((batch, self.context_size), -1)
        start[:, -1] = BLANK_ID
        ids_BX = torch.cat([start, targets_BU], 1)
        known = (ids_BX >= 0).to(self.conv.dtype)[..., None]
        e_BXE = self.embed(ids_BX.clamp(min=0)) * known
        size = targets_BU.shape[1] + 1
        return F.silu(sum(e_BXE[:, i : i + size] * self.conv[i] for i in range(self.context_size)))
