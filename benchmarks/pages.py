"""What every benchmark's page holds: how it was made, tables, every figure; and where it goes."""

from collections.abc import Sequence
from pathlib import Path

from todm.core.report import Environment, Measurement, Report

RESULTS = Path(__file__).parent / "results"
QUICK = Path("runs/quick")
"""Where a ``--quick`` run without a work folder writes."""
DIGITS = {
    "%": 2,
    "points": 2,
    "ms": 2,
    "B": 0,
    "bytes": 0,
    "MAC": 0,
    "s": 1,
    "s/s": 4,
    "tokens": 0,
    "logit": 3,
    "MAC/s": 0,
}
"""Decimals by unit; plain fractions have four, small ones three digits that count."""
SMALL = 0.001


def made_with(env: Environment) -> str:
    """Say in a line what a report was made with."""
    return (
        f"`{env.command}` on {env.cpu} ({env.cores} cores), commit {env.commit}, Python "
        f"{env.python}, {', '.join(f'{k} {v}' for k, v in env.versions.items())}, {env.date}."
    )


def number(value: float | None, unit: str) -> str:
    """Return a value with the decimals of its unit."""
    if value is None:
        return ""
    small = not unit and 0 < abs(value) < SMALL
    return f"{value:.3g}" if small else f"{value:.{DIGITS.get(unit, 4)}f}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def everything(measurements: Sequence[Measurement], form: str | None = None) -> str:
    """Return the table of all figures.

    Args:
        measurements: The figures.
        form: How all of them are printed, such as ``.3f``; None takes the decimals of each unit.
    """

    def shown(value: float | None, unit: str) -> str:
        return number(value, unit) if form is None or value is None else f"{value:{form}}"

    headers = ("figure", "value", "unit", "low", "high", "n", "note")
    rows = [
        (
            m.name,
            shown(m.value, m.unit),
            m.unit,
            shown(m.low, m.unit),
            shown(m.high, m.unit),
            str(m.n),
            m.note.replace("|", "/").replace("\n", " "),
        )
        for m in measurements
    ]
    return table(headers, rows)


def of_report(path: Path) -> list[Measurement]:
    """Return the figures of another script's report, each with where it is from.

    Nothing where that script has not been run.
    """
    if not path.is_file():
        return []
    report = Report.read_json(path)
    env = report.environment
    source = f"{path.name}, commit {env.commit}, {env.date}"
    return [
        m.model_copy(update={"note": "; ".join(filter(None, (m.note, source)))})
        for m in report.measurements
    ]


def kept(path: Path) -> list[Measurement]:
    """Return the figures of this script's earlier report, each with the commit it is from."""
    earlier = Report.read_json(path).measurements if path.is_file() else ()
    pairs = zip(earlier, of_report(path), strict=True)
    return [own if path.name in own.note else sourced for own, sourced in pairs]


def page(*parts: str) -> str:
    """Return a page of paragraphs; empty ones are left out."""
    return "\n\n".join(filter(None, parts)) + "\n"


def write(report: Report, text: str, out: Path) -> None:
    """Write a report and its page beside it, and say where they are."""
    out.parent.mkdir(parents=True, exist_ok=True)
    report.write_json(out)
    out.with_suffix(".md").write_text(text, "utf-8")
    print(f"{out} and {out.with_suffix('.md').name}", flush=True)
