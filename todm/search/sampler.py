"""Which subnet comes next: fixed starts, then NSGA-II (Deb et al. 2002) by Optuna, preselected.

A genome is a value for each of ``SearchSpace.choices``. No net is proposed that is evaluated or
being evaluated. A proposal depends on the seed, the trial's number and the values of the trials
before it alone, so that workers who share a study draw apart from each other.
"""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from todm.core.cost import macs_per_audio_s
from todm.core.rng import derive_seed
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.search.preselect import Surrogate

REDRAWS = 64
"""Children that NSGA-II may draw for a net that is new; then any new one does."""


def starts(space: SearchSpace, limit: int) -> list[SubnetSpec]:
    """Return the nets to begin with: the three named ones, then the axes one by one.

    Those are the largest net with one axis at its least, and the smallest with one at its most:
    they show what each axis costs and gives.
    """
    axes = (space.depths, *space.layer_axes.values(), space.joiner_dims)
    least, most = ([values[end] for values in axes] for end in (0, -1))
    found = dict.fromkeys(space.named().values())
    for axis in range(len(axes)):
        for base, other in ((most, least), (least, most)):
            picked = [*base[:axis], other[axis], *base[axis + 1 :]]
            found[space.uniform(*picked)] = None
    return list(found)[: max(limit, len(space.named()))]


class GenomeSampler(BaseSampler):
    """Proposes genomes of nets that are new to the study.

    The starts are members of the first generation: they are parents of the next like any other.
    A space with no more nets than trials are wanted is proposed net by net.
    """

    def __init__(self, space: SearchSpace, config: SearchConfig) -> None:
        self._space, self._config = space, config
        whole = space.count() <= config.trials
        self._queue = list(space.every()) if whole else starts(space, config.population)
        self._specs: dict[int, SubnetSpec] = {}
        self._nsga = self._nsga_of(0)

    def _nsga_of(self, number: int) -> NSGAIISampler:
        """Return NSGA-II with the generators of a trial."""
        seed = derive_seed(self._config.seed, "search", number) % 2**32
        return NSGAIISampler(population_size=self._config.population, seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:  # noqa: ARG002 - Optuna's
        """Begin the draws of a trial."""
        self._nsga = self._nsga_of(trial.number)

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002 - Optuna's signature
        trial: FrozenTrial,  # noqa: ARG002 - Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return every decision that has a choice; Optuna fills in the others."""
        return {
            name: CategoricalDistribution(values)
            for name, values in self._space.choices().items()
            if len(values) > 1
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a new net's genome."""
        self._nsga.get_trial_generation(study, trial)
        own = study.get_trials(deepcopy=False)[trial.number]  # knows its generation now
        taken = self._taken(study, own)
        spec = self._queued(own.number, taken)
        if spec is not None:
            return self._space.encode(spec)
        children = self._children(study, own, search_space, taken)
        return self._preselected(study, children)

    def _children(
        self,
        study: Study,
        own: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        taken: set[SubnetSpec],
    ) -> list[SubnetSpec]:
        """Return up to ``config.preselect`` new nets that NSGA-II draws; where it draws none, one.

        The first generation has no parents: its nets are drawn at random.
        """
        found: dict[SubnetSpec, None] = {}
        for _ in range(REDRAWS):
            spec = self._space.decode(self._child(study, own, search_space))
            if spec not in taken:
                found[spec] = None
                if len(found) == self._config.preselect:
                    break
        if not found:
            every = self._space.every()
            found[next((new for new in every if new not in taken), spec)] = None
        return list(found)

    def _preselected(self, study: Study, children: list[SubnetSpec]) -> dict[str, int]:
        """Return the genome of the child that a model of the evaluated nets expects most of."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        genomes = [self._space.encode(child) for child in children]
        if len(children) == 1 or not done:
            return genomes[0]
        known = [
            (self._space.encode(spec), (trial.values[0], trial.values[1]))
            for trial in done
            if (spec := self.spec_of(trial)) is not None
        ]
        model = Surrogate(self._space.choices(), *zip(*known, strict=True))
        gains = [
            model.gain(genome, macs_per_audio_s(child))
            for genome, child in zip(genomes, children, strict=True)
        ]
        return genomes[gains.index(max(gains))]

    def _child(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what NSGA-II inherits, the rest (mutations, first generation) at random."""
        inherited = self._nsga.sample_relative(study, trial, search_space)
        drawn = {
            name: self._nsga.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
            if name not in inherited
        }
        fixed = {k: v[0] for k, v in self._space.choices().items() if len(v) == 1}
        return {**inherited, **drawn, **fixed}

    def _queued(self, number: int, taken: set[SubnetSpec]) -> SubnetSpec | None:
        """Return a net of the queue that nobody has; its place first, so that workers differ."""
        if number < len(self._queue) and self._queue[number] not in taken:
            return self._queue[number]
        left = [spec for spec in self._queue if spec not in taken]
        return left[number % len(left)] if left else None

    def _taken(self, study: Study, own: FrozenTrial) -> set[SubnetSpec]:
        """Return the nets that are evaluated, or another worker's."""
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        found = set()
        for trial in study.get_trials(deepcopy=False, states=states):
            if trial.number != own.number:
                spec = self.spec_of(trial)
                if spec is None and trial.number < len(self._queue):
                    spec = self._queue[trial.number]  # what it is about to say
                found.add(spec)
        return {spec for spec in found if spec is not None}

    def spec_of(self, trial: FrozenTrial) -> SubnetSpec | None:
        """Return a trial's net; None while its genome is incomplete."""
        if trial.number not in self._specs:
            if set(trial.params) != set(self._space.choices()):
                return None
            self._specs[trial.number] = self._space.decode(trial.params)
        return self._specs[trial.number]

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a decision at random."""
        return self._nsga.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let NSGA-II take note."""
        self._nsga.after_trial(study, trial, state, values)
