"""Choosing without any network: budgets, preferences, neighbours, measured candidates."""

import random

import pytest

from todm.core.cost_bytes import bundle_bytes
from todm.core.errors import InfeasibleError
from todm.core.front import Front, FrontPoint
from todm.core.profile import Budget, DeviceProfile
from todm.extract.choose import MAX_TRIES, candidates, choose
from todm.extract.constraints import arithmetic, for_device, judged_budgets, verdicts_of
from todm.extract.evaluate import by_preference, neighbours, standard_error
from todm.recipes.spaces import small_space

SPACE = small_space(12)
WORDS = 300


def quality(spec):
    """Say that larger nets are better: no WER below 1 %, 10 % for none."""
    size = sum(b.ffn_dim for b in spec.blocks) / 3072
    return {"wer": 10.0 - 9.0 * size, "nll": 1.0 - size}


def profile_of(*, host=False, runtime="onnxruntime", numeric="int8", chunk_frames=8, **limits):
    budgets = {k: Budget(limit=v, origin="chosen", source="a test") for k, v in limits.items()}
    return DeviceProfile(
        name="board",
        title="Board",
        runtime=runtime,
        runtime_version="1",
        arch="any",
        threads=1,
        chunk_frames=chunk_frames,
        numeric=numeric,
        is_this_host=host,
        budgets=budgets,
    )


def point(spec, **changes):
    return FrontPoint.of(spec, **{**quality(spec), **changes})


def evaluate(specs):
    return [point(spec) for spec in specs]


@pytest.fixture
def trials():
    generator = random.Random(1)
    specs = [*SPACE.named().values(), *(SPACE.sample(generator) for _ in range(60))]
    return Front(points=tuple(point(spec) for spec in dict.fromkeys(specs)), words=WORDS)


def take(trials, profile, measure=None):
    return choose(candidates(SPACE, trials, profile, evaluate, seed=0), profile, measure)


def test_without_a_limit_in_reach_the_best_is_taken(trials):
    choice = take(trials, profile_of(bundle_bytes=1e9))
    assert choice.point.spec == SPACE.largest
    assert (choice.measured, choice.tries) == ((), 0)


@pytest.mark.parametrize(
    "limits", [{"bundle_bytes": 900_000.0}, {"macs_per_audio_s": 12e6}, {"bundle_bytes": 700_000.0}]
)
def test_the_best_that_fits_is_taken(trials, limits):
    profile = profile_of(**limits)
    choice = take(trials, profile)
    assert all(choice.values[name] <= limit for name, limit in limits.items())
    fitting = [p for p in trials.points if _within(p.spec, profile, limits)]
    bar = min(p.wer for p in fitting)
    assert choice.point.wer <= bar + standard_error(bar, WORDS)
    tied = [p for p in fitting if p.wer <= bar + standard_error(bar, WORDS)]
    assert choice.point.macs_per_audio_s == max(p.macs_per_audio_s for p in tied)


def _within(spec, profile, limits):
    values = arithmetic(for_device(spec, profile), profile)
    return all(values[name] <= limit for name, limit in limits.items())


def test_the_chunk_is_the_device_s(trials):
    choice = take(trials, profile_of(bundle_bytes=1e9, chunk_frames=16))
    assert choice.point.spec.chunk_frames == 16
    assert SPACE.contains(choice.point.spec)


def test_neighbours_are_evaluated_where_few_fit(trials):
    smallest = arithmetic(SPACE.smallest, profile_of(macs_per_audio_s=1.0))["macs_per_audio_s"]
    few = Front(points=trials.points[:3], words=WORDS)
    evaluated = []

    def watch(specs):
        evaluated.extend(specs)
        return evaluate(specs)

    profile = profile_of(macs_per_audio_s=smallest * 1.3)
    choice = choose(candidates(SPACE, few, profile, watch, seed=0), profile, None)
    assert evaluated
    assert choice.values["macs_per_audio_s"] <= smallest * 1.3
    assert choice.point.wer < point(SPACE.smallest).wer


def test_impossible_budget_names_every_need(trials):
    profile = profile_of(bundle_bytes=1000.0, macs_per_audio_s=1e9)
    with pytest.raises(InfeasibleError, match="bundle_bytes needs at least") as caught:
        take(trials, profile)
    assert caught.value.exit_code == 3
    assert "limit 1,000 B; macs_per_audio_s needs at least" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_fit_but_the_estimate_does_not(trials):
    need = arithmetic(SPACE.smallest, profile_of(bundle_bytes=1.0))["bundle_bytes"]
    profile = profile_of(bundle_bytes=need - 1000.0)
    with pytest.raises(InfeasibleError):
        take(trials, profile)
    choice = take(trials, profile, lambda _: {"bundle_bytes": need - 2000.0})
    assert choice.point.spec == SPACE.smallest


def test_heavier_bundles_correct_the_estimates(trials):
    profile = profile_of(bundle_bytes=900_000.0)
    calls = []

    def measure(spec):
        calls.append(spec)
        return {"bundle_bytes": arithmetic(spec, profile)["bundle_bytes"] + 150_000.0}

    choice = take(trials, profile, measure)
    assert choice.values["bundle_bytes"] <= 900_000.0
    assert choice.measured == ("bundle_bytes",)
    assert choice.tries == len(calls) == 2


def test_slow_nets_rule_out_larger_ones(trials):
    profile = profile_of(host=True, rtf=0.01, bundle_bytes=1e9)
    calls = []

    def measure(spec):
        calls.append(point(spec).macs_per_audio_s)
        return {"rtf": calls[-1] / 1.5e9, "bundle_bytes": 1e6, "macs_per_audio_s": 0.0}

    choice = take(trials, profile, measure)
    assert choice.values["rtf"] <= 0.01
    assert choice.values["macs_per_audio_s"] == calls[-1]
    assert calls == sorted(calls, reverse=True)
    assert len(calls) <= MAX_TRIES


def test_the_last_try_is_the_smallest_net(trials):
    profile = profile_of(host=True, chunk_latency_p95_ms=1.0)
    calls = []

    def measure(spec):
        calls.append(spec)
        return {"chunk_latency_p95_ms": 5.0 + len(spec.blocks), "bundle_bytes": 1e6}

    with pytest.raises(InfeasibleError, match="needs at least 7 ms, limit 1 ms"):
        take(trials, profile, measure)
    assert calls[-1] == SPACE.smallest
    assert len(calls) <= MAX_TRIES


def test_time_of_other_devices_is_not_judged(trials):
    profile = profile_of(rtf=0.01, bundle_bytes=1e9)
    choice = take(trials, profile, lambda _: {"rtf": 9.0, "bundle_bytes": 5e5})
    assert choice.point.spec == SPACE.largest
    verdicts = {v.name: v for v in verdicts_of(profile, choice.values, choice.measured)}
    assert verdicts["rtf"].status == "not_judged"
    assert verdicts["bundle_bytes"].status == "met"
    assert verdicts["bundle_bytes"].note.startswith("measured")
    assert judged_budgets(profile, measured=True) == ("bundle_bytes",)
    host = profile_of(host=True, rtf=0.01)
    assert judged_budgets(host, measured=False) == ()
    assert judged_budgets(host, measured=True) == ("rtf",)


def test_each_runtime_is_judged_by_the_form_that_it_loads():
    onnx, pte = profile_of(numeric="fp32"), profile_of(numeric="fp32", runtime="executorch")
    sizes = [arithmetic(SPACE.largest, profile)["bundle_bytes"] for profile in (onnx, pte)]
    assert sizes == [bundle_bytes(SPACE.largest, "fp32", f) for f in ("onnx", "executorch")]
    assert sizes[0] != sizes[1]


def test_within_a_standard_error_the_device_gets_what_it_affords():
    small, middle, large = SPACE.smallest, SPACE.middle, SPACE.largest
    assert standard_error(4.0, 300) == pytest.approx(1.131, abs=1e-3)
    assert standard_error(0.0, 300) == pytest.approx(100 / 300, rel=0.01)
    points = [
        point(small, wer=4.0, nll=0.9),
        point(middle, wer=4.9, nll=1.2),
        point(large, wer=5.5, nll=0.1),
    ]
    assert [p.spec for p in by_preference(points, 300)] == [middle, small, large]
    assert [p.spec for p in by_preference(points, 10**7)] == [small, middle, large]
    assert by_preference([], 300) == []


def test_neighbours_are_new_accepted_and_repeatable():
    def accept(spec):
        return len(spec.blocks) == 2

    found = neighbours(SPACE, [SPACE.smallest], accept, seed=3)
    assert len(found) == len(set(found)) > 0
    assert all(accept(spec) and SPACE.contains(spec) for spec in found)
    assert SPACE.smallest not in found
    assert found == neighbours(SPACE, [SPACE.smallest], accept, seed=3)
    assert neighbours(SPACE, [SPACE.smallest], lambda _: False, seed=3) == []


def space_that_looks_ahead(*lookaheads):
    return SPACE.reformed(lookaheads=lookaheads, chunk_frames=16, backward=True)


def farsighted(spec):
    """Say that every frame ahead helps."""
    return point(spec, wer=quality(spec)["wer"] + 20.0 - spec.lookahead_frames)


@pytest.mark.parametrize(
    ("chunk_frames", "most", "expected"),
    [(16, None, 15), (8, None, 7), (32, None, 15), (2, None, 1), (3, None, 0), (16, 5, 1)],
)
def test_a_device_gets_the_lookahead_that_its_chunk_holds(chunk_frames, most, expected):
    space = space_that_looks_ahead(0, 1, 7, 15)
    generator = random.Random(1)
    specs = [*space.named().values(), *(space.sample(generator) for _ in range(60))]
    points = tuple(farsighted(spec) for spec in dict.fromkeys(specs))
    profile = profile_of(bundle_bytes=1e9, chunk_frames=chunk_frames)
    profile = profile.model_copy(update={"lookahead_frames": most})
    trials = Front(points=points, words=WORDS)
    found = candidates(space, trials, profile, lambda s: [farsighted(x) for x in s], seed=0)
    taken = choose(found, profile, None).point.spec
    assert (taken.chunk_frames, taken.lookahead_frames) == (chunk_frames, expected)
    assert all(p.spec.fits_chunk(chunk_frames) for p in [*found.ranked, found.smallest])


def test_a_chunk_that_no_net_suits_is_infeasible():
    space = space_that_looks_ahead(7)
    profile = profile_of(bundle_bytes=1e9, chunk_frames=6)
    trials = Front(points=(farsighted(space.largest),), words=WORDS)
    with pytest.raises(InfeasibleError, match="chunks of a multiple of 8 frames"):
        candidates(space, trials, profile, evaluate, seed=0)
