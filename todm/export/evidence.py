"""Speech for an export: any for parity, dev for the gates, train or dev for static ranges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from todm.core.errors import ConfigError, DataError, InputError
from todm.core.quantization import GateConfig
from todm.data.feature_cache import load_samples
from todm.data.manifest import Corpus, Utterance
from todm.decode.tokens import TokenTable

Samples = Float32[np.ndarray, " S"]
T = TypeVar("T")
MIN_AUDIO_S = 60.0
"""Least speech that parity is judged on."""


@dataclass(frozen=True, eq=False)
class Speech:
    """Recordings that every form must hear alike; they need no transcript."""

    recordings: Sequence[Samples]
    source: str
    """Where they come from, for the lineage."""

    @property
    def distinct_s(self) -> float:
        """Seconds at 16 kHz; a repeated recording counts once."""
        distinct = {samples_S.tobytes(): samples_S.size for samples_S in self.recordings}
        return sum(distinct.values()) / 16000

    def require_enough(self) -> None:
        """Do nothing when parity can be judged on it.

        Raises:
            InputError: less than ``MIN_AUDIO_S``.
        """
        if self.distinct_s < MIN_AUDIO_S:
            raise InputError(
                f"export checks parity on at least {MIN_AUDIO_S:g} s of speech, got "
                f"{self.distinct_s:.1f} s of distinct recordings; give more --audio or a corpus "
                "with a longer dev split"
            )


@dataclass(frozen=True, eq=False)
class Spoken:
    """One utterance with its reference."""

    samples_S: Samples
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """Transcribed dev speech, and speech to calibrate with."""

    dev: tuple[Spoken, ...]
    calibration: tuple[Samples, ...]
    """In the order in which it is joined."""
    source: str
    """Where both come from, for the lineage."""


def evidence_of(
    corpus: Corpus, table: TokenTable, config: GateConfig, calibration_s: float
) -> Evidence:
    """Take dev and calibration speech from a prepared corpus; its test split is never touched.

    Args:
        corpus: A prepared corpus.
        table: The net's tokens.
        config: How much is taken.
        calibration_s: Speech for static ranges; 0 takes none.

    Raises:
        ConfigError: the corpus has other tokens than the net.
        DataError: there is no dev speech, or a calibration recording is one of the test split.
    """
    where = corpus.artifact.path
    if corpus.table != table:
        raise ConfigError(f"{where}: has another token table than the net; give its own corpus")
    dev = spread(corpus.cuts("dev"), config.utterances)
    if not dev or not any(u.text for u in dev):
        raise DataError(
            f"{where}: has no transcribed dev speech, so no quantized form can be judged; "
            "prepare one with a dev split, or export fp32 alone (--precision fp32)"
        )
    chosen = _calibration(corpus, config, calibration_s)
    return Evidence(
        dev=tuple(Spoken(load_samples(u), u.tokens, u.text) for u in dev),
        calibration=tuple(load_samples(u) for u in chosen),
        source=(
            f"{len(dev)} dev utterances"
            + (f", calibrated on {len(chosen)} of {config.calibration_split}" if chosen else "")
            + f" of {where.name}"
        ),
    )


def _calibration(corpus: Corpus, config: GateConfig, seconds: float) -> list[Utterance]:
    """Return utterances spread over the split that hold the seconds together.

    Raises:
        DataError: one of them is a test recording as well.
    """
    if seconds <= 0:
        return []
    everything = corpus.cuts(config.calibration_split) or corpus.cuts("dev")
    total_s = sum(u.duration_s for u in everything)
    count = max(1, round(len(everything) * min(1.0, seconds / max(total_s, 1e-9))))
    chosen = list(spread(everything, count))
    refuse_test(chosen, corpus.cuts("test"), where=str(corpus.artifact.path))
    return chosen


def refuse_test(chosen: Sequence[Utterance], test: Sequence[Utterance], *, where: str) -> None:
    """Refuse calibration with a recording of the test split, whatever split it came from.

    Raises:
        DataError: names the recording.
    """
    held = {u.id for u in test}
    shared = [u.id for u in chosen if u.id in held]
    if shared:
        raise DataError(
            f"{where}: {shared[0]} is a test recording and was to calibrate a static form; "
            "prepare splits that do not share recordings"
        )


def spread(items: Sequence[T], limit: int) -> tuple[T, ...]:
    """Return at most ``limit`` items, evenly spread."""
    if limit >= len(items):
        return tuple(items)
    return tuple(items[i * len(items) // limit] for i in range(limit))
