"""The exported forms of a draft: write them, open them again, say what they are."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from todm.core.contract import StreamContract
from todm.core.errors import ConfigError
from todm.core.quality import isa_label
from todm.core.report import environment
from todm.core.target import SCHEMES_OF_FORM, ExportTarget, Form
from todm.decode.steps import TransducerSteps
from todm.export.executorch import export_pte
from todm.export.onnx_features import export_features
from todm.export.onnx_graph import export_onnx
from todm.export.schemes import form_of, libraries_of, open_form
from todm.models.rnnt import Transducer
from todm.runtimes.bundle import FEATURES, PTE, Precision, loaded_names

FORMS: tuple[tuple[Form, Precision], ...] = tuple(
    (form, precision) for form, precisions in SCHEMES_OF_FORM.items() for precision in precisions
)
"""Every form and precision that an export can make."""


def distinct_forms(targets: Sequence[ExportTarget]) -> list[Form]:
    """Return the form of each target.

    Raises:
        ConfigError: no target, or two of one form.
    """
    forms = [target.form for target in targets]
    if not forms or len(set(forms)) != len(forms):
        raise ConfigError(f"export targets {forms}: give one or two different forms")
    return forms


def check_targets(targets: Sequence[ExportTarget]) -> None:
    """Check what is asked for.

    Raises:
        ConfigError: no target, two of one form, a precision that a form does not have, or static
            ranges for a graph that onnxruntime's calibration cannot run.
    """
    distinct_forms(targets)
    for target in targets:
        names = [scheme.precision for scheme in target.schemes]
        foreign = [s.kind for s in target.quantized if form_of(s) != target.form]
        if foreign or names[:1] != ["fp32"] or len(set(names)) != len(names):
            raise ConfigError(
                f"{target.form} in the schemes {[s.kind for s in target.schemes]}: fp32 comes "
                "first, then at most one of each precision and only the form's own"
            )
        if target.form == "onnx" and target.scan_form == "custom" and "int8_static" in names:
            raise ConfigError(
                "onnx int8_static is calibrated by a session of onnxruntime that loads no operator "
                "library, so it cannot be made of the scan form custom; say --scan folded or "
                "--scan unrolled, or leave out --precision int8_static"
            )


def write_forms(
    model: Transducer, contract: StreamContract, targets: Sequence[ExportTarget], folder: Path
) -> dict[str, Any]:
    """Write the float32 graphs of every target; return, by form, how they were made."""
    told: dict[str, Any] = {}
    for target in targets:
        start_s = time.perf_counter()
        precisions = [scheme.precision for scheme in target.schemes]
        entry: dict[str, Any] = {"schemes": precisions, "scan_form": target.scan_form}
        if target.custom_ops:
            entry["custom_ops"] = list(target.custom_ops)
        if target.form == "onnx":
            export_onnx(model, contract, target, folder)
            entry["opset"] = target.opset
            if target.features:
                export_features(contract.features, folder / FEATURES)
        else:
            entry |= export_pte(model, contract, target, folder / PTE).told()
        told[target.form] = entry | {"seconds": round(time.perf_counter() - start_s, 2)}
    return told


def open_forms(
    folder: Path, contract: StreamContract, targets: Sequence[ExportTarget] = ()
) -> tuple[dict[str, TransducerSteps], dict[str, TransducerSteps]]:
    """Open a draft's graphs in their runtimes: the float32 forms, and the others, by name.

    Raises:
        MissingBuildError: a target's scan is todm's operator, and its library was not built.
    """
    libraries = libraries_of(targets)
    exact: dict[str, TransducerSteps] = {}
    approximate: dict[str, TransducerSteps] = {}
    for form, precision in FORMS:
        steps = open_form(folder, contract, form, precision, libraries.get(form))
        if steps is None:
            continue
        runtime = "ort" if form == "onnx" else "executorch"
        if precision == "fp32":
            exact[runtime] = steps
        else:
            approximate[f"{runtime}.{precision}"] = steps
    return exact, approximate


def file_names(folder: Path) -> frozenset[str]:
    """Return the names of a draft's files."""
    return frozenset(path.name for path in folder.iterdir())


def bundle_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes that a device loads, by form and precision (``onnx.int8``)."""
    sizes = {}
    for form, precision in FORMS:
        loaded = loaded_names(form, precision, file_names(folder))
        if loaded is not None:
            sizes[f"{form}.{precision}"] = sum((folder / n).stat().st_size for n in loaded)
    return sizes


_KINDS = {
    "onnx.fp32": "float32",
    "onnx.int8": "linears int8 per channel, activations 8 bits per call, rest float32",
    "onnx.int8_block": "linears int8 in blocks, activations int8 per row and block, rest float32",
    "onnx.int8_static": "linears int8 per channel, activations 8 bits calibrated, rest float32",
    "onnx.int4": "linears int4 in blocks (MatMulNBits), rest float32",
    "onnx.fp16": "linears float16, rest float32",
    "executorch.fp32": "float32, XNNPACK",
    "executorch.int8": "linears int8 per channel, activations int8 per call, XNNPACK",
    "executorch.int8_static": "linears int8 per channel, activations int8 calibrated, XNNPACK",
    "executorch.int4": "linears int4 in groups, activations int8 per row (8da4w), XNNPACK",
}


def numeric_labels(folder: Path) -> dict[str, str]:
    """Return how each form computes; int8 figures hold for the named instruction sets only."""
    isa = isa_label(environment().isa)
    return {name: f"{_KINDS[name]}; checked on {isa}" for name in bundle_bytes(folder)}
