"""Distillation along the teacher's best path (Yang, Li and Woodland 2021, arXiv 2110.03334).

Instead of all nodes of the lattice only those count that the most probable alignment of the
transcript visits under the teacher; there the distributions over symbols are matched. Deviation:
the paper takes KL(teacher || student) along the path of the teacher's own hypothesis; here the
path is the best alignment of the reference transcript, and the divergence is the adaptive one of
``losses.alpha_divergence`` (``alpha_min = alpha_max = 1`` without clipping is the paper's KL).

Legend: B utterances, T frames, U1 label positions, V symbols.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from todm.core.specs import BLANK_ID
from todm.kernels.alignment import best_path_frames
from todm.kernels.precision import without_autocast
from todm.kernels.transducer import Topology
from todm.losses.alpha_divergence import lattice_distillation


@without_autocast
def one_best_distillation(  # noqa: PLR0913, PLR0917 - two lattices and their lengths
    teacher_logits_BTUV: Float[Tensor, "B T U1 V"],
    student_logits_BTUV: Float[Tensor, "B T U1 V"],
    targets_BU: Int[Tensor, "B U"],
    lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    gate_B: Float[Tensor, " B"],
    *,
    topology: Topology = "regular",
    alpha_min: float = -1.0,
    alpha_max: float = 1.0,
    clip: float = 5.0,
) -> Float[Tensor, ""]:
    """Return the gated mean over utterances of the mean divergence along the teacher's path."""
    mask_BTU = best_path_nodes(
        teacher_logits_BTUV, targets_BU, lens_B, target_lens_B, topology=topology
    )
    return lattice_distillation(
        teacher_logits_BTUV,
        student_logits_BTUV,
        mask_BTU,
        gate_B,
        alpha_min=alpha_min,
        alpha_max=alpha_max,
        clip=clip,
    )


@torch.no_grad()
def best_path_nodes(
    logits_BTUV: Float[Tensor, "B T U1 V"],
    targets_BU: Int[Tensor, "B U"],
    lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology = "regular",
) -> Bool[Tensor, "B T U1"]:
    """Return the nodes that the best alignment of each utterance leaves by an edge.

    An utterance without any alignment (``one_symbol`` with more labels than frames) has none.
    """
    norm_BTU = logits_BTUV.logsumexp(-1)
    blank_BTU = (logits_BTUV[..., BLANK_ID] - norm_BTU).cpu()
    index_BTUX = targets_BU.long()[:, None, :, None].expand(-1, logits_BTUV.shape[1], -1, -1)
    label_BTU = torch.zeros_like(norm_BTU)
    label_BTU[:, :, :-1] = logits_BTUV[:, :, :-1].gather(3, index_BTUX)[..., 0]
    label_BTU = (label_BTU - norm_BTU).cpu()
    mask_BTU = torch.zeros(norm_BTU.shape, dtype=torch.bool)
    u_U = torch.arange(mask_BTU.shape[2])
    rows = zip(lens_B.tolist(), target_lens_B.tolist(), strict=True)
    for row, (frames, labels) in enumerate(rows):
        if topology == "one_symbol" and frames < labels:
            continue
        where = (row, slice(frames), slice(labels + 1))
        emitted_L = torch.tensor(
            best_path_frames(blank_BTU[where], label_BTU[where], topology=topology)
        )
        t_T1 = torch.arange(frames)[:, None]
        first_T1 = (emitted_L < t_T1).sum(1, keepdim=True)
        last_T1 = (emitted_L <= t_T1).sum(1, keepdim=True) if topology == "regular" else first_T1
        mask_BTU[row, :frames] = (u_U >= first_T1) & (u_U <= last_T1)
    return mask_BTU.to(logits_BTUV.device)
