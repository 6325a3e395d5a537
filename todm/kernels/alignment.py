"""The best path through a transducer lattice: the frame at which each label is emitted.

Legend: T frames, U label positions 0..labels, L = U - 1 labels.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from todm.kernels.transducer import Topology

NEG_INF = float("-inf")


def best_path_frames(
    blank_TU: Float[Tensor, "T U"], label_TU: Float[Tensor, "T U"], *, topology: Topology
) -> tuple[int, ...]:
    """Return the frame of each label on the path of the highest score (Viterbi).

    Args:
        blank_TU: Log-weight of the blank edge that leaves node (t, u).
        label_TU: Log-weight of its label edge; the last column is never read.
        topology: ``regular`` paths emit any number of labels on a frame, ``one_symbol`` paths
            at most one.

    Raises:
        ValueError: there is no path (``one_symbol`` with fewer frames than labels).

    Source: Graves, 2012 (arXiv 1211.3711), with the sum over paths replaced by the maximum.
    """
    blank_TU, label_TU = blank_TU.double(), label_TU.double()
    frames = _regular(blank_TU, label_TU) if topology == "regular" else _single(blank_TU, label_TU)
    if frames is None:
        num_frames, positions = blank_TU.shape
        raise ValueError(f"{positions - 1} labels do not fit into {num_frames} frames")
    return frames


def _regular(blank_TU: Tensor, label_TU: Tensor) -> tuple[int, ...]:
    """Frame by frame: arrive at position j, then emit the labels j .. u - 1.

    With S the running sum of a frame's labels,
    best[u] = S[u] + max over j <= u of arrived[j] - S[j].
    """
    arrived_U = torch.full_like(blank_TU[0], NEG_INF)
    arrived_U[0] = 0.0
    entered = []
    for blank_U, label_U in zip(blank_TU, label_TU, strict=True):
        sums_U = torch.cat([label_U.new_zeros(1), label_U[:-1].cumsum(0)])
        best_U, from_U = (arrived_U - sums_U).cummax(0)
        entered.append(from_U)
        arrived_U = best_U + sums_U + blank_U
    frames: list[int] = []
    position = blank_TU.shape[1] - 1
    for frame in reversed(range(len(entered))):
        start = int(entered[frame][position])
        frames += [frame] * (position - start)
        position = start
    return tuple(reversed(frames))


def _single(blank_TU: Tensor, label_TU: Tensor) -> tuple[int, ...] | None:
    """Frame by frame: stay by a blank, or move on by one label."""
    score_U = torch.full_like(blank_TU[0], NEG_INF)
    score_U[0] = 0.0
    moved = []
    for blank_U, label_U in zip(blank_TU, label_TU, strict=True):
        stay_U = score_U + blank_U
        move_U = torch.cat([stay_U.new_full((1,), NEG_INF), (score_U + label_U)[:-1]])
        moved.append(move_U > stay_U)
        score_U = torch.maximum(stay_U, move_U)
    if score_U[-1] == NEG_INF:
        return None
    frames: list[int] = []
    position = blank_TU.shape[1] - 1
    for frame in reversed(range(len(moved))):
        if moved[frame][position]:
            frames.append(frame)
            position -= 1
    return tuple(reversed(frames))
