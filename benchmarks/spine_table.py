"""The Markdown of ``spine.json``: two small tables that the README quotes, then every figure."""

from collections.abc import Mapping

from pages import everything, made_with, number, table

from todm.core.report import Measurement, Report

NETS = ("largest", "middle", "smallest")
DEVICES = ("this_host", "browser_tab", "mcu_arm")
FORMS = ("onnx.fp32", "onnx.int8", "executorch.fp32")

Named = Mapping[str, Measurement]


def required_names() -> set[str]:
    """Return the figures that a complete table holds; pairs of runtimes come on top."""
    wers = {f"{corpus}.wer.{net}" for corpus in ("fsdd", "an4") for net in NETS}
    by_device = {
        f"{figure}.{device}"
        for figure in ("latency_ms.p50", "latency_ms.p95", "rtf", "fsdd.wer")
        for device in DEVICES
    }
    return {
        *wers,
        *by_device,
        *(f"bytes.{device}.{form}" for device in DEVICES for form in FORMS),
        *(f"emission_delay_ms.{net}.{figure}" for net in NETS for figure in ("median", "p95")),
        *(f"int8.{corpus}.wer_delta" for corpus in ("fsdd", "an4")),
        "fsdd.train_s",
        "cost.ratio_to_largest",
        "cost.wall_ratio_to_largest",
        "sherpa.token_match",
    }


def render(report: Report, title: str) -> str:
    """Return the whole page."""
    named = {measurement.name: measurement for measurement in report.measurements}
    where = made_with(report.environment)
    return (
        "\n\n".join(
            [f"# {title}", where, _nets(named), _devices(named), everything(report.measurements)]
        )
        + "\n"
    )


def _cell(named: Named, name: str, *, interval: bool = False) -> str:
    found = named.get(name)
    if found is None:
        return "-"
    text = number(found.value, found.unit)
    if interval and found.low is not None:
        text += f" [{number(found.low, found.unit)}, {number(found.high, found.unit)}]"
    return text


def _delay(named: Named, net: str) -> str:
    ends = (_cell(named, f"emission_delay_ms.{net}.{figure}") for figure in ("median", "p95"))
    return " / ".join(ends)


def _nets(named: Named) -> str:
    headers = ("net", "FSDD WER %", "AN4 WER %", "emission delay ms, median / p95 (FSDD)")
    rows = [
        (
            net,
            _cell(named, f"fsdd.wer.{net}", interval=True),
            _cell(named, f"an4.wer.{net}", interval=True),
            _delay(named, net),
        )
        for net in NETS
    ]
    return table(headers, rows)


def _devices(named: Named) -> str:
    headers = (
        "device",
        *(f"bytes {form}" for form in FORMS),
        "FSDD WER %",
        "int8 - fp32, points (FSDD)",
        "chunk p50 / p95 ms",
        "RTF",
        "emission delay ms, median / p95",
    )
    rows = [
        (
            device,
            *(_cell(named, f"bytes.{device}.{form}") for form in FORMS),
            _cell(named, f"fsdd.wer.{device}", interval=True),
            _cell(named, f"int8.fsdd.wer_delta.{device}", interval=True),
            " / ".join(_cell(named, f"latency_ms.{p}.{device}") for p in ("p50", "p95")),
            _cell(named, f"rtf.{device}"),
            _delay(named, device),
        )
        for device in DEVICES
    ]
    return table(headers, rows)
