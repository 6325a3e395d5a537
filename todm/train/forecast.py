"""The forecasting task: windows in a new order every epoch, mean squared error."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from todm.core.rng import derive_seed
from todm.data.windows import WindowBatch, Windows
from todm.metrics.forecast import absolute_error, squared_error
from todm.models.forecaster import Forecaster
from todm.models.forecasting import forecast_windows
from todm.train.task import Scores, Task

NET = "forecaster"


class ForecastTask(Task[WindowBatch]):
    """Trains a forecaster on the windows of a series; judged on those of the validation part."""

    def __init__(
        self,
        model: Forecaster,
        train: Windows,
        validation: Windows,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        self.model: Forecaster = model
        self.train, self.validation = train, validation
        self.batch_size = min(batch_size, len(train))
        self.seed = seed
        self._loss = torch.zeros(())

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; what is left over joins another epoch's."""
        return len(self.train) // self.batch_size

    def batches(self, start_step: int) -> Iterator[WindowBatch]:
        """Yield the batches from a step on; each epoch has its own order."""
        epoch, first = divmod(start_step, self.steps_per_epoch)
        while True:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            order = torch.randperm(len(self.train), generator=generator)
            for number in range(first, self.steps_per_epoch):
                begin = number * self.batch_size
                yield self.train.batch(order[begin : begin + self.batch_size])
            epoch, first = epoch + 1, 0

    def losses(self, batch: WindowBatch, step: int) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield the mean squared error of the standardised values."""
        loss = F.mse_loss(self.model(batch.x_BWC, batch.marks_BWM), batch.y_BHC)
        self._loss = loss.detach()
        yield loss

    def step_log(self) -> dict[str, float]:
        """Return the loss of the last step."""
        return {"loss": float(self._loss)}

    def evaluate(self) -> Scores:
        """Return the errors on every validation window."""
        found, truth = forecast_windows(self.model, self.validation)
        return {
            NET: {"loss": squared_error(found, truth), "mae": absolute_error(found, truth)},
        }

    def headline(self, scores: Scores) -> str:
        """Return the validation error."""
        return f"validation MSE {scores[NET]['loss']:.4f}"

    def epoch_of(self, step: int) -> float:
        """Return the epoch that a step lies in."""
        return step / self.steps_per_epoch

    def save_batch(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Return the batch's tensors."""
        return batch._asdict()
