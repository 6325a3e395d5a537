"""Charts as inline SVG: scatter, lines, split bars. No scripts, colours by CSS class.

Text keeps a readable size on a phone because the drawings are narrow (``WIDTH`` units) and are
scaled to their column. Series differ in marker and dash as well as in colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 14, 46
MAX_MARKERS = 30
"""A longer curve is drawn without markers."""

NO_BREAK = "\u00a0"
"""Joins a number and its unit."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """A curve."""

    label: str
    points: Points
    style: int
    """0 to 3: the classes s0 ... s3 of the style sheet, and the marker's shape."""


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis over a span of the drawing."""

    label: str
    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a value lies on the drawing."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        share = (value - low) / (high - low)
        return round(self.begin + share * (self.end - self.begin), 2)

    def ticks(self) -> list[float]:
        """Return four to seven round values inside the axis."""
        if self.log:
            found = _log_ticks(self.low, self.high, (1, 2, 5))
            if len(found) >= 3:
                return found if len(found) <= 7 else _log_ticks(self.low, self.high, (1,))
        step = nice_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, digits: Sequence[int]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]


def nice_step(rough: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(d * power for d in (1, 2, 2.5, 5, 10) if d * power >= rough * (1 - 1e-9))


def x_axis(label: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """Return a horizontal axis that holds all values, with a little room."""
    low, high = _span(values, log=log)
    return Axis(label, low, high, LEFT, WIDTH - RIGHT, log)


def y_axis(label: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """Return a vertical axis that holds all values; a linear one starts at zero."""
    low, high = _span(values, log=log)
    return Axis(label, low if log else min(0.0, low), high, HEIGHT - BOTTOM, TOP, log)


def _span(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        room = max(high / low, 1.2) ** 0.08
        return low / room, high * room
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return (low if low >= 0 else low - room), high + room


def number(value: float) -> str:
    """Return a short form of a number: three digits, k, M or G above 10,000."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(scale, 1e4):
            return f"{value / scale:.3g}{NO_BREAK}{unit}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit, the prefix joined to it: 1.26 MB, 12 ms, 3.1 %."""
    text = number(value)
    return f"{text}{unit}" if text[-1] in "kMG" else f"{text}{NO_BREAK}{unit}".strip()


def frame(x: Axis, y: Axis) -> str:
    """Return grid, ticks and labels."""
    parts = []
    for tick in y.ticks():
        at = y.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{number(tick)}</text>')
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        text = f'y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(tick)}</text>'
        parts.append(f'<text x="{at}" {text}')
    middle = (LEFT + WIDTH - RIGHT) / 2
    label = f'y="{HEIGHT - 8}" text-anchor="middle">{escape(x.label)}</text>'
    parts.append(f'<text class="label" x="{middle}" {label}')
    turned = f'transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
    parts.append(f'<text class="label" text-anchor="middle" {turned}>{escape(y.label)}</text>')
    return "".join(parts)


def drawing(name: str, title: str, description: str, body: str, height: float = HEIGHT) -> str:
    """Return an SVG element with its text alternative."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body}</svg>'
    )


def polyline(points: Points, x: Axis, y: Axis, css: str) -> str:
    """Return a line through points."""
    path = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in points)
    return f'<polyline class="{css}" points="{path}"/>'


def marker(shape: int, x: float, y: float, css: str, hint: str = "") -> str:
    """Return a marker: circle, square, diamond or triangle."""
    r = 4.0
    drawn = (
        f'<circle cx="{x}" cy="{y}" r="{r}"',
        f'<rect x="{x - r}" y="{y - r}" width="{2 * r}" height="{2 * r}"',
        f'<path d="M{x} {y - 5}L{x + 5} {y}L{x} {y + 5}L{x - 5} {y}Z"',
        f'<path d="M{x} {y - 5}L{x + 5} {y + 4}L{x - 5} {y + 4}Z"',
    )[shape % 4]
    return f'{drawn} class="{css}"><title>{escape(hint)}</title></{drawn[1:].split()[0]}>'


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    *,
    labels: tuple[str, str],
    log: bool,
    log_x: bool = False,
) -> str:
    """Return a line chart with its legend.

    Args:
        name: Prefix of the element ids; unique on the page.
        title: For readers who do not see the drawing.
        series: At least one, none of them empty.
        labels: Of the two axes, x then y.
        log: Draw y logarithmically, where every value is positive.
        log_x: Draw x logarithmically; every value must be positive.
    """
    xs = [a for one in series for a, _ in one.points]
    ys = [b for one in series for _, b in one.points]
    x, y = x_axis(labels[0], xs, log=log_x), y_axis(labels[1], ys, log=log and min(ys) > 0)
    body = frame(x, y)
    for one in series:
        body += polyline(one.points, x, y, f"line s{one.style}")
        if len(one.points) <= MAX_MARKERS:
            body += "".join(
                marker(
                    one.style,
                    x.at(a),
                    y.at(b),
                    f"dot s{one.style}",
                    f"{one.label}: {number(b)} at {number(a)}",
                )
                for a, b in one.points
            )
    ends = ", ".join(f"{one.label} ends at {number(one.points[-1][1])}" for one in series)
    drawn = drawing(name, title, f"{labels[1]} by {labels[0]}: {ends}.", body)
    legend = "".join(legend_entry(one.style, one.label) for one in series)
    return f'{drawn}<p class="legend">{legend}</p>'


def legend_entry(shape: int, label: str) -> str:
    """Return a marker with a label."""
    icon = f'<svg class="key" viewBox="0 0 20 12" aria-hidden="true">{_key(shape)}</svg>'
    return f"<span>{icon}{escape(label)}</span>"


def _key(shape: int) -> str:
    line = f'<polyline class="line s{shape}" points="0,6 20,6"/>'
    return line + marker(shape, 10, 6, f"dot s{shape}")


def thin(points: Points, limit: int = 150) -> list[tuple[float, float]]:
    """Return at most ``limit`` points: means of equally long runs."""
    run = math.ceil(len(points) / limit) if points else 1
    groups = [points[i : i + run] for i in range(0, len(points), run)]
    return [
        (sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group))
        for group in groups
    ]
