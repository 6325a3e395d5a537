"""Augmentation through lhotse: speed, added noise, SpecAugment masks. No torchaudio is needed.

lhotse 1.33 carries its own sinc resampler for speed, mixes noise with numpy and masks with
torch; none of them imports torchaudio. Speed and noise draw from generators passed in. lhotse's
SpecAugment reads the global generators, so they are set from a derived seed around the call and
put back after it: call :class:`SpecMasks` from the thread that uses torch's global generator
(training's), never from a helper thread.

S samples at 16 kHz, T frames, F mel bins.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from todm.core.data_config import AugmentConfig, Split
from todm.core.errors import DataError
from todm.features.fbank import SAMPLE_RATE_HZ
from todm.features.wav import read_audio

NOISE_TABLE = "noise.tsv"
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".opus", ".ogg", ".mp3"})


def change_speed(samples_S: Float32[np.ndarray, " S"], factor: float) -> Float32[np.ndarray, " S2"]:
    """Return the signal played ``factor`` times as fast: tempo and pitch change, as sox speed."""
    if factor == 1.0:
        return samples_S
    from lhotse.augmentation import Speed

    return np.ascontiguousarray(Speed(factor)(samples_S[None], SAMPLE_RATE_HZ)[0], np.float32)


class NoiseMixer:
    """Adds recorded noise at a drawn signal-to-noise ratio."""

    def __init__(self, folder: Path, snr_db: tuple[float, float], split: Split = "train") -> None:
        """List the noise recordings of a folder's split; each is read when first drawn and kept.

        Raises:
            DataError: the folder holds no noise.
        """
        self._paths = noise_files(folder, split)
        self._snr_db = snr_db
        self._clips: dict[int, Float32[np.ndarray, " S"]] = {}

    def mix(
        self, samples_S: Float32[np.ndarray, " S"], rng: np.random.Generator
    ) -> Float32[np.ndarray, " S"]:
        """Return the signal with a random part of a random recording added (lhotse's mixer)."""
        from lhotse.audio.mixer import AudioMixer

        index = int(rng.integers(len(self._paths)))
        if index not in self._clips:
            self._clips[index] = read_audio(self._paths[index], mix_down=True)
        start = int(rng.integers(self._clips[index].size))
        noise_S = np.resize(np.roll(self._clips[index], -start), samples_S.size)
        mixer = AudioMixer(samples_S[None], SAMPLE_RATE_HZ)
        mixer.add_to_mix(noise_S[None], snr=float(rng.uniform(*self._snr_db)))
        mixed_S: Float32[np.ndarray, " S"] = mixer.mixed_mono_audio[0]
        return np.asarray(np.clip(mixed_S, -1.0, 1.0), np.float32)


def noise_files(folder: Path, split: Split = "train") -> list[Path]:
    """Return the noise recordings of a folder for a split, in a fixed order.

    With a ``noise.tsv`` these are its rows of that split that are no room responses; where it has
    none for test, the rows of dev are dealt to dev and test in turns. Without a table, every audio
    file below the folder is noise for training, and there is none for dev and test.

    Raises:
        DataError: there is none.
    """
    table = folder / NOISE_TABLE
    if table.is_file():
        lines = [line.split("\t") for line in table.read_text("utf-8").split("\n") if line]
        columns = {name: i for i, name in enumerate(lines[0])}
        missing = [name for name in ("category", "split", "rel_path") if name not in columns]
        if missing:
            raise DataError(f"{table}:1: no column {missing[0]!r}; add it")
        short = next((i for i, line in enumerate(lines, 1) if len(line) < len(lines[0])), None)
        if short is not None:
            raise DataError(
                f"{table}: line {short} has {len(lines[short - 1])} of {len(lines[0])} columns"
            )
        found = [
            (line[columns["split"]], folder / line[columns["rel_path"]])
            for line in lines[1:]
            if not line[columns["category"]].startswith("rir")
        ]
        paths = _of_split(found, split)
    elif split == "train":
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    else:
        raise DataError(f"{folder}: without {NOISE_TABLE} no noise is kept apart for {split}")
    if not paths:
        raise DataError(f"{folder}: holds no noise recordings for {split}; correct the folder")
    return paths


def _of_split(rows: Sequence[tuple[str, Path]], split: Split) -> list[Path]:
    if split == "train" or any(name == "test" for name, _ in rows):
        return [path for name, path in rows if name == split]
    held_out = [path for name, path in rows if name == "dev"]
    return held_out[1::2] if split == "test" else held_out[::2]


class SpecMasks:
    """SpecAugment's time and frequency masks by lhotse, without time warping.

    Masks are filled with each bin's mean over the utterance: lhotse fills with one mean of all
    bins, which is far from silence and from the loud bins alike and slows early learning. All
    time masks together cover less than the configured fraction of the frames.
    """

    def __init__(self, config: AugmentConfig) -> None:
        """Build the masks of a configuration."""
        from lhotse.dataset.signal_transforms import (
            SpecAugment,
        )

        self._config = config
        self._full = SpecAugment(
            time_warp_factor=None,
            num_feature_masks=config.freq_masks,
            features_mask_size=config.freq_mask_max_bins,
            # lhotse divides by the number of masks: none is written as one of width 0.
            num_frame_masks=max(config.time_masks, 1),
            frames_mask_size=config.time_mask_max_frames if config.time_masks else 1,
            max_frames_mask_fraction=config.time_mask_fraction,
            p=1.0,
        )
        self._idle = config.time_masks == 0 and config.freq_masks == 0

    def apply(self, features_TF: Float32[Tensor, "T F"], seed: int) -> Float32[Tensor, "T F"]:
        """Return masked features; the same seed masks the same places."""
        if self._idle or not self._fits(features_TF.shape[0]):
            return features_TF
        mean_F = features_TF.mean(0)
        with _global_generators(seed):
            masked: Tensor = self._full((features_TF - mean_F)[None])[0]
        return masked + mean_F

    def _fits(self, num_frames: int) -> bool:
        """Tell whether lhotse finds room for a mask; a handful of frames has none."""
        return self._config.time_mask_fraction * num_frames >= max(self._config.time_masks, 1)


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed torch's and Python's global generators, and put their states back."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
