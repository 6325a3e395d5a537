"""Features computed once and kept in memory: later epochs cost a look-up.

T frames, F mel bins.
"""

import threading

import numpy as np
from jaxtyping import Float32

from todm.data.augment import change_speed
from todm.data.manifest import Utterance
from todm.data.rows import Samples
from todm.data.shards import in_shards, read_member
from todm.features.fbank import fbank
from todm.features.wav import read_audio

DEFAULT_CACHE_BYTES = 2 * 2**30


class FeatureCache:
    """Filterbanks by utterance and speed; safe to share between threads.

    When the limit is reached nothing more is kept, and the rest is computed each time: the
    result is the same.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Keep at most ``max_bytes`` of features."""
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._features: dict[tuple[str, float], Float32[np.ndarray, "T F"]] = {}
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of features kept."""
        return self._held_bytes

    def features(self, utterance: Utterance, speed: float) -> Float32[np.ndarray, "T F"]:
        """Return the utterance's features at a speed; do not write into them.

        Raises:
            DataError: the audio file is missing or damaged.
        """
        key = (utterance.id, speed)
        found = self._features.get(key)
        if found is not None:
            return found
        features_TF = fbank(load_samples(utterance, speed))
        with self._lock:
            if (
                key not in self._features
                and self._held_bytes + features_TF.nbytes <= self._max_bytes
            ):
                self._features[key] = features_TF
                self._held_bytes += features_TF.nbytes
        return features_TF


def load_samples(utterance: Utterance, speed: float = 1.0) -> Samples:
    """Return the utterance's samples (16 kHz), played ``speed`` times as fast."""
    if in_shards(utterance):
        return change_speed(read_member(utterance.audio_path, utterance.id), speed)
    return change_speed(read_audio(utterance.audio_path), speed)
