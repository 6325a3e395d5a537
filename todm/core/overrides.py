"""Dotted overrides of a configuration: ``optim.lr=0.03`` applied to a frozen value.

The text after ``=`` is JSON where it parses as JSON (numbers, ``true``, ``null``, lists,
objects) and a bare word otherwise; where the key takes text, it is text. Every key must exist:
an override that nothing reads is an error.
"""

import json
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from todm.core.errors import ConfigError
from todm.core.value import Value, explain

V = TypeVar("V", bound=Value)
EVERY = "*"
"""The key that names every element of a list."""


def apply_overrides(value: V, overrides: Iterable[str]) -> V:
    """Return the value with ``key=value`` overrides applied in order.

    A part of the value that is None (such as ``strings`` of a corpus) is made from its defaults
    when a key inside it is set; a number names an element of a list, ``*`` all of them.

    Raises:
        ConfigError: no ``=``, an unknown key (the message names the known ones at that level),
            or a value that the key does not take.
    """
    texts = list(overrides)
    if not texts:
        return value
    data: Any = value.model_dump()
    for text in texts:
        keys, new = _split(text)
        data = _override(data, type(value), keys, 0, new)
    try:
        return type(value).model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"--set {' '.join(texts)}: {explain(error)}") from error


def _split(text: str) -> tuple[list[str], str]:
    key, equals, new = text.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: write it as key=value, such as optim.lr=0.03")
    return keys, new.strip()


def _override(data: Any, kind: Any, keys: list[str], depth: int, new: str) -> Any:
    """Return builtins ``data`` of annotated type ``kind`` with the place below it replaced."""
    if depth == len(keys):
        return _scalar(new, kind)
    key = keys[depth]
    model = _value_class(kind)
    if model is not None:
        _known(key, list(model.model_fields), keys, depth)
        inner = model.model_fields[key].annotation
        part = _defaults(model) if data is None else data
        return {**part, key: _override(part.get(key), inner, keys, depth + 1, new)}
    if isinstance(data, list | tuple):
        known = [str(index) for index in range(len(data))]
        _known(key, [*known, EVERY], keys, depth)
        row = list(data)
        for index in range(len(row)) if key == EVERY else (int(key),):
            row[index] = _override(row[index], _element(kind, index), keys, depth + 1, new)
        return row
    if isinstance(data, dict):
        _known(key, list(data), keys, depth)
        return {**data, key: _override(data[key], _element(kind, 1), keys, depth + 1, new)}
    raise ConfigError(f"--set {'.'.join(keys)}: {'.'.join(keys[:depth])} has no keys inside")


def _defaults(model: type[Value]) -> dict[str, Any]:
    """Return the builtins of a model's defaults; required fields are left out."""
    found = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            found[name] = default.model_dump() if isinstance(default, Value) else default
    return found


def _known(key: str, known: list[str], keys: list[str], depth: int) -> None:
    if key not in known:
        inside = f" in {'.'.join(keys[:depth])}" if depth else ""
        raise ConfigError(
            f"--set {'.'.join(keys)}: unknown key {key!r}{inside}; known: {', '.join(known)}"
        )


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself alone."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _value_class(kind: Any) -> type[Value] | None:
    """Return the Value class of an annotation, if it is one or one or None."""
    models = [m for m in _members(kind) if isinstance(m, type) and issubclass(m, Value)]
    return models[0] if len(models) == 1 else None


def _element(kind: Any, index: int) -> Any:
    """Return the annotated type of a sequence's element or of a mapping's value."""
    for member in _members(kind):
        arguments = typing.get_args(member)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return arguments[0]
        if arguments:
            return arguments[min(index, len(arguments) - 1)]
    return Any


def _scalar(text: str, kind: Any) -> Any:
    """Return the new value: text where the type is text, else JSON, else a bare word."""
    members = _members(kind)
    if str in members and not text.startswith('"') and (text, type(None)) != ("null", members[-1]):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
