"""Making and opening the forms of a draft, whatever runtime they are for."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import torch

from todm.core.contract import StreamContract
from todm.core.errors import TodmError
from todm.core.quantization import (
    OnnxScheme,
    OnnxStaticInt8,
    Quantized,
    XnnpackScheme,
    XnnpackStaticInt8,
)
from todm.core.target import ExportTarget, Form
from todm.decode.steps import TransducerSteps
from todm.export import executorch_quant, onnx_quant
from todm.export.calibration import Calls, onnx_feeds, record_calls
from todm.export.evidence import Samples
from todm.export.executorch import ProgramFigures, contract_constant, methods_of, write_program
from todm.export.executorch_quant import Method, ModuleSteps
from todm.export.fold import GraphForm
from todm.export.sherpa import UNUSED_C_WIDTH
from todm.models.rnnt import Transducer
from todm.runtimes.bundle import PARTS, Precision, loaded_names, onnx_name, pte_name
from todm.runtimes.eager import EagerSteps
from todm.runtimes.executorch import ExecutorchSteps
from todm.runtimes.native import native_library
from todm.runtimes.ort import OrtSteps


def form_of(scheme: Quantized) -> Form:
    """Return the form that a scheme belongs to."""
    return "onnx" if isinstance(scheme, get_args(OnnxScheme)) else "executorch"


def calibration_s(scheme: Quantized) -> float:
    """Return the speech that a scheme's static ranges want; 0 where it has none."""
    return scheme.calibration_s if isinstance(scheme, OnnxStaticInt8 | XnnpackStaticInt8) else 0.0


@dataclass(frozen=True)
class Workshop:
    """A net and the folder of its float32 forms, beside which quantized ones are made."""

    model: Transducer
    contract: StreamContract
    folder: Path
    calibration: tuple[Samples, ...] = ()
    targets: tuple[ExportTarget, ...] = ()
    """The float32 forms' own: quantized ones have the same scan."""
    figures: dict[Precision, ProgramFigures] = field(default_factory=dict)
    """What lowering told of the programs written so far, by precision; filled by ``write``."""

    @cached_property
    def _methods(self) -> dict[str, Method]:
        scans = {target.form: target.scan_form for target in self.targets}
        return methods_of(self.model, GraphForm(scans.get("executorch", "folded")))

    @cached_property
    def _libraries(self) -> dict[Form, Path]:
        return libraries_of(self.targets)

    def layers(self, scheme: Quantized) -> tuple[str, ...]:
        """Return the names of the linears that the scheme may take."""
        if form_of(scheme) == "onnx":
            return onnx_quant.layer_names(self.folder)
        return executorch_quant.layer_names(self._methods)

    def write(self, scheme: Quantized) -> dict[str, int]:
        """Write a scheme's files; return the linears taken of each part."""
        if form_of(scheme) == "onnx":
            return self._write_onnx(cast(OnnxScheme, scheme), self.folder)
        methods, taken = self._program(cast(XnnpackScheme, scheme))
        out = self.folder / pte_name(scheme.precision)
        constant = contract_constant(self.contract)
        self.figures[scheme.precision] = write_program(methods, out, constant)
        return taken

    def _write_onnx(self, scheme: OnnxScheme, out: Path) -> dict[str, int]:
        calls = self._calls(scheme)
        feeds = None if calls is None else onnx_feeds(calls, UNUSED_C_WIDTH)
        return onnx_quant.quantise_parts(self.folder, scheme, feeds, out=out)

    def _program(self, scheme: XnnpackScheme) -> tuple[dict[str, Method], dict[str, int]]:
        calls, feeds = self._calls(scheme), None
        if calls is not None:
            feeds = {
                part: [tuple(map(torch.from_numpy, call)) for call in made]
                for part, made in calls.items()
            }
        return executorch_quant.quantise_methods(self._methods, scheme, feeds)

    def _calls(self, scheme: Quantized) -> Calls | None:
        seconds = calibration_s(scheme)
        if not seconds:
            return None
        if not self.calibration:
            raise TodmError(f"{scheme.kind}: static ranges without calibration; give it speech")
        steps = EagerSteps(self.model, self.model.spec, self.contract)
        return record_calls(steps, self.calibration, seconds)

    @contextmanager
    def emulated(self, scheme: Quantized) -> Iterator[TransducerSteps]:
        """Yield a scheme's arithmetic without leaving files: quicker than a program is lowered."""
        if form_of(scheme) == "executorch":
            methods, _ = self._program(cast(XnnpackScheme, scheme))
            yield ModuleSteps(methods, self.contract)
            return
        with tempfile.TemporaryDirectory(prefix="todm-scheme-") as scratch:
            self._write_onnx(cast(OnnxScheme, scheme), Path(scratch))
            files = {part: Path(scratch) / onnx_name(part, scheme.precision) for part in PARTS}
            files = {
                part: path if path.is_file() else self.folder / onnx_name(part, "fp32")
                for part, path in files.items()
            }
            yield OrtSteps(files, self.contract, library=self._libraries.get("onnx"))

    def open(self, form: Form, precision: Precision) -> TransducerSteps:
        """Open a form in its runtime."""
        library = self._libraries.get(form)
        steps = open_form(self.folder, self.contract, form, precision, library)
        assert steps is not None, (form, precision)
        return steps

    def remove(self, form: Form, precision: Precision) -> None:
        """Take a form's own files away again."""
        names: Any = [onnx_name(part, precision) for part in PARTS]
        for name in names if form == "onnx" else [pte_name(precision)]:
            (self.folder / name).unlink(missing_ok=True)


def libraries_of(targets: Sequence[ExportTarget]) -> dict[Form, Path]:
    """Return, by form, the user's library of todm's operator where a target's scan is that.

    Raises:
        MissingBuildError: it was not built.
    """
    return {t.form: native_library(t.form) for t in targets if t.scan_form == "custom"}


def open_form(
    folder: Path,
    contract: StreamContract,
    form: Form,
    precision: Precision,
    library: Path | None = None,
) -> TransducerSteps | None:
    """Open a form of a folder in its runtime, or return None where it is not there.

    Args:
        folder: Holds the graphs.
        contract: Theirs.
        form: For which runtime.
        precision: Which of its schemes.
        library: Holds operators that the graphs have beyond the standard.
    """
    loaded = loaded_names(form, precision, frozenset(path.name for path in folder.iterdir()))
    if loaded is None:
        return None
    if form == "executorch":
        return ExecutorchSteps(folder / loaded[0], contract, library=library)
    files = {part: folder / name for part, name in zip(PARTS, loaded, strict=False)}
    return OrtSteps(files, contract, library=library)
