"""benchmarks/lssl.py: its quick form, what it remembers, and networks of equal size."""

import sys
from pathlib import Path

import lssl
import lssl_drawing
import pytest
import torch
from lssl_plan import ALL, METHODS, TASKS, comparisons, parameters
from lssl_table import claims

from todm.core.classify_config import SequenceFacts
from todm.core.report import Measurement, Report

DIGITS = tuple("0123456789")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["lssl.py", *map(str, arguments)])
    return lssl.main()


def test_the_quick_form_writes_every_kind_of_figure_and_trains_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "--quick", "--work", tmp_path) == 0
    first = Report.read_json(tmp_path / "lssl.json")
    names = {m.name for m in first.measurements}
    assert {f"fsdd.{method}.accuracy" for method in ALL} <= names
    assert {"pmnist.random.accuracy", "pmnist.lssl_fixed.accuracy"} <= names
    halves = {n for n in names if n.startswith("fsdd.lssl.half_rate")}
    assert halves == {
        f"fsdd.lssl.half_rate.{middle}{rule}_rule"
        for middle in ("", "plain.")
        for rule in ("with", "without")
    }
    assert "fsdd.gru.half_rate.without_rule" in names
    assert "fsdd.gru.half_rate.with_rule" not in names
    assert {v.name for v in first.verdicts} == {"fsdd.lssl.accuracy", "fsdd.lssl.half_rate.gain"}
    assert "LegS over random A" in (tmp_path / "lssl.md").read_text("utf-8")

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(lssl, "run_train", refuse)
    monkeypatch.setattr(lssl, "run_eval", refuse)
    assert run(monkeypatch, "--quick", "--work", tmp_path) == 0
    again = Report.read_json(tmp_path / "lssl.json")
    assert again.measurements == first.measurements


def test_a_run_of_some_methods_keeps_the_other_figures_with_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ("--quick", "--work", tmp_path)
    assert run(monkeypatch, *some, "--only", "fsdd", "--methods", "conv,lssl_fixed") == 0
    first = Report.read_json(tmp_path / "lssl.json")
    assert "Not run yet: fsdd.lssl, fsdd.mhssm" in (tmp_path / "lssl.md").read_text("utf-8")
    for _ in range(2):
        assert run(monkeypatch, *some, "--only", "pmnist", "--methods", "random") == 0
    found = {m.name: m for m in Report.read_json(tmp_path / "lssl.json").measurements}
    assert "pmnist.random.accuracy" in found
    for m in first.measurements:
        assert found[m.name].value == m.value
        assert found[m.name].note.count("lssl.json, commit") == 1


def test_a_task_takes_the_rates_that_an_earlier_report_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ("--quick", "--work", tmp_path / "first", "--out", tmp_path, "--methods", "lssl_fixed")
    assert run(monkeypatch, *some, "--only", "fsdd") == 0
    before = Report.read_json(tmp_path / "lssl.json")
    chosen = before.value("fsdd.lssl_fixed.lr")
    other = next(lr for lr in lssl.RATES if lr != chosen)
    given = [
        m.model_copy(update={"value": other}) if m.name == "fsdd.lssl_fixed.lr" else m
        for m in before.measurements
    ]
    before.model_copy(update={"measurements": tuple(given)}).write_json(tmp_path / "lssl.json")
    some = ("--quick", "--work", tmp_path / "second", *some[3:])
    assert run(monkeypatch, *some, "--only", "pmnist") == 0
    assert Report.read_json(tmp_path / "lssl.json").value("pmnist.lssl_fixed.lr") == other
    assert len(list((tmp_path / "second").glob("*/classifier"))) == 1  # no search


@pytest.mark.parametrize("task", ["fsdd", "pmnist"])
def test_methods_have_equal_parameters(task: str) -> None:
    """Within 3 %; the fixed ones lack what A, B and dt train."""
    plan, frames = TASKS[task], {"fsdd": 2000, "pmnist": 196}[task]
    facts = SequenceFacts(name=task, num_frames=frames, input_dim=1, classes=DIGITS)
    made = {m: plan.config(m, facts, lr=1e-3, seed=0, threads=1) for m in plan.methods}
    sizes = {method: parameters(config, facts) for method, config in made.items()}
    assert all(abs(size / sizes["lssl"] - 1) < 0.05 for size in sizes.values())
    assert all(abs(sizes[m] / sizes["lssl"] - 1) < 0.03 for m in ("gru", "conv", "mhssm"))
    assert len({config.train for config in made.values()}) == 1


def test_rates_are_taken_of_tasks_before_with_the_same_methods() -> None:
    order = list(TASKS)
    for name, plan in TASKS.items():
        assert set(plan.methods) <= set(METHODS)
        if plan.rates_of is not None:
            assert order.index(plan.rates_of) < order.index(name)
            assert set(plan.methods) <= set(TASKS[plan.rates_of].methods)


def test_a_claim_holds_only_where_every_seed_says_so() -> None:
    def figure(name: str, low: float, high: float) -> Measurement:
        return Measurement(
            name=f"{name}.accuracy", value=(low + high) / 2, unit="%", low=low, high=high, n=3
        )

    figures = [
        figure("pmnist.lssl", 90, 92),
        figure("pmnist.lssl_fixed", 88, 91),
        figure("pmnist.random", 60, 70),
        figure("pmnist.gru", 93, 94),
    ]
    text = claims({"pmnist": TASKS["pmnist"]}, {m.name: m for m in figures})
    rows = {line.split("|")[1].strip(): line for line in text.splitlines()[2:]}
    assert "undecided (+ in the mean)" in rows["pmnist: trained A and dt over fixed"]
    assert "holds" in rows["pmnist: LegS over random A"]
    assert "the reverse" in rows["pmnist: LSSL over gru"]
    assert len(list(comparisons({"pmnist": TASKS["pmnist"]}))) == 5


@pytest.mark.parametrize(
    ("low", "says"), [(48.0, "undecided (+ in the mean), 1"), (52.0, "holds,")]
)
def test_of_one_seed_the_intervals_over_sequences_must_lie_apart(low: float, says: str) -> None:
    found = {}
    for method, value, ends in (("lssl", 54.0, (low, 60.0)), ("lssl_fixed", 45.0, (40.0, 50.0))):
        name = f"arabic16k.{method}"
        found[f"{name}.accuracy"] = Measurement(
            name=f"{name}.accuracy", value=value, unit="%", low=value, high=value, n=1
        )
        found[f"{name}.seed0.accuracy"] = Measurement(
            name=f"{name}.seed0.accuracy", value=value, unit="%", low=ends[0], high=ends[1], n=300
        )
    assert says in claims({"arabic16k": TASKS["arabic16k"]}, found)


def test_wrong_names_and_missing_corpora_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--only", "cifar")
    assert "cifar: there are fsdd" in capsys.readouterr().err
    place = ("--corpus-dir", tmp_path / "no", "--work", tmp_path / "w")
    assert run(monkeypatch, "--only", "fsdd", *place) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_views_in_the_drawing_agree() -> None:
    drawn = lssl_drawing.draw()
    assert drawn.startswith("<svg")
    assert drawn.count("<polyline") == 2 + 2 + 4
    for _, curves in lssl_drawing.panels()[:2]:
        equation, convolution, recurrence = (values for _, values, _, _ in curves)
        torch.testing.assert_close(convolution, recurrence, rtol=1e-12, atol=1e-12)
        scale = float(equation.abs().max())
        assert float((convolution - equation)[5:].abs().max()) < 0.02 * scale
