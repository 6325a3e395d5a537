"""The classification task: sequences in a new order every epoch, cross entropy or squared error."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from todm.core.classify_config import SequenceAugment
from todm.core.rng import derive_seed
from todm.data.sequences import SequenceBatch, augmented
from todm.models.classifier import Classifier
from todm.train.loop import seeded
from todm.train.task import Scores, Task

NET = "classifier"
EVAL_BATCH = 64


class ClassifyTask(Task[SequenceBatch]):
    """Trains a classifier or regressor; judged on the sequences of dev."""

    def __init__(
        self,
        model: Classifier,
        train: SequenceBatch,
        dev: SequenceBatch,
        *,
        batch_size: int,
        augment: SequenceAugment,
        seed: int,
    ) -> None:
        self.model: Classifier = model
        self.train, self.dev = train, dev
        self.batch_size = min(batch_size, len(train.y))
        self.augment = augment
        self.seed = seed
        self._loss = torch.zeros(())

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; what is left over joins another epoch's."""
        return len(self.train.y) // self.batch_size

    def batches(self, start_step: int) -> Iterator[SequenceBatch]:
        """Yield the batches from a step on; each epoch has its own order."""
        step = start_step
        while True:
            epoch, number = divmod(step, self.steps_per_epoch)
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            order = torch.randperm(len(self.train.y), generator=generator)
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            draws = torch.Generator().manual_seed(derive_seed(self.seed, "augment", step))
            x_BLI = augmented(self.train.x_BLI[chosen], self.augment, draws)
            yield SequenceBatch(x_BLI, self.train.y[chosen])
            step += 1

    def losses(self, batch: SequenceBatch, step: int) -> Iterator[Tensor]:
        """Yield the loss."""
        with seeded(derive_seed(self.seed, "dropout", step)):
            loss = self._loss_of(self.model(batch.x_BLI), batch.y)
        self._loss = loss.detach()
        yield loss

    def _loss_of(self, outputs_BY: Tensor, y: Tensor) -> Tensor:
        if self.model.spec.head == "classes":
            return F.cross_entropy(outputs_BY, y)
        standard_BY = (y - self.model.target_mean) / self.model.target_std
        return F.mse_loss(outputs_BY, standard_BY)

    def step_log(self) -> dict[str, float]:
        """Return the loss of the last step."""
        return {"loss": float(self._loss)}

    @torch.inference_mode()
    def evaluate(self) -> Scores:
        """Return loss and accuracy (%) on dev, or loss and standardised RMSE."""
        device = self.model.mean.device
        outputs_BY = torch.cat(
            [
                self.model(part_BLI.to(device))
                for part_BLI in torch.split(self.dev.x_BLI, EVAL_BATCH)
            ]
        )
        y = self.dev.y.to(device)
        loss = float(self._loss_of(outputs_BY, y))
        if self.model.spec.head == "classes":
            right = float((outputs_BY.argmax(1) == y).float().mean())
            return {NET: {"loss": loss, "accuracy": 100.0 * right}}
        return {NET: {"loss": loss, "rmse_standardised": math.sqrt(loss)}}

    def headline(self, scores: Scores) -> str:
        """Return the figure on dev."""
        figures = scores[NET]
        if "accuracy" in figures:
            return f"dev accuracy {figures['accuracy']:.1f} %"
        return f"dev RMSE {figures['rmse_standardised']:.3f} of a deviation"

    def epoch_of(self, step: int) -> float:
        """Return the epoch that a step lies in."""
        return step / self.steps_per_epoch

    def save_batch(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Return the batch's tensors."""
        return {"x": batch.x_BLI, "y": batch.y}
