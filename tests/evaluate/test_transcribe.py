"""``todm transcribe``: words, times, last words, bad files."""

import numpy as np
import pytest
import soundfile
from fake_runtime import bursts

from todm.core.errors import DataError
from todm.evaluate.source import open_source
from todm.evaluate.transcribe import transcribe_files
from todm.features.wav import write_wav


@pytest.fixture
def source(bundle):
    return open_source(bundle, "fake")


def test_words_and_times(source, tmp_path):
    write_wav(tmp_path / "a.wav", bursts(0.3, 1.0))
    (found,) = transcribe_files(source, [tmp_path / "a.wav"])
    assert found.text == "ONE TWO"
    assert [word.text for word in found.words] == ["ONE", "TWO"]
    assert [word.start_s for word in found.words] == pytest.approx([0.28, 1.0], abs=0.041)
    assert found.words[0].complete_s == pytest.approx(found.words[0].start_s + 0.04)
    assert found.duration_s == 2.0
    assert found.line(times=True).startswith("[0.")
    assert set(found.to_json()) == {"path", "text", "words", "duration_s", "compute_s"}


def test_last_word_is_not_cut(source, tmp_path):
    write_wav(tmp_path / "a.wav", bursts(0.3, 0.8, length_s=1.0))
    (found,) = transcribe_files(source, [tmp_path / "a.wav"])
    assert found.text == "ONE TWO"


def test_several_files_and_another_rate(source, tmp_path):
    write_wav(tmp_path / "a.wav", bursts(0.5))
    soundfile.write(tmp_path / "b.wav", np.repeat(bursts(0.3, 1.0), 3), 48000)
    texts = [t.text for t in transcribe_files(source, [tmp_path / "a.wav", tmp_path / "b.wav"])]
    assert texts == ["ONE", "ONE TWO"]


def test_bad_files(source, tmp_path):
    rate_hz = 16000
    soundfile.write(tmp_path / "stereo.wav", np.zeros((rate_hz, 2)), rate_hz)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), rate_hz)
    soundfile.write(tmp_path / "nan.wav", np.full(rate_hz, np.nan), rate_hz, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio", "utf-8")
    cases = {
        "stereo.wav": "2 channels",
        "empty.wav": "holds no audio",
        "nan.wav": "NaN",
        "text.wav": "not readable as audio",
        "none.wav": "no such audio file",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as error:
            list(transcribe_files(source, [tmp_path / name]))
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no audio file given"):
        transcribe_files(source, [])
    (mixed,) = transcribe_files(source, [tmp_path / "stereo.wav"], mix_down=True)
    assert mixed.text == ""
