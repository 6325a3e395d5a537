"""How the benchmarks measure: runs in turns, least times, bytes kept by autograd, seeds."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from time import process_time

import torch
from torch import Tensor, nn

from todm.core.report import Measurement


def in_turns(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of every run of each but the first."""
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            begin_s = process_time()
            run()
            if turn:
                times_ms[name].append(1000.0 * (process_time() - begin_s))
    return times_ms


def least_time(name: str, times: Sequence[float], note: str, *, unit: str = "ms") -> Measurement:
    """Return the least time, with the median as the upper end of its interval."""
    least = min(times)
    return Measurement(
        name=name, value=least, unit=unit, low=least, high=median(times), n=len(times),
        note=f"{note}; least CPU time, high is the median",
    )  # fmt: skip


def speed_ratio(
    name: str, times_ms: Mapping[str, Sequence[float]], other: str, ours: str
) -> Measurement:
    """Return the time of the other form over ours; above 1 ours is faster."""
    least, middle = (figure(times_ms[other]) / figure(times_ms[ours]) for figure in (min, median))
    return Measurement(
        name=name, value=least, unit="", low=min(least, middle), high=max(least, middle),
        n=len(times_ms[ours]), note=f"{other} over {ours}: least times; interval with medians",
    )  # fmt: skip


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """Return the bytes that autograd keeps for the backward pass, each storage once.

    The layer's own weights are there anyway and do not count.
    """
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    seen: dict[int, int] = {}

    def keep(part: Tensor) -> Tensor:
        storage = part.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return part

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
        y = layer(x)
    del y
    return sum(size for pointer, size in seen.items() if pointer not in own)


def over_seeds(name: str, values: Sequence[float], unit: str, *, note: str = "") -> Measurement:
    """Return the mean of a figure over seeds, with the least and the largest of them."""
    return Measurement(
        name=name,
        value=mean(values),
        unit=unit,
        low=min(values),
        high=max(values),
        n=len(values),
        note=note or "mean over seeds; the least and the largest of them",
    )
