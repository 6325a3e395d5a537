"""The supernet task: every step trains the largest net, the smallest and random ones together.

The front end and the predictor are the same for every net, so a step runs them once: their
outputs are leaves of each net's graph, and one last backward carries the sum of the nets'
gradients through them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from todm.core.config import SupernetConfig
from todm.core.rng import derive_seed
from todm.core.specs import SubnetSpec
from todm.data.loader import Batch, BatchLoader
from todm.decode.tokens import TokenTable
from todm.layers.dropout import dropout_plan
from todm.losses.alpha_divergence import lattice_distillation
from todm.losses.transducer import TransducerLoss, transducer_loss
from todm.models.rnnt import Transducer, encoder_lens
from todm.models.scoring import Sample, score, scoring_set
from todm.train.sandwich import nets_of_step
from todm.train.task import Scores, Task


@dataclass(frozen=True)
class Teacher:
    """What the largest net leaves for the others."""

    logits_BTUV: Tensor
    node_mask_BTU: Tensor
    gate_B: Tensor


class SupernetTask(Task[Batch]):
    """Trains a ``Transducer`` over a corpus by the sandwich rule."""

    def __init__(
        self,
        config: SupernetConfig,
        model: Transducer,
        loader: BatchLoader,
        dev: Sequence[Sample],
        table: TokenTable,
    ) -> None:
        self.config = config
        self.model: Transducer = model
        self.loader = loader
        self.dev = dev
        self.table = table
        tokens = [len(u.tokens) for u in loader.utterances]
        dynamic = config.data.max_duration_s is not None
        utterances = len(tokens) / loader.steps_per_epoch if dynamic else config.data.batch_size
        self.batch_tokens = utterances * max(1.0, sum(tokens) / len(tokens))
        self._log: dict[str, float] = {}

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Yield the loader's batches from a step on."""
        return self.loader.prefetch(start_step)

    def epoch_of(self, step: int) -> float:
        """Return the epoch that a step lies in."""
        return step / self.loader.steps_per_epoch

    def step_log(self) -> dict[str, float]:
        """Return the losses per token of the last step's nets."""
        return dict(self._log)

    def save_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Return the batch's tensors."""
        return {
            "features": batch.features_BTF,
            "frame_lens": batch.frame_lens_B,
            "targets": batch.targets_BU,
            "target_lens": batch.target_lens_B,
        }

    def losses(self, batch: Batch, step: int) -> Iterator[Tensor]:
        """Yield each net's loss, then the carrier of the shared parts' gradients."""
        config, self._log = self.config, {}
        front_BTD = self.model.encoder.front(batch.features_BTF)
        pred_BUE = self.model.predictor(batch.targets_BU)
        shared = [front_BTD.detach().requires_grad_(), pred_BUE.detach().requires_grad_()]
        nets = nets_of_step(
            config.space,
            config.sandwich,
            seed=config.seed,
            step=step,
            total_steps=config.schedule.steps,
        )
        teacher: Teacher | None = None
        for name, spec in nets:
            logits_BTUV = self._logits(shared, spec, name, step)
            result = self._transducer_loss(logits_BTUV, batch)
            loss = self._mix(name, logits_BTUV, result, batch, teacher)
            yield loss
            if name == "largest" and len(nets) > 1 and config.distill.mode != "none":
                teacher = self._teacher(logits_BTUV, result, batch)
        yield sum(
            (out * leaf.grad).sum()
            for out, leaf in zip((front_BTD, pred_BUE), shared, strict=True)
            if leaf.grad is not None
        )

    def _logits(self, shared: Sequence[Tensor], spec: SubnetSpec, name: str, step: int) -> Tensor:
        front_BTD, pred_BUE = shared
        generator = torch.Generator(front_BTD.device)
        generator.manual_seed(derive_seed(self.config.seed, "dropout", step, name))
        plan = dropout_plan(self.config.dropout, self.config.space, generator)
        enc_BTD = self.model.encoder.body(front_BTD, spec, plan)
        return self.model.joiner.lattice(enc_BTD, pred_BUE, spec.joiner_dim)

    def _transducer_loss(self, logits_BTUV: Tensor, batch: Batch) -> TransducerLoss:
        return transducer_loss(
            logits_BTUV,
            batch.targets_BU,
            encoder_lens(batch.frame_lens_B),
            batch.target_lens_B,
            topology=self.config.loss.topology,
            delay_penalty=self.config.loss.delay_penalty,
            fastemit=self.config.loss.fastemit,
        )

    def _mix(
        self,
        name: str,
        logits_BTUV: Tensor,
        result: TransducerLoss,
        batch: Batch,
        teacher: Teacher | None,
    ) -> Tensor:
        """Weigh task loss and distillation of one net.

        The task loss is divided by the tokens of an average batch, so that every token of the
        corpus weighs the same whatever batch it falls into.
        """
        task = result.loss_B.sum() / self.batch_tokens
        tokens = batch.target_lens_B.sum().clamp(min=1)
        self._log[f"loss.{name}"] = float(result.loss_B.detach().sum() / tokens)
        if name == "largest":
            return task
        loss = self.config.sandwich.task_weight * task
        if teacher is None:
            return loss
        distill = self.config.distill
        kd = lattice_distillation(
            teacher.logits_BTUV,
            logits_BTUV,
            teacher.node_mask_BTU,
            teacher.gate_B,
            alpha_min=distill.alpha_min,
            alpha_max=distill.alpha_max,
            clip=distill.clip,
        )
        self._log[f"distill.{name}"] = float(kd.detach())
        return loss + distill.weight * kd

    def _teacher(self, logits_BTUV: Tensor, result: TransducerLoss, batch: Batch) -> Teacher:
        frames, positions = logits_BTUV.shape[1:3]
        lens_B = encoder_lens(batch.frame_lens_B)
        t_T = torch.arange(frames, device=lens_B.device)
        u_U = torch.arange(positions, device=lens_B.device)
        in_time_BT = t_T < lens_B[:, None]
        in_text_BU = u_U <= batch.target_lens_B[:, None]
        mask_BTU = in_time_BT[:, :, None] & in_text_BU[:, None]
        per_label_B = result.loss_B.detach() / batch.target_lens_B.clamp(min=1)
        gate_B = torch.exp(-per_label_B) if self.config.distill.gate else (per_label_B * 0 + 1)
        return Teacher(logits_BTUV.detach(), mask_BTU, gate_B * result.valid_B)

    @torch.inference_mode()
    def evaluate(self) -> Scores:
        """Return dev WER (one symbol a frame) and NLL per token of the three named nets."""
        data = scoring_set(self.model, self.dev, self.table, topology=self.config.loss.topology)
        found = {
            name: score(self.model, spec, data) for name, spec in self.config.space.named().items()
        }
        return {name: {"wer": scores.wer, "loss": scores.nll} for name, scores in found.items()}
