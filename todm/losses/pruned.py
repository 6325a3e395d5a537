"""Pruned RNN-T loss: the exact transducer loss over a few label positions of each frame.

Legend: B utterances, T frames, U labels, U1 = U + 1 label positions, S kept positions of a frame,
V symbols, X nodes of a chunk.

Three steps (Kuang et al., 2022, arXiv 2206.13236): `losses.simple_transducer` gives a cheap loss
over the full lattice, `kernels.pruning.prune_starts` takes from its posteriors which positions
each frame keeps, and the loss of this module sees the true joiner's logits at those alone.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from todm.kernels.precision import without_autocast
from todm.kernels.pruning import pruned_posteriors
from todm.kernels.transducer import NEG_INF, Topology
from todm.losses.transducer import TransducerLoss, early_bonus, next_symbols

CHUNK_ELEMENTS = 1 << 17
"""Logits handled at a time on a CPU, so that the temporaries stay in its cache."""
GPU_CHUNK_ELEMENTS = 1 << 24
"""Logits handled at a time elsewhere, so that the temporaries stay small beside the logits."""


@without_autocast
def pruned_transducer_loss(  # noqa: PLR0913 - the lattice is five tensors, the rest are options
    logits_BTSV: Float[Tensor, "B T S V"],
    targets_BU: Int[Tensor, "B U"],
    start_BT: Int[Tensor, "B T"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> TransducerLoss:
    """Compute the transducer loss of unnormalised joiner outputs at the kept nodes.

    Logits (t, i) belong to the node (t, start(t) + i). Value, closed-form gradient and options are
    those of `losses.transducer.transducer_loss`, which this equals where S >= U + 1 and the starts
    are 0; paths through other nodes do not count. The occupancy is (B, T, S). An utterance whose
    kept nodes no path connects has loss and gradient 0, and `valid_B` is False.

    Source: Kuang et al., 2022 (arXiv 2206.13236), section 3.3. Deviation: none in value; beside the
    logits and their gradient nothing of their size is kept.
    """
    _check(logits_BTSV, start_BT, frame_lens_B, target_lens_B, targets_BU.shape[1])
    loss_B, log_total_B, occupancy_BTS = _PrunedFunction.apply(  # type: ignore[no-untyped-call]
        logits_BTSV,
        _labels(targets_BU, start_BT, target_lens_B, logits_BTSV.shape[2], blank),
        start_BT,
        (frame_lens_B.long(), target_lens_B.long()),
        (topology, blank, delay_penalty, fastemit),
    )
    return TransducerLoss(loss_B, log_total_B != NEG_INF, occupancy_BTS)


def _check(
    logits_BTSV: Tensor,
    start_BT: Tensor,
    frame_lens_B: Tensor,
    target_lens_B: Tensor,
    num_labels: int,
) -> None:
    """Reject starts and lengths that no pruned lattice has."""
    num_frames = logits_BTSV.shape[1]
    if not bool((start_BT[:, 0] >= 0).all() and (start_BT.diff(dim=1) >= 0).all()):
        raise ValueError("start_BT must begin at 0 or above and never fall over time")
    frames_ok_B = (frame_lens_B >= 1) & (frame_lens_B <= num_frames)
    labels_ok_B = (target_lens_B >= 0) & (target_lens_B <= num_labels)
    if not bool((frames_ok_B & labels_ok_B).all()):
        raise ValueError(
            f"frame lengths must lie in 1..{num_frames} and target lengths in 0..{num_labels}, "
            f"got {frame_lens_B.tolist()} and {target_lens_B.tolist()}"
        )


def _labels(
    targets_BU: Tensor, start_BT: Tensor, target_lens_B: Tensor, width: int, blank: int
) -> Tensor:
    """Return the label that follows each kept position, (B, T, S); the blank where none does."""
    u_BTS = start_BT[:, :, None] + torch.arange(width, device=start_BT.device)
    index_BX = u_BTS.clamp(max=targets_BU.shape[1]).flatten(1)
    return next_symbols(targets_BU, target_lens_B, blank).gather(1, index_BX).view(u_BTS.shape)


def _chunks(tensor_NV: Tensor, *others_N: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split the nodes."""
    elements = CHUNK_ELEMENTS if tensor_NV.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    size = max(1, elements // tensor_NV.shape[1])
    return zip(*(torch.split(x, size) for x in (tensor_NV, *others_N)), strict=True)


class _PrunedFunction(torch.autograd.Function):
    """Loss forward; softmax again and edge posteriors to the gradient of the logits backward."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        logits_BTSV: Tensor,
        labels_BTS: Tensor,
        start_BT: Tensor,
        lens: tuple[Tensor, Tensor],
        options: tuple[Topology, int, float, float],
    ) -> tuple[Tensor, Tensor, Tensor]:
        topology, blank, delay_penalty, fastemit = options
        wide = torch.promote_types(logits_BTSV.dtype, torch.float32)
        logits_NV = logits_BTSV.reshape(-1, logits_BTSV.shape[-1])
        edges_N2 = torch.empty(len(logits_NV), 2, dtype=wide, device=logits_NV.device)
        symbols_N2 = torch.stack((torch.full_like(labels_BTS, blank), labels_BTS), -1).view(-1, 2)
        for part_XV, symbols_X2, out_X2 in _chunks(logits_NV, symbols_N2, edges_N2):
            torch.gather(torch.log_softmax(part_XV, 1, dtype=wide), 1, symbols_X2, out=out_X2)
        blank_BTS, label_BTS = edges_N2.view(*labels_BTS.shape, 2).unbind(-1)
        if delay_penalty != 0.0:
            bonus_BT = early_bonus(lens[0], labels_BTS.shape[1], delay_penalty, wide)
            label_BTS = label_BTS + bonus_BT[:, :, None]
        found = pruned_posteriors(blank_BTS, label_BTS, start_BT, *lens, topology=topology)
        ctx.blank, ctx.fastemit = blank, fastemit
        ctx.save_for_backward(logits_BTSV, symbols_N2, found.blank_BTU, found.label_BTU)
        occupancy_BTS = found.blank_BTU + found.label_BTU
        ctx.mark_non_differentiable(found.log_total_B, occupancy_BTS)
        loss_B = -found.log_total_B.masked_fill(found.log_total_B == NEG_INF, 0.0)
        return loss_B, found.log_total_B, occupancy_BTS

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits_BTSV, symbols_N2, blank_BTS, label_BTS = ctx.saved_tensors
        weight_B11 = grads[0][:, None, None]
        edges_N2 = torch.stack(
            (blank_BTS * weight_B11, label_BTS * (weight_B11 * (1.0 + ctx.fastemit))), -1
        ).view(-1, 2)
        grad_BTSV = torch.empty_like(logits_BTSV, memory_format=torch.contiguous_format)
        logits_NV = logits_BTSV.reshape(-1, logits_BTSV.shape[-1])
        grad_NV = grad_BTSV.view(logits_NV.shape)
        chunks = _chunks(logits_NV, grad_NV, edges_N2, symbols_N2)
        for part_XV, out_XV, edges_X2, symbols_X2 in chunks:
            soft_XV = torch.softmax(part_XV, 1, dtype=edges_N2.dtype)
            soft_XV.mul_(edges_X2.sum(1, keepdim=True)).scatter_add_(1, symbols_X2, -edges_X2)
            out_XV.copy_(soft_XV)
        return grad_BTSV, None, None, None, None
