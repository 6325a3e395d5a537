"""The additive loss equals the enumeration over its dense logits, smoothed by definition."""

from typing import Any

import pytest
import torch
from lattices import EXACT, draw, draw_targets, enumerated_loss
from torch import Tensor

from todm.kernels.transducer import Topology
from todm.losses.simple_transducer import simple_transducer_loss
from todm.losses.transducer import transducer_loss

TOPOLOGIES: list[Topology] = ["regular", "one_symbol"]
FRAMES, LABELS, SYMBOLS = [5, 4, 3], [3, 0, 2], 6


def make_case() -> tuple[Tensor, ...]:
    am, lm = draw(3, 5, SYMBOLS), draw(3, 4, SYMBOLS, seed=1)
    return am, lm, draw_targets(LABELS, SYMBOLS), torch.tensor(FRAMES), torch.tensor(LABELS)


def dense_edges(
    case: tuple[Tensor, ...], lm_scale: float, am_scale: float, delay_penalty: float
) -> list[tuple[Tensor, Tensor]]:
    """The smoothed log-probabilities by their definition, from (T, U, V) logits."""
    am, lm, targets, frames, labels = case
    real = [lm[utt, : int(labels[utt]) + 1].softmax(-1) for utt in range(len(am))]
    mean_V = torch.cat(real).mean(0)
    found = []
    for utt in range(len(am)):
        t, u = int(frames[utt]), int(labels[utt])
        joint = (am[utt, :t, None] + lm[utt, None, : u + 1]).log_softmax(-1)
        of_lm = lm[utt, None, : u + 1].log_softmax(-1).expand_as(joint)
        of_am = (am[utt, :t, None] + mean_V.log()).log_softmax(-1).expand_as(joint)
        logp = (1.0 - lm_scale - am_scale) * joint + lm_scale * of_lm + am_scale * of_am
        early = delay_penalty * ((t - 1) / 2 - torch.arange(t, dtype=torch.float64))
        label = logp[:, torch.arange(u), targets[utt, :u]] + early[:, None]
        found.append((logp[..., 0], label))
    return found


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    "options",
    [
        {"lm_scale": 0.0},
        {"lm_scale": 0.25},
        {"lm_scale": 0.25, "am_scale": 0.2},
        {"lm_scale": 0.0, "am_scale": 0.5},
        {"lm_scale": 0.25, "delay_penalty": 0.3},
    ],
    ids=str,
)
def test_value_and_gradients_equal_enumeration(
    topology: Topology, options: dict[str, float]
) -> None:
    case = make_case()
    weights_B = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    scales = {"am_scale": 0.0, "delay_penalty": 0.0, **options}
    ref_B = enumerated_loss(dense_edges(case, **scales), FRAMES, LABELS, topology)
    want = torch.autograd.grad((ref_B * weights_B).sum(), case[:2])
    got = simple_transducer_loss(*case, topology=topology, **options)
    grads = torch.autograd.grad((got.loss_B * weights_B).sum(), case[:2])
    torch.testing.assert_close(got.loss_B, ref_B, **EXACT)
    for grad, ref in zip(grads, want, strict=True):
        torch.testing.assert_close(grad, ref, **EXACT)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_unsmoothed_it_is_the_full_loss_of_an_additive_joiner(topology: Topology) -> None:
    case = make_case()
    options: dict[str, Any] = {"topology": topology, "fastemit": 0.2, "delay_penalty": 0.1}
    want = transducer_loss(case[0][:, :, None] + case[1][:, None], *case[2:], **options)
    got = simple_transducer_loss(*case, lm_scale=0.0, **options)
    torch.testing.assert_close(got.loss_B, want.loss_B, **EXACT)
    torch.testing.assert_close(got.blank_BTU + got.label_BTU, want.occupancy_BTU, **EXACT)
    assert not got.blank_BTU.requires_grad
    for grad, ref in zip(
        torch.autograd.grad(got.loss_B.sum(), case[:2]),
        torch.autograd.grad(want.loss_B.sum(), case[:2]),
        strict=True,
    ):
        torch.testing.assert_close(grad, ref, **EXACT)


def test_padding_changes_nothing() -> None:
    am, lm, targets, *lens = make_case()
    options = {"lm_scale": 0.25, "am_scale": 0.25}
    want = simple_transducer_loss(am, lm, targets, *lens, **options)
    noisy_am, noisy_lm, wrong = am.detach().clone(), lm.detach().clone(), targets.clone()
    for utt in range(3):
        noisy_am[utt, FRAMES[utt] :] = 9.0
        noisy_lm[utt, LABELS[utt] + 1 :] = -9.0
        wrong[utt, LABELS[utt] :] = 999
    noisy_am.requires_grad_()
    noisy_lm.requires_grad_()
    got = simple_transducer_loss(noisy_am, noisy_lm, wrong, *lens, **options)
    torch.testing.assert_close(got, want, **EXACT)
    grads = torch.autograd.grad(got.loss_B.sum(), (noisy_am, noisy_lm))
    for utt in range(3):
        assert float(grads[0][utt, FRAMES[utt] :].abs().sum()) == 0.0
        assert float(grads[1][utt, LABELS[utt] + 1 :].abs().sum()) == 0.0


def test_no_path_means_zero_loss_and_gradient() -> None:
    case = make_case()
    short = torch.tensor([2, 4, 3])  # frames; the first has three labels
    got = simple_transducer_loss(*case[:3], short, case[4], topology="one_symbol")
    grads = torch.autograd.grad(got.loss_B.sum(), case[:2])
    assert got.valid_B.tolist() == [False, True, True]
    assert float(got.loss_B[0].detach()) == 0.0
    assert all(float(grad[0].abs().sum()) == 0.0 for grad in grads)
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_half_precision_inputs_are_computed_in_float32() -> None:
    case = make_case()
    am, lm = (x.detach().bfloat16().requires_grad_() for x in case[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = simple_transducer_loss(am, lm, *case[2:])
        grads = torch.autograd.grad(got.loss_B.sum(), (am, lm))
    want = simple_transducer_loss(am.float(), lm.float(), *case[2:])
    torch.testing.assert_close(got.loss_B, want.loss_B, rtol=1e-6, atol=1e-6)
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.bfloat16]
