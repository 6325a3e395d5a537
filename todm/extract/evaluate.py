"""Which evaluated subnet is preferred, and neighbours of those that fit."""

import math
import random
from collections.abc import Callable, Sequence

from todm.core.front import FrontPoint
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.models.rnnt import Transducer
from todm.models.scoring import ScoringSet, score

TIE_STANDARD_ERRORS = 1.0
"""WERs closer to the best one than so many of its standard errors count as equal; 0 is strict."""
ENOUGH_POINTS = 8
"""With fewer subnets that fit, their neighbours are evaluated too."""
MAX_NEIGHBOURS = 12
"""Neighbours evaluated at most."""
DRAWS_PER_NEIGHBOUR = 50
MUTATION_RATE = 0.15


def standard_error(wer: float, words: int) -> float:
    """Return the binomial standard error of a WER in percent; of one error where there is none."""
    rate = min(max(wer / 100.0, 1.0 / words), 1.0)
    return 100.0 * math.sqrt(rate * (1.0 - rate) / words)


def by_preference(points: Sequence[FrontPoint], words: int) -> list[FrontPoint]:
    """Order points, best first: lowest WER; among equals the most that the device affords.

    The best of many WERs is partly luck: those within a standard error of the lowest count as
    equal: the dev split cannot tell them apart. Among them the net with the most MACs comes
    first, as the budgets already say what may be spent. The NLL is no judge: it prefers small
    nets, whose posteriors are flatter (docs/log.md, which also says what this rule was seen on).
    """
    if not points:
        return []
    lowest = min(point.wer for point in points)
    bar = lowest + TIE_STANDARD_ERRORS * standard_error(lowest, words)
    tied = sorted(
        (p for p in points if p.wer <= bar), key=lambda p: (-p.macs_per_audio_s, p.quality)
    )
    rest = sorted((p for p in points if p.wer > bar), key=lambda p: p.quality)
    return tied + rest


def neighbours(
    space: SearchSpace,
    parents: Sequence[SubnetSpec],
    accept: Callable[[SubnetSpec], bool],
    seed: int,
) -> list[SubnetSpec]:
    """Return up to ``MAX_NEIGHBOURS`` mutants of the parents that are new and accepted."""
    generator = random.Random(derive_seed(seed, "extract-neighbours"))
    known, found = set(parents), []
    for _ in range(DRAWS_PER_NEIGHBOUR * MAX_NEIGHBOURS):
        mutant = space.mutate(generator.choice(parents), generator, MUTATION_RATE)
        if mutant not in known and accept(mutant):
            known.add(mutant)
            found.append(mutant)
            if len(found) == MAX_NEIGHBOURS:
                break
    return found


def evaluate_points(
    model: Transducer, specs: Sequence[SubnetSpec], data: ScoringSet
) -> list[FrontPoint]:
    """Evaluate subnets of a supernet as the search does."""
    points = []
    for spec in specs:
        scores = score(model, spec, data)
        points.append(FrontPoint.of(spec, wer=scores.wer, nll=scores.nll))
    return points
