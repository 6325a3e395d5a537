"""Schemes of an ONNX graph: only its linears change, everything else stays float32.

Only products by a two-dimensional constant on the right are linears: the scan's folded constants
stand on the left (and lose the signal in int8), convolutions gain nothing (measured).
A linear is called by its part and its module, ``encoder.blocks.0.ffn_in``. The integer kernels
round differently per instruction set, so an int8 figure always carries its ISA.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from todm.core.errors import TodmError
from todm.core.quantization import (
    OnnxBlockInt8,
    OnnxDynamicInt8,
    OnnxFloat16,
    OnnxInt4,
    OnnxScheme,
    OnnxStaticInt8,
)
from todm.export.onnx_graph import import_onnx
from todm.export.quiet import quiet_exporter
from todm.runtimes.bundle import PARTS, onnx_name
from todm.runtimes.ort import import_onnxruntime

LINEAR_OPS = ("MatMul", "Gemm")
INTEGER_OPS = frozenset(
    {"MatMulInteger", "DynamicQuantizeMatMul", "ConvInteger", "QLinearMatMul", "MatMulNBits"}
)
Feeds = Sequence[Mapping[str, np.ndarray]]
"""Inputs of one graph, call by call."""


def linear_nodes(graph: Any) -> dict[str, str]:
    """Return the nodes that multiply by a constant matrix from the right: node by layer name."""
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    added_to = {
        name: other
        for node in graph.node
        if node.op_type == "Add"
        for name, other in (node.input, reversed(node.input))
    }
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in LINEAR_OPS and node.input[1] in matrices:
            name = _layer(node.input[1]) or _layer(added_to.get(node.output[0], "")) or node.name
            found[node.name if name in found else name] = node.name
    return found


def _layer(initializer: str) -> str | None:
    """Return the module that a weight or bias belongs to; folded constants keep no name."""
    module, _, kind = initializer.rpartition(".")
    return module.removeprefix("encoder.") if kind in ("weight", "bias") and module else None


def layer_names(folder: Path) -> tuple[str, ...]:
    """Return the names of all linears of an exported folder."""
    onnx = import_onnx()
    return tuple(
        f"{part}.{name}"
        for part in PARTS
        for name in linear_nodes(onnx.load(str(folder / onnx_name(part, "fp32"))).graph)
    )


def quantise_parts(
    folder: Path,
    scheme: OnnxScheme,
    feeds: Mapping[str, Feeds] | None = None,
    *,
    out: Path | None = None,
) -> dict[str, int]:
    """Write the scheme's files; return the linears taken of each part.

    A part without linears gets no file: devices load its float32 file in both forms.

    Args:
        folder: Holds the float32 graphs.
        scheme: What to make of them.
        feeds: By part, the inputs that static ranges are calibrated with.
        out: Where the files go; by default beside the float32 ones.
    """
    return {
        part: quantise(
            folder / onnx_name(part, "fp32"),
            (out or folder) / onnx_name(part, scheme.precision),
            scheme,
            part=part,
            feeds=() if feeds is None else feeds[part],
        )
        for part in PARTS
    }


def quantise(
    source: Path, out: Path, scheme: OnnxScheme, *, part: str = "encoder", feeds: Feeds = ()
) -> int:
    """Write one graph in a scheme, if it has linears that do not fall back.

    Returns:
        How many linears were taken; with 0 nothing is written, and an earlier file is removed.

    Raises:
        TodmError: other operators than the linears were changed.
    """
    onnx = import_onnx()
    import_onnxruntime()
    linears = linear_nodes(onnx.load(str(source)).graph)
    names = [n for layer, n in linears.items() if f"{part}.{layer}" not in scheme.fallbacks]
    out.unlink(missing_ok=True)
    if not names:
        return 0
    with quiet_exporter():
        match scheme:
            case OnnxDynamicInt8():
                _dynamic(source, out, scheme, names)
            case OnnxStaticInt8():
                _static(source, out, scheme, names, feeds)
            case OnnxBlockInt8() | OnnxInt4():
                _blocks(source, out, scheme, names)
            case OnnxFloat16():
                _float16(source, out, names)
            case _:
                assert_never(scheme)
    _check(out, scheme, len(names))
    return len(names)


def _split_gemms(names: Sequence[str]) -> list[str]:
    """Return the names with those that a Gemm's product gets when onnxruntime splits it."""
    return [*names, *(f"{name}_MatMul" for name in names)]


def _dynamic(source: Path, out: Path, scheme: OnnxDynamicInt8, names: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(out),
        op_types_to_quantize=list(LINEAR_OPS),
        per_channel=True,
        reduce_range=scheme.reduce_range,
        weight_type=QuantType[scheme.weight_type],
        nodes_to_quantize=_split_gemms(names),
    )


def _static(
    source: Path, out: Path, scheme: OnnxStaticInt8, names: Sequence[str], feeds: Feeds
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """Hands out the calls one by one."""

        def __init__(self) -> None:
            self._left: Iterator[Mapping[str, np.ndarray]] = iter(feeds)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            """Return the inputs of the next call; None at the end."""
            return next(self._left, None)

    if not feeds:
        raise TodmError(f"{out}: static ranges without calibration; give it speech")
    quantize_static(
        str(source),
        str(out),
        Reader(),
        per_channel=True,
        activation_type=QuantType[scheme.activation_type],
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(LINEAR_OPS),
        nodes_to_quantize=list(names),
        # Outputs stay float32: the sums that the state is made of are never rounded to a grid.
        extra_options={"OpTypesToExcludeOutputQuantization": list(LINEAR_OPS)},
    )


def _blocks(
    source: Path, out: Path, scheme: OnnxBlockInt8 | OnnxInt4, names: Sequence[str]
) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    bits, symmetric, level = 8, True, 4
    if isinstance(scheme, OnnxInt4):
        bits, symmetric, level = 4, scheme.symmetric, scheme.accuracy_level
    plain = _without_gemms(source)
    quantizer = MatMulNBitsQuantizer(
        plain.model,
        bits=bits,
        block_size=scheme.block_size,
        is_symmetric=symmetric,
        accuracy_level=level or None,
        nodes_to_exclude=[
            n.name for n in plain.model.graph.node if n.name not in _split_gemms(names)
        ],
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(out), use_external_data_format=False)


def _float16(source: Path, out: Path, names: Collection[str]) -> None:
    """Multiply in float16 between two casts.

    onnxruntime's converter would round the graph's inputs, the state among them, as well.
    """
    onnx = import_onnx()
    helper, half = onnx.helper, onnx.TensorProto.FLOAT16
    plain = _without_gemms(source)
    graph, taken = plain.model.graph, set(_split_gemms(list(names)))
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.name not in taken:
            nodes.append(node)
            continue
        x, weight, y = node.input[0], weights[node.input[1]], node.output[0]
        narrow = onnx.numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(onnx.numpy_helper.from_array(narrow, weight.name))
        node.input[0], node.output[0] = f"{node.name}.x16", f"{node.name}.y16"
        into = helper.make_node("Cast", [x], [node.input[0]], f"{node.name}.to16", to=half)
        back = helper.make_node(
            "Cast", [node.output[0]], [y], f"{node.name}.to32", to=onnx.TensorProto.FLOAT
        )
        nodes += [into, node, back]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(plain.model, str(out))


def _without_gemms(source: Path) -> Any:
    """Return an onnxruntime ``ONNXModel`` whose Gemms are products and additions."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    plain = ONNXModel(import_onnx().load(str(source)))
    plain.replace_gemm_with_matmul()
    plain.clean_initializers()  # a Gemm's weight, which its product holds transposed
    return plain


def _check(out: Path, scheme: OnnxScheme, wanted: int) -> None:
    """Check that as many products as linears were changed, and no folded constant.

    Raises:
        TodmError: something else came out.
    """
    onnx = import_onnx()
    graph = onnx.load(str(out)).graph
    matrices = {t.name for t in graph.initializer if len(t.dims) == 2}
    narrow = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    match scheme:
        case OnnxDynamicInt8() | OnnxBlockInt8() | OnnxInt4():
            found = sum(node.op_type in INTEGER_OPS for node in graph.node)
        case OnnxStaticInt8():
            unpacked = {
                node.output[0]
                for node in graph.node
                if node.op_type == "DequantizeLinear" and node.input[0] in matrices
            }
            found = sum(n.op_type in LINEAR_OPS and n.input[1] in unpacked for n in graph.node)
        case OnnxFloat16():
            found = len({name for name in narrow if name in matrices})
        case _:
            assert_never(scheme)
    folded = [t.name for t in graph.initializer if len(t.dims) == 3 and t.name in narrow]
    if found != wanted or folded:
        raise TodmError(
            f"{out}: {found} {scheme.precision} products where {wanted} linears were to be, "
            f"folded constants among them: {folded or 'none'}"
        )
