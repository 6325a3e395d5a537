"""The script's parts run; that the forms compute the same is tested with the kernels."""

import sys

import pytest
import ssm_forms

from todm.core.report import Report


def test_training_forms_are_timed_in_turns():
    found = {m.name: m for m in ssm_forms.training([(2, 8)], 2)}
    assert set(found) == {
        "ssm_forms.toeplitz_ms.b2.t8",
        "ssm_forms.fft_ms.b2.t8",
        "ssm_forms.fft_over_toeplitz.b2.t8",
    }
    assert all(m.n == 2 and m.value > 0 and m.low <= m.high for m in found.values())


@pytest.mark.slow
def test_quick_run_writes_the_report_and_its_table(tmp_path, monkeypatch):
    out = tmp_path / "forms.json"
    monkeypatch.setattr(sys, "argv", ["ssm_forms.py", "--quick", "--out", str(out)])
    ssm_forms.main()
    report = Report.read_json(out)
    for runtime in ("ort", "executorch"):
        assert report.value(f"ssm_forms.{runtime}.fold_ms") > 0
    assert "ssm_forms.ort.unrolled_over_fold" in out.with_suffix(".md").read_text("utf-8")
