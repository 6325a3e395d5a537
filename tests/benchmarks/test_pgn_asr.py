"""The nets that are compared cost the same and differ in what is compared alone."""

import sys
from types import SimpleNamespace

import pgn_asr
import pytest

from todm.core.cost import macs_per_audio_s, num_parameters
from todm.core.overrides import apply_overrides
from todm.core.report import Report
from todm.recipes import recipe


def test_arms_cost_what_the_reference_does():
    base = recipe("an4", 28)
    trials = SimpleNamespace(
        config=lambda overrides, seed: apply_overrides(base, [*overrides, f"seed={seed}"])
    )
    nets = {arm: pgn_asr.config_of(trials, arm, 3).space.largest for arm in pgn_asr.ARMS}
    reference = nets[pgn_asr.REFERENCE]
    assert reference == base.space.largest
    for window in pgn_asr.PREDICTOR_WINDOWS:
        net = nets[f"predictor_w{window}"]
        assert net.predictor.window == window
        assert num_parameters(net) == pytest.approx(num_parameters(reference), rel=2e-3)
        assert net.model_copy(update={"predictor": reference.predictor}) == reference
    for window in pgn_asr.MIXER_WINDOWS:
        net = nets[f"mixer_w{window}"]
        assert {block.mixer.window for block in net.blocks} == {window}
        assert macs_per_audio_s(net) == pytest.approx(macs_per_audio_s(reference), rel=5e-3)
        assert net.model_copy(update={"blocks": reference.blocks}) == reference
    one, other = (pgn_asr.config_of(trials, arm, 3) for arm in ("mixer_w4", pgn_asr.REFERENCE))
    assert one.model_dump(exclude={"space"}) == other.model_dump(exclude={"space"})


def test_the_script_runs_and_goes_on(tmp_path, monkeypatch, capsys):
    argv = ["pgn_asr.py", "--quick", "--work", str(tmp_path), "--name", "tones"]
    monkeypatch.setattr(sys, "argv", argv)
    assert pgn_asr.main() == 0
    first = capsys.readouterr()
    report = Report.read_json(tmp_path / "pgn_asr.json")
    for arm in pgn_asr.QUICK:
        assert report.value(f"tones.wer.{arm}") >= 0
        assert report.value(f"tones.params.{arm}") > 0
    assert report.value("tones.wer_diff.mixer_w4") is not None
    assert "| mixer_w4 | " in (tmp_path / "pgn_asr.md").read_text("utf-8")
    assert pgn_asr.main() == 0
    assert capsys.readouterr().err.count("reused") == first.err.count("done in")
    assert Report.read_json(tmp_path / "pgn_asr.json").measurements == report.measurements
