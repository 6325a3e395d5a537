"""The sandwich rule: which nets a step trains (Yu and Huang 2019; AlphaNet, Wang et al. 2021).

The largest net comes first (task loss; its outputs teach the others), then the smallest, then
random ones. All look equally far ahead; a space with several lookaheads has one drawn for each
step. The draws depend on (seed, step) alone.
"""

import random
from collections.abc import Sequence

from todm.core.config import SandwichConfig
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec


def nets_of_step(
    space: SearchSpace, config: SandwichConfig, *, seed: int, step: int, total_steps: int
) -> Sequence[tuple[str, SubnetSpec]]:
    """Return the nets of a step by name, the largest first."""
    ahead = random.Random(derive_seed(seed, "lookahead", step)).choice(space.lookaheads)
    nets = [("largest", space.at(space.largest, ahead))]
    if step < config.start_fraction * total_steps:
        return nets
    if config.smallest:
        nets.append(("smallest", space.at(space.smallest, ahead)))
    generator = random.Random(derive_seed(seed, "sandwich", step))
    drawn = [space.sample(generator) for _ in range(config.num_random)]
    return nets + [(f"random{i}", space.at(spec, ahead)) for i, spec in enumerate(drawn)]
