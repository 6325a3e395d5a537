"""The range test finds where a known loss falls fastest, and ends where it diverges."""

import csv
import itertools
import math
from pathlib import Path

import pytest
import torch

from todm.core.artifact import Artifact
from todm.core.errors import GateError
from todm.core.report import Report
from todm.flows.lr_range import STEPS, run
from todm.recipes import recipe
from todm.report.run import PAGE
from todm.report.sources import REPORT
from todm.train.lr_range import (
    DIVERGED,
    SPAN,
    RangeStep,
    range_test,
    rate_at,
    smooth,
    suggest,
)


def test_the_rate_rises_exponentially_over_the_span() -> None:
    factors = [rate_at(step, 50) for step in range(50)]
    assert (factors[0], factors[-1]) == pytest.approx(SPAN)
    ratios = [b / a for a, b in itertools.pairwise(factors)]
    assert ratios == pytest.approx([ratios[0]] * 49)


def test_a_constant_is_smooth_from_the_first_step() -> None:
    assert smooth([2.0] * 5) == pytest.approx([2.0] * 5)
    assert smooth([1.0, 3.0])[1] == pytest.approx((0.9 * 0.1 * 1.0 + 0.1 * 3.0) / (1 - 0.81))


def test_the_suggestion_is_the_steepest_fall() -> None:
    """A logistic fall in log rate, steepest at 0.02."""
    rates = [0.001 * 1.1**i for i in range(80)]
    losses = [5.0 - 4.0 / (1.0 + math.exp(-3.0 * math.log(lr / 0.02))) for lr in rates]
    curve = [RangeStep(lr, loss, loss) for lr, loss in zip(rates, losses, strict=True)]
    assert suggest(curve) == pytest.approx(0.02, rel=0.12)


def test_a_loss_that_only_rises_has_no_suggestion() -> None:
    curve = [RangeStep(0.001 * 1.1**i, 1.0 + i, 1.0 + i) for i in range(40)]
    with pytest.raises(GateError, match="the loss fell at no rate"):
        suggest(curve)


def test_it_ends_where_the_loss_diverges_or_is_not_finite() -> None:
    def diverging(step: int, factor: float) -> float:
        return 4.0 / (1.0 + factor) if factor < 2.0 else 100.0 * factor

    curve = range_test(diverging, base_lr=0.1, steps=100)
    assert len(curve) < 100
    assert curve[-1].smoothed > DIVERGED * min(s.smoothed for s in curve)
    broken = range_test(lambda step, _: math.nan if step == 30 else 1.0, base_lr=0.1, steps=100)
    assert [s.lr for s in broken] == pytest.approx([0.1 * rate_at(i, 100) for i in range(30)])


def test_a_page_and_a_table_of_a_real_test(corpus: Artifact, tmp_path: Path) -> None:
    config = recipe("tiny", int(str(corpus.body["vocab_size"])))
    config = config.model_copy(
        update={"run": config.run.model_copy(update={"accelerator": "cpu", "lr_range_steps": 24})}
    )
    threads = torch.get_num_threads()
    found = run(config, corpus.path, tmp_path / "rates")
    torch.set_num_threads(threads)
    suggested = found.body["suggested_lr"]
    assert isinstance(suggested, float)
    assert 0.03 * SPAN[0] <= suggested <= 0.03 * SPAN[1]
    with found.file(STEPS).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == found.body["steps"] <= 24
    assert float(rows[0]["lr"]) == pytest.approx(0.0003)
    assert Report.read_json(found.file(REPORT)).value("lr.suggested") == suggested
    page = found.file(PAGE).read_text("utf-8")
    assert f"Suggested optim.lr: {suggested:.2g}" in page
    assert page.count("<polyline") >= 3
