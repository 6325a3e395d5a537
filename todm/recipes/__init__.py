"""Recipes: ready-made training configurations, as functions of the corpus's vocabulary size."""

from collections.abc import Callable

from todm.core.config import SupernetConfig
from todm.core.errors import ConfigError
from todm.recipes import asr, librispeech

RECIPES: dict[str, Callable[[int], SupernetConfig]] = {
    "tiny": asr.tiny,
    "espeak_digits": asr.espeak_digits,
    "fsdd": asr.fsdd,
    "fsdd_pgn": asr.fsdd_pgn,
    "fsdd_lssl": asr.fsdd_lssl,
    "an4": asr.an4,
    "an4_pgn": asr.an4_pgn,
    "an4_lssl": asr.an4_lssl,
    "librispeech_100": librispeech.librispeech_100,
    "librispeech_960": librispeech.librispeech_960,
}


def recipe(name: str, vocab_size: int) -> SupernetConfig:
    """Return a recipe's configuration for a vocabulary.

    Raises:
        ConfigError: no such recipe.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name](vocab_size)
