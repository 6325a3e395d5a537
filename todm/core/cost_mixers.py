"""What each kind of mixer costs, for ``core.cost`` (inference) and ``core.cost_training``.

Legend: D model width, H heads, P channels of a head, X = H * P, N modes, L frames of a chunk.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import assert_never

from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, MixerSpec, PGNSpec, ScanForm

ACTIVATION_OPS = 2
"""Per scalar of a SiLU (sigmoid, multiply), or of a gate."""
COMPLEX_MACS = 4
TOEPLITZ_MAX_FRAMES = 256
"""Up to here the T x T product beats the FFT on CPU at the recipes' batch of 16 (measured by
benchmarks/ssm_forms.py: 1.1 times as fast at 256, equal near 448; at a batch of 4 they
are equal near 192). ``kernels.ssm`` takes the figure from here."""


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

    def graph_scalars(self, frames: int, form: ScanForm) -> int:
        """Return the same for a form of the scan; a mixer without one has one form only."""
        del form
        return self.folded_scalars(frames)

    @abstractmethod
    def chunk_macs(self, frames: int) -> int:
        """Return the MACs of one chunk beside the linears'."""

    @abstractmethod
    def chunk_ops(self, frames: int, model_dim: int) -> int:
        """Return the elementwise operations of one chunk."""

    @abstractmethod
    def depthwise_macs(self, positions: int) -> int:
        """Return the MACs of depthwise convolutions over so many frames, forward."""

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
        """Into the heads; value, gate and what leads out of them."""
        inner = self.spec.inner_dim
        half = inner // 2
        match self.spec.gating:
            case "out_glu":
                out: tuple[tuple[int, int], ...] = ((inner, model_dim), (inner, model_dim))
            case "head_glu":
                out = ((inner, half), (inner, half), (half, model_dim))
            case "pairs":
                out = ((half, model_dim),)
            case "none":
                out = ((inner, model_dim),)
            case _:
                assert_never(self.spec.gating)
        return ((model_dim, inner), *out)

    @property
    def _kept_scalars(self) -> int:
        """Scalars of the pairs' maps and of the convolution: as they are in every graph."""
        spec = self.spec
        pairs = (spec.inner_dim // 2) * (spec.head_dim + 1) if spec.gating == "pairs" else 0
        return pairs + spec.inner_dim * spec.conv_frames

    @property
    def _pair_macs(self) -> int:
        """MACs of the pairs' maps, one frame."""
        spec = self.spec
        return (spec.inner_dim // 2) * spec.head_dim if spec.gating == "pairs" else 0

    @property
    def parameters(self) -> int:
        """A, C (complex) of every mode, dt of every head, in each direction; a skip."""
        heads = self.spec.num_heads
        directions = 2 if self.spec.backward else 1
        modes = directions * heads * (4 * self.spec.state_dim + 1) + heads
        return modes + self._kept_scalars

    def folded_scalars(self, frames: int) -> int:
        """A ``ChunkFold``, whether it looks ahead or not."""
        modes = self.spec.state_dim
        fold = self.spec.num_heads * (frames * frames + 4 * frames * modes + 2 * modes)
        return fold + self._kept_scalars

    def graph_scalars(self, frames: int, form: ScanForm) -> int:
        """A ``ChunkFold``, or a ``Recurrence``: 4 N + 1 a head, and a product if it looks ahead.

        With heads of one channel there are as many heads as channels: P times the constants of
        heads of P channels, for the same products.
        """
        if form == "folded":
            return self.folded_scalars(frames)
        ahead = frames * frames if self.spec.backward else 0
        return self.spec.num_heads * (4 * self.spec.state_dim + 1 + ahead) + self._kept_scalars

    def chunk_macs(self, frames: int) -> int:
        """Toeplitz (L x L), read (L x 2N), write (2N x L) products over channels; pairs' maps."""
        scan = self.spec.inner_dim * frames * (frames + 4 * self.spec.state_dim)
        return scan + frames * self._pair_macs

    def chunk_ops(self, frames: int, model_dim: int) -> int:
        """The products' sum and the activation, the decay of the states, the taps, the gate."""
        inner, modes, gating = self.spec.inner_dim, self.spec.state_dim, self.spec.gating
        scan = frames * inner * (1 + ACTIVATION_OPS) + inner * modes * (6 + 2)
        taps = frames * inner * max(0, 2 * self.spec.conv_frames - 1)
        gated = {"out_glu": model_dim, "none": 0}.get(gating, inner // 2)
        return scan + taps + frames * gated * ACTIVATION_OPS

    def depthwise_macs(self, positions: int) -> int:
        """The taps before the scan."""
        return positions * self.spec.inner_dim * self.spec.conv_frames

    def kernel_macs(self, frames: int, lookahead_frames: int) -> int:
        """K = 2 Re sum_n cb_n lam_n^t: H N complex multiply-adds a lag, once for the batch."""
        lags = frames + (min(lookahead_frames, frames - 1) if self.spec.backward else 0)
        return COMPLEX_MACS * self.spec.num_heads * self.spec.state_dim * lags

    def scan_macs(self, batch: int, frames: int, lookahead_frames: int) -> int:
        """The form that ``kernels.ssm.ssm_conv`` takes at this length.

        Looking ahead is part of the T x T product; beside the FFT it is a G x G product a block.
        """
        channels = batch * self.spec.inner_dim
        pairs = batch * frames * self._pair_macs
        products = convolution_macs(channels, self.spec.num_heads, frames)
        if self.spec.backward and lookahead_frames and frames > TOEPLITZ_MAX_FRAMES:
            block = lookahead_frames + 1
            products += channels * math.ceil(frames / block) * block * block
        return pairs + products


@dataclass(frozen=True)
class PGNCost(MixerCost):
    """Of ``layers.pgn_mixer``."""

    spec: PGNSpec

    def linears(self, model_dim: int) -> tuple[tuple[int, int], ...]:
        """Into the history (its bias acts after the taps); gate and candidate; out."""
        inner = self.spec.inner_dim
        both = (model_dim + inner, inner)
        return ((model_dim, inner), both, both, (inner, model_dim))

    @property
    def parameters(self) -> int:
        """The taps."""
        return self.spec.inner_dim * self.spec.window

    def folded_scalars(self, frames: int) -> int:  # noqa: ARG002
        """The taps, whatever the chunk."""
        return self.parameters

    def chunk_macs(self, frames: int) -> int:
        """The taps."""
        return frames * self.parameters

    def chunk_ops(self, frames: int, model_dim: int) -> int:  # noqa: ARG002
        """Sigmoid, tanh, and the gated sum of both."""
        return frames * self.spec.inner_dim * 5

    def depthwise_macs(self, positions: int) -> int:
        """The taps."""
        return positions * self.parameters

    def kernel_macs(self, frames: int, lookahead_frames: int) -> int:  # noqa: ARG002
        """Nothing is made."""
        return 0

    def scan_macs(self, batch: int, frames: int, lookahead_frames: int) -> int:  # noqa: ARG002
        """Nothing beside taps and linears."""
        return 0


@dataclass(frozen=True)
class LSSLCost(MixerCost):
    """Of ``layers.lssl_mixer``; the elimination that discretises A is elementwise, left out."""

    spec: LSSLSpec

    def linears(self, model_dim: int) -> tuple[tuple[int, int], ...]:
        """Into the heads; value and gate, or out."""
        inner = self.spec.inner_dim
        return ((model_dim, inner), *[(inner, model_dim)] * (1 + self._gates))

    @property
    def _gates(self) -> int:
        return int(self.spec.gating == "out_glu")

    @property
    def parameters(self) -> int:
        """C and the skip of every head; its step; p, q, s, b and T's lower diagonal."""
        heads, order = self.spec.num_heads, self.spec.state_dim
        steps = heads if self.spec.learn != "fixed" else 0
        factors = heads * (5 * order - 1) if self.spec.learn == "dt_a" else 0
        return heads * (order + 1) + steps + factors

    def folded_scalars(self, frames: int) -> int:
        """An ``LSSLFold``."""
        return self.spec.num_heads * self._chunk(frames)

    def chunk_macs(self, frames: int) -> int:
        """Toeplitz (L x L), read (L x N), write (N x L), power (N x N) products over channels."""
        return self.spec.inner_dim * self._chunk(frames)

    def _chunk(self, frames: int) -> int:
        return (frames + self.spec.state_dim) ** 2

    def chunk_ops(self, frames: int, model_dim: int) -> int:
        """The sums of the products, the activation, the gate."""
        inner = self.spec.inner_dim
        scan = frames * inner * (1 + ACTIVATION_OPS) + inner * self.spec.state_dim
        return scan + frames * self._gates * model_dim * ACTIVATION_OPS

    def depthwise_macs(self, positions: int) -> int:  # noqa: ARG002
        """There are no taps."""
        return 0

    def kernel_macs(self, frames: int, lookahead_frames: int) -> int:  # noqa: ARG002
        """K = C [Abar^i Bbar]: of the Krylov matrix, where it trains, columns and squarings."""
        order = self.spec.state_dim
        each = order * frames
        if self.spec.learn != "fixed":
            squarings = max(0, math.ceil(math.log2(frames)) - 1)
            each += order**2 * (frames - 1) + order**3 * squarings
        return self.spec.num_heads * each

    def scan_macs(self, batch: int, frames: int, lookahead_frames: int) -> int:  # noqa: ARG002
        """The convolution."""
        return convolution_macs(batch * self.spec.inner_dim, self.spec.num_heads, frames)


def convolution_macs(channels: int, kernels: int, frames: int) -> int:
    """Return the MACs of ``kernels.ssm.ssm_convolve``, in the form that it takes at this length."""
    if frames <= TOEPLITZ_MAX_FRAMES:
        return channels * frames * frames
    size = 1 << math.ceil(math.log2(max(2, 2 * frames)))
    transform = round(1.25 * size * math.log2(size))
    return (2 * channels + kernels) * transform + COMPLEX_MACS * channels * (size // 2 + 1)


def mixer_cost(spec: MixerSpec) -> MixerCost:
    """Return the costs of the mixer that a spec names."""
    match spec:
        case MHSSMSpec():
            return MHSSMCost(spec)
        case PGNSpec():
            return PGNCost(spec)
        case LSSLSpec():
            return LSSLCost(spec)
        case _:
            assert_never(spec)
