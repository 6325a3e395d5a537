"""What ONNX Runtime's int8 does on this CPU."""

from todm.core.quantization import OnnxDynamicInt8
from todm.core.report import environment

SHIPPED = OnnxDynamicInt8()


def saturates(scheme=SHIPPED):
    """Tell whether the sums of two products overflow in 16 bits: on x86 without VNNI."""
    isa = set(environment().isa)
    lacks_vnni = "avx2" in isa and not isa & {"avx512_vnni", "avx_vnni"}
    return lacks_vnni and scheme.weight_type == "QInt8" and not scheme.reduce_range


INT8 = OnnxDynamicInt8(reduce_range=saturates())
"""Dynamic int8 that is nearly exact on this CPU even with random weights."""
