"""``features.onnx`` in ONNX Runtime: the features of a growing signal by the bundle's own graph.

S samples at 16 kHz, O floats of the state, T frames, F mel bins.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from todm.core.contract import FeatureSpec
from todm.core.errors import ArtifactError, DataError
from todm.runtimes.ort import open_session


class FeatureGraph:
    """A loaded ``features.onnx``; any number of streams share it."""

    def __init__(self, path: Path, features: FeatureSpec, *, threads: int = 1) -> None:
        """Load the graph.

        Raises:
            ArtifactError: it computes other features than the contract's.
        """
        self._session = open_session(path, threads)
        told = self._session.get_modelmeta().custom_metadata_map
        if told.get("todm_features") != features.model_dump_json():
            raise ArtifactError(
                f"{path}: computes other features than the contract asks for; export it anew"
            )
        self.num_bins = features.num_bins
        self.overlap_floats = int(told["todm_overlap_floats"])
        self.shift_samples = int(told["todm_shift_samples"])
        self.void_frames = int(told["todm_void_frames"])

    def step(
        self, samples_S: Float32[np.ndarray, " S"], overlap_1O: Float32[np.ndarray, "1 O"]
    ) -> tuple[Float32[np.ndarray, "T F"], Float32[np.ndarray, "1 O"]]:
        """Return the frames of the next samples and the next state."""
        feeds = {"samples": samples_S[None], "overlap": overlap_1O}
        log_mel_1TF, next_1O = self._session.run(None, feeds)
        return log_mel_1TF[0], next_1O


class GraphFbank:
    """Features of a growing signal, as ``features.fbank.OnlineFbank`` gives them."""

    def __init__(self, graph: FeatureGraph) -> None:
        self._graph = graph
        self._overlap_1O = np.zeros((1, graph.overlap_floats), np.float32)
        self._waiting_S = np.zeros(0, np.float32)
        self._to_drop = graph.void_frames
        self._num_samples = 0
        self._blocks = [np.zeros((0, graph.num_bins), np.float32)]
        self._ready_frames = 0
        self._limit_frames: int | None = None

    def accept(self, samples_S: Float32[np.ndarray, " S"]) -> None:
        """Take the next samples (16 kHz, [-1, 1])."""
        self._num_samples += samples_S.size
        self._push(samples_S)

    def _push(self, samples_S: Float32[np.ndarray, " S"]) -> None:
        waiting_S = np.concatenate([self._waiting_S, samples_S])
        whole = waiting_S.size - waiting_S.size % self._graph.shift_samples
        self._waiting_S = waiting_S[whole:]
        if whole:
            new_TF, self._overlap_1O = self._graph.step(waiting_S[:whole], self._overlap_1O)
            new_TF = new_TF[self._to_drop :]
            self._to_drop = 0
            self._blocks.append(new_TF)
            self._ready_frames += new_TF.shape[0]

    def finish(self) -> None:
        """Say that no more samples come; the last frames become ready.

        The signal goes on in silence where kaldi mirrors it: the two are equal after a stream's
        tail, which is silence.
        """
        shift = self._graph.shift_samples
        self._limit_frames = (self._num_samples + shift // 2) // shift
        self._push(np.zeros(3 * shift, np.float32))

    @property
    def ready_frames(self) -> int:
        """Frames computed so far, counted from the signal's start."""
        limit = self._ready_frames if self._limit_frames is None else self._limit_frames
        return min(self._ready_frames, limit)

    def frames(self, start: int, count: int) -> Float32[np.ndarray, "T F"]:
        """Return frames ``start`` to ``start + count``.

        Raises:
            DataError: a frame is not ready yet.
        """
        if start < 0 or count < 0 or start + count > self.ready_frames:
            raise DataError(
                f"features: frames {start}..{start + count} asked, 0..{self.ready_frames} at hand"
            )
        self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0][start : start + count]
