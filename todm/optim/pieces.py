"""How an optimizer sees the parameters of a group: as pieces, each with a size of its own.

A piece is a parameter or a block of its rows. Pieces of large parameters are views; those of
small ones (biases, norms: most of a network's tensors, few of its weights) are gathered into one
flat tensor and updated together.

Legend: K pieces (large ones first), N elements of all small parameters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SMALL_ELEMENTS = 2048
"""Parameters up to this size are gathered: a copy costs less than the calls."""
BATCH_ELEMENTS = 1 << 20
"""Large pieces are updated together up to this size, so that they stay in the cache."""


class Piece(NamedTuple):
    """A run of elements of one of a list of flat tensors."""

    source: int
    begin: int
    end: int

    @property
    def numel(self) -> int:
        """Its elements."""
        return self.end - self.begin


class Parts(NamedTuple):
    """One tensor per parameter (weights, gradients or a moment), seen as pieces."""

    large: list[Tensor]
    """Each large piece, flat."""
    small_N: Tensor
    """All small parameters, flat."""


class Layout:
    """The pieces of a list of parameters."""

    def __init__(self, params: Sequence[Tensor], row_cuts: Sequence[Sequence[int]]) -> None:
        """Cut each parameter at its rows; without any it is one piece."""
        self._large = [i for i, p in enumerate(params) if p.numel() > SMALL_ELEMENTS]
        self._small = [i for i, p in enumerate(params) if p.numel() <= SMALL_ELEMENTS]
        self._pieces = _cut([params[i] for i in self._large], [row_cuts[i] for i in self._large])
        small = _cut([params[i] for i in self._small], [row_cuts[i] for i in self._small])
        self._small_sizes = [params[i].numel() for i in self._small]
        sizes = torch.tensor([piece.numel for piece in small], dtype=torch.int64)
        device = params[0].device
        self._segment_N = torch.repeat_interleave(sizes).to(device)
        self._num_small = len(small)
        self.numel_K = torch.tensor([p.numel for p in [*self._pieces, *small]], device=device)
        self._root_K = self.numel_K.to(params[0].dtype).sqrt()
        self.batches = _batches([piece.numel for piece in self._pieces])

    def parts(self, tensors: Sequence[Tensor]) -> Parts:
        """View the large ones as pieces and gather the small ones."""
        flats = [tensors[i].reshape(-1) for i in self._large]
        large = [flats[source][begin:end] for source, begin, end in self._pieces]
        small = [tensors[i].reshape(-1) for i in self._small]
        return Parts(large, torch.cat(small) if small else tensors[0].new_empty(0))

    def scatter(self, small_N: Tensor, tensors: Sequence[Tensor]) -> None:
        """Write gathered values back."""
        targets = [tensors[i].view(-1) for i in self._small]
        if targets:
            torch._foreach_copy_(targets, small_N.split_with_sizes(self._small_sizes))

    def norms(self, parts: Parts) -> Tensor:
        """Return the Euclidean norm of each piece."""
        small_K = self._sums(parts.small_N.square()).sqrt()
        large = torch._foreach_norm(parts.large) if parts.large else ()
        return torch.cat([_stacked(large, small_K), small_K])

    def rms(self, parts: Parts) -> Tensor:
        """Return the root of the mean square of each piece."""
        return self.norms(parts) / self._root_K

    def dots(self, parts: Parts, others: Parts) -> Tensor:
        """Return the inner product of each piece with its counterpart."""
        dots = [torch.dot(x, y) for x, y in zip(parts.large, others.large, strict=True)]
        small_K = self._sums(parts.small_N * others.small_N)
        return torch.cat([_stacked(dots, small_K), small_K])

    def spread(self, values_K: Tensor) -> tuple[list[float], Tensor]:
        """Return the values of the large pieces, and one for each gathered element."""
        num_large = len(self._pieces)
        return values_K[:num_large].tolist(), values_K[num_large:][self._segment_N]

    def _sums(self, values_N: Tensor) -> Tensor:
        """Sum each small piece."""
        return values_N.new_zeros(self._num_small).index_add_(0, self._segment_N, values_N)


def _cut(params: Sequence[Tensor], row_cuts: Sequence[Sequence[int]]) -> list[Piece]:
    pieces = []
    for index, (p, cuts) in enumerate(zip(params, row_cuts, strict=True)):
        width = p.numel() // (p.shape[0] if cuts else 1)
        ends = [*(width * cut for cut in cuts if cut < p.shape[0]), p.numel()]
        pieces += [Piece(index, a, b) for a, b in zip([0, *ends], ends, strict=False)]
    return pieces


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Put neighbouring pieces together up to ``BATCH_ELEMENTS``."""
    batches: list[list[int]] = []
    held = BATCH_ELEMENTS
    for index, size in enumerate(sizes):
        if held + size > BATCH_ELEMENTS:
            batches.append([])
            held = 0
        batches[-1].append(index)
        held += size
    return batches


def _stacked(scalars: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(scalars)) if scalars else like.new_empty(0)
