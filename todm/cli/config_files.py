"""Configurations from files and overrides."""

import json
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from todm.core.errors import ConfigError
from todm.core.overrides import apply_overrides
from todm.core.value import Value

V = TypeVar("V", bound=Value)


def read_config(kind: type[V], path: Path) -> V:
    """Read a configuration from a .json or .toml file.

    Raises:
        ConfigError: no such file, another suffix, a syntax error or a wrong key.
    """
    readers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: a configuration is a .json or .toml file")
    try:
        data = readers[path.suffix](path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        form = path.suffix[1:].upper()
        raise ConfigError(f"{path}: not readable as {form} ({error})") from error
    return kind.parse(data, where=str(path))


def recipe_or_config(
    find: Callable[[str], V],
    names: Iterable[str],
    recipe: str | None,
    kind: type[V],
    config: Path | None,
) -> V:
    """Return the recipe's configuration or the file's, whichever the user gave.

    Raises:
        ConfigError: none is given or both are; or as ``find`` and ``read_config`` raise it.
    """
    if recipe is not None and config is None:
        return find(recipe)
    if config is not None and recipe is None:
        return read_config(kind, config)
    raise ConfigError(f"give one of --recipe (one of {', '.join(sorted(names))}) and --config")


def config_of(default: V, path: Path | None, sets: list[str] | None) -> V:
    """Return the file's configuration, or the default without one, with overrides applied."""
    base = default if path is None else read_config(type(default), path)
    return apply_overrides(base, sets or [])
