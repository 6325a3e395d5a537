"""The stand-alone linear state-space layer (Gu et al. 2021, arXiv 2110.13985).

Legend: B batch, T frames, L frames of a chunk, H features, N state order, M outputs of a feature,
X = H M.

Every feature runs through M one-channel systems of its own step size. A and B are one set for all
features (the published ``learn=1``) or one each. What follows in a deep model (GELU, a linear map,
the residual, the norm) is the model's.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from todm.core.lssl import LSSLLayerSpec
from todm.kernels.hippo import Transition
from todm.kernels.lssl import (
    LSSLFold,
    Readout,
    lssl_chunk,
    lssl_conv,
    lssl_kernel,
)
from todm.kernels.precision import widened
from todm.layers.dynamics import Dynamics


class LSSL(nn.Module):
    """A sequence map of ``num_features`` features; never computed in half precision."""

    def __init__(
        self, num_features: int, spec: LSSLLayerSpec, start: Transition | None = None
    ) -> None:
        """Start from the spec's matrices, or from hand-set ones.

        Raises:
            ConfigError: a hand-set A is unstable or is to train; the steps are too long for alpha.
        """
        super().__init__()
        limits = math.log(spec.dt_min), math.log(spec.dt_max)
        self.dynamics = Dynamics(
            spec.state if start is None else start,
            spec.state_dim,
            torch.empty(num_features).uniform_(*limits),
            learn=spec.learn,
            alpha=spec.alpha,
            groups=num_features if spec.per_feature else 1,
            full_t=spec.full_t,
        )
        outputs = spec.num_outputs
        self.c = nn.Parameter(torch.randn(num_features, outputs, self.dynamics.order))
        self.d = nn.Parameter(torch.randn(num_features, outputs))

    @property
    def readout(self) -> Readout:
        """C and D."""
        return Readout(self.c, self.d)

    def set_rate(self, rate: float) -> None:
        """Take inputs that keep every ``rate``-th frame; see ``Dynamics.set_rate``.

        Raises:
            ConfigError: the rate is no positive number.
        """
        self.dynamics.set_rate(rate)

    def forward(self, u_BTH: Float[Tensor, "B T H"]) -> Float[Tensor, "B T X"]:
        """Run whole sequences from the zero state, as a convolution."""
        with torch.autocast(u_BTH.device.type, enabled=False):
            k_HMT = lssl_kernel(self.readout, self.dynamics.krylov(u_BTH.shape[1]))
            return lssl_conv(widened(u_BTH), k_HMT).flatten(2)

    def zero_state(self, batch: int) -> Float[Tensor, "B H N"]:
        """Return the streaming state at the start."""
        return self.c.new_zeros(batch, self.c.shape[0], self.c.shape[2])

    def fold(self, chunk_frames: int) -> LSSLFold:
        """Return the constants of ``step`` over L frames, made in float64."""
        return self.dynamics.fold(self.readout, chunk_frames)

    def step(
        self, u_BLH: Float[Tensor, "B L H"], state_BHN: Float[Tensor, "B H N"], fold: LSSLFold
    ) -> tuple[Float[Tensor, "B L X"], Float[Tensor, "B H N"]]:
        """Advance one chunk: its outputs and the next state."""
        batch, frames, features = u_BLH.shape
        y_BHR1, next_BHN1 = lssl_chunk(u_BLH[..., None], state_BHN[..., None], fold)
        y_BHML = y_BHR1.reshape(batch, features, -1, frames)
        return y_BHML.permute(0, 3, 1, 2).flatten(2), next_BHN1.squeeze(3)
