"""Parity: does every exported form compute what the trained network computes?

On real speech, per recording and on all of them joined into one long stream: the training form
over the whole recording (torch offline), torch chunk by chunk, and each runtime chunk by chunk.
Encoder outputs may differ by rounding; greedy tokens and their frames may not differ at all.

Tolerances, relative to the reference's RMS and largest magnitude:
same fold, torch against a runtime: 5e-6 and 1e-5; streaming against offline: 1e-5 and 3e-5.
K encoder frames, J joiner width, R fbank frames, F mel bins, S samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32

from todm.core.report import Measurement, Report, Verdict, environment
from todm.decode.greedy import Hypothesis, first_mismatch, greedy
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import encode_chunks, padded_features
from todm.metrics.deviation import Deviation
from todm.runtimes.eager import EagerSteps

SAME_FOLD = (5e-6, 1e-5)
STREAMING = (1e-5, 3e-5)
"""Limits of the relative RMS and of the largest error over the largest magnitude."""


@dataclass
class _Heard:
    """What one form made of every recording."""

    outputs_KJ: list[Float[np.ndarray, "K J"]]
    hypotheses: list[Hypothesis]


def check_parity(
    torch_steps: EagerSteps,
    exact: Mapping[str, TransducerSteps],
    audio: Sequence[Float[np.ndarray, " S"]],
) -> Report:
    """Compare every form on recordings of speech.

    Args:
        torch_steps: The subnet in torch.
        exact: float32 forms by name, each judged.
        audio: Recordings.

    Returns:
        A report whose verdicts and measurements are named ``parity.*``.
    """
    features = _features(torch_steps, audio)
    offline = _hear(torch_steps, [torch_steps.encode_offline(f[None])[0] for f in features])
    heard = {"torch_stream": _hear_stream(torch_steps, features)}
    heard |= {name: _hear_stream(steps, features) for name, steps in exact.items()}
    verdicts: list[Verdict] = []
    measurements = _counts(offline, audio)
    for name, form in heard.items():
        verdicts += _judge(f"{name}_vs_torch_offline", form, offline, STREAMING)
        if name != "torch_stream":
            verdicts += _judge(f"{name}_vs_torch_stream", form, heard["torch_stream"], SAME_FOLD)
        verdicts.append(_judge_tokens(name, form, offline))
        measurements.append(_drift(name, form, offline))
    return Report(
        environment=environment(), measurements=tuple(measurements), verdicts=tuple(verdicts)
    )


def measure_approximate(
    exact: Mapping[str, TransducerSteps],
    approximate: Mapping[str, TransducerSteps],
    audio: Sequence[Float[np.ndarray, " S"]],
) -> list[Measurement]:
    """Measure the error of quantized forms against the float32 form of the same runtime.

    Args:
        exact: float32 forms by name.
        approximate: Others by name; the part before the dot names their float32 form.
        audio: Recordings.
    """
    measurements: list[Measurement] = []
    for name, steps in approximate.items():
        features = _features(steps, audio)
        reference = _hear_stream(exact[name.partition(".")[0]], features)
        measurements += _measure(name, _hear_stream(steps, features), reference)
    return measurements


def _features(
    steps: TransducerSteps, audio: Sequence[Float[np.ndarray, " S"]]
) -> list[Float32[np.ndarray, "R F"]]:
    """Return each recording's features, then those of all joined into one stream."""
    joined_S = np.concatenate(list(audio))
    return [padded_features(samples_S, steps.contract) for samples_S in (*audio, joined_S)]


def _hear_stream(steps: TransducerSteps, features: Sequence[Float32[np.ndarray, "R F"]]) -> _Heard:
    return _hear(steps, [encode_chunks(steps, features_RF) for features_RF in features])


def _hear(steps: TransducerSteps, outputs_KJ: list[Float[np.ndarray, "K J"]]) -> _Heard:
    return _Heard(outputs_KJ, [greedy(steps, output_KJ) for output_KJ in outputs_KJ])


def _deviation(form: _Heard, reference: _Heard) -> Deviation:
    deviation = Deviation()
    for output_KJ, reference_KJ in zip(form.outputs_KJ, reference.outputs_KJ, strict=True):
        deviation.add(output_KJ, reference_KJ)
    return deviation


def _judge(
    name: str, form: _Heard, reference: _Heard, limits: tuple[float, float]
) -> list[Verdict]:
    return judge_deviation(name, _deviation(form, reference), limits, "encoder output")


def judge_deviation(
    name: str, deviation: Deviation, limits: tuple[float, float], note: str
) -> list[Verdict]:
    """Return the verdicts on both errors; ``note`` says what was compared."""
    values = {"rel_rms": deviation.rel_rms, "rel_max": deviation.rel_max}
    return [
        Verdict(
            name=f"parity.{name}.{figure}",
            status="met" if value <= limit else "failed",
            limit=limit,
            value=value,
            unit="",
            note=note,
        )
        for (figure, value), limit in zip(values.items(), limits, strict=True)
    ]


def _judge_tokens(name: str, form: _Heard, reference: _Heard) -> Verdict:
    """Count the recordings whose tokens or frames differ; show the first difference."""
    differing, note = 0, ""
    pairs = zip(form.hypotheses, reference.hypotheses, strict=True)
    for number, (mine, theirs) in enumerate(pairs):
        mismatch = first_mismatch(theirs, mine)
        if mismatch is not None:
            differing += 1
            note = note or f"recording {number}, {mismatch}"
    tokens = sum(len(hypothesis.ids) for hypothesis in reference.hypotheses)
    vacuous = tokens == 0 and not differing
    return Verdict(
        name=f"parity.tokens.{name}_vs_torch_offline",
        status="failed" if differing else "not_judged" if vacuous else "met",
        limit=0.0,
        value=None if vacuous else float(differing),
        unit="recordings",
        note="no token was heard, so none was compared"
        if vacuous
        else note or f"{tokens} tokens equal",
    )


def _drift(name: str, form: _Heard, reference: _Heard) -> Measurement:
    """Error in the last fifth of the joined stream over that in its first: 1 is no drift."""
    mine_KJ, theirs_KJ = form.outputs_KJ[-1], reference.outputs_KJ[-1]
    bounds = [round(mine_KJ.shape[0] * fifth / 5) for fifth in range(6)]
    errors = []
    for start, end in pairwise(bounds):
        part = Deviation()
        part.add(mine_KJ[start:end], theirs_KJ[start:end])
        errors.append(part.rel_rms)
    return Measurement(
        name=f"parity.{name}_vs_torch_offline.last_over_first",
        value=errors[-1] / max(errors[0], 1e-30),
        unit="",
        note="relative RMS of the joined stream's last fifth over its first",
    )


def _counts(reference: _Heard, audio: Sequence[Float[np.ndarray, " S"]]) -> list[Measurement]:
    alone = reference.hypotheses[:-1]
    margins = [min(h.margins) for h in reference.hypotheses]
    tokens = sum(len(h.ids) for h in alone)
    samples = sum(samples_S.size for samples_S in audio)
    return [
        Measurement(name="parity.audio_s", value=samples / 16000, unit="s", n=len(audio)),
        Measurement(name="parity.tokens", value=tokens, unit="tokens", n=len(audio)),
        Measurement(name="parity.least_margin", value=min(margins), unit="logit", n=len(audio)),
    ]


def _measure(name: str, form: _Heard, reference: _Heard) -> list[Measurement]:
    deviation = _deviation(form, reference)
    pairs = zip(form.hypotheses, reference.hypotheses, strict=True)
    equal = sum(first_mismatch(a, b) is None for a, b in pairs)
    count = len(form.hypotheses)
    note = "against the float32 form; the integer kernels' rounding depends on the ISA"
    return [
        Measurement(
            name=f"parity.{name}.rel_rms", value=deviation.rel_rms, unit="", n=count, note=note
        ),
        Measurement(
            name=f"parity.{name}.equal_recordings", value=equal / count, unit="", n=count, note=note
        ),
    ]
