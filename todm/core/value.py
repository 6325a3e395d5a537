"""The base of every value: frozen, checked at birth, JSON-able."""

import hashlib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from todm.core.errors import ConfigError


class Value(BaseModel):
    """A frozen value object; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON-able builtins."""
        return self.model_dump(mode="json")

    @classmethod
    def parse(cls, data: object, *, where: str) -> Self:
        """Validate builtins into this value.

        Raises:
            ConfigError: one line naming the place, the key and what would be right.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"{where}: {explain(error)}") from error

    @classmethod
    def read_json(cls, path: Path) -> Self:
        """Read and validate a JSON file."""
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file") from error
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{path}: not readable as JSON ({error})") from error
        return cls.parse(data, where=str(path))

    def write_json(self, path: Path) -> None:
        """Write the value as indented JSON."""
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n", "utf-8")

    def digest(self) -> str:
        """Return the sha256 of the canonical JSON form."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def differences(one: Value, other: Value) -> dict[str, tuple[object, object]]:
    """Return where two values differ, by dotted key; a missing side is None."""
    left, right = _flat(one.to_json()), _flat(other.to_json())
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key), right.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def explain(error: ValidationError) -> str:
    """Return the first complaints of a pydantic error as one line."""
    lines = []
    for item in error.errors()[:3]:
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {place!r}")
        else:
            shown = "" if isinstance(item["input"], dict) else f" (got {item['input']!r})"
            lines.append(f"{place or 'value'}: {item['msg']}{shown}")
    more = len(error.errors()) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")
