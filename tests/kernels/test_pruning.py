"""Which nodes are kept follows the paper's rule; the band's posteriors equal a full lattice's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from todm.kernels.pruning import prune_starts, pruned_posteriors
from todm.kernels.transducer import NEG_INF, Topology, lattice_posteriors

TOPOLOGIES: list[Topology] = ["regular", "one_symbol"]
shapes = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6)), min_size=1, max_size=3)


def make_posteriors(lens: list[tuple[int, int]], topology: Topology, seed: int) -> list[Tensor]:
    """Edge posteriors of a random full lattice, and its lengths."""
    g = torch.Generator().manual_seed(seed)
    shape = (len(lens), max(t for t, _ in lens), max(u for _, u in lens) + 1)
    blank, label = (3.0 * torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))
    frames, labels = (torch.tensor(column) for column in zip(*lens, strict=True))
    found = lattice_posteriors(blank, label, frames, labels, topology=topology)
    return [found.blank_BTU, found.label_BTU, frames, labels]


def starts_by_hand(
    blank: Tensor, label: Tensor, frames: int, labels: int, width: int, rise: int
) -> list[int]:
    """The rule in plain loops, over one utterance's padded posteriors."""
    padded, positions = blank.shape
    starts = []
    for t in range(padded):
        inside = [float(blank[t, x : x + width].sum()) for x in range(positions - width + 1)]
        enters = [0.0, *(float(label[t, x - 1]) for x in range(1, positions - width + 1))]
        gains = [a - b for a, b in zip(inside, enters, strict=True)]
        starts.append(gains.index(max(gains)))
    starts[frames - 1 :] = [max(0, labels - width + 1)] * (padded - frames + 1)
    for t in reversed(range(padded - 1)):
        starts[t] = min(starts[t], starts[t + 1])
    for t in reversed(range(padded - 1)):
        starts[t] = max(starts[t], starts[t + 1] - rise)
    return [min(start, rise * t) for t, start in enumerate(starts)]


@settings(max_examples=60, deadline=None)
@given(
    lens=shapes,
    topology=st.sampled_from(TOPOLOGIES),
    width=st.integers(2, 5),
    seed=st.integers(0, 2**16),
)
def test_starts_follow_the_rule(
    lens: list[tuple[int, int]], topology: Topology, width: int, seed: int
) -> None:
    blank, label, frames, labels = make_posteriors(lens, topology, seed)
    width = min(width, blank.shape[2])
    found = prune_starts(blank, label, frames, labels, width=width, topology=topology)
    rise = width - 1 if topology == "regular" else 1
    for utt, (num_frames, num_labels) in enumerate(lens):
        want = starts_by_hand(blank[utt], label[utt], num_frames, num_labels, width, rise)
        assert found[utt].tolist() == want


@settings(max_examples=80, deadline=None)
@given(
    lens=shapes,
    topology=st.sampled_from(TOPOLOGIES),
    width=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_posteriors_equal_a_full_lattice_with_walls(
    lens: list[tuple[int, int]], topology: Topology, width: int, seed: int
) -> None:
    """The same weights at the kept nodes of a full lattice, and no edge anywhere else."""
    *posteriors, frames, labels = make_posteriors(lens, topology, seed)
    positions = posteriors[0].shape[2]
    width = min(width, positions)
    start = prune_starts(*posteriors, frames, labels, width=width, topology=topology)
    g = torch.Generator().manual_seed(seed)
    blank, label = (
        torch.randn(*start.shape, width, generator=g, dtype=torch.float64) for _ in range(2)
    )
    found = pruned_posteriors(blank, label, start, frames, labels, topology=topology)

    place = start[:, :, None] + torch.arange(width)
    walled = torch.full((2, *start.shape, positions + width), NEG_INF, dtype=torch.float64)
    walled[0].scatter_(2, place, blank)
    walled[1].scatter_(2, place, label)
    if topology == "regular":
        walled[1].scatter_(2, place[:, :, -1:], NEG_INF)
    full = walled[..., :positions]
    want = lattice_posteriors(full[0], full[1], frames, labels, topology=topology)
    torch.testing.assert_close(found.log_total_B, want.log_total_B)
    for got, whole in ((found.blank_BTU, want.blank_BTU), (found.label_BTU, want.label_BTU)):
        wide = torch.nn.functional.pad(whole, (0, width))
        torch.testing.assert_close(got, wide.gather(2, place))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_posteriors_ignore_the_padding(topology: Topology) -> None:
    frames, labels = torch.tensor([4, 2]), torch.tensor([2, 1])
    start = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])
    blank, label = torch.randn(2, 2, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    want = pruned_posteriors(blank, label, start, frames, labels, topology=topology)
    for x in (blank, label):
        x[1, 2:] = float("nan")
    found = pruned_posteriors(blank, label, start, frames, labels, topology=topology)
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


def test_too_few_frames_for_the_labels_leave_no_path() -> None:
    blank, label, frames, labels = make_posteriors([(2, 6), (4, 6)], "regular", 0)
    start = prune_starts(blank, label, frames, labels, width=3, topology="regular")
    assert start[:, 0].tolist() == [0, 0]
    weights = torch.zeros(2, 4, 3, dtype=torch.float64)
    found = pruned_posteriors(weights, weights, start, frames, labels, topology="regular")
    assert found.log_total_B[0] == NEG_INF  # two frames reach position 4 of 6
    assert found.log_total_B[1] > NEG_INF
    assert float(found.blank_BTU[0].abs().sum() + found.label_BTU[0].abs().sum()) == 0.0
