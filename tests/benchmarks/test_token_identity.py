"""The script runs on a tiny net; its comparison is tested by hand."""

import gzip
import json
import sys

import pytest
import soundfile
import token_identity as identity

from todm.core.artifact import write_artifact
from todm.core.errors import ArtifactError, ConfigError, DataError
from todm.core.report import Report


@pytest.fixture(scope="module")
def corpus(tiny, tmp_path_factory):
    """A prepared corpus of four recordings."""
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    with write_artifact(path, kind="corpus") as draft:
        tiny.table.write_json(draft.path / "token_table.json")
        (draft.path / "audio").mkdir()
        cuts = []
        for number, samples in enumerate(tiny.audio[:4]):
            soundfile.write(draft.path / f"audio/{number}.flac", samples, 16000)
            supervision = {"speaker": "a", "text": "A", "custom": {"tokens": [2]}}
            cuts.append(
                {
                    "id": f"u{number}",
                    "duration": samples.size / 16000,
                    "custom": {"audio": f"audio/{number}.flac"},
                    "supervisions": [supervision],
                }
            )
        for split, part in (("train", cuts[:1]), ("dev", cuts[1:2]), ("test", cuts[2:])):
            with gzip.open(draft.path / f"cuts_{split}.jsonl.gz", "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(cut) + "\n" for cut in part)
    return path


@pytest.fixture
def script(tiny, corpus, tmp_path, monkeypatch, capsys):
    """The script with the arguments of a user; says what it printed."""
    arguments = [
        "token_identity.py", "--quick", "--corpus", str(corpus),
        "--bundle", f"board={tiny.bundle}", "--subnet", f"board={tiny.subnet}",
        "--out", str(tmp_path / "identity.json"),
    ]  # fmt: skip

    def run():
        monkeypatch.setattr(sys, "argv", arguments)
        identity.main()
        return capsys.readouterr().out

    return run


def test_five_forms_hear_the_same_and_a_second_run_hears_nothing_again(script, tmp_path):
    out = tmp_path / "identity.json"
    said = script()
    assert "heard before" not in said
    report = Report.read_json(out)
    assert report.value("sherpa.token_match") == 1.0
    pairs = [m for m in report.measurements if "_vs_" in m.name]
    assert len(pairs) == 10
    assert {m.value for m in pairs} == {1.0}
    assert "parity.sherpa_vs_torch_offline.board" in {m.name for m in pairs}
    assert all(m.n == report.value("parity.tokens.board") > 100 for m in pairs)
    assert report.value("parity.audio_s.board") >= 20
    assert report.value("parity.least_margin.board") > 0
    assert "| sherpa.token_match | 1 |" in out.with_suffix(".md").read_text("utf-8")

    log = out.with_suffix(".jsonl")
    lines = sorted(log.read_text("utf-8").split("\n"), key=lambda line: "sherpa" in line[:200])
    log.write_text("\n".join(lines)[:-40], "utf-8")  # as if killed while sherpa's was written
    said = script()
    assert said.count("heard before") == 4
    assert Report.read_json(out).measurements == report.measurements


def test_a_mismatch_is_shown_with_recording_frame_and_margins(capsys):
    reference = identity.Heard(
        recordings=("a", "b"),
        ids=((1, 2, 3), (4,)),
        frames=((0, 2, 5), (1,)),
        margins=((1.0, 9.0, 0.25, 9.0, 9.0, 9.0), (9.0, 9.0)),
        audio_s=1.0,
    )
    other = reference.model_copy(update={"ids": ((1, 5, 3), (4,)), "margins": ((), ())})
    result = identity.compare(reference, other)
    assert (result.equal, result.total) == (3, 4)
    assert result.mismatches == (
        "a, frame 2: 2 against 5, logit margins 0.25, unknown (1 of 3 tokens differ)",
    )
    late = reference.model_copy(update={"frames": ((0, 2, 5), (2,))})
    result = identity.compare(reference, late)
    assert (result.equal, result.total) == (3, 5)  # an emission elsewhere counts on both sides
    found = identity.measurements_of("board", {"torch_offline": reference, "sherpa": other})
    assert found[-1].value == 0.75
    assert found[-1].note.startswith("a, frame 2")
    assert "sherpa vs torch_offline: 3/4" in capsys.readouterr().out


def test_silence_is_no_match(capsys):
    silence = identity.Heard(
        recordings=("a",), ids=((),), frames=((),), margins=((3.0, 2.0),), audio_s=1.0
    )
    result = identity.compare(silence, silence)
    assert (result.match, result.total, result.mismatches) == (None, 0, ())
    heard = {"torch_offline": silence, "sherpa": silence}
    found = identity.measurements_of("board", heard)
    assert not [m for m in found if "_vs_" in m.name]
    assert "sherpa vs torch_offline is not judged" in capsys.readouterr().out
    assert identity.sherpa_match({"board": heard}) == []
    spoken = silence.model_copy(update={"ids": ((4,),), "frames": ((1,),)})
    (found,) = identity.sherpa_match({"board": {"torch_offline": silence, "sherpa": spoken}})
    assert (found.value, found.n) == (0.0, 1)


def test_wrong_requests(tiny, corpus, tmp_path):
    log = tmp_path / "log.jsonl"
    bundles, subnets = {"board": tiny.bundle}, {"board": tiny.subnet}
    with pytest.raises(ConfigError, match="give both"):
        identity.token_identity(bundles, {}, corpus, log=log)
    with pytest.raises(DataError, match=r"test give .* wanted 20 min and 5000; give more splits"):
        identity.token_identity(bundles, subnets, corpus, log=log, splits=("test",))
    with pytest.raises(ArtifactError, match="a subnet is needed"):
        identity.token_identity(bundles, bundles, corpus, log=log)
    assert not log.exists()
