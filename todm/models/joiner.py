"""The joiner: tanh of the sum of two projections, then logits. Its width is elastic."""

import torch
from torch import Tensor, nn

from todm.core.specs import SubnetSpec
from todm.layers.elastic import ElasticLinear


class Joiner(nn.Module):
    """On a device the two projections live in the encoder's and the predictor's graph."""

    def __init__(self, spec: SubnetSpec) -> None:
        super().__init__()
        self.from_encoder = ElasticLinear(spec.model_dim, spec.joiner_dim)
        self.from_predictor = ElasticLinear(spec.predictor.embed_dim, spec.joiner_dim)
        self.to_vocab = ElasticLinear(spec.joiner_dim, spec.vocab_size)

    def forward(self, enc_XJ: Tensor, pred_XJ: Tensor) -> Tensor:
        """Return logits of projected encoder and predictor outputs (broadcast together)."""
        return self.to_vocab(torch.tanh(enc_XJ + pred_XJ))

    def lattice(self, enc_BTD: Tensor, pred_BUE: Tensor, joiner_dim: int) -> Tensor:
        """Return logits of the full lattice, (B, T, U, V)."""
        enc_BTJ = self.from_encoder(enc_BTD, joiner_dim)
        pred_BUJ = self.from_predictor(pred_BUE, joiner_dim)
        return self(enc_BTJ[:, :, None], pred_BUJ[:, None])
