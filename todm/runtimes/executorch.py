"""ExecuTorch's Python runtime. N is 1; T, F, K, J, S, C, V as in ``decode.steps``.

Importing it imports torch. A program is loaded by path: one loaded from bytes does not keep them
alive (it crashes), and each method's outputs are overwritten by its next call, so they are copied.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from todm.core.contract import StreamContract
from todm.core.errors import ArtifactError, InputError, MissingExtraError
from todm.decode.steps import TransducerSteps
from todm.runtimes.bundle import PARTS, Precision, open_bundle
from todm.runtimes.native import library_of
from todm.runtimes.recogniser import StepsRecogniser


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Point file descriptor 2 at nothing: the runtime's C++ logs there while it loads."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def load_kernels(library: Path) -> None:
    """Load a library of kernels into the process; it registers them itself.

    Raises:
        ArtifactError: it cannot be loaded, or ExecuTorch refused its kernels.
    """
    try:
        refused = ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL).todm_kernels_error()
    except (OSError, AttributeError) as error:
        raise ArtifactError(f"{library}: no library of todm's kernels ({error})") from error
    if refused:
        raise ArtifactError(f"{library}: ExecuTorch refused its kernels (error {refused:#x})")


def load_methods(
    path: Path, threads: int, names: Sequence[str], library: Path | None = None
) -> dict[str, Any]:
    """Load methods of a program by name; a library holds kernels that it needs.

    Raises:
        ArtifactError: ExecuTorch refuses the program.
        MissingExtraError: executorch is not installed.
    """
    try:
        with _quiet_stderr():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
    except ImportError as error:
        raise MissingExtraError("executorch", extra="executorch") from error
    try:
        with _quiet_stderr():
            portable_lib._unsafe_reset_threadpool(threads)
            if library is not None:
                load_kernels(library)
            program = Runtime.get().load_program(str(path))
            return {name: program.load_method(name) for name in names}
    except (RuntimeError, ValueError, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path}: ExecuTorch cannot load it ({first_line}); export it anew"
        ) from error


class ExecutorchSteps(TransducerSteps):
    """The three methods of a program as steps of one stream at a time."""

    def __init__(
        self,
        path: Path,
        contract: StreamContract,
        *,
        threads: int = 1,
        library: Path | None = None,
    ) -> None:
        self._contract = contract
        self._methods = load_methods(path, threads, PARTS, library)

    @property
    def contract(self) -> StreamContract:
        """What the steps take and give."""
        return self._contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        enc_NKJ, next_NS = self._run("encoder", (x_NTF, state_NS))
        return enc_NKJ, next_NS

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction after the last ids."""
        return self._run("decoder", (context_NC,))[0]

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        return self._run("joiner", (enc_NJ, pred_NJ))[0]

    def _run(self, method: str, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if inputs[0].shape[0] != 1:
            raise InputError(f"the program steps one stream at a time, not {inputs[0].shape[0]}")
        return run_method(self._methods[method], inputs)


def run_method(method: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a loaded method on arrays of its static shapes."""
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs]
    return [output.numpy().copy() for output in method.execute(tensors)]


def open_executorch(path: Path, precision: Precision, threads: int) -> StepsRecogniser:
    """Load a bundle's program into ExecuTorch."""
    bundle = open_bundle(path)
    file, library = bundle.pte_file(precision), library_of(bundle, "executorch")
    steps = ExecutorchSteps(file, bundle.contract, threads=threads, library=library)
    return StepsRecogniser(steps, bundle.table)
