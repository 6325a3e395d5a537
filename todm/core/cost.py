"""What a recogniser costs a device: parameters, products, elementwise work.

Closed forms over a ``SubnetSpec``; no network is built. One MAC is one real multiply-add of a
matrix product or a convolution, so twice the MACs are the products' FLOPs (tests hold this equal
to torch's FlopCounterMode). Elementwise work is counted apart, in operations.

The unit of inference is one chunk of L = ``spec.chunk_frames`` encoder frames (40 ms each) in the
folded form; what each kind of mixer costs stands in ``core.cost_mixers``, what a bundle weighs in
``core.cost_bytes``. The parts are those of a
bundle: the joiner's projection of the encoder lives in the encoder's graph, that of the predictor
in the predictor's. The joiner runs once a frame; the predictor at most once a frame (after an
emission; the contract allows one symbol a frame), and this upper bound is what is counted.

Legend: D model width, X = H * P inner width, N modes, F FFN width, J joiner width, E embedding,
V symbols.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from todm.core.cost_mixers import ACTIVATION_OPS, mixer_cost
from todm.core.cost_predictors import predictor_cost
from todm.core.specs import FRAME_MS, SUBSAMPLING, SubnetSpec
from todm.core.value import Value

Part = Literal["front", "mixers", "ffn", "encoder_out", "predictor", "predictor_out", "joiner"]

CONV_TAPS = 9
"""3 x 3 kernels of the front end."""
FP32_BYTES = 4
NORM_OPS = 7
"""Per scalar of a LayerNorm: subtract, square, two sums, scale, gain, offset."""


class LinearMap(NamedTuple):
    """A linear map with bias, and the part that it belongs to."""

    part: Part
    inputs: int
    outputs: int

    @property
    def macs(self) -> int:
        """MACs of one application."""
        return self.inputs * self.outputs


class MacsByPart(Value):
    """MACs of one chunk of the folded form."""

    front: int
    """Two convolutions and the projection."""
    mixers: int
    """Projections and the folded scan of every kept layer."""
    ffn: int
    encoder_out: int
    """The joiner's projection of the encoder output; it lives in the encoder's graph."""
    predictor: int
    """Its gate, if it has one, and its projection, once a frame; the rest is elementwise."""
    joiner: int
    """Logits, once a frame."""

    @property
    def encoder(self) -> int:
        """MACs of the encoder's graph."""
        return self.front + self.mixers + self.ffn + self.encoder_out

    @property
    def total(self) -> int:
        """MACs of the chunk."""
        return self.encoder + self.predictor + self.joiner


class OpsByPart(Value):
    """Elementwise operations of one chunk: one per scalar and primitive, biases left out."""

    front: int
    mixers: int
    ffn: int
    final_norm: int
    predictor: int
    joiner: int

    @property
    def total(self) -> int:
        """Operations of the chunk."""
        encoder = self.front + self.mixers + self.ffn + self.final_norm
        return encoder + self.predictor + self.joiner


def linear_maps(spec: SubnetSpec) -> Iterator[LinearMap]:
    """Yield every linear map of a subnet."""
    width, joiner = spec.model_dim, spec.joiner_dim
    yield LinearMap("front", spec.front.flat_dim, width)
    for block in spec.blocks:
        for inputs, outputs in mixer_cost(block.mixer).linears(width):
            yield LinearMap("mixers", inputs, outputs)
        yield LinearMap("ffn", width, block.ffn_dim)
        yield LinearMap("ffn", block.ffn_dim, width)
    yield LinearMap("encoder_out", width, joiner)
    for inputs, outputs in predictor_cost(spec).linears:
        yield LinearMap("predictor", inputs, outputs)
    yield LinearMap("predictor_out", spec.predictor.embed_dim, joiner)
    yield LinearMap("joiner", joiner, spec.vocab_size)


def conv_weights(spec: SubnetSpec) -> tuple[int, int]:
    """Return the kernel scalars (biases apart) of the two convolutions."""
    first, second = spec.front.channels
    return CONV_TAPS * first, CONV_TAPS * first * second


def num_parameters(spec: SubnetSpec) -> int:
    """Return the trainable scalars; equal to torch's count of ``Transducer(spec)``."""
    linears = sum(m.inputs * m.outputs + m.outputs for m in linear_maps(spec))
    convs = sum(conv_weights(spec)) + sum(spec.front.channels)
    norms = 2 * spec.model_dim * (2 * len(spec.blocks) + 1)
    mixers = sum(mixer_cost(block.mixer).parameters for block in spec.blocks)
    return linears + convs + norms + mixers + predictor_cost(spec).parameters


def front_conv_macs(spec: SubnetSpec, encoder_frames: int) -> tuple[int, int]:
    """Return the MACs of each convolution for this many encoder frames."""
    bins = spec.front.feature_dim
    first, second = conv_weights(spec)
    return 2 * encoder_frames * (bins // 2) * first, encoder_frames * (bins // 4) * second


def chunk_macs(spec: SubnetSpec) -> MacsByPart:
    """Return the MACs of one chunk of ``spec.chunk_frames`` encoder frames."""
    frames = spec.chunk_frames
    macs = dict.fromkeys(MacsByPart.model_fields, 0)
    for linear in linear_maps(spec):
        part = "predictor" if linear.part == "predictor_out" else linear.part
        macs[part] += frames * linear.macs
    macs["front"] += sum(front_conv_macs(spec, frames))
    macs["mixers"] += sum(mixer_cost(block.mixer).chunk_macs(frames) for block in spec.blocks)
    return MacsByPart.model_validate(macs)


def chunk_elementwise(spec: SubnetSpec) -> OpsByPart:
    """Return the elementwise operations of one chunk, as ``Encoder.step`` writes them."""
    frames, width, bins = spec.chunk_frames, spec.model_dim, spec.front.feature_dim
    first, second = spec.front.channels
    front = 2 * SUBSAMPLING * frames * bins
    front += ACTIVATION_OPS * frames * (first * bins + second * (bins // 4))
    mixers = ffn = 0
    for block in spec.blocks:
        mixers += frames * width * (NORM_OPS + 1)
        mixers += mixer_cost(block.mixer).chunk_ops(frames, width)
        ffn += frames * (width * (NORM_OPS + 1) + ACTIVATION_OPS * block.ffn_dim)
    return OpsByPart(
        front=front,
        mixers=mixers,
        ffn=ffn,
        final_norm=NORM_OPS * frames * width,
        predictor=frames * predictor_cost(spec).step_ops,
        joiner=frames * 2 * spec.joiner_dim,
    )


def chunk_s(spec: SubnetSpec) -> float:
    """Return the audio of one chunk in seconds."""
    return spec.chunk_frames * SUBSAMPLING * FRAME_MS / 1000.0


def macs_per_audio_s(spec: SubnetSpec) -> float:
    """Return the MACs per second of audio, with one emission a frame (the most there can be)."""
    return chunk_macs(spec).total / chunk_s(spec)


def state_bytes(spec: SubnetSpec) -> int:
    """Return the bytes of the flat streaming state row in float32."""
    return FP32_BYTES * spec.state_floats
