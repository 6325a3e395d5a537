from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.errors import DataError
from todm.features.wav import read_audio, write_wav

TONE_S = (0.5 * np.sin(np.arange(8000) / 8)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_write_then_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    write_wav(path, TONE_S)
    np.testing.assert_allclose(read_audio(path), TONE_S, atol=1.0 / 32768)
    part_S = read_audio(path, start_s=0.1, duration_s=0.2)
    assert np.array_equal(part_S, read_audio(path)[1600:4800])


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled(rate_hz: int, tmp_path: Path) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time_s), rate_hz)
    samples_S = read_audio(tmp_path / "a.wav")
    assert samples_S.dtype == np.float32
    assert abs(samples_S.size - 16000) <= 1
    inner = np.arange(4000, 12000)
    np.testing.assert_allclose(
        samples_S[inner], 0.5 * np.sin(2 * np.pi * 440 * inner / 16000), atol=2e-3
    )


def test_mix_down_on_request(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", np.stack([TONE_S, -TONE_S], 1), 16000)
    assert np.abs(read_audio(tmp_path / "s.wav", mix_down=True)).max() < 1e-3


def _bad(path: Path, kind: str) -> Path:
    if kind == "unreadable":
        path.write_bytes(b"this is no audio")
    elif kind == "stereo":
        soundfile.write(path, np.stack([TONE_S, TONE_S], 1), 16000)
    elif kind == "empty":
        soundfile.write(path, np.zeros(0, np.float32), 16000)
    elif kind == "short":
        soundfile.write(path, TONE_S[:800], 16000)
    elif kind == "nan":
        spoilt_S = TONE_S.copy()
        spoilt_S[100] = np.nan
        soundfile.write(path, spoilt_S, 16000, subtype="FLOAT")
    elif kind == "scale":
        soundfile.write(path, TONE_S * 32768, 16000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such audio file"),
        ("unreadable", "not readable as audio"),
        ("stereo", "2 channels"),
        ("empty", "no audio"),
        ("short", "only 0.050 s"),
        ("nan", "sample 100 is NaN"),
        ("scale", "scale the file"),
    ],
)
def test_bad_audio_is_one_line_with_the_cure(kind: str, says: str, tmp_path: Path) -> None:
    path = _bad(tmp_path / "bad.wav", kind)
    with pytest.raises(DataError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert "\n" not in message


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NaN"):
        write_wav(tmp_path / "a.wav", np.full(10, np.nan, np.float32))
    assert not (tmp_path / "a.wav").exists()
