"""The benchmarks of many trainings run, go on where they stopped, and name what they leave out."""

import sys
from pathlib import Path

import pytest

from todm.core.report import Report

ROOT = Path(__file__).resolve().parents[2]
SIZES = ("largest", "middle", "smallest")


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    return module.main()


def test_cost_curve_measures_schedules_and_repeats_nothing(tmp_path, monkeypatch, capsys):
    import cost_curve

    arguments = ("--quick", "--work", tmp_path, "--name", "tones")
    assert run(cost_curve, monkeypatch, *arguments) == 0
    first = capsys.readouterr()
    report = Report.read_json(tmp_path / "cost_curve.json")
    for name in cost_curve.QUICK:
        assert all(report.value(f"tones.{name}.wer.{size}") >= 0 for size in SIZES)
        assert report.value(f"tones.{name}.cost.wall_ratio") > 0
    whole, part = (report.value(f"tones.{n}.cost.ratio_to_largest") for n in cost_curve.QUICK)
    assert 1 < part < 1 + (whole - 1) / 2.5 < whole  # half of the batch in half of the steps
    page = (tmp_path / "cost_curve.md").read_text("utf-8")
    assert "| f050_half | " in page
    assert "| tones.f100.wer.largest | " in page
    html = (tmp_path / "cost_curve.html").read_text("utf-8")
    assert html.count("<svg") >= 4
    assert "f050_half, smallest: " in html
    assert run(cost_curve, monkeypatch, *arguments) == 0
    again = capsys.readouterr()
    assert again.err.count("reused") == first.err.count("done in")
    assert Report.read_json(tmp_path / "cost_curve.json").measurements == report.measurements


def test_ablations_take_the_same_macs_and_name_what_they_leave_out(tmp_path, monkeypatch, capsys):
    import ablations

    arms = {
        "default": (),
        "late": ablations.late(0.5),
        "importance": (ablations.IMPORTANCE,),
        "top": (ablations.TOP_DROP,),
        "unknown": (f"{ablations.MIXERS}no_such_option=3",),
    }
    monkeypatch.setattr(ablations, "ARMS", arms)
    monkeypatch.setattr(ablations, "QUICK", tuple(arms))
    monkeypatch.setattr(ablations, "SHAPE_STEPS", 2)
    assert run(ablations, monkeypatch, "--quick", "--work", tmp_path, "--name", "tones") == 0
    report = Report.read_json(tmp_path / "ablations.json")
    names = {m.name.split(".")[1] for m in report.measurements}
    assert names == {"default", "late", "importance", "top"}
    macs = {name: report.value(f"tones.{name}.cost.tmacs") for name in names}
    assert macs["late"] == pytest.approx(macs["default"], rel=0.15)  # whole steps, short batches
    assert macs["importance"] == pytest.approx(macs["default"], rel=0.15)
    page = (tmp_path / "ablations.md").read_text("utf-8")
    assert "Left out: unknown: " in page
    assert "no_such_option" in page
    assert "left out: unknown" in capsys.readouterr().err


def test_every_arm_is_written_for_this_configuration():
    """Overrides are dotted assignments, and what the default already says is no arm."""
    import ablations
    import cost_curve

    for overrides in (*ablations.ARMS.values(), *cost_curve.SCHEDULES.values()):
        own = (ablations.IMPORTANCE, ablations.TOP_DROP)
        assert all("=" in text or text in own for text in overrides)
    known = [o for o in cost_curve.SCHEDULES.values() if o]
    assert len({tuple(o) for o in known}) == len(known)


def test_wrong_arguments_say_what_is_right(monkeypatch, capsys):
    import cost_curve

    with pytest.raises(SystemExit, match="--corpus"):
        run(cost_curve, monkeypatch)
    with pytest.raises(SystemExit):
        run(cost_curve, monkeypatch, "--only", "f100,nonsense")
    assert "nonsense: there are alone, f100" in capsys.readouterr().err
