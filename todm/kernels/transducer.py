"""Transducer lattice: alpha and beta in one batched recursion, beside a brute-force reference.

Legend: B utterances, T frames, U label positions 0..labels (U1 where U is the number of labels),
V symbols, N rows of the recursion, K = 2 (0: blank, 1: label), P = 2 B (the lattices, then their
reversed twins), C = U + 1 columns (column 0 is a wall of -inf, column u + 1 is position u).

The trick that serves both topologies: a row holds the nodes that are reached together, and every
edge leads from row n to row n + 1, staying in its column (blank) or moving one right (label).

    regular      row = t + u   blank (t, u) -> (t + 1, u), label (t, u) -> (t, u + 1)
    one_symbol   row = t       blank (t, u) -> (t + 1, u), label (t, u) -> (t + 1, u + 1)

In memory the two differ by one stride, and the recursion is two elementwise operations a row.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Topology = Literal["regular", "one_symbol"]

NEG_INF = float("-inf")


class LatticePosteriors(NamedTuple):
    """Total log-probability of a lattice and the posterior probability of each of its edges."""

    log_total_B: Float[Tensor, " B"]
    """log of the sum over paths; -inf where no path exists."""
    blank_BTU: Float[Tensor, "B T U"]
    """Posterior of the blank edge that leaves (t, u); 0 in the padding."""
    label_BTU: Float[Tensor, "B T U"]
    """Posterior of the label edge that leaves (t, u); 0 in the padding and at the last u."""


def lattice_posteriors(
    blank_BTU: Float[Tensor, "B T U"],
    label_BTU: Float[Tensor, "B T U"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology,
) -> LatticePosteriors:
    """Run the forward-backward algorithm over transducer lattices given by their edge log-weights.

    alpha(y) = logsumexp over edges x -> y of alpha(x) + w(x, y), beta the same from the end, and
    posterior(x, y) = exp(alpha(x) + w(x, y) + beta(y) - log_total). Column U - 1 of `label_BTU` is
    never read. Padding (t >= frame length, u > target length) is ignored, whatever it holds.

    Source: Graves, 2012 (arXiv 1211.3711); one_symbol is k2's "modified" topology. Deviation:
    anti-diagonal rows, and beta computed by the same loop as the alpha of the reversed lattice.
    """
    num_utts, num_frames, num_positions = blank_BTU.shape
    u_U = torch.arange(num_positions, device=blank_BTU.device)
    t_T1 = torch.arange(num_frames, device=blank_BTU.device)[:, None]
    is_last_BU = u_U == target_lens_B[:, None]
    blank_pad_BTU = (t_T1 >= frame_lens_B[:, None, None]) | (u_U > target_lens_B[:, None, None])
    label_pad_BTU = blank_pad_BTU | is_last_BU[:, None]

    num_rows = num_frames + (num_positions - 1 if topology == "regular" else 0)
    edges_NKBC = blank_BTU.new_full((num_rows, 2, num_utts, num_positions + 1), NEG_INF)
    _grid(edges_NKBC[:, 0], num_frames, topology).copy_(
        blank_BTU.masked_fill(blank_pad_BTU, NEG_INF)
    )
    _grid(edges_NKBC[:, 1], num_frames, topology).copy_(
        label_BTU.masked_fill(label_pad_BTU, NEG_INF)
    )
    end_row_B = frame_lens_B + target_lens_B if topology == "regular" else frame_lens_B
    _lead_to_last_row(edges_NKBC, end_row_B, is_last_BU)
    log_total_B, posterior_NKBC = _edge_posteriors(edges_NKBC, is_last_BU)
    return LatticePosteriors(
        log_total_B,
        _grid(posterior_NKBC[:, 0], num_frames, topology).masked_fill(blank_pad_BTU, 0.0),
        _grid(posterior_NKBC[:, 1], num_frames, topology).masked_fill(label_pad_BTU, 0.0),
    )


def _lead_to_last_row(edges_NKBC: Tensor, end_row_B: Tensor, is_last_BU: Tensor) -> None:
    """Lay edges of weight 0 from each utterance's end, so that all paths end in the last row."""
    row_N1 = torch.arange(edges_NKBC.shape[0], device=edges_NKBC.device)[:, None]
    free_NBU = (row_N1 >= end_row_B)[:, :, None] & is_last_BU
    edges_NKBC[:, 0, :, 1:].masked_fill_(free_NBU, 0.0)


def _edge_posteriors(edges_NKBC: Tensor, is_last_BU: Tensor) -> tuple[Tensor, Tensor]:
    """Scan lattices beside their reversed twins; return log-totals and posteriors (N, K, B, C)."""
    num_utts = edges_NKBC.shape[2]
    twin_NKBC = torch.full_like(edges_NKBC, NEG_INF)
    twin_NKBC[:, 0, :, 1:] = edges_NKBC[:, 0, :, 1:].flip(0, 2)
    twin_NKBC[:, 1] = edges_NKBC[:, 1].flip(0, 2)
    start_PC = edges_NKBC.new_full((2 * num_utts, edges_NKBC.shape[3]), NEG_INF)
    start_PC[:num_utts, 1] = 0.0
    start_PC[num_utts:, 1:].masked_fill_(is_last_BU.flip(1), 0.0)
    scores_NPC = _scan(torch.cat((edges_NKBC, twin_NKBC), dim=2), start_PC)

    ends_BU = scores_NPC[-1, :num_utts, 1:].masked_fill(~is_last_BU, NEG_INF)
    log_total_B = ends_BU.amax(1)
    scale_B1 = log_total_B.masked_fill(log_total_B == NEG_INF, 0.0)[:, None]
    alpha_NBU = scores_NPC[:-1, :num_utts, 1:] - scale_B1
    beta_NBU = scores_NPC[:-1, num_utts:, 1:].flip(0, 2)  # of the row that follows
    posterior_NKBC = torch.zeros_like(edges_NKBC)
    torch.add(alpha_NBU, beta_NBU, out=posterior_NKBC[:, 0, :, 1:])
    torch.add(alpha_NBU[..., :-1], beta_NBU[..., 1:], out=posterior_NKBC[:, 1, :, 1:-1])
    return log_total_B, posterior_NKBC.add_(edges_NKBC).exp_()


def _grid(rows_NBC: Tensor, num_frames: int, topology: Topology) -> Tensor:
    """View rows as the (B, T, U) lattice: node (t, u) lies in row t + u (regular) or t."""
    row_stride, utt_stride, column_stride = rows_NBC.stride()
    u_stride = column_stride + (row_stride if topology == "regular" else 0)
    return rows_NBC.as_strided(
        (rows_NBC.shape[1], num_frames, rows_NBC.shape[2] - 1),
        (utt_stride, row_stride, u_stride),
        rows_NBC.storage_offset() + column_stride,
    )


def _scan(edges_NKPC: Tensor, start_PC: Tensor) -> Tensor:
    """Return the (N + 1, P, C) scores of all rows.

    s[n + 1, c] = logaddexp(s[n, c] + edges[n, 0, c], s[n, c - 1] + edges[n, 1, c - 1]).
    The lattices of a row are laid end to end: the last column has no label edge, so nothing flows
    into the wall of the next lattice, and each row is one contiguous run.
    """
    if edges_NKPC.is_cuda:
        from todm.kernels.triton.scan import lattice_scan

        return lattice_scan(edges_NKPC, start_PC, columns_last=True, wraps=False)
    num_rows = edges_NKPC.shape[0]
    scores_NPC = edges_NKPC.new_full((num_rows + 1, *start_PC.shape), NEG_INF)
    scores_NPC[0] = start_PC
    flat_NX = scores_NPC.flatten(1)
    moved_KX = torch.empty_like(edges_NKPC[0]).flatten(1)
    stay_X, advance_X = moved_KX[0, 1:], moved_KX[1, :-1]
    rows = zip(
        edges_NKPC.flatten(2).unbind(0), flat_NX.unbind(0), flat_NX[1:, 1:].unbind(0), strict=False
    )
    for edge_KX, row_X, next_X in rows:
        torch.add(row_X, edge_KX, out=moved_KX)
        torch.logaddexp(stay_X, advance_X, out=next_X)
    return scores_NPC


def transducer_loss_ref(
    logits_BTUV: Float[Tensor, "B T U1 V"],
    targets_BU: Int[Tensor, "B U"],
    frame_lens_B: Int[Tensor, " B"],
    target_lens_B: Int[Tensor, " B"],
    *,
    topology: Topology = "regular",
    blank: int = 0,
    delay_penalty: float = 0.0,
) -> Float[Tensor, " B"]:
    """Compute the transducer loss by listing every alignment: slow, obvious, autograd-able.

    loss = -logsumexp over alignments of the sum of their log-probabilities; 0 where there is none.
    Source and options as `todm.losses.transducer.transducer_loss`, without FastEmit, which is a
    rule for gradients and not a loss.
    """
    losses = []
    for utt, (num_frames, num_labels) in enumerate(
        zip(frame_lens_B.tolist(), target_lens_B.tolist(), strict=True)
    ):
        logp_TUV = torch.log_softmax(logits_BTUV[utt], dim=-1)
        path_scores = []
        for path in alignments(num_frames, num_labels, topology):
            score = logp_TUV.new_zeros(())
            for t, u, is_label in path:
                symbol = int(targets_BU[utt, u]) if is_label else blank
                score = score + logp_TUV[t, u, symbol]
                if is_label:
                    score = score + delay_penalty * ((num_frames - 1) / 2 - t)
            path_scores.append(score)
        losses.append(
            -torch.logsumexp(torch.stack(path_scores), dim=0)
            if path_scores
            else logits_BTUV[utt].sum() * 0.0
        )
    return torch.stack(losses)


def alignments(
    num_frames: int, num_labels: int, topology: Topology, *, t: int = 0, u: int = 0
) -> Iterator[tuple[tuple[int, int, bool], ...]]:
    """Yield every path from node (t, u) to the end, as its edges (t, u, whether a label).

    The path is complete once all frames are consumed with all labels emitted. Source: the two
    topologies of the module's docstring, taken literally.
    """
    if t == num_frames:
        if u == num_labels:
            yield ()
        return
    for rest in alignments(num_frames, num_labels, topology, t=t + 1, u=u):
        yield ((t, u, False), *rest)
    if u < num_labels:
        next_t = t if topology == "regular" else t + 1
        for rest in alignments(num_frames, num_labels, topology, t=next_t, u=u + 1):
            yield ((t, u, True), *rest)
