import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from todm.core.artifact import Artifact
from todm.core.data_config import SPLITS
from todm.core.errors import DataError
from todm.data.corpora.espeak import DIGITS, VOICES
from todm.data.manifest import open_corpus
from todm.features.wav import read_audio

pytest.importorskip("espeakng_loader")
from todm.data.corpora.espeak_engine import EspeakEngine

Prepare = Callable[..., tuple[Artifact, list[str]]]
STRINGS = {"num_train": 28, "num_dev": 6, "num_test": 6}


def _say(voice: str, **more: int) -> np.ndarray:
    """Speak with a fresh engine: espeak-ng's output depends on what it said before."""
    settings = {"speed_wpm": 175, "pitch": 50} | more
    return EspeakEngine().say("one two three", voice=voice, **settings)


def test_every_voice_sounds_unlike_every_other() -> None:
    everything = [voice for split in SPLITS for voice in VOICES[split]]
    assert len(everything) == len(set(everything)) >= 12
    assert min(len(VOICES[split]) for split in SPLITS) >= 2
    assert len(VOICES["train"]) >= 8
    sounds = {voice: _say(voice) for voice in everything}
    for one, other in itertools.combinations(everything, 2):
        assert not np.array_equal(sounds[one], sounds[other]), f"{one} is {other}"


def test_timbres_of_dev_and_test_are_not_trained_on() -> None:
    variants = [{voice.partition("+")[2] for voice in VOICES[split]} for split in SPLITS]
    assert not variants[0] & variants[1]
    assert not variants[0] & variants[2]
    assert not variants[1] & variants[2]


def test_same_calls_same_samples_and_parameters_matter() -> None:
    plain = _say("en-us")
    assert np.array_equal(plain, _say("en-us"))
    assert not np.array_equal(plain, _say("en-us", pitch=70))
    assert _say("en-us", speed_wpm=300).size < plain.size


@pytest.mark.parametrize(
    ("voice", "more", "says"),
    [
        ("no-such-voice", {}, "not found"),
        ("en+nosuch", {}, "no variant 'nosuch'"),
    ],
)
def test_refusals_are_errors(
    voice: str, more: dict[str, int], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        _say(voice, **more)
    assert says in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_silence_is_an_error() -> None:
    with pytest.raises(DataError, match="no sound"):
        EspeakEngine().say("", voice="en", speed_wpm=175, pitch=50)


def test_a_bad_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EspeakEngine()
    monkeypatch.setattr(engine._lib, "espeak_SetParameter", lambda *_: -1)
    with pytest.raises(DataError, match="speed 175: internal error"):
        engine.say("one", voice="en", speed_wpm=175, pitch=50)


def test_corpus(tmp_path: Path, prepare: Prepare, capfd: pytest.CaptureFixture[str]) -> None:
    artifact, lines = prepare("espeak", strings=STRINGS)
    assert lines == []
    assert capfd.readouterr() == ("", "")
    corpus = open_corpus(artifact.path)
    assert corpus.table.size == 1 + len(DIGITS)
    speakers = [{u.speaker for u in corpus.cuts(split)} for split in SPLITS]
    made = [min(STRINGS[f"num_{split}"], len(VOICES[split])) for split in SPLITS]
    assert [len(names) for names in speakers] == made
    assert len(set.union(*speakers)) == sum(made)
    peaks = []
    for split in SPLITS:
        for utterance in corpus.cuts(split):
            samples_S = read_audio(utterance.audio_path)
            peaks.append(float(np.abs(samples_S).max()))
            assert np.abs(samples_S[:800]).max() > 0, "noise at the edge"
            assert 1 <= len(utterance.text.split()) <= 5
    assert max(peaks) < 0.9
    assert max(peaks) / min(peaks) > 3
    digest = artifact.digest
    again, _ = prepare("espeak", strings=STRINGS)
    assert again.digest == digest
    other, _ = prepare("espeak", strings=STRINGS, seed=1)
    assert other.digest != digest
