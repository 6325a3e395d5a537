"""What ONNX Runtime's int8 does on this CPU."""

from todm.core.quantization import OnnxDynamicInt8
from todm.core.report import environment

SHIPPED = OnnxDynamicInt8()


def saturates(scheme=SHIPPED):
    """Tell whether the scheme's sums overflow here."""
    return scheme.saturates(environment().isa)


INT8 = OnnxDynamicInt8(reduce_range=saturates())
"""Dynamic int8 that is nearly exact on this CPU even with random weights."""
