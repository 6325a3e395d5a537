"""The sandwich rule: which nets a step trains (Yu and Huang 2019; AlphaNet, Wang et al. 2021).

The largest net comes first (task loss; its outputs teach the others), then the smallest, then
random ones. All look equally far ahead; a space with several lookaheads has one drawn for each
step. What makes it cheaper is a value of the configuration: the largest net alone first, smaller
nets on every k-th step, on a part of the batch, one of them instead of two. All draws depend on
(seed, step) alone.
"""

import math
import random
from collections.abc import Iterator, Sequence

from todm.core.config import SandwichConfig, SupernetConfig
from todm.core.cost_training import TrainingShape
from todm.core.ledger import LARGEST, TrainedNet, TrainingLedger
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec


def first_step(config: SandwichConfig, total_steps: int) -> int:
    """Return the first step that trains smaller nets."""
    return math.ceil(config.start_fraction * total_steps)


def nets_of_step(
    space: SearchSpace, config: SandwichConfig, *, seed: int, step: int, total_steps: int
) -> Sequence[tuple[str, SubnetSpec]]:
    """Return the nets of a step by name, the largest first."""
    ahead = random.Random(derive_seed(seed, "lookahead", step)).choice(space.lookaheads)
    nets = [(LARGEST, space.at(space.largest, ahead))]
    since = step - first_step(config, total_steps)
    if since < 0 or since % config.every:
        return nets
    coin = random.Random(derive_seed(seed, "smallest", step)).random()
    smallest = coin < config.smallest
    if smallest:
        nets.append(("smallest", space.at(space.smallest, ahead)))
    generator = random.Random(derive_seed(seed, "sandwich", step))
    drawn = [space.at(space.sample(generator), ahead) for _ in range(config.num_random)]
    named = [(f"random{i}", spec) for i, spec in enumerate(drawn)]
    return nets + named[int(smallest and config.smallest_replaces) :]


def rows_of_net(
    config: SandwichConfig, num_rows: int, *, seed: int, step: int, name: str
) -> list[int] | None:
    """Return the utterances of a batch that a net trains on, ascending; None means all."""
    count = max(1, round(config.batch_fraction * num_rows))
    if name == LARGEST or count == num_rows:
        return None
    generator = random.Random(derive_seed(seed, "rows", step, name))
    return sorted(generator.sample(range(num_rows), count))


def planned_ledger(config: SupernetConfig, shapes: Iterator[TrainingShape]) -> TrainingLedger:
    """Return what a training will take, given the shape of each step's batch.

    Without the lengths of the utterances every one is taken for as long as the batch's longest.
    """
    ledger, total = TrainingLedger(), config.schedule.steps
    for step, shape in zip(range(total), shapes, strict=False):
        nets = nets_of_step(
            config.space, config.sandwich, seed=config.seed, step=step, total_steps=total
        )
        trained = []
        for name, spec in nets:
            rows = rows_of_net(config.sandwich, shape.batch, seed=config.seed, step=step, name=name)
            part = shape if rows is None else shape.model_copy(update={"batch": len(rows)})
            frames = part.batch * part.frames
            part = part.in_form(config.loss, largest=name == LARGEST)
            trained.append(TrainedNet(name, spec, part, frames))
        ledger = ledger.after_step(trained, config.distill.mode)
    return ledger
