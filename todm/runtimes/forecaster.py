"""Exported forecasters in their runtimes, and which files of a bundle they load.

Values go in and come out standardised, as ``series.json`` of the bundle says. B windows, T window,
H horizon, C variates, M marks.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from todm.core.artifact import Artifact
from todm.core.forecaster_spec import ForecasterSpec
from todm.core.target import Form
from todm.runtimes.bundle import PTE
from todm.runtimes.executorch import load_methods, run_method
from todm.runtimes.forms import file_of
from todm.runtimes.ort import open_session

ONNX = "forecaster.onnx"
METHOD = "forecaster"
FILES: dict[Form, str] = {"onnx": ONNX, "executorch": PTE}


class LoadedForecaster(ABC):
    """One loaded forecaster."""

    @abstractmethod
    def forecast(
        self, x_BTC: Float32[np.ndarray, "B T C"], marks_BTM: Float32[np.ndarray, "B T M"]
    ) -> Float32[np.ndarray, "B H C"]:
        """Return what follows the windows."""


def inputs_of(
    spec: ForecasterSpec, x_BTC: np.ndarray, marks_BTM: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the inputs of a graph: without calendar marks it has the values alone."""
    return (x_BTC, marks_BTM) if spec.marks else (x_BTC,)


class OrtForecaster(LoadedForecaster):
    """In ONNX Runtime, any number of windows at once."""

    def __init__(self, path: Path, spec: ForecasterSpec, *, threads: int = 1) -> None:
        self._session, self._spec = open_session(path, threads), spec
        self._ports = [port.name for port in self._session.get_inputs()]

    def forecast(
        self, x_BTC: Float32[np.ndarray, "B T C"], marks_BTM: Float32[np.ndarray, "B T M"]
    ) -> Float32[np.ndarray, "B H C"]:
        """Return what follows the windows."""
        inputs = inputs_of(self._spec, x_BTC, marks_BTM)
        (y_BHC,) = self._session.run(None, dict(zip(self._ports, inputs, strict=True)))
        return np.asarray(y_BHC)


class ExecutorchForecaster(LoadedForecaster):
    """In ExecuTorch, one window after the other."""

    def __init__(self, path: Path, spec: ForecasterSpec, *, threads: int = 1) -> None:
        self._method, self._spec = load_methods(path, threads, (METHOD,))[METHOD], spec

    def forecast(
        self, x_BTC: Float32[np.ndarray, "B T C"], marks_BTM: Float32[np.ndarray, "B T M"]
    ) -> Float32[np.ndarray, "B H C"]:
        """Return what follows the windows."""
        found = [
            run_method(self._method, inputs_of(self._spec, x_BTC[i : i + 1], marks_BTM[i : i + 1]))
            for i in range(x_BTC.shape[0])
        ]
        return np.concatenate([outputs[0] for outputs in found])


def open_forecaster(
    bundle: Artifact, spec: ForecasterSpec, runtime: str, *, threads: int = 1
) -> LoadedForecaster:
    """Load a bundle into a runtime.

    Raises:
        ArtifactError: no such runtime for forecasters, or the bundle lacks its form.
        MissingExtraError: the runtime's package is not installed.
    """
    path = file_of(bundle, FILES, runtime, "forecaster")
    kind = OrtForecaster if runtime == "ort" else ExecutorchForecaster
    return kind(path, spec, threads=threads)
