"""The tables of the page; on a narrow screen each row of a ``stack`` table becomes a card."""

from collections.abc import Mapping, Sequence
from html import escape

from todm.core.cost import macs_per_audio_s, num_parameters
from todm.core.report import Environment, Measurement, Verdict
from todm.core.specs import FRAME_MS, SUBSAMPLING
from todm.report.charts import number, quantity
from todm.report.pareto import LETTERS
from todm.report.sources import Device

NONE = '<span class="not_judged">not measured</span>'
AXIS_TITLES = {"layers": "Layers kept", "ffn": "FFN width", "state": "Modes"}
"""Axes whose short name does not say enough."""
WORDS = {
    "met": "met",
    "failed": "failed",
    "not_judged": "not judged",
    "partly": "met as far as judged",
}


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of HTML cells; the first of a row is its heading."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = ""
    for first, *cells in rows:
        shown = "".join(
            f'<td data-label="{escape(label)}"><div>{cell}</div></td>'
            for label, cell in zip(heads[1:], cells, strict=True)
        )
        body += f'<tr><th scope="row">{first}</th>{shown}</tr>'
    return (
        f'<table class="stack"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def verdict(status: str, note: str = "") -> str:
    """Return a verdict in words and colour."""
    extra = f'<span class="note">{escape(note)}</span>' if note else ""
    return f'<span class="{status}">{WORDS[status]}</span>{extra}'


def with_interval(found: Measurement | None, digits: int) -> str:
    """Return a value with its interval below it."""
    if found is None:
        return NONE
    text = f"{found.value:.{digits}f}"
    if found.low is None or found.high is None:
        return text
    return f'{text}<span class="note">{found.low:.{digits}f} to {found.high:.{digits}f}</span>'


def devices_table(devices: Sequence[Device]) -> str:
    """Return one row per device."""
    heads = (
        "Device", "Parameters", "MACs/s", "Bundle", "WER fp32 [%]", "WER int8 [%]",
        "Latency p50 [ms]", "Latency p95 [ms]", "RTF", "Budgets",
    )  # fmt: skip
    rows = [_device_row(LETTERS[i % len(LETTERS)], device) for i, device in enumerate(devices)]
    caption = (
        "MACs per second of audio. WER with its 95 % interval. Latency of one chunk back to back "
        "on the machine below, with the range of the repeats; its budget is of the device."
    )
    return table(caption, heads, rows)


def _device_row(letter: str, device: Device) -> list[str]:
    spec = device.spec
    size = device.value("bundle_bytes")
    runtime = f'<span class="note">{escape(device.runtime)}</span>' if device.runtime else ""
    return [
        f'<span><b class="letter">{letter}</b> {escape(device.title)}{runtime}</span>',
        NONE if spec is None else number(num_parameters(spec)),
        NONE if spec is None else number(macs_per_audio_s(spec)),
        NONE if size is None else quantity(size, "B"),
        with_interval(device.wer.get("fp32"), 2),
        with_interval(device.wer.get("int8"), 2),
        with_interval(device.figures.get("latency_ms.p50"), 2),
        with_interval(device.figures.get("latency_ms.p95"), 2) + _latency_budget(device),
        with_interval(device.figures.get("rtf"), 4),
        verdict(device.verdict, _counts(device.verdicts)),
    ]


def _latency_budget(device: Device) -> str:
    limits = [v.limit for v in device.verdicts if v.name.endswith("chunk_latency_p95_ms")]
    return f'<span class="note">budget {number(limits[0])}</span>' if limits else ""


def _counts(verdicts: Sequence[Verdict]) -> str:
    counts = {s: sum(v.status == s for v in verdicts) for s in WORDS}
    return ", ".join(f"{n} {WORDS[s]}" for s, n in counts.items() if n)


def budgets_table(devices: Sequence[Device]) -> str:
    """Return every budget and gate of every device; empty when there is none."""
    rows = [
        [
            escape(f"{device.title}: {v.name.removeprefix('budget.')}"),
            "-" if v.value is None else escape(quantity(v.value, v.unit)),
            escape(quantity(v.limit, v.unit)),
            verdict(v.status, v.note),
        ]
        for device in devices
        for v in device.verdicts
    ]
    if not rows:
        return ""
    caption = "A line that this machine cannot judge for the device is not judged, never met."
    return table(caption, ("Line", "Value", "Limit", "Verdict"), rows)


def shapes_table(devices: Sequence[Device]) -> str:
    """Return the architectures side by side."""
    specs = [(escape(d.title), d.spec) for d in devices if d.spec is not None]
    names = dict.fromkeys(name for _, spec in specs for name in spec.axes())
    rows = []
    for title, spec in specs:
        axes = spec.axes()
        cells = [_listed(axes.get(name, "-")) for name in names]
        rows.append([title, *cells, f"{spec.chunk_frames * FRAME_MS * SUBSAMPLING} ms"])
    heads = ("Device", *(AXIS_TITLES.get(name, name.capitalize()) for name in names), "Chunk")
    return table("One value per kept layer; lookahead in frames.", heads, rows) if rows else ""


def _listed(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return str(value[0]) if len(set(value)) == 1 and len(value) > 1 else " ".join(map(str, value))


def stages_table(stages_s: Mapping[str, float]) -> str:
    """Return the seconds of each stage."""
    total = sum(stages_s.values())
    rows = [[escape(name), f"{seconds:.1f}"] for name, seconds in stages_s.items()]
    return table("Wall clock.", ("Stage", "Seconds"), [*rows, ["all", f"{total:.1f}"]])


def environment_table(environment: Environment) -> str:
    """Return where the figures were made."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    shown = {
        "Machine": f"{environment.machine}, {environment.cpu}, {environment.cores} cores",
        "Instruction set": ", ".join(environment.isa) or "unknown",
        "Python": environment.python,
        "Packages": versions,
        "Commit": environment.commit,
        "Command": environment.command,
        "Date": environment.date,
    }
    rows = [[name, f"<code>{escape(text)}</code>"] for name, text in shown.items()]
    return table("int8 results hold for this instruction set.", ("What", "Value"), rows)
