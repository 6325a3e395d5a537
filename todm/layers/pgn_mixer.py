"""The parallel gated network (Jia et al. 2024, arXiv 2409.17703) as a sequence mixer.

    u_t = W_in x_t
    H_t = b + sum_{j=1..W} taps_j * u_{t-j}     each channel with taps of its own, strictly past
    G   = sigmoid(W_g [x_t; H_t] + b_g)
    H~  = tanh(W_c [x_t; H_t] + b_c)
    out = W_out (G * H + (1 - G) * H~)

Ours, no published figure: the paper's full window of full matrices would cost W D^2 a frame, so
its history is factorised into one map and depthwise taps. The map stands before the taps, so that
the state is as narrow as the channels that a net keeps; W_out leads them back to the model's
width, which is fixed. The gate's two maps are two tensors, of which each is sliced as a prefix.

B batch, T frames, L frames of a chunk, D model width, X inner width, W window.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from todm.core.mixer_specs import PGNSpec
from todm.kernels.history import gated, history, history_kernel
from todm.layers.elastic import ElasticLinear
from todm.layers.mixer import Lookahead, Mixer


class PGNFold(NamedTuple):
    """What a chunk needs of the taps: nothing of it depends on the chunk's length."""

    kernel_X1W: Tensor
    """Oldest lag first."""


class PGNMixer(Mixer[PGNSpec, PGNFold]):
    """Elastic in channels (prefix of heads) and window (prefix of taps: the most recent)."""

    folded: ClassVar[tuple[str, ...]] = ("taps",)

    def __init__(self, model_dim: int, spec: PGNSpec) -> None:
        super().__init__()
        inner = spec.inner_dim
        bound = spec.window**-0.5
        self.w_in = ElasticLinear(model_dim, inner, bias=False)
        self.taps = nn.Parameter(torch.empty(inner, spec.window).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(inner))
        self.w_gate = ElasticLinear(model_dim + inner, inner)
        self.w_candidate = ElasticLinear(model_dim + inner, inner)
        self.w_out = ElasticLinear(inner, model_dim)

    def kernel(self, spec: PGNSpec) -> Tensor:
        """Return the kernel of the channels and lags that the spec keeps, (X, 1, W)."""
        return history_kernel(self.taps[: spec.inner_dim, None, : spec.window])

    def gate(
        self, x_BLD: Tensor, spec: PGNSpec, kernel_X1W: Tensor, past_BWX: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the gated history, (B, L, X), and the last W inputs of the history."""
        bias_X: Tensor = self.bias
        if spec.inner_dim < bias_X.shape[0]:  # a whole slice would still end up in a graph
            bias_X = bias_X[: spec.inner_dim]
        u_BLX = self.w_in(x_BLD, spec.inner_dim)
        h_BLX, next_BWX = history(u_BLX, kernel_X1W, bias_X, past_BWX)
        both = torch.cat([x_BLD, h_BLX.to(x_BLD.dtype)], -1)
        gate_BLX, candidate_BLX = (
            part(both, spec.inner_dim) for part in (self.w_gate, self.w_candidate)
        )
        return gated(h_BLX, gate_BLX, candidate_BLX), next_BWX

    def mix(self, z_BTX: Tensor) -> Tensor:
        """Map the channels out: (B, T, D)."""
        return self.w_out(z_BTX)

    def scan(self, x_BTD: Tensor, spec: PGNSpec, ahead: Lookahead) -> Tensor:  # noqa: ARG002
        """Run whole sequences up to the gate; nothing is ahead."""
        return self.gate(x_BTD, spec, self.kernel(spec), None)[0]

    def fold(self, spec: PGNSpec, chunk_frames: int, lookahead_frames: int) -> PGNFold:  # noqa: ARG002
        """Return the kernel."""
        return PGNFold(self.kernel(spec))

    def step(
        self, x_BLD: Tensor, states: Sequence[Tensor], spec: PGNSpec, constants: PGNFold
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk; the state is the last W inputs of the history, (B, W, X)."""
        z_BLX, next_BWX = self.gate(x_BLD, spec, constants.kernel_X1W, states[0])
        return self.mix(z_BLX), (next_BWX,)
