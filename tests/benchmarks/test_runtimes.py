"""The script of the matrix: what was heard is kept, and the table says what was not run."""

from pathlib import Path

import pytest
import runtimes

from todm.bench.matrix import Heard, Spoken
from todm.bench.tokens import Tokens
from todm.core.artifact import write_artifact
from todm.core.report import Report, Verdict, environment
from todm.decode.streaming import Transcript
from todm.runtimes.bundle import Bundle


@pytest.fixture
def bundle(tmp_path):
    from todm.core.artifact import load_artifact

    with write_artifact(tmp_path / "bundle", kind="bundle"):
        pass
    artifact = load_artifact(tmp_path / "bundle", "bundle")
    return Bundle(artifact, None, None, None)


def test_what_was_heard_is_not_heard_again(bundle, tmp_path, monkeypatch):
    spoken = (Spoken(Path("a.wav"), 1.0, "ONE"),)
    one = Transcript(text="ONE", ids=(1,), frames=(0,), times_s=(0.0,))
    calls = []

    def hear(_, name, precision, taken):
        calls.append(name)
        return Heard(Tokens(transcripts=(one,)), taken) if name == "ort" else Heard(None, (), "no")

    monkeypatch.setattr(runtimes, "hear", hear)
    for _ in range(2):
        ears = runtimes.Ears(tmp_path / "log.jsonl")
        assert ears.hear(bundle, "ort", "fp32", spoken).tokens.transcripts == (one,)
        assert ears.hear(bundle, "ort_web", "fp32", spoken).tokens is None
    assert calls == ["ort", "ort_web", "ort_web"]  # what was not run may be installed by now


def test_the_table_names_what_was_not_run():
    absent = Verdict(
        name="runtimes.fp32.ort_web.tiny", status="not_judged", limit=0.0, value=None, unit="",
        note="not run: needs a browser",
    )  # fmt: skip
    report = Report(environment=environment(), measurements=(), verdicts=(absent,))
    assert "| tiny | fp32 | ort_web | not judged | - | not run: needs a browser |" in (
        runtimes.render(report)
    )
