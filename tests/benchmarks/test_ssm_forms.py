"""The unrolled form that is timed computes the same as the fold, and the script runs."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from todm.core.report import Report
from todm.core.specs import MHSSMSpec
from todm.layers.mhssm import MHSSM

SPEC = importlib.util.spec_from_file_location(
    "ssm_forms", Path(__file__).parents[2] / "benchmarks" / "ssm_forms.py"
)
forms = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(forms)


@torch.no_grad()
def test_unrolled_equals_the_fold():
    spec = MHSSMSpec(num_heads=4, head_dim=3, state_dim=5)
    x_NLD, state_NHMP = torch.randn(2, 6, 8), torch.randn(2, 4, 10, 3)
    outputs = []
    for kind in (MHSSM, forms.UnrolledMHSSM):
        torch.manual_seed(0)
        mixer = kind(8, spec)
        outputs.append(mixer.step(x_NLD, (state_NHMP,), spec, mixer.fold(spec, 6, 0)))
    fold, unrolled = outputs
    # float32 rounding of sums of about twenty terms of size one
    torch.testing.assert_close(unrolled, fold, rtol=1e-5, atol=1e-5)


def test_training_forms_are_timed_in_turns():
    found = {m.name: m for m in forms.training([(2, 8)], 2)}
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
    forms.main()
    report = Report.read_json(out)
    for runtime in ("ort", "executorch"):
        assert report.value(f"ssm_forms.{runtime}.fold_ms") > 0
    assert "ssm_forms.ort.unrolled_over_fold" in out.with_suffix(".md").read_text("utf-8")
