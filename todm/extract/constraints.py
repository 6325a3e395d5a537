"""A profile's budgets applied to subnets: what is exact, what is measured, what is not judged.

macs_per_audio_s                          exact arithmetic, always judged
bundle_bytes                              measured on an export; without one, arithmetic: exact
                                          weights plus an estimate of the graph around them
chunk_latency_p95_ms, rtf, peak_ram_bytes measured, and judged for the device only when the
                                          device is this host; else not judged, never met
"""

from collections.abc import Iterable, Mapping

from todm.core.cost import macs_per_audio_s
from todm.core.cost_bytes import GraphForm, bundle_bytes, graph_weight_bytes
from todm.core.errors import InfeasibleError
from todm.core.mixer_specs import ScanForm
from todm.core.profile import BUDGET_UNITS, TIMED_BUDGETS, DeviceProfile
from todm.core.report import Verdict, judge
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec

Values = Mapping[str, float]
"""Figures of a subnet by the name of the budget that they meet or not."""


def graph_form(profile: DeviceProfile) -> GraphForm:
    """Return the form of bundle that a profile's runtime loads."""
    return "executorch" if profile.runtime == "executorch" else "onnx"


def scan_form(profile: DeviceProfile) -> ScanForm:
    """Return the form of the scan that an export for the profile takes by itself."""
    return "custom" if "todm.SsmScan" in profile.allowed_ops else "folded"


def suits(spec: SubnetSpec, profile: DeviceProfile) -> bool:
    """Tell whether a subnet can run in the device's chunk; a causal one may be cut into any."""
    most = profile.lookahead_frames
    allowed = most is None or spec.lookahead_frames <= most
    return allowed and spec.fits_chunk(profile.chunk_frames)


def for_device(spec: SubnetSpec, profile: DeviceProfile) -> SubnetSpec:
    """Return the subnet with the device's chunk, which it must suit."""
    return spec.model_copy(update={"chunk_frames": profile.chunk_frames})


def smallest_for(space: SearchSpace, profile: DeviceProfile) -> SubnetSpec:
    """Return the smallest net in the device's chunk, looking as far ahead as that allows.

    Raises:
        InfeasibleError: no lookahead of the space fits into the chunk.
    """
    for frames in reversed(space.lookaheads):
        spec = space.at(space.smallest, frames)
        if suits(spec, profile):
            return for_device(spec, profile)
    least = space.lookaheads[0]
    raise InfeasibleError(
        f"{profile.name}: every net of this space looks at least {least} frames ahead, which needs "
        f"chunks of a multiple of {least + 1} frames and leave to; the profile has chunk_frames "
        f"{profile.chunk_frames}, lookahead_frames {profile.lookahead_frames}"
    )


def arithmetic(spec: SubnetSpec, profile: DeviceProfile) -> dict[str, float]:
    """Return what arithmetic alone says of a subnet on a device."""
    form, scan = graph_form(profile), scan_form(profile)
    return {
        "macs_per_audio_s": macs_per_audio_s(spec),
        "bundle_bytes": float(bundle_bytes(spec, profile.numeric, form, scan)),
    }


def least(spec: SubnetSpec, profile: DeviceProfile) -> dict[str, float]:
    """Return what a subnet needs at the very least: its bundle is no smaller than its weights."""
    form, scan = graph_form(profile), scan_form(profile)
    weights = graph_weight_bytes(spec, profile.numeric, form, scan)
    return {**arithmetic(spec, profile), "bundle_bytes": float(sum(weights.values()))}


def judged_budgets(profile: DeviceProfile, *, measured: bool) -> tuple[str, ...]:
    """Return the budgets that can be judged here, with or without measurements."""
    return tuple(
        name
        for name in profile.budgets
        if profile.judges(name) and (measured or name not in TIMED_BUDGETS)
    )


def exceeded(profile: DeviceProfile, values: Values) -> tuple[str, ...]:
    """Return the judged budgets that these figures exceed; missing figures exceed nothing."""
    return tuple(
        verdict.name for verdict in judge(profile, dict(values)) if verdict.status == "failed"
    )


def verdicts_of(profile: DeviceProfile, values: Values, measured: Iterable[str]) -> list[Verdict]:
    """Judge every budget and say of each judged one whether it was measured."""
    known = set(measured)

    def explained(verdict: Verdict) -> Verdict:
        if verdict.status == "not_judged":
            return verdict
        how = "measured" if verdict.name in known else "by arithmetic"
        return verdict.model_copy(update={"note": f"{how}; limit: {verdict.note}"})

    return [explained(verdict) for verdict in judge(profile, dict(values))]


def needs_line(profile: DeviceProfile, tried: Iterable[Values]) -> str:
    """Say of each judged budget the least that a subnet was found to need, and the limit."""
    tried = list(tried)
    parts = []
    for name, budget in profile.budgets.items():
        found = [values[name] for values in tried if name in values]
        if found and profile.judges(name):
            unit = BUDGET_UNITS[name]
            need, limit = _number(min(found)), _number(budget.limit)
            parts.append(f"{name} needs at least {need} {unit}, limit {limit} {unit}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
