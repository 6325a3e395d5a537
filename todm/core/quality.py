"""What an export knows of the quality of its forms: the accuracy gate and the drift gate.

``quality.json`` of a bundle. Forms that were withheld are in it too: the record of a failure is a
result. int8 kernels round differently per instruction set, so every record names the one that
made it, and ``isa_differs`` tells when that is not the one at hand.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from todm.core.quantization import PrecisionName, Scheme
from todm.core.report import Verdict
from todm.core.target import Form
from todm.core.value import Value

FP32_REL_RMS = 1e-5
"""Largest relative RMS error of float32 streaming against float64 offline."""
FP32_LAST_OVER_FIRST = 3.0
OTHER_LAST_OVER_FIRST = 1.5
"""Largest error of the stream's last minute over that of its first."""


class LayerRise(Value):
    """A linear and what quantizing it alone costs."""

    layer: str
    nll_rise: float
    """Relative, on the ranking utterances."""


class GateRecord(Value):
    """The accuracy gate of one quantized form, on dev speech."""

    form: Form
    scheme: Scheme
    """As shipped: with the fallbacks that the gate added, and the bits of weight that it took."""
    isa: tuple[str, ...]
    """Instruction sets of the machine that made the figures."""
    status: Literal["met", "failed", "ungated"]
    nll_fp32: float | None = None
    nll: float | None = None
    """Negative log-likelihood per token in nats."""
    max_nll_rise: float | None = None
    wer_fp32: float | None = None
    wer: float | None = None
    wer_rise_bound: float | None = None
    """One-sided 95 % bound of the WER's rise, paired bootstrap, in percent points."""
    max_wer_rise: float | None = None
    utterances: int = 0
    words: int = 0
    linears: dict[str, int] = Field(default_factory=dict)
    """Quantized linears of each part."""
    ranking: tuple[LayerRise, ...] = ()
    """Worst first; empty where the scheme held at once."""
    tried: int = 1
    """Schemes that were judged: bits of weight, sets of fallbacks."""

    @property
    def name(self) -> str:
        """Form and precision, such as ``onnx.int8``."""
        return f"{self.form}.{self.scheme.precision}"

    @property
    def nll_rise(self) -> float | None:
        """Relative rise of the negative log-likelihood."""
        if self.nll is None or self.nll_fp32 is None:
            return None
        return self.nll / max(self.nll_fp32, 1e-12) - 1.0

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the gate's two lines; not judged where the user went without a gate."""
        note = f"dev, {self.words} words, on {isa_label(self.isa)}"
        return (
            _verdict(f"gate.{self.name}.nll_rise", self.nll_rise, self.max_nll_rise, "", note),
            _verdict(
                f"gate.{self.name}.wer_rise_bound",
                self.wer_rise_bound,
                self.max_wer_rise,
                "points",
                note,
            ),
        )


class DriftRecord(Value):
    """The drift gate of one form, on one long stream of joined speech."""

    form: Form
    precision: PrecisionName
    isa: tuple[str, ...]
    rel_rms: float
    first: float
    last: float
    """Relative RMS errors of the whole stream, its first and its last window."""
    audio_s: float
    window_s: float
    reference: str
    """What the stream was compared with."""

    @property
    def name(self) -> str:
        """Form and precision, such as ``onnx.int8``."""
        return f"{self.form}.{self.precision}"

    @property
    def last_over_first(self) -> float:
        """Growth of the error; 1 is none."""
        return self.last / max(self.first, 1e-30) if self.last > 0 else 0.0

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the lines that the form is judged by."""
        note = (
            f"{self.audio_s / 60:.3g} min of joined speech, windows of {self.window_s:.3g} s, "
            f"against {self.reference}"
        )
        exact = self.precision == "fp32"
        limit = FP32_LAST_OVER_FIRST if exact else OTHER_LAST_OVER_FIRST
        growth = _verdict(
            f"drift.{self.name}.last_over_first", self.last_over_first, limit, "", note
        )
        if not exact:
            return (growth,)
        error = _verdict(f"drift.{self.name}.rel_rms", self.rel_rms, FP32_REL_RMS, "", note)
        return (error, growth)


class Quality(Value):
    """Everything that was found, the withheld forms included."""

    gate: tuple[GateRecord, ...] = ()
    drift: tuple[DriftRecord, ...] = ()
    withheld: tuple[str, ...] = ()
    """Forms that the drift gate kept out of the bundle, by form and precision."""

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the lines of all forms that are in the bundle."""
        records: tuple[GateRecord | DriftRecord, ...] = (*self.gate, *self.drift)
        return tuple(v for r in records if r.name not in self.withheld for v in r.verdicts())


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return those that failed."""
    return [verdict for verdict in verdicts if verdict.status == "failed"]


def isa_label(isa: Sequence[str]) -> str:
    """Return instruction sets as people write them."""
    return "+".join(isa) or "unknown ISA"


_INT8_ISA = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm")


def isa_differs(made: Sequence[str], here: Sequence[str]) -> bool:
    """Tell whether two machines may round int8 products differently."""
    return {*made} & {*_INT8_ISA} != {*here} & {*_INT8_ISA}


def _verdict(name: str, value: float | None, limit: float | None, unit: str, note: str) -> Verdict:
    if value is None or limit is None:
        return Verdict(
            name=name, status="not_judged", limit=0.0, value=None, unit=unit, note="ungated"
        )
    return Verdict(
        name=name,
        status="met" if value <= limit else "failed",
        limit=limit,
        value=value,
        unit=unit,
        note=note,
    )
