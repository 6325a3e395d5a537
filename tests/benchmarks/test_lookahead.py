"""The nets that are compared differ in their lookahead alone, and the script runs."""

import sys
from types import SimpleNamespace

import lookahead

from todm.core.overrides import apply_overrides
from todm.core.report import Report
from todm.recipes import recipe


def arms():
    base = apply_overrides(recipe("tiny", 12), ["schedule.steps=7"])
    configured = SimpleNamespace(
        config=lambda overrides, seed: apply_overrides(base, [*overrides, f"seed={seed}"])
    )
    return lookahead.Lookaheads(configured)


def test_nets_differ_in_their_lookahead_alone():
    made = arms()
    shared = made.config((0, 80, 320, 640), seed=2)
    assert shared.space.lookaheads == (0, 1, 7, 15)
    assert (shared.sandwich.num_random, shared.sandwich.smallest) == (0, 0)
    for ms, frames in ((0, 0), (80, 1), (320, 7), (640, 15)):
        own = made.config([ms], seed=2)
        assert own.space.lookaheads == (frames,)
        assert own.space.largest.blocks[0].mixer.backward == (ms > 0)
        same = shared.model_dump(exclude={"space"})
        assert own.model_dump(exclude={"space"}) == same
        spec = lookahead.at_lookahead(shared.space.largest, ms)
        assert spec.fits_chunk(spec.chunk_frames)
        assert spec.lookahead_frames == frames
    assert shared.schedule.steps == 7
    assert recipe("tiny", 12).space.count() == made.config([320], 1).space.count()


def trial(seed, wers):
    return SimpleNamespace(config=SimpleNamespace(seed=seed), wer=lambda net: wers[net])


def test_differences_pair_the_seeds_that_both_have():
    shared = [trial(1, {"320": 5.0}), trial(2, {"320": 7.0})]
    own = {320: [trial(2, {"320": 7.5}), trial(1, {"320": 4.0}), trial(3, {"320": 9.0})]}
    (diff,) = lookahead.differences("fsdd", shared, own)
    assert diff.name == "fsdd.wer.diff.320"
    assert (diff.value, diff.low, diff.high, diff.n) == (0.25, -0.5, 1.0, 2)
    assert "5.00 points apart" in diff.note
    assert list(lookahead.differences("fsdd", [], own)) == []


def test_quick_run_writes_the_report_and_goes_on(tmp_path, monkeypatch, capsys):
    arguments = ["lookahead.py", "--quick", "--name", "tones", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert lookahead.main() == 0
    capsys.readouterr()
    assert lookahead.main() == 0
    told = capsys.readouterr().err
    assert "[supernet] reused" in told
    assert "done in" not in told
    report = Report.read_json(tmp_path / "lookahead.json")
    names = {m.name for m in report.measurements}
    for ms in (0, 80):
        assert {f"tones.wer.{kind}.{ms}" for kind in ("shared", "own", "diff")} <= names
        assert f"tones.macs_per_audio_s.{ms}" in names
    assert "| 80 | " in (tmp_path / "lookahead.md").read_text("utf-8")
    monkeypatch.setattr(sys, "argv", [*arguments, "--only", "own.80"])
    assert lookahead.main() == 0
    page = (tmp_path / "lookahead.md").read_text("utf-8")
    assert "Not run yet: own.320, own.640." in page  # what is kept was run
