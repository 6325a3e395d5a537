"""What an export makes: form, opset and numeric schemes."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from todm.core.errors import ConfigError
from todm.core.mixer_specs import MHSSMSpec, ScanForm
from todm.core.profile import STOCK_RUNTIMES, AllowedOp, DeviceProfile
from todm.core.quantization import (
    ExportConfig,
    Float32,
    PrecisionName,
    Quantized,
    Scheme,
    SchemeSettings,
)
from todm.core.specs import SubnetSpec
from todm.core.value import Value

Form = Literal["onnx", "executorch"]
SCHEMES_OF_FORM: dict[Form, tuple[PrecisionName, ...]] = {
    "onnx": ("fp32", "int8", "int8_block", "int8_static", "int4", "fp16"),
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
    scan_form: ScanForm = "folded"
    """``custom`` needs a library that the user builds, so it is for the user's own devices."""
    conv_op: bool = False
    """The mixers' convolution as com.microsoft.CausalConvWithState; of ONNX only."""
    features: bool = False
    """Of ONNX only: also write ``features.onnx``, for runtimes without a feature extractor."""

    @model_validator(mode="after")
    def _operators_exist(self) -> "ExportTarget":
        if self.conv_op and self.form != "onnx":
            raise ValueError("CausalConvWithState is an operator of ONNX Runtime; set form = onnx")
        return self

    @property
    def quantized(self) -> tuple[Quantized, ...]:
        """The schemes beside float32."""
        return tuple(s for s in self.schemes if not isinstance(s, Float32))

    @property
    def custom_ops(self) -> tuple[AllowedOp, ...]:
        """Operators beyond the standard that the graphs may hold."""
        scan: tuple[AllowedOp, ...] = ("todm.SsmScan",) if self.scan_form == "custom" else ()
        return (*scan, "com.microsoft.CausalConvWithState") if self.conv_op else scan

    def for_net(self, spec: SubnetSpec) -> "ExportTarget":
        """Return the target without forms and operators that none of the net's mixers has."""
        mixers = [b.mixer for b in spec.blocks if isinstance(b.mixer, MHSSMSpec)]
        return self.model_copy(
            update={
                "scan_form": self.scan_form if mixers else "folded",
                "conv_op": self.conv_op and any(mixer.conv_frames for mixer in mixers),
            }
        )


def target_of(
    form: Form,
    precisions: Sequence[PrecisionName] | None = None,
    settings: SchemeSettings | None = None,
    *,
    allowed_ops: Sequence[AllowedOp] = (),
) -> ExportTarget:
    """Return a form's target in the precisions asked for; ExecuTorch's default is fp32 alone.

    Where todm's operator is allowed it is the fastest. Without it both forms fold the scan of a
    chunk into products: unrolled frame by frame it is slower in ONNX Runtime and in XNNPACK alike
    (benchmarks/ssm_forms.py).

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
    return ExportTarget(
        form=form,
        schemes=tuple(schemes),
        scan_form="custom" if "todm.SsmScan" in allowed_ops else "folded",
        conv_op=form == "onnx" and "com.microsoft.CausalConvWithState" in allowed_ops,
    )


def targets_for(
    profile: DeviceProfile,
    override: Literal["onnx", "executorch", "both"] | None,
    config: ExportConfig | None = None,
) -> tuple[ExportTarget, ...]:
    """Return the targets that a profile asks for, or those of the override.

    The device's own form holds the precision that it ships, unless others are asked for.

    Raises:
        ConfigError: a precision that a form does not have, features without ONNX, or todm's
            operator for a runtime that cannot load it.
    """
    asked = config or ExportConfig()
    own: Form = "executorch" if profile.runtime == "executorch" else "onnx"
    forms: tuple[Form, ...] = ("onnx", "executorch") if override == "both" else (override or own,)
    if asked.features and "onnx" not in forms:
        raise ConfigError("features.onnx belongs to the ONNX form; say --target onnx or both")
    browser = profile.runtime == "onnxruntime_web"
    features = browser if asked.features is None else asked.features
    targets = tuple(
        target_of(
            form,
            asked.precisions or _defaults(form, profile if form == own else None),
            asked.schemes,
            allowed_ops=profile.allowed_ops if form == own else (),
        ).model_copy(update={"features": features and form == "onnx"})
        for form in forms
    )
    if asked.scan_form is None:
        return targets
    if asked.scan_form == "custom" and profile.runtime in STOCK_RUNTIMES:
        raise ConfigError(
            f"{profile.name}: {profile.runtime} loads no operator library; choose the scan form "
            "folded or unrolled, or a device whose runtime is onnxruntime or executorch"
        )
    return tuple(target.model_copy(update={"scan_form": asked.scan_form}) for target in targets)


def float_targets(
    profile: DeviceProfile | None, override: Literal["onnx", "executorch", "both"] | None
) -> tuple[ExportTarget, ...]:
    """Return the targets of a model that is exported in float32 alone, with or without a device.

    Without one the form is ONNX, unless another is asked for.
    """
    if profile is not None:
        return targets_for(profile, override)
    forms: tuple[Form, ...] = (
        ("onnx", "executorch") if override == "both" else (override or "onnx",)
    )
    return tuple(target_of(form, ("fp32",)) for form in forms)


def _defaults(form: Form, profile: DeviceProfile | None) -> tuple[PrecisionName, ...]:
    shipped: tuple[PrecisionName, ...] = () if profile is None else (profile.numeric,)
    return (*DEFAULT_PRECISIONS[form], *shipped)
