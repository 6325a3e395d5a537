"""Every graph that is timed computes the recurrence, and the script writes its figures."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from todm.core.report import Report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEC = importlib.util.spec_from_file_location("scan_forms", BENCHMARKS / "scan_forms.py")
FORMS = ("loop", "unrolled", "per_channel_fold", "convolution", "fold", "custom")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt install g++")
def test_quick_run_checks_every_form_and_writes_the_report(tmp_path, monkeypatch):
    forms = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(forms)
    out = tmp_path / "scan_forms.json"
    monkeypatch.setattr(sys, "argv", ["scan_forms.py", "--quick", "--out", str(out)])
    forms.main()  # compares each form's output with the definition in float64
    report = Report.read_json(out)
    for form in FORMS:
        assert report.value(f"{form}.speedup_over_scan") > 0
    assert report.value("roofline.recurrence_us") > 0
    assert report.verdicts == ()  # the bars hold for the default size alone
    assert "fold.speedup_over_scan" in out.with_suffix(".md").read_text("utf-8")
