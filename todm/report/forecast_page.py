"""A page of forecasts: each against what came, with its interval, and the table of errors."""

from collections.abc import Sequence
from html import escape

import numpy as np

from todm.core.report import Report
from todm.models.forecasting import Prediction
from todm.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Points,
    drawing,
    frame,
    legend_entry,
    number,
    polyline,
    thin,
)
from todm.report.page import document, figure

MOST_VARIATES = 6
"""Variates that a page draws; the file of predictions holds all of them."""
MOST_FORECASTS = 6
"""Forecasts drawn for each: evenly spaced from first to last."""
PAST_HORIZONS = 1.0
"""How much of the window is drawn before a forecast, in horizons."""
SHOWN_POINTS = 200
TRUTH, FORECAST = 0, 1


def render(
    title: str,
    names: Sequence[str],
    predictions: Sequence[Prediction],
    told: str,
    report: Report | None = None,
) -> str:
    """Return the page of predictions as HTML text.

    Args:
        title: Of the page.
        names: Of the variates.
        predictions: At least one.
        told: A sentence on what is shown.
        report: Figures to show above the drawings.
    """
    spaced = np.linspace(0, len(predictions) - 1, min(len(predictions), MOST_FORECASTS))
    chosen = [predictions[round(place)] for place in spaced]
    sections = []
    for variate, name in enumerate(names[:MOST_VARIATES]):
        figures = "".join(
            figure(
                chart(f"v{variate}f{i}", name, prediction, variate),
                f"{name} after {prediction.past_times[-1]}",
            )
            for i, prediction in enumerate(chosen)
        )
        sections.append(
            f'<section><h2>{escape(name)}</h2><div class="grid2">{figures}</div></section>'
        )
    keys = legend_entry(TRUTH, "the series") + legend_entry(FORECAST, "forecast, with its interval")
    lead = f'<p class="soft">{escape(told)}</p><p class="legend">{keys}</p>'
    figures_of = "" if report is None else f"<h2>Errors</h2>{errors_table(report)}"
    return document(title, lead + figures_of + "".join(sections))


def chart(name: str, label: str, prediction: Prediction, variate: int) -> str:
    """Return the drawing of one forecast: past and truth, forecast, interval."""
    horizon = len(prediction.times)
    kept = min(len(prediction.past_times), max(2, round(PAST_HORIZONS * horizon)))
    past: Points = [
        (float(step), float(value))
        for step, value in zip(
            range(-kept + 1, 1), prediction.past_TC[-kept:, variate], strict=True
        )
    ]
    ahead = range(1, horizon + 1)
    truth = list(past)
    if prediction.truth_HC is not None:
        truth += _points(ahead, prediction.truth_HC[:, variate])
    y, low, high = (
        _points(ahead, values[:, variate])
        for values in (prediction.y_HC, prediction.low_HC, prediction.high_HC)
    )
    heights = [value for points in (truth, low, high) for _, value in points]
    span = (max(heights) - min(heights)) or max(abs(heights[0]), 1.0)
    x_axis = Axis("steps ahead", past[0][0], float(horizon), LEFT, WIDTH - RIGHT)
    bottom, top = min(heights) - 0.05 * span, max(heights) + 0.05 * span
    y_axis = Axis(label, bottom, top, HEIGHT - BOTTOM, TOP)
    outline = [*thin(low, SHOWN_POINTS), *reversed(thin(high, SHOWN_POINTS))]
    path = " ".join(f"{x_axis.at(a)},{y_axis.at(b)}" for a, b in outline)
    body = frame(x_axis, y_axis) + f'<polygon class="band" points="{path}"/>'
    body += polyline(thin(truth, SHOWN_POINTS), x_axis, y_axis, f"line s{TRUTH}")
    body += polyline(thin(y, SHOWN_POINTS), x_axis, y_axis, f"line s{FORECAST}")
    last = number(y[-1][1])
    description = f"{horizon} steps after {prediction.past_times[-1]}; the forecast ends at {last}."
    return drawing(name, f"Forecast of {label}", description, body)


def _points(steps: range, values: np.ndarray) -> list[tuple[float, float]]:
    return [(float(step), float(value)) for step, value in zip(steps, values, strict=True)]


def errors_table(report: Report) -> str:
    """Return the figures of an evaluation as an HTML table."""
    rows = "".join(
        f"<tr><td>{escape(m.name)}</td><td>{number(m.value)}</td><td>{m.n}</td>"
        f'<td class="text">{escape(m.note)}</td></tr>'
        for m in report.measurements
    )
    head = '<th>figure</th><th>value</th><th>windows</th><th class="text">note</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
