"""Networks rewritten for export: plain tensors in and out, the scan folded into products.

Each module holds copies of just what its graph needs (unused parameters would be stored in a
.pte), linears of their exact size, and the mixers' constants as buffers computed in float64.

Legend: N streams, T fbank frames, F mel bins, L encoder frames of a chunk, D model width, J joiner
width, S floats of the state row, H heads, P channels of a head, M = 2 state_dim, C context.
"""

import copy
from typing import assert_never

import torch
from torch import Tensor, nn

from todm.core.contract import state_parts
from todm.core.specs import SUBSAMPLING, BlockSpec, MHSSMSpec, SubnetSpec
from todm.kernels.ssm import ChunkFold, Modes, fold, ssm_chunk
from todm.layers.block import Block
from todm.layers.mhssm import MHSSM
from todm.models.rnnt import Transducer


def plain_linear(layer: nn.Linear) -> nn.Linear:
    """Return a plain linear of the same weights: no slicing ends up in the graph."""
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.load_state_dict(layer.state_dict())
    return plain


class FoldedMHSSM(nn.Module):
    """A multi-head state-space mixer over one chunk: (N, L, D) and its state (N, H, M, P).

    The scan is three products per head and chunk (``kernels.ssm.ssm_chunk``). Frame by frame it
    is slower in both runtimes (benchmarks/ssm_forms.py).
    """

    toeplitz_HLL: Tensor
    read_HLM: Tensor
    write_HML: Tensor
    decay_re_HN: Tensor
    decay_im_HN: Tensor

    def __init__(self, mixer: MHSSM, spec: MHSSMSpec, modes: Modes, chunk_frames: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = spec.num_heads, spec.head_dim
        self.w_in = plain_linear(mixer.w_in)
        self.w_value, self.w_gate = plain_linear(mixer.w_value), plain_linear(mixer.w_gate)
        for name, constant in fold(modes, chunk_frames)._asdict().items():
            self.register_buffer(name, constant.float())

    def advance(self, u_NLHP: Tensor, state_NHMP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scan's output and the next state."""
        constants = ChunkFold(
            self.toeplitz_HLL, self.read_HLM, self.write_HML, self.decay_re_HN, self.decay_im_HN
        )
        return ssm_chunk(u_NLHP, state_NHMP, constants)

    def forward(self, x_NLD: Tensor, state_NHMP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixer's update of x and the next state."""
        u_NLX: Tensor = self.w_in(x_NLD)
        u_NLHP = u_NLX.reshape(*u_NLX.shape[:2], self.num_heads, self.head_dim)
        y_NLHP, next_NHMP = self.advance(u_NLHP, state_NHMP)
        z_NLX = nn.functional.silu(y_NLHP.flatten(-2))
        return self.w_value(z_NLX) * torch.sigmoid(self.w_gate(z_NLX)), next_NHMP


@torch.no_grad()
def folded_mixer(mixer: MHSSM, spec: MHSSMSpec, chunk_frames: int) -> FoldedMHSSM:
    """Rewrite the mixer that a spec names; its constants are computed in float64."""
    match spec:
        case MHSSMSpec():
            modes = copy.deepcopy(mixer).to("cpu", torch.float64).modes(spec)
            return FoldedMHSSM(mixer, spec, modes, chunk_frames)
        case _:
            assert_never(spec)


class FoldedBlock(nn.Module):
    """An encoder block over one chunk."""

    def __init__(self, block: Block, spec: BlockSpec, chunk_frames: int) -> None:
        super().__init__()
        self.mixer_norm = copy.deepcopy(block.mixer_norm)
        self.mixer = folded_mixer(block.mixer, spec.mixer, chunk_frames)
        self.ffn_norm = copy.deepcopy(block.ffn_norm)
        self.ffn_in, self.ffn_out = plain_linear(block.ffn_in), plain_linear(block.ffn_out)

    def forward(self, x_NLD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and the mixer's next state."""
        update_NLD, state = self.mixer(self.mixer_norm(x_NLD), state)
        x_NLD = x_NLD + update_NLD
        hidden_NLX = nn.functional.silu(self.ffn_in(self.ffn_norm(x_NLD)))
        return x_NLD + self.ffn_out(hidden_NLX), state


class StreamingEncoder(nn.Module):
    """Front end, blocks, norm and the joiner's encoder projection of a dense subnet.

    The state is one flat row laid out by ``state_parts``, whatever the layers' sizes.
    """

    def __init__(self, model: Transducer) -> None:
        super().__init__()
        spec = model.spec
        self.parts = state_parts(spec)
        self.front = copy.deepcopy(model.encoder.front)
        self.blocks = nn.ModuleList(
            FoldedBlock(model.encoder.block(b.source_layer), b, spec.chunk_frames)
            for b in spec.blocks
        )
        self.norm = copy.deepcopy(model.encoder.norm)
        self.to_joiner = plain_linear(model.joiner.from_encoder)

    def forward(self, x_NTF: Tensor, state_NS: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one chunk: (N, T, F) and the state row to (N, L, J) and the next row."""
        views = [
            state_NS[:, p.offset : p.offset + p.num_floats].reshape(-1, *p.shape)
            for p in self.parts
        ]
        x_NLD, caches = self.front.step(x_NTF, (views[0], views[1]))
        states = list(caches)
        for block, state in zip(self.blocks, views[2:], strict=True):
            x_NLD, next_state = block(x_NLD, state)
            states.append(next_state)
        row_NS = torch.cat([state.flatten(1) for state in states], 1)
        return self.to_joiner(self.norm(x_NLD)), row_NS


class PredictorStep(nn.Module):
    """The predictor and the joiner's projection of it: ids (N, C) to (N, J)."""

    def __init__(self, model: Transducer) -> None:
        super().__init__()
        self.predictor = copy.deepcopy(model.predictor)
        self.to_joiner = plain_linear(model.joiner.from_predictor)

    def forward(self, context_NC: Tensor) -> Tensor:
        """Return the projected prediction; ids below zero count as zero vectors."""
        projected: Tensor = self.to_joiner(self.predictor.step(context_NC))
        return projected


class JoinerStep(nn.Module):
    """The rest of the joiner: two (N, J) rows to logits (N, V)."""

    def __init__(self, model: Transducer) -> None:
        super().__init__()
        self.to_vocab = plain_linear(model.joiner.to_vocab)

    def forward(self, enc_NJ: Tensor, pred_NJ: Tensor) -> Tensor:
        """Return raw logits."""
        logits_NV: Tensor = self.to_vocab(torch.tanh(enc_NJ + pred_NJ))
        return logits_NV


def example_state(spec: SubnetSpec, num_streams: int) -> Tensor:
    """Return a zero state row, to trace with."""
    return torch.zeros(num_streams, spec.state_floats)


def example_features(spec: SubnetSpec, num_streams: int) -> Tensor:
    """Return a zero chunk of features, to trace with."""
    frames = spec.chunk_frames * SUBSAMPLING
    return torch.zeros(num_streams, frames, spec.front.feature_dim)
