"""The supernet task: every step trains the largest net, the smallest and random ones together.

The front end and the predictor are the same for every net, so a step runs them once: their
outputs are leaves of each net's graph, and one last backward carries the sum of the nets'
gradients through them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from todm.core.config import SupernetConfig
from todm.core.ledger import LARGEST, TrainedNet, TrainingLedger
from todm.core.rng import derive_seed
from todm.core.specs import SubnetSpec
from todm.data.loader import Batch, BatchLoader
from todm.decode.tokens import TokenTable
from todm.kernels.precision import widened
from todm.layers.dropout import dropout_plan
from todm.losses.backends import open_backend
from todm.models.rnnt import Transducer
from todm.models.scoring import Sample, score, scoring_set
from todm.train.distil import Outputs, Teacher, distillation, teacher_of
from todm.train.early_stop import watched_nets
from todm.train.lattice import LatticeForm, starts_of_rows
from todm.train.part import Part, batch_tensors, mean_batch_tokens, take, whole
from todm.train.sandwich import nets_of_step, rows_of_net
from todm.train.task import Scores, Task


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
        self.batch_tokens = mean_batch_tokens(loader, config.data)
        self.form = LatticeForm(model, config.loss, open_backend(config.loss.backend))
        self.ledger = TrainingLedger()
        """What the steps so far took."""
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
        return batch_tensors(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the ledger, so that a resumed run goes on counting."""
        return {"ledger": self.ledger.to_json()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved ledger."""
        self.ledger = TrainingLedger.parse(state["ledger"], where="checkpoint")

    def losses(self, batch: Batch, step: int) -> Iterator[Tensor]:
        """Yield each net's loss, then the carrier of the shared parts' gradients."""
        config, self._log = self.config, {}
        front_BTD = widened(self.model.encoder.front(batch.features_BTF))
        pred_BUE = widened(self.model.predictor(batch.targets_BU))
        leaves = [front_BTD.detach().requires_grad_(), pred_BUE.detach().requires_grad_()]
        everything = whole(batch, *leaves)
        nets = nets_of_step(
            config.space,
            config.sandwich,
            seed=config.seed,
            step=step,
            total_steps=config.schedule.steps,
        )
        teacher: Teacher | None = None
        start_BT: Tensor | None = None
        trained = []
        for name, spec in nets:
            rows = rows_of_net(
                config.sandwich, everything.size, seed=config.seed, step=step, name=name
            )
            part = take(everything, rows)
            kept_BT = start_BT
            if start_BT is not None:
                kept_BT = starts_of_rows(start_BT, rows, part.front_BTD.shape[1])
            outputs, objective_B = self._outputs(part, spec, (name, step), kept_BT)
            of_part = teacher.take(rows, part) if teacher else None
            task = objective_B.sum() / self._mean_tokens(part.size / everything.size)
            yield self._mix(name, task, outputs, part, of_part, share=batch.share)
            if name == LARGEST and config.loss.pruned.share_ranges:
                start_BT = outputs.start_BT
            if name == LARGEST and len(nets) > 1 and config.distill.mode != "none":
                teacher = teacher_of(outputs, part, config.distill)
            lost = int((~outputs.loss.valid_B).sum())
            trained.append(self._trained(name, spec, part, batch.share, lost))
        carried = [
            (out * leaf.grad).sum()
            for out, leaf in zip((front_BTD, pred_BUE), leaves, strict=True)
            if leaf.grad is not None
        ]
        yield torch.stack(carried).sum()
        self.ledger = self.ledger.after_step(trained, config.distill.mode)

    def _outputs(
        self, part: Part, spec: SubnetSpec, turn: tuple[str, int], start_BT: Tensor | None
    ) -> tuple[Outputs, Tensor]:
        """Run a net from the front end's output to its loss; return what it learns from too.

        ``turn`` is its name and the step.
        """
        (name, step), config = turn, self.config
        generator = torch.Generator(part.front_BTD.device)
        generator.manual_seed(derive_seed(config.seed, "dropout", step, name))
        plan = dropout_plan(config.dropout, config.space, spec, generator, part.shard)
        enc_BTD = self.model.encoder.body(part.front_BTD, spec, plan, part.lens_B)
        lattice = self.form.run(enc_BTD, part, spec.joiner_dim, step, start_BT)
        outputs = Outputs(enc_BTD, lattice.logits_BTUV, lattice.loss, lattice.start_BT)
        return outputs, lattice.objective_B

    def _mean_tokens(self, share: float) -> float:
        """Return the tokens of an average batch, or of a share of one, for a task loss."""
        return self.batch_tokens * share

    def _mix(
        self,
        name: str,
        task: Tensor,
        outputs: Outputs,
        part: Part,
        teacher: Teacher | None,
        *,
        share: float,
    ) -> Tensor:
        """Weigh task loss and distillation of one net.

        Distillation is a mean over utterances, so this process's ``share`` of it adds up with the
        others' to the whole batch's, as the task losses do.
        """
        loss_B, valid_B = outputs.loss.loss_B, outputs.loss.valid_B
        tokens = part.target_lens_B.sum().clamp(min=1)
        self._log[f"loss.{name}"] = float(loss_B.detach().sum() / tokens)
        if not bool(valid_B.all()):
            self._log[f"no_path.{name}"] = int((~valid_B).sum())
        if name == LARGEST:
            return task
        loss = self.config.sandwich.task_weight * task
        if teacher is None:
            return loss
        topology = self.config.loss.topology
        kd = distillation(teacher, outputs, part, self.config.distill, topology)
        self._log[f"distill.{name}"] = float(kd.detach())
        return loss + self.config.distill.weight * share * kd

    def _trained(
        self, name: str, spec: SubnetSpec, part: Part, share: float, no_path: int
    ) -> TrainedNet:
        """Return the ledger's entry of all processes, from the share of this one."""
        shape = part.shape.model_copy(update={"batch": round(part.size / share)})
        shape = shape.in_form(self.config.loss, largest=name == LARGEST)
        frames = round(int(part.frame_lens_B.sum()) / share)
        return TrainedNet(name, spec, shape, frames, round(no_path / share))

    @torch.inference_mode()
    def evaluate(self) -> Scores:
        """Return dev WER (one symbol a frame) and NLL per token of the watched nets."""
        data = scoring_set(self.model, self.dev, self.table, topology=self.config.loss.topology)
        found = {
            name: score(self.model, spec, data) for name, spec in watched_nets(self.config).items()
        }
        return {name: {"wer": scores.wer, "loss": scores.nll} for name, scores in found.items()}
