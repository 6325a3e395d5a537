"""Linear state-space layers (Gu et al. 2021, arXiv 2110.13985) as the heads of a sequence mixer.

    u = W_in x, split into H heads of P channels;  y_h = LSSL_h(u_h);  z = SiLU(y)
    out_glu    out = (W_value z) * sigmoid(W_gate z)
    none       out = W_out z

A, B, C and the step size are shared inside a head (the paper shares them inside a feature), so a
chunk folds to the same H real products as the multi-head state-space mixer's; activation and
gating are that mixer's too. With A of its own each head starts from the same matrices and another
timescale: log-spaced over [dt_min, dt_max] in the order of ``spread_order``, so that every prefix
of heads covers the range.

B batch, T frames, L frames of a chunk, D model width, X inner width, H heads, P channels of a head,
N state order.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.mixer_specs import LSSLSpec
from todm.core.space import spread_order
from todm.kernels.lssl import LSSLFold, Readout, lssl_chunk, lssl_kernel
from todm.kernels.ssm import ssm_convolve
from todm.layers.dynamics import Dynamics
from todm.layers.elastic import ElasticLinear
from todm.layers.mixer import Lookahead, Mixer


class LSSLMixer(Mixer[LSSLSpec, LSSLFold]):
    """Elastic in heads (prefix) and state order (prefix); the model width is fixed."""

    folded: ClassVar[tuple[str, ...]] = ("dynamics", "c", "d")

    def __init__(self, model_dim: int, spec: LSSLSpec) -> None:
        super().__init__()
        self.head_dim, self.gating = spec.head_dim, spec.gating
        self.w_in = ElasticLinear(model_dim, spec.inner_dim)
        if spec.gating == "out_glu":
            self.w_value = ElasticLinear(spec.inner_dim, model_dim)
            self.w_gate = ElasticLinear(spec.inner_dim, model_dim)
        else:
            self.w_out = ElasticLinear(spec.inner_dim, model_dim)
        heads = spec.num_heads
        spaced_H = torch.linspace(math.log(spec.dt_min), math.log(spec.dt_max), heads)
        self.dynamics = Dynamics(
            spec.state,
            spec.state_dim,
            spaced_H[torch.tensor(spread_order(heads))],
            learn=spec.learn,
            alpha=spec.alpha,
            groups=heads if spec.learn == "dt_a" else 1,
        )
        self.c = nn.Parameter(torch.randn(heads, spec.state_dim))
        self.d = nn.Parameter(torch.ones(heads))

    def readout(self, spec: LSSLSpec) -> Readout:
        """Return C and D of the heads and the order that the spec keeps."""
        heads = spec.num_heads
        return Readout(self.c[:heads, None, : spec.state_dim], self.d[:heads, None])

    def enter(self, x_BTD: Tensor, spec: LSSLSpec) -> Tensor:
        """Project and split into heads: (B, T, H, P)."""
        return self.w_in(x_BTD, spec.inner_dim).unflatten(2, (spec.num_heads, self.head_dim))

    def mix(self, z_BTX: Tensor) -> Tensor:
        """Gate and map out: (B, T, D)."""
        if self.gating == "none":
            return self.w_out(z_BTX)
        return self.w_value(z_BTX) * torch.sigmoid(self.w_gate(z_BTX))

    def scan(self, x_BTD: Tensor, spec: LSSLSpec, ahead: Lookahead) -> Tensor:  # noqa: ARG002
        """Run the training form up to the activation: (B, T, H * P)."""
        u_BTHP = self.enter(x_BTD, spec)
        with torch.autocast(x_BTD.device.type, enabled=False):
            krylov_HNT = self.dynamics.krylov(x_BTD.shape[1], spec.num_heads, spec.state_dim)
            k_HT = lssl_kernel(self.readout(spec), krylov_HNT)[:, 0]
        return F.silu(ssm_convolve(u_BTHP, k_HT).flatten(2))

    def fold(self, spec: LSSLSpec, chunk_frames: int, lookahead_frames: int) -> LSSLFold:  # noqa: ARG002
        """Return the constants over a chunk; it sees nothing of later frames."""
        return self.dynamics.fold(self.readout(spec), chunk_frames, spec.num_heads, spec.state_dim)

    def step(
        self, x_BLD: Tensor, states: Sequence[Tensor], spec: LSSLSpec, constants: LSSLFold
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk; the state is (B, H, N, P)."""
        y_BHLP, next_BHNP = lssl_chunk(self.enter(x_BLD, spec), states[0], constants)
        return self.mix(F.silu(y_BHLP.transpose(1, 2).flatten(2))), (next_BHNP,)
