"""The parts of a profiled step add up to it, and the script runs."""

import sys

import pytest
import torch
import train_profile
from torch import nn

from todm.core.report import Report


def test_time_is_given_to_the_part_that_ran(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(train_profile, "process_time", lambda: next(clock))
    watch = train_profile.Stopwatch()
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    handles = [
        watch.at_output(first, "first", before="second"),
        watch.at_output(second, "second", before="loss"),
    ]
    watch.start()
    loss = second(first(torch.ones(1, 2))).sum()
    watch.mark("loss", "forward")
    loss.backward()
    watch.mark(watch.reached, "backward")
    for remove in handles:
        remove()
    ways = [(part, way) for way in ("forward", "backward") for part in ("first", "second", "loss")]
    assert dict(watch.spent_s) == dict.fromkeys(ways, 1)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("profile") / "profile.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_profile.py", "--quick", "--out", str(out)])
        train_profile.main()
    return Report.read_json(out), out.with_suffix(".md").read_text("utf-8")


def test_quick_run_writes_the_report_and_its_table(report):
    found, table = report
    values = {m.name: m.value for m in found.measurements}
    parts = {part: values[f"share.{part}"] for part in train_profile.PARTS}
    assert all(share > 0 for share in parts.values())
    assert sum(parts.values()) == pytest.approx(1.0, abs=0.2)  # medians of three steps
    assert f"**{max(parts, key=parts.get)}**" in table
    for name in ("front.backward_s", "encoder.backward_s", "joiner_loss.backward_s", "data.run_s"):
        assert values[name] > 0
    ratios = [v for n, v in values.items() if n.startswith("optim.scaled_adam_over_adamw.time.")]
    assert values["optim.scaled_adam_over_adamw.time"] == max(ratios)
