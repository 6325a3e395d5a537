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

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from todm.kernels.precision import without_autocast

CHUNK_ELEMENTS = 1 << 16
"""Elements of a lattice handled at a time on a CPU, so that the temporaries stay in its cache."""


def alpha_divergence(
    teacher_logp_XV: Float[Tensor, "*X V"],
    student_logp_XV: Float[Tensor, "*X V"],
    *,
    alpha_min: float = -1.0,
    alpha_max: float = 1.0,
    clip: float = 5.0,
) -> tuple[Float[Tensor, "*X"], Float[Tensor, "*X"]]:
    """Return the divergence (clipped, no gradient) and the surrogate whose gradient counts."""
    options = (alpha_min, alpha_max, clip)
    with torch.no_grad():
        value_X, weight_XV, _ = _weigh(teacher_logp_XV, student_logp_XV, options)
    return value_X, -(weight_XV * student_logp_XV).sum(-1)


def _weigh(
    teacher_logp_XV: Tensor, student_logp_XV: Tensor, options: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the larger D of both ends, its q rho, and q."""
    alpha_min, alpha_max, clip = options
    q_XV = student_logp_XV.exp()
    log_r_XV = teacher_logp_XV - student_logp_XV
    low_X, rho_low_XV = _end(q_XV, log_r_XV, alpha_min, clip)
    high_X, rho_high_XV = _end(q_XV, log_r_XV, alpha_max, clip)
    take_low_X = low_X > high_X
    rho_XV = torch.where(take_low_X[..., None], rho_low_XV, rho_high_XV)
    return torch.where(take_low_X, low_X, high_X), rho_XV.mul_(q_XV), q_XV


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


@without_autocast
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
    nodes_B = node_mask_BTU.sum((1, 2)).clamp(min=1)
    weight_B = (gate_B / nodes_B / gate_B.shape[0]).detach()
    loss: Tensor = _LatticeFunction.apply(  # type: ignore[no-untyped-call]
        teacher_logits_BTUV,
        student_logits_BTUV,
        node_mask_BTU,
        weight_B,
        (alpha_min, alpha_max, clip),
    )
    return loss


class _LatticeFunction(torch.autograd.Function):
    """Value and gradient of the weighted sum over nodes, both in one chunked pass forward.

    d surrogate / d logits = q sum_v(q rho) - q rho, so no graph over the lattice is kept.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        teacher_BTUV: Tensor,
        student_BTUV: Tensor,
        mask_BTU: Tensor,
        weight_B: Tensor,
        options: tuple[float, float, float],
    ) -> Tensor:
        num_symbols = student_BTUV.shape[-1]
        wide = torch.promote_types(student_BTUV.dtype, torch.float32)
        teacher_NV = teacher_BTUV.reshape(-1, num_symbols)
        student_NV = student_BTUV.reshape(-1, num_symbols)
        weight_N = weight_B[:, None, None].expand(mask_BTU.shape).reshape(-1).to(wide)
        grad_NV = torch.zeros_like(student_NV)
        total = student_NV.new_zeros((), dtype=wide)
        nodes_X = mask_BTU.reshape(-1).nonzero()[:, 0]
        on_cpu = nodes_X.device.type == "cpu"
        chunk = max(1, CHUNK_ELEMENTS // num_symbols if on_cpu else len(nodes_X))
        for part_X in torch.split(nodes_X, chunk):
            teacher_XV = teacher_NV.index_select(0, part_X).log_softmax(-1, dtype=wide)
            student_XV = student_NV.index_select(0, part_X).log_softmax(-1, dtype=wide)
            value_X, rho_XV, q_XV = _weigh(teacher_XV, student_XV, options)
            weight_X = weight_N[part_X]
            total += weight_X @ value_X
            part_XV = q_XV.mul_(rho_XV.sum(-1, keepdim=True)).sub_(rho_XV)
            part_XV.mul_(weight_X[:, None])
            grad_NV.index_copy_(0, part_X, part_XV.to(grad_NV.dtype))
        ctx.save_for_backward(grad_NV.view(student_BTUV.shape))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None, None]:
        (grad_BTUV,) = ctx.saved_tensors
        return None, grad_BTUV * grads[0].to(grad_BTUV.dtype), None, None, None
