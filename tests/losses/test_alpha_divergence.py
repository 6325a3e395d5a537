"""The alpha-divergence equals its formula, and its surrogate has the divergence's gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.losses.alpha_divergence import alpha_divergence, lattice_distillation

NO_CLIP = 1e30


def make_logits(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return spread * torch.randn(shape, generator=g, dtype=torch.float64)


def divergence(p_XV: Tensor, q_XV: Tensor, alpha: float) -> Tensor:
    """D_alpha by its definition."""
    if alpha == 1.0:
        return (p_XV * (p_XV / q_XV).log()).sum(-1)
    if alpha == 0.0:
        return (q_XV * (q_XV / p_XV).log()).sum(-1)
    return (q_XV * ((p_XV / q_XV) ** alpha - 1.0)).sum(-1) / (alpha * (alpha - 1.0))


@pytest.mark.parametrize("alpha", [-2.0, -1.0, -0.3, 0.0, 0.5, 1.0, 2.0])
def test_value_and_gradient_of_one_end(alpha: float) -> None:
    teacher = make_logits(6, 5, seed=1)
    student = make_logits(6, 5, seed=2).requires_grad_()
    want_X = divergence(teacher.softmax(-1), student.softmax(-1), alpha)
    (want_grad,) = torch.autograd.grad(want_X.sum(), student)
    value_X, surrogate_X = alpha_divergence(
        teacher.log_softmax(-1),
        student.log_softmax(-1),
        alpha_min=alpha,
        alpha_max=alpha,
        clip=NO_CLIP,
    )
    (grad,) = torch.autograd.grad(surrogate_X.sum(), student)
    torch.testing.assert_close(value_X, want_X.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, want_grad, rtol=1e-9, atol=1e-11)
    assert not value_X.requires_grad


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), low=st.sampled_from([-1.0, -0.5, 0.0]))
def test_the_larger_end_is_taken_for_each_distribution(seed: int, low: float) -> None:
    teacher = make_logits(8, 4, seed=seed)
    student = make_logits(8, 4, seed=seed + 1).requires_grad_()
    p_XV, q_XV = teacher.softmax(-1), student.softmax(-1)
    want_X = torch.maximum(divergence(p_XV, q_XV, low), divergence(p_XV, q_XV, 1.0))
    (want_grad,) = torch.autograd.grad(want_X.sum(), student)
    value_X, surrogate_X = alpha_divergence(
        teacher.log_softmax(-1), student.log_softmax(-1), alpha_min=low, clip=NO_CLIP
    )
    (grad,) = torch.autograd.grad(surrogate_X.sum(), student)
    torch.testing.assert_close(value_X, want_X.detach(), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(grad, want_grad, rtol=1e-8, atol=1e-10)


def test_equal_distributions_have_neither_value_nor_gradient() -> None:
    student = make_logits(3, 7).requires_grad_()
    logp_XV = student.log_softmax(-1)
    for low in (-1.0, 0.0):
        value_X, surrogate_X = alpha_divergence(logp_XV.detach(), logp_XV, alpha_min=low)
        (grad,) = torch.autograd.grad(surrogate_X.sum(), student, retain_graph=True)
        torch.testing.assert_close(value_X, torch.zeros_like(value_X), rtol=0.0, atol=1e-12)
        torch.testing.assert_close(grad, torch.zeros_like(grad), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 1.0])
def test_clipping_bounds_value_and_gradient(alpha: float) -> None:
    teacher = make_logits(50, 6, seed=3, spread=60.0).float()
    student = make_logits(50, 6, seed=4, spread=60.0).float().requires_grad_()
    value_X, surrogate_X = alpha_divergence(
        teacher.log_softmax(-1), student.log_softmax(-1), alpha_min=alpha, alpha_max=alpha
    )
    (grad,) = torch.autograd.grad(surrogate_X.sum(), student)
    assert bool(torch.isfinite(value_X).all())
    assert float(grad.abs().max()) <= 2 * 6.0  # |rho| <= clip + 1, twice for softmax's projection


def test_clipped_ratio_by_hand() -> None:
    p_V = torch.tensor([0.9, 0.1], dtype=torch.float64)
    q_V = torch.tensor([0.02, 0.98], dtype=torch.float64)
    value, _ = alpha_divergence(p_V.log(), q_V.log(), alpha_min=-1.0, alpha_max=-1.0, clip=5.0)
    inverse = [0.02 / 0.9, 5.0]  # q / p = 9.8 is cut to 5
    want = (0.02 * (inverse[0] - 1.0) + 0.98 * (inverse[1] - 1.0)) / 2.0
    assert float(value) == pytest.approx(want, rel=1e-12)


def lattice_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    teacher, student = make_logits(3, 4, 3, 5, seed=5), make_logits(3, 4, 3, 5, seed=6)
    t_T, u_U = torch.arange(4)[None, :, None], torch.arange(3)[None, None]
    frames, labels = torch.tensor([4, 2, 3]), torch.tensor([2, 0, 1])
    mask_BTU = (t_T < frames[:, None, None]) & (u_U <= labels[:, None, None])
    return teacher, student.requires_grad_(), mask_BTU, torch.tensor([1.0, 0.5, 0.0]).double()


def test_lattice_is_the_gated_mean_over_valid_nodes() -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    loss = lattice_distillation(teacher, student, mask_BTU, gate_B, clip=NO_CLIP)
    p, q = teacher.softmax(-1), student.softmax(-1)
    node_BTU = torch.maximum(divergence(p, q, -1.0), divergence(p, q, 1.0))
    want = sum(gate_B[b] * node_BTU[b][mask_BTU[b]].mean() for b in range(3)) / 3
    assert isinstance(want, Tensor)
    torch.testing.assert_close(loss, want, rtol=1e-10, atol=1e-12)
    (grad,) = torch.autograd.grad(loss, student)
    (want_grad,) = torch.autograd.grad(want, student)
    torch.testing.assert_close(grad, want_grad, rtol=1e-9, atol=1e-12)
    assert float(grad[~mask_BTU].abs().sum()) == 0.0
    assert float(grad[2].abs().sum()) == 0.0  # a closed gate


def test_lattice_teaches_only_the_student_and_ignores_padding() -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    teacher.requires_grad_()
    gate_B.requires_grad_()
    loss = lattice_distillation(teacher, student, mask_BTU, gate_B)
    grads = torch.autograd.grad(loss, (teacher, student, gate_B), allow_unused=True)
    assert grads[0] is None
    assert grads[2] is None
    damaged = teacher.detach().masked_fill(~mask_BTU[..., None], float("nan"))
    again = lattice_distillation(damaged, student, mask_BTU, gate_B)
    assert torch.equal(loss, again)


def test_lattice_without_any_node_is_zero() -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    loss = lattice_distillation(teacher, student, mask_BTU & False, gate_B)
    (grad,) = torch.autograd.grad(loss, student)
    assert float(loss.detach()) == 0.0
    assert float(grad.abs().sum()) == 0.0


def test_lattice_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    whole = lattice_distillation(teacher, student, mask_BTU, gate_B)
    (whole_grad,) = torch.autograd.grad(3.0 * whole, student)
    monkeypatch.setattr("todm.losses.alpha_divergence.CHUNK_ELEMENTS", 20)
    parts = lattice_distillation(teacher, student, mask_BTU, gate_B)
    (parts_grad,) = torch.autograd.grad(3.0 * parts, student)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(parts_grad, whole_grad, rtol=1e-12, atol=1e-14)


def test_lattice_gradient_is_that_of_the_clipped_surrogate() -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    loss = lattice_distillation(4.0 * teacher, student, mask_BTU, gate_B, clip=2.0)
    (grad,) = torch.autograd.grad(loss, student)
    _, surrogate_BTU = alpha_divergence(
        (4.0 * teacher).log_softmax(-1), student.log_softmax(-1), clip=2.0
    )
    nodes_B = mask_BTU.sum((1, 2))
    want = ((surrogate_BTU * mask_BTU).sum((1, 2)) * gate_B / nodes_B).mean()
    (want_grad,) = torch.autograd.grad(want, student)
    torch.testing.assert_close(grad, want_grad, rtol=1e-10, atol=1e-12)


def test_lattice_keeps_half_precision_gradients() -> None:
    teacher, student, mask_BTU, gate_B = lattice_case()
    half = student.detach().bfloat16().requires_grad_()
    loss = lattice_distillation(teacher.bfloat16(), half, mask_BTU, gate_B.float())
    (grad,) = torch.autograd.grad(loss, half)
    assert loss.dtype == torch.float32
    assert grad.dtype == torch.bfloat16
