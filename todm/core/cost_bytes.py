"""What a bundle weighs, form by form: the weights as a scheme stores them, the graph around them.

Closed forms over a ``SubnetSpec``; no network is built. Schemes are taken with their default
settings, before the gate adds to the layers in float32. ``tokens.txt``, some ten bytes a symbol,
is left out; extract replaces the estimate by what an export really weighs.
"""

import math
from typing import Literal, NamedTuple, assert_never

from todm.core.cost import FP32_BYTES, LinearMap, chunk_s, conv_weights, linear_maps
from todm.core.cost_mixers import mixer_cost
from todm.core.cost_predictors import predictor_cost
from todm.core.mixer_specs import LSSLSpec, MHSSMSpec, MixerSpec, PGNSpec, ScanForm
from todm.core.quantization import OnnxBlockInt8, OnnxInt4, PrecisionName, Xnnpack8da4w
from todm.core.specs import SubnetSpec

FP16_BYTES = 2
GEMM_PARTS = ("predictor", "predictor_out", "joiner")
"""Whose linears have rows as inputs, which torch's exporter writes as Gemm."""
GraphForm = Literal["onnx", "executorch"]
Graph = Literal["encoder", "predictor", "joiner"]


class Overhead(NamedTuple):
    """Bytes of a form beyond its weights: nodes, names, shapes, alignment."""

    base: int
    """Of a net without layers, in float32."""
    layer: dict[str, int]
    """Of a kept layer in float32: the block with its mixer, by kind and scan form."""
    frame: int
    """Of a layer's frame in the unrolled form, beyond ``layer``."""
    extra: dict[str, int]
    """Of what a mixer or the predictor may have beyond the plainest of its kind."""
    scheme: dict[PrecisionName, tuple[int, int]]
    """Of a scheme beyond float32: once, and for each linear map."""


# Fitted to exports of one to three layers, 96 to 128 wide, in every form, with torch 2.13,
# onnxruntime 1.32 and executorch 1.5.1; equal tensors, which exporters store once, were made
# unequal. Held to 0.1 % of files from 1 MB by tests/export/test_bytes.py; names and padding are up
# to 0.5 % of a file of 200 kB.
OVERHEAD: dict[GraphForm, Overhead] = {
    "onnx": Overhead(
        base=7_390,
        layer={
            "mhssm folded": 5_866,
            "mhssm unrolled": 4_629,
            "mhssm custom": 4_625,
            "pgn": 4_816,
            "lssl": 5_028,
        },
        frame=1_432,
        extra={
            "out_glu": 0,
            "head_glu": 336,
            "pairs": 1_153,
            "none": -520,
            "taps": 2_072,
            "ahead folded": 0,
            "ahead unrolled": 527,
            "ahead custom": 515,
            "pgn predictor": 1_658,
        },
        scheme={
            "fp32": (0, 0),
            "int8": (513, 612),
            "int8_block": (181, 152),
            "int8_static": (946, 534),
            "int4": (181, 152),
            "fp16": (73, 166),
        },
    ),
    "executorch": Overhead(
        base=16_640,
        layer={
            "mhssm folded": 13_568,
            "mhssm unrolled": 11_232,
            "mhssm custom": 8_416,
            "pgn": 9_344,
            "lssl": 13_312,
        },
        frame=2_016,
        extra={
            "out_glu": 0,
            "head_glu": 640,
            "pairs": 3_712,
            "none": -896,
            "taps": 3_072,
            "ahead folded": 0,
            "ahead unrolled": 1_664,
            "ahead custom": 1_792,
            "pgn predictor": 3_968,
        },
        scheme={"fp32": (0, 0), "int8": (566, 358), "int8_static": (288, 768), "int4": (142, 414)},
    ),
}


def linear_bytes(linear: LinearMap, precision: PrecisionName, form: GraphForm = "onnx") -> int:
    """Return the bytes of a linear map: weights, scales, zero points and the float32 bias.

    Scales are float32 an output channel, or one for each group of inputs in blocks and in four
    bits: float32 in ONNX, whose last group is filled up, bfloat16 in XNNPACK. XNNPACK's zero points
    are all 0 and not stored. Static ranges give the bias of ONNX's Gemm (all but the encoder's)
    scale and zero point too, and XNNPACK's every bias a scale.
    """
    inputs, outputs, xnnpack = linear.inputs, linear.outputs, form == "executorch"
    weights, scales = inputs * outputs, FP32_BYTES * outputs
    match precision:
        case "fp32":
            stored = FP32_BYTES * weights
        case "fp16":
            stored = FP16_BYTES * weights
        case "int8" | "int8_static":
            stored = weights + scales + (0 if xnnpack else outputs)
        case "int8_block":
            block = OnnxBlockInt8().block_size
            stored = outputs * math.ceil(inputs / block) * (block + FP32_BYTES)
        case "int4":
            size = Xnnpack8da4w().group_size if xnnpack else OnnxInt4().block_size
            group = size // 2 + (FP16_BYTES if xnnpack else FP32_BYTES)
            stored = outputs * math.ceil(inputs / size) * group
        case _:
            assert_never(precision)
    bias = FP32_BYTES * outputs
    if precision == "int8_static" and xnnpack:
        bias += scales
    elif precision == "int8_static" and linear.part in GEMM_PARTS:
        bias += 2 * scales
    return stored + bias


def graph_weight_bytes(
    spec: SubnetSpec,
    precision: PrecisionName,
    form: GraphForm = "onnx",
    scan: ScanForm = "folded",
) -> dict[Graph, int]:
    """Return the exact bytes of the weights of each graph of a bundle.

    Convolutions, norms, feature statistics, the scan's constants, biases and embeddings are
    float32 in every scheme.
    """
    floats = sum(conv_weights(spec)) + sum(spec.front.channels) + 2 * spec.front.feature_dim
    floats += 2 * spec.model_dim * (2 * len(spec.blocks) + 1)
    mixers = [mixer_cost(block.mixer) for block in spec.blocks]
    floats += sum(mixer.graph_scalars(spec.chunk_frames, scan) for mixer in mixers)
    sizes: dict[Graph, int] = {
        "encoder": FP32_BYTES * floats,
        "predictor": FP32_BYTES * predictor_cost(spec).scalars,
        "joiner": 0,
    }
    for linear in linear_maps(spec):
        sizes[_graph_of(linear)] += linear_bytes(linear, stored_as(linear, precision), form)
    return sizes


def stored_as(linear: LinearMap, precision: PrecisionName) -> PrecisionName:
    """Return what a linear map is stored in: blocks of eight bits leave the encoder's last out."""
    return "fp32" if (linear.part, precision) == ("encoder_out", "int8_block") else precision


def _graph_of(linear: LinearMap) -> Graph:
    match linear.part:
        case "predictor" | "predictor_out":
            return "predictor"
        case "joiner":
            return "joiner"
        case _:
            return "encoder"


def overhead_bytes(
    spec: SubnetSpec,
    precision: PrecisionName,
    form: GraphForm = "onnx",
    scan: ScanForm = "folded",
) -> int:
    """Return the estimated bytes of a bundle beyond its weights.

    Raises:
        KeyError: no export makes that form in that precision.
    """
    fitted = OVERHEAD[form]
    once, each = fitted.scheme[precision]
    taken = sum(1 for m in linear_maps(spec) if stored_as(m, precision) == precision)
    size = fitted.base + once + each * taken
    size += fitted.extra["pgn predictor"] if spec.predictor.kind == "pgn" else 0
    for block in spec.blocks:
        kind, extras = _kinds(block.mixer, scan)
        size += fitted.layer[kind] + sum(fitted.extra[name] for name in extras)
        size += fitted.frame * spec.chunk_frames if kind == "mhssm unrolled" else 0
    return size


def _kinds(mixer: MixerSpec, scan: ScanForm) -> tuple[str, tuple[str, ...]]:
    """Return what an ``Overhead`` calls a mixer, and what it has beyond the plainest."""
    match mixer:
        case MHSSMSpec():
            taps = ("taps",) if mixer.conv_frames else ()
            ahead = (f"ahead {scan}",) if mixer.backward else ()
            return f"mhssm {scan}", (mixer.gating, *taps, *ahead)
        case PGNSpec():
            return "pgn", ()
        case LSSLSpec():
            return "lssl", (mixer.gating,)
        case _:
            assert_never(mixer)


def bundle_bytes(
    spec: SubnetSpec,
    precision: PrecisionName,
    form: GraphForm = "onnx",
    scan: ScanForm = "folded",
) -> int:
    """Return the estimated bytes of a bundle in one numeric form: weights plus graph overhead.

    Raises:
        KeyError: no export makes that form in that precision.
    """
    weights = sum(graph_weight_bytes(spec, precision, form, scan).values())
    return weights + overhead_bytes(spec, precision, form, scan)


def weight_bytes_per_audio_s(
    spec: SubnetSpec, precision: PrecisionName, form: GraphForm = "onnx"
) -> float:
    """Return the weight bytes read per second of audio.

    Once a chunk for the encoder; once a frame for the joiner and (at most) the predictor, of
    whose tables only the rows of the context are read.
    """
    sizes = graph_weight_bytes(spec, precision, form)
    unread = FP32_BYTES * predictor_cost(spec).unread_scalars
    per_frame = sizes["predictor"] - unread + sizes["joiner"]
    return (sizes["encoder"] + spec.chunk_frames * per_frame) / chunk_s(spec)
