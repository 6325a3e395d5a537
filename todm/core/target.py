"""What an export makes: form, opset and numeric schemes."""

from typing import Literal

from pydantic import Field

from todm.core.profile import DeviceProfile
from todm.core.value import Value

Form = Literal["onnx", "executorch"]


class ExportTarget(Value):
    """One exported form of a subnet."""

    form: Form
    opset: int = Field(default=18, ge=18, le=25)
    """Of ONNX only; 18 is the lowest that torch's exporter writes, and the most portable."""
    schemes: tuple[Literal["fp32", "int8"], ...]
    features: bool = False
    """Of ONNX only: also write ``features.onnx``, for runtimes without a feature extractor."""


def target_of(form: Form) -> ExportTarget:
    """Return the default target of a form; ExecuTorch is fp32 in this version.

    Both forms fold the scan of a chunk into products: unrolled frame by frame it is slower in
    ONNX Runtime and in XNNPACK alike (benchmarks/ssm_forms.py).
    """
    return ExportTarget(form=form, schemes=("fp32", "int8") if form == "onnx" else ("fp32",))


def targets_for(
    profile: DeviceProfile, override: Literal["onnx", "executorch", "both"] | None
) -> tuple[ExportTarget, ...]:
    """Return the targets that a profile asks for, or those of the override."""
    if override == "both":
        return (target_of("onnx"), target_of("executorch"))
    if override is not None:
        return (target_of(override),)
    return (target_of("executorch" if profile.runtime == "executorch" else "onnx"),)
