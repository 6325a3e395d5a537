"""The Pareto plot: dev WER against MACs per second of audio, and where the devices sit."""

from collections.abc import Callable, Sequence
from html import escape

from todm.core.cost import macs_per_audio_s
from todm.report.charts import (
    LEFT,
    RIGHT,
    WIDTH,
    Points,
    drawing,
    frame,
    legend_entry,
    marker,
    number,
    polyline,
    quantity,
    x_axis,
    y_axis,
)
from todm.report.sources import Device, Page

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Placed = tuple[str, Device, float, float]
"""Letter, device, MACs per second of audio, dev WER in percent."""


def placed(page: Page) -> list[Placed]:
    """Return every device that has a place on the plot."""
    return [
        (LETTERS[i % len(LETTERS)], device, macs_per_audio_s(device.spec), device.dev_wer)
        for i, device in enumerate(page.devices)
        if device.spec is not None and device.dev_wer is not None
    ]


def pareto(page: Page) -> str:
    """Return the plot; empty when there is no front."""
    if page.front is None or not page.front.points:
        return ""
    front = [(p.macs_per_audio_s, p.wer) for p in page.front.points]
    trials = [(p.macs_per_audio_s, p.wer) for p in page.trials.points] if page.trials else []
    devices = placed(page)
    every = [*front, *trials, *((macs, wer) for _, _, macs, wer in devices)]
    x = x_axis("MACs per second of audio", [a for a, _ in every], log=True)
    y = y_axis("dev WER [%]", [b for _, b in every])
    body = frame(x, y) + "".join(_trial(x.at(a), y.at(b)) for a, b in trials)
    body += polyline(front, x, y, "line s0")
    for point in page.front.points:
        macs = quantity(point.macs_per_audio_s, "MAC/s")
        hint = f"{point.spec.short_name}: {point.wer:.2f} %, {macs}"
        body += marker(0, x.at(point.macs_per_audio_s), y.at(point.wer), "dot s0", hint)
    body += _devices(devices, x.at, y.at)
    title = "Dev WER against MACs per second of audio"
    drawn = drawing("pareto", title, _description(front, devices), body)
    return f'{drawn}<p class="legend">{_legend(devices, len(trials))}</p>'


def _trial(x: float, y: float) -> str:
    return f'<circle class="trial" cx="{x}" cy="{y}" r="2.2"/>'


def _description(front: Points, devices: Sequence[Placed]) -> str:
    told = "; ".join(f"{d.title}: {wer:.2f} % at {number(macs)}" for _, d, macs, wer in devices)
    (cheap, most), (dear, least) = front[0], front[-1]
    return (
        f"{len(front)} nets on the front, from {most:.2f} % at {number(cheap)} MACs per second "
        f"to {least:.2f} % at {number(dear)}. {told}"
    )


def _legend(devices: Sequence[Placed], num_trials: int) -> str:
    keys = [legend_entry(0, "Pareto front")]
    if num_trials:
        icon = f'<svg class="key" viewBox="0 0 20 12" aria-hidden="true">{_trial(10, 6)}</svg>'
        keys.append(f"<span>{icon}evaluated nets ({num_trials})</span>")
    keys += [f'<span><b class="letter">{a}</b> {escape(d.title)}</span>' for a, d, _, _ in devices]
    return "".join(keys)


def _devices(
    devices: Sequence[Placed],
    x_at: Callable[[float], float],
    y_at: Callable[[float], float],
) -> str:
    """Return letters in circles; devices at one place share a label."""
    spots: dict[tuple[float, float], list[str]] = {}
    for letter, _, macs, wer in devices:
        at = (x_at(macs), y_at(wer))
        near = next((s for s in spots if abs(s[0] - at[0]) < 14 and abs(s[1] - at[1]) < 14), at)
        spots.setdefault(near, []).append(letter)
    body = ""
    for (x, y), letters in spots.items():
        width = 16 + 8 * (len(letters) - 1)
        left = min(max(x - width / 2, LEFT), WIDTH - RIGHT - width)
        body += f'<rect class="pin" x="{left}" y="{y - 8}" width="{width}" height="16" rx="8"/>'
        body += (
            f'<text class="pin" x="{left + width / 2}" y="{y + 4}" text-anchor="middle">'
            f"{''.join(letters)}</text>"
        )
    return body
