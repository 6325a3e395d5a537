"""``todm forecast export``: a forecaster to a bundle, by the writers and checks of every export.

Each form must compute what torch computes, on the held-out windows that the artifact carries.
float32 only. T window, C variates, M marks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from todm.core.artifact import Artifact, load_artifact, write_artifact
from todm.core.cost_forecast import forecast_macs, forecaster_parameters
from todm.core.errors import ConfigError
from todm.core.forecaster_spec import GRUSpec
from todm.core.profile import DeviceProfile
from todm.core.report import Measurement, Report, environment
from todm.core.target import ExportTarget
from todm.export.executorch import write_program
from todm.export.forms import distinct_forms
from todm.export.onnx_graph import write_graph
from todm.export.parity import SAME_FOLD, judge_deviation
from todm.export.run import require
from todm.features.series_facts import FACTS, INTERVALS
from todm.metrics.deviation import Deviation
from todm.models.forecaster import Forecaster
from todm.models.forecaster_store import (
    SPEC,
    OpenForecaster,
    load_forecaster,
    write_probe,
)
from todm.runtimes import bundle as names
from todm.runtimes.forecaster import (
    FILES,
    METHOD,
    ONNX,
    ExecutorchForecaster,
    LoadedForecaster,
    OrtForecaster,
)

PORTS = (("values", "marks"), ("forecast",))
EXAMPLE_WINDOWS = 2
"""In the traced example of ONNX; one alone would fix the number."""


class _ValuesOnly(nn.Module):
    """A forecaster that sees no calendar, without that input."""

    def __init__(self, model: Forecaster) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return the forecast."""
        return self.model(x_BTC, x_BTC[:, :, :0])  # type: ignore[no-any-return]


def run(
    forecaster: Path,
    targets: Sequence[ExportTarget],
    out: Path,
    *,
    profile: DeviceProfile | None = None,
) -> Artifact:
    """Export a forecaster in the targets' forms and check parity.

    Args:
        forecaster: A forecaster artifact.
        targets: At most one of each form; int8 is not made.
        out: The bundle's folder.
        profile: The device that it is for; stored inside.

    Raises:
        ConfigError: no target, two of one form, or a network that is a baseline of training only.
        ArtifactError: no forecaster, or damaged.
        GateError: a form computes something else; no bundle is left, or the earlier one.
        MissingExtraError: an exporter's package is not installed.
    """
    forms = distinct_forms(targets)
    opened = load_forecaster(forecaster)
    if isinstance(opened.spec.net, GRUSpec):
        raise ConfigError(
            f"{forecaster}: the GRU is a baseline of training and is not exported; export a "
            "tpgn or a dlinear"
        )
    with write_artifact(out, kind="bundle", parents={"forecaster": opened.artifact}) as draft:
        told = {target.form: _write_form(opened, target, draft.path) for target in targets}
        _write_values(opened, profile, draft.path)
        report = _parity(opened, draft.path)
        require(report, out)
        report.write_json(draft.path / names.PARITY)
        draft.body = {
            "name": opened.spec.short_name,
            "kind": opened.spec.kind,
            "params": forecaster_parameters(opened.spec),
            "macs_per_forecast": forecast_macs(opened.spec),
            "bundle_bytes": {form: (draft.path / FILES[form]).stat().st_size for form in forms},
            "forecaster_path": str(opened.artifact.path.absolute()),
            "forms": told,
        } | ({} if profile is None else {"device": profile.name})
        (draft.path / names.CARD).write_text(_card(opened, out.name, report), "utf-8")
    return load_artifact(out, "bundle", verify=False)


def _write_form(opened: OpenForecaster, target: ExportTarget, folder: Path) -> dict[str, Any]:
    spec, model = opened.spec, opened.model
    module = model if spec.marks else _ValuesOnly(model)
    count = len(PORTS[0]) if spec.marks else 1
    probe = opened.probe()
    windows = EXAMPLE_WINDOWS if target.form == "onnx" else 1
    example = (probe.x_BWC[:1], probe.marks_BWM[:1])[:count]
    inputs = tuple(part.repeat(windows, 1, 1) for part in example)
    if target.form == "onnx":
        ports = (PORTS[0][:count], PORTS[1])
        said = {"model_type": "todm_forecaster", "horizon_steps": str(spec.horizon_steps)}
        write_graph(folder / ONNX, (module, inputs, [0] * count), ports, target, said)
        return {"opset": target.opset}
    # A forecast is made now and then: XNNPACK leaves TPGN's convolution to portable code.
    return write_program({METHOD: (module, inputs)}, folder / names.PTE, paced=False).told()


def _write_values(opened: OpenForecaster, profile: DeviceProfile | None, folder: Path) -> None:
    for name in (SPEC, FACTS, INTERVALS):
        (folder / name).write_bytes(opened.artifact.file(name).read_bytes())
    write_probe(folder, opened.probe())
    if profile is not None:
        profile.write_json(folder / names.PROFILE)


@torch.inference_mode()
def _parity(opened: OpenForecaster, folder: Path) -> Report:
    probe, spec = opened.probe(), opened.spec
    theirs = opened.model(probe.x_BWC, probe.marks_BWM).flatten(0, 1).numpy()
    forms: dict[str, LoadedForecaster] = {}
    if (folder / ONNX).is_file():
        forms["ort"] = OrtForecaster(folder / ONNX, spec)
    if (folder / names.PTE).is_file():
        forms["executorch"] = ExecutorchForecaster(folder / names.PTE, spec)
    verdicts = []
    for name, form in forms.items():
        mine = form.forecast(probe.x_BWC.numpy(), probe.marks_BWM.numpy())
        deviation = Deviation()
        deviation.add(mine.reshape(theirs.shape), theirs)
        verdicts += judge_deviation(f"{name}_vs_torch", deviation, SAME_FOLD, "forecast")
    counted = Measurement(name="parity.windows", value=len(probe.x_BWC), unit="windows")
    return Report(environment=environment(), measurements=(counted,), verdicts=tuple(verdicts))


def _card(opened: OpenForecaster, name: str, report: Report) -> str:
    spec, facts = opened.spec, opened.facts
    marks = f", `marks` (N, {spec.window_steps}, {spec.marks})" if spec.marks else ""
    rows = [f"| {v.name} | {v.value:.2g} | {v.limit:g} | {v.status} |" for v in report.verdicts]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A forecaster of {', '.join(facts.names)} at frequency `{facts.frequency}`: "
            f"{spec.window_steps} steps in, {spec.horizon_steps} steps out, "
            f"{forecaster_parameters(spec):,} parameters.",
            "",
            f"Input `values` (N, {spec.window_steps}, {spec.variates}){marks}; output `forecast` "
            f"(N, {spec.horizon_steps}, {spec.variates}). Values are standardised: less the mean "
            f"and over the deviation in `{FACTS}`. `{INTERVALS}` holds half-widths of the "
            f"{100 * opened.config.level:g} % intervals by step and variate, standardised alike.",
            "",
            "| parity with torch | value | limit | status |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
