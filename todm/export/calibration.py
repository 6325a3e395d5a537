"""Calls that a net makes on minutes of one stream: what static ranges are calibrated with.

The state is carried from chunk to chunk; calibrated from the zero state alone, the activations of
the tenth minute lie outside the ranges of the first seconds. Axes as in ``decode.steps``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int64

from todm.core.contract import StreamContract
from todm.decode.drift import joined
from todm.decode.greedy import GreedyStream
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import padded_features
from todm.export.evidence import spread

MAX_CALLS = 400
"""Calls of each part that are kept, spread evenly over the stream."""

Calls = dict[str, list[tuple[np.ndarray, ...]]]
"""Inputs by part, call by call."""


class RecordingSteps(TransducerSteps):
    """Steps that remember what they were called with."""

    def __init__(self, inner: TransducerSteps) -> None:
        self._inner = inner
        self.calls: Calls = {"encoder": [], "decoder": [], "joiner": []}

    @property
    def contract(self) -> StreamContract:
        """That of the inner steps."""
        return self._inner.contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        self.calls["encoder"].append((x_NTF, state_NS))
        return self._inner.encode(x_NTF, state_NS)

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction."""
        self.calls["decoder"].append((context_NC,))
        return self._inner.predict(context_NC)

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        self.calls["joiner"].append((enc_NJ, pred_NJ))
        return self._inner.join(enc_NJ, pred_NJ)


def record_calls(
    steps: TransducerSteps,
    recordings: Sequence[Float32[np.ndarray, " S"]],
    seconds: float,
    max_calls: int = MAX_CALLS,
) -> Calls:
    """Return the calls of one joined stream of at most that many seconds, state carried."""
    have_s = sum(samples_S.size for samples_S in recordings) / 16000
    recorder = RecordingSteps(steps)
    features_RF = padded_features(joined(recordings, min(seconds, have_s)), steps.contract)
    state_1S, search = recorder.zero_state(), GreedyStream(recorder)
    chunk = steps.contract.input_frames
    for start in range(0, features_RF.shape[0], chunk):
        enc_1KJ, state_1S = recorder.encode(features_RF[None, start : start + chunk], state_1S)
        search.advance(enc_1KJ[0])
    return {part: list(spread(calls, max_calls)) for part, calls in recorder.calls.items()}


def onnx_feeds(calls: Calls, unused_c_width: int) -> dict[str, list[Mapping[str, np.ndarray]]]:
    """Return calls by the ports of the ONNX graphs."""
    c_1NX = np.zeros((1, 1, unused_c_width), np.float32)
    return {
        "encoder": [{"x": x, "h": state[None], "c": c_1NX} for x, state in calls["encoder"]],
        "decoder": [{"y": context} for (context,) in calls["decoder"]],
        "joiner": [{"encoder_out": e, "decoder_out": p} for e, p in calls["joiner"]],
    }
