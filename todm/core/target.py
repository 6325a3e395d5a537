"""What an export makes: form, opset and numeric schemes."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from todm.core.errors import ConfigError
from todm.core.profile import DeviceProfile
from todm.core.quantization import Float32, PrecisionName, Quantized, Scheme, SchemeSettings
from todm.core.value import Value

Form = Literal["onnx", "executorch"]

SCHEMES_OF_FORM: dict[Form, tuple[PrecisionName, ...]] = {
    "onnx": ("fp32", "int8", "int8_static", "int4", "fp16"),
    "executorch": ("fp32", "int8", "int8_static", "int4"),
}
"""Every precision that a form can be exported in."""
DEFAULT_PRECISIONS: dict[Form, tuple[PrecisionName, ...]] = {
    "onnx": ("fp32", "int8"),
    "executorch": ("fp32",),
}


class ExportTarget(Value):
    """One exported form of a subnet."""

    form: Form
    opset: int = Field(default=18, ge=18, le=25)
    """Of ONNX only; 18 is the lowest that torch's exporter writes, and the most portable."""
    schemes: tuple[Scheme, ...]
    """float32 is always among them: the others are judged by it."""

    @property
    def quantized(self) -> tuple[Quantized, ...]:
        """The schemes beside float32."""
        return tuple(s for s in self.schemes if not isinstance(s, Float32))


def target_of(
    form: Form,
    precisions: Sequence[PrecisionName] | None = None,
    settings: SchemeSettings | None = None,
) -> ExportTarget:
    """Return a form's target in the precisions asked for; ExecuTorch's default is fp32 alone.

    Both forms fold the scan of a chunk into products: unrolled frame by frame it is slower in
    ONNX Runtime and in XNNPACK alike (benchmarks/ssm_forms.py).

    Raises:
        ConfigError: the form has no such precision.
    """
    names = dict.fromkeys(("fp32", *(precisions or DEFAULT_PRECISIONS[form])))
    unknown = [name for name in names if name not in SCHEMES_OF_FORM[form]]
    if unknown:
        raise ConfigError(
            f"{form} has no {', '.join(unknown)}; it has {', '.join(SCHEMES_OF_FORM[form])}"
        )
    known = settings or SchemeSettings()
    schemes = [Float32() if name == "fp32" else getattr(known, f"{form}_{name}") for name in names]
    return ExportTarget(form=form, schemes=tuple(schemes))


def targets_for(
    profile: DeviceProfile,
    override: Literal["onnx", "executorch", "both"] | None,
    precisions: Sequence[PrecisionName] | None = None,
    settings: SchemeSettings | None = None,
) -> tuple[ExportTarget, ...]:
    """Return the targets that a profile asks for, or those of the override."""
    own: Form = "executorch" if profile.runtime == "executorch" else "onnx"
    forms: tuple[Form, ...] = (own,)
    if override == "both":
        forms = ("onnx", "executorch")
    elif override is not None:
        forms = (override,)
    return tuple(target_of(form, precisions, settings) for form in forms)
