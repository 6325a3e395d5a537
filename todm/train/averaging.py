"""Averages of a model's weights over the last steps: what a training hands out.

``WindowAverage`` (Polyak averaging) knows before the training where its window begins.
``PairAverage`` is icefall's form: one running mean since the first step, of which a copy is kept
wherever a window may begin; the mean over a window is the difference of two of them,

    mean over (s, e]  =  (n_e mean(0, e] - n_s mean(0, s]) / (n_e - n_s),

so which window is best is decided afterwards, on dev speech. The difference cancels most of two
large sums; the running mean is float64 for that.

Source: icefall, ``average_checkpoints_with_averaged_model`` (Yao et al. 2023, arXiv 2310.11230).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from todm.core.config import ScheduleConfig
from todm.core.forecast_config import EpochSchedule

Weights = dict[str, Tensor]
COUNT = "count"


class Average(Protocol):
    """What the training loop asks of an average."""

    count: int
    """Steps whose weights it holds."""

    def wants(self, step: int) -> bool:
        """Tell whether the weights after so many steps make a difference to it."""

    def add(self, model: nn.Module, step: int) -> None:
        """Take note of the weights after so many steps."""

    def windows(self) -> dict[str, Weights]:
        """Return the means by where they begin, the shortest window first; empty before any."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that is not on disk already."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


def new_average(config: ScheduleConfig | EpochSchedule, model: nn.Module, folder: Path) -> Average:
    """Return the average that the schedule asks for; its files go to ``folder``.

    A schedule by epochs asks for none: its window never begins.
    """
    if isinstance(config, EpochSchedule):
        return WindowAverage(model, after=config.steps)
    if config.averaging == "window":
        return WindowAverage(model, after=(1.0 - config.average_fraction) * config.steps)
    starts = [max(1, round(share * config.steps)) for share in config.average_starts]
    return PairAverage(model, folder, starts=starts, period=config.average_period_steps)


class WindowAverage:
    """The mean of the weights after every step later than ``after``."""

    def __init__(self, model: nn.Module, *, after: float) -> None:
        self._mean = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self._after = after
        self.count = 0

    def wants(self, step: int) -> bool:
        """Tell whether the window has begun."""
        return step > self._after

    def add(self, model: nn.Module, step: int) -> None:
        """Fold the weights in, if the window has begun."""
        if self.wants(step):
            self.count += 1
            _fold(self._mean, model.state_dict(), 1.0 / self.count)

    def windows(self) -> dict[str, Weights]:
        """Return the one mean, once the window has begun."""
        return {"window": self._mean} if self.count else {}

    def state_dict(self) -> dict[str, Any]:
        """Return the mean and how many steps it holds."""
        return {"mean": self._mean, COUNT: self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved mean."""
        self._mean = {k: state["mean"][k].to(own.device) for k, own in self._mean.items()}
        self.count = state[COUNT]


class PairAverage:
    """The running mean of the weights after every ``period`` steps, copied at each start."""

    def __init__(
        self, model: nn.Module, folder: Path, *, starts: Sequence[int], period: int
    ) -> None:
        self._own = {k: v.detach() for k, v in model.state_dict().items()}
        self._mean = {k: _doubled(v).clone() for k, v in self._own.items()}
        self._folder = folder
        self._starts = sorted(starts)
        self._period = period
        self._step = 0
        self.count = 0

    def wants(self, step: int) -> bool:
        """Tell whether the weights join the mean."""
        return step % self._period == 0

    def add(self, model: nn.Module, step: int) -> None:
        """Fold the weights in on every ``period``-th step; keep a copy where a window begins."""
        self._step = step
        if self.wants(step):
            self.count += 1
            current = {k: _doubled(v) for k, v in model.state_dict().items()}
            _fold(self._mean, current, 1.0 / self.count)
        if step in self._starts:
            target = self._file(step)
            scratch = target.with_suffix(".tmp")
            mean = {k: v.contiguous() for k, v in self._mean.items()}
            save_file(mean, scratch, metadata={COUNT: str(self.count)})
            scratch.replace(target)

    def windows(self) -> dict[str, Weights]:
        """Return the mean since every start that has passed and has something after it."""
        found = {}
        for start in reversed([s for s in self._starts if s < self._step]):
            means, count = self._read(start)
            if count < self.count:
                found[str(start)] = {
                    name: _difference((mean, self.count), (means[name], count)).to(own)
                    for (name, mean), own in zip(
                        self._mean.items(), self._own.values(), strict=True
                    )
                }
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the mean since the first step."""
        return {"mean": self._mean, COUNT: self.count, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved mean; copies at starts before it lie in the folder."""
        self._mean = {k: state["mean"][k].to(own.device) for k, own in self._mean.items()}
        self.count, self._step = state[COUNT], state["step"]

    def _file(self, start: int) -> Path:
        return self._folder / f"average_{start}.safetensors"

    def _read(self, start: int) -> tuple[Weights, int]:
        with safe_open(self._file(start), framework="pt") as stored:
            means = {k: stored.get_tensor(k).to(v.device) for k, v in self._mean.items()}
            return means, int(stored.metadata()[COUNT])


def _difference(end: tuple[Tensor, int], start: tuple[Tensor, int]) -> Tensor:
    """Return the mean over what lies between two running means (with their counts)."""
    if not end[0].is_floating_point():
        return end[0]
    members = end[1] - start[1]
    return end[0] * (end[1] / members) - start[0] * (start[1] / members)


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


@torch.no_grad()
def _fold(mean: Weights, current: Weights, weight: float) -> None:
    """Move every floating mean towards the current weights by this share."""
    names = [k for k, v in mean.items() if v.is_floating_point()]
    torch._foreach_lerp_([mean[k] for k in names], [current[k] for k in names], weight)
