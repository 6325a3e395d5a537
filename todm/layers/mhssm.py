"""The multi-head state-space mixer (Fathullah et al. 2023, arXiv 2305.12498).

    u = W_in x, split into H heads of P channels;  y_h = SSM_h(u_h);  z = SiLU(y)
    out = (W_value z) * sigmoid(W_gate z)

The gate mixes all heads: one reading of the paper's gating between heads. The heads differ at
birth: timescales are log-spaced over [dt_min, dt_max] in the order of ``spread_order``, so every
prefix of heads covers the range; modes are stored lowest frequency first (S4D-Lin), so a prefix
of modes keeps the slow ones.

With ``backward`` each head has a second SSM that runs against time inside the net's blocks of
lookahead; a causal net leaves it out.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.space import spread_order
from todm.core.specs import MHSSMSpec
from todm.kernels.ssm import ChunkFold, Modes, discretise, fold, ssm_chunk, ssm_conv
from todm.layers.elastic import ElasticLinear
from todm.layers.mixer import Lookahead, Mixer

DT_RANGE = (0.01, 0.5)
"""Step sizes for 40 ms frames; [0.001, 0.1] trained several times slower."""


class MHSSM(Mixer[MHSSMSpec, ChunkFold]):
    """Elastic in heads (prefix) and modes (prefix); the model width is fixed."""

    folded: ClassVar[tuple[str, ...]] = ("log_neg_re", "im", "log_dt", "c", "d", "ahead")

    def __init__(self, model_dim: int, spec: MHSSMSpec) -> None:
        super().__init__()
        self.head_dim = spec.head_dim
        self.w_in = ElasticLinear(model_dim, spec.inner_dim)
        self.w_value = ElasticLinear(spec.inner_dim, model_dim)
        self.w_gate = ElasticLinear(spec.inner_dim, model_dim)
        self.log_neg_re, self.im, self.log_dt, self.c = _poles(spec)
        self.d = nn.Parameter(torch.ones(spec.num_heads))
        self.ahead = Backward(spec) if spec.backward else None

    def modes(self, spec: MHSSMSpec) -> Modes:
        """Return the discretised modes of the heads and modes that the spec keeps."""
        heads, modes = spec.num_heads, spec.state_dim
        return discretise(
            self.log_neg_re[:heads, :modes],
            self.im[:heads, :modes],
            self.log_dt[:heads],
            self.c[:heads, :modes],
            self.d[:heads],
        )

    def ahead_modes(self, spec: MHSSMSpec, lookahead_frames: int) -> Modes | None:
        """Return the modes of the scan against time; None where nothing is ahead."""
        if self.ahead is None or lookahead_frames == 0:
            return None
        return self.ahead.modes(spec)

    def split(self, u_BTX: Tensor, spec: MHSSMSpec) -> Tensor:
        """Split into heads: (B, T, H, P)."""
        return u_BTX.unflatten(-1, (spec.num_heads, self.head_dim))

    def leave(self, y_BTHP: Tensor) -> Tensor:
        """Apply the activation after the scan: (B, T, H * P)."""
        return F.silu(y_BTHP.flatten(-2))

    def mix(self, z_BTX: Tensor) -> Tensor:
        """Mix the heads and gate: (B, T, D)."""
        return self.w_value(z_BTX) * torch.sigmoid(self.w_gate(z_BTX))

    def scan(self, x_BTD: Tensor, spec: MHSSMSpec, ahead: Lookahead) -> Tensor:
        """Run the training form up to the activation: (B, T, H * P)."""
        u_BTHP = self.split(ahead.hide_padding(self.w_in(x_BTD, spec.inner_dim)), spec)
        modes, later = self.modes(spec), self.ahead_modes(spec, ahead.frames)
        return self.leave(ssm_conv(u_BTHP, modes, later, ahead.block_frames))

    def fold(self, spec: MHSSMSpec, chunk_frames: int, lookahead_frames: int) -> ChunkFold:
        """Return the scan's constants over a chunk."""
        later = self.ahead_modes(spec, lookahead_frames)
        return fold(self.modes(spec), chunk_frames, later, lookahead_frames + 1)

    def step(
        self, x_BLD: Tensor, states: Sequence[Tensor], spec: MHSSMSpec, constants: ChunkFold
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk; the state is that of the modes, (B, H, 2 N, P)."""
        u_BLHP = self.split(self.w_in(x_BLD, spec.inner_dim), spec)
        y_BLHP, state_BHMP = ssm_chunk(u_BLHP, states[0], constants)
        return self.mix(self.leave(y_BLHP)), (state_BHMP,)


class Backward(nn.Module):
    """Poles and weights of the scan against time."""

    def __init__(self, spec: MHSSMSpec) -> None:
        super().__init__()
        self.log_neg_re, self.im, self.log_dt, self.c = _poles(spec)

    def modes(self, spec: MHSSMSpec) -> Modes:
        """Return the discretised modes that the spec keeps; the skip is the forward scan's."""
        heads, modes = spec.num_heads, spec.state_dim
        log_dt_H = self.log_dt[:heads]
        return discretise(
            self.log_neg_re[:heads, :modes],
            self.im[:heads, :modes],
            log_dt_H,
            self.c[:heads, :modes],
            torch.zeros_like(log_dt_H),
        )


def _poles(spec: MHSSMSpec) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter, nn.Parameter]:
    """Return log(-Re A), Im A, log dt and C at birth."""
    heads, modes = spec.num_heads, spec.state_dim
    return (
        nn.Parameter(torch.full((heads, modes), math.log(0.5))),
        nn.Parameter(math.pi * torch.arange(modes).float().repeat(heads, 1)),
        nn.Parameter(_log_dt(heads)),
        nn.Parameter(torch.randn(heads, modes, 2) * math.sqrt(0.5)),
    )


def _log_dt(heads: int) -> Tensor:
    low, high = (math.log(dt) for dt in DT_RANGE)
    spaced = torch.linspace(low, high, heads)
    return spaced[torch.tensor(spread_order(heads))]
