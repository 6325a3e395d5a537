"""Both gates over all forms of a draft: which quantized forms it ships, and what was found.

Accuracy first (dev speech with transcripts), then drift (minutes of one joined stream): float32
must follow float64 offline, every other form must not grow worse. A quantized form that drifts is
withheld and its record kept, unless it is the one that the device ships: then there is no bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from todm.core.errors import GateError, InputError
from todm.core.quality import DriftRecord, GateRecord, Quality, failed
from todm.core.quantization import GateConfig, Quantized
from todm.core.report import environment
from todm.core.target import ExportTarget
from todm.decode.drift import joined, record_drift
from todm.decode.streaming import padded_features
from todm.decode.tokens import TokenTable
from todm.export.evidence import Evidence, Samples
from todm.export.gate import AccuracyGate
from todm.export.schemes import Workshop, calibration_s, form_of
from todm.runtimes.bundle import Precision
from todm.runtimes.eager import EagerSteps

REFERENCE = "torch offline in float64"


@dataclass(frozen=True)
class Assurance:
    """What the gates judge by."""

    config: GateConfig = field(default_factory=GateConfig)
    evidence: Evidence | None = None
    """None leaves quantized forms without the accuracy gate, which must be said: ``ungated``."""
    ungated: bool = False
    """Ship quantized forms whose accuracy nobody measured; the card says so."""

    @property
    def calibration(self) -> tuple[Samples, ...]:
        """Speech for static ranges."""
        return () if self.evidence is None else self.evidence.calibration

    @property
    def source(self) -> str:
        """Where the gate's speech comes from, for the lineage."""
        return "none" if self.evidence is None or self.ungated else self.evidence.source

    def check(self, targets: Sequence[ExportTarget]) -> None:
        """Refuse quantized targets that nothing can judge.

        Raises:
            InputError: no dev speech for the gate, or none to calibrate with.
        """
        schemes = [scheme for target in targets for scheme in target.quantized]
        names = ", ".join(scheme.precision for scheme in schemes)
        if schemes and self.evidence is None and not self.ungated:
            raise InputError(
                f"{names} is judged on transcribed dev speech and there is none: give --corpus, "
                "or export --precision fp32 alone, or say --ungated to ship it unmeasured"
            )
        static = [scheme for scheme in schemes if calibration_s(scheme)]
        if static and not self.calibration:
            raise InputError(
                f"{static[0].precision} is calibrated on training or dev speech: give --corpus"
            )


def assure(
    workshop: Workshop,
    targets: Sequence[ExportTarget],
    assurance: Assurance,
    table: TokenTable,
    audio: Sequence[Float[np.ndarray, " S"]],
    *,
    shipped: Precision | None = None,
) -> Quality:
    """Write the quantized forms that hold, judge every form's drift, remove those that drift.

    Args:
        workshop: The net and the folder with its float32 forms.
        targets: What is asked for.
        assurance: What the gates judge by.
        table: The net's tokens.
        audio: Speech for the drift gate where there is no dev speech.
        shipped: The precision that the device loads: it may not be withheld.

    Raises:
        GateError: a scheme cannot hold the accuracy gate, or a form that must be there drifts.
    """
    schemes = [scheme for target in targets for scheme in target.quantized]
    gate = tuple(_judged(workshop, scheme, assurance, table) for scheme in schemes)
    speech = [s.samples_S for s in assurance.evidence.dev] if assurance.evidence else audio
    drift = _drift(workshop, targets, joined(speech, assurance.config.drift_s))
    withheld = []
    for record in drift:
        bad = failed(record.verdicts())
        if bad and record.precision in ("fp32", shipped):
            shown = "; ".join(f"{v.name} {v.value:.3g} > {v.limit:g}" for v in bad)
            raise GateError(f"the stream drifts ({bad[0].note}): {shown}")
        if bad:
            withheld.append(record.name)
            workshop.remove(record.form, record.precision)
    return Quality(gate=gate, drift=drift, withheld=tuple(withheld))


def _judged(
    workshop: Workshop, scheme: Quantized, assurance: Assurance, table: TokenTable
) -> GateRecord:
    if assurance.evidence is not None and not assurance.ungated:
        gate = AccuracyGate(workshop, assurance.evidence.dev, table, assurance.config)
        return gate.ship(scheme)
    return GateRecord(
        form=form_of(scheme),
        scheme=scheme,
        isa=environment().isa,
        status="ungated",
        linears=workshop.write(scheme),
    )


def _drift(
    workshop: Workshop, targets: Sequence[ExportTarget], speech_S: Float[np.ndarray, " S"]
) -> tuple[DriftRecord, ...]:
    exact = EagerSteps(workshop.model, workshop.model.spec, workshop.contract, dtype=torch.float64)
    features_RF = padded_features(speech_S, workshop.contract)
    reference_KJ = exact.encode_offline(features_RF[None])[0]
    isa = environment().isa
    return tuple(
        record_drift(
            workshop.open(target.form, scheme.precision),
            features_RF,
            reference_KJ,
            name=(target.form, scheme.precision),
            isa=isa,
            reference=REFERENCE,
        )
        for target in targets
        for scheme in target.schemes
    )


def write_ungated(workshop: Workshop, targets: Sequence[ExportTarget]) -> None:
    """Write every quantized form as asked for, unjudged: to measure candidates."""
    for target in targets:
        for scheme in target.quantized:
            workshop.write(scheme)
