"""Sequences at a lower frame rate: every r-th frame, with or without a filter before.

B sequences, T frames, I inputs, K kept frames.
"""

import numpy as np
import soxr
from jaxtyping import Float32


def decimated(
    x_BTI: Float32[np.ndarray, "B T I"], rate: int, *, filtered: bool
) -> Float32[np.ndarray, "B K I"]:
    """Keep every ``rate``-th frame.

    Args:
        x_BTI: the sequences.
        rate: 1 changes nothing.
        filtered: take out what the lower rate cannot hold (soxr in high quality); otherwise
            higher frequencies fold down.
    """
    if rate == 1:
        return x_BTI
    if not filtered:
        return np.ascontiguousarray(x_BTI[:, ::rate])
    batch, frames, inputs = x_BTI.shape
    kept = -(-frames // rate)
    x_TC = np.ascontiguousarray(x_BTI.transpose(1, 0, 2).reshape(frames, batch * inputs))
    rows = [
        soxr.resample(x_TC[:, channel], rate, 1, quality="HQ")[:kept]
        for channel in range(x_TC.shape[1])
    ]
    y_CK = np.stack([np.pad(row_K, (0, kept - row_K.size)) for row_K in rows])
    y_BIK = y_CK.reshape(batch, inputs, kept)
    return np.ascontiguousarray(y_BIK.transpose(0, 2, 1), np.float32)
