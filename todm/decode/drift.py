"""Drift of one form on one long stream: its error at the end over that at the start.

S samples at 16 kHz, R fbank frames, F mel bins, K encoder frames, J joiner width.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from todm.core.errors import DataError
from todm.core.quality import DriftRecord
from todm.core.quantization import PrecisionName
from todm.core.target import Form
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import encode_chunks
from todm.metrics.deviation import drift_of

WINDOW_S = 60.0
"""The first and the last window; shorter streams are judged by their first and last quarter."""


def joined(
    recordings: Sequence[Float[np.ndarray, " S"]], seconds: float
) -> Float32[np.ndarray, " S"]:
    """Join recordings into one stream of that length, repeated in turn where they are shorter.

    Raises:
        DataError: there is no sample to join.
    """
    wanted, parts, have = round(seconds * 16000), [], 0
    if not any(samples_S.size for samples_S in recordings):
        raise DataError("no speech to join: every recording is empty")
    while have < wanted:
        for samples_S in recordings:
            parts.append(samples_S)
            have += samples_S.size
    return np.concatenate(parts)[:wanted].astype(np.float32, copy=False)


def record_drift(
    steps: TransducerSteps,
    features_RF: Float32[np.ndarray, "R F"],
    reference_KJ: Float[np.ndarray, "K J"],
    *,
    name: tuple[Form, PrecisionName],
    isa: tuple[str, ...],
    reference: str,
) -> DriftRecord:
    """Stream the features through a form and compare with the reference.

    Args:
        steps: The form.
        features_RF: Whole chunks (``decode.streaming.padded_features``).
        reference_KJ: The encoder output that is right.
        name: Form and precision.
        isa: Instruction sets of this machine.
        reference: What ``reference_KJ`` is, in words.

    Raises:
        DataError: the stream is too short.
    """
    contract = steps.contract
    frame_s = contract.subsampling * contract.features.frame_shift_ms / 1000
    frames = reference_KJ.shape[0]
    window = min(round(WINDOW_S / frame_s), frames // 4)
    drift = drift_of(encode_chunks(steps, features_RF), reference_KJ, window)
    return DriftRecord(
        form=name[0],
        precision=name[1],
        isa=isa,
        rel_rms=drift.rel_rms,
        first=drift.first,
        last=drift.last,
        audio_s=frames * frame_s,
        window_s=window * frame_s,
        reference=reference,
    )
