"""The speed part runs on a tiny net; what is said of word errors is computed by hand."""

import sys

import pytest
import quantization
import quantization_speed
from quantization_wer import Rows, deltas, pooled_verdict

from todm.core.cost import num_parameters
from todm.core.errors import ConfigError
from todm.core.report import Measurement, Report


def test_the_quick_form_writes_ratios_of_every_form(tmp_path, monkeypatch):
    arguments = ["quantization.py", "--quick", "--only", "speed", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    quantization.main()
    report = Report.read_json(tmp_path / "quantization.json")
    named = {m.name: m for m in report.measurements}
    for precision in ("int8", "int8_block", "int4", "fp16"):
        assert 0.2 < named[f"quick.{precision}.bytes_ratio"].value < 1.0
        assert named[f"quick.{precision}.latency_ratio"].value > 0.0
    # one byte a weight and five an output channel, or four a block, over four bytes a weight
    for precision in ("int8", "int8_block"):
        assert 0.25 < named[f"quick.{precision}.linears_ratio"].value < 0.27
        assert named[f"quick.{precision}.cost_gap"].value < 0.01
    assert report.verdicts == ()  # far below 8 M parameters
    assert "quick.int8.bytes_ratio" in (tmp_path / "quantization.md").read_text("utf-8")


def test_the_judged_sizes_are_those_that_int8_is_meant_for():
    assert all(num_parameters(s) >= 8_000_000 for s in quantization_speed.SIZES.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--net", "b.small=net"], "--net b.small"), (["--as-is", "b"], "--as-is b")],
)
def test_a_set_without_a_corpus_is_told(tmp_path, monkeypatch, words, told):
    arguments = ["quantization.py", "--corpus", "a=x", "--net", "a.small=net", *words]
    monkeypatch.setattr(sys, "argv", [*arguments, "--work", str(tmp_path)])
    with pytest.raises(ConfigError, match=rf"{told}: no --corpus b; give it"):
        quantization.main()


def test_deltas_are_paired_and_count_net_errors():
    rows = Rows(("a", "b", "c"), (10, 10, 20), {"fp32": (1, 0, 2), "int8": (1, 1, 2)})
    (delta,) = deltas("set.small", rows)
    assert delta.name == "set.small.int8.wer_delta"
    assert delta.value == pytest.approx(2.5)
    assert delta.low <= delta.value <= delta.high
    assert delta.note.startswith("+1 word errors net; WER 7.50 -> 10.00 %")
    both = rows.joined(Rows(("d",), (5,), {"fp32": (0,), "int8": (0,), "int4": (3,)}))
    assert both.words == (10, 10, 20, 5)
    assert set(both.errors) == {"fp32", "int8"}


def test_a_pool_of_too_few_words_is_not_judged():
    def pooled(value, words):
        return Measurement(name="pooled.s.int8.wer_delta", value=value, unit="points", n=words)

    assert pooled_verdict(pooled(0.01, 9_999)).status == "not_judged"
    assert pooled_verdict(pooled(0.01, 10_000)).status == "met"
    assert pooled_verdict(pooled(0.07, 10_000)).status == "failed"
