"""Learning-rate range test (Smith 2017, arXiv 1506.01186): which ``optim.lr`` suits a training.

The rate rises exponentially from a hundredth of the configured one over ``run.lr_range_steps``,
on the first steps of the training: where the sandwich starts late, on the largest net alone. It
ends early where the loss has clearly diverged. The suggestion is
the rate at which the smoothed loss falls fastest on the logarithmic scale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from todm.core.config import SupernetConfig
from todm.core.errors import ConfigError, GateError
from todm.optim.build import build_optimizer
from todm.train.loop import backward
from todm.train.ranks import launch, threads_each
from todm.train.run import build_task, open_inputs

SPAN = (0.01, 30.0)
"""First and last rate, times the configured one."""
SMOOTHING = 0.9
"""Weight of the past in the moving average of the loss, whose start is corrected for."""
DIVERGED = 3.0
"""Times the least smoothed loss: beyond it the test ends."""
LEAST_STEPS = 20
EDGE_SHARE = 0.05
"""Part of the steps at the start that is no suggestion: the average still moves there."""

NET = "loss.largest"


@dataclass(frozen=True)
class RangeStep:
    """One step of the test."""

    lr: float
    loss: float
    """Per token, of the largest net."""
    smoothed: float


def rate_at(step: int, steps: int) -> float:
    """Return the factor on the configured rate at a step."""
    low, high = SPAN
    return float(low * (high / low) ** (step / (steps - 1)))


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average, corrected for its start."""
    found, mean = [], 0.0
    for count, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        found.append(mean / (1.0 - SMOOTHING**count))
    return found


def suggest(curve: Sequence[RangeStep]) -> float:
    """Return the rate of the steepest fall of the smoothed loss.

    Raises:
        GateError: the loss did not fall anywhere.
    """
    first = max(1, round(EDGE_SHARE * len(curve)))
    pairs = zip(curve[first:], curve[first + 1 :], strict=False)
    slopes = {(b.smoothed - a.smoothed) / math.log(b.lr / a.lr): a.lr for a, b in pairs}
    if not slopes or min(slopes) >= 0.0:
        raise GateError(
            "lr range: the loss fell at no rate; give more steps, or look at the data and the loss"
        )
    return slopes[min(slopes)]


def run(config: SupernetConfig, corpus: Path, init: Path | None = None) -> list[RangeStep]:
    """Test the rates around ``optim.lr`` on a corpus, in one process; nothing is kept.

    The rate of the state-space parameters (``optim.ssm_lr``) moves along.

    Raises:
        ConfigError: several processes.
    """
    opened, old = open_inputs(config, corpus, init)
    torch.set_num_threads(threads_each(config.run))
    fabric = launch(config.run)
    if fabric.world_size > 1:
        raise ConfigError("a range test runs in one process; start it without torchrun")
    task = build_task(config, opened, fabric, old)
    optimizer = build_optimizer(task.model, config.optim, config.space)
    batches = task.batches(0)

    def loss_at(step: int, factor: float) -> float:
        optimizer.set_factor(factor)
        task.model.train()
        backward(fabric, task, next(batches), step)
        optimizer.step()
        optimizer.zero_grad()
        return task.step_log()[NET]

    return range_test(loss_at, base_lr=config.optim.lr, steps=config.run.lr_range_steps)


def range_test(
    loss_at: Callable[[int, float], float], *, base_lr: float, steps: int
) -> list[RangeStep]:
    """Train with a rising rate until the end or divergence.

    Args:
        loss_at: Trains the step at a factor on the configured rate; returns the loss before it.
        base_lr: The configured rate.
        steps: How many at most.
    """
    losses: list[float] = []
    for step in range(steps):
        loss = loss_at(step, rate_at(step, steps))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(losses)
        if len(losses) > LEAST_STEPS and smoothed[-1] > DIVERGED * min(smoothed):
            break
    return [
        RangeStep(base_lr * rate_at(step, steps), loss, mean)
        for step, (loss, mean) in enumerate(zip(losses, smooth(losses), strict=True))
    ]
