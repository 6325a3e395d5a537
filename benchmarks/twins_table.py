"""The Markdown and the drawings of ``supernet_vs_single.json``."""

from collections.abc import Mapping, Sequence

from pages import everything, made_with, table
from twins_plan import TwinSet

from todm.core.report import Measurement, Report
from todm.report.charts import Axis, drawing, frame, marker, polyline, x_axis, y_axis
from todm.report.style import CSS

Named = Mapping[str, Measurement]
KINDS = ("supernet", "single")
HEADERS = (
    "set, size",
    "MAC/s of audio",
    "WER % supernet",
    "WER % alone",
    "relative",
    "p worse (Holm)",
    "delay ms supernet, median / p95",
    "alone",
    "holds",
)


def render(report: Report, sets: Sequence[TwinSet], missing: Sequence[str]) -> str:
    """Return the whole page."""
    named = {measurement.name: measurement for measurement in report.measurements}
    seeds = ", ".join(map(str, report.environment.seeds))
    where = f"{made_with(report.environment)} Seeds {seeds}."
    parts = ["# One supernet against nets trained alone", where]
    if missing:
        parts.append("**Unfinished.** Missing: " + "; ".join(missing) + ".")
    parts += [_cells(report, named, sets), _costs(named, sets)]
    for twins in sets:
        if f"{twins.name}.wer.supernet.{next(iter(twins.plan.sizes))}" in named:
            parts.append(f"![WER by MACs, {twins.name}]({svg_name(twins.name)})")
    parts += [_verdicts(report), everything(report.measurements)]
    return "\n\n".join(parts) + "\n"


def svg_name(set_name: str) -> str:
    """Return the file of a set's drawing."""
    return f"supernet_vs_single.{set_name}.svg"


def _cells(report: Report, named: Named, sets: Sequence[TwinSet]) -> str:
    rows = []
    for twins in sets:
        for size in twins.plan.sizes:
            end = f".{size}"
            cells = [f"{twins.name}, {size}"]
            cells.append(_value(named, f"{twins.name}.macs_per_audio_s{end}", "{:.3g}"))
            cells += [_wer(named, f"{twins.name}.wer.{kind}{end}") for kind in KINDS]
            cells.append(_value(named, f"{twins.name}.wer.rel_diff{end}", "{:+.1%}"))
            cells.append(_value(named, f"{twins.name}.wer.p_worse{end}", "{:.3f}"))
            cells += [_delay(named, twins.name, f"{kind}{end}") for kind in KINDS]
            rows.append([*cells, _holds(report, twins.name, size)])
    return table(HEADERS, rows)


def _value(named: Named, name: str, form: str) -> str:
    return form.format(named[name].value) if name in named else "-"


def _wer(named: Named, name: str) -> str:
    found = named.get(name)
    return "-" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _delay(named: Named, set_name: str, end: str) -> str:
    figures = (f"{set_name}.{figure}.{end}" for figure in ("delay_ms", "delay_p95_ms"))
    return " / ".join(_value(named, name, "{:.0f}") for name in figures)


def _holds(report: Report, set_name: str, size: str) -> str:
    """A cell holds if it is neither significantly worse nor more than a frame later."""
    wanted = {f"{set_name}.delay_ms.later.{size}", f"{set_name}.wer.p_worse.{size}"}
    found = [v.status for v in report.verdicts if v.name in wanted]
    if len(found) < len(wanted) or "not_judged" in found:
        return "-"
    return "no" if "failed" in found else "yes"


def _costs(named: Named, sets: Sequence[TwinSet]) -> str:
    figures = ("ratio_to_largest", "ratio_to_all_singles", "cpu_ratio_to_largest")
    headers = (
        "set",
        "training MACs over the largest net's alone",
        "over all sizes' alone",
        "CPU seconds over the largest net's alone",
    )
    rows = [
        [twins.name, *(_value(named, f"{twins.name}.cost.{f}", "{:.3f}") for f in figures)]
        for twins in sets
    ]
    return table(headers, rows)


def _verdicts(report: Report) -> str:
    rows = [
        [
            v.name,
            v.status,
            "-" if v.value is None else f"{v.value:.4g}",
            f"{v.limit:g}",
            v.unit,
            v.note,
        ]
        for v in report.verdicts
    ]
    return table(("verdict", "status", "value", "limit", "unit", "note"), rows)


def wer_by_macs(named: Named, twins: TwinSet) -> str | None:
    """Return a drawing of WER over MACs with intervals, as an SVG file; None without figures."""
    lines: dict[str, list[tuple[float, Measurement]]] = {
        kind: [
            (named[f"{twins.name}.macs_per_audio_s.{size}"].value / 1e6, named[name])
            for size in twins.plan.sizes
            if (name := f"{twins.name}.wer.{kind}.{size}") in named
        ]
        for kind in KINDS
    }
    if not all(lines.values()):
        return None
    values = [value for found in lines.values() for _, m in found for value in (m.low, m.high)]
    x = x_axis("million MACs per second of audio", [a for a, _ in lines["single"]], log=True)
    y = y_axis("test WER, %", [value for value in values if value is not None])
    body = frame(x, y)
    for style, (kind, found) in enumerate(lines.items()):
        body += _line(found, x, y, style, kind)
    title = f"{twins.name}: WER by size, supernet (circles) and nets trained alone (squares)"
    drawn = drawing(f"wer-{twins.name}", title, f"{twins.plan.title}; 95 % intervals.", body)
    legend = "".join(
        marker(style, 300, 24 + 18 * style, f"dot s{style}")
        + f'<text x="312" y="{28 + 18 * style}">{text}</text>'
        for style, text in enumerate(("supernet", "trained alone"))
    )
    head, inside, tail = drawn.partition("</desc>")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}{inside}<style>{CSS}</style>{tail.removesuffix('</svg>')}{legend}</svg>\n"


def _line(
    found: Sequence[tuple[float, Measurement]], x: Axis, y: Axis, style: int, kind: str
) -> str:
    body = polyline([(a, m.value) for a, m in found], x, y, f"line s{style}")
    for a, m in found:
        at = x.at(a) + (4 if style else -4)
        if m.low is not None and m.high is not None:
            body += (
                f'<line class="line s{style}" x1="{at}" x2="{at}" '
                f'y1="{y.at(m.low)}" y2="{y.at(m.high)}"/>'
            )
        hint = f"{kind}: {m.value:.2f} % at {a:.1f} M"
        body += marker(style, x.at(a), y.at(m.value), f"dot s{style}", hint)
    return body
