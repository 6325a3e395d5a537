"""The benchmark of transducer losses runs, and its two forms of ours are what they say."""

import os
import sys

import pytest
import rnnt_loss as bench
import rnnt_worker as worker

from todm.core.report import Measurement, Report


def test_with_all_positions_kept_the_forms_differ_by_the_simple_loss_alone():
    """Pruned = full + half the simple loss, which at lm_scale 0 is the full one."""
    shape = bench.Shape(3, 12, 4, "mixed").job("ours_full", 9)["shape"]
    x = worker.Inputs({**shape, "s_range": 99})
    full = worker.run("ours_full", x)
    worker.LM_SCALE, kept = 0.0, worker.LM_SCALE
    try:
        assert worker.run("ours_pruned", x) == pytest.approx(1.5 * full, rel=1e-5)
    finally:
        worker.LM_SCALE = kept


def test_means_are_geometric():
    names = [f"cpu.pruned_over_k2.time.{shape}" for shape in ("a", "b")]
    rows = [Measurement(name=n, value=v, unit="") for n, v in zip(names, (0.5, 0.02), strict=True)]
    (mean,) = bench.means(rows)
    assert mean.name == "cpu.pruned_over_k2.time"
    assert mean.value == pytest.approx(0.1)
    assert (mean.low, mean.high, mean.n) == (0.02, 0.5, 2)


def test_quick_run_writes_the_report_and_its_table(tmp_path, monkeypatch):
    """With the peers where TODM_K2_PYTHON is set."""
    out = tmp_path / "rnnt_loss.json"
    monkeypatch.setattr(sys, "argv", ["rnnt_loss.py", "--quick", "--out", str(out)])
    bench.main()
    report = Report.read_json(out)
    assert report.value("cpu.pruned_over_full.time") > 0
    if os.environ.get(bench.K2_PYTHON):
        assert report.value("cpu.pruned_over_k2.time") > 0
        assert "peers.k2" in report.environment.versions
    assert "cpu.ours_pruned.memory" in out.with_suffix(".md").read_text("utf-8")


def test_full_losses_that_differ_end_the_run(monkeypatch):
    """Forms of one loss are timed on one task only."""

    class Wrong:
        def __init__(self, loss):
            self.loss = loss

        def once(self, _):
            return 1.0, self.loss

    workers = {"ours_full": Wrong(2.0), "torchaudio_full": Wrong(2.1)}
    with pytest.raises(SystemExit, match="the full losses are not one"):
        bench.measure(bench.QUICK[0], workers, 30, 1)
