"""In-place distillation: what the largest net leaves for the others, and how they learn from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from todm.core.config import DistillConfig
from todm.kernels.transducer import Topology
from todm.losses.alpha_divergence import lattice_distillation
from todm.losses.encoder_distillation import encoder_distillation
from todm.losses.full_sum import full_sum_distillation
from todm.losses.one_best import one_best_distillation
from todm.losses.transducer import TransducerLoss
from todm.train.part import Part


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a net gave for a part of the batch."""

    enc_BTD: Tensor
    logits_BTUV: Tensor
    """At every node, or in the pruned form at the kept ones."""
    loss: TransducerLoss
    start_BT: Tensor | None = None
    """First kept position of each frame; None in the full form."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """The largest net's outputs over the whole batch, detached."""

    enc_BTD: Tensor
    logits_BTUV: Tensor
    """Empty where the mode does not read the lattice, which is large."""
    loss_B: Tensor
    gate_B: Tensor
    """Weight of each utterance; 0 where no path exists."""

    def take(self, rows: Sequence[int] | None, part: Part) -> "Teacher":
        """Return the teacher of some utterances (None: of all), cut to the part's lengths."""
        if rows is None:
            return self
        index_B = torch.tensor(rows, device=self.gate_B.device)
        frames, positions = part.front_BTD.shape[1], part.pred_BUE.shape[1]
        lattice = self.logits_BTUV
        return Teacher(
            enc_BTD=self.enc_BTD[index_B, :frames],
            logits_BTUV=lattice[index_B, :frames, :positions] if lattice.numel() else lattice,
            loss_B=self.loss_B[index_B],
            gate_B=self.gate_B[index_B],
        )


def teacher_of(outputs: Outputs, part: Part, config: DistillConfig) -> Teacher:
    """Return what the largest net teaches, weighed by how well it knows each utterance."""
    loss_B = outputs.loss.loss_B.detach()
    per_label_B = loss_B / part.target_lens_B.clamp(min=1)
    gate_B = torch.exp(-per_label_B) if config.gate else torch.ones_like(per_label_B)
    logits_BTUV = outputs.logits_BTUV.detach()
    reads_lattice = config.mode in ("alpha_divergence", "one_best")
    return Teacher(
        enc_BTD=outputs.enc_BTD.detach(),
        logits_BTUV=logits_BTUV if reads_lattice else logits_BTUV.new_empty((0,)),
        loss_B=loss_B,
        gate_B=gate_B * outputs.loss.valid_B,
    )


def distillation(
    teacher: Teacher, student: Outputs, part: Part, config: DistillConfig, topology: Topology
) -> Tensor:
    """Return the gated mean over the part's utterances."""
    ends = {"alpha_min": config.alpha_min, "alpha_max": config.alpha_max, "clip": config.clip}
    match config.mode:
        case "none":
            return part.front_BTD.new_zeros(())
        case "alpha_divergence":
            mask_BTU = part.node_mask(student.start_BT, student.logits_BTUV.shape[2])
            return lattice_distillation(
                teacher.logits_BTUV, student.logits_BTUV, mask_BTU, teacher.gate_B, **ends
            )
        case "one_best":
            return one_best_distillation(
                teacher.logits_BTUV,
                student.logits_BTUV,
                part.targets_BU,
                part.lens_B,
                part.target_lens_B,
                teacher.gate_B,
                topology=topology,
                **ends,
            )
        case "encoder":
            return encoder_distillation(
                teacher.enc_BTD,
                student.enc_BTD,
                part.lens_B,
                teacher.gate_B,
                form=config.encoder_form,
            )
        case "full_sum":
            return full_sum_distillation(
                teacher.loss_B, student.loss.loss_B, part.target_lens_B, teacher.gate_B
            )
        case _:
            assert_never(config.mode)
