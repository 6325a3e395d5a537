"""Where a chunk's time goes: encoder, predictor, joiner, and the rest. Axes as in decode.steps."""

from collections.abc import Iterable
from time import perf_counter

import numpy as np
from jaxtyping import Float, Float32, Int64

from todm.core.contract import StreamContract
from todm.decode.steps import TransducerSteps
from todm.runtimes import Recogniser
from todm.runtimes.recogniser import StepsRecogniser


class TimedSteps(TransducerSteps):
    """Steps that add up the seconds spent in each of them."""

    def __init__(self, inner: TransducerSteps) -> None:
        self._inner = inner
        self.spent_s = {"encoder": 0.0, "predictor": 0.0, "joiner": 0.0}

    @property
    def contract(self) -> StreamContract:
        """That of the inner steps."""
        return self._inner.contract

    def encode(
        self, x_NTF: Float[np.ndarray, "N T F"], state_NS: Float[np.ndarray, "N S"]
    ) -> tuple[Float[np.ndarray, "N K J"], Float[np.ndarray, "N S"]]:
        """Advance one chunk."""
        begin_s = perf_counter()
        result = self._inner.encode(x_NTF, state_NS)
        self.spent_s["encoder"] += perf_counter() - begin_s
        return result

    def predict(self, context_NC: Int64[np.ndarray, "N C"]) -> Float[np.ndarray, "N J"]:
        """Return the projected prediction."""
        begin_s = perf_counter()
        result = self._inner.predict(context_NC)
        self.spent_s["predictor"] += perf_counter() - begin_s
        return result

    def join(
        self, enc_NJ: Float[np.ndarray, "N J"], pred_NJ: Float[np.ndarray, "N J"]
    ) -> Float[np.ndarray, "N V"]:
        """Return the logits of one encoder frame."""
        begin_s = perf_counter()
        result = self._inner.join(enc_NJ, pred_NJ)
        self.spent_s["joiner"] += perf_counter() - begin_s
        return result


def split_times_ms(
    recogniser: Recogniser, chunks: Iterable[Float32[np.ndarray, " C"]]
) -> dict[str, float] | None:
    """Return the mean milliseconds of a chunk by part, or None where the runtime hides them.

    A pass of its own: the clocks cost a little, and must not weigh on the latencies.
    """
    if not isinstance(recogniser, StepsRecogniser):
        return None
    timed = TimedSteps(recogniser.steps)
    stream = StepsRecogniser(timed, recogniser.table).stream()
    first_C, *rest = chunks
    stream.accept(first_C)  # decodes nothing: the strict rule waits for its successor
    timed.spent_s = dict.fromkeys(timed.spent_s, 0.0)
    begin_s = perf_counter()
    for chunk_C in rest:
        stream.accept(chunk_C)
    total_s, count = perf_counter() - begin_s, len(rest)
    if count == 0:
        return None
    parts = {name: 1000.0 * spent_s / count for name, spent_s in timed.spent_s.items()}
    return parts | {"rest": 1000.0 * total_s / count - sum(parts.values())}
