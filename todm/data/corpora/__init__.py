"""The corpora that ``todm prepare`` knows by name, each read by a function loaded when asked for.

A reader is ``read(request: Request, rejects: Rejects) -> Iterable[Row]``.
"""

import importlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from todm.core.errors import ConfigError, DataError
from todm.data.rows import Rejects, Request, Row

CORPORA_ENV = "TODM_CORPORA"

_HERE = "todm.data.corpora"
_FOLDER = f"{_HERE}.transcripts_tsv:read"
_LHOTSE = f"{_HERE}.lhotse_recipes:read"

CORPORA: dict[str, str] = {
    # formats: --path says where
    "transcripts": _FOLDER,
    "nemo": f"{_HERE}.nemo:read",
    "kaldi": f"{_HERE}.kaldi:read",
    "cuts": f"{_HERE}.lhotse_cuts:read",
    # synthesised here
    "espeak": f"{_HERE}.espeak:read",
    # folders found by name under --corpus-dir or TODM_CORPORA
    "an4": _FOLDER,
    "arabic_speech_commands": _FOLDER,
    "commonvoice_en100": _FOLDER,
    "fsdd": _FOLDER,
    "kathleen_arctic": _FOLDER,
    "librispeech_tc5": _FOLDER,
    "ljspeech_part1": _FOLDER,
    "vctk_p239": _FOLDER,
    # lhotse's recipes: --path is their folder, --download fetches them
    "lhotse-aishell": _LHOTSE,
    "lhotse-commonvoice": _LHOTSE,
    "lhotse-librispeech": _LHOTSE,
    "lhotse-ljspeech": _LHOTSE,
    "lhotse-mini-librispeech": _LHOTSE,
    "lhotse-tedlium": _LHOTSE,
    "lhotse-timit": _LHOTSE,
    "lhotse-vctk": _LHOTSE,
    "lhotse-voxpopuli": _LHOTSE,
    "lhotse-yesno": _LHOTSE,
}

FORMATS = frozenset({"transcripts", "nemo", "kaldi", "cuts"})
"""Entries that are a format, not a corpus: they need a path."""
ISOLATED_WORDS = frozenset({"fsdd", "arabic_speech_commands"})
"""Corpora of single words, which strings are made of."""
SYNTHESISED = frozenset({"espeak"})
"""Corpora that need no place."""

Reader = Callable[[Request, Rejects], Iterable[Row]]


def corpus_reader(name: str) -> Reader:
    """Return the reader of a corpus by its name.

    Raises:
        ConfigError: no such corpus; the message lists those there are.
    """
    if name not in CORPORA:
        raise ConfigError(f"no corpus {name!r}; known: {', '.join(sorted(CORPORA))}")
    module, function = CORPORA[name].split(":")
    return cast(Reader, getattr(importlib.import_module(module), function))


def find_corpus(name: str, corpora_dir: Path | None = None) -> Path:
    """Return the folder of a named corpus.

    Args:
        name: The folder's name, such as ``fsdd``.
        corpora_dir: Folder that holds corpora; None reads the variable TODM_CORPORA.

    Raises:
        DataError: no folder is known, or it holds no such corpus.
    """
    place = corpora_dir if corpora_dir is not None else _corpora_from_env()
    if place is None:
        raise DataError(
            f"corpus {name!r}: nowhere to look; give its path, --corpus-dir or {CORPORA_ENV}"
        )
    if not place.is_dir():
        raise DataError(f"{place}: no such folder of corpora; correct --corpus-dir")
    folder = place / name
    if not folder.is_dir():
        held = ", ".join(sorted(p.name for p in place.iterdir() if p.is_dir())[:12])
        raise DataError(f"{place}: holds no corpus {name!r}; it holds {held or 'none'}")
    return folder


def _corpora_from_env() -> Path | None:
    value = os.environ.get(CORPORA_ENV, "")
    return Path(value) if value else None


def has_corpus(name: str, corpora_dir: Path | None = None) -> bool:
    """Tell whether the corpus folder holds that corpus."""
    try:
        find_corpus(name, corpora_dir)
    except DataError:
        return False
    return True
