"""The additive ("simple") transducer loss, which prices every node of the full lattice cheaply.

Legend: B utterances, T frames, U labels, U1 = U + 1 label positions, V symbols.

Its joiner is logits(t, u, v) = am(t, v) + lm(u, v), so that the normaliser of every node comes
from one product, log sum_v exp(am(t, v)) exp(lm(u, v)), and no tensor has both U and V. Its edge
posteriors say which nodes matter (`kernels.pruning.prune_starts`).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from todm.kernels.transducer import NEG_INF, Topology, lattice_posteriors
from todm.losses.transducer import early_bonus, next_symbols


class SimpleLoss(NamedTuple):
    """What `simple_transducer_loss` returns."""

    loss_B: Float[Tensor, " B"]
    """Negative log-likelihood of each utterance; 0 with zero gradient where no path exists."""
    valid_B: Bool[Tensor, " B"]
    """Whether a path exists."""
    blank_BTU: Float[Tensor, "B T U1"]
    """Posterior of the blank edge that leaves (t, u); detached, 0 in the padding."""
    label_BTU: Float[Tensor, "B T U1"]
    """Posterior of the label edge that leaves (t, u); likewise."""


def simple_transducer_loss(  # noqa: PLR0913 - the lattice is five tensors, the rest are options
    am_BTV: Float[Tensor, "B T V"],
    lm_BUV: Float[Tensor, "B U1 V"],
    targets_BU: Int[Tensor, "B U"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    lm_scale: float = 0.25,
    am_scale: float = 0.0,
    topology: Topology = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
    fastemit: float = 0.0,
) -> SimpleLoss:
    """Compute the transducer loss of an additive joiner, smoothed.

    The log-probability of an edge is (1 - lm_scale - am_scale) times the additive joiner's, plus
    lm_scale times that of softmax(lm), plus am_scale times that of softmax(am + log q), with q the
    mean of softmax(lm) over all positions. The other options are those of
    `losses.transducer.transducer_loss`.

    Source: Kuang et al., 2022 (arXiv 2206.13236), section 3.1. Deviation: q leaves the padding out
    (k2 averages over it too), so that padding changes nothing.
    """
    wide = torch.promote_types(am_BTV.dtype, torch.float32)
    am_BTV, lm_BUV = am_BTV.to(wide), lm_BUV.to(wide)
    symbols_BU = next_symbols(targets_BU, target_lens_B, blank)
    blank_BTU, label_BTU = _AdditiveFunction.apply(  # type: ignore[no-untyped-call]
        am_BTV, lm_BUV, symbols_BU, blank
    )
    if lm_scale or am_scale:
        share = 1.0 - lm_scale - am_scale
        blank_BTU, label_BTU = share * blank_BTU, share * label_BTU
    if lm_scale:
        logp_BUV = lm_BUV.log_softmax(-1)
        label_BU = logp_BUV.gather(2, symbols_BU[:, :, None])[..., 0]
        blank_BTU = blank_BTU + lm_scale * logp_BUV[:, None, :, blank]
        label_BTU = label_BTU + lm_scale * label_BU[:, None]
    if am_scale:
        inside_BU = torch.arange(lm_BUV.shape[1], device=lm_BUV.device) <= target_lens_B[:, None]
        mean_V = lm_BUV.softmax(-1)[inside_BU].mean(0) + torch.finfo(wide).tiny
        logp_BTV = (am_BTV + mean_V.log()).log_softmax(-1)
        blank_BTU = blank_BTU + am_scale * logp_BTV[:, :, blank, None]
        label_BTU = label_BTU + am_scale * logp_BTV.gather(2, _over_frames(symbols_BU, am_BTV))
    if delay_penalty != 0.0:
        bonus_BT = early_bonus(frame_lens_B, am_BTV.shape[1], delay_penalty, wide)
        label_BTU = label_BTU + bonus_BT[:, :, None]
    loss_B, log_total_B, *posteriors = _LatticeFunction.apply(  # type: ignore[no-untyped-call]
        blank_BTU, label_BTU, frame_lens_B.long(), target_lens_B.long(), (topology, fastemit)
    )
    return SimpleLoss(loss_B, log_total_B != NEG_INF, *posteriors)


def _over_frames(symbols_BU: Tensor, am_BTV: Tensor) -> Tensor:
    """View the symbols as an index (B, T, U1) into ``am_BTV``."""
    return symbols_BU[:, None].expand(-1, am_BTV.shape[1], -1)


class _AdditiveFunction(torch.autograd.Function):
    """Blank and label log-probabilities of the additive joiner, (B, T, U1) each.

    Backward, with W = d / d log-normaliser over the normaliser: d am = exp(am) (W exp(lm)) and
    d lm = exp(lm) (W^T exp(am)), less what the chosen symbols get.
    """

    @staticmethod
    def forward(
        ctx: Any, am_BTV: Tensor, lm_BUV: Tensor, symbols_BU: Tensor, blank: int
    ) -> tuple[Tensor, Tensor]:
        am_max_BT1, lm_max_BU1 = am_BTV.amax(2, keepdim=True), lm_BUV.amax(2, keepdim=True)
        am_exp_BTV, lm_exp_BUV = (am_BTV - am_max_BT1).exp_(), (lm_BUV - lm_max_BU1).exp_()
        with torch.autocast(am_BTV.device.type, enabled=False):
            total_BTU = am_exp_BTV @ lm_exp_BUV.mT
        total_BTU += torch.finfo(total_BTU.dtype).tiny
        norm_BTU = total_BTU.log().add_(am_max_BT1).add_(lm_max_BU1.mT)
        blank_BTU = (am_BTV[..., blank, None] + lm_BUV[:, None, :, blank]).sub_(norm_BTU)
        label_BTU = am_BTV.gather(2, _over_frames(symbols_BU, am_BTV)).sub_(norm_BTU)
        label_BTU += lm_BUV.gather(2, symbols_BU[:, :, None]).mT
        ctx.blank = blank
        ctx.save_for_backward(am_BTV, lm_BUV, am_max_BT1, lm_max_BU1, symbols_BU, total_BTU)
        return blank_BTU, label_BTU

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        am_BTV, lm_BUV, am_max_BT1, lm_max_BU1, symbols_BU, total_BTU = ctx.saved_tensors
        blank_BTU, label_BTU = grads
        weight_BTU = (blank_BTU + label_BTU).neg_().div_(total_BTU)
        grad_am_BTV, grad_lm_BUV = (am_BTV - am_max_BT1).exp_(), (lm_BUV - lm_max_BU1).exp_()
        with torch.autocast(am_BTV.device.type, enabled=False):
            part_lm_BUV = weight_BTU.mT @ grad_am_BTV
            grad_am_BTV.mul_(weight_BTU @ grad_lm_BUV)
        grad_lm_BUV.mul_(part_lm_BUV)
        grad_am_BTV[..., ctx.blank] += blank_BTU.sum(2)
        grad_am_BTV.scatter_add_(2, _over_frames(symbols_BU, am_BTV), label_BTU)
        grad_lm_BUV[..., ctx.blank] += blank_BTU.sum(1)
        grad_lm_BUV.scatter_add_(2, symbols_BU[:, :, None], label_BTU.sum(1)[..., None])
        return grad_am_BTV, grad_lm_BUV, None, None


class _LatticeFunction(torch.autograd.Function):
    """Loss of a full lattice given by its edge log-weights; posteriors are the gradient."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        blank_BTU: Tensor,
        label_BTU: Tensor,
        frame_lens_B: Tensor,
        target_lens_B: Tensor,
        options: tuple[Topology, float],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        topology, ctx.fastemit = options
        log_total_B, *posteriors = lattice_posteriors(
            blank_BTU, label_BTU, frame_lens_B, target_lens_B, topology=topology
        )
        ctx.save_for_backward(*posteriors)
        ctx.mark_non_differentiable(log_total_B, *posteriors)
        loss_B = -log_total_B.masked_fill(log_total_B == NEG_INF, 0.0)
        return loss_B, log_total_B, posteriors[0], posteriors[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        blank_BTU, label_BTU = ctx.saved_tensors
        weight_B11 = -grads[0][:, None, None]
        return (
            blank_BTU * weight_B11,
            label_BTU * (weight_B11 * (1.0 + ctx.fastemit)),
            None,
            None,
            None,
        )
