"""Adaptive alpha-divergence for in-place distillation (Wang et al. 2021, AlphaNet, ICML).

For a teacher p (no gradient), a student q and r = p / q:

    D_alpha(p || q) = 1 / (alpha (alpha - 1)) sum_v q_v (r_v^alpha - 1)
    alpha -> 1: KL(p || q);  alpha -> 0: KL(q || p)

Of each distribution the larger of D at ``alpha_min`` and ``alpha_max`` is taken. Its gradient is
that of the surrogate -sum_v q_v rho_v log q_v with q and rho held fixed:

    alpha not 0 or 1:  rho = w / alpha + 1 / (alpha (alpha - 1)),  w = min(r^alpha, clip)
    alpha = 1:         rho = min(r, clip)
    alpha = 0:         rho = log r - 1, log r clipped to [-clip, clip]

Legend: X any leading shape, V symbols, B T U the lattice.

Deviation: the paper distils class posteriors of images; here each lattice node is a distribution,
averaged over the valid nodes of an utterance and weighted by the teacher's quality (ours: the
plain sum is about T times too strong, and an untrained teacher misleads).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def alpha_divergence(
    teacher_logp_XV: Float[Tensor, "*X V"],
    student_logp_XV: Float[Tensor, "*X V"],
    *,
    alpha_min: float = -1.0,
    alpha_max: float = 1.0,
    clip: float = 5.0,
) -> tuple[Float[Tensor, "*X"], Float[Tensor, "*X"]]:
    """Return the divergence (clipped, no gradient) and the surrogate whose gradient counts."""
    with torch.no_grad():
        q_XV = student_logp_XV.exp()
        log_r_XV = teacher_logp_XV - student_logp_XV
        low_X, rho_low_XV = _end(q_XV, log_r_XV, alpha_min, clip)
        high_X, rho_high_XV = _end(q_XV, log_r_XV, alpha_max, clip)
        take_low_X = low_X > high_X
        weight_XV = q_XV * torch.where(take_low_X[..., None], rho_low_XV, rho_high_XV)
        value_X = torch.where(take_low_X, low_X, high_X)
    return value_X, -(weight_XV * student_logp_XV).sum(-1)


def _end(q_XV: Tensor, log_r_XV: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """Return D_alpha with clipped ratios, and rho, for one alpha."""
    if alpha == 0.0:
        bounded_XV = log_r_XV.clamp(-clip, clip)
        return -(q_XV * bounded_XV).sum(-1), bounded_XV - 1.0
    if alpha == 1.0:
        r_XV = log_r_XV.exp().clamp(max=clip)
        return (q_XV * r_XV * log_r_XV).sum(-1), r_XV
    w_XV = (alpha * log_r_XV).exp().clamp(max=clip)
    value_X = (q_XV * (w_XV - 1.0)).sum(-1) / (alpha * (alpha - 1.0))
    return value_X, w_XV / alpha + 1.0 / (alpha * (alpha - 1.0))


def lattice_distillation(
    teacher_logits_BTUV: Float[Tensor, "B T U V"],
    student_logits_BTUV: Float[Tensor, "B T U V"],
    node_mask_BTU: Bool[Tensor, "B T U"],
    gate_B: Float[Tensor, " B"],
    *,
    alpha_min: float = -1.0,
    alpha_max: float = 1.0,
    clip: float = 5.0,
) -> Float[Tensor, ""]:
    """Return the gated mean over utterances of the mean divergence over valid nodes.

    The value is the divergence's, the gradient the surrogate's.
    """
    teacher_XV = teacher_logits_BTUV.detach()[node_mask_BTU].log_softmax(-1)
    student_XV = student_logits_BTUV[node_mask_BTU].log_softmax(-1)
    nodes_B = node_mask_BTU.sum((1, 2)).clamp(min=1)
    weight_BTU = (gate_B / nodes_B / gate_B.shape[0]).detach()[:, None, None]
    weight_X = weight_BTU.expand(node_mask_BTU.shape)[node_mask_BTU]
    value_X, surrogate_X = alpha_divergence(
        teacher_XV, student_XV, alpha_min=alpha_min, alpha_max=alpha_max, clip=clip
    )
    surrogate = (weight_X * surrogate_X).sum()
    return surrogate + ((weight_X * value_X).sum() - surrogate).detach()
