"""The nets that are compared differ in their lookahead alone, and the script runs."""

import sys
from pathlib import Path

import pytest

from todm.core.report import Report
from todm.recipes import recipe

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import lookahead

    return lookahead


def trials(script):
    plan = script.Plan(
        lookaheads_ms=(0, 80, 320, 640),
        seeds=(1, 2),
        recipes={"fsdd": "tiny"},
        strings=None,
        steps=7,
        threads=1,
    )
    made = script.Trials(None, "fsdd", plan, None)
    table = type("Table", (), {"size": 12})
    made.__dict__["opened_corpus"] = type("Corpus", (), {"table": table})  # the cached property
    return made


def test_nets_differ_in_their_lookahead_alone(script):
    made = trials(script)
    shared = made.config((0, 80, 320, 640), seed=2)
    assert shared.space.lookaheads == (0, 1, 7, 15)
    for ms, frames in ((0, 0), (80, 1), (320, 7), (640, 15)):
        own = made.config([ms], seed=2)
        assert own.space.lookaheads == (frames,)
        assert own.space.largest.blocks[0].mixer.backward == (ms > 0)
        same = shared.model_dump(exclude={"space"})
        assert own.model_dump(exclude={"space"}) == same
        spec = script.at_lookahead(shared.space.largest, ms)
        assert spec.fits_chunk(spec.chunk_frames)
        assert spec.lookahead_frames == frames
    assert shared.schedule.steps == 7
    assert recipe("tiny", 12).space.count() == made.config([320], 1).space.count()


def test_figures_are_means_over_seeds(script):
    heard = {
        "shared": [script.Heard(5.0, 300, 120.0), script.Heard(7.0, 300, 160.0)],
        "own": [script.Heard(4.0, 300, None), script.Heard(7.5, 300, None)],
    }
    found = {m.name: m for m in script.compared("fsdd", 320, heard, "a note")}
    assert set(found) == {
        "fsdd.wer.shared.320",
        "fsdd.wer.own.320",
        "fsdd.wer.diff.320",
        "fsdd.delay_ms.shared.320",
    }
    diff = found["fsdd.wer.diff.320"]
    assert (diff.value, diff.low, diff.high, diff.n) == (0.25, -0.5, 1.0, 2)
    assert "3.50 points apart" in diff.note
    assert found["fsdd.wer.shared.320"].value == 6.0
    assert found["fsdd.delay_ms.shared.320"].value == 140.0


@pytest.mark.slow
def test_quick_run_writes_the_report_and_goes_on(script, tmp_path, monkeypatch, capsys):
    arguments = ["lookahead.py", "--quick", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", arguments)
    for _ in range(2):
        assert script.main() == 0
    assert "[fsdd.shared.seed1] reused" in capsys.readouterr().err
    report = Report.read_json(tmp_path / "work" / "lookahead.json")
    names = {m.name for m in report.measurements}
    assert {f"fsdd.wer.{kind}.{ms}" for kind in ("shared", "own") for ms in (0, 80)} <= names
    assert "| fsdd | 80 |" in (tmp_path / "work" / "lookahead.md").read_text("utf-8")
