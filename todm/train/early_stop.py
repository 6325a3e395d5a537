"""Early stopping: by the front of a supernet, or by one loss.

A supernet is as good as the trade-offs it offers.

After each evaluation the hypervolume of (WER, MACs) over the named nets and a few sampled ones is
taken; when it has not grown for so many evaluations, training stops and the weights of the best
evaluation are handed out. A single net's WER would stop while the others still learn.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from todm.core.config import SupernetConfig
from todm.core.cost import macs_per_audio_s
from todm.core.rng import derive_seed
from todm.core.specs import SubnetSpec
from todm.metrics.hypervolume import hypervolume
from todm.train.sandwich import first_step
from todm.train.task import Scores

ROOM = 1.1
"""The reference point lies at 100 % WER and this many times the MACs of the costliest net, so that
the costliest net counts too."""
LEAST_GROWTH = 1e-3
"""Relative growth of the hypervolume that counts as one."""


def watched_nets(config: SupernetConfig) -> dict[str, SubnetSpec]:
    """Return the nets of an evaluation: the named ones and, to judge the front, sampled ones."""
    draw = random.Random(derive_seed(config.seed, "watched nets"))
    count = config.run.early_stop_nets if config.run.early_stop_patience else 0
    sampled = {f"sample{i}": config.space.sample(draw) for i in range(count)}
    return config.space.named() | sampled


class Stopper(ABC):
    """What the training loop asks of early stopping: a figure, and patience while it stays."""

    figure: ClassVar[str]
    """Name of what it watches, in the log."""

    def __init__(self, patience: int, best: float) -> None:
        self._patience = patience
        self._stale = 0
        self.best = best

    @property
    def stopped(self) -> bool:
        """Whether no evaluation was the best for as many as are borne."""
        return self._stale >= self._patience

    @abstractmethod
    def value(self, scores: Scores) -> float:
        """Return what it watches of an evaluation."""

    @abstractmethod
    def better(self, value: float) -> bool:
        """Tell whether a value is better than the best so far."""

    def grew(self, scores: Scores) -> bool:
        """Take an evaluation into account; tell whether it is the best so far."""
        value = self.value(scores)
        if self.better(value):
            self.best, self._stale = value, 0
            return True
        self._stale += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and how long ago it was."""
        return {"best": self.best, "stale": self._stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.best, self._stale = state["best"], state["stale"]


class LossStopper(Stopper):
    """Judges evaluations by the loss of their only net."""

    figure = "watched_loss"

    def __init__(self, patience: int) -> None:
        super().__init__(patience, math.inf)

    def value(self, scores: Scores) -> float:
        """Return the loss."""
        (figures,) = scores.values()
        return figures["loss"]

    def better(self, value: float) -> bool:
        """Tell whether the loss has fallen."""
        return value < self.best


class FrontStopper(Stopper):
    """Judges evaluations by the hypervolume of their front."""

    figure = "hypervolume"

    def __init__(self, macs: Mapping[str, float], patience: int, alone: int = 0) -> None:
        """Start with nothing seen.

        Args:
            macs: Of every watched net, by name.
            patience: Evaluations without growth that are borne.
            alone: Evaluations before the smaller nets train; none of them tries the patience.
        """
        super().__init__(patience, 0.0)
        self._macs, self._alone, self._seen = macs, alone, 0

    @classmethod
    def of(cls, config: SupernetConfig) -> "FrontStopper | None":
        """Return the stopper that the configuration asks for, if it does."""
        if not config.run.early_stop_patience:
            return None
        macs = {name: macs_per_audio_s(spec) for name, spec in watched_nets(config).items()}
        start = first_step(config.sandwich, config.schedule.steps)
        alone = start // config.run.eval_every_steps
        return cls(macs, config.run.early_stop_patience, alone)

    def value(self, scores: Scores) -> float:
        """Return the part of the box of 100 % WER and the costliest net's MACs that is dominated.

        In [0, ``ROOM``]; comparable within one training only.
        """
        costliest = max(self._macs.values())
        points = [(s["wer"] / 100.0, self._macs[name] / costliest) for name, s in scores.items()]
        return hypervolume(points, (1.0, ROOM))

    def better(self, value: float) -> bool:
        """Tell whether the front has grown by more than ``LEAST_GROWTH``."""
        return value > self.best * (1.0 + LEAST_GROWTH)

    def grew(self, scores: Scores) -> bool:
        """Take an evaluation into account; tell whether it is the best so far.

        Patience begins when a net recognises something and the smaller ones train.
        """
        self._seen += 1
        if self.best == 0.0 and self.value(scores) == 0.0:
            return False
        grown = super().grew(scores)
        if self._seen <= self._alone:
            self._stale = 0
        return grown

    def state_dict(self) -> dict[str, Any]:
        """Return what ``Stopper`` does, and the number of evaluations."""
        return super().state_dict() | {"seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state)
        self._seen = state["seen"]
