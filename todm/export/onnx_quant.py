"""Dynamic int8 of the linears of an ONNX graph; everything else stays float32.

Weights per output channel, symmetric int8; activations per call, asymmetric uint8. Only products
by a two-dimensional constant on the right are linears: the scan's folded constants stand on the
left (and lose the signal in int8), convolutions gain nothing (measured). The integer
kernels round differently per instruction set, so an int8 figure always carries its ISA.
"""

from pathlib import Path
from typing import Any

from todm.core.errors import TodmError
from todm.export.onnx_graph import import_onnx
from todm.export.quiet import quiet_exporter
from todm.runtimes.bundle import PARTS, onnx_name
from todm.runtimes.ort import import_onnxruntime

LINEAR_OPS = ("MatMul", "Gemm")
INTEGER_OPS = frozenset({"MatMulInteger", "DynamicQuantizeMatMul", "ConvInteger", "QLinearMatMul"})


def linear_nodes(graph: Any) -> list[str]:
    """Return the names of the nodes that multiply by a constant matrix from the right."""
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [
        node.name for node in graph.node if node.op_type in LINEAR_OPS and node.input[1] in matrices
    ]


def quantise(source: Path, out: Path) -> int:
    """Write the int8 form of a graph, if it has linears.

    Returns:
        How many linears were quantised; with 0 nothing is written.

    Raises:
        TodmError: other operators than the linears came out as integer ones.
    """
    onnx = import_onnx()
    import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = linear_nodes(onnx.load(str(source)).graph)
    if not names:
        return 0
    with quiet_exporter():
        quantize_dynamic(
            str(source),
            str(out),
            op_types_to_quantize=list(LINEAR_OPS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            # onnxruntime first splits a Gemm into <name>_MatMul and an addition.
            nodes_to_quantize=[*names, *(f"{name}_MatMul" for name in names)],
        )
    found = sum(node.op_type in INTEGER_OPS for node in onnx.load(str(out)).graph.node)
    if found != len(names):
        raise TodmError(f"{out}: {found} integer products where {len(names)} linears were to be")
    return len(names)


def quantise_parts(folder: Path) -> dict[str, int]:
    """Quantise the parts of an exported folder; return the number of linears of each.

    A part without linears gets no int8 file: devices load its float32 file in both forms.
    """
    return {
        part: quantise(folder / onnx_name(part, "fp32"), folder / onnx_name(part, "int8"))
        for part in PARTS
    }
