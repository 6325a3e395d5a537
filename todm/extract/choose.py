"""Choosing a subnet for a device: candidates that fit by arithmetic, then measured ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from todm.core.errors import InfeasibleError
from todm.core.front import Front, FrontPoint
from todm.core.profile import BUDGET_UNITS, TIMED_BUDGETS, DeviceProfile
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.extract.constraints import (
    Values,
    arithmetic,
    exceeded,
    for_device,
    least,
    needs_line,
    smallest_for,
    suits,
)
from todm.extract.evaluate import ENOUGH_POINTS, by_preference, neighbours

MAX_TRIES = 6
"""Candidates that are exported and measured at most; the last try is always the smallest net."""

Measure = Callable[[SubnetSpec], Values]
Evaluate = Callable[[Sequence[SubnetSpec]], list[FrontPoint]]


@dataclass(frozen=True)
class Choice:
    """The subnet that was taken, and its figures by budget."""

    point: FrontPoint
    values: Values
    measured: tuple[str, ...]
    """Names of the figures that were measured."""
    tries: int
    """Subnets that were measured."""


@dataclass(frozen=True)
class Candidates:
    """Subnets to choose from, best first, and the smallest one as a last resort."""

    ranked: list[FrontPoint]
    smallest: FrontPoint


def candidates(
    space: SearchSpace, trials: Front, profile: DeviceProfile, evaluate: Evaluate, seed: int
) -> Candidates:
    """Return the evaluated subnets that fit by arithmetic, with neighbours where they are few.

    Args:
        space: the supernet's space.
        trials: every subnet that the search evaluated.
        profile: the device.
        evaluate: scores further subnets as the search did.
        seed: draws the neighbours.

    Raises:
        InfeasibleError: even the smallest net needs more than a budget allows, or none suits the
            device's chunk.
    """
    smallest = smallest_for(space, profile)
    if exceeded(profile, least(smallest, profile)):
        raise _infeasible(profile, [arithmetic(smallest, profile)])
    suited = [p for p in trials.points if suits(p.spec, profile)]
    points = {spec: _placed(p, spec) for p in suited for spec in [_spec(p, profile)]}
    if smallest not in points:
        points[smallest] = evaluate([smallest])[0]
    fitting = [p for p in points.values() if _fits(p.spec, profile)]
    if len(fitting) < ENOUGH_POINTS:
        parents = [p.spec for p in fitting] or [smallest]

        def accept(mutant: SubnetSpec) -> bool:
            spec = for_device(mutant, profile)
            return suits(mutant, profile) and spec not in points and _fits(spec, profile)

        found = neighbours(space, parents, accept, seed)
        fitting += evaluate([for_device(mutant, profile) for mutant in found])
    return Candidates(by_preference(fitting, trials.words), points[smallest])


def choose(found: Candidates, profile: DeviceProfile, measure: Measure | None) -> Choice:
    """Take the best candidate that fits; with ``measure``, that is measured to fit.

    A bundle that weighs more than its estimate corrects the estimates of the others; a net that
    is too slow or too large in memory rules out those with as many MACs.

    Raises:
        InfeasibleError: none fits, the smallest net included.
    """
    if measure is None:
        if not found.ranked:
            raise _infeasible(profile, [arithmetic(found.smallest.spec, profile)])
        best = found.ranked[0]
        return Choice(best, arithmetic(best.spec, profile), (), 0)
    queue = list(found.ranked)
    tried: list[Values] = []
    excess_bytes, ceiling_macs = 0.0, float("inf")
    while len(tried) < MAX_TRIES - 1:
        point = _next(queue, profile, excess_bytes, ceiling_macs)
        if point is None:
            break
        choice, failed = _try(point, profile, measure, len(tried) + 1)
        if not failed:
            return choice
        tried.append(choice.values)
        estimate = arithmetic(point.spec, profile)
        excess_bytes = choice.values["bundle_bytes"] - estimate["bundle_bytes"]
        if set(failed) & set(TIMED_BUDGETS):
            ceiling_macs = min(ceiling_macs, point.macs_per_audio_s)
    choice, failed = _try(found.smallest, profile, measure, len(tried) + 1)
    if not failed:
        return choice
    raise _infeasible(profile, [*tried, choice.values])


def _next(
    queue: list[FrontPoint], profile: DeviceProfile, excess_bytes: float, ceiling_macs: float
) -> FrontPoint | None:
    """Take the next candidate that may still fit off the queue."""
    while queue:
        point = queue.pop(0)
        values = arithmetic(point.spec, profile)
        values["bundle_bytes"] += excess_bytes
        if not exceeded(profile, values) and point.macs_per_audio_s < ceiling_macs:
            return point
    return None


def _try(
    point: FrontPoint, profile: DeviceProfile, measure: Measure, tries: int
) -> tuple[Choice, tuple[str, ...]]:
    exact = arithmetic(point.spec, profile)
    found = measure(point.spec)
    measured = {k: found[k] for k in BUDGET_UNITS if k in found and k != "macs_per_audio_s"}
    values = {**exact, **measured}
    return Choice(point, values, tuple(measured), tries), exceeded(profile, values)


def _fits(spec: SubnetSpec, profile: DeviceProfile) -> bool:
    return not exceeded(profile, arithmetic(spec, profile))


def _spec(point: FrontPoint, profile: DeviceProfile) -> SubnetSpec:
    return for_device(point.spec, profile)


def _placed(point: FrontPoint, spec: SubnetSpec) -> FrontPoint:
    """Return a point with its costs at the device's chunk; the scores do not depend on it."""
    return FrontPoint.of(spec, wer=point.wer, nll=point.nll)


def _infeasible(profile: DeviceProfile, tried: Sequence[Values]) -> InfeasibleError:
    return InfeasibleError(
        f"{profile.name}: no subnet meets its budgets ({needs_line(profile, tried)}); raise these "
        "limits or train a supernet with a smaller smallest net"
    )
