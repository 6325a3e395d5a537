"""Every graph that is timed computes the recurrence, and the script writes its figures."""

import shutil
import sys

import pytest
import scan_forms

from todm.core.report import Report

FORMS = ("loop", "unrolled", "per_channel_fold", "convolution", "fold", "custom")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt install g++")
def test_quick_run_checks_every_form_and_writes_the_report(tmp_path, monkeypatch):
    out = tmp_path / "scan_forms.json"
    monkeypatch.setattr(sys, "argv", ["scan_forms.py", "--quick", "--out", str(out)])
    scan_forms.main()  # compares each form's output with the definition in float64
    report = Report.read_json(out)
    for form in FORMS:
        assert report.value(f"{form}.speedup_over_scan") > 0
    assert report.value("roofline.recurrence_us") > 0
    assert report.verdicts == ()  # the bars hold for the default size alone
    assert "fold.speedup_over_scan" in out.with_suffix(".md").read_text("utf-8")
