"""What LibriSpeech looks like without having it: durations and labels, for planning a training.

Durations: quantiles of the parts' utterances as icefall lists them
(github.com/k2-fsa/icefall, egs/librispeech/ASR/local/display_manifest_statistics.py; its counts
are three times these, for three speeds). Labels: BPE of 500 symbols trained on and applied to
1111 utterances of train-clean-5 (3.9 hours): 5.31 a second in the mean.
"""

from typing import NamedTuple

import numpy as np

RATE_PROBABILITIES = (0.01, 0.05, 0.5, 0.95, 0.99)
LABEL_RATES = (2.79, 3.90, 5.33, 6.76, 7.59)
"""Labels a second of an utterance, at these probabilities."""
PROBABILITIES = (
    0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0,
)  # fmt: skip


class Part(NamedTuple):
    """One part of the corpus."""

    num_utterances: int
    quantiles_s: tuple[float, ...]
    """Durations at ``PROBABILITIES``."""


PARTS = {
    "train-clean-100": Part(28539, (
        1.3, 1.9, 2.2, 2.5, 4.2, 6.4, 11.4, 13.8, 15.3, 16.7, 17.3, 18.1, 18.4, 18.8, 27.2,
    )),
    "train-clean-360": Part(104014, (
        1.0, 1.8, 2.2, 2.5, 4.2, 6.2, 11.2, 13.7, 15.3, 16.6, 17.3, 18.1, 18.4, 18.8, 33.0,
    )),
    "train-other-500": Part(148688, (
        0.8, 1.7, 2.1, 2.3, 3.5, 5.0, 9.8, 13.4, 15.1, 16.5, 17.2, 18.1, 18.4, 18.9, 31.0,
    )),
}  # fmt: skip


def durations_s(*parts: str) -> list[float]:
    """Return a duration for each utterance of some parts, evenly spread over their quantiles.

    icefall's table is of all three speeds (0.9, 1, 1.1); read as one, it is the corpus's own.
    """
    found: list[float] = []
    for name in parts:
        count, quantiles_s = PARTS[name]
        places = (np.arange(count) + 0.5) / count
        found += np.interp(places, PROBABILITIES, quantiles_s).tolist()
    return found
