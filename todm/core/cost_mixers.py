"""What each kind of mixer costs, for ``core.cost`` (inference) and ``core.cost_training``.

Legend: D model width, H heads, P channels of a head, X = H * P, N modes, L frames of a chunk.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import assert_never

from todm.core.specs import MHSSMSpec, MixerSpec

ACTIVATION_OPS = 2
"""Per scalar of a SiLU (sigmoid, multiply), or of a gate."""
COMPLEX_MACS = 4
TOEPLITZ_MAX_FRAMES = 256
"""Up to here the T x T product beats the FFT on CPU at the recipes' batch of 16 (measured by
benchmarks/ssm_forms.py: 1.3 times as fast at 256, equal near 448; at a batch of 4 they
are equal at 192). ``kernels.ssm`` takes the figure from here."""


class MixerCost(ABC):
    """Closed forms of one mixer; its norm and residual are the block's."""

    @abstractmethod
    def linears(self, model_dim: int) -> tuple[tuple[int, int], ...]:
        """Return inputs and outputs of every linear map with bias."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Trainable scalars beside the linears'."""

    @abstractmethod
    def folded_scalars(self, frames: int) -> int:
        """Return the scalars beside the linears' that a graph for chunks of L frames holds."""

    @abstractmethod
    def chunk_macs(self, frames: int) -> int:
        """Return the MACs of one chunk beside the linears'."""

    @abstractmethod
    def chunk_ops(self, frames: int, model_dim: int) -> int:
        """Return the elementwise operations of one chunk."""

    @abstractmethod
    def kernel_macs(self, frames: int, lookahead_frames: int) -> int:
        """Return the MACs of making what all utterances of a batch share, forward."""

    @abstractmethod
    def scan_macs(self, batch: int, frames: int, lookahead_frames: int) -> int:
        """Return the MACs of mixing whole sequences, forward, beside the linears'."""


@dataclass(frozen=True)
class MHSSMCost(MixerCost):
    """Of ``layers.mhssm``."""

    spec: MHSSMSpec

    def linears(self, model_dim: int) -> tuple[tuple[int, int], ...]:
        """Into the heads; value and gate out of them."""
        inner = self.spec.inner_dim
        return (model_dim, inner), (inner, model_dim), (inner, model_dim)

    @property
    def parameters(self) -> int:
        """A, C (complex) of every mode, dt of every head, in each direction; a skip."""
        heads = self.spec.num_heads
        directions = 2 if self.spec.backward else 1
        return directions * heads * (4 * self.spec.state_dim + 1) + heads

    def folded_scalars(self, frames: int) -> int:
        """A ``ChunkFold``, whether it looks ahead or not."""
        modes = self.spec.state_dim
        return self.spec.num_heads * (frames * frames + 4 * frames * modes + 2 * modes)

    def chunk_macs(self, frames: int) -> int:
        """Toeplitz (L x L), read (L x 2N) and write (2N x L) products over all channels."""
        return self.spec.inner_dim * frames * (frames + 4 * self.spec.state_dim)

    def chunk_ops(self, frames: int, model_dim: int) -> int:
        """The products' sum and the activation, the decay of the states, the gate."""
        inner, modes = self.spec.inner_dim, self.spec.state_dim
        scan = frames * inner * (1 + ACTIVATION_OPS) + inner * modes * (6 + 2)
        return scan + frames * model_dim * ACTIVATION_OPS

    def kernel_macs(self, frames: int, lookahead_frames: int) -> int:
        """K = 2 Re sum_n cb_n lam_n^t: H N complex multiply-adds a lag, once for the batch."""
        lags = frames + (min(lookahead_frames, frames - 1) if self.spec.backward else 0)
        return COMPLEX_MACS * self.spec.num_heads * self.spec.state_dim * lags

    def scan_macs(self, batch: int, frames: int, lookahead_frames: int) -> int:
        """The form that ``kernels.ssm.ssm_conv`` takes at this length.

        Looking ahead is part of the T x T product; beside the FFT it is a G x G product a block.
        """
        channels = batch * self.spec.inner_dim
        if frames <= TOEPLITZ_MAX_FRAMES:
            return channels * frames * frames
        size = 1 << math.ceil(math.log2(max(2, 2 * frames)))
        transform = round(1.25 * size * math.log2(size))
        products = COMPLEX_MACS * channels * (size // 2 + 1)
        if self.spec.backward and lookahead_frames:
            block = lookahead_frames + 1
            products += channels * math.ceil(frames / block) * block * block
        return (2 * channels + self.spec.num_heads) * transform + products


def mixer_cost(spec: MixerSpec) -> MixerCost:
    """Return the costs of the mixer that a spec names."""
    match spec:
        case MHSSMSpec():
            return MHSSMCost(spec)
        case _:
            assert_never(spec)
