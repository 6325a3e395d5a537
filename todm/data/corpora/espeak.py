"""Synthesised digit strings: espeak-ng voices, speeds and pitches, with noise and level varied.

The splits hold different voices: accents occur in all three, but a variant (the speaker's
timbre, after ``+``) of dev or test is never heard in training. Everything is drawn from the
seed, and the engine is started afresh, so the same config gives the same samples.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from todm.core.data_config import SPLITS, Split, StringConfig, SynthesisConfig
from todm.core.errors import ConfigError
from todm.core.rng import derive_seed
from todm.data.corpora.espeak_engine import EspeakEngine
from todm.data.rows import Rejects, Request, Row, Samples
from todm.features.fbank import SAMPLE_RATE_HZ
from todm.features.wav import resample

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
VOICES: dict[Split, tuple[str, ...]] = {
    "train": (
        "en",
        "en-us",
        "en-gb-x-rp",
        "en-gb-scotland+m3",
        "en-us-nyc+m4",
        "en-029+m7",
        "en-gb-x-gbcwmd+Andy",
        "en-us+Mike",
        "en-us+f1",
        "en+f2",
        "en-gb-x-rp+f4",
        "en-gb-x-gbclan+f5",
        "en-us+Alicia",
        "en-gb-scotland+Andrea",
        "en-us+adam",
        "en-gb-x-rp+benjamin",
        "en-gb-scotland+belinda",
        "en+david",
        "en-us-nyc+linda",
        "en-us+edward",
        "en-gb-x-gbclan+john",
        "en-029+max",
        "en-gb-x-rp+steph",
        "en-us+robert",
        "en-gb-scotland+miguel",
        "en+travis",
        "en-gb-x-gbcwmd+shelby",
        "en-us+anika",
        "en-gb-x-rp+quincy",
        "en-us-nyc+zac",
    ),
    "dev": ("en-us+m1", "en-gb-x-rp+f3", "en-gb-scotland+Lee"),
    "test": ("en-gb-x-rp+m2", "en-us+Annie", "en-gb-scotland+m6"),
}
"""Voices by split; each must differ from every other (a test compares their samples)."""
SEPARATORS = (" ", " ", ", ")
"""Between words: mostly fluent, sometimes with espeak's comma pause."""


def read(request: Request, _rejects: Rejects) -> Iterator[Row]:
    """Yield digit strings for all splits, each voice speaking equally many.

    Raises:
        ConfigError: the config asks for no strings.
        DataError: espeak-ng refuses a voice.
        MissingExtraError: espeakng-loader is not installed.
    """
    if request.strings is None:
        raise ConfigError("corpus 'espeak' speaks digit strings; give strings, how many")
    synthesis = request.synthesis if request.synthesis is not None else SynthesisConfig()
    engine = EspeakEngine()
    for split in SPLITS:
        for index in range(request.strings.count(split)):
            rng = np.random.default_rng(derive_seed(request.seed, "espeak", split, index))
            yield _utterance(engine, split, index, (request.strings, synthesis), rng)


def _utterance(
    engine: EspeakEngine,
    split: Split,
    index: int,
    configs: tuple[StringConfig, SynthesisConfig],
    rng: np.random.Generator,
) -> Row:
    strings, synthesis = configs
    voice = VOICES[split][index % len(VOICES[split])]
    num_words = int(rng.integers(strings.min_words, strings.max_words + 1))
    words = [DIGITS[int(i)] for i in rng.integers(len(DIGITS), size=num_words)]
    separator = SEPARATORS[int(rng.integers(len(SEPARATORS)))]
    speech = engine.say(
        separator.join(words).lower(),
        voice=voice,
        speed_wpm=_whole(rng, synthesis.speed_wpm),
        pitch=_whole(rng, synthesis.pitch),
    )
    return Row(
        id=f"{split}-{index:05d}-{voice}",
        speaker=voice,
        text=" ".join(words),
        split=split,
        load=partial(_record, speech, engine.rate_hz, synthesis, int(rng.integers(2**62))),
        where=f"espeak {split} {index}",
    )


def _whole(rng: np.random.Generator, ends: tuple[int, int]) -> int:
    return int(rng.integers(ends[0], ends[1] + 1))


def _record(
    speech: np.ndarray[tuple[int], np.dtype[np.int16]],
    rate_hz: int,
    synthesis: SynthesisConfig,
    seed: int,
) -> Samples:
    """Return speech as a microphone might record it: 16 kHz, edges, noise, level."""
    rng = np.random.default_rng(seed)
    clean_S = resample(speech.astype(np.float32) / 32768.0, rate_hz)
    edges = [round(rng.uniform(*synthesis.edge_s) * SAMPLE_RATE_HZ) for _ in range(2)]
    power = float(np.mean(np.square(clean_S, dtype=np.float64)))
    padded_S = np.pad(clean_S, (edges[0], edges[1]))
    snr_db = rng.uniform(*synthesis.snr_db)
    noise_power = power / 10.0 ** (snr_db / 10.0)
    noisy_S = padded_S + _noise(rng, padded_S.size) * np.sqrt(noise_power)
    peak = 10.0 ** (rng.uniform(*synthesis.peak_db) / 20.0)
    return np.asarray(noisy_S * (peak / np.abs(noisy_S).max()), np.float32)


def _noise(rng: np.random.Generator, num_samples: int) -> Samples:
    """Return noise of power 1: white, or pink (power falling as 1/f above 20 Hz)."""
    white_S = rng.standard_normal(num_samples)
    if rng.random() < 0.5:
        return white_S.astype(np.float32)
    spectrum = np.fft.rfft(white_S)
    freqs_hz = np.fft.rfftfreq(num_samples, 1.0 / SAMPLE_RATE_HZ)
    pink_S = np.fft.irfft(spectrum / np.sqrt(np.maximum(freqs_hz, 20.0)), num_samples)
    return np.asarray(pink_S / np.sqrt(np.mean(np.square(pink_S))), np.float32)
