"""Wrong inputs to prepare: one line each, a count at the end, and nothing half-written."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.artifact import Artifact
from todm.core.errors import ArtifactError, ConfigError, DataError, InputError
from todm.data.manifest import open_corpus

Make = Callable[..., Path]
Prepare = Callable[..., tuple[Artifact, list[str]]]
HEADER = "utt_id\tspeaker\ttext\tduration_s\trel_path\tsplit"
GOOD_S = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)


def _stereo(folder: Path) -> None:
    soundfile.write(folder / "bad.wav", np.stack([GOOD_S, GOOD_S], 1), 16000)


def _nan(folder: Path) -> None:
    soundfile.write(folder / "bad.wav", np.full(8000, np.nan, np.float32), 16000, "FLOAT")


def _empty(folder: Path) -> None:
    soundfile.write(folder / "bad.wav", np.zeros(0, np.float32), 16000)


def _garbage(folder: Path) -> None:
    (folder / "bad.wav").write_bytes(b"RIFFnot audio at all")


def _good(folder: Path) -> None:
    soundfile.write(folder / "bad.wav", GOOD_S, 16000)


def _nothing(_folder: Path) -> None:
    return


REJECTED = [
    ("missing file", _nothing, "x\tann\tONE\t1\tbad.wav\ttrain", "audio", "no such audio file"),
    ("stereo", _stereo, "x\tann\tONE\t1\tbad.wav\ttrain", "audio", "2 channels"),
    ("nan", _nan, "x\tann\tONE\t1\tbad.wav\ttrain", "audio", "NaN"),
    ("empty audio", _empty, "x\tann\tONE\t1\tbad.wav\ttrain", "audio", "no audio"),
    ("garbage", _garbage, "x\tann\tONE\t1\tbad.wav\ttrain", "audio", "not readable"),
    ("empty text", _good, "x\tann\t ?! \t1\tbad.wav\ttrain", "empty text", "no word"),
    ("duplicate id", _good, "g0\tann\tONE\t1\tbad.wav\ttrain", "duplicate id", "'g0'"),
    ("empty id", _good, "\tann\tONE\t1\tbad.wav\ttrain", "bad line", "id is empty"),
    ("outside", _good, "x\tann\tSIX\t1\tbad.wav\tdev", "outside the table", "SIX"),
    ("few fields", _good, "x\tann\tONE", "bad line", "3 fields"),
    ("odd split", _good, "x\tann\tONE\t1\tbad.wav\teval", "bad line", "'eval'"),
]


def _write(folder: Path, extra: str) -> dict[str, object]:
    soundfile.write(folder / "good.wav", GOOD_S, 16000)
    lines = [HEADER, *(f"g{i}\tann\tONE TWO\t1\tgood.wav\ttrain" for i in range(3)), extra]
    (folder / "transcripts.tsv").write_text("\n".join(lines) + "\n")
    return {"path": str(folder)}


@pytest.mark.parametrize(
    ("spoil", "line", "kind", "says"), [r[1:] for r in REJECTED], ids=[r[0] for r in REJECTED]
)
def test_rejected_line(
    spoil: Callable[[Path], None],
    line: str,
    kind: str,
    says: str,
    tmp_path: Path,
    prepare: Prepare,
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    spoil(folder)
    source = _write(folder, line)
    artifact, lines = prepare("transcripts", source=source)
    assert len(lines) == 2
    assert says in lines[0]
    assert "\n" not in lines[0]
    assert "1 lines rejected" in lines[1]
    assert artifact.body["rejected"] == {kind: 1}
    corpus = open_corpus(artifact.path)
    assert len(corpus.cuts("train")) == 3
    num_audio = len([name for name in artifact.manifest.files if name.endswith(".flac")])
    assert num_audio == 3, "no audio of rejected lines stays behind"
    with pytest.raises(DataError, match=r".") as caught:
        prepare("transcripts", source=source, strict=True, out="strict")
    assert says in str(caught.value)
    assert [p.name for p in tmp_path.iterdir() if "strict" in p.name] == []


@pytest.mark.parametrize(
    ("corpus", "name", "text", "says"),
    [
        ("transcripts", "transcripts.tsv", "", "is empty"),
        ("transcripts", "transcripts.tsv", "utt_id\ttext\n", "no column 'speaker'"),
        ("transcripts", "transcripts.tsv", None, "no such file"),
        ("nemo", "", None, "not readable"),
        ("kaldi", "text", "a one\n", "no wav.scp"),
        ("cuts", "cuts_dev.jsonl", "{}\n", "no lhotse cuts"),
        ("cuts", "other.txt", "", "holds no cuts"),
        ("lhotse-yesno", "a.wav", "", "finds no yesno"),
        ("lhotse-mini-librispeech", "a.wav", "", "no part of librispeech"),
    ],
)
def test_wrong_place(
    corpus: str, name: str, text: str | None, says: str, tmp_path: Path, prepare: Prepare
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(DataError) as caught:
        prepare(corpus, source={"path": str(folder)})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"corpus": "nosuch"}, "known: an4"),
        ({"corpus": "nemo"}, "needs source.path"),
        ({"corpus": "espeak"}, "give strings"),
        ({"corpus": "espeak", "source": {"path": "x"}}, "remove source.path"),
        ({"corpus": "nemo", "source": {"path": "x", "download": True}}, "source.download"),
        ({"corpus": "nemo", "source": {"path": "x", "language": "de"}}, "source.language"),
        ({"corpus": "nemo", "source": {"path": "x"}, "synthesis": {}}, "synthesis"),
        ({"corpus": "nemo", "source": {"dev_path": "x"}}, "need path"),
        ({"corpus": "nemo", "colour": 1}, "unknown key 'colour'"),
        ({"corpus": "fsdd", "strings": {"min_words": 6}}, "exceeds max_words"),
        ({"corpus": "lhotse-commonvoice", "source": {"path": "x", "download": True}}, "by hand"),
        ({"corpus": "lhotse-yesno", "source": {"path": "x", "language": "de"}}, "one language"),
    ],
)
def test_wrong_config(config: dict[str, object], says: str, prepare: Prepare) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(**config)
    assert says in str(caught.value)


def test_nothing_usable(tmp_path: Path, prepare: Prepare) -> None:
    entry = {"audio_filepath": "none.wav", "text": "one"}
    lines = [json.dumps(entry), "no json", '{"text": 1}', "[]", '{"audio_filepath": "b"}']
    lines.append(json.dumps(entry | {"id": "b", "offset": "late"}))
    (tmp_path / "m.json").write_text("\n".join(lines))
    with pytest.raises(InputError, match="6 lines were rejected"):
        prepare("nemo", source={"path": str(tmp_path / "m.json")})


def test_kaldi_lines(tmp_path: Path, prepare: Prepare) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    soundfile.write(folder / "good.wav", GOOD_S, 16000)
    (folder / "wav.scp").write_text("a good.wav\nb sph2pipe x |\na good.wav\ne\n")
    (folder / "text").write_text("a one\nb two\nc three\nd four\n")
    (folder / "utt2spk").write_text("a ann\nb ann\nc ann\n")
    (folder / "segments").write_text("d a 3 1\n")
    artifact, lines = prepare("kaldi", source={"path": str(folder)})
    assert artifact.body["num_utterances"] == {"train": 1, "dev": 0, "test": 0}
    told = "\n".join(lines)
    for says in ("stands twice", "gives a command", "no recording", "no value", "from 3.0 to 1.0"):
        assert says in told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_no_space_or_read_only(
    number: int, tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    source = _write(folder, "h\tann\tTWO\t1\tgood.wav\ttrain")

    def refuse(path: Path, data: bytes) -> int:
        raise OSError(number, errno.errorcode[number], str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ArtifactError, match="cannot write"):
        prepare("transcripts", source=source)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
