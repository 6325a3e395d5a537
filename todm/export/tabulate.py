"""The PGN predictor's history as tables: a look-up and an addition for each token of its window.

    H_u = b + sum_{j=1..W} taps_j E[v_{u-j}] = b + sum_j table_j[v_{u-j}]

N streams, C context, W = C - 1 window, V symbols, E width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.kernels.history import gated
from todm.layers.elastic import DenseLinear
from todm.models.predictor import PGNPredictor


class TabulatedPGN(nn.Module):
    """What a ``PGNPredictor`` computes of a context; tables made in float64."""

    starts: Tensor
    """Where each token's table begins."""

    def __init__(self, predictor: PGNPredictor) -> None:
        super().__init__()
        pgn, embed_VE = predictor.pgn, predictor.embed.weight.detach()
        symbols, width = embed_VE.shape
        taps_EEW = pgn.taps.detach().double().flip(2)  # oldest first, as the ids come
        table_WVE = torch.einsum("ve,dew->wvd", embed_VE.double(), taps_EEW)
        self.table = nn.Parameter(table_WVE.flatten(0, 1).float())
        self.embed = nn.Parameter(embed_VE.clone())
        self.bias = nn.Parameter(pgn.bias.detach().clone())
        self.register_buffer("starts", symbols * torch.arange(taps_EEW.shape[2]))
        self.gate = DenseLinear(2 * width, 2 * width)
        self.gate.weight.data = pgn.gate_weight.detach()[0].T.contiguous()
        self.gate.bias.data = pgn.gate_bias.detach()[0].clone()

    def step(self, context_NC: Tensor) -> Tensor:
        """Return (N, E) after the last C ids; ids below zero count as zero vectors."""
        known_NC1 = (context_NC >= 0).to(self.bias.dtype)[..., None]
        ids_NC = context_NC.clamp(min=0)
        rows_NWE = F.embedding(ids_NC[:, :-1] + self.starts, self.table) * known_NC1[:, :-1]
        h_NE = rows_NWE.sum(1) + self.bias
        x_NE = F.embedding(ids_NC[:, -1], self.embed) * known_NC1[:, -1]
        gate_NE, candidate_NE = self.gate(torch.cat([x_NE, h_NE], 1)).chunk(2, 1)
        return gated(h_NE, gate_NE, candidate_NE)
