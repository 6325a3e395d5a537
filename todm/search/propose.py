"""Which subnets a search evaluates: every one, or those that NSGA-II proposes.

NSGA-II (Deb et al. 2002) by Optuna, over the genome of ``SearchSpace.choices``. It starts from
uniform nets along the diagonal of the space. Proposals depend on the seed and on the values alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

from todm.core.errors import MissingExtraError
from todm.core.rng import derive_seed
from todm.core.search_config import SearchConfig
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec

Values = Callable[[SubnetSpec], tuple[float, float]]
ASKS_PER_TRIAL = 6
"""NSGA-II repeats itself in small spaces; it may ask so many times for each different net."""


def starts(space: SearchSpace, limit: int) -> list[SubnetSpec]:
    """Return the nets to begin with: the three named ones, then uniform ones of every depth.

    The uniform nets of a depth are narrow, medium and wide in all axes at once.
    """
    found = dict.fromkeys(space.named().values())
    for share in (0.0, 0.5, 1.0):
        for depth in space.depths:
            widths = (space.ffn_dims, space.heads, space.state_dims, space.joiner_dims)
            picked = (values[round(share * (len(values) - 1))] for values in widths)
            found[space.uniform(depth, *picked)] = None
    return list(found)[: max(limit, len(space.named()))]


def proposals(space: SearchSpace, config: SearchConfig, values: Values) -> Iterator[SubnetSpec]:
    """Yield ``config.trials`` different subnets (fewer if the space has fewer).

    ``values`` is asked for each subnet after it was yielded.
    """
    if space.count() <= config.trials:
        yield from space.every()
    else:
        yield from _evolve(space, config, values)


def _evolve(space: SearchSpace, config: SearchConfig, values: Values) -> Iterator[SubnetSpec]:
    optuna = _import_optuna()
    sampler = optuna.samplers.NSGAIISampler(
        population_size=config.population,
        seed=derive_seed(config.seed, "search") % 2**32,
    )
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for spec in starts(space, config.population):
        study.enqueue_trial(space.encode(spec))
    seen: set[SubnetSpec] = set()
    for _ in range(ASKS_PER_TRIAL * config.trials):
        trial = study.ask()
        genome = {
            name: int(trial.suggest_categorical(name, list(allowed)))
            for name, allowed in space.choices().items()
        }
        spec = space.decode(genome)
        if spec not in seen:
            seen.add(spec)
            yield spec
        study.tell(trial, values(spec))
        if len(seen) == config.trials:
            return


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("optuna", extra="train") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
