"""Adaptive dropout: the rate follows the size of the net that runs.

Small nets underfit and large ones overfit, so the rate grows from zero at the smallest size to
``rate`` at the largest (the idea is Shangguan et al. 2023, arXiv 2309.01947; the linear formula
is ours):

    p(size) = rate * (size - least) / (most - least)

with the width of each layer as its size, or the MACs of the whole net as that of all its layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from todm.core.config import DropoutConfig
from todm.core.cost import chunk_macs
from todm.core.shard import Shard
from todm.core.space import SearchSpace
from todm.core.specs import BlockSpec, SubnetSpec


@dataclass(frozen=True, kw_only=True)
class DropoutPlan:
    """Rates by width, with the generator that draws the masks."""

    config: DropoutConfig
    ffn_range: tuple[int, int]
    mixer_range: tuple[int, int]
    net_share: float
    """Where the whole net's MACs lie between those of the smallest (0) and largest net (1)."""
    generator: torch.Generator
    shard: Shard | None = None
    """Which rows of the global batch x holds: masks are drawn for the whole one."""

    def ffn_rate(self, block: BlockSpec) -> float:
        """Return the rate after the FFN's activation."""
        return self._rate(block.ffn_dim, self.ffn_range)

    def mixer_rate(self, block: BlockSpec) -> float:
        """Return the rate after the mixer's activation."""
        return self._rate(block.mixer.width, self.mixer_range)

    def _rate(self, width: int, limits: tuple[int, int]) -> float:
        if self.config.mode == "none":
            return 0.0
        low, high = limits
        if self.config.mode == "fixed" or low == high:
            return self.config.rate
        if self.config.adaptive_by == "macs":
            return self.config.rate * self.net_share
        return self.config.rate * (width - low) / (high - low)

    def drop(self, x_BTC: Tensor, rate: float) -> Tensor:
        """Zero each channel of an utterance with probability ``rate``, scale the rest up.

        The mask of x (B, T, C) is shared by the frames of an utterance (Gal and Ghahramani 2016,
        arXiv 1512.05287), which also costs a T-th of drawing one for every element.
        """
        if rate <= 0.0:
            return x_BTC
        rows = x_BTC.shape[0] if self.shard is None else self.shard.total
        keep_B1C = x_BTC.new_empty(rows, 1, x_BTC.shape[2]).bernoulli_(
            1.0 - rate, generator=self.generator
        )
        if self.shard is not None:
            keep_B1C = keep_B1C[self.shard.rank :: self.shard.world]
        return x_BTC * keep_B1C.mul_(1.0 / (1.0 - rate))


def dropout_plan(
    config: DropoutConfig,
    space: SearchSpace,
    spec: SubnetSpec,
    generator: torch.Generator,
    shard: Shard | None = None,
) -> DropoutPlan:
    """Return the plan of one net of a training step (of one process's share of its batch)."""
    low, high, macs = (chunk_macs(net).total for net in (space.smallest, space.largest, spec))
    return DropoutPlan(
        config=config,
        ffn_range=(space.ffn_dims[0], space.ffn_dims[-1]),
        mixer_range=(space.smallest.blocks[0].mixer.width, space.largest.blocks[0].mixer.width),
        net_share=(macs - low) / (high - low) if high > low else 1.0,
        generator=generator,
        shard=shard,
    )
