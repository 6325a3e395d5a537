"""The quality lines of ``todm check``: what export's gates found, judged again and measured again.

- ``gate.stored.*`` and ``drift.stored.*``: ``quality.json``, by value and limit.
- ``isa.*``: whether the device computes int8 with the instruction sets that the figures were made
  on. Not judged where it does not: int8 is then another arithmetic, and its WER unknown.
- ``drift.*``: every form of the bundle streamed for minutes, against the bundle's own float32
  graphs in float64, or the subnet of its lineage where there is no ONNX form.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from todm.core.artifact import load_artifact
from todm.core.errors import ArtifactError, MissingExtraError
from todm.core.profile import DeviceProfile
from todm.core.quality import GateRecord, Quality, isa_differs, isa_label
from todm.core.report import Verdict, environment
from todm.core.target import SCHEMES_OF_FORM, Form
from todm.decode.drift import joined, record_drift
from todm.decode.steps import TransducerSteps
from todm.decode.streaming import encode_chunks, padded_features
from todm.features.wav import read_audio
from todm.runtimes import open_recogniser
from todm.runtimes.bundle import QUALITY, Bundle, Precision, loaded_names
from todm.runtimes.exact import ExactSteps
from todm.runtimes.native import custom_ops
from todm.runtimes.recogniser import StepsRecogniser

_RUNTIME: dict[Form, str] = {"onnx": "ort", "executorch": "executorch"}


def stored_quality(bundle: Bundle, profile: DeviceProfile | None) -> list[Verdict]:
    """Judge what export measured again, and whether it holds for the device's arithmetic."""
    if QUALITY not in bundle.artifact.manifest.files:
        return [_not_judged("gate.stored", "the bundle holds no record of the gates")]
    quality = Quality.read_json(bundle.artifact.file(QUALITY))
    lines = [_stored(verdict) for verdict in quality.verdicts()]
    shipped = [r for r in quality.gate if r.name not in quality.withheld]
    return lines + [_isa(r, profile) for r in shipped if r.scheme.precision.startswith("int")]


def _stored(verdict: Verdict) -> Verdict:
    kind, _, rest = verdict.name.partition(".")
    return verdict.model_copy(update={"name": f"{kind}.stored.{rest}"})


def _isa(record: GateRecord, profile: DeviceProfile | None) -> Verdict:
    """Compare the instruction sets of the figures with the device's."""
    made, name = isa_label(record.isa), f"isa.{record.name}"
    if profile is not None and not profile.is_this_host:
        return _not_judged(
            name,
            f"warning: figures are of {made}, {profile.name} is {profile.arch}: its int8 rounds "
            "differently; measure the WER there",
        )
    here = environment().isa
    if isa_differs(record.isa, here):
        return _not_judged(
            name,
            f"warning: figures are of {made}, this machine has {isa_label(here)}: its int8 rounds "
            "differently; measure the WER here (todm eval --precision int8)",
        )
    return Verdict(name=name, status="met", limit=0.0, value=0.0, unit="", note=made)


def fresh_drift(bundle: Bundle, audio: Sequence[Path], seconds: float) -> list[Verdict]:
    """Stream every form for that long and judge how its error grows.

    Args:
        bundle: A bundle.
        audio: Recordings of speech, joined and repeated; none judges nothing.
        seconds: Length of the stream; 0 leaves the lines out.
    """
    if seconds <= 0:
        return []
    if not audio:
        return [_not_judged("drift", "no audio given")]
    features_RF = padded_features(
        joined([read_audio(path) for path in audio], seconds), bundle.contract
    )
    try:
        steps, reference = exact_steps(bundle)
    except (MissingExtraError, ArtifactError) as error:
        return [_not_judged("drift", str(error))]
    reference_KJ = encode_chunks(steps, features_RF)
    lines: list[Verdict] = []
    for form, precisions in SCHEMES_OF_FORM.items():
        for precision in precisions:
            if loaded_names(form, precision, frozenset(bundle.artifact.manifest.files)):
                lines += _drift_lines(
                    bundle, form, precision, features_RF, (reference_KJ, reference)
                )
    return lines


def _drift_lines(
    bundle: Bundle,
    form: Form,
    precision: Precision,
    features_RF: Float[np.ndarray, "R F"],
    reference: tuple[Float[np.ndarray, "K J"], str],
) -> Sequence[Verdict]:
    try:
        opened = open_recogniser(_RUNTIME[form], bundle.artifact.path, precision)
    except MissingExtraError as error:
        return [_not_judged(f"drift.{form}.{precision}", str(error))]
    assert isinstance(opened, StepsRecogniser)
    return record_drift(
        opened.steps,
        features_RF,
        reference[0],
        name=(form, precision),
        isa=environment().isa,
        reference=reference[1],
    ).verdicts()


def exact_steps(bundle: Bundle) -> tuple[TransducerSteps, str]:
    """Return the bundle's network in float64, and what it is, in words.

    onnx's evaluator knows ONNX's own operators alone: with others the subnet is asked.

    Raises:
        ArtifactError: no ONNX form of plain operators, and the subnet of the lineage is gone.
        MissingExtraError: onnx (or torch) is not installed.
    """
    files = frozenset(bundle.artifact.manifest.files)
    if loaded_names("onnx", "fp32", files) and not custom_ops(bundle, "onnx"):
        steps = ExactSteps(bundle.onnx_files("fp32"), bundle.contract)
        return steps, "its float32 graphs in float64"
    subnet = Path(str(bundle.artifact.body.get("subnet_path", "")))
    made_of = bundle.artifact.manifest.parents.get("subnet")
    if load_artifact(subnet, "subnet").digest != made_of:
        raise ArtifactError(f"{subnet}: is another subnet than the bundle was exported from")
    return _eager64(subnet, bundle), "its subnet in float64"


def _eager64(subnet: Path, bundle: Bundle) -> TransducerSteps:
    try:
        import torch

        from todm.models.store import load_subnet
        from todm.runtimes.eager import EagerSteps
    except ImportError as error:
        raise MissingExtraError("torch", extra="train") from error
    opened = load_subnet(subnet)
    return EagerSteps(opened.model, opened.spec, bundle.contract, dtype=torch.float64)


def _not_judged(name: str, note: str) -> Verdict:
    return Verdict(name=name, status="not_judged", limit=0.0, value=None, unit="", note=note)
