"""The page of a classifier: its figures, which classes are taken for which, how it learned."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from todm.core.report import Report
from todm.report.charts import Points, Series, lines, number, thin
from todm.report.page import document, figure

MOST_CLASSES = 40
"""Beyond so many the page leaves the matrix to ``confusions.csv``."""


def render(
    title: str,
    report: Report,
    told: str,
    *,
    curves: Mapping[str, Points],
    confusions_KK: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> str:
    """Return the page as HTML text.

    Args:
        title: Of the page.
        report: The figures.
        told: A sentence on what was judged.
        curves: By what they show: (step, value) of training.
        confusions_KK: Sequences by true class (rows) and answer; None for figures.
        classes: Their names.
    """
    body = f'<p class="soft">{escape(told)}</p><h2>Figures</h2>{figures_table(report)}'
    if confusions_KK is not None and len(classes) <= MOST_CLASSES:
        body += f"<h2>What is taken for what</h2>{confusion_table(confusions_KK, classes)}"
    drawn = [figure(_chart(name, points), f"{name} by step") for name, points in curves.items()]
    if drawn:
        body += f'<h2>Training</h2><div class="grid2">{"".join(drawn)}</div>'
    return document(title, body)


def _chart(name: str, points: Points) -> str:
    series = [Series(name, thin(points), 0)]
    labels = ("step", name)
    return lines(name.replace(" ", "_"), f"{name} by step", series, labels=labels, log=False)


def figures_table(report: Report) -> str:
    """Return the figures with their intervals as an HTML table."""
    rows = "".join(
        f"<tr><td>{escape(m.name)}</td><td>{number(m.value)} {escape(m.unit)}</td>"
        f"<td>{_ends(m.low, m.high)}</td><td>{m.n}</td></tr>"
        for m in report.measurements
    )
    head = "<th>figure</th><th>value</th><th>95 % interval</th><th>sequences</th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def confusion_table(confusions_KK: np.ndarray, classes: Sequence[str]) -> str:
    """Return the matrix as an HTML table: darker is a larger share of the row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    rows = ""
    for name, counts_K in zip(classes, confusions_KK, strict=True):
        total = max(1, int(counts_K.sum()))
        cells = "".join(_cell(int(count), total) for count in counts_K)
        rows += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    caption = "Sequences: a row a true class, a column an answer."
    return (
        f"<table><caption>{caption}</caption><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _cell(count: int, total: int) -> str:
    share = round(45.0 * count / total)  # text stays readable on it in both colour schemes
    shade = f"color-mix(in srgb,var(--s0) {share}%,transparent)"
    return f'<td style="background:{shade}">{count or ""}</td>'
