import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todm.core.errors import DataError
from todm.features.fbank import FEATURE_DIM, LOG_FLOOR, OnlineFbank, fbank, num_frames

SAMPLES_S = (0.1 * np.random.default_rng(1).standard_normal(20011)).astype(np.float32)


def test_shape_dtype_and_floor() -> None:
    features_TF = fbank(SAMPLES_S)
    assert features_TF.shape == (num_frames(SAMPLES_S.size), FEATURE_DIM)
    assert features_TF.dtype == np.float32
    silent_TF = fbank(np.zeros(1600, np.float32))
    np.testing.assert_allclose(silent_TF, LOG_FLOOR, rtol=1e-6)


@pytest.mark.parametrize("push_samples", [1, 160, 777, 3200, 20011])
def test_online_equals_offline_bit_for_bit(push_samples: int) -> None:
    samples_S = SAMPLES_S[:4000] if push_samples == 1 else SAMPLES_S
    online, parts = OnlineFbank(), []
    taken = 0
    for start in range(0, samples_S.size, push_samples):
        online.accept(samples_S[start : start + push_samples])
        parts.append(online.frames(taken, online.ready_frames - taken))
        taken = online.ready_frames
    online.finish()
    parts.append(online.frames(taken, online.ready_frames - taken))
    assert np.array_equal(np.concatenate(parts), fbank(samples_S))


@settings(max_examples=25, deadline=None)
@given(st.integers(400, 6000))
def test_number_of_frames(num_samples: int) -> None:
    assert fbank(SAMPLES_S[:num_samples]).shape[0] == num_frames(num_samples)


def test_frames_not_at_hand() -> None:
    online = OnlineFbank()
    online.accept(SAMPLES_S)
    online.frames(10, 2)
    for start, count in ((5, 1), (10, 10**6)):
        with pytest.raises(DataError, match="at hand"):
            online.frames(start, count)


def test_equals_sherpa_settings_of_an_independent_computation() -> None:
    """A plain numpy filterbank of one inner frame: povey window, 0.97, 80 mel, 20..7600 Hz."""
    start = 50 * 160 + 80 - 200  # snip_edges off: frame 50 is centred on its 10 ms
    frame = SAMPLES_S[start : start + 400].astype(np.float64)
    frame = frame - frame.mean()
    frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
    edges = np.linspace(_mel(20.0), _mel(7600.0), FEATURE_DIM + 2)
    bins_mel = _mel(np.arange(256) * 16000 / 512)
    up = (bins_mel[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins_mel[None]) / (edges[2:] - edges[1:-1])[:, None]
    expected = np.log(np.maximum(np.minimum(up, down), 0.0) @ power[:256])
    # float32 FFT against float64: 1e-3 nepers leave room for the emptiest of 80 bins
    np.testing.assert_allclose(fbank(SAMPLES_S)[50], expected, atol=1e-3)


def _mel(freq_hz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(freq_hz) / 700.0)
