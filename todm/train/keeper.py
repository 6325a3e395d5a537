"""Which weights a training evaluates and which it hands out; rank 0 alone keeps them."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from todm.train.averaging import Average, Weights
from todm.train.early_stop import Stopper
from todm.train.task import Scores, Task

BEST = "best.safetensors"


class Keeper:
    """The average of a model's weights and, with early stopping, the best of its evaluations."""

    def __init__(
        self, task: Task[Any], average: Average, stopper: Stopper | None, folder: Path
    ) -> None:
        self.average = average
        self._task = task
        self._stopper = stopper
        self._best = folder / BEST

    @property
    def stopped(self) -> bool:
        """Whether training should end before its last step."""
        return self._stopper is not None and self._stopper.stopped

    def add(self, step: int) -> None:
        """Take note of the weights after so many steps."""
        self.average.add(self._task.model, step)

    def evaluate(self) -> tuple[Scores, dict[str, float]]:
        """Evaluate the latest average (the weights before there is one); keep the best.

        Returns the scores and, with early stopping, the figure that it watches.
        """
        model = self._task.model
        current = {k: v.clone() for k, v in model.state_dict().items()}
        scores = self._scores(next(iter(self.average.windows().values()), current))
        extra = {}
        if self._stopper is not None:
            extra[self._stopper.figure] = self._stopper.value(scores)
            if self._stopper.grew(scores):
                self._write_best()
        model.load_state_dict(current)
        return scores, extra

    def hand_out(self) -> dict[str, object]:
        """Leave the result in the model; return what is to be said of a choice, if there was one.

        With early stopping the weights of the best evaluation, otherwise the average; of several
        windows the one with the least mean loss on dev.
        """
        model = self._task.model
        if self._stopper is not None and self._best.is_file():
            model.load_state_dict(load_file(self._best))
            return {}
        windows = self.average.windows()
        said: dict[str, object] = {}
        chosen = next(iter(windows), None)
        if len(windows) > 1:
            losses = {name: self._mean_loss(weights) for name, weights in windows.items()}
            chosen = min(losses, key=losses.__getitem__)
            said = {"average_from": int(chosen), "dev_loss_from": losses}
        if chosen is not None:
            model.load_state_dict(windows[chosen])
        return said

    def _scores(self, weights: Weights) -> Scores:
        self._task.model.load_state_dict(weights)
        self._task.model.eval()
        return self._task.evaluate()

    def _mean_loss(self, weights: Weights) -> float:
        scores = self._scores(weights)
        return sum(figures["loss"] for figures in scores.values()) / len(scores)

    def _write_best(self) -> None:
        scratch = self._best.with_suffix(".tmp")
        weights = {k: v.contiguous() for k, v in self._task.model.state_dict().items()}
        save_file(weights, scratch)
        scratch.replace(self._best)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is not on disk already."""
        stopper = {} if self._stopper is None else self._stopper.state_dict()
        return {"average": self.average.state_dict(), "stopper": stopper}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.average.load_state_dict(state["average"])
        if self._stopper is not None:
            self._stopper.load_state_dict(state["stopper"])
