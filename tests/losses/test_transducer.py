"""The fast transducer loss equals brute-force enumeration in value, gradient and occupancy."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.kernels.transducer import Topology, alignments, transducer_loss_ref
from todm.losses.transducer import transducer_loss

TOPOLOGIES: list[Topology] = ["regular", "one_symbol"]
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def make_case(
    frame_lens: list[int], target_lens: list[int], *, num_symbols: int = 5, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw float64 logits and padded targets (blank 0) for the given lengths."""
    g = torch.Generator().manual_seed(seed)
    shape = (len(frame_lens), max(frame_lens), max(target_lens) + 1, num_symbols)
    logits_BTUV = (2.0 * torch.randn(shape, generator=g, dtype=torch.float64)).requires_grad_()
    targets_BU = torch.randint(1, num_symbols, (shape[0], shape[2] - 1), generator=g)
    return logits_BTUV, targets_BU, torch.tensor(frame_lens), torch.tensor(target_lens)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("delay_penalty", [0.0, 0.3])
def test_value_and_gradient_equal_enumeration(topology: Topology, delay_penalty: float) -> None:
    case = make_case([5, 4, 3, 1, 5], [3, 0, 3, 1, 2])
    weights_B = torch.tensor([1.0, -0.5, 2.0, 0.3, 1.5], dtype=torch.float64)
    ref_B = transducer_loss_ref(*case, topology=topology, delay_penalty=delay_penalty)
    (ref_grad,) = torch.autograd.grad((ref_B * weights_B).sum(), case[0])
    got = transducer_loss(*case, topology=topology, delay_penalty=delay_penalty)
    (grad,) = torch.autograd.grad((got.loss_B * weights_B).sum(), case[0])
    torch.testing.assert_close(got.loss_B, ref_B, **EXACT)
    torch.testing.assert_close(grad, ref_grad, **EXACT)
    assert bool(got.valid_B.all())


@settings(max_examples=25, deadline=None)
@given(
    lens=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=3),
    topology=st.sampled_from(TOPOLOGIES),
    blank=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)
def test_any_lengths(
    lens: list[tuple[int, int]], topology: Topology, blank: int, seed: int
) -> None:
    logits, targets, frame_lens, target_lens = make_case(
        [t for t, _ in lens], [u for _, u in lens], num_symbols=4, seed=seed
    )
    targets = (targets + blank) % 4  # never the blank: targets were drawn from 1..3
    case = (logits, targets, frame_lens, target_lens)
    ref_B = transducer_loss_ref(*case, topology=topology, blank=blank)
    got = transducer_loss(*case, topology=topology, blank=blank)
    torch.testing.assert_close(got.loss_B, ref_B, **EXACT)
    (ref_grad,) = torch.autograd.grad(ref_B.sum(), logits)
    (grad,) = torch.autograd.grad(got.loss_B.sum(), logits)
    torch.testing.assert_close(grad, ref_grad, **EXACT)
    has_path = [topology == "regular" or t >= u for t, u in lens]
    assert got.valid_B.tolist() == has_path


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_gradcheck(topology: Topology) -> None:
    logits, *rest = make_case([4, 3], [2, 3], num_symbols=3)
    assert torch.autograd.gradcheck(
        lambda x: transducer_loss(x, *rest, topology=topology, delay_penalty=0.2).loss_B, (logits,)
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_occupancy_equals_enumeration(topology: Topology) -> None:
    logits, targets, frame_lens, target_lens = make_case([5, 4], [3, 2])
    got = transducer_loss(logits, targets, frame_lens, target_lens, topology=topology)
    logp = logits.detach().log_softmax(-1)
    want_BTU = torch.zeros_like(got.occupancy_BTU)
    for b, (num_frames, num_labels) in enumerate([(5, 3), (4, 2)]):
        for path in alignments(num_frames, num_labels, topology):
            symbols = [int(targets[b, u]) if is_label else 0 for _, u, is_label in path]
            score = sum(float(logp[b, t, u, v]) for (t, u, _), v in zip(path, symbols, strict=True))
            weight = torch.tensor(score + float(got.loss_B[b].detach())).double().exp()
            for t, u, _ in path:
                want_BTU[b, t, u] += weight
    torch.testing.assert_close(got.occupancy_BTU, want_BTU, rtol=1e-6, atol=1e-6)
    assert not got.occupancy_BTU.requires_grad


def test_occupancy_sums() -> None:
    case = make_case([9, 7], [4, 6], seed=3)
    one_BTU = transducer_loss(*case, topology="one_symbol").occupancy_BTU
    inside_BT = (torch.arange(9) < case[2][:, None]).double()
    torch.testing.assert_close(one_BTU.sum(2), inside_BT, **EXACT)  # one node a frame
    reg_BTU = transducer_loss(*case, topology="regular").occupancy_BTU
    for b, (num_frames, num_labels) in enumerate([(9, 4), (7, 6)]):
        for diagonal in range(num_frames + num_labels):  # every path crosses each diagonal once
            nodes = [
                reg_BTU[b, diagonal - u, u]
                for u in range(num_labels + 1)
                if 0 <= diagonal - u < num_frames
            ]
            torch.testing.assert_close(sum(nodes), torch.ones((), dtype=torch.float64), **EXACT)
        total = torch.tensor(float(num_frames + num_labels), dtype=torch.float64)
        torch.testing.assert_close(reg_BTU[b].sum(), total, **EXACT)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_padding_changes_nothing(topology: Topology) -> None:
    frame_lens, target_lens = [6, 4, 5], [2, 3, 0]
    logits, targets, *lens = make_case(frame_lens, target_lens)
    pads = (0, 0, 0, 2, 0, 3)
    wide = torch.nn.functional.pad(logits.detach(), pads, value=7.0).requires_grad_()
    wide_targets = torch.nn.functional.pad(targets, (0, 2), value=-1)
    with torch.no_grad():
        for b, (num_frames, num_labels) in enumerate(zip(frame_lens, target_lens, strict=True)):
            wide[b, num_frames:] = 50.0 * torch.randn(wide[b, num_frames:].shape).double()
            wide[b, :, num_labels + 1 :] = -30.0
            wide_targets[b, num_labels:] = 999
    batch = transducer_loss(wide, wide_targets, *lens, topology=topology)
    torch.autograd.backward(batch.loss_B.sum())
    assert wide.grad is not None
    for b, (num_frames, num_labels) in enumerate(zip(frame_lens, target_lens, strict=True)):
        alone = logits[b : b + 1, :num_frames, : num_labels + 1].detach().requires_grad_()
        one = transducer_loss(
            alone, targets[b : b + 1, :num_labels], lens[0][b : b + 1], lens[1][b : b + 1],
            topology=topology,
        )  # fmt: skip
        torch.autograd.backward(one.loss_B.sum())
        torch.testing.assert_close(batch.loss_B[b], one.loss_B[0], **EXACT)
        want = torch.zeros_like(wide[b])
        assert alone.grad is not None
        want[:num_frames, : num_labels + 1] = alone.grad[0]
        torch.testing.assert_close(wide.grad[b], want, **EXACT)
        assert float(batch.occupancy_BTU[b, num_frames:].abs().sum()) == 0.0
        assert float(batch.occupancy_BTU[b, :, num_labels + 1 :].abs().sum()) == 0.0


def test_no_path_means_zero_loss_and_gradient() -> None:
    case = make_case([3, 4], [4, 4])
    got = transducer_loss(*case, topology="one_symbol")
    torch.autograd.backward(got.loss_B.sum())
    assert got.valid_B.tolist() == [False, True]
    assert float(got.loss_B[0].detach()) == 0.0
    assert case[0].grad is not None
    assert float(case[0].grad[0].abs().max()) == 0.0
    assert float(case[0].grad[1].abs().max()) > 0.0
    assert float(got.occupancy_BTU[0].abs().max()) == 0.0


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_fastemit_scales_the_label_branch(topology: Topology) -> None:
    case = make_case([4, 5], [2, 3])
    plain = transducer_loss(*case, topology=topology)
    (grad_plain,) = torch.autograd.grad(plain.loss_B.sum(), case[0])
    fast = transducer_loss(*case, topology=topology, fastemit=0.25)
    (grad,) = torch.autograd.grad(fast.loss_B.sum(), case[0])
    torch.testing.assert_close(fast.loss_B, plain.loss_B, rtol=0.0, atol=0.0)
    # Independent slow form: d loss / d log-prob by autograd through the enumeration, label
    # entries scaled by 1 + lambda, then pulled back through log_softmax.
    logp = case[0].detach().log_softmax(-1).requires_grad_()
    ref_B = transducer_loss_ref(logp, *case[1:], topology=topology)
    (edge_grad,) = torch.autograd.grad(ref_B.sum(), logp)
    # logp passes through a second log_softmax: undo its projection to reach the raw edge gradient
    occupancy = plain.occupancy_BTU[..., None]
    edge_grad = edge_grad - occupancy * logp.detach().exp()
    edge_grad[..., 1:] *= 1.25
    softmax = logp.detach().exp()
    want = edge_grad - softmax * edge_grad.sum(-1, keepdim=True)
    torch.testing.assert_close(grad, want, **EXACT)
    assert float((grad - grad_plain).abs().max()) > 1e-3


def test_delay_penalty_prefers_early_labels() -> None:
    case = make_case([8], [2])
    frames_T = torch.arange(8, dtype=torch.float64)

    def mean_frame(delay_penalty: float) -> float:
        got = transducer_loss(*case, topology="one_symbol", delay_penalty=delay_penalty)
        return float((got.occupancy_BTU[0, :, 0] * frames_T).sum())

    assert mean_frame(0.5) < mean_frame(0.0) < mean_frame(-0.5)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_float32_and_half_precision(topology: Topology) -> None:
    case = make_case([120, 90], [30, 25], num_symbols=20, seed=5)
    exact = transducer_loss(*case, topology=topology)
    (exact_grad,) = torch.autograd.grad(exact.loss_B.sum(), case[0])
    logits32 = case[0].detach().float().requires_grad_()
    got = transducer_loss(logits32, *case[1:], topology=topology)
    (grad,) = torch.autograd.grad(got.loss_B.sum(), logits32)
    assert got.loss_B.dtype == grad.dtype == torch.float32
    # 150 float32 log-additions: relative error of the loss near 1e-7 each
    torch.testing.assert_close(got.loss_B.double(), exact.loss_B, rtol=2e-6, atol=0.0)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=0.0, atol=2e-4)
    half = logits32.detach().bfloat16().requires_grad_()
    got16 = transducer_loss(half, *case[1:], topology=topology)
    (grad16,) = torch.autograd.grad(got16.loss_B.sum(), half)
    assert got16.loss_B.dtype == torch.float32
    assert grad16.dtype == torch.bfloat16


def test_extreme_logits_stay_finite() -> None:
    logits, *rest = make_case([30], [10])
    huge = (logits.detach().float() * 200.0).requires_grad_()
    got = transducer_loss(huge, *rest)
    torch.autograd.backward(got.loss_B.sum())
    assert bool(torch.isfinite(got.loss_B).all())
    assert huge.grad is not None
    assert bool(torch.isfinite(huge.grad).all())


def test_gradient_can_be_taken_twice() -> None:
    case = make_case([4], [2])
    got = transducer_loss(*case)
    (first,) = torch.autograd.grad(got.loss_B.sum(), case[0], retain_graph=True)
    (second,) = torch.autograd.grad(got.loss_B.sum(), case[0])
    torch.testing.assert_close(first, second, rtol=0.0, atol=0.0)


def test_wrong_shapes_and_lengths_are_refused() -> None:
    logits, targets, frame_lens, target_lens = make_case([4, 3], [2, 1])
    with pytest.raises(ValueError, match="one position more"):
        transducer_loss(logits, targets[:, :1], frame_lens, target_lens)
    with pytest.raises(ValueError, match=r"1\.\.4"):
        transducer_loss(logits, targets, frame_lens + 1, target_lens)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        transducer_loss(logits, targets, frame_lens, target_lens + 1)
