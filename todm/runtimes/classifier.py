"""Exported classifiers in their runtimes: chunks in, the outputs of all frames so far out.

N streams, L frames of a chunk, I inputs, Y outputs, S state floats.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from todm.core.artifact import Artifact
from todm.core.target import Form
from todm.core.value import Value
from todm.runtimes.bundle import PTE
from todm.runtimes.executorch import load_methods, run_method
from todm.runtimes.forms import file_of
from todm.runtimes.ort import open_session

ONNX = "classifier.onnx"
METHOD = "classifier"
FILES: dict[Form, str] = {"onnx": ONNX, "executorch": PTE}


class ClassifierContract(Value):
    """How to feed, step and reset a classifier; the state row starts at zero."""

    num_frames: int
    """Frames of the sequences that it was trained on; after them the outputs are final."""
    chunk_frames: int
    input_dim: int
    outputs: int
    state_floats: int
    rate: int = 1
    """Frames that were trained on for each one that it takes."""


class LoadedClassifier(ABC):
    """One loaded classifier."""

    @abstractmethod
    def step(
        self, x_NLI: Float32[np.ndarray, "N L I"], state_NS: Float32[np.ndarray, "N S"]
    ) -> tuple[Float32[np.ndarray, "N Y"], Float32[np.ndarray, "N S"]]:
        """Advance one chunk."""


def classify(
    loaded: LoadedClassifier, contract: ClassifierContract, x_NTI: Float32[np.ndarray, "N T I"]
) -> Float32[np.ndarray, "N Y"]:
    """Run whole sequences from the zero state; return the outputs after the last chunk."""
    state_NS = np.zeros((x_NTI.shape[0], contract.state_floats), np.float32)
    outputs_NY = np.zeros((x_NTI.shape[0], contract.outputs), np.float32)
    for start in range(0, x_NTI.shape[1], contract.chunk_frames):
        chunk_NLI = np.ascontiguousarray(x_NTI[:, start : start + contract.chunk_frames])
        outputs_NY, state_NS = loaded.step(chunk_NLI, state_NS)
    return outputs_NY


class OrtClassifier(LoadedClassifier):
    """In ONNX Runtime, any number of streams at once."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._session = open_session(path, threads)
        self._ports = [port.name for port in self._session.get_inputs()]

    def step(
        self, x_NLI: Float32[np.ndarray, "N L I"], state_NS: Float32[np.ndarray, "N S"]
    ) -> tuple[Float32[np.ndarray, "N Y"], Float32[np.ndarray, "N S"]]:
        """Advance one chunk."""
        feeds = dict(zip(self._ports, (x_NLI, state_NS), strict=True))
        outputs_NY, next_NS = self._session.run(None, feeds)
        return outputs_NY, next_NS


class ExecutorchClassifier(LoadedClassifier):
    """In ExecuTorch, one stream after the other."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._method = load_methods(path, threads, (METHOD,))[METHOD]

    def step(
        self, x_NLI: Float32[np.ndarray, "N L I"], state_NS: Float32[np.ndarray, "N S"]
    ) -> tuple[Float32[np.ndarray, "N Y"], Float32[np.ndarray, "N S"]]:
        """Advance one chunk."""
        found = [
            run_method(self._method, (x_NLI[i : i + 1], state_NS[i : i + 1]))
            for i in range(x_NLI.shape[0])
        ]
        outputs_NY, next_NS = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return outputs_NY, next_NS


def open_classifier(bundle: Artifact, runtime: str, *, threads: int = 1) -> LoadedClassifier:
    """Load a bundle into a runtime.

    Raises:
        ArtifactError: no such runtime for classifiers, or the bundle lacks its form.
        MissingExtraError: the runtime's package is not installed.
    """
    path = file_of(bundle, FILES, runtime, "classifier")
    kind = OrtClassifier if runtime == "ort" else ExecutorchClassifier
    return kind(path, threads=threads)
