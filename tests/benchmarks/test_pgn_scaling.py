"""The stated products are those that run, and the script writes its report."""

import sys

import pgn_scaling
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from todm.core.report import Report


@pytest.mark.parametrize("name", ["pgn", "rows_p24", "rows_sqrt", "attention"])
@pytest.mark.parametrize("length", [64, 144])
def test_stated_macs_are_torchs(name: str, length: int) -> None:
    layer = pgn_scaling.layers(length)[name]
    plain = sdpa_kernel(SDPBackend.MATH)  # the fused form is not counted
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        layer(torch.randn(1, length, pgn_scaling.FEATURES))
    assert pgn_scaling.macs(name, length) == counter.get_total_flops() / 2


def test_exponents_are_those_of_powers() -> None:
    assert pgn_scaling.exponent((2, 4, 8), (12.0, 48.0, 192.0)) == pytest.approx(2.0)


def test_the_script_writes_its_report(tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "scaling.json"
    monkeypatch.setattr(sys, "argv", ["pgn_scaling.py", "--quick", "--out", str(out)])
    pgn_scaling.main()
    report = Report.read_json(out)
    assert report.value("scaling.exponent.macs.gru") == pytest.approx(1.0)
    assert report.value("scaling.exponent.macs.pgn") > 1.5
    # a step's Jacobian multiplies into a recurrence's gradient once a lag
    far, near = (report.value(f"gradient.gru.84.lag_{lag}") for lag in (64, 1))
    assert far < 1e-3 * near
    far, near = (report.value(f"gradient.pgn.84.lag_{lag}") for lag in (64, 1))
    assert 0.1 < far / near < 10.0
    assert "| attention | " in out.with_suffix(".md").read_text("utf-8")
