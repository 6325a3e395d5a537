from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.artifact import Artifact
from todm.core.data_config import SPLITS, SourceConfig, StringConfig
from todm.core.errors import DataError
from todm.data.corpora.strings import make_strings, trimmed
from todm.data.corpora.transcripts_tsv import read
from todm.data.manifest import open_corpus
from todm.data.rows import Rejects, Request, Row
from todm.features.wav import read_audio

Make = Callable[..., Path]
CONFIG = StringConfig(num_train=60, num_dev=12, num_test=24)


def _words(folder: Path, rejects: Rejects) -> list[Row]:
    request = Request(source=SourceConfig(corpus="transcripts"), root=folder, seed=0)
    return list(read(request, rejects))


def _strings(folder: Path, seed: int = 0, config: StringConfig = CONFIG) -> list[Row]:
    rejects = Rejects(report=print)
    return list(make_strings(_words(folder, rejects), config, seed, rejects))


def _pieces(row: Row, recordings: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
    """The parts of a string as its word ends tell them."""
    samples_S = row.load()
    assert row.word_ends_s is not None
    found = []
    for word, end_s in zip(row.text.split(), row.word_ends_s, strict=True):
        end = round(end_s * 16000)
        match = [
            sound
            for sound in recordings[f"{row.split}-{row.speaker}-{word}"]
            if end >= sound.size
            and np.allclose(samples_S[end - sound.size : end], sound, atol=1e-4)
        ]
        assert match, f"no recording of {word} ends at {end_s}"
        found.append(match[0])
    return found


@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_parts_ends_and_balance(rate_hz: int, tmp_path: Path, make_words: Make) -> None:
    folder = make_words(tmp_path / "w", rate_hz=rate_hz)
    recordings: dict[str, list[np.ndarray]] = {}
    for word in _words(folder, Rejects(report=print)):
        recordings.setdefault(f"{word.split}-{word.speaker}-{word.text}", []).append(word.load())
    used: dict[str, Counter[bytes]] = {}
    strings = _strings(folder)
    assert Counter(row.split for row in strings) == {"train": 60, "dev": 12, "test": 24}
    assert {len(row.text.split()) for row in strings} == {1, 2, 3, 4, 5}
    for row in strings:
        deck = used.setdefault(f"{row.split} {row.speaker}", Counter())
        pieces = _pieces(row, recordings)
        deck.update(piece.tobytes() for piece in pieces)
        silence = row.load().size - sum(piece.size for piece in pieces)
        low, high = (round(s * 16000) * (len(pieces) + 1) for s in CONFIG.pause_s)
        assert low <= silence <= high
    assert len(used) == 6
    for deck in used.values():
        assert len(deck) == 6, "every recording of the speaker is used"
        assert max(deck.values()) - min(deck.values()) <= 1, "about equally often"


def test_seeded(tmp_path: Path, make_words: Make) -> None:
    folder = make_words(tmp_path / "w")
    one, same, other = (_strings(folder, seed) for seed in (1, 1, 2))
    assert [r.text for r in one] == [r.text for r in same]
    assert all(np.array_equal(a.load(), b.load()) for a, b in zip(one, same, strict=True))
    assert [r.text for r in one] != [r.text for r in other]


def test_ids_are_unique_and_splits_kept(tmp_path: Path, make_words: Make) -> None:
    strings = _strings(make_words(tmp_path / "w"))
    assert len({row.id for row in strings}) == len(strings)
    assert [row.split for row in strings] == sorted(
        (row.split for row in strings if row.split), key=SPLITS.index
    )


def test_an_unreadable_word_is_rejected_once(tmp_path: Path, make_words: Make) -> None:
    folder = make_words(tmp_path / "w")
    (folder / "audio" / "train-ann-ONE-0.wav").write_bytes(b"broken")
    lines: list[str] = []
    rejects = Rejects(report=lines.append)
    strings = list(make_strings(_words(folder, rejects), CONFIG, 0, rejects))
    assert len(strings) == 96
    assert len(lines) == 1
    assert "train-ann-ONE-0" in lines[0]


def test_no_readable_word_left(tmp_path: Path, make_words: Make) -> None:
    folder = make_words(tmp_path / "w")
    for path in (folder / "audio").glob("train-ann-*"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="no readable recording left"):
        _strings(folder)


def test_recordings_of_several_words_have_no_word_ends(tmp_path: Path, make_words: Make) -> None:
    folder = make_words(tmp_path / "w")
    table = folder / "transcripts.tsv"
    table.write_text(table.read_text().replace("\tONE\t", "\tTURN ON\t"))
    for row in _strings(folder):
        assert (row.word_ends_s is None) == ("TURN ON" in row.text)


def test_trimmed_keeps_all_that_is_loud_and_nothing_before_or_after_it() -> None:
    rng = np.random.default_rng(0)
    quiet_S = 1e-3 * rng.standard_normal(16000).astype(np.float32)
    sound_S = quiet_S.copy()
    sound_S[4800:8000] += 0.3
    sound_S[9600:11200] -= 0.1
    np.testing.assert_array_equal(trimmed(sound_S, 30.0), sound_S[4800:11200])
    np.testing.assert_array_equal(trimmed(sound_S, 6.0), sound_S[4800:8000])
    np.testing.assert_array_equal(trimmed(quiet_S[:100], 30.0), quiet_S[:100])


def test_ends_of_trimmed_words_are_where_their_sound_ends(
    prepare: Callable[..., tuple[Artifact, list[str]]],
    make_tone: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    (tmp_path / "words").mkdir()
    lines = ["utt_id\tspeaker\ttext\trel_path\tsplit"]
    for number, split in enumerate(("train", "dev", "test")):
        silence_S = np.zeros(3200, np.float32)
        padded_S = np.concatenate([silence_S, make_tone(number, 0.3), silence_S])
        soundfile.write(tmp_path / "words" / f"{number}.wav", padded_S, 16000)
        lines.append(f"{number}\tann\tONE\t{number}.wav\t{split}")
    (tmp_path / "words" / "transcripts.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    strings = {"num_train": 2, "num_dev": 2, "num_test": 3, "max_words": 3, "trim_db": 40.0}
    source = {"path": tmp_path / "words"}
    made, _ = prepare("transcripts", source=source, strings=strings)
    for utterance in open_corpus(made.path).cuts("test"):
        heard_S = read_audio(utterance.audio_path)
        assert utterance.word_ends_s is not None
        for end_s in utterance.word_ends_s:
            end = round(end_s * 16000)
            assert np.abs(heard_S[end - 160 : end]).max() > 0.05
            assert not heard_S[end : end + 160].any()
