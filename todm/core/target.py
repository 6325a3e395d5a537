"""What an export makes: form, opset and numeric schemes."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from todm.core.errors import ConfigError
from todm.core.profile import STOCK_RUNTIMES, AllowedOp, DeviceProfile
from todm.core.specs import ScanForm
from todm.core.value import Value

Form = Literal["onnx", "executorch"]
Accelerator = Literal["coreml", "ethos_u55"]
"""For which a bundle may hold a further ExecuTorch program, compiled here and run elsewhere."""


class FormWish(Value):
    """What a user may ask of an export beyond its device."""

    scan_form: ScanForm | None = None
    """None: the device's."""
    accelerators: tuple[Accelerator, ...] = ()


class ExportTarget(Value):
    """One exported form of a subnet."""

    form: Form
    opset: int = Field(default=18, ge=18, le=25)
    """Of ONNX only; 18 is the lowest that torch's exporter writes, and the most portable."""
    schemes: tuple[Literal["fp32", "int8"], ...]
    scan_form: ScanForm = "folded"
    """``custom`` needs a library that the user builds, so it is for the user's own devices."""
    conv_op: bool = False
    """The mixers' convolution as com.microsoft.CausalConvWithState; of ONNX only."""

    @model_validator(mode="after")
    def _operators_exist(self) -> "ExportTarget":
        if self.conv_op and self.form != "onnx":
            raise ValueError("CausalConvWithState is an operator of ONNX Runtime; set form = onnx")
        return self

    @property
    def custom_ops(self) -> tuple[AllowedOp, ...]:
        """Operators beyond the standard that the graphs may hold."""
        scan: tuple[AllowedOp, ...] = ("todm.SsmScan",) if self.scan_form == "custom" else ()
        return (*scan, "com.microsoft.CausalConvWithState") if self.conv_op else scan


def target_of(form: Form, allowed_ops: Sequence[AllowedOp] = ()) -> ExportTarget:
    """Return the default target of a form; ExecuTorch is fp32 in this version.

    Where todm's operator is allowed it is the fastest. Without it both forms fold the scan of a
    chunk into products: unrolled frame by frame it is slower in ONNX Runtime and in XNNPACK alike
    (benchmarks/ssm_forms.py).
    """
    onnx = form == "onnx"
    return ExportTarget(
        form=form,
        schemes=("fp32", "int8") if onnx else ("fp32",),
        scan_form="custom" if "todm.SsmScan" in allowed_ops else "folded",
        conv_op=onnx and "com.microsoft.CausalConvWithState" in allowed_ops,
    )


def targets_for(
    profile: DeviceProfile,
    override: Literal["onnx", "executorch", "both"] | None,
    scan_form: ScanForm | None = None,
) -> tuple[ExportTarget, ...]:
    """Return the targets that a profile asks for, or those of the override.

    Raises:
        ConfigError: todm's operator for a runtime that cannot load it.
    """
    own: Form = "executorch" if profile.runtime == "executorch" else "onnx"
    forms: tuple[Form, ...] = ("onnx", "executorch") if override == "both" else (override or own,)
    targets = tuple(target_of(f, profile.allowed_ops if f == own else ()) for f in forms)
    if scan_form is None:
        return targets
    if scan_form == "custom" and profile.runtime in STOCK_RUNTIMES:
        raise ConfigError(
            f"{profile.name}: {profile.runtime} loads no operator library; choose the scan form "
            "folded or unrolled, or a device whose runtime is onnxruntime or executorch"
        )
    return tuple(target.model_copy(update={"scan_form": scan_form}) for target in targets)
