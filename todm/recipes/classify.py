"""Recipes of labelled sequences and of classifiers, as functions."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from todm.core.classifier_spec import LSSLMap
from todm.core.classify_config import (
    AudioSource,
    ClassifyConfig,
    ClassifyTraining,
    ImageSource,
    SequenceAugment,
    SequencesConfig,
    TableSource,
)
from todm.core.errors import ConfigError

R = TypeVar("R")

ARABIC_WORDS = (
    "BACKWARD", "FORWARD", "DOWN", "UP", "LEFT", "RIGHT", "STOP", "START", "YES", "NO",
)  # fmt: skip
"""Ten of the forty command words: those of the kind that Speech Commands' ten are."""


def _fsdd(form: str, rate_hz: int = 4000) -> SequencesConfig:
    source = AudioSource.parse(
        {"corpus": "fsdd", "form": form, "rate_hz": rate_hz, "duration_s": 0.5}, where="recipe"
    )
    return SequencesConfig(name=f"fsdd_{form}", source=source)


def _arabic(form: str, rate_hz: int = 4000) -> SequencesConfig:
    words: dict[str, object] = {"corpus": "arabic_speech_commands", "words": ARABIC_WORDS}
    source = AudioSource.parse(
        {**words, "form": form, "rate_hz": rate_hz, "duration_s": 1.0}, where="recipe"
    )
    return SequencesConfig(name=f"arabic_{form}_{rate_hz // 1000}k", source=source)


def _mnist(shrink: int, *, permuted: bool) -> SequencesConfig:
    side = 28 // shrink
    name = f"{'p' if permuted else 's'}mnist{side * side}"
    return SequencesConfig(name=name, source=ImageSource(shrink=shrink, permuted=permuted))


SEQUENCES: dict[str, Callable[[], SequencesConfig]] = {
    "fsdd_raw": lambda: _fsdd("raw"),
    "fsdd_mfcc": lambda: _fsdd("mfcc"),
    "arabic_raw": lambda: _arabic("raw"),
    "arabic_mfcc": lambda: _arabic("mfcc"),
    "arabic_raw_16k": lambda: _arabic("raw", 16000),
    "smnist": lambda: _mnist(2, permuted=False),
    "pmnist": lambda: _mnist(2, permuted=True),
    "smnist_full": lambda: _mnist(1, permuted=False),
    "pmnist_full": lambda: _mnist(1, permuted=True),
    "bidmc": lambda: SequencesConfig(
        name="bidmc",
        source=TableSource(path=Path("bidmc.npz"), head="regression", frame_rate_hz=125.0),
    ),
}
"""Preparations by name. ``bidmc`` reads a user's own file (--set source.path=FILE)."""


def fsdd_raw() -> ClassifyConfig:
    """Spoken digits of FSDD as raw audio at 4 kHz."""
    return ClassifyConfig(
        recipe="fsdd_raw",
        depth=3,
        width=64,
        map=LSSLMap(state_dim=32),
        dropout=0.1,
        augment=SequenceAugment(shift_fraction=0.1, gain_db=6.0),
        train=ClassifyTraining(epochs=20, batch_size=32, lr=4e-3, ssm_lr=1e-3),
    )


def bidmc() -> ClassifyConfig:
    """Respiration rate of BIDMC from two signals of 4,000 samples; not run here.

    The sizes of Gu et al. 2021 (arXiv 2110.13985, table 11) for that target: 6 layers of 128
    channels and order 128, dropout 0.1, 500 epochs at 4e-3. The rate's schedule and the rate of
    A, B and dt (1e-3) are todm's own; heart rate and oxygen saturation had other rates there.
    """
    return ClassifyConfig(
        recipe="bidmc",
        depth=6,
        width=128,
        map=LSSLMap(state_dim=128),
        dropout=0.1,
        train=ClassifyTraining(epochs=500, batch_size=32, lr=4e-3, eval_every_epochs=10),
    )


def _like_fsdd(name: str, augment: SequenceAugment, **train: object) -> ClassifyConfig:
    base = fsdd_raw()
    training = base.train.model_copy(update=train)
    return base.model_copy(update={"recipe": name, "augment": augment, "train": training})


SHIFTED = SequenceAugment(shift_fraction=0.1)
STILL = SequenceAugment()

CLASSIFY_RECIPES: dict[str, Callable[[], ClassifyConfig]] = {
    "fsdd_raw": fsdd_raw,
    "fsdd_mfcc": lambda: _like_fsdd("fsdd_mfcc", SHIFTED),
    "arabic_raw": lambda: _like_fsdd(
        "arabic_raw", SequenceAugment(shift_fraction=0.1, gain_db=6.0)
    ),
    "arabic_mfcc": lambda: _like_fsdd("arabic_mfcc", SHIFTED),
    "mnist": lambda: _like_fsdd("mnist", STILL, epochs=10, batch_size=50),
    "bidmc": bidmc,
}
"""Trainings by name."""


def sequences_recipe(name: str) -> SequencesConfig:
    """Return a preparation.

    Raises:
        ConfigError: no such recipe.
    """
    return _find(SEQUENCES, name)()


def classify_recipe(name: str) -> ClassifyConfig:
    """Return a training.

    Raises:
        ConfigError: no such recipe.
    """
    return _find(CLASSIFY_RECIPES, name)()


def _find(table: dict[str, Callable[[], R]], name: str) -> Callable[[], R]:
    if name not in table:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(sorted(table))}")
    return table[name]
