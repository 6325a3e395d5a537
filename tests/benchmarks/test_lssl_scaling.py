"""The device forms that are timed compute the same, and the script runs."""

import sys

import lssl_scaling
import pytest
import torch

from todm.core.mixer_specs import LSSLSpec
from todm.core.report import Report
from todm.layers.lssl_mixer import LSSLMixer


@torch.no_grad()
def test_the_device_forms_are_equal():
    spec = LSSLSpec(num_heads=3, head_dim=2, state_dim=5, learn="fixed")
    mixer = LSSLMixer(8, spec)
    u, state = torch.randn(1, lssl_scaling.CHUNK_FRAMES, 3, 2), torch.randn(1, 3, 5, 2)
    first, *others = (form(mixer, spec)(u, state) for form in lssl_scaling.DEVICE_FORMS.values())
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-5, atol=1e-5)


def test_longer_inputs_keep_more_but_a_fixed_kernel_less_than_a_trained_one():
    kept = {
        (name, frames): lssl_scaling.kept_bytes(layer, torch.randn(2, frames, 32))
        for frames in (64, 128)
        for name, layer in lssl_scaling.layers(8, frames).items()
    }
    for name in lssl_scaling.layers(8, 64):
        assert kept[name, 64] < kept[name, 128] < 2.5 * kept[name, 64]
    assert kept["lssl_fixed", 128] < kept["lssl_dt_a", 128]


@pytest.mark.slow
def test_quick_run_writes_the_report_and_its_table(tmp_path, monkeypatch):
    out = tmp_path / "scaling.json"
    monkeypatch.setattr(sys, "argv", ["lssl_scaling.py", "--quick", "--out", str(out)])
    lssl_scaling.main()
    report = Report.read_json(out)
    for form in lssl_scaling.DEVICE_FORMS:
        assert report.value(f"scaling.stream.{form}_ms.n8") > 0
    assert report.value("scaling.gru_ms.l200.n8") > 0
    assert "scaling.lssl_dt_a_kept_mib.l200.n8" in out.with_suffix(".md").read_text("utf-8")
