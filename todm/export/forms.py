"""The exported forms of a draft: write them, open them again, say what they are."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from todm.core.contract import StreamContract
from todm.core.errors import ConfigError
from todm.core.report import environment
from todm.core.target import ExportTarget, Form
from todm.decode.steps import TransducerSteps
from todm.export.executorch import export_pte
from todm.export.onnx_features import export_features
from todm.export.onnx_graph import export_onnx
from todm.export.onnx_quant import quantise_parts
from todm.models.rnnt import Transducer
from todm.runtimes.bundle import FEATURES, PARTS, PTE, Precision, loaded_names
from todm.runtimes.executorch import ExecutorchSteps
from todm.runtimes.ort import OrtSteps

FORMS: tuple[tuple[Form, Precision], ...] = (
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("executorch", "fp32"),
)
"""Every form and precision that an export can make."""


def check_targets(targets: Sequence[ExportTarget]) -> None:
    """Check what is asked for.

    Raises:
        ConfigError: no target, two of one form, or a precision that a form does not have.
    """
    forms = [target.form for target in targets]
    if not forms or len(set(forms)) != len(forms):
        raise ConfigError(f"export targets {forms}: give one or two different forms")
    for target in targets:
        unknown = [s for s in target.schemes if (target.form, s) not in FORMS]
        if unknown or "fp32" not in target.schemes:
            raise ConfigError(
                f"{target.form} in {', '.join(target.schemes)}: fp32 is always made, and int8 "
                "beside it for onnx only; correct the schemes"
            )


def write_forms(
    model: Transducer, contract: StreamContract, targets: Sequence[ExportTarget], folder: Path
) -> dict[str, Any]:
    """Write the graphs of every target; return, by form, how they were made."""
    told: dict[str, Any] = {}
    for target in targets:
        start_s = time.perf_counter()
        entry: dict[str, Any] = {"schemes": list(target.schemes)}
        if target.form == "onnx":
            export_onnx(model, contract, target, folder)
            entry["opset"] = target.opset
            if target.features:
                export_features(contract.features, folder / FEATURES)
            if "int8" in target.schemes:
                entry["int8_linears"] = quantise_parts(folder)
        else:
            coverage = export_pte(model, folder / PTE)
            entry["delegation"] = {
                name: c.to_json() | {"fraction": round(c.fraction, 4)}
                for name, c in coverage.items()
            }
        told[target.form] = entry | {"seconds": round(time.perf_counter() - start_s, 2)}
    return told


def open_forms(
    folder: Path, contract: StreamContract
) -> tuple[dict[str, TransducerSteps], dict[str, TransducerSteps]]:
    """Open a draft's graphs in their runtimes: the float32 forms, and the int8 ones, by name."""
    exact: dict[str, TransducerSteps] = {}
    approximate: dict[str, TransducerSteps] = {}
    files = file_names(folder)
    for form, precision in FORMS:
        loaded = loaded_names(form, precision, files)
        if loaded is None:
            continue
        if form == "executorch":
            exact["executorch"] = ExecutorchSteps(folder / PTE, contract)
            continue
        steps = OrtSteps(
            {part: folder / name for part, name in zip(PARTS, loaded, strict=False)}, contract
        )
        if precision == "fp32":
            exact["ort"] = steps
        else:
            approximate["ort.int8"] = steps
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


def numeric_labels(folder: Path) -> dict[str, str]:
    """Return how each form computes; int8 figures hold for the named instruction sets only."""
    isa = "+".join(environment().isa) or "unknown ISA"
    kinds = {
        "onnx.fp32": "float32",
        "onnx.int8": "linears int8 per channel, activations uint8 per call, rest float32",
        "executorch.fp32": "float32, XNNPACK",
    }
    return {name: f"{kinds[name]}; checked on {isa}" for name in bundle_bytes(folder)}
