"""What the supernet is compared on: corpora, sizes, rates; and the configuration of every run.

A plan is a TOML file of ``configs/supernet_vs_single/``. A run's whole ``SupernetConfig`` follows
from it, so that ``todm train-supernet --config`` replays any of them. A twin is a supernet whose
space holds one net: the same architecture with fresh weights, everything else as in the supernet's
training, without sandwich and distillation.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from pydantic import Field, model_validator

from todm import __version__
from todm.core.config import DropoutConfig, SandwichConfig, SupernetConfig
from todm.core.cost import macs_per_audio_s
from todm.core.data_config import PrepareConfig
from todm.core.errors import ConfigError
from todm.core.overrides import apply_overrides
from todm.core.space import SearchSpace
from todm.core.specs import SubnetSpec
from todm.core.value import Value
from todm.data.manifest import Corpus
from todm.layers.dropout import dropout_plan
from todm.recipes import recipe

PLANS = Path(__file__).parent / "configs" / "supernet_vs_single"
SUPERNET = "supernet"


class SizeConfig(Value):
    """A net whose layers are alike, as the arguments of ``SearchSpace.uniform``."""

    depth: int
    ffn_dim: int
    num_heads: int
    state_dim: int
    joiner_dim: int


class SetPlan(Value):
    """One corpus and all that is trained on it."""

    title: str
    """The test speech in words."""
    prepare: PrepareConfig
    recipe: str
    overrides: tuple[str, ...] = ()
    """Dotted overrides of the recipe, for every training."""
    supernet_overrides: tuple[str, ...] = ()
    """Of the supernet's training alone, such as its sandwich."""
    lrs: tuple[float, ...] = Field(min_length=1)
    """Rates to choose from on dev, each net for itself."""
    sizes: dict[str, SizeConfig]
    """By name, the largest net first."""

    @model_validator(mode="after")
    def _no_size_is_the_supernet(self) -> "SetPlan":
        if len(self.sizes) < 2 or SUPERNET in self.sizes:
            raise ValueError(f"sizes must name at least two nets, none of them {SUPERNET!r}")
        return self


def plan_names() -> tuple[str, ...]:
    """Return the sets that have a committed plan."""
    return tuple(sorted(path.stem for path in PLANS.glob("*.toml")))


def read_plan(path: Path) -> SetPlan:
    """Read a plan.

    Raises:
        ConfigError: no such file, not TOML, or a wrong key.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as a plan ({error})") from error
    return SetPlan.parse(data, where=str(path))


@dataclass(frozen=True)
class Run:
    """One training."""

    set_name: str
    net: str
    """``supernet``, or the size that a twin is of."""
    config: SupernetConfig
    specs: Mapping[str, SubnetSpec]
    """What is scored of it, by size."""
    key: str
    """Of configuration, corpus and version: another key is another training."""

    @property
    def name(self) -> str:
        """Folder of the run, and its name in progress lines."""
        lr, seed = self.config.optim.lr, self.config.seed
        return f"{self.set_name}-{self.net}-lr{lr:g}-seed{seed}-{self.key[:10]}"


@dataclass(frozen=True)
class TwinSet:
    """A plan on its prepared corpus: all runs that there may be."""

    name: str
    plan: SetPlan
    corpus: Corpus
    seeds: tuple[int, ...]
    """The rates are compared at the first."""
    steps: int | None = None
    """Updates of every training; None leaves the plan's."""

    @property
    def nets(self) -> tuple[str, ...]:
        """All that is trained, the supernet first."""
        return (SUPERNET, *self.plan.sizes)

    @cached_property
    def base(self) -> SupernetConfig:
        """What supernet and twins share, on one thread of the CPU."""
        common = ["run.threads=1", "run.accelerator=cpu"]
        steps = [] if self.steps is None else [f"schedule.steps={self.steps}"]
        found = recipe(self.plan.recipe, self.corpus.table.size)
        return apply_overrides(found, [*self.plan.overrides, *common, *steps])

    @cached_property
    def specs(self) -> Mapping[str, SubnetSpec]:
        """The sizes as nets of the supernet.

        Raises:
            ConfigError: one is not in the recipe's space, or the first is not its largest.
        """
        space = self.base.space
        found = {
            n: space.uniform(*size.model_dump().values()) for n, size in self.plan.sizes.items()
        }
        outside = [name for name, spec in found.items() if not space.contains(spec)]
        if outside or next(iter(found.values())) != space.largest:
            wrong = ", ".join(outside) or "the first size"
            raise ConfigError(f"{self.name}: {wrong} does not fit the space of {self.plan.recipe}")
        return found

    def config(self, net: str, lr: float, seed: int) -> SupernetConfig:
        """Return the whole configuration of a training.

        Raises:
            ConfigError: the supernet's overrides reach what the twins share.
        """
        own = [f"optim.lr={lr}", f"seed={seed}"]
        if net == SUPERNET:
            found = apply_overrides(self.base, [*self.plan.supernet_overrides, *own])
            for part in ("data", "loss", "schedule"):
                if getattr(found, part) != getattr(self.base, part):
                    raise ConfigError(
                        f"{self.name}: supernet_overrides change {part}, which the twins share; "
                        "move that to overrides"
                    )
            return found
        return apply_overrides(twin_config(self.base, self.specs[net]), own)

    def run(self, net: str, lr: float, seed: int) -> Run:
        """Return a training."""
        config = self.config(net, lr, seed)
        specs = self.specs if net == SUPERNET else {net: config.space.largest}
        parts = [__version__, config.digest(), self.corpus.artifact.digest]
        parts += [f"{name} {spec.digest()}" for name, spec in specs.items()]
        key = sha256("\n".join(parts).encode()).hexdigest()
        return Run(self.name, net, config, specs, key)

    def trials(self, net: str) -> tuple[Run, ...]:
        """Return the trainings that the net's rate is chosen from."""
        return tuple(self.run(net, lr, self.seeds[0]) for lr in self.plan.lrs)

    def macs(self, size: str) -> int:
        """Return the MACs of a size per second of audio."""
        return macs_per_audio_s(self.specs[size])

    def relative_cost(self, net: str) -> float:
        """Guess a training's time over that of the largest twin, until one was measured."""
        if net == SUPERNET:
            return 1.5
        return self.macs(net) / self.macs(next(iter(self.specs)))


def twin_config(base: SupernetConfig, spec: SubnetSpec) -> SupernetConfig:
    """Return the training of one size alone, by the same steps on the same batches.

    Its dropout is what the adaptive rule gives that size inside the supernet.
    """
    return base.model_copy(
        update={
            "recipe": f"{base.recipe}, one net alone",
            "space": SearchSpace.alone(spec),
            "sandwich": SandwichConfig.parse({"num_random": 0, "smallest": 0}, where="twin"),
            "distill": base.distill.model_copy(update={"mode": "none"}),
            "dropout": twin_dropout(base, spec),
        }
    )


def twin_dropout(base: SupernetConfig, spec: SubnetSpec) -> DropoutConfig:
    """Return a size's dropout as a fixed rate.

    Raises:
        ConfigError: the adaptive rule gives its FFN and its mixer different rates.
    """
    if base.dropout.mode != "adaptive":
        return base.dropout
    plan = dropout_plan(base.dropout, base.space, spec, torch.Generator())
    rates = [rate(b) for b in spec.blocks for rate in (plan.ffn_rate, plan.mixer_rate)]
    if not math.isclose(min(rates), max(rates), abs_tol=1e-9):
        raise ConfigError(
            f"{spec.short_name} has two rates of dropout, {min(rates):g} and {max(rates):g}; take "
            "FFN channels and heads at the same share of their ranges"
        )
    return base.dropout.model_copy(update={"mode": "fixed", "rate": round(rates[0], 6)})


def chosen_index(scores: Sequence[tuple[float, float]]) -> int:
    """Return the trial of the lowest dev WER, ties by the lower NLL, then the first one.

    Raises:
        ConfigError: every trial diverged.
    """
    best = min(range(len(scores)), key=lambda i: scores[i])
    if math.isinf(scores[best][0]):
        raise ConfigError("every learning rate of the plan diverged; lower them")
    return best
