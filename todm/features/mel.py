"""Kaldi's mel filterbank and window as numbers, to write features as a graph.

S samples (of a window, or of a signal), T frames, B bins of the power spectrum, F mel bins. The
formulas are those of kaldi-native-fbank (feature-window.cc, mel-computations.cc); tests compare
them with its output.
"""

import numpy as np
from jaxtyping import Float, Float64

from todm.core.contract import FeatureSpec
from todm.features.fbank import LOG_FLOOR


def fft_size(features: FeatureSpec) -> int:
    """Return the window's length rounded up to a power of two."""
    return 1 << (window_samples(features) - 1).bit_length()


def window_samples(features: FeatureSpec) -> int:
    """Return the samples of one window."""
    return features.sample_rate_hz * features.frame_length_ms // 1000


def shift_samples(features: FeatureSpec) -> int:
    """Return the samples from one window to the next."""
    return features.sample_rate_hz * features.frame_shift_ms // 1000


def povey_window(features: FeatureSpec) -> Float64[np.ndarray, " S"]:
    """Return Povey's window: a Hann window to the power of 0.85."""
    size = window_samples(features)
    return np.asarray((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))) ** 0.85)


def mel(hz: Float64[np.ndarray, " B"]) -> Float64[np.ndarray, " B"]:
    """Return frequencies on kaldi's mel scale."""
    return np.asarray(1127.0 * np.log1p(hz / 700.0))


def mel_filters(features: FeatureSpec) -> Float64[np.ndarray, "B F"]:
    """Return the triangles: what each bin of the power spectrum gives to each mel bin."""
    size = fft_size(features)
    nyquist_hz = features.sample_rate_hz / 2
    high_hz = features.high_freq_hz + (nyquist_hz if features.high_freq_hz <= 0 else 0.0)
    low, high = mel(np.array([features.low_freq_hz, high_hz]))
    edges = np.linspace(low, high, features.num_bins + 2)
    bins_B1 = mel(np.arange(size // 2) * features.sample_rate_hz / size)[:, None]
    left_F, centre_F, right_F = edges[:-2], edges[1:-1], edges[2:]
    rising_BF = (bins_B1 - left_F) / (centre_F - left_F)
    falling_BF = (right_F - bins_B1) / (right_F - centre_F)
    return np.asarray(np.maximum(0.0, np.minimum(rising_BF, falling_BF)))


def fbank_ref(
    samples_S: Float[np.ndarray, " S"], features: FeatureSpec
) -> Float64[np.ndarray, "T F"]:
    """Return the log mel features of a whole signal by kaldi's formulas in float64."""
    window, shift = window_samples(features), shift_samples(features)
    margin = (window - shift) // 2
    signal = samples_S.astype(np.float64)
    count = (signal.size + shift // 2) // shift
    padded = np.concatenate([signal[:margin][::-1], signal, signal[-window:][::-1]])
    windows_TS = np.stack([padded[shift * t : shift * t + window] for t in range(count)])
    level_TS = windows_TS - windows_TS.mean(axis=1, keepdims=True)
    earlier_TS = np.concatenate([level_TS[:, :1], level_TS[:, :-1]], axis=1)
    sharp_TS = (level_TS - features.preemphasis * earlier_TS) * povey_window(features)
    size = fft_size(features)
    power_TB = np.square(np.abs(np.fft.rfft(sharp_TS, size)))[:, : size // 2]
    return np.asarray(np.log(np.maximum(power_TB @ mel_filters(features), np.exp(LOG_FLOOR))))
