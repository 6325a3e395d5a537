"""Networks rewritten for export: plain tensors in and out, the scan folded into products.

Each module holds copies of just what its graph needs (unused parameters would be stored in a
.pte), linears of their exact size, and the mixers' constants as buffers computed in float64.

Legend: N streams, T fbank frames, F mel bins, L encoder frames of a chunk, D model width, J joiner
width, S floats of the state row, C context.
"""

import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from todm.core.errors import TodmError
from todm.core.mixer_specs import ScanForm
from todm.core.specs import SUBSAMPLING, SubnetSpec
from todm.export.tabulate import TabulatedPGN
from todm.kernels.conv import causal_taps_onnx
from todm.layers.block import Block
from todm.layers.elastic import dense, dense_linear
from todm.layers.mhssm import MHSSM
from todm.models.encoder import state_views
from todm.models.predictor import PGNPredictor, Predictor, StatelessPredictor
from todm.models.rnnt import Transducer


@dataclass(frozen=True)
class GraphForm:
    """Which of several equal computations a graph holds."""

    scan: ScanForm = "folded"
    conv_op: bool = False
    """The mixers' convolution as ONNX Runtime's CausalConvWithState."""


def folded_block(block: Block, constants: Any, *, conv_op: bool = False) -> Block:
    """Return a copy of a block for export, its mixer's constants (a NamedTuple) as buffers."""
    plain = dense(block)
    for name in plain.mixer.folded:
        delattr(plain.mixer, name)
    for name, constant in constants._asdict().items():
        plain.mixer.register_buffer(name, None if constant is None else constant.float())
    if conv_op and isinstance(plain.mixer, MHSSM):
        plain.mixer.__dict__["convolve"] = causal_taps_onnx  # of this copy alone
    return plain


class StreamingEncoder(nn.Module):
    """Front end, blocks, norm and the joiner's encoder projection of a dense subnet.

    The state is one flat row laid out by ``state_parts``, whatever the layers' sizes. By default
    the scan is three products per head and chunk (``kernels.ssm.ssm_chunk``): frame by frame it is
    slower in both runtimes (benchmarks/ssm_forms.py).
    """

    def __init__(self, model: Transducer, form: GraphForm | None = None) -> None:
        super().__init__()
        form = form or GraphForm()
        self.spec = spec = model.spec
        exact = copy.deepcopy(model.encoder).to("cpu", torch.float64)
        with torch.no_grad():
            folds = exact.folds(spec, spec.chunk_frames, form.scan)
        self.kinds = [type(constants) for constants in folds]
        self.front = copy.deepcopy(model.encoder.front)
        self.blocks = nn.ModuleList(
            folded_block(model.encoder.block(b.source_layer), constants, conv_op=form.conv_op)
            for b, constants in zip(spec.blocks, folds, strict=True)
        )
        self.norm = copy.deepcopy(model.encoder.norm)
        self.to_joiner = dense_linear(model.joiner.from_encoder)

    def forward(self, x_NTF: Tensor, state_NS: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one chunk: (N, T, F) and the state row to (N, L, J) and the next row."""
        views = state_views(state_NS, self.spec)
        x_NLD, caches = self.front.step(x_NTF, (next(views), next(views)))
        states = list(caches)
        for block, spec, kind in zip(self.blocks, self.spec.blocks, self.kinds, strict=True):
            own = tuple(islice(views, len(spec.mixer.state_shapes())))
            constants = kind(*(getattr(block.mixer, name) for name in kind._fields))
            x_NLD, next_states = cast(Block, block).step(x_NLD, own, spec, constants)
            states += next_states
        row_NS = torch.cat([state.flatten(1) for state in states], 1)
        return self.to_joiner(self.norm(x_NLD)), row_NS


def _plain(predictor: Predictor) -> StatelessPredictor | TabulatedPGN:
    """Return a copy for export."""
    match predictor:
        case StatelessPredictor():
            return copy.deepcopy(predictor)
        case PGNPredictor():
            return TabulatedPGN(predictor)
        case _:
            raise TodmError(f"no export of a predictor {type(predictor).__name__}")


class PredictorStep(nn.Module):
    """The predictor and the joiner's projection of it: ids (N, C) to (N, J)."""

    def __init__(self, model: Transducer) -> None:
        super().__init__()
        self.predictor = _plain(model.predictor)
        self.to_joiner = dense_linear(model.joiner.from_predictor)

    def forward(self, context_NC: Tensor) -> Tensor:
        """Return the projected prediction; ids below zero count as zero vectors."""
        projected: Tensor = self.to_joiner(self.predictor.step(context_NC))
        return projected


class JoinerStep(nn.Module):
    """The rest of the joiner: two (N, J) rows to logits (N, V)."""

    def __init__(self, model: Transducer) -> None:
        super().__init__()
        self.to_vocab = dense_linear(model.joiner.to_vocab)

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
