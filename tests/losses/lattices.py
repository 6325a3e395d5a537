"""Small lattices, and slow ways to price them, for the tests of the transducer losses."""

from typing import Any

import torch
from torch import Tensor

from todm.kernels.transducer import Topology, alignments

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 normal values that want a gradient."""
    g = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(shape, generator=g, dtype=torch.float64)).requires_grad_()


def draw_targets(target_lens: list[int], num_symbols: int, seed: int = 0) -> Tensor:
    """Return padded labels, never 0."""
    g = torch.Generator().manual_seed(seed + 1)
    return torch.randint(1, num_symbols, (len(target_lens), max(target_lens)), generator=g)


def enumerated_loss(
    edges: list[tuple[Tensor, Tensor]],
    frame_lens: list[int],
    target_lens: list[int],
    topology: Topology,
    kept: list[list[range]] | None = None,
) -> Tensor:
    """Sum over all alignments of (blank, label) log-weights, (T, U) each, of every utterance.

    With ``kept`` only paths through kept nodes count.
    """
    losses = []
    for utt, (blank_TU, label_TU) in enumerate(edges):
        frames, labels = frame_lens[utt], target_lens[utt]
        scores = []
        for path in alignments(frames, labels, topology):
            if kept and not all(u in kept[utt][t] for t, u, _ in path):
                continue
            weights = [(label_TU if is_label else blank_TU)[t, u] for t, u, is_label in path]
            scores.append(torch.stack(weights).sum())
        none = blank_TU.sum() * 0.0
        losses.append(-torch.logsumexp(torch.stack(scores), 0) if scores else none)
    return torch.stack(losses)
