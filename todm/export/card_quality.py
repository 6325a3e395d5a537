"""The card's section on quantized forms: what the gates found, and which layers fell back."""

from collections.abc import Iterable

from todm.core.quality import DriftRecord, GateRecord, Quality, isa_label
from todm.core.quantization import OnnxDynamicInt8
from todm.export.card_table import table

SHOWN_LAYERS = 5
"""Layers of the ranking in the card; ``quality.json`` has all of them."""


def quality_section(quality: Quality) -> str:
    """Return the section in Markdown."""
    if not quality.gate:
        return _drift(quality)
    notes = [f"- {line}" for record in quality.gate for line in _notes(record)]
    return "\n\n".join((_gate(quality.gate), "\n".join(notes), _drift(quality)))


def _gate(records: Iterable[GateRecord]) -> str:
    rows = [
        (
            f"`{r.name}`",
            isa_label(r.isa),
            _percent(r.nll_rise),
            _number(r.wer_fp32),
            _number(r.wer),
            _number(r.wer_rise_bound),
            "not measured: exported without a gate" if r.status == "ungated" else r.status,
        )
        for r in records
    ]
    head = ("form", "ISA", "NLL rise", "WER fp32", "WER", "rise at most (95 %)", "gate")
    words = max((r.words for r in records), default=0)
    return (
        f"On dev speech ({words} words), by the form's own runtime. The limits are a rise of the "
        "RNN-T likelihood and a one-sided 95 % bound of the WER's rise (points); int8 figures hold "
        "for the instruction set named.\n\n" + table(head, rows)
    )


def _notes(record: GateRecord) -> Iterable[str]:
    for part, count in record.linears.items():
        if count:
            yield f"`{record.name}` {part}: {count} linears quantized, everything else float32"
    if isinstance(record.scheme, OnnxDynamicInt8) and record.scheme.reduce_range:
        yield f"`{record.name}` has weights of seven bits, which do not saturate on AVX2"
    if record.scheme.fallbacks:
        yield f"`{record.name}` keeps in float32: {', '.join(record.scheme.fallbacks)}"
    if record.ranking:
        worst = ", ".join(
            f"{rise.layer} {100 * rise.nll_rise:+.2f} %" for rise in record.ranking[:SHOWN_LAYERS]
        )
        yield f"`{record.name}`, likelihood when a layer alone is quantized, worst first: {worst}"


def _drift(quality: Quality) -> str:
    rows = [_drift_row(r, withheld=r.name in quality.withheld) for r in quality.drift]
    first = quality.drift[0] if quality.drift else None
    length = "" if first is None else f"{first.audio_s / 60:.3g} min of joined speech against "
    where = "" if first is None else f"{length}{first.reference}; relative RMS errors.\n\n"
    return where + table(("form", "whole", "first window", "last", "last / first", ""), rows)


def _drift_row(record: DriftRecord, *, withheld: bool) -> tuple[str, ...]:
    return (
        f"`{record.name}`",
        f"{record.rel_rms:.2e}",
        f"{record.first:.2e}",
        f"{record.last:.2e}",
        f"{record.last_over_first:.2f}",
        "withheld: it grows worse" if withheld else "",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} %"
