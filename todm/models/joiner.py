"""The joiner: tanh of the sum of two projections, then logits. Its width is elastic.

Legend: B utterances, T frames, U label positions, S kept positions of a frame, D model width,
E embedding, J joiner width, V symbols.
"""

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

    def kept_nodes(
        self, enc_BTD: Tensor, pred_BUE: Tensor, joiner_dim: int, start_BT: Tensor, width: int
    ) -> Tensor:
        """Return logits of the positions start(t) .. start(t) + S - 1 of each frame, (B, T, S, V).

        S is ``width``. Positions beyond the last repeat it: no path visits them.
        """
        enc_BTJ = self.from_encoder(enc_BTD, joiner_dim)
        pred_BUJ = self.from_predictor(pred_BUE, joiner_dim)
        return self(enc_BTJ[:, :, None], take_kept(pred_BUJ, start_BT, width))


class SimpleJoiner(nn.Module):
    """Projections onto the symbols for the additive transducer loss; they exist in training only.

    Their sum is a joiner of its own, from which the pruned loss learns which nodes to keep. Both
    read outputs of fixed width, so that one pair serves every subnet.
    """

    def __init__(self, spec: SubnetSpec) -> None:
        super().__init__()
        self.from_encoder = nn.Linear(spec.model_dim, spec.vocab_size)
        self.from_predictor = nn.Linear(spec.predictor.embed_dim, spec.vocab_size)

    def forward(self, enc_BTD: Tensor, pred_BUE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two summands of the logits, (B, T, V) and (B, U, V)."""
        return self.from_encoder(enc_BTD), self.from_predictor(pred_BUE)


def take_kept(x_BUX: Tensor, start_BT: Tensor, width: int) -> Tensor:
    """Return x at the positions that each frame keeps, (B, T, S, X)."""
    size, positions, _ = x_BUX.shape
    first_B1 = positions * torch.arange(size, device=start_BT.device)[:, None]
    u_BTS = start_BT[:, :, None] + torch.arange(width, device=start_BT.device)
    index_N = (first_B1 + u_BTS.clamp(max=positions - 1).flatten(1)).flatten()
    return x_BUX.flatten(0, 1).index_select(0, index_N).view(*u_BTS.shape, -1)
