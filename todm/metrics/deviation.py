"""Relative errors of outputs against a reference, over a whole stream and over its ends.

K frames, J outputs of a frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from todm.core.errors import DataError


@dataclass
class Deviation:
    """Running error of outputs against a reference."""

    error_square: float = 0.0
    reference_square: float = 0.0
    error_max: float = 0.0
    reference_max: float = 0.0

    def add(
        self, output_KJ: Float[np.ndarray, "K J"], reference_KJ: Float[np.ndarray, "K J"]
    ) -> None:
        """Take in one recording."""
        error_KJ = output_KJ.astype(np.float64) - reference_KJ
        self.error_square += float(np.square(error_KJ).sum())
        self.reference_square += float(np.square(reference_KJ, dtype=np.float64).sum())
        self.error_max = max(self.error_max, float(np.abs(error_KJ).max()))
        self.reference_max = max(self.reference_max, float(np.abs(reference_KJ).max()))

    @property
    def rel_rms(self) -> float:
        """RMS of the error over that of the reference."""
        return float(np.sqrt(self.error_square / max(self.reference_square, 1e-30)))

    @property
    def rel_max(self) -> float:
        """Largest error over the reference's largest magnitude."""
        return self.error_max / max(self.reference_max, 1e-30)


@dataclass(frozen=True)
class Drift:
    """How the error of a stream grows from its start to its end."""

    rel_rms: float
    """Over the whole stream."""
    first: float
    last: float
    """Relative RMS of the first and the last window."""

    @property
    def last_over_first(self) -> float:
        """1 is no drift; 0 where the end is exact."""
        return self.last / max(self.first, 1e-30) if self.last > 0 else 0.0


def drift_of(
    output_KJ: Float[np.ndarray, "K J"],
    reference_KJ: Float[np.ndarray, "K J"],
    window_frames: int,
) -> Drift:
    """Compare a stream with its reference: as a whole, and its first and last window.

    Raises:
        DataError: the stream is shorter than two windows.
    """
    frames = reference_KJ.shape[0]
    if window_frames < 1 or frames < 2 * window_frames:
        raise DataError(
            f"{frames} frames hold no two windows of {window_frames}; drift needs a longer stream"
        )
    found = []
    for part in (slice(None), slice(window_frames), slice(frames - window_frames, None)):
        deviation = Deviation()
        deviation.add(output_KJ[part], reference_KJ[part])
        found.append(deviation.rel_rms)
    return Drift(*found)
