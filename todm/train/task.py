"""What the training loop asks of a task; supernets, and later other systems, implement it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

B = TypeVar("B")

Scores = Mapping[str, Mapping[str, float]]
"""Figures by name of net: {"largest": {"wer": 3.1, "loss": 0.2}, ...}."""


class Task(ABC, Generic[B]):
    """A model, its batches and its losses."""

    model: nn.Module

    @abstractmethod
    def batches(self, start_step: int) -> Iterator[B]:
        """Yield the batches of steps ``start_step``, ``start_step + 1``, ...

        Each is a pure function of the step, so that a resumed run sees the same ones.
        """

    @abstractmethod
    def losses(self, batch: B, step: int) -> Iterator[Tensor]:
        """Yield losses; the loop calls backward on each before it asks for the next."""

    @abstractmethod
    def step_log(self) -> dict[str, float]:
        """Return the figures of the last step by name, for the log."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep besides the model; most tasks have nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""

    @abstractmethod
    def evaluate(self) -> Scores:
        """Measure the model as it stands on held-out data."""

    def headline(self, scores: Scores) -> str:
        """Return what the progress bar shows of an evaluation."""
        wers = "/".join(f"{figures['wer']:.1f}" for figures in scores.values())
        return f"dev WER {wers} %"

    @abstractmethod
    def epoch_of(self, step: int) -> float:
        """Return the epoch that a step lies in, for the schedule."""

    @abstractmethod
    def save_batch(self, batch: B) -> dict[str, Tensor]:
        """Return the tensors of a batch, to be saved when its step was not finite."""
