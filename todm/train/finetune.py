"""The fine-tuning task: one dense net, trained as an int8 runtime would compute it."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from todm.core.finetune_config import FinetuneConfig
from todm.data.loader import Batch, BatchLoader
from todm.decode.tokens import TokenTable
from todm.losses.backends import open_backend
from todm.models.rnnt import Transducer
from todm.models.scoring import Sample, score, scoring_set
from todm.models.simulate import simulated
from todm.train.lattice import LatticeForm
from todm.train.part import batch_tensors, mean_batch_tokens, whole
from todm.train.task import Scores, Task


class FinetuneTask(Task[Batch]):
    """Trains a dense ``Transducer`` through its simulated twin, which shares its weights.

    The model itself stays plain: it is what the loop averages, saves and hands out.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        model: Transducer,
        loader: BatchLoader,
        dev: Sequence[Sample],
        table: TokenTable,
    ) -> None:
        self.config = config
        self.model: Transducer = model
        self.twin = simulated(model, config.scheme)
        self.loader = loader
        self.dev = dev
        self.table = table
        self.batch_tokens = mean_batch_tokens(loader, config.data)
        self.form = LatticeForm(self.twin, config.loss, open_backend(config.loss.backend))
        self._loss = 0.0

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Yield the loader's batches from a step on."""
        return self.loader.prefetch(start_step)

    def epoch_of(self, step: int) -> float:
        """Return the epoch that a step lies in."""
        return step / self.loader.steps_per_epoch

    def step_log(self) -> dict[str, float]:
        """Return the loss per token of the last step."""
        return {"loss": self._loss}

    def save_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Return the batch's tensors."""
        return batch_tensors(batch)

    def losses(self, batch: Batch, step: int) -> Iterator[Tensor]:
        """Yield the transducer loss."""
        spec, net = self.model.spec, self.twin
        part = whole(batch, net.encoder.front(batch.features_BTF), net.predictor(batch.targets_BU))
        enc_BTD = net.encoder.body(part.front_BTD, spec, None, part.lens_B)
        lattice = self.form.run(enc_BTD, part, spec.joiner_dim, step, None)
        tokens = part.target_lens_B.sum().clamp(min=1)
        self._loss = float(lattice.loss.loss_B.detach().sum() / tokens)
        yield lattice.objective_B.sum() / self.batch_tokens

    def evaluate(self) -> Scores:
        """Return dev WER (one symbol a frame) and NLL per token, in float32 and as simulated."""
        return scores_of(self.config, self.model, self.twin, self.dev, self.table)


@torch.inference_mode()
def scores_of(
    config: FinetuneConfig,
    model: Transducer,
    twin: Transducer,
    samples: Sequence[Sample],
    table: TokenTable,
) -> dict[str, dict[str, float]]:
    """Return the figures of a net and of its simulated twin, by precision."""
    found: dict[str, dict[str, float]] = {}
    for name, net in {"fp32": model, config.scheme.precision: twin}.items():
        scores = score(
            net, net.spec, scoring_set(net, samples, table, topology=config.loss.topology)
        )
        found[name] = {"wer": scores.wer, "loss": scores.nll, "words": float(scores.words)}
    return found
