"""The table that the demo ends with."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

HEADERS = (
    "device",
    "params",
    "MAC/s",
    "bundle",
    "WER fp32",
    "WER int8",
    "p50/p95 ms",
    "p95 budget ms",
    "RTF",
)


@dataclass(frozen=True)
class DeviceRow:
    """One device's figures; WER in percent, times of one 320 ms chunk on this machine."""

    device: str
    form: str
    net: str
    parameters: int
    macs_per_audio_s: float
    bundle_bytes: int
    wer_fp32: float
    wer_int8: float | None
    wer_shipped: float
    p50_ms: float
    p95_ms: float
    budget_ms: float | None
    budget_judged: bool
    rtf: float
    spoken: str
    heard: str

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        budget = "none" if self.budget_ms is None else f"{self.budget_ms:g}"
        if self.budget_ms is not None:
            met = "met" if self.p95_ms <= self.budget_ms else "FAILED"
            budget += f" {met}" if self.budget_judged else " not judged*"
        return (
            self.device,
            f"{self.parameters / 1e3:.0f} k",
            f"{self.macs_per_audio_s / 1e6:.1f} M",
            f"{self.bundle_bytes / 1e3:.0f} kB",
            f"{self.wer_fp32:.2f}",
            "-" if self.wer_int8 is None else f"{self.wer_int8:.2f}",
            f"{self.p50_ms:.2f} / {self.p95_ms:.2f}",
            budget,
            f"{self.rtf:.4f}",
        )


def render_table(
    rows: Sequence[DeviceRow],
    stages_s: Mapping[str, float],
    reused: Collection[str],
    page: Path,
    spoken_by: str,
) -> str:
    """Return the table, the transcripts, the seconds of each stage and the page's path."""
    table = tabulate([row.cells() for row in rows], headers=HEADERS, disable_numparse=True)
    heard = [f"  {row.device:<12} {row.heard}" for row in rows]
    stages = ", ".join(
        f"{name} {seconds:.1f}{' (reused)' if name in reused else ''}"
        for name, seconds in stages_s.items()
    )
    ran_s = sum(seconds for name, seconds in stages_s.items() if name not in reused)
    return "\n".join(
        [
            "",
            table,
            "p50 and p95 are of one chunk (320 ms of audio) on this machine;",
            "* which cannot judge that device's budget.",
            f"WER in percent on {spoken_by}.",
            "",
            f"said:          {rows[0].spoken}",
            *heard,
            "",
            *textwrap.wrap(f"seconds: {stages}; this run {ran_s:.0f}", 98, subsequent_indent="  "),
            f"report: {page}",
        ]
    )
