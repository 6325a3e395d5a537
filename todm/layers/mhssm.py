"""The multi-head state-space mixer (Fathullah et al. 2023, arXiv 2305.12498).

    u = W_in x, split into H heads of P channels;  y_h = SSM_h(u_h);  z = SiLU(y)
    out_glu    out = (W_value z) * sigmoid(W_gate z)                     to the model's width
    head_glu   out = W_out ((W_value z) * sigmoid(W_gate z))             to half as many heads
    pairs      out = W_out [z_2j * sigmoid(W_j z_2j+1)]_j
    none       out = W_out z

These are readings of the paper's gating between heads. Partners are neighbours, so a prefix of an
even number of heads keeps whole pairs. With ``conv_frames`` a causal depthwise convolution of u
comes before the scan; at birth it passes u through. The heads differ at birth: timescales are
log-spaced over [dt_min, dt_max] in the order of ``spread_order``, so every prefix of heads covers
the range; modes are stored lowest frequency first (S4D-Lin), so a prefix of modes keeps the slow
ones.

With ``backward`` each head has a second SSM that runs against time inside the net's blocks of
lookahead; a causal net leaves it out.
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from todm.core.mixer_specs import MHSSMSpec, ScanForm
from todm.core.space import spread_order
from todm.kernels.conv import causal_taps
from todm.kernels.ssm import ChunkFold, Modes, discretise, fold, ssm_conv
from todm.kernels.ssm_recurrent import Recurrence, ssm_step, step_constants
from todm.layers.elastic import ElasticLinear, HeadLinear
from todm.layers.mixer import Lookahead, Mixer


class MHSSM(Mixer[MHSSMSpec, ChunkFold | Recurrence]):
    """Elastic in heads (prefix) and modes (prefix); the model width is fixed."""

    folded: ClassVar[tuple[str, ...]] = ("log_neg_re", "im", "log_dt", "c", "d", "ahead")
    convolve: ClassVar[Callable[..., tuple[Tensor, Tensor]]] = staticmethod(causal_taps)
    """The convolution before the scan; an export may write it as one operator."""

    def __init__(self, model_dim: int, spec: MHSSMSpec) -> None:
        super().__init__()
        self.head_dim, self.gating, inner = spec.head_dim, spec.gating, spec.inner_dim
        self.w_in = ElasticLinear(model_dim, inner)
        if spec.gating in ("out_glu", "head_glu"):
            gated = model_dim if spec.gating == "out_glu" else inner // 2
            self.w_value = ElasticLinear(inner, gated)
            self.w_gate = ElasticLinear(inner, gated)
        if spec.gating == "pairs":
            self.pair_gate = HeadLinear(spec.num_heads // 2, spec.head_dim)
        if spec.gating != "out_glu":
            self.w_out = ElasticLinear(inner if spec.gating == "none" else inner // 2, model_dim)
        if spec.conv_frames:
            self.taps = nn.Parameter(torch.eye(spec.conv_frames)[-1].repeat(inner, 1))
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

    def enter(
        self, x_BTD: Tensor, spec: MHSSMSpec, past_BJX: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Project and convolve: (B, T, X), and the convolution's past if there is one."""
        u_BTX = self.w_in(x_BTD, spec.inner_dim)
        if spec.conv_frames == 0:
            return u_BTX, ()
        taps_XK: Tensor = self.taps
        if spec.inner_dim < taps_XK.shape[0]:  # a whole slice would still end up in a graph
            taps_XK = taps_XK[: spec.inner_dim]
        u_BTX, next_BJX = self.convolve(u_BTX, taps_XK, past_BJX)
        return u_BTX, (next_BJX,)

    def split(self, u_BTX: Tensor, spec: MHSSMSpec) -> Tensor:
        """Split into heads: (B, T, H, P)."""
        return u_BTX.reshape(*u_BTX.shape[:-1], spec.num_heads, self.head_dim)

    def leave(self, y_BTHP: Tensor) -> Tensor:
        """Apply the activation after the scan: (B, T, H * P)."""
        return F.silu(y_BTHP.flatten(-2))

    def mix(self, z_BTX: Tensor) -> Tensor:
        """Let the heads gate each other and map them out: (B, T, D)."""
        match self.gating:
            case "out_glu":
                return self.w_value(z_BTX) * torch.sigmoid(self.w_gate(z_BTX))
            case "head_glu":
                half = z_BTX.shape[-1] // 2
                gate_BTX = torch.sigmoid(self.w_gate(z_BTX, half))
                return self.w_out(self.w_value(z_BTX, half) * gate_BTX)
            case "pairs":
                z_BTG2P = z_BTX.reshape(*z_BTX.shape[:-1], -1, 2, self.head_dim)
                value_BTGP, partner_BTGP = z_BTG2P.unbind(-2)
                gated_BTGP = value_BTGP * torch.sigmoid(self.pair_gate(partner_BTGP))
                return self.w_out(gated_BTGP.flatten(-2))
            case "none":
                return self.w_out(z_BTX)
            case _:
                assert_never(self.gating)

    def scan(self, x_BTD: Tensor, spec: MHSSMSpec, ahead: Lookahead) -> Tensor:
        """Run the training form up to the activation: (B, T, H * P)."""
        u_BTHP = self.split(ahead.hide_padding(self.enter(x_BTD, spec)[0]), spec)
        modes, later = self.modes(spec), self.ahead_modes(spec, ahead.frames)
        return self.leave(ssm_conv(u_BTHP, modes, later, ahead.block_frames))

    def fold(self, spec: MHSSMSpec, chunk_frames: int, lookahead_frames: int) -> ChunkFold:
        """Return the scan's constants over a chunk."""
        later = self.ahead_modes(spec, lookahead_frames)
        return fold(self.modes(spec), chunk_frames, later, lookahead_frames + 1)

    def constants(
        self, spec: MHSSMSpec, chunk_frames: int, lookahead_frames: int, form: ScanForm
    ) -> ChunkFold | Recurrence:
        """Return the constants of that form of the scan over a chunk."""
        later = self.ahead_modes(spec, lookahead_frames)
        return step_constants(form, self.modes(spec), chunk_frames, later, lookahead_frames + 1)

    def step(
        self,
        x_BLD: Tensor,
        states: Sequence[Tensor],
        spec: MHSSMSpec,
        constants: ChunkFold | Recurrence,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance one chunk; the last state is that of the modes, (B, H, 2 N, P)."""
        *past, modes_BHMP = states
        u_BLX, next_past = self.enter(x_BLD, spec, *past)
        y_BLHP, next_BHMP = ssm_step(self.split(u_BLX, spec), modes_BHMP, constants)
        return self.mix(self.leave(y_BLHP)), (*next_past, next_BHMP)


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
        nn.Parameter(_log_dt(spec)),
        nn.Parameter(torch.randn(heads, modes, 2) * math.sqrt(0.5)),
    )


def _log_dt(spec: MHSSMSpec) -> Tensor:
    spaced = torch.linspace(math.log(spec.dt_min), math.log(spec.dt_max), spec.num_heads)
    return spaced[torch.tensor(spread_order(spec.num_heads))]
