"""Every subnet of a small space, evaluated once: the table that searches are judged on."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from todm.core.front import FrontPoint
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.models.rnnt import Transducer
from todm.models.scoring import Scores, ScoringSet, encoded, score_encoded
from todm.models.store import Supernet
from todm.search.objectives import EvaluationLog


@dataclass(frozen=True)
class Table:
    """A space and the scores of every net in it, in the order of ``SearchSpace.every``."""

    space: SearchSpace
    points: tuple[FrontPoint, ...]
    words: int

    @property
    def scores(self) -> dict[SubnetSpec, Scores]:
        """What a search looks up."""
        return {p.spec: Scores(p.wer, p.nll, self.words) for p in self.points}


class UniformSpace(SearchSpace):
    """The nets whose layers are all alike: five decisions, every axis of the whole space."""

    def choices(self) -> dict[str, tuple[int, ...]]:
        """Return every decision by name."""
        return {"depth": self.depths, **self.layer_axes, "joiner": self.joiner_dims}

    def decode(self, genome: dict[str, int]) -> SubnetSpec:
        """Return the net that a genome names."""
        return self.uniform(*(genome[name] for name in self.choices()))

    def encode(self, spec: SubnetSpec) -> dict[str, int]:
        """Return the genome of a net whose layers are alike."""
        first = spec.blocks[0]
        widths = {"ffn": first.ffn_dim, **first.mixer.axes()}
        return {"depth": len(spec.blocks), **widths, "joiner": spec.joiner_dim}

    def count(self) -> int:
        """Return how many nets there are."""
        return math.prod(map(len, self.choices().values()))

    def every(self) -> Iterator[SubnetSpec]:
        """Yield every net."""
        for values in itertools.product(*self.choices().values()):
            yield self.uniform(*values)


def enumerate_space(
    space: SearchSpace, supernet: Supernet, data: ScoringSet, log: EvaluationLog
) -> Table:
    """Score every net, taking from the log what an earlier run has scored.

    Nets that differ in the joiner alone share one pass of the encoder.
    """
    nets = sorted(space.every(), key=lambda spec: tuple(map(repr, spec.blocks)))
    found: dict[SubnetSpec, Scores] = {}
    with tqdm(total=len(nets), unit="net") as bar:
        for _, group in itertools.groupby(nets, key=lambda spec: spec.blocks):
            found |= _score_group(list(group), supernet.model, data, log)
            bar.update(len(found) - bar.n)
    points = tuple(
        FrontPoint.of(spec, wer=found[spec].wer, nll=found[spec].nll) for spec in space.every()
    )
    return Table(space, points, next(iter(found.values())).words)


def _score_group(
    nets: Sequence[SubnetSpec], model: Transducer, data: ScoringSet, log: EvaluationLog
) -> dict[SubnetSpec, Scores]:
    """Score nets whose encoders are the same."""
    known = {spec: log.get(spec) for spec in nets}
    found = {spec: scores for spec, scores in known.items() if scores is not None}
    if len(found) < len(nets):
        shared = encoded(model, nets[0], data)
        for spec in nets:
            if spec not in found:
                found[spec] = score_encoded(model, spec, data, shared)
                log.put(spec, found[spec])
    return found
