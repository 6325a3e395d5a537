"""Results that are kept as they come, so that a run that was cut off goes on."""

import json
from pathlib import Path
from typing import Any


class Kept:
    """A JSONL file of results by key; a line that was cut off does not count."""

    def __init__(self, path: Path, field: str) -> None:
        self.path, self._field = path, field
        self.found: dict[str, Any] = {}
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.found[entry["key"]] = entry[field]

    def put(self, key: str, result: object) -> None:
        """Keep a result."""
        self.found[key] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            # A cut-off line before this one ends here.
            stream.write("\n" + json.dumps({"key": key, self._field: result}) + "\n")
