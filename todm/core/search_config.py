"""The configuration of a search over the subnets of a supernet."""

from pydantic import Field

from todm.core.data_config import Split
from todm.core.value import Value


class SearchConfig(Value):
    """How many subnets a search evaluates, which first, and on what."""

    trials: int = Field(default=64, ge=1)
    """Different subnets to evaluate; a space with no more than that is evaluated whole."""
    population: int = Field(default=16, ge=2)
    """Population of NSGA-II; up to as many uniform nets start the search."""
    seed: int = 0
    eval_utterances: int = Field(default=100, ge=1)
    """At most so many, spread evenly over the split."""
    split: Split = "dev"
