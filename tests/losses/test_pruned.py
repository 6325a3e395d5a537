"""The pruned loss equals the enumeration of kept paths, and the full loss where all are kept."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import EXACT, draw, draw_targets, enumerated_loss
from torch import Tensor

from todm.kernels.pruning import prune_starts
from todm.kernels.transducer import Topology
from todm.losses.pruned import pruned_transducer_loss
from todm.losses.transducer import transducer_loss

TOPOLOGIES: list[Topology] = ["regular", "one_symbol"]


def make_case(
    frame_lens: list[int], target_lens: list[int], width: int, topology: Topology, seed: int = 0
) -> tuple[Tensor, ...]:
    """Logits at kept nodes, labels, starts that the rule gives for random posteriors, lengths."""
    shape = (len(frame_lens), max(frame_lens), max(target_lens) + 1)
    width = min(width, shape[2])
    g = torch.Generator().manual_seed(seed + 2)
    posteriors = [torch.rand(shape, generator=g) for _ in range(2)]
    lens = torch.tensor(frame_lens), torch.tensor(target_lens)
    start = prune_starts(*posteriors, *lens, width=width, topology=topology)
    logits = draw(*shape[:2], width, 5, seed=seed)
    return logits, draw_targets(target_lens, 5, seed), start, *lens


def kept_edges(case: tuple[Tensor, ...], delay_penalty: float = 0.0) -> list[tuple[Tensor, Tensor]]:
    """Log-weights of blanks and labels on the full grid, 0 where no node is kept."""
    logits, targets, start, frames, labels = case
    logp = logits.log_softmax(-1)
    found = []
    for utt in range(len(logits)):
        num_frames, num_labels = int(frames[utt]), int(labels[utt])
        rows: list[list[Tensor]] = [[], []]
        for t in range(num_frames):
            blanks = [logp.new_zeros(()) for _ in range(num_labels + 1)]
            emits = list(blanks)
            for i in range(logits.shape[2]):
                u = int(start[utt, t]) + i
                if u <= num_labels:
                    blanks[u] = logp[utt, t, i, 0]
                if u < num_labels:
                    early = (num_frames - 1) / 2 - t
                    emits[u] = logp[utt, t, i, targets[utt, u]] + delay_penalty * early
            rows[0].append(torch.stack(blanks))
            rows[1].append(torch.stack(emits))
        found.append((torch.stack(rows[0]), torch.stack(rows[1])))
    return found


def enumerated(case: tuple[Tensor, ...], topology: Topology, delay_penalty: float = 0.0) -> Tensor:
    logits, _, start, frames, labels = case
    kept = [[range(s, s + logits.shape[2]) for s in row] for row in start.tolist()]
    edges = kept_edges(case, delay_penalty)
    return enumerated_loss(edges, frames.tolist(), labels.tolist(), topology, kept)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("delay_penalty", [0.0, 0.3])
def test_value_and_gradient_equal_enumeration(topology: Topology, delay_penalty: float) -> None:
    case = make_case([6, 4, 3, 1, 5], [4, 0, 3, 1, 3], 3, topology)
    weights_B = torch.tensor([1.0, -0.5, 2.0, 0.3, 1.5], dtype=torch.float64)
    ref_B = enumerated(case, topology, delay_penalty)
    (ref_grad,) = torch.autograd.grad((ref_B * weights_B).sum(), case[0])
    got = pruned_transducer_loss(*case, topology=topology, delay_penalty=delay_penalty)
    (grad,) = torch.autograd.grad((got.loss_B * weights_B).sum(), case[0])
    torch.testing.assert_close(got.loss_B, ref_B, **EXACT)
    torch.testing.assert_close(grad, ref_grad, **EXACT)
    assert bool(got.valid_B.all())


@settings(max_examples=25, deadline=None)
@given(
    lens=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=3),
    topology=st.sampled_from(TOPOLOGIES),
    width=st.integers(2, 4),
    seed=st.integers(0, 2**16),
)
def test_any_lengths(
    lens: list[tuple[int, int]], topology: Topology, width: int, seed: int
) -> None:
    case = make_case([t for t, _ in lens], [u for _, u in lens], width, topology, seed)
    ref_B = enumerated(case, topology)
    got = pruned_transducer_loss(*case, topology=topology)
    torch.testing.assert_close(got.loss_B, ref_B, **EXACT)
    (ref_grad,) = torch.autograd.grad(ref_B.sum(), case[0])
    (grad,) = torch.autograd.grad(got.loss_B.sum(), case[0])
    torch.testing.assert_close(grad, ref_grad, **EXACT)
    step = case[0].shape[2] - 1
    reach = [min(t, t * step) if topology == "one_symbol" else t * step for t, _ in lens]
    assert got.valid_B.tolist() == [u <= most for (_, u), most in zip(lens, reach, strict=True)]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    "options", [{}, {"delay_penalty": 0.2}, {"fastemit": 0.3}, {"blank": 4}], ids=str
)
def test_a_width_of_all_positions_equals_the_full_lattice(
    topology: Topology, options: dict[str, Any]
) -> None:
    frame_lens, target_lens = [9, 7, 4], [3, 5, 0]
    logits, targets, start, *lens = make_case(frame_lens, target_lens, 99, topology)
    targets = targets - 1 if "blank" in options else targets
    assert logits.shape[2] == 6
    assert int(start.abs().sum()) == 0
    want = transducer_loss(logits, targets, *lens, topology=topology, **options)
    got = pruned_transducer_loss(logits, targets, start, *lens, topology=topology, **options)
    torch.testing.assert_close(got, want, **EXACT)
    (want_grad,) = torch.autograd.grad(want.loss_B.sum(), logits)
    (grad,) = torch.autograd.grad(got.loss_B.sum(), logits)
    torch.testing.assert_close(grad, want_grad, **EXACT)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_gradcheck(topology: Topology) -> None:
    logits, *rest = make_case([5, 3], [3, 2], 2, topology)
    assert torch.autograd.gradcheck(
        lambda x: pruned_transducer_loss(x, *rest, topology=topology, delay_penalty=0.2).loss_B,
        (logits,),
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_padding_changes_nothing(topology: Topology) -> None:
    frame_lens, target_lens = [6, 4, 5], [4, 3, 0]
    logits, targets, start, *lens = make_case(frame_lens, target_lens, 3, topology)
    weights_B = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def run(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values = values.detach().requires_grad_()
        got = pruned_transducer_loss(values, labels, start, *lens, topology=topology)
        (grad,) = torch.autograd.grad((got.loss_B * weights_B).sum(), values)
        assert got.occupancy_BTU is not None
        return got.loss_B, grad, got.occupancy_BTU

    want = run(logits, targets)
    noisy, wrong = logits.detach().clone(), targets.clone()
    for utt, (num_frames, num_labels) in enumerate(zip(frame_lens, target_lens, strict=True)):
        noisy[utt, num_frames:] = 70.0
        beyond_TS = start[utt][:, None] + torch.arange(3) > num_labels
        noisy[utt][beyond_TS] = -40.0
        wrong[utt, num_labels:] = 999
        assert float(want[1][utt][beyond_TS].abs().sum()) == 0.0
        assert float(want[1][utt, num_frames:].abs().sum()) == 0.0
    for found, expected in zip(run(noisy, wrong), want, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_occupancy_sums(topology: Topology) -> None:
    case = make_case([9, 7], [5, 6], 3, topology)
    occupancy = pruned_transducer_loss(*case, topology=topology).occupancy_BTU
    assert occupancy is not None
    assert not occupancy.requires_grad
    if topology == "one_symbol":  # one node a frame
        inside_BT = (torch.arange(9) < case[3][:, None]).double()
        torch.testing.assert_close(occupancy.sum(2), inside_BT, **EXACT)
    else:  # each frame and each label is an edge of every path
        torch.testing.assert_close(occupancy.sum((1, 2)), (case[3] + case[4]).double(), **EXACT)


def test_no_path_means_zero_loss_and_gradient() -> None:
    logits, targets, start, *lens = make_case([2, 6], [6, 4], 3, "regular")
    got = pruned_transducer_loss(logits, targets, start, *lens)
    (grad,) = torch.autograd.grad(got.loss_B.sum(), logits)
    assert got.valid_B.tolist() == [False, True]
    assert float(got.loss_B[0].detach()) == 0.0
    assert float(grad[0].abs().max()) == 0.0
    assert float(grad[1].abs().max()) > 0.0


def test_starts_after_the_first_position_leave_no_path() -> None:
    logits, targets, start, *lens = make_case([5], [4], 3, "regular")
    got = pruned_transducer_loss(logits, targets, start.clamp(min=1), *lens)
    assert got.valid_B.tolist() == [False]


def test_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case([6, 5], [4, 3], 3, "regular")
    whole = pruned_transducer_loss(*case)
    (whole_grad,) = torch.autograd.grad(whole.loss_B.sum(), case[0])
    monkeypatch.setattr("todm.losses.pruned.CHUNK_ELEMENTS", 20)
    parts = pruned_transducer_loss(*case)
    (parts_grad,) = torch.autograd.grad(parts.loss_B.sum(), case[0])
    torch.testing.assert_close(parts, whole, rtol=0.0, atol=0.0)
    torch.testing.assert_close(parts_grad, whole_grad, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_float32_and_half_precision(topology: Topology) -> None:
    case = make_case([120, 90], [40, 25], 5, topology)
    exact = pruned_transducer_loss(*case, topology=topology)
    (exact_grad,) = torch.autograd.grad(exact.loss_B.sum(), case[0], retain_graph=True)
    (again,) = torch.autograd.grad(exact.loss_B.sum(), case[0])
    assert torch.equal(exact_grad, again)
    logits32 = case[0].detach().float().requires_grad_()
    got = pruned_transducer_loss(logits32, *case[1:], topology=topology)
    (grad,) = torch.autograd.grad(got.loss_B.sum(), logits32)
    assert got.loss_B.dtype == grad.dtype == torch.float32
    # 160 float32 log-additions: relative error of the loss near 1e-7 each
    torch.testing.assert_close(got.loss_B.double(), exact.loss_B, rtol=2e-6, atol=0.0)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=0.0, atol=2e-4)
    half = logits32.detach().bfloat16().requires_grad_()
    got16 = pruned_transducer_loss(half, *case[1:], topology=topology)
    (grad16,) = torch.autograd.grad(got16.loss_B.sum(), half)
    assert got16.loss_B.dtype == torch.float32
    assert grad16.dtype == torch.bfloat16


def test_wrong_starts_and_lengths_are_refused() -> None:
    logits, targets, start, frames, labels = make_case([5, 3], [4, 1], 3, "regular")
    with pytest.raises(ValueError, match="never fall"):
        pruned_transducer_loss(logits, targets, start.flip(1), frames, labels)
    with pytest.raises(ValueError, match=r"1\.\.5"):
        pruned_transducer_loss(logits, targets, start, frames + 1, labels)
    with pytest.raises(ValueError, match=r"0\.\.4"):
        pruned_transducer_loss(logits, targets, start, frames, labels + 1)
