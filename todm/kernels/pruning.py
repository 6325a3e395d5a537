"""The pruned transducer lattice: which label positions each frame keeps, and its posteriors.

Legend: B utterances, T frames, U label positions 0..labels (U1 where U is the number of labels),
S kept positions of a frame, X places for a block of S, N rows of the recursion, K = 2 (0: blank,
1: label), P = 2 B (the lattices, then their reversed twins), C = S + 1 columns.

Frame t keeps the positions start(t) .. start(t) + S - 1, and start never falls. So every row of
the recursion (`kernels.transducer`: row t + u, or t) holds at most S kept nodes, and no two of
their positions are equal modulo S. Position u lies in slot u mod S: a blank edge stays in its
slot, a label edge goes to the next one around the circle, and a row costs S whatever U is.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from todm.kernels.transducer import NEG_INF, LatticePosteriors, Topology


def prune_starts(
    blank_BTU: Float[Tensor, "B T U"],
    label_BTU: Float[Tensor, "B T U"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    width: int,
    topology: Topology,
) -> Int[Tensor, "B T"]:
    """Return the first kept position of each frame, from the edge posteriors of a full lattice.

    A frame keeps the ``width`` (S) neighbouring positions with the most probability: the blank
    edges that leave them, less the label edge that enters from below. The last frame ends at the
    last position. Then the starts are lowered until they never fall over time, raised until none
    is S or more above the one before (2 or more where a label consumes the frame), and cut to what
    is in reach of frame 0, which starts at 0. Where that cuts the last frame short of the last
    position, the pruned lattice has no path.

    Source: Kuang et al., 2022 (arXiv 2206.13236), section 3.2, with k2's measure of a block.
    Deviation: none where k2 computes; here S is cut to the number of positions in one place
    (S <= U), and fewer frames than labels are allowed.
    """
    num_frames, num_positions = blank_BTU.shape[1:]
    block_BTX = blank_BTU.unfold(2, width, 1).sum(3)
    block_BTX[:, :, 1:] -= label_BTU[:, :, : num_positions - width]
    t_T = torch.arange(num_frames, device=blank_BTU.device)
    last_B1 = (target_lens_B[:, None] - width + 1).clamp(min=0)
    start_BT = torch.where(t_T < frame_lens_B[:, None] - 1, block_BTX.argmax(2), last_B1)
    limit_T = t_T * (width - 1 if topology == "regular" else 1)
    return limit_T - _no_fall(limit_T - _no_fall(start_BT)).clamp(min=0)


def _no_fall(x_BT: Tensor) -> Tensor:
    """Return the greatest sequence below x that never falls over time."""
    return x_BT.flip(1).cummin(1).values.flip(1)


def pruned_posteriors(
    blank_BTS: Float[Tensor, "B T S"],
    label_BTS: Float[Tensor, "B T S"],
    start_BT: Int[Tensor, "B T"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology,
) -> LatticePosteriors:
    """Run forward-backward over the kept nodes; an edge to a node that is not kept is no edge.

    Entry (t, i) belongs to node (t, start(t) + i), in the result too. Padding (t >= frame length,
    position > target length) is ignored, whatever it holds. ``start_BT`` must never fall over
    time and start at 0 or above.

    Source: Kuang et al., 2022 (arXiv 2206.13236). Deviation: slots modulo S (module's docstring)
    in place of a full lattice of -inf.
    """
    num_utts, num_frames, width = blank_BTS.shape
    u_BTS = start_BT[:, :, None] + torch.arange(width, device=start_BT.device)
    alive_BTS, goes_BTS = _edges_alive(u_BTS, frame_lens_B, target_lens_B, topology)
    row_BTS = torch.arange(num_frames, device=start_BT.device)[:, None].expand(u_BTS.shape)
    end_row_B, num_rows = frame_lens_B, num_frames
    if topology == "regular":
        row_BTS, end_row_B = row_BTS + u_BTS, end_row_B + target_lens_B
        num_rows += int(torch.maximum(u_BTS.amax(), target_lens_B.amax()))
    utt_B11 = torch.arange(num_utts, device=start_BT.device)[:, None, None]
    place_Y = ((row_BTS * 2 * width + u_BTS % width) * num_utts + utt_B11).flatten()
    edges_NKSB = blank_BTS.new_full((num_rows, 2, width, num_utts), NEG_INF)
    for kind, (weight_BTS, there_BTS) in enumerate(((blank_BTS, alive_BTS), (label_BTS, goes_BTS))):
        weight_Y = weight_BTS.masked_fill(~there_BTS, NEG_INF).flatten()
        edges_NKSB.view(-1)[kind * width * num_utts :].scatter_(0, place_Y, weight_Y)
    is_last_SB = torch.arange(width, device=start_BT.device)[:, None] == target_lens_B % width
    row_N11 = torch.arange(num_rows, device=start_BT.device)[:, None, None]
    edges_NKSB[:, 0].masked_fill_((row_N11 >= end_row_B) & is_last_SB, 0.0)
    log_total_B, posterior_NKSB = _edge_posteriors(edges_NKSB, start_BT[:, 0] == 0, is_last_SB)
    found = [
        posterior_NKSB.view(-1)[kind * width * num_utts :][place_Y]
        .view(u_BTS.shape)
        .masked_fill(~there_BTS, 0.0)
        for kind, there_BTS in enumerate((alive_BTS, goes_BTS))
    ]
    return LatticePosteriors(log_total_B, *found)


def _edges_alive(
    u_BTS: Int[Tensor, "B T S"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    topology: Topology,
) -> tuple[Bool[Tensor, "B T S"], Bool[Tensor, "B T S"]]:
    """Tell which kept nodes have a blank edge and which a label edge to a kept node (or the end).

    The end is the one node of frame T: the last position.
    """
    num_frames, width = u_BTS.shape[1:]
    t_T1 = torch.arange(num_frames, device=u_BTS.device)[:, None]
    last_B11 = target_lens_B[:, None, None]
    left_BT1 = frame_lens_B[:, None, None] - 1 - t_T1
    inside_BTS = (left_BT1 >= 0) & (u_BTS <= last_B11)
    next_BT1 = torch.cat((u_BTS[:, 1:, :1], u_BTS[:, -1:, :1]), 1)
    next_BT1 = torch.where(left_BT1 == 0, last_B11, next_BT1)
    blank_BTS = inside_BTS & (u_BTS >= next_BT1)
    label_BTS = inside_BTS & (u_BTS < last_B11)
    if topology == "regular":
        label_BTS[:, :, -1] = False
    else:
        label_BTS &= (u_BTS + 1 >= next_BT1) & (u_BTS + 1 < next_BT1 + width)
    return blank_BTS, label_BTS


def _edge_posteriors(
    edges_NKSB: Tensor, has_start_B: Tensor, is_last_SB: Tensor
) -> tuple[Tensor, Tensor]:
    """Scan lattices beside their reversed twins; return log-totals and posteriors (N, K, S, B).

    The twin has slots in the opposite order, so that its labels too go to the next slot.
    """
    num_rows, _, width, num_utts = edges_NKSB.shape
    both_NKSP = edges_NKSB.new_empty(num_rows, 2, width, 2 * num_utts)
    both_NKSP[..., :num_utts] = edges_NKSB
    both_NKSP[:, 0, :, num_utts:] = edges_NKSB[:, 0].flip(0, 1)
    both_NKSP[:, 1, :, num_utts:] = edges_NKSB[:, 1].flip(0, 1).roll(-1, 1)
    start_SP = edges_NKSB.new_full((width, 2 * num_utts), NEG_INF)
    start_SP[0, :num_utts].masked_fill_(has_start_B, 0.0)
    start_SP[:, num_utts:].masked_fill_(is_last_SB.flip(0), 0.0)
    scores_NSP = _scan(both_NKSP, start_SP)

    alpha_NSB = scores_NSP[..., :num_utts]
    beta_NSB = scores_NSP[:-1, :, num_utts:].flip(0, 1)  # of the row that follows
    log_total_B = alpha_NSB[-1].masked_fill(~is_last_SB, NEG_INF).amax(0)
    scale_B = log_total_B.masked_fill(log_total_B == NEG_INF, 0.0)
    edges_NKSB = edges_NKSB + (alpha_NSB[:-1] - scale_B)[:, None]
    edges_NKSB[:, 0] += beta_NSB
    edges_NKSB[:, 1] += beta_NSB.roll(-1, 1)
    return log_total_B, edges_NKSB.exp_()


def _scan(edges_NKSP: Tensor, start_SP: Tensor) -> Tensor:
    """Return the (N + 1, S, P) scores of all rows.

    s[n + 1, j] = logaddexp(s[n, j] + blank[n, j], s[n, j - 1] + label[n, j - 1]), j modulo S. In
    memory a column before slot 0 repeats the last slot.
    """
    if edges_NKSP.is_cuda:
        from todm.kernels.triton.scan import lattice_scan

        return lattice_scan(edges_NKSP, start_SP, columns_last=False, wraps=True)
    num_rows, _, width, lattices = edges_NKSP.shape
    scores_NCP = edges_NKSP.new_empty(num_rows + 1, width + 1, lattices)
    scores_NCP[0, 1:], scores_NCP[0, 0] = start_SP, start_SP[-1]
    label_NSP = edges_NKSP[:, 1].roll(1, 1)  # beside the column that it leaves from
    stay_SP, advance_SP = torch.empty_like(start_SP), torch.empty_like(start_SP)
    rows = zip(
        edges_NKSP[:, 0].unbind(0),
        label_NSP.unbind(0),
        scores_NCP[:, :-1].unbind(0),
        scores_NCP[:, 1:].unbind(0),
        scores_NCP[1:, 1:].unbind(0),
        scores_NCP[1:, 0].unbind(0),
        scores_NCP[1:, -1].unbind(0),
        strict=False,
    )
    for blank_SP, label_SP, from_SP, at_SP, next_SP, copy_P, last_P in rows:
        torch.add(at_SP, blank_SP, out=stay_SP)
        torch.add(from_SP, label_SP, out=advance_SP)
        torch.logaddexp(stay_SP, advance_SP, out=next_SP)
        copy_P.copy_(last_P)
    return scores_NCP[:, 1:]
