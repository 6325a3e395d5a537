"""Numeric schemes of an export, as values; one handler each in ``todm.export``.

A scheme says how the linear maps are stored and multiplied. Everything else stays float32 in all
of them: the streaming state, the powers of the poles that carry it from chunk to chunk and the
folded scan, whose rounding would add up over minutes (tests/export/test_state_precision.py), and
convolutions, norms and the embedding, which gain nothing.

``fallbacks`` are linears that stay float32 as well, by the names that the gate's record uses, such
as ``encoder.blocks.2.ffn_out``; the gate adds to them until the scheme is good enough.
"""

from collections.abc import Collection
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from todm.core.mixer_specs import ScanForm
from todm.core.value import Value

PrecisionName = Literal["fp32", "int8", "int8_block", "int8_static", "int4", "fp16"]
"""What users type and files are called by; each form has at most one scheme of a name."""


class Float32(Value):
    """No quantization; the reference of every other scheme."""

    kind: Literal["fp32"] = "fp32"
    precision: Literal["fp32"] = "fp32"
    fallbacks: tuple[str, ...] = Field(default=(), max_length=0)


class OnnxDynamicInt8(Value):
    """Weights int8 per output channel, activations uint8 with the range of each call."""

    kind: Literal["onnx_dynamic_int8"] = "onnx_dynamic_int8"
    precision: Literal["int8"] = "int8"
    weight_type: Literal["QInt8", "QUInt8"] = "QInt8"
    """Signed weights run fast and exact with VNNI or dot-product instructions; on x86 without them
    a sum of two products may saturate, which unsigned weights or ``reduce_range`` avoid."""
    reduce_range: bool = False
    """Seven bits of weight: no saturation on AVX2, half the resolution."""
    fallbacks: tuple[str, ...] = ()

    def saturates(self, isa: Collection[str]) -> bool:
        """Tell whether sums of two products overflow their 16 bits on a CPU."""
        lacks_vnni = "avx2" in isa and not {"avx512_vnni", "avx_vnni"} & {*isa}
        return lacks_vnni and self.weight_type == "QInt8" and not self.reduce_range


class OnnxBlockInt8(Value):
    """Weights int8 in blocks of inputs, activations int8 per row and block (MatMulNBits).

    A range for each row and block rounds activations less than one for the whole call. The last
    linear of the encoder stays float32: no norm follows that would even its error out, and it is
    small (both measured: docs/log.md). Older releases of ONNX Runtime refuse the graph, and its
    WebAssembly build, without a kernel for it, is several times slower than with dynamic int8.
    """

    kind: Literal["onnx_block_int8"] = "onnx_block_int8"
    precision: Literal["int8_block"] = "int8_block"
    block_size: Literal[32, 64, 128, 256] = 64
    """Inputs that share a scale; 32 is more exact and 1.6 % larger."""
    fallbacks: tuple[str, ...] = ("encoder.to_joiner",)


class OnnxStaticInt8(Value):
    """QDQ: as dynamic int8, but activation ranges are fixed by calibration."""

    kind: Literal["onnx_static_int8"] = "onnx_static_int8"
    precision: Literal["int8_static"] = "int8_static"
    activation_type: Literal["QInt8", "QUInt8"] = "QUInt8"
    calibration_s: float = Field(default=180.0, gt=0.0)
    """Speech of one joined stream with carried state, so that the ranges are those of minutes."""
    fallbacks: tuple[str, ...] = ()


class OnnxInt4(Value):
    """Weights in four bits, a scale for each block of inputs (com.microsoft MatMulNBits)."""

    kind: Literal["onnx_int4"] = "onnx_int4"
    precision: Literal["int4"] = "int4"
    block_size: Literal[16, 32, 64, 128] = 32
    symmetric: bool = True
    accuracy_level: Literal[0, 1, 2, 3, 4] = 4
    """Of the activations inside the kernel: 1 float32, 2 float16, 4 int8 (fast); 0 its choice."""
    fallbacks: tuple[str, ...] = ()


class OnnxFloat16(Value):
    """Linears stored and multiplied in float16: half the bytes; fast only with fp16 hardware."""

    kind: Literal["onnx_fp16"] = "onnx_fp16"
    precision: Literal["fp16"] = "fp16"
    fallbacks: tuple[str, ...] = ()


class XnnpackDynamicInt8(Value):
    """Weights int8 per output channel, activations int8 with the range of each call."""

    kind: Literal["xnnpack_dynamic_int8"] = "xnnpack_dynamic_int8"
    precision: Literal["int8"] = "int8"
    fallbacks: tuple[str, ...] = ()


class XnnpackStaticInt8(Value):
    """As dynamic int8, but activation ranges are fixed by calibration."""

    kind: Literal["xnnpack_static_int8"] = "xnnpack_static_int8"
    precision: Literal["int8_static"] = "int8_static"
    calibration_s: float = Field(default=180.0, gt=0.0)
    fallbacks: tuple[str, ...] = ()


class Xnnpack8da4w(Value):
    """Weights int4 in groups of inputs, activations int8 with the range of each row."""

    kind: Literal["xnnpack_8da4w"] = "xnnpack_8da4w"
    precision: Literal["int4"] = "int4"
    group_size: Literal[32, 64, 128] = 32
    fallbacks: tuple[str, ...] = ()


OnnxScheme: TypeAlias = OnnxDynamicInt8 | OnnxBlockInt8 | OnnxStaticInt8 | OnnxInt4 | OnnxFloat16
XnnpackScheme: TypeAlias = XnnpackDynamicInt8 | XnnpackStaticInt8 | Xnnpack8da4w
Quantized: TypeAlias = OnnxScheme | XnnpackScheme
Scheme = Annotated[Float32 | Quantized, Field(discriminator="kind")]


Accelerator = Literal["coreml", "ethos_u55"]
"""For which a bundle may hold a further ExecuTorch program, compiled here and run elsewhere."""


class SchemeSettings(Value):
    """The settings of every scheme; an export makes those that are asked for by precision."""

    onnx_int8: OnnxDynamicInt8 = OnnxDynamicInt8()
    onnx_int8_block: OnnxBlockInt8 = OnnxBlockInt8()
    onnx_int8_static: OnnxStaticInt8 = OnnxStaticInt8()
    onnx_int4: OnnxInt4 = OnnxInt4()
    onnx_fp16: OnnxFloat16 = OnnxFloat16()
    executorch_int8: XnnpackDynamicInt8 = XnnpackDynamicInt8()
    executorch_int8_static: XnnpackStaticInt8 = XnnpackStaticInt8()
    executorch_int4: Xnnpack8da4w = Xnnpack8da4w()


class GateConfig(Value):
    """What a quantized form must keep of the float32 net, and on how much speech it is judged."""

    max_nll_rise: float = Field(default=0.01, gt=0.0)
    """Largest relative rise of the RNN-T negative log-likelihood on dev."""
    max_wer_rise: float = Field(default=0.5, gt=0.0)
    """Largest one-sided 95 % bound of the WER's rise on dev, in percent points."""
    utterances: int = Field(default=300, ge=1)
    """Dev utterances, spread evenly over the split."""
    ranking_utterances: int = Field(default=40, ge=1)
    """Those among them on which single layers are ranked, once a scheme misses its gate."""
    calibration_split: Literal["train", "dev"] = "train"
    """Where static ranges come from: never the test split."""
    drift_s: float = Field(default=600.0, ge=20.0)
    """Joined dev speech for the drift gate; repeated where dev is shorter."""
    seed: int = 0
    """Of the bootstrap."""


class ExportConfig(Value):
    """What a user may ask of an export beyond its device, and what it demands of the result."""

    precisions: tuple[PrecisionName, ...] | None = None
    """Beside fp32; None takes the form's own: int8 of ONNX, none of ExecuTorch."""
    ungated: bool = False
    """Ship quantized forms whose accuracy nobody measured; the card says so."""
    schemes: SchemeSettings = SchemeSettings()
    gate: GateConfig = GateConfig()
    scan_form: ScanForm | None = None
    """None takes the device's."""
    features: bool | None = None
    """Whether the ONNX form brings ``features.onnx``; None: for devices in a browser."""
    accelerators: tuple[Accelerator, ...] = ()
