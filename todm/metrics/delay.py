"""Emission delay: how long after a spoken word's end the recogniser has the word.

Only correctly recognised words count (Levenshtein alignment); a missed word has no delay. A
negative delay is real: a word can be clear before its end. Compare delays only of systems with
similar WER, and WERs only beside delays: a network that waits has it easier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from todm.core.errors import DataError
from todm.metrics.latency import percentile
from todm.metrics.wer import matched_words


@dataclass(frozen=True)
class DelaySummary:
    """Emission delays of n correctly recognised words, in milliseconds."""

    n: int
    median_ms: float
    p95_ms: float


def word_delays_ms(
    ref: str, hyp: str, ref_ends_s: Sequence[float], hyp_emitted_s: Sequence[float]
) -> list[float]:
    """Return the delay of every correctly recognised word of an utterance.

    Args:
        ref: Reference text.
        hyp: Recognised text.
        ref_ends_s: When each reference word's sound ends, in seconds of audio.
        hyp_emitted_s: How much audio had been heard when each recognised word was complete
            (its last token out), in seconds.

    Raises:
        DataError: not one time for each word.
    """
    for what, text, times in (("end", ref, ref_ends_s), ("emission", hyp, hyp_emitted_s)):
        if len(text.split()) != len(times):
            raise DataError(f"{len(times)} {what} times for the words of {text[:60]!r}; give each")
    return [
        1000.0 * (hyp_emitted_s[at_hyp] - ref_ends_s[at_ref])
        for at_ref, at_hyp in matched_words(ref, hyp)
    ]


def summarise_delays(delays_ms: Sequence[float]) -> DelaySummary:
    """Return median and 95th percentile.

    Raises:
        DataError: no delay.
    """
    return DelaySummary(
        n=len(delays_ms), median_ms=percentile(delays_ms, 50), p95_ms=percentile(delays_ms, 95)
    )
