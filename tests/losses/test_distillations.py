"""Each way to distil against a slow, independent form; gradients finite, to the student only."""

import itertools

import pytest
import torch
from torch import Tensor

from todm.kernels.transducer import alignments
from todm.losses.alpha_divergence import alpha_divergence
from todm.losses.encoder_distillation import encoder_distillation
from todm.losses.full_sum import full_sum_distillation
from todm.losses.one_best import best_path_nodes, one_best_distillation
from todm.losses.transducer import transducer_loss

LENS, LABELS = torch.tensor([4, 2, 3]), torch.tensor([2, 0, 1])
TARGETS = torch.tensor([[3, 1], [0, 0], [2, 0]])
GATE = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
TOPOLOGIES = ["regular", "one_symbol"]


def make(*shape: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(*shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("form", ["mse", "cosine"])
def test_encoder_outputs_frame_by_frame(form: str) -> None:
    teacher = make(3, 4, 6, seed=1).requires_grad_()
    student = make(3, 4, 6, seed=2).requires_grad_()
    loss = encoder_distillation(teacher, student, LENS, GATE, form=form)  # type: ignore[arg-type]
    want = torch.zeros((), dtype=torch.float64)
    for row, frames in enumerate(LENS.tolist()):
        for t in range(frames):
            s, target = student[row, t], teacher[row, t].detach()
            if form == "mse":
                far = sum((a - b) ** 2 for a, b in zip(s, target, strict=True)) / 6
            else:
                far = 1 - (s @ target) / (s.norm() * target.norm())
            want = want + GATE[row] * far / frames / 3
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=1e-14)
    grads = torch.autograd.grad(loss, (teacher, student), allow_unused=True)
    (want_grad,) = torch.autograd.grad(want, student)
    assert grads[0] is None
    torch.testing.assert_close(grads[1], want_grad, rtol=1e-10, atol=1e-13)
    assert float(grads[1][0, :, :].abs().sum()) > 0.0
    assert float(grads[1][1, 2:].abs().sum()) == 0.0  # padding


@pytest.mark.parametrize("form", ["mse", "cosine"])
def test_encoder_outputs_at_their_extremes(form: str) -> None:
    """Equal outputs, silence (zero vectors), and padding that holds anything."""
    teacher = make(3, 4, 6, seed=1)
    for student in (teacher.clone(), torch.zeros_like(teacher), 1e4 * teacher):
        student.requires_grad_()
        damaged = teacher.clone()
        damaged[1, 2:] = float("nan")
        loss = encoder_distillation(damaged, student, LENS, GATE, form=form)  # type: ignore[arg-type]
        (grad,) = torch.autograd.grad(loss, student)
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(grad).all())
    same = encoder_distillation(teacher, teacher, LENS, GATE, form=form)  # type: ignore[arg-type]
    assert float(same) == pytest.approx(0.0, abs=1e-12)


def test_full_sum_pulls_the_likelihood_of_the_transcript() -> None:
    """Against Huber's loss by hand, through the transducer loss to the logits."""
    teacher_loss_B = torch.tensor([3.0, 0.5, 9.0], dtype=torch.float64).requires_grad_()
    logits = make(3, 4, 3, 5, seed=3).requires_grad_()
    loss_B = transducer_loss(logits, TARGETS, LENS, LABELS).loss_B
    loss = full_sum_distillation(teacher_loss_B, loss_B, LABELS, GATE)
    want = torch.zeros((), dtype=torch.float64)
    for row, labels in enumerate([2, 1, 1]):
        d = (loss_B[row] - teacher_loss_B[row].detach()) / labels
        far = d**2 / 2 if abs(float(d.detach())) <= 1 else d.abs() - 0.5
        want = want + GATE[row] * far / 3
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=1e-14)
    teacher_grad, grad = torch.autograd.grad(
        loss, (teacher_loss_B, logits), allow_unused=True, retain_graph=True
    )
    (want_grad,) = torch.autograd.grad(want, logits)
    assert teacher_grad is None
    torch.testing.assert_close(grad, want_grad, rtol=1e-10, atol=1e-13)
    assert float(grad[0].abs().sum()) > 0.0
    same = full_sum_distillation(loss_B.detach(), loss_B, LABELS, GATE)
    assert float(same.detach()) == 0.0


def test_full_sum_of_a_hopeless_student_is_bounded() -> None:
    student_B = torch.tensor([1e6, 1e6, 1e6], dtype=torch.float64, requires_grad=True)
    loss = full_sum_distillation(torch.zeros(3, dtype=torch.float64), student_B, LABELS, GATE)
    (grad,) = torch.autograd.grad(loss, student_B)
    assert float(grad.abs().max()) <= 1 / 3


def best_by_list(logp_TUV: Tensor, targets: list[int], frames: int, topology: str) -> set[tuple]:
    """The nodes of the likeliest of all alignments, listed one by one."""

    def score(path: tuple[tuple[int, int, bool], ...]) -> float:
        symbols = [targets[u] if is_label else 0 for _, u, is_label in path]
        return sum(float(logp_TUV[t, u, v]) for (t, u, _), v in zip(path, symbols, strict=True))

    paths = list(alignments(frames, len(targets), topology))  # type: ignore[arg-type]
    return {(t, u) for t, u, _ in max(paths, key=score)} if paths else set()


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_best_path_is_the_best_of_all(topology: str) -> None:
    lens, labels = torch.tensor([4, 2, 3, 1]), torch.tensor([2, 0, 1, 2])
    targets = torch.tensor([[3, 1], [0, 0], [2, 0], [1, 1]])
    for seed in range(10):
        logits = make(4, 4, 3, 5, seed=seed)
        mask = best_path_nodes(logits, targets, lens, labels, topology=topology)  # type: ignore[arg-type]
        logp = logits.log_softmax(-1)
        for row, (frames, count) in enumerate(zip(lens.tolist(), labels.tolist(), strict=True)):
            want = best_by_list(logp[row], targets[row, :count].tolist(), frames, topology)
            assert {tuple(node) for node in mask[row].nonzero().tolist()} == want
            steps = frames + (count if topology == "regular" else 0)
            assert len(want) == (0 if topology == "one_symbol" and frames < count else steps)


@pytest.mark.parametrize(("topology", "low"), list(itertools.product(TOPOLOGIES, [-1.0, 0.0])))
def test_one_best_is_the_mean_along_the_path(topology: str, low: float) -> None:
    teacher = make(3, 4, 3, 5, seed=5).requires_grad_()
    student = make(3, 4, 3, 5, seed=6).requires_grad_()
    loss = one_best_distillation(
        teacher,
        student,
        TARGETS,
        LENS,
        LABELS,
        GATE,
        topology=topology,
        alpha_min=low,  # type: ignore[arg-type]
    )
    p, q = teacher.detach().log_softmax(-1), student.log_softmax(-1)
    value = surrogate = torch.zeros((), dtype=torch.float64)
    for row, (frames, count) in enumerate(zip(LENS.tolist(), LABELS.tolist(), strict=True)):
        nodes = best_by_list(p[row], TARGETS[row, :count].tolist(), frames, topology)
        for t, u in nodes:
            at, slope = alpha_divergence(p[row, t, u], q[row, t, u], alpha_min=low)
            value = value + GATE[row] * at / len(nodes) / 3
            surrogate = surrogate + GATE[row] * slope / len(nodes) / 3
    torch.testing.assert_close(loss.detach(), value.detach(), rtol=1e-12, atol=1e-14)
    grads = torch.autograd.grad(loss, (teacher, student), allow_unused=True)
    (want_grad,) = torch.autograd.grad(surrogate, student)
    assert grads[0] is None
    torch.testing.assert_close(grads[1], want_grad, rtol=1e-10, atol=1e-13)
    assert bool(torch.isfinite(grads[1]).all())
