"""What ``lssl.json`` says: bars, the paper's claims, the page."""

from collections.abc import Iterator, Mapping, Sequence

from lssl_plan import SEEDS, TaskPlan, comparisons
from pages import everything, made_with, number, page, table

from todm.core.report import Measurement, Report, Verdict

LEAST_ACCURACY, LEAST_GAIN = 80.0, 40.0


def verdicts(named: Mapping[str, Measurement]) -> Iterator[Verdict]:
    """Judge the bars on FSDD, where they were measured."""
    accuracy = named.get("fsdd.lssl.accuracy")
    if accuracy is not None:
        yield _bar("fsdd.lssl.accuracy", accuracy.value, LEAST_ACCURACY, "%")
    halves = [named.get(f"fsdd.lssl.half_rate.{kind}_rule") for kind in ("with", "without")]
    if halves[0] is not None and halves[1] is not None:
        gain = halves[0].value - halves[1].value
        yield _bar("fsdd.lssl.half_rate.gain", gain, LEAST_GAIN, "points")


def _bar(name: str, value: float, limit: float, unit: str) -> Verdict:
    return Verdict(
        name=name,
        status="met" if value >= limit else "failed",
        limit=limit,
        value=value,
        unit=unit,
        note="at least",
    )


def claims(tasks: Mapping[str, TaskPlan], named: Mapping[str, Measurement]) -> str:
    """Return the table of claims: held where every seed above is better than every one below.

    Of a single seed the intervals over test sequences must lie apart.
    """
    rows = []
    for said, above, below in comparisons(tasks):
        one = named.get(above if "half_rate" in above else f"{above}.accuracy")
        other = named.get(below if "half_rate" in below else f"{below}.accuracy")
        if one is None or other is None:
            continue
        gain = one.value - other.value
        spreads = (one, other)
        if one.n == 1:
            names = (f"{above}.seed0.accuracy", f"{below}.seed0.accuracy")
            spreads = (named.get(names[0], one), named.get(names[1], other))
        if _apart(*spreads):
            sign = "holds" if gain > 0 else "the reverse"
        else:
            sign = f"undecided ({'+' if gain > 0 else '-'} in the mean)"
        if one.n < len(SEEDS):
            sign += f", {one.n} seed"
        cells = (number(one.value, "%"), number(other.value, "%"), f"{gain:+.1f}", sign)
        rows.append((said, *cells))
    return table(("claim", "above %", "below %", "points", "seeds say"), rows)


def _apart(one: Measurement, other: Measurement) -> bool:
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert other.high is not None
    return one.low > other.high or one.high < other.low


def page_of(report: Report, tasks: Mapping[str, TaskPlan], lost: Sequence[str]) -> str:
    """Return the Markdown: bars, claims, what diverged, what was not run, every figure.

    Args:
        report: All figures.
        tasks: Those that there are.
        lost: Why figures are missing.
    """
    named = {m.name: m for m in report.measurements}
    seeds = ", ".join(map(str, report.environment.seeds))
    where = f"{made_with(report.environment)} Test splits; seeds {seeds}."
    bars = [
        f"{v.name}: {v.value:.1f} {v.unit}, {v.note} {v.limit:g}: {v.status}."
        for v in report.verdicts
    ]
    absent = [
        f"{task}.{method}"
        for task, plan in tasks.items()
        for method in plan.methods
        if f"{task}.{method}.accuracy" not in named
    ]
    missing = f"Not run yet: {', '.join(absent)}." if absent else ""
    figures = everything(report.measurements)
    return page("# lssl", where, *bars, claims(tasks, named), *lost, missing, figures)
