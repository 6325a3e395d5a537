"""The best path against the list of all paths, and on a lattice read by eye."""

import pytest
import torch

from todm.kernels.alignment import best_path_frames
from todm.kernels.transducer import alignments

SHAPES = [(1, 0), (1, 3), (2, 2), (4, 1), (4, 3), (5, 2)]


def best_by_list(blank_TU, label_TU, topology):
    num_frames, positions = blank_TU.shape
    paths = list(alignments(num_frames, positions - 1, topology))

    def score(path):
        return sum(float((label_TU if is_label else blank_TU)[t, u]) for t, u, is_label in path)

    return tuple(t for t, _, is_label in max(paths, key=score) if is_label) if paths else None


@pytest.mark.parametrize("topology", ["regular", "one_symbol"])
@pytest.mark.parametrize(("num_frames", "labels"), SHAPES)
def test_equals_the_best_of_all_paths(num_frames, labels, topology):
    for seed in range(20):
        torch.manual_seed(seed)
        blank_TU, label_TU = -3 * torch.rand(2, num_frames, labels + 1)
        wanted = best_by_list(blank_TU, label_TU, topology)
        if wanted is None:
            with pytest.raises(ValueError, match=f"{labels} labels do not fit"):
                best_path_frames(blank_TU, label_TU, topology=topology)
        else:
            assert best_path_frames(blank_TU, label_TU, topology=topology) == wanted


def test_labels_are_where_the_lattice_wants_them():
    label_TU = torch.full((6, 3), -9.0)
    label_TU[1, 0] = label_TU[4, 1] = 0.0
    assert best_path_frames(torch.zeros(6, 3), label_TU, topology="regular") == (1, 4)


def test_edges_of_no_weight_at_all_are_avoided():
    label_TU = torch.full((3, 2), float("-inf"))
    label_TU[2, 0] = -50.0
    assert best_path_frames(torch.zeros(3, 2), label_TU, topology="one_symbol") == (2,)
