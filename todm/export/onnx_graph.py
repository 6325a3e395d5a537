"""Write the three ONNX graphs of a subnet and check that only plain operators are in them.

Ports follow sherpa-onnx's ``lstm`` model type, which matches them by position: encoder x, h, c to
encoder_out, next_h, next_c; decoder y to decoder_out; joiner encoder_out, decoder_out to logit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from todm.core.contract import StreamContract
from todm.core.errors import MissingExtraError, TodmError
from todm.core.target import ExportTarget
from todm.export.fold import (
    GraphForm,
    JoinerStep,
    PredictorStep,
    StreamingEncoder,
    example_features,
    example_state,
)
from todm.export.quiet import quiet_exporter
from todm.export.sherpa import UNUSED_C_WIDTH, metadata
from todm.models.rnnt import Transducer
from todm.runtimes.bundle import onnx_name

MAX_STREAMS = 64
FORBIDDEN_OPS = frozenset({"Scan", "Loop", "If", "DFT", "STFT", "Einsum"})
COMPLEX_TYPES = (14, 15)
"""TensorProto's COMPLEX64 and COMPLEX128."""


def import_onnx() -> Any:
    """Import onnx.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnx and onnxscript", extra="onnx") from error
    return onnx


class SherpaEncoder(nn.Module):
    """The encoder with sherpa-onnx's ports: h (1, N, S) is the state row, c is unused."""

    def __init__(self, encoder: StreamingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Advance one chunk."""
        encoder_out, row_NS = self.encoder(x, h[0])
        return encoder_out, row_NS[None], c


def export_onnx(
    model: Transducer, contract: StreamContract, target: ExportTarget, out: Path
) -> dict[str, Path]:
    """Write ``encoder.onnx``, ``decoder.onnx`` and ``joiner.onnx`` into a folder.

    Raises:
        TodmError: the exporter wrote an operator, type or opset that devices may lack.
    """
    spec, num = model.spec, 2
    encoder = SherpaEncoder(StreamingEncoder(model, GraphForm(target.scan_form, target.conv_op)))
    c_1NX = torch.zeros(1, num, UNUSED_C_WIDTH)
    context_NC = torch.zeros(num, spec.predictor.context_size, dtype=torch.int64)
    # Two tensors: the exporter takes one tensor given twice for one input.
    enc_NJ, pred_NJ = torch.zeros(2, num, spec.joiner_dim).unbind(0)
    parts: dict[str, tuple[nn.Module, tuple[Tensor, ...], Sequence[int]]] = {
        "encoder": (
            encoder,
            (example_features(spec, num), example_state(spec, num)[None], c_1NX),
            (0, 1, 1),
        ),
        "decoder": (PredictorStep(model), (context_NC,), (0,)),
        "joiner": (JoinerStep(model), (enc_NJ.clone(), pred_NJ.clone()), (0, 0)),
    }
    keys, paths = metadata(contract), {}
    for part, (module, inputs, axes) in parts.items():
        paths[part] = out / onnx_name(part, "fp32")
        write_graph(paths[part], (module, inputs, axes), _PORTS[part], target, keys[part])
    return paths


_PORTS = {
    "encoder": (("x", "h", "c"), ("encoder_out", "next_h", "next_c")),
    "decoder": (("y",), ("decoder_out",)),
    "joiner": (("encoder_out", "decoder_out"), ("logit",)),
}


def write_graph(
    path: Path,
    traced: tuple[nn.Module, tuple[Tensor, ...], Sequence[int]],
    ports: tuple[Sequence[str], Sequence[str]],
    target: ExportTarget,
    metadata_props: Mapping[str, str],
) -> None:
    """Write one graph and check it.

    Args:
        path: The file.
        traced: A module, its example inputs, and the axis of each that counts streams.
        ports: Names of inputs and outputs.
        target: ONNX's opset, and the operators that the device has beyond it.
        metadata_props: What the file says of itself.

    Raises:
        TodmError: it holds an operator, type or opset that devices may lack.
    """
    program = _trace(*traced, ports, target.opset)
    strip_notes(program.model)
    for key, value in metadata_props.items():
        program.model.metadata_props[key] = value
    program.save(str(path), external_data=False)
    check_graph(path, target.opset, target.custom_ops)


def _trace(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    batch_axes: Sequence[int],
    ports: tuple[Sequence[str], Sequence[str]],
    opset: int,
) -> Any:
    import_onnx()
    streams = torch.export.Dim("N", min=1, max=MAX_STREAMS)
    with quiet_exporter(), torch.no_grad():
        return torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=opset,
            input_names=list(ports[0]),
            output_names=list(ports[1]),
            dynamic_shapes=tuple({axis: streams} for axis in batch_axes),
            verbose=False,
        )


def strip_notes(model: Any) -> None:
    """Remove what torch's exporter notes beside a graph: nothing that a runtime reads.

    Each node carries its stack trace, class names and place in the torch graph, each value its
    place in the program's signature: most of the overhead of a small net's file, and the paths
    of this checkout, so that two machines would write different bytes.

    Args:
        model: An ``onnx_ir.Model``; changed in place.
    """
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        values += node.outputs
    for noted in (model, graph, *graph, *values):
        noted.metadata_props.clear()
        noted.doc_string = None


def check_graph(path: Path, opset: int, allowed_ops: Sequence[str] = ()) -> None:
    """Check a saved graph: the opset asked for, nothing complex, only operators of ONNX itself.

    Args:
        path: The graph.
        opset: What it should be written in.
        allowed_ops: Other operators that its device has (``domain.Name``).

    Raises:
        TodmError: something else is in it.
    """
    onnx = import_onnx()
    proto = onnx.load(str(path))
    onnx.checker.check_model(proto)
    opsets = {(entry.domain or "ai.onnx"): entry.version for entry in proto.opset_import}
    if opsets.get("ai.onnx") != opset:
        raise TodmError(f"{path}: written with opset {opsets}, asked for {opset}")
    graph = proto.graph
    for node in graph.node:
        name = f"{node.domain or 'ai.onnx'}.{node.op_type}"
        foreign = node.domain not in ("", "ai.onnx") and name not in allowed_ops
        if foreign or node.op_type in FORBIDDEN_OPS:
            raise TodmError(
                f"{path}: operator {name} (node {node.name}) "
                "is not one that every device runs; fold it before export"
            )
    typed = [entry.type.tensor_type.elem_type for entry in (*graph.value_info, *graph.input)]
    typed += [tensor.data_type for tensor in graph.initializer]
    if any(elem_type in COMPLEX_TYPES for elem_type in typed):
        raise TodmError(f"{path}: holds complex tensors; fold them to real ones before export")
