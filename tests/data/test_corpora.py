"""The contract of corpora: whatever the format, prepare gives the same kind of artifact."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from todm.core.artifact import Artifact, load_artifact
from todm.core.data_config import SPLITS
from todm.core.errors import ArtifactError, ConfigError, DataError
from todm.data.corpora import CORPORA, corpus_reader, find_corpus, has_corpus
from todm.data.corpora.lhotse_recipes import RECIPES, split_of
from todm.data.manifest import Corpus, open_corpus
from todm.features.wav import read_audio

Make = Callable[..., Path]
Tone = Callable[..., np.ndarray]
Prepare = Callable[..., tuple[Artifact, list[str]]]


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_entry_of_the_table_resolves(name: str) -> None:
    assert callable(corpus_reader(name))


def test_lhotse_entries_name_real_functions() -> None:
    from lhotse import recipes

    assert {name for name in CORPORA if name.startswith("lhotse-")} == set(RECIPES)
    for recipe in RECIPES.values():
        assert callable(getattr(recipes, f"prepare_{recipe.name}"))
        assert not recipe.download or callable(getattr(recipes, f"download_{recipe.name}"))


def write_transcripts(folder: Path, _tone: Tone, make_words: Make, _make_nemo: Make) -> str:
    return str(make_words(folder))


def write_nemo(folder: Path, _tone: Tone, _make_words: Make, make_nemo: Make) -> str:
    return str(make_nemo(folder))


def write_kaldi(folder: Path, tone: Tone, _make_words: Make, _make_nemo: Make) -> str:
    """Eight utterances of four speakers: two segments of each recording."""
    folder.mkdir()
    files: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "segments": []}
    for index, speaker in enumerate(("ann", "bob", "cid", "dee")):
        soundfile.write(folder / f"r{index}.wav", tone(index, 1.0, 8000), 8000)
        files["wav.scp"].append(f"r{index} r{index}.wav")
        for part, (start_s, end_s) in enumerate(((0.0, 0.4), (0.4, 1.0))):
            utterance = f"{speaker}-{part}"
            files["text"].append(f"{utterance} one two")
            files["utt2spk"].append(f"{utterance} {speaker}")
            files["segments"].append(f"{utterance} r{index} {start_s} {end_s}")
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder)


def write_cuts(folder: Path, tone: Tone, _make_words: Make, _make_nemo: Make) -> str:
    """Four cuts, one of them with two supervisions."""
    from lhotse import CutSet, Recording, SupervisionSegment

    folder.mkdir()
    cuts = []
    for index in range(4):
        soundfile.write(folder / f"{index}.wav", tone(index, 1.0), 16000)
        cut = Recording.from_file(folder / f"{index}.wav", recording_id=f"r{index}").to_cut()
        spans = [(0.0, 1.0)] if index else [(0.0, 0.5), (0.5, 0.5)]
        cut.supervisions = [
            SupervisionSegment(
                id=f"s{index}-{part}",
                recording_id=f"r{index}",
                start=start_s,
                duration=duration_s,
                text="one two",
                speaker=f"spk{index}",
            )
            for part, (start_s, duration_s) in enumerate(spans)
        ]
        cuts.append(cut)
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    return str(folder / "cuts.jsonl.gz")


def write_yesno(folder: Path, tone: Tone, _make_words: Make, _make_nemo: Make) -> str:
    """The layout that lhotse's own recipe expects: 60 files named after their words."""
    folder.mkdir()
    for index in range(60):
        name = "_".join(f"{index:08b}")
        soundfile.write(folder / f"{name}.wav", tone(index, 0.2, 8000), 8000)
    return str(folder)


def write_mini_librispeech(folder: Path, tone: Tone, _make_words: Make, _make_nemo: Make) -> str:
    for part, speaker in (("train-clean-5", "11"), ("dev-clean-2", "12")):
        chapter = folder / part / speaker / "7"
        chapter.mkdir(parents=True)
        lines = []
        for index in range(3):
            name = f"{speaker}-7-{index:04d}"
            soundfile.write(chapter / f"{name}.flac", tone(index, 0.5), 16000)
            lines.append(f"{name} ONE TWO")
        (chapter / f"{speaker}-7.trans.txt").write_text("\n".join(lines) + "\n")
    return str(folder)


FORMATS = [
    ("transcripts", write_transcripts, 36),
    ("nemo", write_nemo, 12),
    ("kaldi", write_kaldi, 8),
    ("cuts", write_cuts, 5),
    ("lhotse-yesno", write_yesno, 60),
    ("lhotse-mini-librispeech", write_mini_librispeech, 6),
]


@pytest.mark.parametrize(("corpus", "write", "total"), FORMATS, ids=[f[0] for f in FORMATS])
def test_contract(
    corpus: str,
    write: Callable[[Path, Tone, Make, Make], str],
    total: int,
    tmp_path: Path,
    prepare: Prepare,
    make_tone: Tone,
    make_words: Make,
    make_nemo: Make,
) -> None:
    path = write(tmp_path / "source", make_tone, make_words, make_nemo)
    artifact, lines = prepare(corpus, source={"path": path}, unit="char", dev_fraction=0.2)
    assert lines == []
    opened = open_corpus(artifact.path)
    everything = [u for split in SPLITS for u in opened.cuts(split)]
    assert len(everything) == total
    assert len({u.id for u in everything}) == total
    assert opened.cuts("train")
    for utterance in everything:
        samples_S = read_audio(utterance.audio_path)
        assert samples_S.size == round(utterance.duration_s * 16000)
        assert opened.table.decode(utterance.tokens) == utterance.text
    _lhotse_reads_it(opened)
    before = artifact.digest
    again, _ = prepare(corpus, source={"path": path}, unit="char", dev_fraction=0.2)
    assert again.digest == before, "the same source gives the same bytes"


def _lhotse_reads_it(corpus: Corpus) -> None:
    from lhotse import load_manifest_lazy

    utterances = {u.id: u for u in corpus.cuts("train")}
    cuts = load_manifest_lazy(corpus.artifact.path / "cuts_train.jsonl.gz")
    for cut in cuts:
        utterance = utterances.pop(cut.id)
        assert np.array_equal(cut.load_audio()[0], read_audio(utterance.audio_path))
        assert cut.supervisions[0].text == utterance.text
    assert not utterances


def test_parts_in_three_places(tmp_path: Path, prepare: Prepare, make_nemo: Make) -> None:
    places = {name: str(make_nemo(tmp_path / name, 3)) for name in ("a", "b", "c")}
    for name, manifest in places.items():
        text = Path(manifest).read_text().replace('"audio', f'"id": "{name}", "audio', 1)
        lines = [
            json.dumps(json.loads(line) | {"id": f"{name}{i}"})
            for i, line in enumerate(text.splitlines())
        ]
        Path(manifest).write_text("\n".join(lines))
    artifact, _ = prepare(
        "nemo",
        unit="char",
        source={"path": places["a"], "dev_path": places["b"], "test_path": places["c"]},
    )
    assert artifact.body["num_utterances"] == {"train": 3, "dev": 3, "test": 3}


def test_nemo_offsets_cut_the_audio(tmp_path: Path, prepare: Prepare, make_tone: Tone) -> None:
    soundfile.write(tmp_path / "a.wav", make_tone(1, 1.0), 16000)
    entry = {"audio_filepath": "a.wav", "text": "one", "offset": 0.25, "duration": 0.5}
    (tmp_path / "m.json").write_text(json.dumps(entry))
    artifact, _ = prepare("nemo", source={"path": str(tmp_path / "m.json")}, unit="char")
    (utterance,) = open_corpus(artifact.path).cuts("train")
    assert np.array_equal(
        read_audio(utterance.audio_path), read_audio(tmp_path / "a.wav")[4000:12000]
    )


def test_splits_by_speaker_are_disjoint(tmp_path: Path, prepare: Prepare, make_nemo: Make) -> None:
    manifest = make_nemo(tmp_path / "source", 40)
    artifact, _ = prepare("nemo", source={"path": str(manifest)}, unit="char")
    corpus = open_corpus(artifact.path)
    speakers = [{u.speaker for u in corpus.cuts(split)} for split in SPLITS]
    assert all(speakers)
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 4


def test_a_moved_artifact_still_opens(tmp_path: Path, prepare: Prepare, make_words: Make) -> None:
    artifact, _ = prepare("transcripts", source={"path": str(make_words(tmp_path / "s"))})
    moved = tmp_path / "elsewhere" / "corpus"
    moved.parent.mkdir()
    shutil.move(artifact.path, moved)
    for utterance in open_corpus(moved).cuts("test"):
        assert utterance.audio_path.is_relative_to(moved)
        read_audio(utterance.audio_path)


def test_token_table_of_another_corpus(
    tmp_path: Path, prepare: Prepare, make_words: Make, make_nemo: Make
) -> None:
    words = str(make_words(tmp_path / "s"))
    first, _ = prepare("transcripts", source={"path": words}, out="first")
    manifest = str(make_nemo(tmp_path / "n"))
    second, _ = prepare("nemo", source={"path": manifest}, token_table=str(first.path))
    assert open_corpus(second.path).table == open_corpus(first.path).table
    with pytest.raises(ConfigError, match="token_table"):
        prepare("nemo", source={"path": manifest}, token_table=str(first.path), unit="char")


def test_bpe_corpus_carries_its_model(tmp_path: Path, prepare: Prepare, make_nemo: Make) -> None:
    manifest = str(make_nemo(tmp_path / "n"))
    unit = {"unit": "bpe", "bpe_size": 16}
    artifact, _ = prepare("nemo", source={"path": manifest}, unit=unit)
    corpus = open_corpus(artifact.path)
    assert corpus.table.size == 16
    utterance = corpus.cuts("train")[0]
    assert corpus.encode(utterance.text) == list(utterance.tokens)


def test_find_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_words: Make) -> None:
    monkeypatch.delenv("TODM_CORPORA", raising=False)
    with pytest.raises(DataError, match="TODM_CORPORA"):
        find_corpus("fsdd")
    folder = make_words(tmp_path / "fsdd")
    assert find_corpus("fsdd", tmp_path) == folder
    monkeypatch.setenv("TODM_CORPORA", str(tmp_path))
    assert has_corpus("fsdd")
    assert not has_corpus("an4")
    with pytest.raises(DataError, match="it holds fsdd"):
        find_corpus("an4")
    with pytest.raises(DataError, match="no such folder"):
        find_corpus("an4", tmp_path / "nowhere")


def test_part_names() -> None:
    names = ["train-clean-5", "dev-clean-2", "TEST", "validation", "other"]
    assert [split_of(name) for name in names] == ["train", "dev", "test", "dev", None]


def test_damaged_cuts(tmp_path: Path, prepare: Prepare, make_words: Make) -> None:
    artifact, _ = prepare("transcripts", source={"path": str(make_words(tmp_path / "s"))})
    target = artifact.path / "cuts_dev.jsonl.gz"
    target.write_bytes(gzip.compress(b'{"id": "x"}\n'))
    with pytest.raises(ArtifactError, match="sha256"):
        open_corpus(artifact.path)
    with pytest.raises(ArtifactError, match="damaged cuts"):
        open_corpus(artifact.path, verify=False).cuts("dev")
    with pytest.raises(ArtifactError, match="no such folder"):
        load_artifact(tmp_path / "none")
