"""A recording as a sequence of a fixed length: samples, or cepstra of them, at a lower rate.

S samples, L frames, I inputs.
"""

import numpy as np
import soxr
from jaxtyping import Float32

from todm.core.classify_config import AudioForm
from todm.features.fbank import SAMPLE_RATE_HZ
from todm.features.mfcc import mfcc

LEAST_RMS = 1e-6


def sequence_of(
    samples_S: Float32[np.ndarray, " S"], form: AudioForm
) -> Float32[np.ndarray, "L I"]:
    """Return a recording's samples or cepstra.

    Args:
        samples_S: At 16 kHz.
        form: Rate, length and form of the sequence.
    """
    if form.rate_hz != SAMPLE_RATE_HZ:
        samples_S = soxr.resample(samples_S, SAMPLE_RATE_HZ, form.rate_hz, quality="HQ")
    if form.unit_rms:
        rms = float(np.sqrt(np.square(samples_S, dtype=np.float64).mean()))
        samples_S = samples_S / max(rms, LEAST_RMS)
    fitted_S = fitted(samples_S, round(form.duration_s * form.rate_hz)).astype(np.float32)
    return mfcc(fitted_S, form.rate_hz) if form.form == "mfcc" else fitted_S[:, None]


def fitted(samples_S: np.ndarray, size: int) -> np.ndarray:
    """Cut or pad with zeros to a size, about the middle."""
    spare = size - samples_S.size
    if spare >= 0:
        return np.pad(samples_S, (spare // 2, spare - spare // 2))
    start = -spare // 2
    return samples_S[start : start + size]
