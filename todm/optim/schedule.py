"""Learning-rate schedules as pure functions: the factor on the base rate at a step."""

import math


def eden_factor(
    step: int,
    epoch: float,
    *,
    batches: float,
    epochs: float,
    warmup_batches: int,
    warmup_start: float = 0.5,
    held_steps: float = 0.0,
) -> float:
    """Return icefall's Eden factor (Yao et al. 2023, Zipformer, arXiv 2310.11230).

    ((step^2 + B^2) / B^2)^(-1/4) * ((epoch^2 + E^2) / E^2)^(-1/4) * warmup, where warmup rises
    linearly from ``warmup_start`` to 1 over ``warmup_batches``. Deviation: the clocks of the decay
    (steps and epochs) start after ``held_steps``.
    """
    clock = max(0.0, step - held_steps)
    if step:
        epoch *= clock / step
    decay = ((clock**2 + batches**2) / batches**2) ** -0.25
    decay *= ((epoch**2 + epochs**2) / epochs**2) ** -0.25
    if step >= warmup_batches:
        return decay
    return decay * (warmup_start + (1.0 - warmup_start) * step / warmup_batches)


def epoch_factor(epoch: float, *, held_epochs: int, factor: float) -> float:
    """Return 1 for the held epochs, then ``factor`` once more for every epoch begun."""
    return float(factor ** max(0, math.floor(epoch) - held_epochs + 1))


def one_cycle_factor(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Return a linear rise over the warmup's share of the steps, then a cosine fall to 0."""
    progress = step / total_steps
    if progress < warmup_fraction:
        return (step + 1) / (warmup_fraction * total_steps + 1)
    left = (progress - warmup_fraction) / (1.0 - warmup_fraction)
    return 0.5 * (1.0 + math.cos(math.pi * left))
