"""A pre-norm encoder block: x + Mixer(norm(x)), then x + FFN(norm(x))."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.specs import BlockSpec
from todm.layers.dropout import DropoutPlan
from todm.layers.elastic import ElasticLinear
from todm.layers.mixer import CAUSAL, Lookahead
from todm.layers.mixers import build_mixer


class Block(nn.Module):
    """Elastic in FFN width and in its mixer's axes."""

    def __init__(self, model_dim: int, spec: BlockSpec) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(model_dim)
        self.mixer = build_mixer(model_dim, spec.mixer)
        self.ffn_norm = nn.LayerNorm(model_dim)
        self.ffn_in = ElasticLinear(model_dim, spec.ffn_dim)
        self.ffn_out = ElasticLinear(spec.ffn_dim, model_dim)

    def forward(
        self,
        x_BTD: Tensor,
        spec: BlockSpec,
        drop: DropoutPlan | None,
        ahead: Lookahead = CAUSAL,
    ) -> Tensor:
        """Run whole sequences from the zero state; ``drop`` is None outside training."""
        z_BTX = self.mixer.scan(self.mixer_norm(x_BTD), spec.mixer, ahead)
        if drop is not None:
            z_BTX = drop.drop(z_BTX, drop.mixer_rate(spec))
        x_BTD = x_BTD + self.mixer.mix(z_BTX)
        return x_BTD + self.ffn(x_BTD, spec, drop)

    def step(
        self,
        x_BLD: Tensor,
        states: Sequence[Tensor],
        spec: BlockSpec,
        constants: tuple[Tensor | None, ...],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk; return the block's output and the mixer's next states."""
        update_BLD, states = self.mixer.step(self.mixer_norm(x_BLD), states, spec.mixer, constants)
        x_BLD = x_BLD + update_BLD
        return x_BLD + self.ffn(x_BLD, spec), states

    def ffn(self, x_BTD: Tensor, spec: BlockSpec, drop: DropoutPlan | None = None) -> Tensor:
        """Return the FFN's update: Linear, SiLU, Linear after the norm."""
        h_BTF = F.silu(self.ffn_in(self.ffn_norm(x_BTD), spec.ffn_dim))
        if drop is not None:
            h_BTF = drop.drop(h_BTF, drop.ffn_rate(spec))
        return self.ffn_out(h_BTF)
