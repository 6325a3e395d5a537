"""Mel-frequency cepstra by kaldi-native-fbank, at any sampling rate.

S samples, T frames (10 ms each), F cepstra. 25 ms povey windows, 40 mel bins from 20 Hz to the
Nyquist frequency, 20 cepstra, no dither, edges not snipped.
"""

import kaldi_native_fbank as knf
import numpy as np
from jaxtyping import Float32

NUM_CEPSTRA = 20
NUM_BINS = 40
FRAME_SHIFT_MS = 10.0


def mfcc(samples_S: Float32[np.ndarray, " S"], rate_hz: int) -> Float32[np.ndarray, "T F"]:
    """Return the cepstra of a whole signal with samples in [-1, 1]."""
    options = knf.MfccOptions()
    options.frame_opts.samp_freq = rate_hz
    options.frame_opts.frame_shift_ms = FRAME_SHIFT_MS
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = NUM_BINS
    options.num_ceps = NUM_CEPSTRA
    options.use_energy = False
    online = knf.OnlineMfcc(options)
    online.accept_waveform(rate_hz, samples_S.tolist())
    online.input_finished()
    rows = [online.get_frame(index) for index in range(online.num_frames_ready)]
    return np.asarray(rows, np.float32)
