"""The page: one HTML file without scripts or anything to fetch."""

from collections.abc import Mapping, Sequence
from html import escape

from todm.report.bars import split_bars
from todm.report.charts import Series, lines, thin
from todm.report.pareto import pareto
from todm.report.sources import Curve, Device, Page, Training
from todm.report.style import CSS
from todm.report.tables import (
    budgets_table,
    devices_table,
    environment_table,
    shapes_table,
    stages_table,
)

NET_STYLES = {"largest": 0, "middle": 1, "smallest": 2}
"""Nets of the training charts, alike in both; any other takes the style after these."""
TIME_PARTS = ("encoder", "predictor", "joiner", "rest")
MAC_PARTS = ("encoder", "predictor", "joiner")


def render(page: Page) -> str:
    """Return the whole page as HTML text."""
    sections = (
        ("Devices", _devices(page)),
        ("Search: accuracy against cost", figure(pareto(page), _PARETO_NOTE, wide=True)),
        ("Training", _training(page.training)),
        ("Where time and products go", _work(page.devices)),
        ("Architectures", shapes_table(page.devices)),
        ("Budgets and gates", budgets_table(page.devices)),
        ("Seconds of each stage", stages_table(page.stages_s) if page.stages_s else ""),
        ("Environment", environment_table(page.environment)),
    )
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>"
        for heading, content in sections
        if content
    )
    return document(page.title, _lead(page) + body)


def document(title: str, body: str) -> str:
    """Return a whole HTML text with the style sheet inside."""
    title = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{CSS}</style></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


_PARETO_NOTE = (
    "Every net was cut out of one trained supernet, none was trained again. Lower left is better."
)


def _lead(page: Page) -> str:
    failed = [d.title for d in page.devices if d.verdict == "failed"]
    parts = [f"{len(page.devices)} device(s)."]
    if failed:
        parts.append(f"Budgets or gates failed: {', '.join(failed)}.")
    if page.stages_s:
        parts.append(f"Made in {sum(page.stages_s.values()):.0f} s.")
    parts.append(f"{page.environment.date.replace('T', ' ').replace('Z', ' UTC')}.")
    return f'<p class="soft">{escape(" ".join(parts))}</p>'


def _devices(page: Page) -> str:
    return devices_table(page.devices) if page.devices else ""


def figure(content: str, note: str, *, wide: bool = False) -> str:
    """Return a drawing with its caption; nothing where there is no drawing."""
    if not content:
        return ""
    css = ' class="wide"' if wide else ""
    return f"<figure{css}><figcaption>{escape(note)}</figcaption>{content}</figure>"


def series_of(curves: Mapping[str, Curve]) -> list[Series]:
    """Return thinned curves, the named nets first, of other nets (random ones) the first."""
    others = sorted(set(curves) - set(NET_STYLES))[:1]
    styles = NET_STYLES | {name: len(NET_STYLES) for name in others}
    return [
        Series(label=name, points=thin(curves[name]), style=style)
        for name, style in styles.items()
        if curves.get(name)
    ]


def _training(training: Training | None) -> str:
    if training is None:
        return ""
    drawn = []
    if loss := series_of(training.loss):
        labels = ("step", "loss per token [nats]")
        chart = lines("loss", "Training loss by step", loss, labels=labels, log=True)
        drawn.append(figure(chart, "Transducer loss of the nets that a step trains."))
    if wer := series_of(training.dev_wer):
        chart = lines("wer", "Dev WER by step", wer, labels=("step", "dev WER [%]"), log=False)
        drawn.append(figure(chart, "Greedy, at most one symbol per frame."))
    return f'<div class="grid2">{"".join(drawn)}</div>' if drawn else ""


def _work(devices: Sequence[Device]) -> str:
    times = _parts(devices, "time_ms", TIME_PARTS)
    macs = _parts(devices, "macs", MAC_PARTS)
    drawn = []
    if times:
        chart = split_bars("time", "Time of a chunk by part", times, "ms")
        note = "Mean time of a chunk on this machine; rest is features and search."
        drawn.append(figure(chart, note))
    if macs:
        chart = split_bars("macs", "MACs per second of audio by part", macs, "MAC/s")
        drawn.append(figure(chart, "Multiply-adds per second of audio, counted."))
    return f'<div class="grid2">{"".join(drawn)}</div>' if drawn else ""


def _parts(
    devices: Sequence[Device], prefix: str, parts: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the parts' values of every device that has all of them."""
    found = {}
    for device in devices:
        values = {part: device.value(f"{prefix}.{part}") for part in parts}
        known = {part: max(0.0, value) for part, value in values.items() if value is not None}
        if len(known) == len(parts):
            found[device.title] = known
    return found
