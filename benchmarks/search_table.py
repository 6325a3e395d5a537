"""Every subnet of a small space, evaluated once: the table that searches are judged on.

Clean digit strings give a good supernet a handful of different WERs, and a front of a few points
judges nothing. So each dev utterance is heard several times, each time in white noise at another
drawn level: more words, more errors, more different WERs.

S samples at 16 kHz.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from todm.core.front import FrontPoint
from todm.core.rng import derive_seed
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.core.value import Value
from todm.data.loader import load_samples
from todm.data.manifest import Corpus
from todm.features.fbank import fbank
from todm.models.rnnt import Transducer
from todm.models.scoring import (
    Sample,
    Scores,
    ScoringSet,
    encoded,
    score_encoded,
    scoring_set,
)
from todm.models.store import Supernet
from todm.search.objectives import EvaluationLog


class Hearing(Value):
    """What the table's figures are measured on."""

    copies: int = 3
    """How often each dev utterance is heard."""
    snr_db: tuple[float, float] = (40.0, 55.0)
    """Range of the noise's level, drawn for each copy."""
    seed: int = 0


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


def ffn_space(space: SearchSpace) -> SearchSpace:
    """Return the part of a supernet's space in which depth and each layer's FFN vary.

    FFN widths are the least, the middle and the largest; all other axes are the largest net's.
    """
    middle = space.ffn_dims[len(space.ffn_dims) // 2 - 1]
    ends = {name: getattr(space, name)[-1:] for name in ("heads", "state_dims", "joiner_dims")}
    ffn_dims = tuple(sorted({space.ffn_dims[0], middle, space.ffn_dims[-1]}))
    return space.model_copy(update={**ends, "ffn_dims": ffn_dims})


class UniformSpace(SearchSpace):
    """The nets whose layers are all alike: five decisions, every axis of the whole space."""

    def choices(self) -> dict[str, tuple[int, ...]]:
        """Return every decision by name."""
        return {
            "depth": self.depths,
            "ffn": self.ffn_dims,
            "heads": self.heads,
            "state": self.state_dims,
            "joiner": self.joiner_dims,
        }

    def decode(self, genome: dict[str, int]) -> SubnetSpec:
        """Return the net that a genome names."""
        return self.uniform(*(genome[name] for name in self.choices()))

    def encode(self, spec: SubnetSpec) -> dict[str, int]:
        """Return the genome of a net whose layers are alike."""
        first = spec.blocks[0]
        return {
            "depth": len(spec.blocks),
            "ffn": first.ffn_dim,
            "heads": first.mixer.num_heads,
            "state": first.mixer.state_dim,
            "joiner": spec.joiner_dim,
        }

    def count(self) -> int:
        """Return how many nets there are."""
        return math.prod(map(len, self.choices().values()))

    def every(self) -> Iterator[SubnetSpec]:
        """Yield every net."""
        for values in itertools.product(*self.choices().values()):
            yield self.uniform(*values)


def noisy_samples(corpus: Corpus, hearing: Hearing) -> list[Sample]:
    """Return the dev utterances as they are heard in noise."""
    found = []
    for utterance in corpus.cuts("dev"):
        clean_S = load_samples(utterance)
        for copy in range(hearing.copies):
            rng = np.random.default_rng(derive_seed(hearing.seed, utterance.id, copy))
            noise_S = rng.standard_normal(clean_S.size)
            power = float(np.square(clean_S, dtype=np.float64).mean())
            level = np.sqrt(power / 10 ** (rng.uniform(*hearing.snr_db) / 10))
            heard_S = np.clip(clean_S + level * noise_S, -1.0, 1.0).astype(np.float32)
            features_TF = torch.from_numpy(fbank(heard_S))
            found.append(Sample(features_TF, utterance.tokens, utterance.text))
    return found


def heard_set(supernet: Supernet, corpus: Corpus, hearing: Hearing) -> ScoringSet:
    """Return what every subnet is scored on."""
    samples = noisy_samples(corpus, hearing)
    topology = supernet.config.loss.topology
    return scoring_set(supernet.model, samples, supernet.table, topology=topology)


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
