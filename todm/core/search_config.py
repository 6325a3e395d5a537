"""The configuration of a search over the subnets of a supernet."""

from pydantic import Field

from todm.core.data_config import Split
from todm.core.value import Value


class SearchConfig(Value):
    """How many subnets a search evaluates, which first, on what, and with whom."""

    trials: int = Field(default=64, ge=1)
    """Different subnets to evaluate; a space with no more than that is evaluated whole."""
    population: int = Field(default=16, ge=2)
    """Population of NSGA-II; up to as many uniform nets start the search."""
    preselect: int = Field(default=8, ge=1)
    """Children that NSGA-II draws for each that is evaluated: the one that a cheap model of the
    evaluated nets expects most of. 1 is NSGA-II alone."""
    seed: int = 0
    eval_utterances: int = Field(default=100, ge=1)
    """At most so many, spread evenly over the split."""
    split: Split = "dev"
    storage: str | None = None
    """Where several processes or machines share the search: a file that all of them reach (an
    Optuna journal) or a database URL (``postgresql://...``). None searches alone."""
    abandoned_after_s: float = Field(default=600.0, gt=0.0)
    """A net that a sharing process has not finished by then is free for the others, so let it be
    longer than the slowest evaluation; the nets of a process that ended on the same machine are
    free at once."""
