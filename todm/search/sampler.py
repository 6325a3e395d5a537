"""Which subnet comes next: fixed starts, then NSGA-II (Deb et al. 2002) by Optuna.

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

from todm.core.rng import derive_seed
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec

REDRAWS = 64
"""Children that NSGA-II may draw for a net that is new; then any new one does."""


def starts(space: SearchSpace, limit: int) -> list[SubnetSpec]:
    """Return the nets to begin with: the three named ones, then uniform ones of every depth.

    The uniform nets of a depth are narrow, medium and wide in all axes at once.
    """
    found = dict.fromkeys(space.named().values())
    for share in (0.0, 0.5, 1.0):
        for depth in space.depths:
            widths = (*space.layer_axes.values(), space.joiner_dims)
            picked = (values[round(share * (len(values) - 1))] for values in widths)
            found[space.uniform(depth, *picked)] = None
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
        for _ in range(REDRAWS):
            genome = self._child(study, own, search_space)
            if self._space.decode(genome) not in taken:
                return genome
        new = next((spec for spec in self._space.every() if spec not in taken), None)
        return genome if new is None else self._space.encode(new)

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
