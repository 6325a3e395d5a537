"""An ONNX bundle's own graphs in float64: the reference of a bundle whose subnet is not at hand.

onnx's reference evaluator (numpy) runs the float32 graphs with every constant widened to float64:
ten times slower than ONNX Runtime, and free of rounding. Axes as in ``decode.steps``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from todm.core.contract import StreamContract
from todm.core.errors import MissingExtraError
from todm.decode.steps import TransducerSteps
from todm.runtimes.bundle import PARTS


class ExactSteps(TransducerSteps):
    """The three graphs of the float32 form as steps in float64."""

    def __init__(self, files: Mapping[str, Path], contract: StreamContract) -> None:
        self._contract = contract
        self._graphs = {part: _widened(files[part]) for part in PARTS}

    @property
    def contract(self) -> StreamContract:
        """What the steps take and give."""
        return self._contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        c_1NX = np.zeros((1, x_NTF.shape[0], 1))
        enc_NKJ, next_1NS, _ = self._run("encoder", x_NTF, state_NS[None], c_1NX)
        return enc_NKJ, next_1NS[0]

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids."""
        return self._run("decoder", context_NC)[0]

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        return self._run("joiner", enc_NJ, pred_NJ)[0]

    def _run(self, part: str, *inputs: np.ndarray) -> list[np.ndarray]:
        graph = self._graphs[part]
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs]
        found: list[np.ndarray] = graph.run(None, dict(zip(graph.input_names, wide, strict=True)))
        return found


def _widened(path: Path) -> Any:
    try:
        import onnx
        from onnx.reference import ReferenceEvaluator
    except ImportError as error:
        raise MissingExtraError("onnx", extra="onnx") from error
    proto = onnx.load(str(path))
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
    return ReferenceEvaluator(proto)
