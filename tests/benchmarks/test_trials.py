"""The benchmarks of many trainings run, go on where they stopped, and name what they leave out."""

import sys
from pathlib import Path

import pytest

from todm.core.errors import GateError
from todm.core.overrides import apply_overrides
from todm.core.report import Report
from todm.recipes import recipe

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
    assert "Not run yet: alone, f100_equal, " in page
    assert "| tones.f100.wer.largest | " in page
    html = (tmp_path / "cost_curve.html").read_text("utf-8")
    assert html.count("<svg") >= 4
    assert "f050_half, smallest: " in html
    assert run(cost_curve, monkeypatch, *arguments) == 0
    again = capsys.readouterr()
    assert again.err.count("reused") == first.err.count("done in")
    assert Report.read_json(tmp_path / "cost_curve.json").measurements == report.measurements


def test_a_run_of_one_more_arm_keeps_the_others_with_their_commit(tmp_path, monkeypatch):
    import cost_curve

    arguments = ("--quick", "--work", tmp_path, "--name", "tones")
    assert run(cost_curve, monkeypatch, *arguments, "--only", "f100") == 0
    first = Report.read_json(tmp_path / "cost_curve.json")
    page = tmp_path / "cost_curve.md"
    assert "| f100 | " in page.read_text("utf-8")
    for _ in range(2):  # a second time its own figures are made again, not kept
        assert run(cost_curve, monkeypatch, *arguments, "--only", "f050_half") == 0
    found = {m.name: m for m in Report.read_json(tmp_path / "cost_curve.json").measurements}
    for m in first.measurements:
        assert found[m.name].value == m.value
        assert found[m.name].note.count("cost_curve.json, commit") == 1
    assert "commit" not in found["tones.f050_half.wer.largest"].note
    text = page.read_text("utf-8")
    assert "| f100 | " in text
    assert "| f050_half | " in text
    assert "Not run yet: alone, f100_equal, " in text
    html = (tmp_path / "cost_curve.html").read_text("utf-8")
    assert "f100, smallest: " in html
    assert "f050_half, smallest: " in html


def test_ablations_take_the_same_macs_and_name_what_diverged(tmp_path, monkeypatch):
    import ablations

    arms = {
        "default": (),
        "late": ablations.late(0.5),
        "importance": (ablations.IMPORTANCE,),
        "top": (ablations.TOP_DROP,),
        "wild": ("optim.lr=7",),
    }
    monkeypatch.setattr(ablations, "ARMS", arms)
    monkeypatch.setattr(ablations, "QUICK", tuple(arms))
    monkeypatch.setattr(ablations, "SHAPE_STEPS", 2)
    calls = diverging(monkeypatch, lr=7)
    arguments = ("--quick", "--work", tmp_path, "--name", "tones")
    assert run(ablations, monkeypatch, *arguments) == 0
    report = Report.read_json(tmp_path / "ablations.json")
    names = {m.name.split(".")[1] for m in report.measurements}
    assert names == {"default", "late", "importance", "top"}
    macs = {name: report.value(f"tones.{name}.cost.tmacs") for name in names}
    assert macs["late"] == pytest.approx(macs["default"], rel=0.15)  # whole steps, short batches
    assert macs["importance"] == pytest.approx(macs["default"], rel=0.15)
    seeds = {m.name: m for m in report.measurements}["tones.default.wer.seeds"]
    assert seeds.n == 1
    gain = report.value("tones.late.wer.diff")
    both = [
        [report.value(f"tones.{arm}.wer.{size}") for size in SIZES] for arm in ("late", "default")
    ]
    assert gain == pytest.approx((sum(both[0]) - sum(both[1])) / len(SIZES))
    page = (tmp_path / "ablations.md").read_text("utf-8")
    assert "wild, seed 0: diverged (ten bad steps)" in page
    assert "Not run yet" not in page
    assert len(calls) == 1
    assert run(ablations, monkeypatch, *arguments) == 0
    assert len(calls) == 1  # what diverged is not tried again
    assert "diverged (ten bad steps)" in (tmp_path / "ablations.md").read_text("utf-8")


def diverging(monkeypatch, lr):
    """Let trainings at a rate diverge; return the list that each of them joins."""
    import trials

    train, calls = trials.run_train, []

    def diverge(config, corpus, out):
        if config.optim.lr != lr:
            return train(config, corpus, out)
        calls.append(out)
        raise GateError("ten bad steps")

    monkeypatch.setattr(trials, "run_train", diverge)
    return calls


def test_every_arm_changes_the_configuration_each_in_its_own_way():
    import ablations
    import cost_curve

    base = recipe("fsdd", 12)
    for arms in (ablations.ARMS, cost_curve.SCHEDULES):
        made = {}
        for name, overrides in arms.items():
            own = [t for t in overrides if t not in (ablations.IMPORTANCE, ablations.TOP_DROP)]
            if len(own) == len(overrides):  # a depth order is written when it is known
                made[name] = apply_overrides(base, own).digest()
        assert len(made) >= len(arms) - 2
        assert len(set(made.values())) == len(made)


def test_wrong_arguments_say_what_is_right(monkeypatch, capsys, tmp_path):
    import ablations
    import cost_curve

    assert run(cost_curve, monkeypatch, "--work", tmp_path) == 2
    assert "give --corpus FOLDER" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(cost_curve, monkeypatch, "--only", "f100,nonsense")
    assert "nonsense: there are alone, f100" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(ablations, monkeypatch, "--quick", "--set", "schedule.steps=9")
    assert "give --steps" in capsys.readouterr().err
