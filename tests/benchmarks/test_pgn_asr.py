"""The nets that are compared cost the same and differ in what is compared alone."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from todm.core.cost import macs_per_audio_s, num_parameters
from todm.core.overrides import apply_overrides
from todm.core.report import Report
from todm.recipes import recipe

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pgn_asr

    return pgn_asr


def test_arms_cost_what_the_reference_does(script):
    base = recipe("an4", 28)
    trials = SimpleNamespace(
        config=lambda overrides, seed: apply_overrides(base, [*overrides, f"seed={seed}"])
    )
    nets = {arm: script.config_of(trials, arm, 3).space.largest for arm in script.ARMS}
    reference = nets[script.REFERENCE]
    assert reference == base.space.largest
    for window in script.PREDICTOR_WINDOWS:
        net = nets[f"predictor_w{window}"]
        assert net.predictor.window == window
        assert num_parameters(net) == pytest.approx(num_parameters(reference), rel=2e-3)
        assert net.model_copy(update={"predictor": reference.predictor}) == reference
    for window in script.MIXER_WINDOWS:
        net = nets[f"mixer_w{window}"]
        assert {block.mixer.window for block in net.blocks} == {window}
        assert macs_per_audio_s(net) == pytest.approx(macs_per_audio_s(reference), rel=5e-3)
        assert net.model_copy(update={"blocks": reference.blocks}) == reference
    one, other = (script.config_of(trials, arm, 3) for arm in ("mixer_w4", script.REFERENCE))
    assert one.model_dump(exclude={"space"}) == other.model_dump(exclude={"space"})


def test_the_script_runs_and_goes_on(script, tmp_path, monkeypatch, capsys):
    argv = ["pgn_asr.py", "--quick", "--work", str(tmp_path), "--name", "tones"]
    monkeypatch.setattr(sys, "argv", argv)
    assert script.main() == 0
    first = capsys.readouterr()
    report = Report.read_json(tmp_path / "pgn_asr.json")
    for arm in script.QUICK:
        assert report.value(f"tones.wer.{arm}") >= 0
        assert report.value(f"tones.params.{arm}") > 0
    assert report.value("tones.wer_diff.mixer_w4") is not None
    assert "| mixer_w4 | " in (tmp_path / "pgn_asr.md").read_text("utf-8")
    assert script.main() == 0
    assert capsys.readouterr().err.count("reused") == first.err.count("done in")
    assert Report.read_json(tmp_path / "pgn_asr.json").measurements == report.measurements
