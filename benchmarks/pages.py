"""What every benchmark's page holds: how it was made, tables, every figure."""

from collections.abc import Sequence

from todm.core.report import Environment, Measurement

DIGITS = {
    "%": 2,
    "points": 2,
    "ms": 2,
    "B": 0,
    "s": 1,
    "s/s": 4,
    "tokens": 0,
    "logit": 3,
    "MAC/s": 0,
}
"""Decimals by unit; plain fractions have four."""


def made_with(env: Environment) -> str:
    """Say in a line what a report was made with."""
    return (
        f"`{env.command}` on {env.cpu} ({env.cores} cores), commit {env.commit}, Python "
        f"{env.python}, {', '.join(f'{k} {v}' for k, v in env.versions.items())}, {env.date}."
    )


def number(value: float | None, unit: str) -> str:
    """Return a value with the decimals of its unit."""
    return "" if value is None else f"{value:.{DIGITS.get(unit, 4)}f}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def everything(measurements: Sequence[Measurement]) -> str:
    """Return the table of all figures."""
    headers = ("figure", "value", "unit", "low", "high", "n", "note")
    rows = [
        (
            m.name,
            number(m.value, m.unit),
            m.unit,
            number(m.low, m.unit),
            number(m.high, m.unit),
            str(m.n),
            m.note.replace("|", "/").replace("\n", " "),
        )
        for m in measurements
    ]
    return table(headers, rows)
