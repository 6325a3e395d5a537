"""Log mel filterbanks by kaldi-native-fbank, the very code that sherpa-onnx runs on devices.

S samples, T frames (10 ms each), F mel bins. The settings are those of sherpa-onnx's
features.cc: 16 kHz, 25 ms povey windows every 10 ms, 80 bins from 20 Hz to 7600 Hz, no dither,
pre-emphasis 0.97, edges not snipped, power spectrum, log floored at float32's epsilon. Samples
lie in [-1, 1]. Nothing is normalised: mean and variance are the network's first operation.
"""

import kaldi_native_fbank as knf
import numpy as np
from jaxtyping import Float32

from todm.core.contract import FeatureSpec
from todm.core.errors import DataError

FEATURES = FeatureSpec()
SAMPLE_RATE_HZ = FEATURES.sample_rate_hz
FEATURE_DIM = FEATURES.num_bins
FRAME_SHIFT_SAMPLES = SAMPLE_RATE_HZ * FEATURES.frame_shift_ms // 1000
LOG_FLOOR = float(np.log(np.finfo(np.float32).eps))
"""Value of a bin in digital silence, about -15.94."""


def fbank_options() -> knf.FbankOptions:
    """Return sherpa-onnx's feature settings, each one stated."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE_HZ
    options.frame_opts.frame_shift_ms = FEATURES.frame_shift_ms
    options.frame_opts.frame_length_ms = FEATURES.frame_length_ms
    options.frame_opts.dither = FEATURES.dither
    options.frame_opts.preemph_coeff = FEATURES.preemphasis
    options.frame_opts.remove_dc_offset = True
    options.frame_opts.window_type = FEATURES.window
    options.frame_opts.round_to_power_of_two = True
    options.frame_opts.snip_edges = FEATURES.snip_edges
    options.mel_opts.num_bins = FEATURE_DIM
    options.mel_opts.low_freq = FEATURES.low_freq_hz
    options.mel_opts.high_freq = FEATURES.high_freq_hz
    options.mel_opts.is_librosa = False
    options.use_energy = False
    options.energy_floor = 0.0
    options.raw_energy = True
    options.htk_compat = False
    options.use_log_fbank = True
    options.use_power = True
    return options


def num_frames(num_samples: int) -> int:
    """Return how many frames ``num_samples`` samples give once the input is finished."""
    return (num_samples + FRAME_SHIFT_SAMPLES // 2) // FRAME_SHIFT_SAMPLES


class OnlineFbank:
    """Features of a growing signal; equal bit for bit to those of the whole signal."""

    def __init__(self) -> None:
        self._extractor = knf.OnlineFbank(fbank_options())
        self._first_kept = 0

    def accept(self, samples_S: Float32[np.ndarray, " S"]) -> None:
        """Take the next samples (16 kHz, [-1, 1])."""
        if samples_S.size:
            # A list crosses into C++ about twice as fast as an array does.
            self._extractor.accept_waveform(SAMPLE_RATE_HZ, samples_S.tolist())

    def finish(self) -> None:
        """Say that no more samples come; the last frame or two become ready."""
        self._extractor.input_finished()

    @property
    def ready_frames(self) -> int:
        """Frames computed so far, counted from the signal's start."""
        return int(self._extractor.num_frames_ready)

    def frames(self, start: int, count: int) -> Float32[np.ndarray, "T F"]:
        """Return frames ``start`` to ``start + count``; frames before ``start`` are forgotten.

        Raises:
            DataError: a frame is not ready yet or forgotten already.
        """
        if start < self._first_kept or start + count > self.ready_frames or count < 0:
            raise DataError(
                f"features: frames {start}..{start + count} asked, "
                f"{self._first_kept}..{self.ready_frames} at hand"
            )
        self._extractor.pop(start - self._first_kept)
        self._first_kept = start
        features_TF = np.empty((count, FEATURE_DIM), np.float32)
        for index in range(count):
            features_TF[index] = self._extractor.get_frame(start + index)
        return features_TF


def fbank(samples_S: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, "T F"]:
    """Return the log mel features of a whole signal (16 kHz, samples in [-1, 1])."""
    online = OnlineFbank()
    online.accept(samples_S)
    online.finish()
    return online.frames(0, online.ready_frames)
