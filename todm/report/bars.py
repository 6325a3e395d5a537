"""Bars that say where time and products go: one per device, divided by part."""

from collections.abc import Mapping
from html import escape

from todm.report.charts import WIDTH, drawing, number, quantity

BAR, GAP, NAME = 19, 9, 17
"""Heights of a bar, of the space below it and of the line with its name."""
SPAN = WIDTH - 2
"""Length of the longest bar."""
MIN_TEXT_SHARE = 0.09
"""A part narrower than this share of the drawing carries no text."""


def split_bars(name: str, title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Return one bar per row, its length the row's total, divided among the row's parts.

    Args:
        name: Prefix of the element ids; unique on the page.
        title: For readers who do not see the drawing.
        rows: Value of each part by row; the same parts in each.
        unit: Of the values.
    """
    largest = max(sum(parts.values()) for parts in rows.values()) or 1.0
    body, told = "", []
    for number_of_row, (label, parts) in enumerate(rows.items()):
        top = 2 + number_of_row * (NAME + BAR + GAP)
        total = quantity(sum(parts.values()), unit)
        body += f'<text x="0" y="{top + 12}">{escape(label)}: {total}</text>'
        body += _bar(parts, SPAN / largest, top + NAME, unit)
        told.append(f"{label}: " + ", ".join(f"{p} {number(v)}" for p, v in parts.items()))
    height = 2 + len(rows) * (NAME + BAR + GAP)
    drawn = drawing(name, title, f"In {unit}. {'; '.join(told)}.", body, height)
    legend = "".join(_key(i, part) for i, part in enumerate(next(iter(rows.values()))))
    return f'{drawn}<p class="legend">{legend}</p>'


def _bar(parts: Mapping[str, float], scale: float, top: float, unit: str) -> str:
    body, left = "", 0.0
    for i, (part, value) in enumerate(parts.items()):
        width = value * scale
        body += (
            f'<rect class="part s{i}" x="{left:.2f}" y="{top}" width="{width:.2f}" '
            f'height="{BAR}"><title>{escape(part)}: {quantity(value, unit)}</title></rect>'
        )
        if width > MIN_TEXT_SHARE * SPAN:
            at = f'x="{left + width / 2:.2f}" y="{top + 14}" text-anchor="middle"'
            body += f'<text class="inside" {at}>{number(value)}</text>'
        left += width
    return body


def _key(style: int, label: str) -> str:
    return (
        '<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true">'
        f'<rect class="part s{style}" width="12" height="12"/></svg>{escape(label)}</span>'
    )
