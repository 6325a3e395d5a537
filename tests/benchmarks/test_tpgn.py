"""The plan of the table and its verdicts; and the script runs."""

import sys

import pytest
import tpgn
from kept import Kept
from tpgn_table import PUBLISHED

from todm.core.report import Report


def test_ten_seeds_at_the_longest_horizon_and_five_elsewhere():
    runs = tpgn.plan(tpgn.PAPER_HORIZONS, [], quick=False)
    counts = {}
    for run in runs:
        counts[run.arm, run.horizon] = counts.get((run.arm, run.horizon), 0) + 1
    assert [counts["tpgn", h] for h in (168, 336, 720, 1440)] == [5, 5, 5, 10]
    assert counts["gru", 1440] == counts["branch_long", 168] == 5
    assert counts["library", 336] == 1
    assert ("branch_long", 336) not in counts
    assert len({run.key for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("horizon", "ratio", "status"),
    [(168, 1.04, "met"), (168, 1.06, "failed"), (168, 0.89, "failed"), (1440, 1.07, "met")],
)
def test_verdicts_have_two_sides(horizon, ratio, status):
    mse, mae = PUBLISHED[horizon]
    figures = {"mse": ratio * mse, "mae": ratio * mae, "mse50": 1.0, "mae50": 1.0}
    done = {f"{horizon}.tpgn.1": {**figures, "epochs": 1.0, "test_windows": 32.0}}
    found = list(tpgn.verdicts_of(list(tpgn.measurements_of(done, (horizon,)))))
    assert [v.status for v in found] == [status, status]
    assert found[0].value == pytest.approx(ratio)


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    log = tmp_path / "runs.jsonl"
    log.write_text('{"key": "168.tpgn.1", "figures": {"mse": 1.0}}\n{"key": "168.tp', "utf-8")
    kept = Kept(log, "figures")
    assert kept.found == {"168.tpgn.1": {"mse": 1.0}}
    kept.put("168.tpgn.2", {"mse": 2.0})
    assert list(Kept(log, "figures").found) == ["168.tpgn.1", "168.tpgn.2"]


@pytest.mark.slow
def test_quick_run_writes_the_report_and_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tpgn.py", "--quick", "--work", str(tmp_path)])
    tpgn.main()
    report = Report.read_json(tmp_path / "tpgn.json")
    assert report.value("ETTh1.168.tpgn.mse") > 0
    assert report.value("branches.168.long.mae") > 0
    assert "| ETTh1.168.dlinear.mse |" in (tmp_path / "tpgn.md").read_text("utf-8")
