"""RNN-T loss over the exact full lattice, with its gradient in closed form.

Legend: B utterances, T frames, U labels, U1 = U + 1 label positions, V symbols.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from todm.kernels.precision import without_autocast
from todm.kernels.transducer import Topology, lattice_posteriors


class TransducerLoss(NamedTuple):
    """What `transducer_loss` returns."""

    loss_B: Float[Tensor, " B"]
    """Negative log-likelihood of each utterance; 0 with zero gradient where no path exists."""
    valid_B: Bool[Tensor, " B"]
    """Whether a path exists."""
    occupancy_BTU: Float[Tensor, "B T U1"] | None
    """Posterior probability that a path visits the node (t, u); detached, 0 in the padding. None
    where another package computed the loss."""


@without_autocast
def transducer_loss(  # noqa: PLR0913 - the lattice is four tensors, the rest are options
    logits_BTUV: Float[Tensor, "B T U1 V"],
    targets_BU: Int[Tensor, "B U"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> TransducerLoss:
    """Compute the transducer loss of unnormalised joiner outputs.

    loss = -log sum over alignments of prod p(symbol | t, u), p = softmax of the logits over V;
    d loss / d logit(t, u, v) = occ(t, u) p(v) - blank(t, u) [v = blank] - label(t, u) [v = y], with
    blank(t, u), label(t, u) the posteriors of the edges that leave the node and occ their sum.

    topology "regular": a label keeps the frame, the path ends with a blank at (T - 1, U).
    "one_symbol": blank and label both consume the frame, so at most one label a frame and the path
    ends at (T, U); no path where T < U, then loss and gradient are 0 and `valid_B` is False.
    delay_penalty c adds c ((T - 1) / 2 - t) to the label log-probabilities of frame t before the
    recursion, as k2 and icefall do (so the loss is no longer a plain likelihood). fastemit lambda
    scales the gradient that passes through label edges by 1 + lambda and leaves the value alone.

    Padding: entries with t >= frame length or u > target length get no gradient; they must be
    finite. Padded targets may hold any value.

    Source: Graves, 2012 (arXiv 1211.3711); delay penalty: Kang et al., 2022 (arXiv 2211.00490);
    FastEmit: Yu et al., 2020 (arXiv 2010.11148). Deviation: none in value; the recursion is in
    float32 at least, half-precision logits are normalised in float32.
    """
    _check(logits_BTUV, targets_BU, frame_lens_B, target_lens_B)
    loss_B, log_total_B, occupancy_BTU = _TransducerFunction.apply(  # type: ignore[no-untyped-call]
        logits_BTUV,
        targets_BU,
        frame_lens_B.long(),
        target_lens_B.long(),
        (topology, blank, delay_penalty, fastemit),
    )
    return TransducerLoss(loss_B, log_total_B != float("-inf"), occupancy_BTU)


def next_symbols(
    targets_BU: Int[Tensor, "B U"], target_lens_B: Int[Tensor, " B"], blank: int
) -> Int[Tensor, "B U1"]:
    """Return the label that leaves each position; the blank at the last one and in the padding."""
    u_U = torch.arange(targets_BU.shape[1] + 1, device=targets_BU.device)
    padded_BU = torch.nn.functional.pad(targets_BU.long(), (0, 1))
    return padded_BU.masked_fill(u_U >= target_lens_B[:, None], blank)


def early_bonus(
    frame_lens_B: Int[Tensor, " B"], num_frames: int, delay_penalty: float, dtype: torch.dtype
) -> Float[Tensor, "B T"]:
    """Return what the delay penalty adds to a label's log-probability: c ((T - 1) / 2 - t)."""
    t_T = torch.arange(num_frames, device=frame_lens_B.device)
    return delay_penalty * ((frame_lens_B[:, None] - 1).to(dtype) / 2 - t_T)


def _check(
    logits_BTUV: Tensor, targets_BU: Tensor, frame_lens_B: Tensor, target_lens_B: Tensor
) -> None:
    """Reject shapes and lengths that no lattice has."""
    num_frames, num_positions = logits_BTUV.shape[1:3]
    if targets_BU.shape[1] != num_positions - 1:
        raise ValueError(
            f"logits have {num_positions} label positions, targets {targets_BU.shape[1]} labels; "
            "there must be one position more than labels"
        )
    frames_ok_B = (frame_lens_B >= 1) & (frame_lens_B <= num_frames)
    labels_ok_B = (target_lens_B >= 0) & (target_lens_B < num_positions)
    if not bool((frames_ok_B & labels_ok_B).all()):
        raise ValueError(
            f"frame lengths must lie in 1..{num_frames} and target lengths in "
            f"0..{num_positions - 1}, got {frame_lens_B.tolist()} and {target_lens_B.tolist()}"
        )


class _TransducerFunction(torch.autograd.Function):
    """Loss forward; softmax and edge posteriors to the gradient of the logits backward."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        logits_BTUV: Tensor,
        targets_BU: Tensor,
        frame_lens_B: Tensor,
        target_lens_B: Tensor,
        options: tuple[Topology, int, float, float],
    ) -> tuple[Tensor, Tensor, Tensor]:
        topology, blank, delay_penalty, fastemit = options
        wide = torch.promote_types(logits_BTUV.dtype, torch.float32)
        logp_BTUV = torch.log_softmax(logits_BTUV, dim=-1, dtype=wide)
        num_frames, num_positions = logits_BTUV.shape[1:3]
        u_U = torch.arange(num_positions - 1, device=targets_BU.device)
        padded_BU = u_U >= target_lens_B[:, None]
        index_BTUX = targets_BU.long().masked_fill(padded_BU, blank)[:, None, :, None]
        index_BTUX = index_BTUX.expand(-1, num_frames, -1, -1)
        label_BTU = torch.zeros_like(logp_BTUV[..., 0])
        label_BTU[:, :, :-1] = logp_BTUV[:, :, :-1].gather(3, index_BTUX)[..., 0]
        if delay_penalty != 0.0:
            bonus_BT = early_bonus(frame_lens_B, num_frames, delay_penalty, wide)
            label_BTU += bonus_BT[:, :, None]
        log_total_B, blank_post_BTU, label_post_BTU = lattice_posteriors(
            logp_BTUV[..., blank], label_BTU, frame_lens_B, target_lens_B, topology=topology
        )
        ctx.blank, ctx.fastemit, ctx.dtype = blank, fastemit, logits_BTUV.dtype
        ctx.save_for_backward(logp_BTUV, index_BTUX, blank_post_BTU, label_post_BTU)
        occupancy_BTU = blank_post_BTU + label_post_BTU
        ctx.mark_non_differentiable(log_total_B, occupancy_BTU)
        loss_B = -log_total_B.masked_fill(log_total_B == float("-inf"), 0.0)
        return loss_B, log_total_B, occupancy_BTU

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logp_BTUV, index_BTUX, blank_BTU, label_BTU = ctx.saved_tensors
        weight_B11 = grads[0][:, None, None]
        blank_BTU = blank_BTU * weight_B11
        label_BTU = label_BTU * (weight_B11 * (1.0 + ctx.fastemit))
        grad_BTUV = logp_BTUV.exp().mul_((blank_BTU + label_BTU)[..., None])
        grad_BTUV[..., ctx.blank] -= blank_BTU
        grad_BTUV[:, :, :-1].scatter_add_(3, index_BTUX, -label_BTU[:, :, :-1, None])
        return grad_BTUV.to(ctx.dtype), None, None, None, None
