"""ONNX Runtime on the CPU. N streams; T, F, K, J, S, C, V as in ``decode.steps``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from todm.core.contract import StreamContract
from todm.core.errors import ArtifactError, MissingExtraError
from todm.decode.steps import TransducerSteps
from todm.runtimes.bundle import PARTS, Precision, open_bundle
from todm.runtimes.native import library_of
from todm.runtimes.recogniser import StepsRecogniser


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off; the only place of todm that imports it.

    The variable is read when the library loads (version 1.32 writes device ids at import
    otherwise), so it is set first.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", extra="onnx") from error
    return onnxruntime


def open_session(path: Path, threads: int, library: Path | None = None) -> Any:
    """Load one ONNX file on the CPU; a library holds operators that it needs.

    Raises:
        ArtifactError: ONNX Runtime refuses the file, or the library.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        if library is not None:
            options.register_custom_ops_library(str(library))
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _load_errors() as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path}: ONNX Runtime cannot load it ({first_line}); export it anew"
        ) from error


def _load_errors() -> tuple[type[Exception], ...]:
    """Return onnxruntime's own exceptions: one a status code, all straight from Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*found, RuntimeError)


class OrtSteps(TransducerSteps):
    """The three ONNX graphs as steps; the state row is the encoder's input ``h``."""

    def __init__(
        self,
        files: Mapping[str, Path],
        contract: StreamContract,
        *,
        threads: int = 1,
        library: Path | None = None,
    ) -> None:
        self._contract = contract
        sessions = [open_session(files[part], threads, library) for part in PARTS]
        self._encoder, self._decoder, self._joiner = sessions
        self._names = [[port.name for port in s.get_inputs()] for s in sessions]
        self._unused_c_width = self._encoder.get_inputs()[2].shape[2]

    @property
    def contract(self) -> StreamContract:
        """What the steps take and give."""
        return self._contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        c_1NX = np.zeros((1, x_NTF.shape[0], self._unused_c_width), np.float32)
        feeds = dict(zip(self._names[0], (x_NTF, state_NS[None], c_1NX), strict=True))
        enc_NKJ, next_1NS, _ = self._encoder.run(None, feeds)
        return enc_NKJ, next_1NS[0]

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids."""
        (pred_NJ,) = self._decoder.run(None, {self._names[1][0]: context_NC})
        return np.asarray(pred_NJ)

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        (logits_NV,) = self._joiner.run(
            None, dict(zip(self._names[2], (enc_NJ, pred_NJ), strict=True))
        )
        return np.asarray(logits_NV)


def open_ort(path: Path, precision: Precision, threads: int) -> StepsRecogniser:
    """Load a bundle into ONNX Runtime."""
    bundle = open_bundle(path)
    files, library = bundle.onnx_files(precision), library_of(bundle, "onnx")
    steps = OrtSteps(files, bundle.contract, threads=threads, library=library)
    return StepsRecogniser(steps, bundle.table)
