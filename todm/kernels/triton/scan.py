"""The transducer's recursion over the rows of many lattices in one launch.

One program walks one lattice: its scores stay in registers, and only what crosses to the next
column goes through memory. The loop of `kernels.transducer` and `kernels.pruning` launches three
kernels a row instead.

Legend: N rows, K = 2 (0: blank, 1: label), P lattices, C columns.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _scan_kernel(  # noqa: PLR0913, PLR0917 - a kernel takes its strides one by one
    edges: Any,
    start: Any,
    scores: Any,
    num_rows: Any,
    num_columns: Any,
    kind_stride: Any,
    lattice_stride: Any,
    column_stride: Any,
    WRAPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Rows of edges are 2 * kind_stride apart, rows of scores kind_stride."""
    column = tl.arange(0, BLOCK)
    inside = column < num_columns
    before = column - 1
    if WRAPS:
        before = tl.where(column == 0, num_columns - 1, before)
    comes = inside & (before >= 0)
    place = tl.program_id(0) * lattice_stride + column * column_stride
    place_before = tl.program_id(0) * lattice_stride + before * column_stride
    at = tl.load(start + place, mask=inside, other=float("-inf"))
    tl.store(scores + place, at, mask=inside)
    for _ in range(num_rows):
        tl.debug_barrier()  # the row is written before its neighbours read it
        neighbour = tl.load(scores + place_before, mask=comes, other=float("-inf"))
        blank = tl.load(edges + place, mask=inside, other=float("-inf"))
        label = tl.load(edges + kind_stride + place_before, mask=comes, other=float("-inf"))
        stay, advance = at + blank, neighbour + label
        top, low = tl.maximum(stay, advance), tl.minimum(stay, advance)
        at = tl.where(top == float("-inf"), top, top + tl.log(1.0 + tl.exp(low - top)))
        edges += 2 * kind_stride
        scores += kind_stride
        tl.store(scores + place, at, mask=inside)


def lattice_scan(
    edges_NKXX: Tensor, start_XX: Tensor, *, columns_last: bool, wraps: bool
) -> Tensor:
    """Return the scores of all rows, (N + 1, ...) with the axes of ``start_XX``.

    s[n + 1, c] = logaddexp(s[n, c] + edges[n, 0, c], s[n, c - 1] + edges[n, 1, c - 1])

    Args:
        edges_NKXX: log-weights by the column that they leave from: (N, 2, P, C) with
            ``columns_last``, else (N, 2, C, P).
        start_XX: row 0.
        columns_last: whether the columns are the last axis.
        wraps: whether column 0 follows the last one; otherwise nothing enters it.
    """
    edges_NKXX, start_XX = edges_NKXX.contiguous(), start_XX.contiguous()
    outer, inner = start_XX.shape
    num_columns, num_lattices = (inner, outer) if columns_last else (outer, inner)
    scores_NXX = start_XX.new_empty(edges_NKXX.shape[0] + 1, outer, inner)
    block = triton.next_power_of_2(num_columns)
    _scan_kernel[(num_lattices,)](
        edges_NKXX,
        start_XX,
        scores_NXX,
        edges_NKXX.shape[0],
        num_columns,
        outer * inner,
        num_columns if columns_last else 1,
        1 if columns_last else num_lattices,
        WRAPS=wraps,
        BLOCK=block,
        num_warps=max(1, min(8, block // 32)),
    )
    return scores_NXX
