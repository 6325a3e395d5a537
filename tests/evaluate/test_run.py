"""``todm eval`` on a corpus whose every error is known."""

import json

import pytest

from todm.core.artifact import load_artifact
from todm.core.errors import ArtifactError, ConfigError, DataError, GateError
from todm.core.report import Report
from todm.evaluate.run import HYPS, REPORT, EvaluateConfig, run, spread

FAKE = EvaluateConfig(runtime="fake")


def test_figures(bundle, corpus, tmp_path):
    report = run(bundle, corpus, FAKE, tmp_path / "out")
    assert report.value("wer") == pytest.approx(100 / 6)
    assert report.value("substitutions") == 1
    assert report.value("deletions") == report.value("insertions") == 0
    assert report.value("words") == 6
    assert report.value("audio_s") == 6.0
    wer = report.measurements[0]
    assert 0 <= wer.low <= wer.value <= wer.high
    assert 0 < report.value("rtf") < 1
    # A burst of 0.2 s is heard at its start: within two frames, so before its end.
    assert -200 < report.value("emission_delay_ms.median") < -80


def test_artifact(bundle, corpus, tmp_path):
    report = run(bundle, corpus, FAKE, tmp_path / "out")
    artifact = load_artifact(tmp_path / "out", "report")
    assert Report.read_json(artifact.file(REPORT)) == report
    assert artifact.manifest.parents["model"] == load_artifact(bundle).digest
    assert artifact.body["runtime"] == "fake"
    rows = [json.loads(line) for line in artifact.file(HYPS).read_text("utf-8").splitlines()]
    assert rows[1] == {"id": "u2", "speaker": "u2", "ref": "TWO", "hyp": "ONE"}


def test_gate_fails_after_the_report_is_written(bundle, corpus, tmp_path):
    config = FAKE.model_copy(update={"max_wer": 10.0})
    with pytest.raises(GateError, match=r"WER 16\.67 % .* above the gate of 10 %"):
        run(bundle, corpus, config, tmp_path / "out")
    artifact = load_artifact(tmp_path / "out", "report")
    assert Report.read_json(artifact.file(REPORT)).verdicts[0].status == "failed"
    met = run(bundle, corpus, FAKE.model_copy(update={"max_wer": 20.0}))
    assert met.verdicts[0].status == "met"


def test_speakers_are_the_unit_when_asked(bundle, corpus):
    report = run(bundle, corpus, FAKE.model_copy(update={"interval_by": "speaker"}))
    assert "3 speakers" in report.measurements[0].note


def test_limit_spreads():
    assert spread(range(10), 3) == (0, 3, 6)
    assert spread(range(2), 3) == (0, 1)
    assert spread(range(2), None) == (0, 1)


def test_wrong_inputs(bundle, corpus):
    with pytest.raises(DataError, match="split 'dev' holds no utterance"):
        run(bundle, corpus, FAKE.model_copy(update={"split": "dev"}))
    with pytest.raises(ArtifactError, match="is a corpus artifact; give a bundle or a subnet"):
        run(corpus, corpus, FAKE)
    with pytest.raises(ConfigError, match="is a bundle; runtime 'torch' opens a subnet"):
        run(bundle, corpus, EvaluateConfig(runtime="torch"))
    with pytest.raises(ArtifactError, match="no such folder"):
        run(bundle, corpus / "none", FAKE)
