"""What ``lssl.py`` trains: its tasks, its methods, and networks of equal size."""

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from todm.core.classifier_spec import ConvMap, GRUMap, LSSLMap, MHSSMMap, SequenceMap
from todm.core.classify_config import (
    ClassifyConfig,
    ClassifyTraining,
    ImageSource,
    SequenceAugment,
    SequenceFacts,
    SequencesConfig,
    TableSource,
)
from todm.core.errors import ConfigError
from todm.models.classifier import Classifier
from todm.recipes.classify import SHIFTED, STILL, sequences_recipe

RATES = (1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)
SSM_RATE = 1e-3
SEARCH_SHARE = 3
"""The search of the learning rate takes one part in so many of the epochs."""
TOLERANCE = 0.03
"""Of parameters against the trainable LSSL's."""
WIDTHS = range(4, 129)
METHODS: dict[str, SequenceMap] = {
    "lssl": LSSLMap(state_dim=32),
    "lssl_fixed": LSSLMap(state_dim=32, learn="fixed"),
    "random": LSSLMap(state_dim=32, state="random", learn="fixed"),
    "gru": GRUMap(),
    "conv": ConvMap(taps=9, growth=6),
    "mhssm": MHSSMMap(num_heads=16, head_dim=2, state_dim=16),
}
"""``lssl`` trains A and dt; ``lssl_fixed`` and ``random`` train neither."""
ALL = ("lssl", "lssl_fixed", "mhssm", "conv", "gru")
TWO = ALL[:2]
TOLD = ("lssl", "lssl_fixed", "random", "mhssm")
"""Methods that a rate can be told."""
AUDIO = SequenceAugment(shift_fraction=0.1, gain_db=6.0)


@dataclass(frozen=True)
class TaskPlan:
    """One task: its data, its budget, and who takes part."""

    sequences: SequencesConfig
    epochs: int
    batch_size: int
    methods: tuple[str, ...] = ALL
    augment: SequenceAugment = STILL
    depth: int = 4
    width: int = 48
    """Of the LSSL; others have the width that makes them as large."""
    rates_of: str | None = None
    """The task whose learning rates are taken; None searches them."""
    max_seeds: int = 3
    half_rate: bool = False

    def config(
        self, method: str, facts: SequenceFacts, *, lr: float, seed: int, threads: int
    ) -> ClassifyConfig:
        """Return a method's training."""
        base = ClassifyConfig(
            recipe=f"{self.sequences.name}.{method}",
            seed=seed,
            depth=self.depth,
            width=self.width,
            map=METHODS["lssl"],
            dropout=0.1,
            augment=self.augment,
            train=ClassifyTraining(
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=lr,
                ssm_lr=min(lr, SSM_RATE),
                eval_every_epochs=4,
                threads=threads,
                accelerator="cpu",
            ),
        )
        if isinstance(METHODS[method], LSSLMap):
            return base.model_copy(update={"map": METHODS[method]})
        return matched(base, METHODS[method], facts)


def parameters(config: ClassifyConfig, facts: SequenceFacts) -> int:
    """Return how many numbers a network trains."""
    return sum(p.numel() for p in Classifier(config.spec(facts)).parameters())


def matched(base: ClassifyConfig, sizes: SequenceMap, facts: SequenceFacts) -> ClassifyConfig:
    """Return a configuration with another map and the sizes nearest to the base in parameters.

    Raises:
        ConfigError: none is within 3 %.
    """
    target = parameters(base, facts)

    def off(width: int, tried: SequenceMap) -> float:
        config = base.model_copy(update={"map": tried, "width": width})
        return parameters(config, facts) / target - 1.0

    place = bisect(WIDTHS, 0.0, key=lambda width: off(width, sizes))
    near = WIDTHS[max(0, place - 3) : place + 2]
    tried = [(width, found) for width in near for found in variants(sizes, width)]
    best = min(tried, key=lambda pair: abs(off(*pair)))
    if abs(off(*best)) > TOLERANCE:
        raise ConfigError(
            f"{base.recipe}: the nearest width {best[0]} is {100 * off(*best):+.1f} % off {target} "
            "parameters; change the map's sizes"
        )
    return base.model_copy(update={"map": best[1], "width": best[0]})


def variants(sizes: SequenceMap, width: int) -> list[SequenceMap]:
    """Return a map and those a little smaller or larger, the nearest first."""
    match sizes:
        case ConvMap():
            field, middle = "taps", sizes.taps
        case MHSSMMap():
            field, middle = "state_dim", sizes.state_dim
        case _:
            field, middle = "hidden_dim", width
    return [sizes.model_copy(update={field: middle + step}) for step in (0, 1, -1, 2, -2)]


def _images(name: str, **settings: object) -> SequencesConfig:
    base = sequences_recipe(name)
    source = ImageSource.model_validate({**base.source.model_dump(), **settings})
    return base.model_copy(update={"source": source})


def _whole(small: str) -> TaskPlan:
    return TaskPlan(
        _images(f"{small}_full", num_train=6000),
        epochs=3,
        batch_size=50,
        methods=TWO,
        rates_of=small,
        max_seeds=1,
    )


TASKS: dict[str, TaskPlan] = {
    "fsdd": TaskPlan(
        sequences_recipe("fsdd_raw"), epochs=6, batch_size=16, augment=AUDIO, half_rate=True
    ),
    "fsdd_mfcc": TaskPlan(
        sequences_recipe("fsdd_mfcc"), epochs=12, batch_size=16, augment=SHIFTED, methods=TWO
    ),
    "smnist": TaskPlan(_images("smnist", num_train=6000), epochs=5, batch_size=50),
    "pmnist": TaskPlan(
        _images("pmnist", num_train=6000), epochs=5, batch_size=50, methods=(*ALL, "random")
    ),
    "arabic": TaskPlan(
        sequences_recipe("arabic_raw"),
        epochs=3,
        batch_size=16,
        augment=AUDIO,
        rates_of="fsdd",
        half_rate=True,
    ),
    "arabic_mfcc": TaskPlan(
        sequences_recipe("arabic_mfcc"),
        epochs=12,
        batch_size=16,
        augment=SHIFTED,
        methods=TWO,
        rates_of="fsdd_mfcc",
    ),
    **{f"{small}_full": _whole(small) for small in ("smnist", "pmnist")},
    "arabic16k": TaskPlan(
        sequences_recipe("arabic_raw_16k"),
        epochs=2,
        batch_size=16,
        augment=AUDIO,
        methods=TWO,
        rates_of="fsdd",
        max_seeds=1,
    ),
}
"""In the order of running; a task whose rates are taken stands before those that take them."""


def quick_tasks(folder: Path) -> dict[str, TaskPlan]:
    """Return two tiny tasks of sines, written into a folder; they show that the script runs."""
    draw = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 32), ("dev", 12), ("test", 12)):
        label_B = np.arange(count) % 3
        turns_BL = (label_B[:, None] + 1) * np.arange(40) / 40 + draw.uniform(size=(count, 1))
        arrays |= {f"x_{split}": np.sin(2 * np.pi * turns_BL), f"y_{split}": label_B}
    path = folder / "sines.npz"
    np.savez(path, **arrays)
    sines = SequencesConfig(name="sines", source=TableSource(path=path))
    tiny = TaskPlan(sines, epochs=1, batch_size=16, depth=1, width=24, half_rate=True)
    again = replace(tiny, methods=(*TWO, "random"), rates_of="fsdd", max_seeds=1, half_rate=False)
    return {"fsdd": tiny, "pmnist": again}


def comparisons(tasks: Mapping[str, TaskPlan]) -> Iterator[tuple[str, str, str]]:
    """Yield the paper's claims: what is said, and the figures that should be above and below."""
    for task, plan in tasks.items():
        yield f"{task}: trained A and dt over fixed", f"{task}.lssl", f"{task}.lssl_fixed"
        for other in plan.methods:
            if other == "random":
                yield f"{task}: LegS over random A", f"{task}.lssl_fixed", f"{task}.random"
            elif other not in TWO:
                yield f"{task}: LSSL over {other}", f"{task}.lssl", f"{task}.{other}"
        if plan.half_rate:
            half = f"{task}.lssl.half_rate"
            yield f"{task}: half rate with the rule", f"{half}.with_rule", f"{half}.without_rule"
        if f"{task}_mfcc" in tasks:
            yield f"{task}: raw over MFCC", f"{task}.lssl", f"{task}_mfcc.lssl"
